"""Smooth one person's motion over the whole clip, without taking speed off what is fast. Pure numpy.

Rotations and places are series (:mod:`.series`), each with its own noise and band; places are smoothed as direction and distance from the
camera, as distance is far noisier.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from body4d.config import MotionSettings
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Clip
from body4d.geometry.rotations import matrix_to_rotvec, rotation_between, rotvec_to_matrix
from body4d.motion.bandwidth import noise_sigma
from body4d.motion.gaps import bridged_confidence, bridged_segments
from body4d.motion.repeats import BodyChannels, mirrored_joints
from body4d.motion.series import smooth_rotations, smooth_series, unroll_rotations
from body4d.motion.uncertainty import descendant_matrix, joint_sigma_m

_STILL_RAD = 1e-4  # a joint that turns less than this over the clip is not driven and is left alone


def smooth(track: BodyTrack, rig: Rig, clip: Clip, settings: MotionSettings) -> BodyTrack:
    """``track`` smoothed over its whole length, its short absences bridged.

    Rows of the result cover every clip frame from first to last observed one, except absences beyond ``settings.longest_gap_s``.
    Bridged rows have ``observed`` false, no keypoints (NaN), visibility 0 and falling confidence. ``joints_m`` belong to the smoothed
    pose, ``joints_raw_m`` to the given one (NaN where bridged). A track without an observed row comes back as it was.
    Raises ValueError where ``rig`` and ``track`` name different joint sets or numbers of joints.
    """
    if rig.joint_set != track.joint_set or len(rig.parents) != track.rotations.shape[1]:
        raise ValueError(
            f"person {track.person_id} has {track.rotations.shape[1]} joints and keypoints {track.joint_set}, "
            f"the rig {len(rig.parents)} and {rig.joint_set}: they must be of one body"
        )
    if not settings.enabled or not track.observed.any():
        return track
    times_s = clip.times_s * clip.time_scale
    rows = np.flatnonzero(track.observed)
    seen = _TrackObservations(track, rig, rows, times_s[track.frame_index[rows]], settings)
    runs = bridged_segments(track.frame_index[rows], times_s, settings.longest_gap_s)
    parts = [seen.smoothed(run, times_s, settings) for run in runs]
    rotations, translation, turn_variance, place_variance = (np.concatenate(p) for p in zip(*parts, strict=True))
    out = _rebuilt(track, rig, np.concatenate(runs), times_s, rotations, translation, settings)
    sigma = joint_sigma_m(rig, rotations, translation, turn_variance, place_variance)
    return dataclasses.replace(out, joint_sigma_m=sigma.astype(track.joints_m.dtype))


class _TrackObservations:
    """The observed rows of one track: what was measured, and how noisy each part of it is over the whole track."""

    def __init__(self, track: BodyTrack, rig: Rig, rows: np.ndarray, times_s: np.ndarray, settings: MotionSettings) -> None:
        self.frames = track.frame_index[rows]
        local = rotvec_to_matrix(track.rotations[rows].astype(np.float64))
        turned = np.linalg.norm(matrix_to_rotvec(np.swapaxes(local[:1], 2, 3) @ local), axis=-1)
        driven = turned.max(0) > _STILL_RAD
        # Sides are told apart only where an absence may ask for them, and then both of a pair must be there.
        other = mirrored_joints(rig) if np.any(np.diff(self.frames) > 1) else None
        if other is not None:
            driven |= driven[other]
        self.driven = np.flatnonzero(driven)
        self.mirror = None if other is None else np.searchsorted(self.driven, other[self.driven])
        self.still = matrix_to_rotvec(local[0])
        self.local = local[:, self.driven]
        weight = np.nan_to_num(track.confidence[rows], nan=0.0).astype(np.float64)
        visibility = np.nan_to_num(track.visibility[rows], nan=0.0).astype(np.float64)
        evidence = visibility @ keypoint_relevance(rig)[self.driven].T
        self.turn_shares = 1 / np.clip(evidence * weight[:, None], settings.least_weight, 1)
        self.place_shares = 1 / np.clip(visibility.mean(1) * weight, settings.least_weight, 1)[:, None]
        self.view = ViewCoordinates.onto(track.translation_m[rows].astype(np.float64))
        self.direction, self.log_distance = self.view.polar(track.translation_m[rows].astype(np.float64))
        self.turn_sigma = noise_sigma(times_s, unroll_rotations(self.local), self.turn_shares, np.radians(settings.least_noise_deg))
        least = settings.least_noise_share
        self.direction_sigma = noise_sigma(times_s, self.direction[:, None], self.place_shares, least)
        self.distance_sigma = noise_sigma(times_s, self.log_distance[:, None, None], self.place_shares, least)

    def smoothed(
        self, frames: np.ndarray, times_s: np.ndarray, settings: MotionSettings
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rotation vectors (T, J, 3) and translations (T, 3) at the clip's ``frames`` (T,), and their variances: (T, J) in rad² about
        each axis, (T,) in m² over all axes."""
        times = times_s[frames]
        here = np.flatnonzero((self.frames >= frames[0]) & (self.frames <= frames[-1]))
        at = self.frames[here] - frames[0]

        def on_timeline(values: np.ndarray, missing: float) -> np.ndarray:
            out = np.full((len(frames), *values.shape[1:]), missing)
            out[at] = values[here]
            return out

        rotations = np.repeat(self.still[None], len(frames), axis=0)
        turn_variance = np.zeros(rotations.shape[:2])
        if len(self.driven):
            variances = on_timeline(self.turn_shares, np.inf) * self.turn_sigma**2
            body = BodyChannels(self.driven == 0, self.mirror)
            local, turn_variance[:, self.driven] = smooth_rotations(times, on_timeline(self.local, np.nan), variances, settings, body)
            rotations[:, self.driven] = matrix_to_rotvec(local)
        shares = on_timeline(self.place_shares, np.inf)
        direction, across = smooth_series(times, on_timeline(self.direction, np.nan)[:, None], shares * self.direction_sigma**2, settings)
        log_m = on_timeline(self.log_distance, np.nan)[:, None, None]
        log_m, along = smooth_series(times, log_m, shares * self.distance_sigma**2, settings, settings.distance_doubt)
        place_variance = np.exp(2 * log_m[:, 0, 0]) * (2 * across[:, 0] + along[:, 0])
        return rotations, self.view.place(direction[:, 0], log_m[:, 0, 0]), turn_variance, place_variance


