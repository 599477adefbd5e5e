"""A run against the truth: people are matched, and every metric of ``body4d.evaluate.metrics`` goes into one table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from body4d.core.errors import InputError
from body4d.core.types import BodyTrack, Camera, MaskTrack, Scene
from body4d.evaluate import metrics

SCORED_JOINTS = (
    "nose",
    *(f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")),
)
"""Joints of MPJPE and the other errors: the twelve of the limbs and the nose, which every joint set here has. With eyes and ears the head
would count five times."""

FOOT_JOINTS = ("left_heel", "left_big_toe", "right_heel", "right_big_toe")

MAX_ASPECT_DIFFERENCE = 0.02
"""Run and truth are of one video only if their aspect ratios differ by at most this share, which resizing to whole pixels may cause."""


@dataclass(frozen=True)
class PersonScore:
    """One true person against the predicted track that matches best; NaN where there is none or nothing to compare.

    The person is in ``frames`` frames, in ``frames_with_body`` of which the run has a body for them. Errors are over the latter.
    """

    truth_id: int
    person_id: int | None
    frames: int
    frames_with_body: int
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
    """A whole run: people in the truth's order, and the CLEAR MOT counts over the clip."""

    people: tuple[PersonScore, ...]
    frames: int
    identity_switches: int
    misses: int
    false_positives: int
    mota: float


def score_scene(scene: Scene, masks: Sequence[MaskTrack], truth_scene: Scene, truth_masks: Sequence[MaskTrack]) -> RunScore:
    """Score a run against the truth of the same video. Frames are matched by their number in the file.

    Raises InputError where the two are not of one video.
    """
    truth_frame = truth_frames(scene, truth_scene)
    counts, matched, mean_iou = _match(masks, truth_masks, truth_frame)
    bodies = {p.person_id: p for p in scene.people}
    people = []
    for truth in truth_scene.people:
        track_id = matched.get(truth.person_id)
        iou = mean_iou.get((truth.person_id, track_id), float("nan")) if track_id is not None else float("nan")
        body = bodies.get(track_id) if track_id is not None else None
        people.append(_score_person(truth, body, track_id, iou, scene, truth_scene.camera, truth_frame))
    return RunScore(tuple(people), len(scene.clip), counts.identity_switches, counts.misses, counts.false_positives, counts.mota)


def matched_people(
    scene: Scene, masks: Sequence[MaskTrack], truth_scene: Scene, truth_masks: Sequence[MaskTrack]
) -> list[tuple[BodyTrack, BodyTrack | None]]:
    """Each true person, and the run's body of the predicted track that matches best."""
    _, matched, _ = _match(masks, truth_masks, truth_frames(scene, truth_scene))
    bodies = {p.person_id: p for p in scene.people}
    return [(truth, bodies.get(matched.get(truth.person_id, -1))) for truth in truth_scene.people]


def _match(
    masks: Sequence[MaskTrack], truth_masks: Sequence[MaskTrack], truth_frame: np.ndarray
) -> tuple[metrics.ClearMotCounts, dict[int, int], dict[tuple[int, int], float]]:
    """CLEAR MOT counts, the predicted track of each true person, and the mean IoU of all pairs."""
    overlaps, mean_iou = _overlaps(masks, truth_masks, truth_frame)
    counts = metrics.clear_mot(overlaps)
    return counts, metrics.match_identities(counts.overlap_sum), mean_iou


_OTHER_VIDEO_HINT = "Score a run of the video that lies beside the truth."


def truth_frames(scene: Scene, truth: Scene) -> np.ndarray:
    """For each frame of the run's clip, the truth's frame."""
    run, true = scene.clip, truth.clip
    truth_frame = {int(f): i for i, f in enumerate(true.source_frames)}
    missing = [int(f) for f in run.source_frames if int(f) not in truth_frame]
    if missing:
        raise InputError(
            f"The run covers frame {missing[0]} of its video, and the truth has {len(truth_frame)} frames: they are not of one video.",
            code="truth_of_other_frames",
            hint=_OTHER_VIDEO_HINT,
            frame=missing[0],
            truth_frames=len(truth_frame),
        )
    if abs(run.width_px / run.height_px / (true.width_px / true.height_px) - 1) > MAX_ASPECT_DIFFERENCE:
        raise InputError(
            f"The run's pictures are {run.width_px}x{run.height_px} and the truth's {true.width_px}x{true.height_px}: "
            "they are not of one video.",
            code="truth_of_other_aspect",
            hint=_OTHER_VIDEO_HINT,
            run_size_px=[run.width_px, run.height_px],
            truth_size_px=[true.width_px, true.height_px],
        )
    return np.array([truth_frame[int(f)] for f in run.source_frames], np.int64)


