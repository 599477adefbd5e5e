"""How good a run looks by itself, without any truth: figures of each person, which ``body4d info`` prints."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Bool

from body4d.core.errors import RunWarning
from body4d.core.rig import Rig
from body4d.core.stages import ProgressFn
from body4d.core.types import BodyTrack, Camera, MaskTrack, Scene
from body4d.evaluate.metrics import jitter_m_s3, mask_iou
from body4d.evaluate.score import SCORED_JOINTS
from body4d.motion.world import to_reference
from body4d.runtime.cores import usable_cores

MIN_VISIBILITY = 0.5
"""A keypoint counts as measured from this visibility on. Below it the network guesses (BlazePose's own threshold for drawing)."""

POOR_ERROR_PERCENT, POOR_MASK_IOU = 3.5, 0.65
"""A body that misses the keypoints by more than this share of height, or overlaps its mask by less, explains the picture poorly: half of
one limb is hidden, or the person is. Clear clips lie between 1 and 2 per cent and above 0.75."""

MIN_LYING_DEG, MIN_LYING_SHARE = 60.0, 0.8
"""A trunk that leans by more than this in so large a share of the frames lies or hangs, or the film lies on its side."""

_PAIRED = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "heel", "big_toe")
BODY_KEYPOINTS = frozenset({"nose", *(f"{side}_{part}" for part in _PAIRED for side in ("left", "right"))})
"""Keypoints that the 2D error is taken over: joints and feet. Eyes, ears and knuckles show details of head and hands instead."""

CHUNK_FRAMES = 64
"""Frames skinned at once: 10 MB of vertices for Anny."""

MAX_WORKERS = 8
"""Chunks compared at a time, on one core each, however many cores there are."""


@dataclass(frozen=True)
class PersonReport:
    """Quality of one person of a run; None where a figure cannot be determined.

    ``error_2d_px`` is the mean distance between projected joints and measured keypoints, over ``BODY_KEYPOINTS`` of at least
    ``MIN_VISIBILITY`` and observed frames. ``error_2d_percent_of_height`` is that error over the median height, in pixels, of the
    standing body at the person's distance (focal length times ``height_m`` over depth), so that crouching does not flatter.
    ``mask_iou`` is the mean overlap of silhouette and mask. ``jitter`` and ``jitter_raw``, in m/s³, are
    ``body4d.evaluate.metrics.jitter_m_s3`` of the final joints and of ``joints_raw_m``, which are not smoothed yet,
    over ``body4d.evaluate.score.SCORED_JOINTS``. ``height_m`` is the standing height from crown to sole, and
    ``height_assumed`` says whether it is the mean of people (``BodyTrack.height_assumed``). ``explains_poorly``: the error is above
    ``POOR_ERROR_PERCENT`` or the overlap below ``POOR_MASK_IOU``.
    """

    id: int
    frames_visible: int
    error_2d_px: float | None
    error_2d_percent_of_height: float | None
    mask_iou: float | None
    jitter: float | None
    jitter_raw: float | None
    height_m: float | None
    height_assumed: bool | None
    explains_poorly: bool = False


def report_people(scene: Scene, heights_m: Mapping[int, float]) -> tuple[PersonReport, ...]:
    """A report of everybody in the scene; ``heights_m`` maps person ids to standing heights."""
    return tuple(_report_person(track, scene, heights_m.get(track.person_id)) for track in scene.people)


def error_2d_px(track: BodyTrack, camera: Camera) -> float | None:
    """See ``PersonReport``."""
    columns = [i for i, name in enumerate(track.joint_names) if name in BODY_KEYPOINTS]
    projected_px = camera.project_at(track.joints_m, track.frame_index)
    distance_px = np.linalg.norm(projected_px - track.keypoints_px, axis=-1)[:, columns]
    counted = track.observed[:, None] & (track.visibility[:, columns] >= MIN_VISIBILITY) & np.isfinite(distance_px)
    return float(distance_px[counted].mean()) if counted.any() else None


