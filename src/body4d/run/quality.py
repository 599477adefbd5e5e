"""How good one run looks by itself, without truth: what ``body4d info`` prints. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from body4d.core.types import BodyTrack, Camera, Scene
from body4d.evaluate.metrics import jitter_m_s3
from body4d.evaluate.score import SCORED_JOINTS

VISIBLE_FROM = 0.5
"""A keypoint counts as measured from this visibility on; below it the network guesses (BlazePose's own drawing threshold)."""

_PAIRED = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "heel", "big_toe")
BODY_KEYPOINTS = frozenset({"nose", *(f"{side}_{part}" for part in _PAIRED for side in ("left", "right"))})
"""What error_2d is taken over: joints and feet. Eyes, ears and knuckles say more of the head's and hand's detail than of the body."""


@dataclass(frozen=True)
class PersonReport:
    """One person of a run. None: could not be judged.

    ``error_2d_px``: mean distance between projected joints and measured keypoints of visibility >= 0.5, over :data:`BODY_KEYPOINTS` and
    observed frames; ``error_2d_percent_of_height``: that over the median height of the standing body at the person's distance, in
    pixels (focal length times ``height_m`` over depth), so that crouching does not flatter. ``mask_iou``: mean overlap of silhouette
    and mask. ``jitter``, ``jitter_raw``: :func:`body4d.evaluate.metrics.jitter_m_s3` of the final joints and of ``joints_raw_m``, the
    network's own before any fit or smoothing, over :data:`body4d.evaluate.score.SCORED_JOINTS`, in
    m/s³. ``height_m``: standing height, crown to sole.
    """

    id: int
    frames_visible: int
    error_2d_px: float | None
    error_2d_percent_of_height: float | None
    mask_iou: float | None
    jitter: float | None
    jitter_raw: float | None
    height_m: float | None


def report_people(scene: Scene, heights_m: Mapping[int, float]) -> tuple[PersonReport, ...]:
    """A report of everybody in the scene; ``heights_m`` maps person ids to standing heights."""
    return tuple(_report(track, scene, heights_m.get(track.person_id)) for track in scene.people)


def error_2d_px(track: BodyTrack, camera: Camera) -> float | None:
    """See :class:`PersonReport`."""
    columns = [i for i, name in enumerate(track.joint_names) if name in BODY_KEYPOINTS]
    apart = np.linalg.norm(camera.project(track.joints_m) - track.keypoints_px, axis=-1)[:, columns]
    counted = track.observed[:, None] & (track.visibility[:, columns] >= VISIBLE_FROM) & np.isfinite(apart)
    return float(apart[counted].mean()) if counted.any() else None


def standing_height_px(track: BodyTrack, camera: Camera, height_m: float) -> float | None:
    """Median over observed frames of how tall the standing body would be at the person's distance, in pixels."""
    depth_m = track.translation_m[track.observed, 2]
    depth_m = depth_m[depth_m > 0]
    return float(np.median(camera.focal_px * height_m / depth_m)) if len(depth_m) else None


def _report(track: BodyTrack, scene: Scene, height_m: float | None) -> PersonReport:
    error_px = error_2d_px(track, scene.camera)
    height_px = standing_height_px(track, scene.camera, height_m) if height_m else None
    return PersonReport(
        id=track.person_id,
        frames_visible=int(track.observed.sum()),
        error_2d_px=_rounded(error_px, 3),
        error_2d_percent_of_height=_rounded(100 * error_px / height_px, 3) if error_px is not None and height_px else None,
        mask_iou=_rounded(_mean(track.mask_iou), 4),
        jitter=_rounded(_jitter(track, track.joints_m, scene), 3),
        jitter_raw=_rounded(_jitter(track, track.joints_raw_m, scene), 3),
        height_m=_rounded(height_m, 4),
    )


def _jitter(track: BodyTrack, joints_m: np.ndarray | None, scene: Scene) -> float | None:
    if joints_m is None:
        return None
    columns = [track.joint_names.index(name) for name in SCORED_JOINTS]
    # Where the person was bridged nothing was measured; the frames on either side do not follow each other.
    known = np.isfinite(joints_m[:, columns]).all((1, 2))
    frames = track.frame_index[known]
    return jitter_m_s3(joints_m[known][:, columns], scene.clip.times_s[frames] * scene.clip.time_scale, frames)


def _mean(values: np.ndarray | None) -> float | None:
    judged = values[np.isfinite(values)] if values is not None else np.empty(0)
    return float(judged.mean()) if len(judged) else None


def _rounded(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None and np.isfinite(value) else None
