"""How fast is SAM-3D-Body? People in frames as MHR bodies, from uint8 frames on the host to results on the host, without decoding video.

    python benchmarks/mesh.py --device cuda --weights random --people 2 --frames 64 --mode full [--json]

Times are medians over --repeats passes through all frames, after one pass to warm up (and compile). Shares are of one more pass with
marks between the parts. The weights are random and so are the pictures: the work is the real work, its results mean nothing.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ceiling import backbone_flops, matmul_ceiling, median_s, person_flops, wait
from made_body import SIZES, Work, made_rig, made_work, random_net
from torch import Tensor

from body4d.config import Sam3dBodySettings
from body4d.core.types import Camera, Clip, MaskTrack
from body4d.models.sam3d_body.inference import ClipPrediction, InferenceSession, WideNetwork, predict_clip
from body4d.models.sam3d_body.network import hands as hands_module
from body4d.models.sam3d_body.network import model as model_module
from body4d.models.sam3d_body.network.hands import FullPass, hand_crops, refine_with_hands, run_hands
from body4d.models.sam3d_body.network.model import BodyPass, Sam3dBody, body_crops, estimate_bodies
from body4d.runtime.device import AdaptiveBatcher
from body4d.runtime.torch_utils import FrameUploader

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Marks:
    """Time per part: every mark ends one span and begins the next. A part within a part counts for itself."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[tuple[str, Any]] = []
        self._inside = ["host"]
        self.prefix = ""

    def _mark(self) -> None:
        name = self._inside[-1]
        now: Any = time.perf_counter()
        if self._cuda:
            now = torch.cuda.Event(enable_timing=True)
            now.record()
        self._marks.append((name, now))

    @contextmanager
    def part(self, name: str):
        self._inside.append(self.prefix + name)
        self._mark()
        yield
        self._inside.pop()
        self._mark()

    def wrap(self, name: str, run: Any) -> Any:
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return run(*args, **kwargs)

        return inside

    def seconds(self) -> dict[str, float]:
        total: dict[str, float] = defaultdict(float)
        for (name, a), (_, b) in zip(self._marks, self._marks[1:], strict=False):
            total[name] += a.elapsed_time(b) / 1e3 if self._cuda else b - a
        return dict(total)


@contextmanager
def marked(net: Sam3dBody, marks: Marks):
    """A context with marks around the crops, the backbone, and the heads, whose time is mostly MHR's."""
    warp, heads = model_module.warp_crops, [branch.head_pose for branch in (net.body, net.hand)]
    model_module.warp_crops = hands_module.warp_crops = marks.wrap("crop", warp)
    object.__setattr__(net, "features", marks.wrap("backbone", net.features))
    recorders = [head.cuda_graphs for head in heads]
    for head in heads:
        head.cuda_graphs = marks.wrap("MHR", head.cuda_graphs)  # type: ignore[assignment]
    yield
    model_module.warp_crops = hands_module.warp_crops = warp
    object.__delattr__(net, "features")
    for head, recorder in zip(heads, recorders, strict=True):
        head.cuda_graphs = recorder


class WorkFrames:
    """The pictures of made-up work as a clip."""

    def __init__(self, work: Work) -> None:
        count, height, width = work.frames.shape[:3]
        self.clip = Clip(Path("made"), width, height, Fraction(30), np.arange(count) / 30, np.arange(count))
        self._pictures = work.frames.numpy()

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
        for frame in range(first, len(self._pictures) if last is None else last, step):
            yield frame, self._pictures[frame]


class Production:
    """All people of all frames, as a run has them recovered: read, sent ahead, computed in batches, fetched late."""

    def __init__(self, net: Sam3dBody, mhr: Any, work: Work, mode: str, batch: int, device: torch.device) -> None:
        self._frames = WorkFrames(work)
        clip, K = self._frames.clip, work.intrinsics_px.numpy()
        camera = Camera(float(K[0, 0]), float(K[0, 2]), float(K[1, 2]), clip.width_px, clip.height_px)
        self._masks = [box_track(person, box, clip) for person, box in enumerate(work.boxes_px.numpy(), start=1)]
        settings = Sam3dBodySettings(mode=mode)  # type: ignore[arg-type]
        self._session = InferenceSession(net, mhr, camera, settings, device, WideNetwork(lambda: None))
        self._batch = batch

    def __call__(self) -> ClipPrediction:
        batcher = AdaptiveBatcher(self._batch, "people")
        found = predict_clip(self._session, self._frames, self._masks, batcher, lambda done, total: None, (), 0.0)
        assert found is not None
        return found


def box_track(person: int, box_px: np.ndarray, clip: Clip) -> MaskTrack:
    """A mask that fills a box on every frame."""
    mask = np.zeros((clip.height_px, clip.width_px), bool)
    left, top, right, bottom = np.round(box_px).astype(int).clip(0)
    mask[top:bottom, left:right] = True
    return MaskTrack(person, np.arange(len(clip)), (MaskTrack.encode(mask),) * len(clip), clip.height_px, clip.width_px)