def standing_height_px(track: BodyTrack, camera: Camera, height_m: float) -> float | None:
    """Median over observed frames of how tall the standing body would be at the person's distance, in pixels."""
    depth_m = track.translation_m[track.observed, 2]
    focal_px = camera.focal_px_at(track.frame_index[track.observed])
    height_px = focal_px[depth_m > 0] * height_m / depth_m[depth_m > 0]
    return float(np.median(height_px)) if len(height_px) else None


def _report_person(track: BodyTrack, scene: Scene, height_m: float | None) -> PersonReport:
    error_px = error_2d_px(track, scene.camera)
    height_px = standing_height_px(track, scene.camera, height_m) if height_m else None
    percent = 100 * error_px / height_px if error_px is not None and height_px else None
    iou = _mean_finite(track.mask_iou)
    (still,) = to_reference((track,), scene.camera)  # The camera's own shake is none of the person's.
    return PersonReport(
        id=track.person_id,
        frames_visible=int(track.observed.sum()),
        error_2d_px=_rounded(error_px, 3),
        error_2d_percent_of_height=_rounded(percent, 3),
        mask_iou=_rounded(iou, 4),
        explains_poorly=(percent is not None and percent > POOR_ERROR_PERCENT) or (iou is not None and iou < POOR_MASK_IOU),
        jitter=_rounded(_jitter(still, still.joints_m, scene), 3),
        jitter_raw=_rounded(_jitter(still, still.joints_raw_m, scene), 3),
        height_m=_rounded(height_m, 4),
        height_assumed=track.height_assumed,
    )


def quality_warnings(people: Sequence[BodyTrack], reports: Sequence[PersonReport]) -> tuple[RunWarning, ...]:
    """Who is explained poorly, and who lies or hangs, as in a film whose orientation was lost. Pure."""
    warnings = []
    for track, report in zip(people, reports, strict=True):
        if report.explains_poorly:
            figures = {
                "off the keypoints by {:.1f} % of height": report.error_2d_percent_of_height,
                "overlap with the mask {:.2f}": report.mask_iou,
            }
            told = ", ".join(text.format(value) for text, value in figures.items() if value is not None)
            facts = {"person": report.id, "error_percent": report.error_2d_percent_of_height, "mask_iou": report.mask_iou}
            message = f"Person {report.id}'s body explains the picture poorly ({told}): do not rely on it."
            warnings.append(RunWarning("explains_poorly", message, "Use a film in which the person is seen better.", facts))
        if not report.explains_poorly and (turn_deg := righting_turn_deg(track)):
            how = "on their head" if turn_deg == 180 else "on their side"
            message = f"Person {report.id} is {how} in the picture for most of the film."
            hint = f"If the film lost its orientation, --rotate {turn_deg} sets it upright."
            warnings.append(RunWarning("not_upright", message, hint, {"person": report.id, "rotate_deg": turn_deg}))
    return tuple(warnings)


def righting_turn_deg(track: BodyTrack) -> int:
    """By how many degrees clockwise the film would have to be turned so that the person's trunk stands upright; 0 where it does. Pure."""
    columns = [[track.joint_names.index(f"{side}_{part}") for side in ("left", "right")] for part in ("shoulder", "hip")]
    shoulders, hips = (track.joints_m[track.observed][:, pair].mean(1) for pair in columns)
    trunk = shoulders - hips
    if not len(trunk):
        return 0
    lean_deg = np.degrees(np.arccos(np.clip(-trunk[:, 1] / np.maximum(np.linalg.norm(trunk, axis=-1), 1e-9), -1, 1)))
    if np.mean(lean_deg > MIN_LYING_DEG) < MIN_LYING_SHARE:
        return 0
    right, down = np.median(trunk[:, 0]), np.median(trunk[:, 1])
    if abs(right) < abs(down):
        return 180 if down > 0 else 0
    return 270 if right > 0 else 90


