"""Smooth one person's motion over the whole clip without slowing what is fast. Pure numpy.

Each joint's rotation is filtered by an RTS smoother in the tangent space of SO(3), rolled out along the trajectory itself, and the root's
translation as direction and log-distance from the camera, because distance is by far the noisier of the two. Where the camera moves along
a known path, all this is done in axes that stay (``body4d.motion.world``), with the translation across and along each frame's own ray.
The cut-off follows the motion: at each moment the lowest one is taken that loses nothing beyond noise (Lepski's method), so that slow
motion is smoothed strongly and a stroke keeps its speed.
The body's shape is one for the whole clip and is not touched: only pose and place change from frame to frame.

Rolling out: the trajectory becomes the sum of its turns from frame to frame, each in the body's own frame; that series is filtered, rolled
back, and unrolled again about the result until it no longer changes ("error state": Solà, "Quaternion kinematics for the error-state
Kalman filter", 2017; rolling: Jupp & Kent, "Fitting smooth paths to spherical data", Applied Statistics 1987). So nothing wraps at
180 degrees.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from body4d.config import MotionSettings
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Clip
from body4d.geometry.rotations import matrix_to_rotvec, rotation_between, rotvec_to_matrix
from body4d.motion.bandwidth import choose_cutoff_hz, median_variance, noise_sigma
from body4d.motion.gaps import BodyChannels, bridged_confidence, bridged_segments, fill_from_repeats, mirrored_joints
from body4d.motion.outliers import burst_outliers, chordal_points, single_frame_outliers
from body4d.motion.rts_smoother import jerk_density, rts_smooth
from body4d.motion.uncertainty import MIN_ROTATION_SIGMA_DEG, descendant_matrix, joint_sigma_m
from body4d.motion.world import ray_axes, rolled_out

MIN_DRIVEN_RAD = 1e-4
"""A joint that turns less than this over the clip is not driven by the pose, and keeps its rotation exactly."""

MIN_WEIGHT = 0.05
"""Weight of a measurement of no visibility or confidence: a guess still counts this much, so that the joint stays near it."""

MIN_TRANSLATION_SIGMA_SHARE = 0.0005
"""No measured translation is more precise than this share of the distance: 2 mm at 4 m."""

DISTANCE_VARIANCE_SCALE = 8.0
"""A network's errors in distance drift with the pose and look like motion. Before anything counts as motion, their variance is taken for
so many times the variance that single frames show."""

GAP_DECAY_S = 0.1
"""Across a gap accelerations decay by a factor of e in this time, for nobody speeds up for a second on end."""

UNROLLING_ROUNDS = 3
"""How often a trajectory is unrolled about its own result. The third changes a golf swing by less than 0.01 degrees."""

MIN_LEVER_M = 0.03
"""A keypoint nearer than this to a joint's centre does not show the joint's rotation: about here landmark noise hides it."""

CHUNK_FRAMES = 1024
"""Frames posed at once."""


def smooth(track: BodyTrack, rig: Rig, clip: Clip, settings: MotionSettings, eye_m: Float[np.ndarray, "n 3"] | None = None) -> BodyTrack:
    """``track`` smoothed over its whole length, its short gaps bridged.

    The track is in the axes of a camera that stands still at their origin or, with ``eye_m``, which is where the camera is on each frame of
    the clip, in axes that stay.

    Rows of the result cover every clip frame from the first to the last observed one, except gaps longer than ``settings.max_gap_s`` and
    those across which nothing is smoothed (``Clip.stretch_index``).
    Bridged rows have ``observed`` false, no keypoints (NaN), visibility 0 and falling confidence. ``joints_m`` belong to the smoothed
    pose, ``joints_raw_m`` to the given one (NaN where bridged). A track without an observed row is returned as it is.
    Raises ValueError where ``rig`` and ``track`` have different joint sets or numbers of joints.
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
    observations = _TrackObservations(track, rig, rows, times_s[track.frame_index[rows]], eye_m)
    segments = bridged_segments(track.frame_index[rows], times_s, settings.max_gap_s, clip.stretch_index)
    parts = [observations.smooth_segment(frames, times_s, settings) for frames in segments]
    rotations, translation, rotation_variance, translation_variance = (np.concatenate(p) for p in zip(*parts, strict=True))
    out = _build_track(track, rig, np.concatenate(segments), times_s, rotations, translation)
    sigma = joint_sigma_m(rig, rotations, translation, rotation_variance, translation_variance)
    return dataclasses.replace(out, joint_sigma_m=sigma.astype(track.joints_m.dtype))


