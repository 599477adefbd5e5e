"""Stretches of a run in which a body is probably wrong: it covers little of its mask, or a limb is faster than any person's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.errors import RunWarning
from body4d.core.types import BodyTrack, Clip

MAX_SPEED_M_S = {"wrist": 20.0, "ankle": 20.0, "hip": 12.0}
"""Nobody is faster, each against the world, or the camera where its path is unknown: a pitcher's or golfer's wrist reaches 10 m/s, a
kicking ankle 20, a sprinter 12."""
MIN_OVERLAP, MIN_OVERLAP_SHARE = 0.5, 0.7
"""A body whose silhouette overlaps its mask less than this, or than this share of what is usual for the person, is in another pose."""
MAX_PAUSE_S = 0.1
"""Stretches that are closer together are told as one."""


@dataclass(frozen=True)
class SuspectStretch:
    """Seconds of the clip, both included, and why: "low_overlap", "impossible_speed"."""

    first_s: float
    last_s: float
    reasons: tuple[str, ...]


_CLAUSES = {"low_overlap": "the body covers little of the person's mask", "impossible_speed": "a limb is faster than any person's"}


def suspect_stretches(track: BodyTrack, clip: Clip) -> tuple[SuspectStretch, ...]:
    """When a person's body is probably wrong, in order. The track is in axes that stay, as far as they are known."""
    times_s = clip.times_s[track.frame_index]
    flags = {"low_overlap": _has_low_overlap(track), "impossible_speed": _is_too_fast(track, times_s * clip.time_scale, clip.shot_index)}
    rows = np.flatnonzero(np.any(list(flags.values()), axis=0))
    if len(rows) == 0:
        return ()
    groups = np.split(rows, np.flatnonzero(np.diff(times_s[rows]) > MAX_PAUSE_S) + 1)
    return tuple(
        SuspectStretch(float(times_s[g[0]]), float(times_s[g[-1]]), tuple(reason for reason, flag in flags.items() if flag[g].any()))
        for g in groups
    )


def suspect_warnings(people: Sequence[BodyTrack], clip: Clip) -> tuple[RunWarning, ...]:
    """One warning for each person who has such stretches."""
    warnings = []
    for track in people:
        if stretches := suspect_stretches(track, clip):
            told = "; ".join(f"{_span(s)} ({', '.join(_CLAUSES[reason] for reason in s.reasons)})" for s in stretches)
            facts = {"person": track.person_id, "stretches": [[s.first_s, s.last_s, list(s.reasons)] for s in stretches]}
            warnings.append(RunWarning("suspect_stretches", f"Person {track.person_id} is probably wrong {told}.", facts=facts))
    return tuple(warnings)


def _span(stretch: SuspectStretch) -> str:
    if stretch.last_s - stretch.first_s < 0.01:
        return f"at {stretch.first_s:.2f} s"
    return f"from {stretch.first_s:.2f} to {stretch.last_s:.2f} s"


def _has_low_overlap(track: BodyTrack) -> Bool[np.ndarray, " t"]:
    if track.mask_iou is None or not np.isfinite(track.mask_iou).any():
        return np.zeros(len(track), bool)
    usual = float(np.nanmedian(track.mask_iou))
    return track.observed & (np.nan_to_num(track.mask_iou, nan=1.0) < max(MIN_OVERLAP_SHARE * usual, min(MIN_OVERLAP, usual)))


def _is_too_fast(track: BodyTrack, times_s: Float[np.ndarray, " t"], shot_index: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " t"]:
    fast = np.zeros(len(track), bool)
    if len(track) < 2:
        return fast
    step = np.linalg.norm(np.diff(track.joints_m.astype(np.float64), axis=0), axis=-1) / np.maximum(np.diff(times_s), 1e-6)[:, None]
    step[np.diff(shot_index[track.frame_index]) > 0] = 0.0  # nobody moves across a cut
    for part, limit in MAX_SPEED_M_S.items():
        columns = [i for i, name in enumerate(track.joint_names) if name.endswith(part)]
        over = (step[:, columns] > limit).any(1)
        fast[:-1] |= over
        fast[1:] |= over
    return fast
