"""How far is preset lite from joints that several cameras, or markers, have measured? Runs the clips, or takes finished runs.

    python benchmarks/real_truth.py TRUTH.npz VIDEO [TRUTH.npz VIDEO ...] --camera NAME [NAME ...] --fov F [F ...]
        [--landmarks full|heavy] [--set KEY=VALUE ...] [--run FOLDER ...] [--out FOLDER] [--person 1] [--json]

TRUTH.npz is a file as ``body4d.evaluate.measured_truth`` describes it; --camera names whose view VIDEO is, --fov its horizontal field of view
in degrees. Beside the result's figures stand those of BlazePose's own 3D landmarks on the same frames (result / landmarks). With --run the
figures are those of finished runs, one folder for each pair, and VIDEO is not opened. Up direction: the angle between the run's vertical and
the true one. Within 1, 2 sigma: the share of errors of at most one and two joint_sigma_m; errors that are normal and alike in all three
directions would have 0.61 and 0.99. Runs are kept below --out (runs/truth) and go on where they were.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from body4d.config.loading import load_settings, parse_assignments
from body4d.evaluate.measured_truth import MeasuredScore, load_measured_truth, load_run, measured_scores_table, score_measured
from body4d.run.pipeline import Pipeline


def settings_of(fov_deg: float, landmarks: str | None, assignments: list[str]):
    """Settings of a run whose numbers alone are wanted."""
    chosen = {"preset": "lite", "camera.fov_deg": fov_deg, "pictures.enabled": False, **parse_assignments(assignments)}
    if landmarks is not None:
        chosen["blazepose.landmarks"] = landmarks
    return load_settings(None, chosen)


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
        print(json.dumps({name: asdict(score) for name, score in scores.items()}))
    else:
        print(measured_scores_table(scores))


if __name__ == "__main__":
    main()
