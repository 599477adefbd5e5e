"""A run against the truth: everybody matched, every metric of :mod:`body4d.evaluate.metrics`, one table."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from body4d.core.errors import InputError
from body4d.core.types import BodyTrack, MaskTrack, Scene
from body4d.evaluate import metrics

SCORED_JOINTS = (
    "nose",
    *(f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")),
)
"""The joints of MPJPE and its kin: the twelve of the limbs and the nose, which every body model and joint set here has. Eyes and ears
would count the head five times."""

FOOT_JOINTS = ("left_heel", "left_big_toe", "right_heel", "right_big_toe")


@dataclass(frozen=True)
class PersonScore:
    """One true person against the follower that matches best; NaN where there is none or nothing to compare.

    ``frames`` the person is truly there, ``frames_found`` of them with a body. Errors are over the frames found.
    """

    truth_id: int
    person_id: int | None
    frames: int
    frames_found: int
    mpjpe_mm: float = float("nan")
    pa_mpjpe_mm: float = float("nan")
    absolute_mpjpe_mm: float = float("nan")
    lateral_error_mm: float = float("nan")
    depth_error_mm: float = float("nan")
    acceleration_error_m_s2: float = float("nan")
    jitter_m_s3: float = float("nan")
    truth_jitter_m_s3: float = float("nan")
    foot_sliding_m_s: float = float("nan")
    peak_wrist_speed_kept: float = float("nan")
    mask_iou: float = float("nan")


@dataclass(frozen=True)
class RunScore:
    """A whole run: people in the truth's order, and the counts of identities over the clip."""

    people: tuple[PersonScore, ...]
    frames: int
    identity_switches: int
    missed: int
    extra: int
    mota: float


def score_scene(scene: Scene, masks: Sequence[MaskTrack], truth_scene: Scene, truth_masks: Sequence[MaskTrack]) -> RunScore:
    """Score a run against the truth of the same video. Frames are matched by their number in the file.

    Raises InputError where the two are not of one video.
    """
    frame_of = _truth_frames(scene, truth_scene)
    overlaps, mean_iou = _overlaps(masks, truth_masks, frame_of)
    identities = metrics.clear_mot(overlaps)
    assigned = metrics.match_identities(identities.overlap_sum)
    bodies = {p.person_id: p for p in scene.people}
    people = []
    for truth in truth_scene.people:
        follower = assigned.get(truth.person_id)
        iou = mean_iou.get((truth.person_id, follower), float("nan")) if follower is not None else float("nan")
        people.append(_person(truth, bodies.get(follower) if follower is not None else None, follower, iou, scene, frame_of))
    return RunScore(tuple(people), len(scene.clip), identities.switches, identities.misses, identities.extra, identities.mota)


def _truth_frames(scene: Scene, truth: Scene) -> np.ndarray:
    """For each frame of the run's clip, the truth's frame."""
    place = {int(f): i for i, f in enumerate(truth.clip.source_frames)}
    missing = [int(f) for f in scene.clip.source_frames if int(f) not in place]
    if missing:
        raise InputError(
            f"The run looks at frame {missing[0]} of its video and the truth has {len(place)} frames: they are not of one video. "
            "Score a run of the video that lies beside the truth."
        )
    run_aspect = scene.clip.width_px / scene.clip.height_px
    if abs(run_aspect / (truth.clip.width_px / truth.clip.height_px) - 1) > 0.02:
        raise InputError(
            f"The run's pictures are {scene.clip.width_px}x{scene.clip.height_px} and the truth's {truth.clip.width_px}x"
            f"{truth.clip.height_px}: they are not of one video. Score a run of the video that lies beside the truth."
        )
    return np.array([place[int(f)] for f in scene.clip.source_frames], np.int64)