@dataclass
class Runner:
    """Batches of ``batch`` people through the network, results on the host; takes marks between the parts."""

    net: Sam3dBody
    mhr: Any
    work: Work
    mode: str
    batch: int
    device: torch.device
    hand_crops: int = 0

    def __post_init__(self) -> None:
        self._upload = FrameUploader(self.device)
        self._K = self.work.intrinsics_px.to(self.device)

    @torch.inference_mode()
    def __call__(self, marks: Marks | None = None) -> list[Tensor]:
        """All frames once. One batch of frames at a time is on the device; the host waits for a batch when the next one is queued."""
        people = len(self.work.boxes_px)
        step = max(1, self.batch // people)
        out, queued_before = [], None
        self.hand_crops = 0
        for first in range(0, len(self.work.frames), step):
            queued = self._run_batch(list(self.work.frames[first : first + step].numpy()), marks)
            if queued_before is not None:
                out.append(queued_before.cpu())
            queued_before = queued
        assert queued_before is not None
        return [*out, queued_before.cpu()]

    def _run_batch(self, pictures: list[Any], marks: Marks | None) -> Tensor:
        def part(name: str) -> AbstractContextManager[None]:
            return marks.part(name) if marks else nullcontext()

        people, count = len(self.work.boxes_px), len(self.work.boxes_px) * len(pictures)
        with part("upload"):
            frames = self._upload(pictures)
            boxes = self.work.boxes_px.repeat(len(pictures), 1).to(self.device, non_blocking=True)
            index = torch.arange(count, device=self.device) // people
        with part("decoder"):
            crops = body_crops(boxes, index, self._K.expand(count, 3, 3), self.net.sizes)
            first = estimate_bodies(self.net, self.mhr, frames, crops)
        output = self._with_hands(frames, first, marks).output if self.mode == "full" else first.output
        pose, camera = output.pose, output.camera
        parts = (pose.mhr_params, pose.shape, pose.keypoints_m, camera.translation_m, camera.keypoints_px)
        return torch.cat([part.flatten(1) for part in parts], 1)

    def _with_hands(self, frames: Tensor, first: BodyPass, marks: Marks | None) -> FullPass:
        """As ``estimate_with_hands``, with marks around its two steps."""
        if marks:
            marks.prefix = "hands: "
        with marks.part("decoder") if marks else nullcontext():
            hands = run_hands(self.net, self.mhr, frames, hand_crops(self.net, first, frames.shape[2]))
        if marks:
            marks.prefix = "joining: "
        with marks.part("decoder") if marks else nullcontext():
            full = refine_with_hands(self.net, self.mhr, (frames.shape[2], frames.shape[1]), first, hands)
        if marks:
            marks.prefix = ""
            self.hand_crops += int(hands.processed.sum())
        return full


def peak_bytes(device: torch.device) -> int:
    """Most memory torch held on the device, or the process on the host."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one run."""
    device, dtype, sizes = torch.device(args.device), DTYPES[args.dtype], SIZES[args.size]
    if args.memory_limit_gb:
        torch.cuda.set_per_process_memory_fraction(args.memory_limit_gb * 1e9 / torch.cuda.get_device_properties(0).total_memory)
    net = random_net(sizes, device).set_precision(dtype)
    if args.compile == "on":
        net.compile_backbone()
    mhr = made_rig(args.size == "full", device)
    work = made_work(args.frames, args.people, *args.frame_size)
    run = Runner(net, mhr, work, args.mode, args.batch, device)
    produce = Production(net, mhr, work, args.mode, args.batch, device)
    ceiling = matmul_ceiling(device, dtype)
    idle = torch.cuda.memory_allocated() if device.type == "cuda" else peak_bytes(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    produce()
    wait(device)
    first_s = time.perf_counter() - start
    pass_s = median_s(produce, device, args.repeats, warm=0)
    peak = peak_bytes(device)
    run()
    marks = Marks(device)
    with marked(net, marks):
        run(marks)
        wait(device)
    shares = marks.seconds()
    people = args.frames * args.people
    flops = person_flops(sizes, hands=args.mode == "full")
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"{device.type}, {torch.get_num_threads()} threads",
        "torch": torch.__version__, "size": args.size, "dtype": args.dtype, "mode": args.mode, "compile": args.compile,
        "frame_size": list(args.frame_size), "people": args.people, "frames": args.frames, "batch": args.batch,
        "person_frames_per_s": people / pass_s, "first_pass_s": first_s, "pass_s": pass_s,
        "hand_crops": run.hand_crops if args.mode == "full" else 0, "hand_crops_total": 2 * people if args.mode == "full" else 0,
        "peak_gb": peak / 1e9, "weights_gb": idle / 1e9, "bytes_per_person": (peak - idle) / min(args.batch, people),
        "tflop_per_person": flops / 1e12, "backbone_tflop_per_crop": backbone_flops(sizes) / 1e12,
        "tflop_per_s": flops * people / pass_s / 1e12, "ceiling_tflop_per_s": ceiling / 1e12,
        "of_ceiling": flops * people / pass_s / ceiling,
        "share": {name: s / sum(shares.values()) for name, s in sorted(shares.items(), key=lambda item: -item[1])},
    }  # fmt: skip


def parse(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "mps"))
    parser.add_argument("--weights", default="random", choices=("random",))
    parser.add_argument("--size", default="full", choices=tuple(SIZES))
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--frame-size", default="1920x1080", type=lambda text: tuple(int(n) for n in text.split("x")))
    parser.add_argument("--mode", default="full", choices=("body", "full"))
    parser.add_argument("--batch", type=int, default=128, help="people at once; twice as many hands")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="default: float16 on cuda, else float32")
    parser.add_argument("--compile", default="off", choices=("on", "off"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-limit-gb", type=float, help="CUDA: torch may take no more than this")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(given)
    args.dtype = args.dtype or ("float16" if args.device == "cuda" else "float32")
    return args


def main() -> None:
    args = parse()
    figures = measure(args)
    if args.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        if name == "share":
            print("share of time", ", ".join(f"{part} {share:.1%}" for part, share in value.items()))
        else:
            print(f"{name:24}", f"{value:.4g}" if isinstance(value, float) else value)


if __name__ == "__main__":
    main()