def _resized(mask: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """``mask`` at another size, nearest pixel."""
    if mask.shape == (height_px, width_px):
        return mask
    rows = (np.arange(height_px) + 0.5) * mask.shape[0] / height_px
    columns = (np.arange(width_px) + 0.5) * mask.shape[1] / width_px
    return mask[np.ix_(rows.astype(int), columns.astype(int))]


def _overlaps(
    masks: Sequence[MaskTrack], truth_masks: Sequence[MaskTrack], truth_frame: np.ndarray
) -> tuple[list[metrics.FrameOverlaps], dict[tuple[int, int], float]]:
    """IoU of all pairs on each frame of the run, and each pair's mean over the frames where the true person is visible."""
    rows = [{int(f): r for r, f in enumerate(track.frame_index)} for track in masks]
    truth_rows = [{int(f): r for r, f in enumerate(track.frame_index)} for track in truth_masks]
    pair_ious: dict[tuple[int, int], list[float]] = {(t.person_id, m.person_id): [] for t in truth_masks for m in masks}
    overlaps = []
    for frame, in_truth in enumerate(truth_frame):
        run_masks = _masks_at(masks, rows, frame)
        true_masks = _masks_at(truth_masks, truth_rows, int(in_truth))
        if run_masks:
            true_masks = [(i, _resized(mask, *run_masks[0][1].shape)) for i, mask in true_masks]
        iou = np.array([[metrics.mask_iou(a, b) for _, b in run_masks] for _, a in true_masks]).reshape(len(true_masks), len(run_masks))
        truth_ids, track_ids = [i for i, _ in true_masks], [i for i, _ in run_masks]
        overlaps.append(metrics.FrameOverlaps(truth_ids, track_ids, iou))
        for row, truth_id in enumerate(truth_ids):
            for m in masks:
                value = float(iou[row, track_ids.index(m.person_id)]) if m.person_id in track_ids else 0.0
                pair_ious[truth_id, m.person_id].append(value)
    return overlaps, {pair: float(np.mean(values)) for pair, values in pair_ious.items() if values}


def _masks_at(tracks: Sequence[MaskTrack], rows: Sequence[dict[int, int]], frame: int) -> list[tuple[int, np.ndarray]]:
    """Person ids and masks of all tracks that have a mask with any pixel on ``frame``; ``rows`` maps each track's frames to its rows."""
    decoded = [(track.person_id, track.mask(row[frame])) for track, row in zip(tracks, rows, strict=True) if frame in row]
    return [(person_id, mask) for person_id, mask in decoded if mask.any()]


def _score_person(
    truth: BodyTrack,
    body: BodyTrack | None,
    track_id: int | None,
    iou: float,
    scene: Scene,
    truth_camera: Camera,
    truth_frame: np.ndarray,
) -> PersonScore:
    in_truth = [(f, row) for f, t in enumerate(truth_frame) if (row := truth.row(int(t))) is not None]
    in_both = [(f, row, body.row(f)) for f, row in in_truth if body is not None and body.row(f) is not None]
    if body is None or not in_both:
        return PersonScore(truth.person_id, track_id, len(in_truth), 0, mask_iou=iou)
    frames, truth_rows, body_rows = (np.array(column) for column in zip(*in_both, strict=True))
    times_s = scene.clip.times_s[frames] * scene.clip.time_scale

    def joints(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        return tuple(
            np.stack([track.joint(name)[rows] for name in names], axis=1).astype(np.float64)
            for track, rows in ((body, body_rows), (truth, truth_rows))
        )  # type: ignore[return-value]

    # Speeds are those of people alone: in the axes of the first frame's camera, by the true path for both.
    T = truth_camera.T_reference_camera_at(truth_frame[frames])

    def standing(points: np.ndarray) -> np.ndarray:
        return points if truth_camera.path is None else np.einsum("tab,tkb->tka", T[:, :3, :3], points) + T[:, None, :3, 3]

    predicted, true = joints(SCORED_JOINTS)
    hips = SCORED_JOINTS.index("left_hip"), SCORED_JOINTS.index("right_hip")
    aligned, true_aligned = metrics.pelvis_aligned(predicted, *hips), metrics.pelvis_aligned(true, *hips)
    lateral, depth = metrics.lateral_and_depth_error_m(aligned, true_aligned)
    feet, true_feet = (standing(points) for points in joints(FOOT_JOINTS))
    moved, true_moved = standing(predicted), standing(true)
    peaks = [
        [metrics.peak_speed_m_s(set_[:, SCORED_JOINTS.index(f"{side}_wrist")], times_s, frames) for side in ("left", "right")]
        for set_ in (moved, true_moved)
    ]
    return PersonScore(
        truth_id=truth.person_id,
        person_id=track_id,
        frames=len(in_truth),
        frames_with_body=len(in_both),
        mpjpe_mm=1e3 * metrics.mpjpe_m(aligned, true_aligned),
        pa_mpjpe_mm=1e3 * metrics.pa_mpjpe_m(predicted, true),
        absolute_mpjpe_mm=1e3 * metrics.mpjpe_m(predicted, true),
        lateral_error_mm=1e3 * lateral,
        depth_error_mm=1e3 * depth,
        acceleration_error_m_s2=metrics.acceleration_error_m_s2(moved, true_moved, times_s, frames),
        jitter_m_s3=metrics.jitter_m_s3(moved, times_s, frames),
        truth_jitter_m_s3=metrics.jitter_m_s3(true_moved, times_s, frames),
        foot_sliding_m_s=metrics.foot_sliding_m_s(feet, true_feet, times_s, frames),
        peak_wrist_speed_kept=float(np.mean(np.array(peaks[0]) / np.array(peaks[1]))),
        mask_iou=iou,
    )


_LABELS = {
    "frames_with_body": "frames with a body",
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
    """The score as text: one column per true person, then the CLEAR MOT counts."""
    heads = [f"person {p.truth_id}" for p in score.people]
    width = max(len(label) for label in _LABELS.values())
    lines = [" " * width + "".join(f"{head:>14}" for head in heads)]
    for name, label in _LABELS.items():
        cells = [f"{p.frames_with_body} of {p.frames}" if name == "frames_with_body" else _number(getattr(p, name)) for p in score.people]
        lines.append(f"{label:<{width}}" + "".join(f"{cell:>14}" for cell in cells))
    lines.append("")
    lines.append(
        f"identity switches {score.identity_switches}, misses {score.misses}, false positives {score.false_positives}, "
        f"MOTA {_number(score.mota)} over {score.frames} frames"
    )
    return "\n".join(lines)


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
