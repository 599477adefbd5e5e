"""How fast is the camera of preset sam? Everything but loading: reading frames, MoGe-2, the fit of the lens, and whether the camera moves.

    python benchmarks/camera.py --device cuda --weights random [--clip VIDEO] [--size 1920 1080] [--json]

Without --clip, ten seconds with detail and noise are made first. ``--weights random``: ViT-L of the published sizes, so the work is the
real work and the lens means nothing; else a folder with model.pt. Times are medians over --repeats after one pass to warm up; shares are
of one more pass that waits after every part. Operations are torch's own count of products, convolutions and attention.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ceiling import matmul_ceiling, median_s, wait
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from body4d.camera.lens import sample_frames
from body4d.camera.motion import camera_motion
from body4d.config import CameraSettings, ComputeSettings, MogeSettings, VideoSettings
from body4d.core.stages import FrameSource, ignore_progress
from body4d.models.moge.checkpoint import load_moge
from body4d.models.moge.estimator import MogeCameraEstimator, MogeFocalEstimator
from body4d.models.moge.network.config import MogeSizes, StackSizes
from body4d.models.moge.network.model import Moge
from body4d.runtime.device import choose_device, choose_dtype

RATE, SECONDS = 30, 10
WIDTHS = (1024, 256, 128, 64, 32)
UP = ("conv_transpose", "conv_transpose", "conv_transpose", "bilinear")


def published_sizes() -> MogeSizes:
    """Ruicheng/moge-2-vitl-normal, by the published training config."""

    def stack(inputs: tuple[int, ...], out: int | None, blocks: int) -> StackSizes:
        return StackSizes(inputs, (None, None, None, None, out), WIDTHS, (0, blocks, blocks, blocks, 0), UP, 1, "none", "none")

    heads = [stack(WIDTHS, channels, 1) for channels in (3, 1, 3)]
    neck = stack((WIDTHS[0] + 2, 2, 2, 2, 2), None, 2)
    return MogeSizes(1024, 24, 37, (5, 11, 17, 23), WIDTHS[0], neck, *heads, (1024, 1024, 1024, 1), "exp", (1200, 3600))


def random_net(device: torch.device) -> Moge:
    """Weights that keep numbers at about one all the way."""
    with torch.device("meta"):
        net = Moge(published_sizes())
    net = net.to_empty(device=device)
    made = torch.Generator(device).manual_seed(0)
    for name, tensor in net.state_dict().items():
        leaf = name.rpartition(".")[2]
        if tensor.ndim > 1 and leaf == "weight":
            tensor.normal_(std=float(np.prod(tensor.shape[1:])) ** -0.5, generator=made)
        else:
            tensor.fill_({"gamma": 0.5, "weight": 1.0, "image_mean": 0.45, "image_std": 0.225}.get(leaf, 0.0))
    return net.requires_grad_(False).eval()


def make_clip(path: Path, width: int, height: int) -> None:
    """A still picture with structure of many sizes under noise, so that decoding is work."""
    import cv2

    from body4d.video import VideoWriter

    rng = np.random.default_rng(0)
    base = sum(cv2.resize(rng.random((height // n + 1, width // n + 1, 3), np.float32), (width, height)) for n in (6, 20, 70, 200))
    noise = rng.normal(0, 3, (height + 16, width + 16, 3)).astype(np.float32)
    with VideoWriter(path, width, height, np.arange(SECONDS * RATE) / RATE, preset="ultrafast") as out:
        for i in range(SECONDS * RATE):
            y, x = i * 7 % 16, i * 5 % 16
            out.write(np.clip(np.asarray(base) / 4 * 255 + noise[y : y + height, x : x + width], 0, 255).astype(np.uint8))


def flops_of(height: int, width: int, tokens: int) -> dict[str, int]:
    """Operations of one picture's way, encoder and all."""
    with torch.device("meta"):
        net = Moge(published_sizes()).eval()
        images = torch.empty(1, 3, height, width)
    with FlopCounterMode(display=False) as all_of_it, torch.inference_mode():
        net.sampled(images, tokens)
    with FlopCounterMode(display=False) as encoder, torch.inference_mode():
        net.encoder(images, *net.grid(height, width, tokens))
    return {"all": all_of_it.get_total_flops(), "encoder": encoder.get_total_flops()}


