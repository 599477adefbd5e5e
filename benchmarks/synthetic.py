"""How far is preset lite from recorded motions that are filmed with exact truth?

    python benchmarks/synthetic.py --motion FILE [FILE ...] [--view V ...] [--seed N] [--rate 30] [--start S] [--seconds S]
        [--club auto|on|off] [--landmarks full|heavy] [--set KEY=VALUE ...] [--out FOLDER] [--json]

FILE is BVH, C3D (golf markers) or DeepMimic's text (body4d.evaluate.synthetic.motion_file). Each view is face-on (default),
down-the-line, oblique, behind, other-side, or AZIMUTH,ELEVATION in degrees. A club is held, unless --club says otherwise, where the hands
are joined for most of the time. The figures are those of benchmarks/real_truth.py, twelve joints; then, with a club, the turn of pelvis and
shoulders at the top of the backswing, true and recovered. Films and runs are kept below --out (runs/synthetic); a film is made once.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from real_truth import known, settings_of

from body4d.core.scene_io import load_scene
from body4d.core.types import Scene
from body4d.evaluate import metrics
from body4d.evaluate.measured_truth import MeasuredScore, load_run, measured_scores_table, score_measured, truth_of_scene, turn_at_top
from body4d.evaluate.synthetic.clip import make_motion_clip
from body4d.evaluate.synthetic.motion_file import load_motion
from body4d.evaluate.synthetic.motions import MOTION_VIEWS
from body4d.run.pipeline import Pipeline


def view_of(text: str) -> str | tuple[float, float]:
    """A named view, or azimuth and elevation."""
    if text in MOTION_VIEWS:
        return text
    azimuth, _, elevation = text.partition(",")
    return float(azimuth), float(elevation or 5.0)


def swing_figures(scene: Scene, truth: Scene) -> dict[str, Any]:
    """True peak speed of each wrist as the film's frames have it, and turns at the top, true and recovered."""
    true, found = truth.people[0], scene.people[0]
    rows = [r for r, f in enumerate(true.frame_index) if found.row(int(f)) is not None]
    found_rows = [found.row(int(true.frame_index[r])) for r in rows]
    times_s, frames = truth.clip.times_s[true.frame_index[rows]], true.frame_index[rows]
    up = truth.T_world_camera[1, :3] / np.linalg.norm(truth.T_world_camera[1, :3])
    a = {name: true.joint(name)[rows].astype(np.float64) for name in true.joint_names}
    b = {name: found.joint(name)[found_rows].astype(np.float64) for name in found.joint_names}
    top = turn_at_top(a, up)
    return {
        "true_wrist_peaks_m_s": [metrics.peak_speed_m_s(a[f"{side}_wrist"], times_s, frames) for side in ("left", "right")],
        "top_frame": int(frames[top.row]),
        "true_turn_deg": {"pelvis": top.pelvis_deg, "shoulders": top.shoulders_deg},
        "found_turn_deg": {"pelvis": turn_at_top(b, up, top.row).pelvis_deg, "shoulders": turn_at_top(b, up, top.row).shoulders_deg},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", nargs="+", required=True, type=Path, metavar="FILE")
    parser.add_argument("--view", nargs="+", default=["face-on"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--club", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--landmarks", choices=("full", "heavy"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments")
    parser.add_argument("--out", type=Path, default=Path("runs/synthetic"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    scores: dict[str, MeasuredScore] = {}
    swings: dict[str, dict[str, Any]] = {}
    for path in options.motion:
        motion = load_motion(path)
        with_club = options.club == "on" or (options.club == "auto" and motion.hands_joined_share > 0.5)
        for view in options.view:
            name = f"{path.stem} {view}"
            film = options.out / f"{path.stem}-{view}-{options.rate}-{options.seed}-{options.start:g}-{options.seconds}-{options.club}"
            if not (film / "truth.npz").is_file():  # written last
                placed = {"start_s": options.start, "seconds": options.seconds, "with_club": with_club}
                make_motion_clip(motion, film, view=view_of(view), rate=options.rate, seed=options.seed, **placed)
            settings = settings_of(None, options.landmarks, options.assignments)
            folder = film / f"run-{options.landmarks or 'default'}"
            Pipeline.load(settings).run(film / "recorded.mp4", folder)
            scene, masks = load_run(folder)
            truth = load_scene(film / "truth.npz")
            scores[name] = score_measured(scene, masks, truth_of_scene(truth))
            if with_club:
                swings[name] = swing_figures(scene, truth)
    if options.json:
        print(json.dumps(known({name: {**asdict(score), "swing": swings.get(name)} for name, score in scores.items()})))
        return
    print(measured_scores_table(scores))
    for name, swing in swings.items():
        true, found = swing["true_turn_deg"], swing["found_turn_deg"]
        peaks = ", ".join(f"{v:.1f}" for v in swing["true_wrist_peaks_m_s"])
        print(f"{name}: true wrist peaks {peaks} m/s; turn at the top (frame {swing['top_frame']}), true and recovered: ", end="")
        print(f"pelvis {true['pelvis']:.0f}, {found['pelvis']:.0f}; shoulders {true['shoulders']:.0f}, {found['shoulders']:.0f} degrees")


if __name__ == "__main__":
    main()