def _jitter(track: BodyTrack, joints_m: np.ndarray | None, scene: Scene) -> float | None:
    if joints_m is None:
        return None
    columns = [track.joint_names.index(name) for name in SCORED_JOINTS]
    # Raw joints are NaN where a gap was bridged; the frames on either side of it do not follow each other.
    known = np.isfinite(joints_m[:, columns]).all((1, 2))
    frames = track.frame_index[known]
    # Numbered with a hole where nothing leads from one frame to the next, so that no jerk is taken across a cut.
    apart = frames + scene.clip.stretch_index[frames]
    return jitter_m_s3(joints_m[known][:, columns], scene.clip.times_s[frames] * scene.clip.time_scale, apart)


def _mean_finite(values: np.ndarray | None) -> float | None:
    finite = values[np.isfinite(values)] if values is not None else np.empty(0)
    return float(finite.mean()) if len(finite) else None


def _rounded(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None and np.isfinite(value) else None


def measure_mask_iou(
    people: Sequence[BodyTrack], rigs: Mapping[int, Rig], masks: Sequence[MaskTrack], camera: Camera, report: ProgressFn
) -> tuple[BodyTrack, ...]:
    """The same people with ``mask_iou`` filled in: the overlap of each rendered silhouette with the person's mask, NaN without a mask.

    Pixels of other people's masks are left out, because a person in front hides the other's body but not its silhouette.
    """
    total = sum(len(track) for track in people)
    measured, done = [], 0
    by_person = {track.person_id: track for track in masks}
    with ThreadPoolExecutor(min(usable_cores(), MAX_WORKERS)) as pool:
        for track in people:
            own = by_person.get(track.person_id)
            iou = np.full(len(track), np.nan)
            if own is not None:
                others = [mask for person_id, mask in by_person.items() if person_id != track.person_id]
                chunks = [np.arange(first, min(first + CHUNK_FRAMES, len(track))) for first in range(0, len(track), CHUNK_FRAMES)]
                boxes = [tuple(box) for box in own.boxes_px().astype(int).tolist()]
                of_chunk = partial(
                    _silhouette_ious, track, rig=rigs[track.person_id], own=own, own_boxes=boxes, others=others, camera=camera
                )
                for rows, found in zip(chunks, pool.map(of_chunk, chunks), strict=True):
                    iou[rows] = found
                    report(done + int(rows[-1]) + 1, total)
            done += len(track)
            measured.append(replace(track, mask_iou=iou))
    return tuple(measured)


def silhouette_iou(
    silhouette: Bool[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], occluded: Bool[np.ndarray, "h w"] | None = None
) -> float:
    """Intersection over union of a silhouette and a mask without their ``occluded`` pixels; NaN where none of the mask is left."""
    if occluded is not None:
        silhouette, mask = silhouette & ~occluded, mask & ~occluded
    return mask_iou(silhouette, mask) if mask.any() else float("nan")


def _silhouette_ious(
    track: BodyTrack,
    rows: np.ndarray,
    rig: Rig,
    own: MaskTrack,
    own_boxes: Sequence[tuple[int, int, int, int]],
    others: Sequence[MaskTrack],
    camera: Camera,
) -> np.ndarray:
    from body4d.render.rasterizer import silhouette_part

    vertices = rig.vertices(*rig.forward(track.rotations[rows], track.translation_m[rows]))
    out = np.full(len(rows), np.nan)
    for n, frame in enumerate(track.frame_index[rows].tolist()):
        row = own.row(frame)
        if row is None:
            continue
        # Of a large picture most is neither.
        drawn, drawn_box = silhouette_part(vertices[n], rig.faces, camera.at(frame))
        box = _around(drawn_box, own_boxes[row])
        shape = np.zeros((box[3] - box[1], box[2] - box[0]), bool)
        left, top = drawn_box[0] - box[0], drawn_box[1] - box[1]
        shape[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
        mask = own.part(row, box)
        other_masks = [other.part(found, box) for other in others if (found := other.row(frame)) is not None]
        occluded = np.logical_or.reduce(other_masks) & ~mask if other_masks else None
        out[n] = silhouette_iou(shape, mask, occluded)
    return out


def _around(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) around two, of which an empty one does not count."""
    if a[0] >= a[2] or b[0] >= b[2]:
        return a if b[0] >= b[2] else b
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
