"""How fast are the masks of preset sam, and does their memory grow? Everything but loading: frames, encoder, detector, tracker, masks.

    python benchmarks/masks.py --device cuda --weights random [--people 1] [--ask text] [--texts 1] [--frames 240] [--clip VIDEO] [--json]
    python benchmarks/masks.py --device cpu --weights tiny --lengths 200,2000,20000

30 frames a second are sought of one H200, 1080p and one person. Without --clip, frames with detail and noise are encoded and decoded
again; with --made they are made before they are read, and no PyAV is needed. --plain: nothing is encoded ahead and nothing recorded.
``--weights random``: SAM-3 of the published size, so the work is the real work and the masks mean nothing; ``tiny``: tests/sam3_files.py;
else an official folder. Random weights find nobody, so with ``--ask text`` the detector works on every fourth frame as it would and upright
bars stand for its detections; ``clicks`` needs no detector. Nor do they follow anybody: their masks are noise of a hundred thousand edges,
which takes as long to code as fifty people, so an upright bar stands for what the tracker says as well. ``--texts``: so many
are searched for, and each finds everybody. Rates are of a whole pass after one
to warm up; shares are of one more pass that waits after every part and does nothing ahead. Operations are torch's own count of products,
convolutions and attention. ``--lengths``: one process for each length, clicked in the middle, so both ways are gone.
"""

import argparse
import functools
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ceiling import matmul_ceiling
from clock import Clock
from torch.utils.flop_counter import FlopCounterMode

from body4d.config import ComputeSettings, PeopleSettings, Sam3Settings
from body4d.core.stages import FrameSource
from body4d.core.types import Clip, Prompt
from body4d.models.sam3 import identity, multi_tracker, streaming, transformers_compat
from body4d.models.sam3 import network as sam3_network
from body4d.models.sam3.checkpoint import Sam3Weights, load_sam3
from body4d.models.sam3.network import Sam3Detections, Sam3Network
from body4d.models.sam3.object_tracker import GroupTracker, ObjectTracker
from body4d.models.sam3.prompts import FramePrompt
from body4d.models.sam3.segmenter import Sam3Segmenter
from body4d.models.sam3.streaming import MaskEncoder
from body4d.runtime.device import choose_device, choose_dtype
from body4d.tracking import main_subject

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import sam3_files

RATE = 30
STEADY = 24
"""Frames after which a person's memory is full."""
SOUGHT_FRAMES_PER_S = 30


