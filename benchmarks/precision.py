"""What do lower precisions cost? Every network of preset sam in float32 and in others, on the same made-up input; differences are printed.

    python benchmarks/precision.py [bodies camera masks occlusion depth] --device cuda [--tiny] [--json]
    python benchmarks/precision.py bodies --golden sam3dbody_medium_A.npz [--goldens FOLDER] [--device cuda]

Weights and input are random, of the published sizes (``--tiny``: of the tests'), so differences of real weights will differ; what a
precision costs in proportion to another shows. Products in float32 are made without TF32. "relative" is the root mean square of the
difference over that of what float32 gives; "largest" and "rms" are in the unit named. ``*`` marks the precision that a run on CUDA takes.
With ``--golden`` the weights of SAM-3D-Body follow the golden's fill rule, and its parts are set apart.
"""

import argparse
import copy
import json
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from body4d.config import ComputeSettings, MogeSettings, OcclusionSettings
from body4d.models.sam3d_body.network.branch import BranchOutput
from body4d.models.sam3d_body.network.hands import estimate_with_hands
from body4d.models.sam3d_body.network.model import Sam3dBody, body_crops, estimate_bodies

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Results = dict[str, Tensor]
"""What a network gives, by name and unit."""


def picture(height: int, width: int, count: int = 1) -> list[np.ndarray]:
    """Noise of large and small grains."""
    rng = np.random.default_rng(0)
    out = []
    for _ in range(count):
        coarse = np.kron(rng.integers(0, 180, (height // 20 + 1, width // 20 + 1, 3)), np.ones((20, 20, 1), int))[:height, :width]
        out.append((coarse + rng.integers(0, 60, coarse.shape)).astype(np.uint8))
    return out


@torch.inference_mode()
def bodies(device: torch.device, dtype: torch.dtype, tiny: bool) -> Results:
    from made_body import SIZES, made_rig, made_work, random_net

    net, mhr = random_net(SIZES["tiny" if tiny else "full"], device).set_precision(dtype), made_rig(not tiny, device)
    work = made_work(1, 4, 640, 480)
    boxes, index = work.boxes_px.to(device), torch.zeros(4, dtype=torch.long, device=device)
    crops = body_crops(boxes, index, work.intrinsics_px.to(device).expand(4, 3, 3), net.sizes)
    found = estimate_with_hands(net, mhr, work.frames.to(device), estimate_bodies(net, mhr, work.frames.to(device), crops)).output
    return {f"{name}": part * factor for name, part, factor in body_parts(found)}


@torch.inference_mode()
def camera(device: torch.device, dtype: torch.dtype, tiny: bool) -> Results:
    from body4d.models.moge.checkpoint import load_moge
    from body4d.models.moge.estimator import MogeFocalEstimator

    if tiny:
        from moge_files import write_tiny_moge

        with tempfile.TemporaryDirectory() as folder:
            net = load_moge(write_tiny_moge(Path(folder)), device)
    else:
        from camera import random_net

        net = random_net(device)
    points, mask, _ = MogeFocalEstimator(net, MogeSettings(), device, dtype).predict_points(
        picture(240, 320) if tiny else picture(720, 1280)
    )
    return {"points": torch.as_tensor(points), "mask's probability": torch.as_tensor(mask)}


@torch.inference_mode()
def masks(device: torch.device, dtype: torch.dtype, tiny: bool) -> Results:
    from masks import weights_of

    from body4d.models.sam3.network import Sam3Network, preprocess
    from body4d.models.sam3.object_tracker import ObjectTracker
    from body4d.models.sam3.prompts import FramePrompt

    torch.manual_seed(0)
    network = Sam3Network(weights_of("tiny" if tiny else "random", device), 0.5, device, dtype)
    images = picture(240, 320, 4) if tiny else picture(720, 1280, 4)
    text = network.encode_text("person")
    with network.autocast():
        hidden = network._encode(preprocess(torch.from_numpy(np.stack(images)).to(device), network.image_size_px))
        logits, scores = network._search(hidden, text.features, text.attention_mask)
    tracker = ObjectTracker(network, (320, 240), len(images), {0: FramePrompt(np.array([[150.0, 120.0]]), np.array([1]))})
    frames = [features for features, _ in network.encode_frames(images, [False] * len(images), [])]
    followed = [tracker.track_frame(frame, features) for frame, features in enumerate(frames)]
    return {
        "encoder": hidden,
        "detector's mask logits": logits,
        "detector's scores": scores,
        "tracker's mask logits": torch.stack(followed),
    }


def occlusion(device: torch.device, dtype: torch.dtype, tiny: bool) -> Results:
    from body4d.models.diffusion_vas.pipeline import VasPipeline

    frames, height, width = (3, 64, 128) if tiny else (8, 256, 512)
    settings = OcclusionSettings(short_side_px=height, long_side_px=width, num_steps=2 if tiny else 25)
    torch.manual_seed(0)
    if tiny:
        import vas_files
        from body4d.models.diffusion_vas.checkpoint import load_vas

        with tempfile.TemporaryDirectory() as folder:
            nets = load_vas(vas_files.write_tiny_diffusion_vas(Path(folder)), device, dtype)
    else:
        from vas_full_size import random_networks

        nets = random_networks(device, dtype)
    made = torch.Generator().manual_seed(0)
    first, second = (torch.rand(frames, 3, height, width, generator=made) * 2 - 1 for _ in range(2))
    pipeline = VasPipeline(nets, 0, settings, ComputeSettings(device=device.type))  # type: ignore[arg-type]
    keys = [(1, frame) for frame in range(frames)]
    with torch.inference_mode():
        latents, embeddings = pipeline._encode(first, second, keys)
        sample = torch.cat([torch.randn(1, frames, 4, *latents.shape[2:], generator=made).to(device), latents[None]], 2)
        about = torch.tensor([[7.0, 127.0, 0.02]], device=device)
        once = nets.unet(sample.to(dtype), torch.tensor(1.0, device=device), embeddings[None].to(dtype), about)
    images = pipeline.generate(first, second, keys, [frames], lambda windows: None)
    return {
        "latents": latents,
        "CLIP's embeddings": embeddings,
        "UNet, one step": once,
        f"{settings.num_steps} steps, levels": images * 255,
    }


def depth(device: torch.device, dtype: torch.dtype, tiny: bool) -> Results:
    from body4d.models.diffusion_vas.depth import DepthAnything

    torch.manual_seed(0)
    if tiny:
        import vas_files
        from body4d.models.diffusion_vas.checkpoint import load_depth_anything

        with tempfile.TemporaryDirectory() as folder:
            net = load_depth_anything(vas_files.write_tiny_depth_anything(Path(folder)), device, dtype)
    else:
        from vas_full_size import random_depth

        net = random_depth(device, dtype)
    return {"inverse depth": DepthAnything(net, device, dtype, swap_channels=True).inverse_depth(picture(540, 960))}


@dataclass(frozen=True)
class Network:
    run: Callable[[torch.device, torch.dtype, bool], Results]
    name: str
    used: str
    """The precision that a run on CUDA takes."""


NETWORKS = {
    "bodies": Network(bodies, "SAM-3D-Body", "float16"),
    "camera": Network(camera, "MoGe-2", "float16"),
    "masks": Network(masks, "SAM-3", "bfloat16"),
    "occlusion": Network(occlusion, "Diffusion-VAS", "bfloat16"),
    "depth": Network(depth, "Depth-Anything-V2", "bfloat16"),
}


def compared(network: Network, device: torch.device, tiny: bool) -> list[dict[str, Any]]:
    """One row for each precision and result."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    reference = network.run(device, torch.float32, tiny)
    rows = []
    # On the CPU torch lacks some operations of float16.
    for name in ("bfloat16", "float16") if device.type == "cuda" else ("bfloat16",):
        for what, found in network.run(device, DTYPES[name], tiny).items():
            off, usual = (found.double().cpu() - reference[what].double().cpu()), reference[what].double().cpu().square().mean().sqrt()
            rms = off.square().mean().sqrt()
            figures = {"largest": off.abs().max(), "rms": rms, "relative": rms / usual}
            row = {"network": network.name, "precision": name + "*" * (name == network.used), "result": what}
            rows.append(row | {key: float(f"{float(value):.3g}") for key, value in figures.items()})
    return rows


def body_parts(output: BranchOutput) -> list[tuple[str, Tensor, float]]:
    """Name, numbers and factor to the unit named."""
    return [
        ("keypoints px", output.camera.keypoints_px, 1),
        ("keypoints mm", output.pose.keypoints_m, 1e3),
        ("place mm", output.camera.translation_m, 1e3),
        ("hand components", output.pose.hand, 1),
    ]


# SAM-3D-Body with the goldens' weights


def backbone_only(dtype: torch.dtype) -> Callable[[Sam3dBody], object]:
    """The backbone in ``dtype`` and the decoders in float32."""

    def set_it(net: Sam3dBody) -> None:
        net.backbone.to(dtype)
        net.backbone.reset_buffers(net.ramp_rows.device)
        features = net.features
        object.__setattr__(net, "features", lambda crops: features(crops).float())

    return set_it


VARIANTS: dict[str, Callable[[Sam3dBody], object]] = {
    "float32 again": lambda net: None,
    "backbone bfloat16": backbone_only(torch.bfloat16),
    "backbone float16": backbone_only(torch.float16),
    "set_precision(bfloat16)": lambda net: net.set_precision(torch.bfloat16),
    "set_precision(float16)": lambda net: net.set_precision(torch.float16),
}


def by_golden(args: argparse.Namespace) -> None:
    folder = args.goldens or args.golden.parent
    sys.path.insert(0, str(folder))
    from parity_sam3d_body import StandIn, filled_network

    size = re.search(r"sam3dbody_(small|medium|full)", args.golden.name)
    assert size, f"{args.golden.name}: expected a name like sam3dbody_medium_A.npz"
    data = np.load(args.golden)
    net = filled_network(folder, size.group(1), args.salt)
    case = next(key for key in data.files if key.endswith("/batch.cam_int"))
    K = torch.from_numpy(data[case]).reshape(-1, 3, 3)[:1]

    @torch.inference_mode()
    def run(net: Sam3dBody, device: str) -> tuple[BranchOutput, BranchOutput]:
        mhr = StandIn(args.salt).to(device)
        pictures = torch.from_numpy(data["inputs/image"])[None].to(device)
        boxes = torch.from_numpy(data["inputs/boxes"]).to(device)
        index = torch.zeros(len(boxes), dtype=torch.long, device=device)
        crops = body_crops(boxes, index, K.to(device).expand(len(boxes), 3, 3), net.sizes)
        first = estimate_bodies(net, mhr, pictures, crops)
        return first.output, estimate_with_hands(net, mhr, pictures, first).output

    def show(name: str, outputs: tuple[BranchOutput, BranchOutput]) -> None:
        for what, ours, theirs in zip(("body", "full"), outputs, reference, strict=True):
            parts = zip(body_parts(ours), body_parts(theirs), strict=True)
            print(f"{name:26} {what}:", ", ".join(gap(part, a, b, factor) for (part, a, factor), (_, b, _) in parts))

    reference = run(copy.deepcopy(net).to(args.device), args.device)
    print(f"{args.device}, torch {torch.__version__}; largest and root mean square difference from float32 there")
    if args.device != "cpu":
        show("float32 on the CPU", run(net, "cpu"))
    for name, change in VARIANTS.items():
        other = copy.deepcopy(net).to(args.device)
        change(other)
        show(name, run(other, args.device))


def gap(name: str, ours: Tensor, theirs: Tensor, factor: float) -> str:
    off = (ours.float().cpu() - theirs.float().cpu()).abs() * factor
    return f"{name} {off.max():.3g} / {off.square().mean().sqrt():.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="network", help=f"of {', '.join(NETWORKS)}; all where none is named")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--goldens", type=Path)
    parser.add_argument("--salt", default="A")
    args = parser.parse_args()
    if args.golden:
        by_golden(args)
        return
    if unknown := set(args.networks) - set(NETWORKS):
        parser.error(f"no network is called {', '.join(sorted(unknown))}")
    for name in args.networks or NETWORKS:
        for row in compared(NETWORKS[name], torch.device(args.device), args.tiny):
            if args.json:
                print(json.dumps(row), flush=True)
                continue
            numbers = ", ".join(f"{key} {row[key]:.3g}" for key in ("largest", "rms", "relative"))
            print(f"{row['network']:18} {row['precision']:10} {row['result']:24} {numbers}", flush=True)


if __name__ == "__main__":
    main()
