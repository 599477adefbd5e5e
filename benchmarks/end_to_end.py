"""How long does it take from a video to finished files, stage by stage, and how do time and memory grow with length?

    python benchmarks/end_to_end.py [--case one five length] [--preset lite|sam] [--weights FOLDER] [--video CLIP] [--cores 2] [--json]

- one: one golfer, 264 frames; five: five people side by side, 90 frames; length: one golfer for 0.5, 2 and 10 minutes.
- CLIP is a real golf swing ($BODY4D_SHARED/videos/golf_swing.mp4). Longer films play it forwards and backwards, so that nothing is cut.
- lite runs on --cores cores. sam takes checkpoints of the published sizes from --weights, made-up ones too (SAM-3D-Body's by
  benchmarks/full_size_checkpoint.py): SAM-3 follows the people's boxes for its time, and the masks that the bodies are made from are those
  of preset lite, so that there is work whatever the weights say.

Every run is a process of its own: seconds of the whole command by the clock and of the processor, seconds and memory of each stage.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CASES = {"one": ((264, 1),), "five": ((90, 5),), "length": ((900, 1), (3600, 1), (18_000, 1))}
"""(frames, people)."""


def make_film(source: Path, path: Path, frames: int, people: int) -> Path:
    """``frames`` frames of the clip played to and fro, ``people`` of it side by side, each begun somewhat later."""
    from body4d.video import VideoReader, VideoWriter, probe

    reader = VideoReader(probe(source))
    pictures = [rgb for _, rgb in reader.read()]
    to_and_fro = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width * people, height, np.arange(frames) / reader.clip.fps) as out:
        for n in range(frames):
            out.write(np.hstack([pictures[to_and_fro[(n + 20 * person) % len(to_and_fro)]] for person in range(people)]))
    return path


class TimedSegmenter:
    """A segmenter that works for its time and then hands out given masks."""

    def __init__(self, real: Any, masks: Any) -> None:
        self._real, self._masks, self.cache_inputs = real, masks, [real.cache_inputs, "given masks"]

    def track(self, frames: Any, prompts: Any, progress: Any) -> Any:
        from body4d.core.stages import StageOutput
        from body4d.core.types import Prompt

        boxes = [Prompt(int(mask.frame_index[0]), mask.person_id, box_px=mask.boxes_px()[0]) for mask in self._masks]
        self._real.track(frames, boxes, progress)
        return StageOutput(self._masks)


def run_once(video: Path, out: Path, preset: str, weights: str | None, masks: Path | None) -> None:
    """What one process does."""
    from body4d.config.loading import load_settings
    from body4d.core.scene_io import load_masks
    from body4d.run.pipeline import Pipeline

    flags = {"preset": preset, "people.count": "all"} | ({"weights.folder": weights} if weights else {})
    pipeline = Pipeline.load(load_settings(None, flags, {}))
    if masks is not None:
        pipeline = dataclasses.replace(pipeline, segmenter=TimedSegmenter(pipeline.segmenter, load_masks(masks)))
    pipeline.run(video, out, fresh=True)


def measure(video: Path, out: Path, preset: str, weights: str | None, masks: Path | None, cores: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(video), str(out), preset, weights or "", str(masks or "")]
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ | ({"OMP_NUM_THREADS": str(cores)} if preset == "lite" else {}))
    if preset == "lite" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, sorted(os.sched_getaffinity(0))[:cores])
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"the run of {video.name} failed (status {status})")
    record = json.loads((out / "run.json").read_text())
    stages = {name: {key: stage[key] for key in ("seconds", "cpu_peak_mb", "gpu_peak_mb")} for name, stage in record["stages"].items()}
    people = len(record["stages"]["motion"]["result"])
    return {
        "people": people,
        "wall_s": round(time.perf_counter() - began, 1),
        "processor_s": round(used.ru_utime + used.ru_stime, 1),
        "most_mb": round(used.ru_maxrss / 1024),
        "stages": stages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=tuple(CASES), default=["one"])
    parser.add_argument("--preset", choices=("lite", "sam"), default="lite")
    parser.add_argument("--weights")
    parser.add_argument("--video", type=Path, default=Path(os.environ.get("BODY4D_SHARED", "../shared")) / "videos" / "golf_swing.mp4")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        video, out, preset, weights, masks = given.child
        run_once(Path(video), Path(out), preset, weights or None, Path(masks) if masks else None)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for case in given.case:
            for frames, people in CASES[case]:
                film = make_film(given.video, Path(place) / f"{case}{frames}.mp4", frames, people)
                masks: Path | None = None
                if given.preset == "sam":  # lite's masks, which are not measured
                    measure(film, Path(place) / f"masks{case}{frames}", "lite", None, None, given.cores)
                    masks = Path(place) / f"masks{case}{frames}" / "masks.npz"
                out = Path(place) / f"run{case}{frames}"
                row = {"case": case, "preset": given.preset, "frames": frames}
                rows.append(row | measure(film, out, given.preset, given.weights, masks, given.cores))
                if not given.json:
                    stages = ", ".join(f"{name} {stage['seconds']:.1f}" for name, stage in rows[-1]["stages"].items())
                    print(", ".join(f"{key} {value}" for key, value in rows[-1].items() if key != "stages"), f"| s: {stages}", flush=True)
    if given.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