class MadeFrames:
    """A clip that is made before it is read, as a decoder works ahead: a bar over noise."""

    def __init__(self, frames: int, size: tuple[int, int]) -> None:
        self.clip = Clip(Path("made"), *size, Fraction(RATE), np.arange(frames) / RATE, np.arange(frames))
        noise = np.random.default_rng(0).integers(0, 60, (size[1], size[0] + 64, 3), dtype=np.uint8)
        self._pictures = [noise[:, frame % 64 : frame % 64 + size[0]].copy() for frame in range(frames)]
        for frame, picture in enumerate(self._pictures):
            picture[:, frame % size[0] : frame % size[0] + size[0] // 6] = (220, 180, 40)

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
        for frame in range(first, len(self.clip) if last is None else min(last, len(self.clip)), step):
            yield frame, self._pictures[frame]


class TimedFrames:
    """Hands on frames and counts the seconds they are waited for."""

    def __init__(self, frames: FrameSource, clock: "Clock") -> None:
        self._frames, self._clock, self.clip = frames, clock, frames.clip

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
        passed = self._frames.read(first, last, step)
        while (item := self._clock.run("waiting for frames", lambda: next(passed, None))) is not None:
            yield item


def random_weights(device: torch.device) -> Sam3Weights:
    """The published size, weights as transformers starts them; somebody is always seen, as in sam3_files."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    torch.manual_seed(0)
    with torch.device(device):
        model = Sam3VideoModel(Sam3VideoConfig())
    with torch.no_grad():
        sam3_files.mark_visible(model)
    return Sam3Weights(model.to(device).eval().requires_grad_(False), sam3_files.letter_tokenizer())


def weights_of(name: str, device: torch.device) -> Sam3Weights:
    if name == "random":
        return random_weights(device)
    if name != "tiny":
        return load_sam3(Path(name), device)
    with tempfile.TemporaryDirectory() as folder:
        return load_sam3(sam3_files.write_tiny_sam3(Path(folder), finds=False), device)


def keep_everybody() -> None:
    """Nobody is dropped: masks of random weights confirm nothing."""
    identity.MIN_CONFIRMED_SHARE = 0
    identity.SAME_PERSON_IOU = multi_tracker.SAME_PERSON_IOU = 1.0
    multi_tracker.SUSPEND_AFTER_S = 1e6


def bars(people: int) -> Callable[..., Sam3Detections]:
    """What stands for detections: upright bars side by side."""

    def found(per_text: Any, mask_size: tuple[int, int]) -> Sam3Detections:
        masks = np.zeros((people, *mask_size), bool)
        step = mask_size[1] // people
        for i in range(people):
            masks[i, mask_size[0] // 6 : -mask_size[0] // 6, i * step : i * step + max(step // 2, 2)] = True
        return Sam3Detections(masks, np.full(people, 0.9, np.float32), (frozenset({0}),) * people)

    return found


def answer_bars(people: int = 1) -> None:
    """Have the trackers work, and answer with upright bars side by side."""
    track, together, count = ObjectTracker.track_frame, GroupTracker._track_together, itertools.count()

    def bar(tracker: Any, logits: torch.Tensor) -> torch.Tensor:
        if "bar" not in vars(tracker):
            tracker.bar = next(count) % people
        rows, columns = (torch.arange(n, device=logits.device) / n - 0.5 for n in logits.shape)
        columns = columns - ((tracker.bar + 0.5) / people - 0.5)
        return 1e-9 * logits + torch.minimum(0.3 - rows.abs()[:, None], min(0.1, 0.4 / people) - columns.abs())

    @functools.wraps(track)
    def one(tracker: Any, *args: Any, **more: Any) -> torch.Tensor:
        return bar(tracker, track(tracker, *args, **more))

    @functools.wraps(together)
    def several(group: Any, trackers: Any, *args: Any, **more: Any) -> Any:
        return [bar(*each) for each in zip(trackers, together(group, trackers, *args, **more), strict=True)]

    ObjectTracker.track_frame, GroupTracker._track_together = one, several


def prompts_of(people: int, clip: Clip, frame: int) -> list[Prompt]:
    """A click on each of so many places side by side."""
    places = (np.arange(people) + 0.5) * clip.width_px / people
    return [
        Prompt(frame=frame, person_id=i + 1, points_px=np.array([[x, clip.height_px / 2]]), labels=np.ones(1)) for i, x in enumerate(places)
    ]


@torch.inference_mode()
def flops_of(network: Sam3Network, clip: Clip) -> dict[str, int]:
    """Operations of one frame in the encoder, of its search for one text, and of one person with a full memory."""
    picture = np.zeros((clip.height_px, clip.width_px, 3), np.uint8)
    text = network.encode_text("person")
    with FlopCounterMode(display=False) as encoder:
        features = network.encode_frames([picture], [False], [])[0][0]
    with FlopCounterMode(display=False) as searched:
        network.encode_frames([picture], [True], [text])
    network.cuda_graphs.enabled = False  # What is replayed is not counted.
    tracker = ObjectTracker(network, (clip.width_px, clip.height_px), 10**6, {0: FramePrompt(np.array([[5.0, 5.0]]), np.array([1]))})
    for frame in range(STEADY):
        tracker.track_frame(frame, features)
    with FlopCounterMode(display=False) as tracked:
        tracker.track_frame(STEADY, features)
    each = encoder.get_total_flops()
    return {"encoder": each, "detector": searched.get_total_flops() - each, "tracker": tracked.get_total_flops()}


def open_frames(args: argparse.Namespace, folder: Path) -> FrameSource:
    if args.made:
        return MadeFrames(args.frames, tuple(args.size))
    from body4d.video import VideoReader, probe

    if args.clip:
        return VideoReader(probe(args.clip))
    from camera import make_clip

    make_clip(folder / "made.mp4", *args.size)
    return VideoReader(probe(folder / "made.mp4"))


class FirstFrames:
    """The first ``frames`` of a source."""

    def __init__(self, source: FrameSource, frames: int) -> None:
        clip = source.clip
        frames = min(frames, len(clip))
        self._source = source
        self.clip = Clip(clip.path, clip.width_px, clip.height_px, clip.rate, clip.times_s[:frames], clip.source_frames[:frames])

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
        return self._source.read(first, len(self.clip) if last is None else min(last, len(self.clip)), step)


def not_ahead(items: Iterator[Any], device: torch.device, tensors: Any) -> Iterator[Any]:
    """Stands for ``prefetch``."""
    return items


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Rate, memory, shares and how much of the device's best is used."""
    compute = ComputeSettings(device=args.device, precision=args.precision, batch_size=args.batch, compile=args.compile)
    device = choose_device(compute)
    dtype = choose_dtype(compute, device, torch.bfloat16)
    weights = weights_of(args.weights, device)
    keep_everybody()
    settings = Sam3Settings(max_people=args.people)
    if args.weights in ("random", "tiny"):
        answer_bars(args.people)
    if args.ask == "text" and args.weights in ("random", "tiny"):
        sam3_network.merge_detections = bars(args.people)
    if args.plain:
        transformers_compat.RECORD_AFTER = 10**9
        streaming.prefetch = not_ahead
    with tempfile.TemporaryDirectory() as folder:
        frames = FirstFrames(open_frames(args, Path(folder)), args.frames)
        clip = frames.clip
        texts = [Prompt(text=f"person {i}") for i in range(args.texts)]
        prompts = prompts_of(args.people, clip, 0) if args.ask == "clicks" else texts
        people = PeopleSettings(count="all", min_height_share=0)
        main_subject.MIN_SEEN_S = main_subject.MIN_VISIBILITY = 0
        segmenter = Sam3Segmenter(lambda device: weights, settings, people, compute)
        # The weights stay for the next pass.
        seconds = []
        tracks: Any = ()
        for _ in range(1 + args.repeats):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            start = time.perf_counter()
            tracks = segmenter.track(frames, prompts, lambda done, total: None).value
            seconds.append(time.perf_counter() - start)
        best = sorted(seconds[1:])[len(seconds[1:]) // 2]
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        shares = parts_of(segmenter, frames, prompts, device)
        network = Sam3Network(weights, settings.min_detection_score, device, dtype)
        flops = flops_of(network, clip)
    each = flops["encoder"] + args.people * flops["tracker"]
    each += args.texts * flops["detector"] / settings.detect_every_frames if args.ask == "text" else 0
    ceiling = matmul_ceiling(device, dtype)
    rate = len(clip) / best
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": str(dtype).removeprefix("torch."),
        "weights": args.weights,
        "compile": args.compile,
        "ask": args.ask,
        "people": args.people,
        "texts": args.texts if args.ask == "text" else 0,
        "people_followed": len(tracks),
        "masks": sum(len(t) for t in tracks),
        "size_px": [clip.width_px, clip.height_px],
        "frames": len(clip),
        "frames_per_s": round(rate, 2),
        "people_frames_per_s": round(args.people * rate, 2),
        "frames_per_s_sought": SOUGHT_FRAMES_PER_S,
        "plain": args.plain,
        "seconds_of_passes": [round(s, 2) for s in seconds],
        "shares": shares,
        "peak_device_gb": round(peak / 1e9, 2) if peak is not None else None,
        "peak_host_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "gflop": {name: round(count / 1e9, 2) for name, count in flops.items()},
        "gflop_per_frame": round(each / 1e9, 2),
        "tflop_per_s": round(each * rate / 1e12, 2),
        "matmul_tflop_per_s": round(ceiling / 1e12, 2),
        "share_of_matmul": round(each * rate / ceiling, 3),
    }


def parts_of(segmenter: Sam3Segmenter, frames: FrameSource, prompts: list[Prompt], device: torch.device) -> dict[str, float]:
    """Share of each part in one pass that waits after every part."""
    clock = Clock(device)
    places = [(Sam3Network, "encode_frames", "encoder"), (Sam3Network, "_detect", "detector"), (ObjectTracker, "track_frame", "tracker")]
    places += [(GroupTracker, "_track_together", "tracker")]
    places += [(MaskEncoder, "flush", "masks"), (MaskEncoder, "finish", "masks")]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, part in places:
        setattr(owner, name, clock.timed(part, getattr(owner, name)))
    ahead, streaming.prefetch = streaming.prefetch, not_ahead
    try:
        timed = TimedFrames(frames, clock)
        clock.run("decisions and the rest", lambda: segmenter.track(timed, prompts, lambda done, total: None).value)
    finally:
        streaming.prefetch = ahead
        for owner, name, method in kept:
            setattr(owner, name, method)
    total = sum(clock.seconds.values())
    return {part: round(seconds / total, 3) for part, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])}


