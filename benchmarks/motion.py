"""How good is the smoother? Made tracks with exact truth, noise, outliers, gaps and crossings injected from a seed; five filters, one table.

    python benchmarks/motion.py [--json] [--seed N] [--draws N]

Filters: the raw input (gaps by straight lines), a causal average, one-euro, Butterworth 6 Hz, and ours (smoother and feet). Figures are
of body4d.evaluate.metrics; each is the mean over people and draws. Exit code 1 where a figure that is sought does not hold.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from motion_clips import Made, MadeClip, make
from motion_filters import bridged, butterworth, causal_average, one_euro
from numpy.typing import NDArray

from body4d.config import MotionSettings
from body4d.evaluate import metrics
from body4d.evaluate.score import FOOT_JOINTS, SCORED_JOINTS
from body4d.scene import BodyTrack
from body4d.tracks.footing import settle_feet
from body4d.tracks.grounding import floor_transform
from body4d.tracks.smoothing import smooth

Array = NDArray[Any]

CLIPS: tuple[tuple[Any, int], ...] = (
    ("walk", 30),
    ("walk", 60),
    ("walk", 240),
    ("swing", 30),
    ("swing", 60),
    ("swing", 240),
    ("crossing", 30),
)
FIGURES = {
    "mpjpe_mm": "MPJPE, pelvis aligned, mm",
    "absolute_mm": "MPJPE, absolute, mm",
    "acceleration_m_s2": "acceleration error, m/s²",
    "jitter_m_s3": "jitter, m/s³",
    "wrist_speed_kept": "peak wrist speed kept",
    "foot_sliding_m_s": "foot sliding, m/s",
    "gap_mm": "gap error, absolute, mm",
    "swapped_frames": "frames nearer to the other person",
}
Filter = Callable[[MadeClip], tuple[BodyTrack, ...]]


def each(filtered: Callable[[Made, Array], BodyTrack]) -> Filter:
    return lambda made: tuple(filtered(person, made.clip.times_s) for person in made.people)


def ours(made: MadeClip) -> tuple[BodyTrack, ...]:
    settings = MotionSettings.model_validate({})
    people = tuple(smooth(p.raw, p.rig, made.clip, settings) for p in made.people)
    floor = floor_transform(people, made.camera, settings)
    return settle_feet(people, {p.truth.person_id: p.rig for p in made.people}, made.clip, made.camera, floor, settings)


def each_smooth(made):
    settings = MotionSettings.model_validate({})
    return tuple(smooth(p.raw, p.rig, made.clip, settings) for p in made.people)


FILTERS: dict[str, Filter] = {
    "raw": each(bridged),
    "causal": each(causal_average),
    "one-euro": each(one_euro),
    "butterworth": each(butterworth),
    "unsettled": each_smooth,
    "ours": ours,
}


def figures(made: MadeClip, track: BodyTrack, person: Made) -> dict[str, float]:
    """Every figure of one person. Errors over the frames seen, gap error over the others, the rest over all."""
    truth, times = person.truth, made.clip.times_s
    names = truth.joint_names
    if not np.array_equal(track.frame_index, truth.frame_index):
        raise ValueError(f"{made.name}: the filter covers frames {track.frame_index[[0, -1]]}, not all of {len(truth)}")
    scored = [names.index(n) for n in SCORED_JOINTS]
    feet = [names.index(n) for n in FOOT_JOINTS]
    hips = [SCORED_JOINTS.index("left_hip"), SCORED_JOINTS.index("right_hip")]
    a, b = track.joints_m[:, scored].astype(float), truth.joints_m[:, scored]
    seen = person.raw.observed
    near = np.linalg.norm(track.translation_m - truth.translation_m, axis=-1)
    others = [p for p in made.people if p is not person]
    swapped = [np.linalg.norm(track.translation_m - p.truth.translation_m, axis=-1) < near for p in others]
    return {
        "mpjpe_mm": 1e3 * metrics.mpjpe_m(metrics.centred(a, *hips)[seen], metrics.centred(b, *hips)[seen]),
        "absolute_mm": 1e3 * metrics.mpjpe_m(a[seen], b[seen]),
        "acceleration_m_s2": metrics.acceleration_error_m_s2(a, b, times, track.frame_index),
        "jitter_m_s3": metrics.jitter_m_s3(a, times, track.frame_index),
        "truth_jitter_m_s3": metrics.jitter_m_s3(b, times, track.frame_index),
        "wrist_speed_kept": _wrists(track, truth, times) if made.kind == "swing" else float("nan"),
        "foot_sliding_m_s": metrics.foot_sliding_m_s(track.joints_m[:, feet], truth.joints_m[:, feet], times, track.frame_index),
        "gap_mm": 1e3 * metrics.mpjpe_m(a[~seen], b[~seen]) if (~seen).any() else float("nan"),
        "swapped_frames": float(np.sum(swapped)) if others else float("nan"),
    }


def _wrists(track: BodyTrack, truth: BodyTrack, times_s: Array) -> float:
    """Peak speed over the true one, near the true stroke (a leap elsewhere is an error, not speed); mean of both wrists."""
    kept = []
    for side in ("left", "right"):
        ours, true = (np.linalg.norm(metrics.derivative(t.joint(f"{side}_wrist"), times_s, 1), axis=-1) for t in (track, truth))
        near = np.abs(times_s[1:] - times_s[1 + true.argmax()]) < 0.1
        kept.append(ours[near].max() / true.max())
    return float(np.mean(kept))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=2, help="injections of each clip, seeds N, N + 1, ...")
    parser.add_argument("--clips", nargs="*", help="such as walk-30 swing-240")
    args = parser.parse_args()
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    seconds = 0.0
    for kind, rate in CLIPS:
        if args.clips and f"{kind}-{rate}" not in args.clips:
            continue
        for draw in range(args.draws):
            made = make(kind, rate, args.seed + draw)
            for name, run in FILTERS.items():
                started = time.perf_counter()
                tracks = run(made)
                seconds += (time.perf_counter() - started) * (name == "ours")
                rows = [figures(made, track, person) for track, person in zip(tracks, made.people, strict=True)]
                found.setdefault(made.name, {}).setdefault(name, []).extend(rows)
    for clip, by in found.items():
        print(clip)
        for name, rows in by.items():
            print(f"  {name:12}", "  ".join(f"{k} {np.mean([r[k] for r in rows]):.3g}" for k in rows[0]))
    print("seconds", seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
