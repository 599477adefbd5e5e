"""What fits on a small card? Every stage of preset sam that has a network, at the published sizes, with torch held to a card's memory.

    python benchmarks/cards.py --cards 8 16 24 [--stages masks bodies ...] [--jobs 1] [--json]
    python benchmarks/cards.py --device cpu --tiny

A process for each card and stage loads the network as a run does and goes twice through a short clip of 1920 x 1080; batches are chosen as
in a run. Of a card of N GiB the allocator gets N - 1: the driver's context and a display take the rest. Weights are random. Told are
whether the stage ends, the batches it chose (the first chosen, and whether memory ran out on the way), the most memory, and the seconds of
the second pass. With more than one job at a time seconds mean nothing.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from body4d.config import CameraSettings, ComputeSettings, MogeSettings, OcclusionSettings, PeopleSettings, Sam3dBodySettings, Sam3Settings
from body4d.core.errors import Body4DError
from body4d.core.stages import ignore_progress
from body4d.core.types import Camera
from body4d.runtime.device import choose_device, release_memory

KEPT_BACK_GIB = 1.0
"""Of a card's memory, what the driver's context (some 0.5 GiB) and a display take."""

FULL_HD = (1920, 1080)

Pass = Callable[[], Any]
"""Goes through the clip once and returns the stage's warnings."""


def masks(compute: ComputeSettings, tiny: bool) -> Pass:
    import masks as benchmark

    from body4d.models.sam3 import network, segmenter
    from body4d.tracking import main_subject

    record(segmenter)
    benchmark.keep_everybody()
    benchmark.answer_bars()
    network.merge_detections = benchmark.bars(1)
    main_subject.MIN_SEEN_S = main_subject.MIN_VISIBILITY = 0
    frames = benchmark.MadeFrames(4, (160, 120)) if tiny else benchmark.MadeFrames(32, FULL_HD)
    people = PeopleSettings(count="all", min_height_share=0)
    load = lambda device: benchmark.weights_of("tiny" if tiny else "random", device)  # noqa: E731
    stage = segmenter.Sam3Segmenter(load, Sam3Settings(max_people=1), people, compute)
    return lambda: stage.track(frames, [], ignore_progress).warnings


def bodies(compute: ComputeSettings, tiny: bool, mode: str = "full") -> Pass:
    from made_body import SIZES, made_rig, made_work, random_net
    from mesh import WorkFrames, box_track

    from body4d.models.sam3d_body import estimator

    record(estimator)
    work = made_work(4, 1, 160, 120) if tiny else made_work(160, 1, *FULL_HD)
    frames = WorkFrames(work)
    K = work.intrinsics_px.numpy()
    camera = Camera(float(K[0, 0]), float(K[0, 2]), float(K[1, 2]), frames.clip.width_px, frames.clip.height_px)
    people = [box_track(person, box, frames.clip) for person, box in enumerate(work.boxes_px.numpy(), start=1)]

    def load(device: torch.device, dtype: torch.dtype) -> Any:
        return random_net(SIZES["tiny" if tiny else "full"], device).set_precision(dtype), made_rig(not tiny, device)

    stage = estimator.Sam3dBodyEstimator(load, Sam3dBodySettings(mode=mode), compute)  # type: ignore[arg-type]
    return lambda: stage.estimate(frames, people, camera, ignore_progress).warnings


def camera(compute: ComputeSettings, tiny: bool) -> Pass:
    from masks import MadeFrames

    from body4d.models.moge import estimator
    from camera import random_net

    record(estimator)
    frames, settings = MadeFrames(2, (160, 120)) if tiny else MadeFrames(32, FULL_HD), MogeSettings()
    load = lambda device, dtype: estimator.MogeFocalEstimator(random_net(device), settings, device, dtype)  # noqa: E731
    stage = estimator.MogeCameraEstimator(load, CameraSettings(), settings, compute)
    return lambda: stage.estimate(frames, ignore_progress).warnings