def grow(args: argparse.Namespace, frames: int) -> dict[str, Any]:
    """Memory of one length, in this process: resident after a tenth of the way, and the most."""
    compute = ComputeSettings(device=args.device, batch_size=args.batch)
    device = choose_device(compute)
    weights = weights_of(args.weights, device)
    made = MadeFrames(frames, (160, 120))
    streaming.BACKWARD_BUFFER_BYTES = 8_000_000
    segmenter = Sam3Segmenter(lambda device: weights, Sam3Settings(), PeopleSettings(), compute)
    resident: list[int] = []

    def report(done: int, total: int) -> None:
        if done % 50 == 0:
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())

    if args.trace:
        tracemalloc.start()
    start = time.perf_counter()
    tracks = segmenter.track(made, prompts_of(args.people, made.clip, frames // 2), report).value
    seconds = time.perf_counter() - start
    return {
        "frames": frames,
        "masks": sum(len(t) for t in tracks),
        "code_mb": round(sum(len(code) for t in tracks for code in t.codes) / 1e6, 2),
        "frames_per_s": round(frames / seconds, 1),
        "resident_mb_at_100_frames": round(resident[1] / 1e6, 1),
        "resident_mb_most": round(max(resident) / 1e6, 1),
        "python_mb_most": round(tracemalloc.get_traced_memory()[1] / 1e6, 1) if args.trace else None,
        "device_mb_most": round(torch.cuda.max_memory_allocated(device) / 1e6, 1) if device.type == "cuda" else None,
    }


def show(result: Any) -> None:
    rows = result if isinstance(result, list) else [result]
    for row in rows:
        for name, value in row.items():
            print(f"{name:28} {value}")
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--weights", default="tiny", help="random, tiny or a folder")
    parser.add_argument("--ask", choices=["text", "clicks"], default="text")
    parser.add_argument("--people", type=int, default=1)
    parser.add_argument("--texts", type=int, default=1, help="with --ask text")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--size", type=int, nargs=2, default=(1920, 1080))
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--made", action="store_true", help="frames are made, not decoded")
    parser.add_argument("--plain", action="store_true", help="nothing encoded ahead, nothing recorded")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--compile", default="off", choices=["on", "off"], help="the encoder; compiled in the pass that warms up")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--lengths", help="such as 200,2000,20000")
    parser.add_argument("--trace", action="store_true", help="with --lengths: Python's own count of its memory too; slow")
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.length:
        result: Any = grow(args, args.length)
    elif args.lengths:
        again = [sys.executable, __file__, *(a for a in sys.argv[1:] if a != "--json"), "--json"]
        result = []
        for length in args.lengths.split(","):
            done = subprocess.run([*again, "--length", length], check=True, capture_output=True, text=True)
            result.append(json.loads(done.stdout.splitlines()[-1]))
    else:
        result = measure(args)
    if args.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
