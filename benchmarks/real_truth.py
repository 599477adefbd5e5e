"""How far is preset lite from joints that several cameras, or markers, have measured? Runs the clips, or takes finished runs.

    python benchmarks/real_truth.py TRUTH.npz VIDEO [TRUTH.npz VIDEO ...] --camera NAME [NAME ...] --fov F [F ...]
        [--landmarks full|heavy] [--set KEY=VALUE ...] [--run FOLDER ...] [--out FOLDER] [--person 1] [--json]

TRUTH.npz is a file as ``body4d.evaluate.measured_truth`` describes it; --camera names whose view VIDEO is, --fov its horizontal field of
view in degrees. Beside the result's figures stand those of BlazePose's own 3D landmarks on the same frames (result / landmarks). With --run
the figures are those of finished runs, one folder for each pair, and VIDEO is not opened. Definitions: docs/evaluation.md. Runs are kept
below --out (runs/truth) and go on where they were.
"""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from body4d.config import Settings
from body4d.config.loading import load_settings, parse_assignments
from body4d.evaluate.measured_truth import MeasuredScore, load_measured_truth, load_run, measured_scores_table, score_measured
from body4d.run.pipeline import Pipeline


def settings_of(fov_deg: float | None, landmarks: str | None, assignments: list[str]) -> Settings:
    """Settings of a run of which only the numbers are wanted; without ``fov_deg`` the field of view is found as in any run."""
    chosen = {"preset": "lite", "pictures.enabled": False, **parse_assignments(assignments)}
    if fov_deg is not None:
        chosen["camera.fov_deg"] = fov_deg
    if landmarks is not None:
        chosen["blazepose.landmarks"] = landmarks
    return load_settings(None, chosen)


def known(value: Any) -> Any:
    """``value`` for JSON: what could not be judged is null."""
    if isinstance(value, dict):
        return {name: known(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [known(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="TRUTH.npz VIDEO", type=Path)
    parser.add_argument("--camera", nargs="+", required=True)
    parser.add_argument("--fov", nargs="+", type=float, default=[], metavar="DEGREES")
    parser.add_argument("--landmarks", choices=("full", "heavy"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments")
    parser.add_argument("--run", nargs="+", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("runs/truth"))
    parser.add_argument("--person", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    truths, videos = options.pairs[::2], options.pairs[1::2]
    given = options.run or options.fov
    if not len(truths) == len(videos) == len(options.camera) == len(given):
        parser.error("each TRUTH.npz needs its VIDEO, its --camera, and its --fov or --run")
    scores: dict[str, MeasuredScore] = {}
    for i, (truth, video, camera) in enumerate(zip(truths, videos, options.camera, strict=True)):
        if options.run:
            folder = options.run[i]
        else:
            folder = options.out / "-".join(filter(None, (video.stem, options.landmarks)))
            Pipeline.load(settings_of(options.fov[i], options.landmarks, options.assignments)).run(video, folder)
        scores[video.stem] = score_measured(*load_run(folder), load_measured_truth(truth, camera), options.person)
    if options.json:
        print(json.dumps(known({name: asdict(score) for name, score in scores.items()})))
    else:
        print(measured_scores_table(scores))


if __name__ == "__main__":
    main()