@dataclass(frozen=True)
class ViewCoordinates:
    """Places as the camera sees them: direction (rad, as a map around the person's mean direction) and logarithm of distance.

    ``R_view_camera`` (3, 3) turns the mean direction onto +z. The map is azimuthal equidistant: it holds everything but the point behind.
    """

    R_view_camera: np.ndarray

    @staticmethod
    def onto(points_m: np.ndarray) -> "ViewCoordinates":
        """The view onto ``points_m`` (T, 3) in camera axes."""
        rays = points_m / np.maximum(np.linalg.norm(points_m, axis=-1, keepdims=True), 1e-9)
        middle = rays.mean(0)
        if np.linalg.norm(middle) < 1e-6:
            middle = np.array([0.0, 0.0, 1.0])
        return ViewCoordinates(rotation_between(middle, np.array([0.0, 0.0, 1.0])))

    def polar(self, points_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Direction (..., 2) in radians and log distance (...,) of points (..., 3) in metres."""
        p = points_m @ self.R_view_camera.T
        across = np.linalg.norm(p[..., :2], axis=-1, keepdims=True)
        angle = np.arctan2(across, p[..., 2:])
        direction = np.where(across > 1e-12, p[..., :2] / np.maximum(across, 1e-12), 0.0) * angle
        return direction, np.log(np.maximum(np.linalg.norm(p, axis=-1), 1e-6))

    def place(self, direction: np.ndarray, log_distance: np.ndarray) -> np.ndarray:
        """Points (..., 3) in metres, camera axes; undoes :meth:`polar`."""
        angle = np.linalg.norm(direction, axis=-1, keepdims=True)
        ray = np.concatenate([np.sinc(angle / np.pi) * direction, np.cos(angle)], axis=-1)
        return np.exp(log_distance)[..., None] * ray @ self.R_view_camera


def keypoint_relevance(rig: Rig) -> np.ndarray:
    """How far each keypoint tells of each joint's rotation (J, K), rows summing to 1; from the rig itself, so it holds for any body.

    A keypoint tells of a joint it hangs from: by the share of its skin below the joint, the nearer the more (an upper arm is seen by the
    elbow before the wrist). A joint without a keypoint below it is seen with its parent.
    """
    J = len(rig.parents)
    share = descendant_matrix(rig) @ rig.keypoint_weights.T
    anchor = rig.keypoint_anchors_m.sum(1)
    lever_m = np.linalg.norm(anchor[None] - rig.rest_joints_m[:, None], axis=-1)
    # A keypoint on the joint's own centre does not see it turn; 3 cm is where landmark noise begins to hide a turn of a fist's width.
    evidence = np.where(lever_m > 0.03, share / np.maximum(lever_m, 0.03) ** 2, 0.0)
    evidence[share < 0.5] = 0.0
    for j in range(J):
        total = evidence[j].sum()
        evidence[j] = evidence[j] / total if total > 0 else (evidence[rig.parents[j]] if j else 1 / evidence.shape[1])
    return evidence


def _rebuilt(
    track: BodyTrack,
    rig: Rig,
    frames: np.ndarray,
    times_s: np.ndarray,
    rotations: np.ndarray,
    translation_m: np.ndarray,
    settings: MotionSettings,
) -> BodyTrack:
    """A track on ``frames`` with the given motion; what was measured is carried over, and NaN where nothing was."""
    row = np.searchsorted(track.frame_index, frames)
    row = np.minimum(row, len(track) - 1)
    observed = (track.frame_index[row] == frames) & track.observed[row]

    def carried(values: np.ndarray | None, missing: float) -> np.ndarray | None:
        if values is None or values.shape[0] != len(track):
            return values
        return np.where(observed.reshape(-1, *[1] * (values.ndim - 1)), values[row], values.dtype.type(missing))

    confidence = bridged_confidence(times_s[frames], observed, np.nan_to_num(track.confidence[row]), settings.gap_half_life_s)
    joints = np.concatenate([rig.keypoints(*rig.forward(rotations[s], translation_m[s])) for s in _chunks(len(frames))])
    raw = track.joints_m if track.joints_raw_m is None else track.joints_raw_m
    return dataclasses.replace(
        track,
        frame_index=frames.astype(track.frame_index.dtype),
        rotations=rotations.astype(track.rotations.dtype),
        translation_m=translation_m.astype(track.translation_m.dtype),
        joints_m=joints.astype(track.joints_m.dtype),
        joints_raw_m=carried(raw, np.nan),
        keypoints_px=carried(track.keypoints_px, np.nan),
        visibility=carried(track.visibility, 0.0),
        confidence=confidence.astype(track.confidence.dtype),
        observed=observed,
        parameters=carried(track.parameters, np.nan),
        mask_iou=carried(track.mask_iou, np.nan),
        hidden=carried(track.hidden, 0.0),
    )


def _chunks(rows: int, size: int = 1024) -> list[slice]:
    return [slice(i, i + size) for i in range(0, rows, size)]