def _resized(mask: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """``mask`` at another size, nearest pixel."""
    if mask.shape == (height_px, width_px):
        return mask
    rows = (np.arange(height_px) + 0.5) * mask.shape[0] / height_px
    columns = (np.arange(width_px) + 0.5) * mask.shape[1] / width_px
    return mask[np.ix_(rows.astype(int), columns.astype(int))]


def _overlaps(
    masks: Sequence[MaskTrack], truth_masks: Sequence[MaskTrack], frame_of: np.ndarray
) -> tuple[list[tuple[list[int], list[int], np.ndarray]], dict[tuple[int, int], float]]:
    """IoU of everybody with everybody on each frame of the run, and each pair's mean over the frames where the true one is visible."""
    rows = [{int(f): r for r, f in enumerate(track.frame_index)} for track in masks]
    truth_rows = [{int(f): r for r, f in enumerate(track.frame_index)} for track in truth_masks]
    totals: dict[tuple[int, int], list[float]] = {(t.person_id, m.person_id): [] for t in truth_masks for m in masks}
    overlaps = []
    for frame, truth_frame in enumerate(frame_of):
        here = [(m.person_id, m.mask(r[frame])) for m, r in zip(masks, rows, strict=True) if frame in r]
        here = [(i, mask) for i, mask in here if mask.any()]
        true = [(m.person_id, m.mask(r[int(truth_frame)])) for m, r in zip(truth_masks, truth_rows, strict=True) if int(truth_frame) in r]
        true = [(i, mask) for i, mask in true if mask.any()]
        if here:
            true = [(i, _resized(mask, *here[0][1].shape)) for i, mask in true]
        iou = np.array([[metrics.mask_iou(a, b) for _, b in here] for _, a in true]).reshape(len(true), len(here))
        overlaps.append(([i for i, _ in true], [i for i, _ in here], iou))
        found = [i for i, _ in here]
        for row, (truth_id, _) in enumerate(true):
            for m in masks:
                totals[truth_id, m.person_id].append(float(iou[row, found.index(m.person_id)]) if m.person_id in found else 0.0)
    return overlaps, {pair: float(np.mean(values)) for pair, values in totals.items() if values}


def _person(truth: BodyTrack, body: BodyTrack | None, follower: int | None, iou: float, scene: Scene, frame_of: np.ndarray) -> PersonScore:
    """Score one person."""
    pairs = [(f, truth.row(int(t))) for f, t in enumerate(frame_of)]
    there = [(f, r) for f, r in pairs if r is not None]
    both = [(f, r, body.row(f)) for f, r in there if body is not None and body.row(f) is not None]
    if body is None or not both:
        return PersonScore(truth.person_id, follower, len(there), 0, mask_iou=iou)
    frames, truth_rows, body_rows = (np.array(column) for column in zip(*both, strict=True))
    times_s = scene.clip.times_s[frames] * scene.clip.time_scale

    def joints(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        return tuple(
            np.stack([track.joint(name)[rows] for name in names], axis=1).astype(np.float64)
            for track, rows in ((body, body_rows), (truth, truth_rows))
        )  # type: ignore[return-value]

    mine, true = joints(SCORED_JOINTS)
    hips = SCORED_JOINTS.index("left_hip"), SCORED_JOINTS.index("right_hip")
    mine_c, true_c = metrics.pelvis_aligned(mine, *hips), metrics.pelvis_aligned(true, *hips)
    lateral, depth = metrics.lateral_and_depth_error_m(mine_c, true_c)
    feet, true_feet = joints(FOOT_JOINTS)
    peaks = [
        [metrics.peak_speed_m_s(set_[:, SCORED_JOINTS.index(f"{side}_wrist")], times_s, frames) for side in ("left", "right")]
        for set_ in (mine, true)
    ]
    return PersonScore(
        truth_id=truth.person_id,
        person_id=follower,
        frames=len(there),
        frames_found=len(both),
        mpjpe_mm=1e3 * metrics.mpjpe_m(mine_c, true_c),
        pa_mpjpe_mm=1e3 * metrics.pa_mpjpe_m(mine, true),
        absolute_mpjpe_mm=1e3 * metrics.mpjpe_m(mine, true),
        lateral_error_mm=1e3 * lateral,
        depth_error_mm=1e3 * depth,
        acceleration_error_m_s2=metrics.acceleration_error_m_s2(mine, true, times_s, frames),
        jitter_m_s3=metrics.jitter_m_s3(mine, times_s, frames),
        truth_jitter_m_s3=metrics.jitter_m_s3(true, times_s, frames),
        foot_sliding_m_s=metrics.foot_sliding_m_s(feet, true_feet, times_s, frames),
        peak_wrist_speed_kept=float(np.mean(np.array(peaks[0]) / np.array(peaks[1]))),
        mask_iou=iou,
    )


_LABELS = {
    "frames_found": "frames with a body",
    "mpjpe_mm": "MPJPE, pelvis aligned (mm)",
    "pa_mpjpe_mm": "PA-MPJPE (mm)",
    "absolute_mpjpe_mm": "MPJPE, absolute (mm)",
    "lateral_error_mm": "error across the picture (mm)",
    "depth_error_mm": "error in depth (mm)",
    "acceleration_error_m_s2": "acceleration error (m/s²)",
    "jitter_m_s3": "jitter (m/s³)",
    "truth_jitter_m_s3": "jitter of the truth (m/s³)",
    "foot_sliding_m_s": "foot sliding (m/s)",
    "peak_wrist_speed_kept": "peak wrist speed kept",
    "mask_iou": "mask IoU",
}


def score_table(score: RunScore) -> str:
    """The score as text: one column per true person, then the identities."""
    heads = [f"person {p.truth_id}" for p in score.people]
    width = max(len(label) for label in _LABELS.values())
    lines = [" " * width + "".join(f"{head:>14}" for head in heads)]
    known = {f.name for f in fields(PersonScore)}
    for name, label in _LABELS.items():
        assert name in known
        cells = [f"{p.frames_found} of {p.frames}" if name == "frames_found" else _number(getattr(p, name)) for p in score.people]
        lines.append(f"{label:<{width}}" + "".join(f"{cell:>14}" for cell in cells))
    lines.append("")
    lines.append(
        f"identity switches {score.identity_switches}, missed {score.missed}, extra {score.extra}, "
        f"MOTA {_number(score.mota)} over {score.frames} frames"
    )
    return "\n".join(lines)


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
