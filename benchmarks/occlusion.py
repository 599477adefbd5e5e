"""How long do hidden people take? The whole stage but loading: depth, amodal masks, rules, completion, on networks of the published sizes.

    PYTHONPATH=src python benchmarks/occlusion.py --device cuda [--size 512x256] [--steps 25] [--json]
    PYTHONPATH=src python benchmarks/occlusion.py --device cpu --tiny

Five people stand through 90 frames of 1920 x 1080, and a board hides the lower part of each for a third of them. Weights are random and
made on the device, so the work is the real work and what is generated means nothing: masks and images go through every network, and
then the true amodal masks take the place of the generated ones, so that exactly the hidden third is confirmed and completed. ``--size
1024x512`` is what the followed system works at; it took 1,567 s for 90 frames of 5 people on an H800.

One pass with a single step goes before the measured one. Parts are waited for where they end, which costs nothing beside them; "on the
host" is what is left: cutting, resizing, checking, coding. Operations are torch's own count of products, convolutions and attention on
tensors without numbers. The ceiling is the best product of this device in this precision, measured in the same process.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ceiling import matmul_ceiling, wait
from clock import Clock
from torch import Tensor
from vas_full_size import Operations, random_depth, random_networks

from body4d.config import ComputeSettings, OcclusionSettings
from body4d.core.types import Clip, MaskTrack
from body4d.models.diffusion_vas import pipeline as vas_pipeline
from body4d.models.diffusion_vas.candidates import candidate_spans
from body4d.models.diffusion_vas.completer import VasCompleter, VasLoaders, vas_from_folders
from body4d.models.diffusion_vas.depth import DepthAnything
from body4d.models.diffusion_vas.network.sampler import SamplerOptions, VasNetworks
from body4d.models.diffusion_vas.pipeline import NoiseKey, StepFn, VasPipeline
from body4d.models.diffusion_vas.windows import MAX_GROUP_FRAMES, num_standard_windows, spans_to_process, split_windows
from body4d.runtime.device import choose_device, choose_dtype

FOLLOWED_S, SOUGHT_S = 1567.0, 40.0
"""What the followed system takes for the same count, and what is sought on one H200."""


@dataclass(frozen=True)
class Shot:
    """What is filmed: ``people`` side by side on ``frames`` frames, the lower part of each hidden on a third of them."""

    frames: int
    people: int
    width_px: int
    height_px: int

    @property
    def hidden(self) -> range:
        return range(self.frames // 3, self.frames // 3 + self.frames // 3)

    def person(self, number: int) -> tuple[int, int, int, int]:
        """Box of a person: eight tenths of their share of the width apart, half as tall as the picture."""
        room, tall = self.width_px // self.people, self.height_px // 2
        x0 = number * room + room // 2 - tall // 6
        return x0, self.height_px // 4, x0 + tall // 3, self.height_px // 4 + tall

    def mask(self, number: int, frame: int) -> Any:
        x0, y0, x1, y1 = self.person(number)
        mask = np.zeros((self.height_px, self.width_px), bool)
        mask[y0 : y0 + (y1 - y0) * 2 // 5 if frame in self.hidden else y1, x0:x1] = True
        return mask

    def masks(self) -> tuple[MaskTrack, ...]:
        rows = np.arange(self.frames)
        out = []
        for number in range(self.people):
            codes = [MaskTrack.encode(self.mask(number, frame)) for frame in (0, self.hidden[0])]
            every = tuple(codes[frame in self.hidden] for frame in rows.tolist())
            out.append(MaskTrack(number + 1, rows, every, self.height_px, self.width_px))
        return tuple(out)


class MadeFrames:
    """Noise, the people in it in grey."""

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self.clip = Clip(Path("made"), shot.width_px, shot.height_px, Fraction(30), np.arange(shot.frames) / 30, np.arange(shot.frames))
        self._noise = np.random.default_rng(0).integers(0, 60, (shot.height_px, shot.width_px, 3), dtype=np.uint8)
        for number in range(shot.people):
            x0, y0, x1, y1 = shot.person(number)
            self._noise[y0:y1, x0:x1] += 120

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
        for frame in range(first, self._shot.frames if last is None else last, step):
            yield frame, self._noise


class ThenTrue:
    """Does all the work of a pipeline and returns the truth: who stands still is as large as what is ever visible of them."""

    def __init__(self, pipeline: VasPipeline, *, amodal: bool) -> None:
        self.pipeline, self._amodal = pipeline, amodal
        self.frames: list[int] = []

    @property
    def warnings(self) -> Any:
        return self.pipeline.warnings

    def generate(self, first: Tensor, second: Tensor, keys: Sequence[NoiseKey], lengths: Sequence[int], step: StepFn) -> Tensor:
        self.frames += lengths
        generated = self.pipeline.generate(first, second, keys, lengths, step)
        if not self._amodal:
            return generated.nan_to_num(0.0)
        return torch.cat([(part > 0).any(0, keepdim=True).float().expand(len(part), -1, -1, -1) for part in first.split(list(lengths))])


def loaders(tiny: bool, settings: OcclusionSettings, compute: ComputeSettings) -> tuple[VasLoaders, Callable[[], None]]:
    """How the completer gets its networks, and what to call when done."""
    if not tiny:

        def pipeline(index: int) -> Callable[[torch.device, torch.dtype], VasPipeline]:
            def load(device: torch.device, dtype: torch.dtype) -> VasPipeline:
                return VasPipeline(random_networks(device, dtype), index, settings, compute)

            return load

        depth = lambda d, t: DepthAnything(random_depth(d, t), d, t, swap_channels=True)  # noqa: E731
        return VasLoaders(depth, pipeline(0), pipeline(1)), lambda: None
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import vas_files

    folder = tempfile.TemporaryDirectory()
    amodal, content = (vas_files.write_tiny_diffusion_vas(Path(folder.name) / name) for name in ("amodal", "content"))
    depth_folder = vas_files.write_tiny_depth_anything(Path(folder.name) / "depth")
    return vas_from_folders(amodal, content, depth_folder, settings, compute), folder.cleanup


class Kept:
    """Networks that are loaded once and timed by part; ``build_s`` is what loading took."""

    def __init__(self, source: VasLoaders, clock: Clock, device: torch.device, dtype: torch.dtype) -> None:
        start = time.perf_counter()
        self.depth: Any = source.depth(device, dtype)
        amodal: Any = source.amodal(device, dtype)
        content: Any = source.content(device, dtype)
        self.pipelines = [ThenTrue(amodal, amodal=True), ThenTrue(content, amodal=False)]
        wait(device)
        self.build_s = time.perf_counter() - start
        self.nets: VasNetworks = self.pipelines[0].pipeline.nets
        self.depth.inverse_depth = clock.timed("depth", self.depth.inverse_depth)
        for one in self.pipelines:
            unet: Any = one.pipeline.nets.unet
            unet.forward = clock.timed("UNet", unet.forward)
        for name, part in (("encode_images", "VAE encode"), ("clip_embeddings", "CLIP"), ("decode", "VAE decode")):
            setattr(vas_pipeline, name, clock.timed(part, getattr(vas_pipeline, name)))
        VasPipeline.draw_noise = clock.timed("noise", VasPipeline.draw_noise)  # type: ignore[method-assign]

    @property
    def loaders(self) -> VasLoaders:
        return VasLoaders(lambda *_: self.depth, lambda *_: self.pipelines[0], lambda *_: self.pipelines[1])


def processed_frames(shot: Shot, settings: OcclusionSettings) -> int:
    """Frames whose depth is estimated."""
    spans = candidate_spans(shot.masks(), np.arange(shot.frames) / 30, settings)
    processed = spans_to_process(spans, [shot.frames] * shot.people, settings.window_frames, MAX_GROUP_FRAMES)
    return len({row for span in processed for row in range(span.first, span.last)})


def measured(args: argparse.Namespace) -> dict[str, Any]:
    compute = ComputeSettings(device=args.device, precision=args.precision)
    device = choose_device(compute)
    dtype = choose_dtype(compute, device, torch.bfloat16)
    shot = Shot(24, 2, 320, 160) if args.tiny else Shot(args.frames, args.people, 1920, 1080)
    width, height = (int(side) for side in ("128x64" if args.tiny else args.size).split("x"))
    steps = min(args.steps, 2) if args.tiny else args.steps
    settings = OcclusionSettings(short_side_px=height, long_side_px=width, num_steps=steps)
    ceiling = matmul_ceiling(device, dtype)
    clock = Clock(device)
    source, done = loaders(args.tiny, settings, compute)
    kept = Kept(source, clock, device, dtype)
    done()
    frames, masks = MadeFrames(shot), shot.masks()

    def run(settings: OcclusionSettings) -> tuple[float, Any]:
        wait(device)
        start = time.perf_counter()
        found = VasCompleter(kept.loaders, settings, compute).complete(frames, masks, lambda done, total: None).value
        wait(device)
        return time.perf_counter() - start, found

    # The same shapes go through, so that whatever is chosen or compiled for them is; a pipeline has its own number of steps.
    for one in kept.pipelines:
        one.pipeline.options = SamplerOptions(1, settings.guidance, settings.upstream_exact)
    warm_s, _ = run(settings)
    for one in kept.pipelines:
        one.pipeline.options = SamplerOptions(steps, settings.guidance, settings.upstream_exact)
        one.frames.clear()
    clock.seconds.clear()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, found = run(settings)
    videos = [one.frames for one in kept.pipelines]
    parts = dict(clock.seconds)
    parts["on the host"] = seconds - sum(parts.values())
    every = [count for pipeline in videos for count in pipeline]
    flops = Operations(kept.nets, kept.depth.net).of(settings, every, processed_frames(shot, settings), (shot.height_px, shot.width_px))
    windows = [len(x) for count in every for x in split_windows(count, settings.window_frames)]
    work = num_standard_windows([range(length) for length in windows], settings)
    peak = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "precision": str(dtype).removeprefix("torch."),
        "networks": "tiny" if args.tiny else "published sizes, random",
        "size": f"{width}x{height}",
        "steps": steps,
        "frames": shot.frames,
        "people": shot.people,
        "hidden_person_frames": int(sum(segment.hidden.sum() for segment in found)),
        "frames_outlined": sum(videos[0]),
        "frames_completed": sum(videos[1]),
        "windows": len(windows),
        "window_frames": sorted(set(windows)),
        "seconds": round(seconds, 2),
        "sought_s": SOUGHT_S,
        "times_as_fast_as_followed": round(FOLLOWED_S / seconds, 1) if not args.tiny else None,
        "window_seconds": round(seconds / work, 4),
        "seconds_by_part": {part: round(s, 3) for part, s in sorted(parts.items(), key=lambda item: -item[1])},
        "share_by_part": {part: round(s / seconds, 4) for part, s in sorted(parts.items(), key=lambda item: -item[1])},
        "tflop_by_part": {part: round(n / 1e12, 3) for part, n in flops.items()},
        "tflop": round(sum(flops.values()) / 1e12, 2),
        "tflop_per_s": round(sum(flops.values()) / 1e12 / seconds, 3),
        "unet_tflop_per_s": round(flops["UNet"] / 1e12 / parts["UNet"], 3),
        "ceiling_tflop_per_s": round(ceiling / 1e12, 3),
        "share_of_ceiling": round(sum(flops.values()) / seconds / ceiling, 4),
        "unet_share_of_ceiling": round(flops["UNet"] / parts["UNet"] / ceiling, 4),
        "peak_gb": round(peak, 2) if peak is not None else None,
        "build_s": round(kept.build_s, 1),
        "first_pass_one_step_s": round(warm_s, 1),
        "notes": list(dict.fromkeys(warning.text for one in kept.pipelines for warning in one.warnings)),
    }


def told(found: dict[str, Any]) -> Iterator[str]:
    """The figures for people."""
    yield f"{found['device']}, torch {found['torch']}, {found['precision']}, {found['networks']}"
    yield (
        f"{found['people']} people, {found['frames']} frames, {found['hidden_person_frames']} hidden; {found['windows']} windows of "
        f"{found['window_frames']} frames at {found['size']}, {found['steps']} steps"
    )
    yield f"{found['seconds']} s (sought {found['sought_s']:.0f}); first pass of one step {found['first_pass_one_step_s']} s"
    for part, seconds in found["seconds_by_part"].items():
        yield f"  {part:12} {seconds:9.2f} s {found['share_by_part'][part]:7.1%} {found['tflop_by_part'].get(part, 0):12.2f} TFLOP"
    yield (
        f"{found['tflop_per_s']} TFLOP/s, {found['share_of_ceiling']:.0%} of the product ceiling {found['ceiling_tflop_per_s']}; "
        f"UNet {found['unet_tflop_per_s']}, {found['unet_share_of_ceiling']:.0%}; peak {found['peak_gb']} GB"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"], help="auto: bfloat16 on cuda.")
    parser.add_argument("--size", default="512x256", help="Width and height of what the networks see.")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="Tiny networks, two people, two steps: whether it works.")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measured(args)
    print(json.dumps(found) if args.json else "\n".join(told(found)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