def occlusion(compute: ComputeSettings, tiny: bool, size: tuple[int, int] = (512, 256)) -> Pass:
    from occlusion import MadeFrames, Shot, ThenTrue, loaders

    from body4d.models.diffusion_vas import completer, pipeline

    record(completer, pipeline)
    shot = Shot(24, 2, 320, 160) if tiny else Shot(90, 2, *FULL_HD)
    width, height = (128, 64) if tiny else size
    settings = OcclusionSettings(short_side_px=height, long_side_px=width, num_steps=1)
    source, clean_up = loaders(tiny, settings, compute)
    used = completer.VasLoaders(
        source.depth,
        lambda device, dtype: ThenTrue(source.amodal(device, dtype), amodal=True),  # type: ignore[arg-type]
        lambda device, dtype: ThenTrue(source.content(device, dtype), amodal=False),  # type: ignore[arg-type]
    )
    stage, frames, people = completer.VasCompleter(used, settings, compute), MadeFrames(shot), shot.masks()

    def run() -> Any:
        assert clean_up  # kept: it holds the folder of tiny checkpoints
        return stage.complete(frames, people, ignore_progress).warnings

    return run


STAGES: dict[str, Callable[[ComputeSettings, bool], Pass]] = {
    "masks": masks,
    "camera": camera,
    "bodies": bodies,
    "bodies without hands": lambda compute, tiny: bodies(compute, tiny, "body"),
    "hidden people": occlusion,
    "hidden people at 512 x 1024": lambda compute, tiny: occlusion(compute, tiny, (1024, 512)),
}

chosen: list[int] = []
"""Batches, as they were chosen."""


def record(*modules: Any) -> None:
    """Note the batches that the code of ``modules`` chooses."""
    for module in modules:

        def noted(*args: Any, choose: Callable[..., int] = module.choose_batch_size) -> int:
            chosen.append(choose(*args))
            return chosen[-1]

        module.choose_batch_size = noted


def tried(stage: str, card_gib: float | None, device_name: str, tiny: bool) -> dict[str, Any]:
    """One stage on one card, in this process."""
    compute = ComputeSettings(device=device_name)  # type: ignore[arg-type]
    device = choose_device(compute)
    on_gpu = device.type == "cuda"
    if on_gpu and card_gib is not None:
        allowed = (card_gib - KEPT_BACK_GIB) * 2**30
        torch.cuda.set_per_process_memory_fraction(min(allowed / torch.cuda.get_device_properties(0).total_memory, 1.0))
    found: dict[str, Any] = {"stage": stage, "card_gib": card_gib, "fits": True}
    try:
        run = STAGES[stage](compute, tiny)
        warnings = {warning.code for warning in run()}
        release_memory()
        start = time.perf_counter()
        run()
        found |= {"seconds": round(time.perf_counter() - start, 2), "ran_out": "smaller_batches" in warnings}
    except (Body4DError, torch.OutOfMemoryError) as error:
        found |= {"fits": False, "error": str(error).split(". ")[0]}
    found |= {"batches": list(dict.fromkeys(chosen))}
    if on_gpu:
        gib = {"peak_gib": torch.cuda.max_memory_allocated(), "reserved_gib": torch.cuda.max_memory_reserved()}
        found |= {name: round(count / 2**30, 2) for name, count in gib.items()}
    return found


def in_a_process(stage: str, card_gib: float, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--device", args.device, "--stages", stage, "--cards", str(card_gib), "--here"]
    done = subprocess.run(command + ["--tiny"] * args.tiny, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"stage": stage, "card_gib": card_gib, "fits": False, "error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "cpu"])
    parser.add_argument("--cards", type=float, nargs="+", default=[8.0, 16.0, 24.0], help="memory of each card, GiB")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--tiny", action="store_true", help="tiny networks: whether it works")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(tried(args.stages[0], args.cards[0], args.device, args.tiny)))
        return
    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(in_a_process, stage, card, args) for stage in args.stages for card in args.cards]
        for job in jobs:
            found = job.result()
            if args.json:
                print(json.dumps(found), flush=True)
                continue
            told = ", ".join(f"{name} {value}" for name, value in found.items() if name not in ("stage", "card_gib", "fits"))
            print(f"{found['stage']:28} {found['card_gib']:5g} GiB  {'fits' if found['fits'] else 'does not fit'}: {told}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    main()