def shares(network: MogeFocalEstimator, pictures: list[Any], device: torch.device) -> dict[str, float]:
    """Seconds of each part of one pass, each waited for."""
    taken: dict[str, float] = defaultdict(float)
    began: list[float] = []

    def start(*_: Any) -> None:
        wait(device)
        began.append(time.perf_counter())

    def stop(name: str) -> Any:
        def hook(*_: Any) -> None:
            wait(device)
            taken[name] += time.perf_counter() - began.pop()

        return hook

    net: Any = network._network
    parts: list[tuple[str, nn.Module]] = [
        ("encoder", net.encoder),
        ("neck", net.neck),
        ("heads", net.points_head),
        ("heads", net.mask_head),
    ]
    hooks = [part.register_forward_pre_hook(start) for _, part in parts] + [part.register_forward_hook(stop(n)) for n, part in parts]
    start()
    whole = began[-1]
    points, mask, _ = network.predict_points(pictures)
    for hook in hooks:
        hook.remove()
    wait(device)
    middle = time.perf_counter()
    height, width = pictures[0].shape[:2]
    for p, m in zip(points, mask, strict=True):
        network.fit_focal_px(p, m, height, width)
    taken["solver"] = time.perf_counter() - middle
    taken["pictures to the device, sampling, points to the host"] = middle - whole - sum(taken[n] for n in ("encoder", "neck", "heads"))
    return dict(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--weights", default="random", help="random, or a folder with model.pt.")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=[1920, 1080], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--frames", type=int, default=MogeSettings().num_frames)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    from body4d.video import VideoReader, probe

    compute = ComputeSettings(device=args.device, precision=args.precision)
    settings, camera = MogeSettings(num_frames=args.frames), CameraSettings()
    device = choose_device(compute)
    dtype = choose_dtype(compute, device, torch.float16)
    net = random_net(device) if args.weights == "random" else load_moge(Path(args.weights), device)
    network = MogeFocalEstimator(net, settings, device, dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = args.clip or Path(folder) / "made.mp4"
        if not args.clip:
            make_clip(path, *args.size)
        result = measure(network, VideoReader(probe(path, VideoSettings())), settings, camera, compute, device, dtype, args.repeats)
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:24} {value}")


def measure(
    network: MogeFocalEstimator, frames: FrameSource, settings: MogeSettings, camera: CameraSettings, compute: ComputeSettings,
    device: torch.device, dtype: torch.dtype, repeats: int,
) -> dict[str, Any]:  # fmt: skip
    """All figures of one clip."""
    clip = frames.clip
    index = sample_frames(len(clip), settings.num_frames)
    pictures = [picture for _, picture in frames.read(index.start, index.stop, index.step)]
    estimator = MogeCameraEstimator(lambda device, dtype: network, camera, settings, compute)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    estimate_s = median_s(lambda: estimator.estimate(frames, ignore_progress), device, repeats, 1)
    peak_gb = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None
    read_s = median_s(lambda: list(frames.read(index.start, index.stop, index.step)), device, repeats, 0)
    motion_s = median_s(lambda: camera_motion(frames), device, repeats, 0)
    batch = pictures if device.type == "cuda" else pictures[:1]
    parts = shares(network, batch, device)
    network_s = sum(parts.values())
    flops = flops_of(clip.height_px, clip.width_px, network.num_tokens)
    ceiling = matmul_ceiling(device, dtype)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "clip": f"{clip.width_px}x{clip.height_px}, {len(clip)} frames",
        "frames_looked_at": len(index),
        "clip_s": round(estimate_s + motion_s, 3),
        "estimate_s": round(estimate_s, 3),
        "of_which_reading_s": round(read_s, 3),
        "motion_s": round(motion_s, 3),
        "peak_gb": peak_gb if peak_gb is None else round(peak_gb, 2),
        "network_s": round(network_s, 4),
        "network_pictures": len(batch),
        "shares": {name: round(seconds / network_s, 3) for name, seconds in parts.items()},
        "tflop_per_picture": {name: round(count / 1e12, 3) for name, count in flops.items()},
        "tflop_per_s": {
            "encoder": round(len(batch) * flops["encoder"] / parts["encoder"] / 1e12, 3),
            "all": round(len(batch) * flops["all"] / network_s / 1e12, 3),
        },
        "ceiling_tflop_per_s": round(ceiling / 1e12, 3),
        "share_of_ceiling": {
            "encoder": round(len(batch) * flops["encoder"] / parts["encoder"] / ceiling, 3),
            "all": round(len(batch) * flops["all"] / network_s / ceiling, 3),
        },
    }


if __name__ == "__main__":
    main()