class _TrackObservations:
    """The observed rows of one track: what was measured, and how noisy each part of it is over the whole track."""

    def __init__(self, track: BodyTrack, rig: Rig, rows: np.ndarray, times_s: np.ndarray, eye_m: np.ndarray | None) -> None:
        self.frames = track.frame_index[rows]
        local = rotvec_to_matrix(track.rotations[rows].astype(np.float64))
        turned = np.linalg.norm(matrix_to_rotvec(np.swapaxes(local[:1], 2, 3) @ local), axis=-1)
        driven = turned.max(0) > MIN_DRIVEN_RAD
        # Counterparts are needed only where a gap may be filled from the other side, and then both of a pair must be driven.
        counterpart = mirrored_joints(rig) if np.any(np.diff(self.frames) > 1) else None
        if counterpart is not None:
            driven |= driven[counterpart]
        self.driven = np.flatnonzero(driven)
        self.mirror = None if counterpart is None else np.searchsorted(self.driven, counterpart[self.driven])
        self.constant = matrix_to_rotvec(local[0])
        self.local = local[:, self.driven]
        weight = np.nan_to_num(track.confidence[rows], nan=0.0).astype(np.float64)
        visibility = np.nan_to_num(track.visibility[rows], nan=0.0).astype(np.float64)
        joint_visibility = visibility @ keypoint_relevance(rig)[self.driven].T
        self.rotation_variance_ratio = 1 / np.clip(joint_visibility * weight[:, None], MIN_WEIGHT, 1)
        self.translation_variance_ratio = 1 / np.clip(visibility.mean(1) * weight, MIN_WEIGHT, 1)[:, None]
        self.rotation_sigma = noise_sigma(
            times_s, unroll_rotations(self.local), self.rotation_variance_ratio, np.radians(MIN_ROTATION_SIGMA_DEG)
        )
        root_m = track.translation_m[rows].astype(np.float64)
        self.root = (
            _StillView(times_s, root_m, self.translation_variance_ratio)
            if eye_m is None
            else _MovingView(times_s, root_m, self.translation_variance_ratio, self.frames, eye_m)
        )

    def smooth_segment(
        self, frames: np.ndarray, times_s: np.ndarray, settings: MotionSettings
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rotation vectors (T, J, 3) and translations (T, 3) at the clip's consecutive ``frames`` (T,), and their variances: (T, J) in
        rad² about each axis, (T,) in m² over all axes."""
        times = times_s[frames]
        rows = np.flatnonzero((self.frames >= frames[0]) & (self.frames <= frames[-1]))
        at = self.frames[rows] - frames[0]

        def on_timeline(values: np.ndarray, missing: float) -> np.ndarray:
            out = np.full((len(frames), *values.shape[1:]), missing)
            out[at] = values[rows]
            return out

        rotations = np.repeat(self.constant[None], len(frames), axis=0)
        rotation_variance = np.zeros(rotations.shape[:2])
        if len(self.driven):
            variances = on_timeline(self.rotation_variance_ratio, np.inf) * self.rotation_sigma**2
            channels = BodyChannels(self.driven == 0, self.mirror)
            local, variance = smooth_rotations(times, on_timeline(self.local, np.nan), variances, settings, channels)
            rotations[:, self.driven], rotation_variance[:, self.driven] = matrix_to_rotvec(local), variance
        translation, translation_variance = self.root.smooth(times, frames, on_timeline, settings)
        return rotations, translation, rotation_variance, translation_variance


OnTimeline = Callable[[np.ndarray, float], np.ndarray]
"""Spreads values of the observed rows over the frames of a segment, with another value where nothing was observed."""


class _StillView:
    """Root positions seen by a camera that stands still at the origin of their axes."""

    def __init__(self, times_s: np.ndarray, root_m: np.ndarray, variance_ratio: np.ndarray) -> None:
        self.ratio = variance_ratio
        self.view = ViewCoordinates.around(root_m)
        self.direction, self.log_distance = self.view.from_points(root_m)
        self.direction_sigma = noise_sigma(times_s, self.direction[:, None], variance_ratio, MIN_TRANSLATION_SIGMA_SHARE)
        self.distance_sigma = noise_sigma(times_s, self.log_distance[:, None, None], variance_ratio, MIN_TRANSLATION_SIGMA_SHARE)

    def smooth(
        self, times_s: np.ndarray, frames: np.ndarray, on_timeline: OnTimeline, settings: MotionSettings
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions (T, 3) on the frames of a segment, and their variances (T,) in m² over all axes."""
        ratio = on_timeline(self.ratio, np.inf)
        direction = on_timeline(self.direction, np.nan)[:, None]
        direction, direction_variance = smooth_series(times_s, direction, ratio * self.direction_sigma**2, settings)
        log_m = on_timeline(self.log_distance, np.nan)[:, None, None]
        log_m, log_variance = smooth_series(times_s, log_m, ratio * self.distance_sigma**2, settings, DISTANCE_VARIANCE_SCALE)
        variance = np.exp(2 * log_m[:, 0, 0]) * (2 * direction_variance[:, 0] + log_variance[:, 0])
        return self.view.to_points(direction[:, 0], log_m[:, 0, 0]), variance


class _MovingView:
    """Root positions in axes that stay, seen by a camera that is at ``eye_m`` (n, 3) on the frames of the clip.

    The path of the root is rolled out in axes that go with the ray to it (``rolled_out``), so that across the ray and along it are filtered
    apart, as for a camera that stands still, and what is smoothed is the person's own path and not the camera's.
    """

    def __init__(self, times_s: np.ndarray, root_m: np.ndarray, variance_ratio: np.ndarray, frames: np.ndarray, eye_m: np.ndarray) -> None:
        self.root_m, self.eye_m = root_m, eye_m
        # Errors are shares of the distance.
        self.ratio = variance_ratio * ((root_m - eye_m[frames]) ** 2).sum(-1, keepdims=True)
        path = rolled_out(root_m, ray_axes(root_m, eye_m[frames]))
        self.across_sigma = noise_sigma(times_s, path[:, None, :2], self.ratio, MIN_TRANSLATION_SIGMA_SHARE)
        self.along_sigma = noise_sigma(times_s, path[:, None, 2:], self.ratio, MIN_TRANSLATION_SIGMA_SHARE)

    def smooth(
        self, times_s: np.ndarray, frames: np.ndarray, on_timeline: OnTimeline, settings: MotionSettings
    ) -> tuple[np.ndarray, np.ndarray]:
        """As ``_StillView.smooth``."""
        measured, ratio = on_timeline(self.root_m, np.nan), on_timeline(self.ratio, np.inf)
        known = np.isfinite(ratio[:, 0])
        reference = np.stack([np.interp(times_s, times_s[known], measured[known, axis]) for axis in range(3)], -1)
        axes = ray_axes(reference, self.eye_m[frames])
        path = rolled_out(reference, axes)
        values = np.where(known[:, None], path, np.nan)[:, None]
        across, across_variance = smooth_series(times_s, values[..., :2], ratio * self.across_sigma**2, settings)
        along, along_variance = smooth_series(times_s, values[..., 2:], ratio * self.along_sigma**2, settings, DISTANCE_VARIANCE_SCALE)
        # What smoothing has changed is put back in each frame's own axes, so that the sums of steps cannot drift.
        change = np.concatenate([across[:, 0], along[:, 0]], -1) - path
        return reference + np.einsum("tab,tb->ta", axes, change), 2 * across_variance[:, 0] + along_variance[:, 0]


@dataclass(frozen=True)
class ViewCoordinates:
    """Points as a camera sees them: direction, in radians on a map around one mean direction, and the logarithm of distance.

    ``R_view_camera`` turns the mean direction onto +z. The map is azimuthal equidistant: it holds all directions but the opposite one.
    """

    R_view_camera: Float[np.ndarray, "3 3"]

    @staticmethod
    def around(points_m: Float[np.ndarray, "t 3"]) -> "ViewCoordinates":
        """Coordinates around the mean direction of points in camera axes."""
        rays = points_m / np.maximum(np.linalg.norm(points_m, axis=-1, keepdims=True), 1e-9)
        mean_ray = rays.mean(0)
        if np.linalg.norm(mean_ray) < 1e-6:
            mean_ray = np.array([0.0, 0.0, 1.0])
        return ViewCoordinates(rotation_between(mean_ray, np.array([0.0, 0.0, 1.0])))

    def from_points(self, points_m: Float[np.ndarray, "*b 3"]) -> tuple[Float[np.ndarray, "*b 2"], Float[np.ndarray, "*b"]]:
        """Direction in radians and log-distance of points in metres, camera axes."""
        p = points_m @ self.R_view_camera.T
        across = np.linalg.norm(p[..., :2], axis=-1, keepdims=True)
        angle = np.arctan2(across, p[..., 2:])
        direction = np.where(across > 1e-12, p[..., :2] / np.maximum(across, 1e-12), 0.0) * angle
        return direction, np.log(np.maximum(np.linalg.norm(p, axis=-1), 1e-6))

    def to_points(self, direction: Float[np.ndarray, "*b 2"], log_distance: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b 3"]:
        """Points in metres, camera axes; the inverse of ``from_points``."""
        angle = np.linalg.norm(direction, axis=-1, keepdims=True)
        ray = np.concatenate([np.sinc(angle / np.pi) * direction, np.cos(angle)], axis=-1)
        return np.exp(log_distance)[..., None] * ray @ self.R_view_camera


def keypoint_relevance(rig: Rig) -> Float[np.ndarray, "j k"]:
    """How much the visibility of each keypoint says about the rotation of each joint; rows sum to 1. It holds for any rig.

    A keypoint shows the rotation of the joints above it: by the share of its skin below the joint, and the more the nearer it is (the
    elbow shows an upper arm's rotation better than the wrist). A joint without a keypoint below it is seen with its parent.
    """
    J = len(rig.parents)
    share = descendant_matrix(rig) @ rig.keypoint_weights.T
    anchor = rig.keypoint_anchors_m.sum(1)
    lever_m = np.linalg.norm(anchor[None] - rig.rest_joints_m[:, None], axis=-1)
    relevance = np.where(lever_m > MIN_LEVER_M, share / np.maximum(lever_m, MIN_LEVER_M) ** 2, 0.0)
    relevance[share < 0.5] = 0.0
    for j in range(J):
        total = relevance[j].sum()
        relevance[j] = relevance[j] / total if total > 0 else (relevance[rig.parents[j]] if j else 1 / relevance.shape[1])
    return relevance


def smooth_series(
    times_s: Float[np.ndarray, " t"],
    values: Float[np.ndarray, "t b d"],
    variances: Float[np.ndarray, "t b"],
    settings: MotionSettings,
    variance_scale: float = 1.0,
) -> tuple[Float[np.ndarray, "t b d"], Float[np.ndarray, "t b"]]:
    """Smoothed ``values`` of a flat space and their variances; ``variances`` are infinite where nothing is measured.

    ``variance_scale``: see ``bandwidth.choose_cutoff_hz``.
    """
    variances = _without_bursts(times_s, values, variances)
    variances = np.where(single_frame_outliers(times_s, values, variances, settings.outlier_sigmas), np.inf, variances)
    jerk = _adaptive_jerk(times_s, values, variances, settings.min_cutoff_hz, variance_scale)
    series = rts_smooth(times_s, values, variances, jerk, GAP_DECAY_S)
    return series.position, series.variance


def smooth_rotations(
    times_s: Float[np.ndarray, " t"],
    local: Float[np.ndarray, "t b 3 3"],
    variances: Float[np.ndarray, "t b"],
    settings: MotionSettings,
    channels: BodyChannels | None = None,
) -> tuple[Float[np.ndarray, "t b 3 3"], Float[np.ndarray, "t b"]]:
    """Smoothed rotations and their variances; ``variances`` are in rad² about any axis, infinite where nothing is measured.

    With ``channels``, which say that all of them are one person, gaps are filled by what the clip shows elsewhere
    (``gaps.fill_from_repeats``).
    """
    observed = np.asarray(np.isfinite(variances).any(1))
    variances = _without_bursts(times_s, chordal_points(local), variances)
    reference = fill_rotations(times_s, local, np.isfinite(variances))
    measured = np.where(np.isfinite(variances)[..., None, None], local, reference)
    unrolled = unroll_rotations(reference)
    variances = np.where(single_frame_outliers(times_s, unrolled, variances, settings.outlier_sigmas), np.inf, variances)
    reference = fill_rotations(times_s, measured, np.isfinite(variances))
    jerk = _adaptive_jerk(times_s, unroll_rotations(reference), variances, settings.min_cutoff_hz)
    smoothed, variance = _smooth_unrolled(times_s, reference, measured, variances, jerk)
    if channels is None:
        return smoothed, variance
    filled, filled_variances = fill_from_repeats(times_s, smoothed, observed, channels)
    is_filled = np.isfinite(filled_variances)
    if not is_filled.any():
        return smoothed, variance
    measured = np.where(is_filled[..., None, None], filled, measured)
    reference = np.where(is_filled[..., None, None], filled, smoothed)
    return _smooth_unrolled(times_s, reference, measured, np.where(is_filled, filled_variances, variances), jerk)


def _smooth_unrolled(
    times_s: np.ndarray, reference: np.ndarray, measured: np.ndarray, variances: np.ndarray, jerk: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and variances smoothed about ``reference`` (T, B, 3, 3), and about the result again."""
    variance = np.zeros_like(variances)
    unrolled = unroll_rotations(reference)
    for _ in range(UNROLLING_ROUNDS):
        error = matrix_to_rotvec(np.swapaxes(reference, 2, 3) @ measured)
        series = rts_smooth(times_s, unrolled + error, variances, jerk, GAP_DECAY_S)
        reference = reference @ rotvec_to_matrix(series.position - unrolled)
        unrolled, variance = unroll_rotations(reference), series.variance
    return reference, variance


def _without_bursts(times_s: np.ndarray, points: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """``variances`` (T, B), infinite also for measurements ``points`` (T, B, D) of a burst; twice, as bursts may touch each other."""
    for _ in range(2):
        measured = np.isfinite(variances)
        known_points = np.where(measured[..., None], points, np.nan)
        bursts = burst_outliers(times_s, known_points, np.sqrt(np.where(measured, variances, 0.0)))
        variances = np.where(bursts, np.inf, variances)
    return variances


def unroll_rotations(rotations: Float[np.ndarray, "t b 3 3"]) -> Float[np.ndarray, "t b 3"]:
    """Sums of the turns from row to row, each in the body's own frame and the shorter way."""
    turns = matrix_to_rotvec(np.swapaxes(rotations[:-1], -1, -2) @ rotations[1:])
    return np.concatenate([np.zeros((1, *turns.shape[1:])), np.cumsum(turns, axis=0)])


def fill_rotations(
    times_s: Float[np.ndarray, " t"], rotations: Float[np.ndarray, "t b 3 3"], known: Bool[np.ndarray, "t b"]
) -> Float[np.ndarray, "t b 3 3"]:
    """Rotations with those that are not ``known`` interpolated evenly between their known neighbours, the shorter way."""
    out = np.where(known[..., None, None], rotations, np.eye(3))
    for b in np.flatnonzero(~known.all(0)):
        rows = np.flatnonzero(known[:, b])
        missing = np.flatnonzero(~known[:, b])
        after = np.clip(np.searchsorted(rows, missing), 0, len(rows) - 1)
        before = rows[np.maximum(np.searchsorted(rows, missing) - 1, 0)]
        after = rows[after]
        span = np.where(after > before, times_s[after] - times_s[before], 1.0)
        share = np.clip((times_s[missing] - times_s[before]) / span, 0, 1)
        turn = matrix_to_rotvec(np.swapaxes(out[before, b], 1, 2) @ out[after, b])
        out[missing, b] = out[before, b] @ rotvec_to_matrix(turn * share[:, None])
    return out


def _adaptive_jerk(
    times_s: np.ndarray, values: np.ndarray, variances: np.ndarray, min_cutoff_hz: float, variance_scale: float = 1.0
) -> np.ndarray:
    """Driving jerk (T - 1, B) of each interval, whose cut-off is the geometric mean of the cut-offs at its ends."""
    if len(times_s) < 2:
        return np.zeros((0, values.shape[1]))
    cutoff = choose_cutoff_hz(times_s, values, variances, min_cutoff_hz, variance_scale)
    return jerk_density(np.sqrt(cutoff[:-1] * cutoff[1:]), median_variance(variances), float(np.median(np.diff(times_s))))


def _build_track(
    track: BodyTrack, rig: Rig, frames: np.ndarray, times_s: np.ndarray, rotations: np.ndarray, translation_m: np.ndarray
) -> BodyTrack:
    """A track on ``frames`` with the given motion. Measurements are kept where there are any; elsewhere they are NaN, 0 or false."""
    row = np.searchsorted(track.frame_index, frames)
    row = np.minimum(row, len(track) - 1)
    observed = (track.frame_index[row] == frames) & track.observed[row]

    def at_observed(values: np.ndarray | None, missing: float) -> np.ndarray | None:
        if values is None or values.shape[0] != len(track):
            return values
        return np.where(observed.reshape(-1, *[1] * (values.ndim - 1)), values[row], values.dtype.type(missing))

    confidence = bridged_confidence(times_s[frames], observed, np.nan_to_num(track.confidence[row]))
    chunks = [slice(i, i + CHUNK_FRAMES) for i in range(0, len(frames), CHUNK_FRAMES)]
    joints = np.concatenate([rig.keypoints(*rig.forward(rotations[rows], translation_m[rows])) for rows in chunks])
    raw = track.joints_m if track.joints_raw_m is None else track.joints_raw_m
    return dataclasses.replace(
        track,
        frame_index=frames.astype(track.frame_index.dtype),
        rotations=rotations.astype(track.rotations.dtype),
        translation_m=translation_m.astype(track.translation_m.dtype),
        joints_m=joints.astype(track.joints_m.dtype),
        joints_raw_m=at_observed(raw, np.nan),
        keypoints_px=at_observed(track.keypoints_px, np.nan),
        visibility=at_observed(track.visibility, 0.0),
        confidence=confidence.astype(track.confidence.dtype),
        observed=observed,
        parameters=at_observed(track.parameters, np.nan),
        mask_iou=at_observed(track.mask_iou, np.nan),
        hidden=at_observed(track.hidden, 0.0),
    )
