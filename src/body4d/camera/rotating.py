"""A camera that turns and zooms in one place: its rotation and focal length on every frame, from tracked corners. Pure numpy.

Neighbouring keyframes give a first guess (least median of squares over pairs of corners); a bundle adjustment over all keyframes settles
it, and every other frame is resected against the directions found.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from body4d.camera.bundle import Adjusted, Cameras, CornerObservations, Freedom, adjust, bearings, resect, undistorted, with_covariance
from body4d.camera.tracks import MIN_TRACKED, FeatureTracks
from body4d.core.camera import Camera

MIN_ZOOM_SHARE = 0.03
"""A focal length that changes by less over the clip is one focal length: lenses breathe by a few hundredths as they focus."""
NUM_SAMPLES = 64
"""Pairs of corners tried between two keyframes. With half of the corners on moving things, one in four pairs is good."""
MIN_PAIR_SHARE = 0.15
"""Corners of a pair are at least this share of the diagonal apart, as near ones say nothing of a zoom."""
MIN_NOISE_SHARE = 2e-5
"""Corners are never taken to be tracked better than by this share of the diagonal: a twentieth of a pixel in 1080p."""
MIN_FOCAL_SIGMA = 1e-3
"""A focal length that is not doubted, as a share of it."""


@dataclass(frozen=True)
class KeyframeProblem:
    """What the keyframes saw: cameras are numbered as keyframes, points as in ``track`` (the corner's number in the FeatureTracks)."""

    keyframes: Int[np.ndarray, " k"]
    track: Int[np.ndarray, " n"]
    seen: CornerObservations


@dataclass(frozen=True)
class FrameCameras:
    """Every frame's camera, and the covariance of its rotation, position and log focal length about the first frame's."""

    cameras: Cameras
    covariance: Float[np.ndarray, "t 7 7"]


def keyframe_problem(tracks: FeatureTracks, camera: Camera) -> KeyframeProblem:
    """The observations of keyframes, of corners that are on two of them or more."""
    number = np.full(tracks.num_frames, -1)
    number[tracks.keyframes] = np.arange(len(tracks.keyframes))
    rows = np.flatnonzero(number[tracks.frame] >= 0)
    _, point, counts = np.unique(tracks.track[rows], return_inverse=True, return_counts=True)
    is_tied = counts >= 2
    rows = rows[is_tied[point]]
    track, point = np.unique(tracks.track[rows], return_inverse=True)
    xy = tracks.xy_px[rows] - [camera.cx_px, camera.cy_px]
    return KeyframeProblem(tracks.keyframes, track, CornerObservations(number[tracks.frame[rows]], point, xy, tracks.diagonal_px / 2))


def relative_turn(
    a_px: Float[np.ndarray, "n 2"], b_px: Float[np.ndarray, "n 2"], focal_px: float, diagonal_px: float, may_zoom: bool, seed: int = 0
) -> tuple[Float[np.ndarray, "3 3"], float]:
    """Rotation from the axes of a camera that sees corners at ``b_px`` to those of one that sees them at ``a_px`` (from the principal
    point), and the factor by which the focal length grew from a to b. Least median of squares (Rousseeuw 1984)."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, len(a_px), (2, 4 * NUM_SAMPLES))
    span_a, span_b = (np.linalg.norm(points[first] - points[second], axis=1) for points in (a_px, b_px))
    far = np.flatnonzero(span_a > MIN_PAIR_SHARE * diagonal_px)[:NUM_SAMPLES]
    if not len(far):
        far = np.flatnonzero(span_a > 0)[:NUM_SAMPLES]
    zooms = np.clip(span_b[far] / span_a[far], 0.2, 5.0) if may_zoom else np.ones(len(far))
    i, j = first[far], second[far]
    a, b = bearings(a_px, focal_px), bearings(b_px, np.outer(zooms, np.full(len(b_px), focal_px))[..., None] if may_zoom else focal_px)
    b = np.broadcast_to(b, (len(far), *a.shape))
    each = np.arange(len(far))
    turns = _aligning(_frames_of(a[i], a[j]), _frames_of(b[each, i], b[each, j]))
    squares = ((a - b @ turns.swapaxes(1, 2)) ** 2).sum(-1)
    medians = np.median(squares, axis=1)
    best = int(medians.argmin())
    near = squares[best] <= 6.25 * medians[best]
    return _aligning(a[None, near], b[best][None, near])[0], float(zooms[best])


def _frames_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two directions (S, 3) and what is at right angles to both, as rows (S, 3, 3)."""
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _aligning(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For each set of directions (S, N, 3) the rotation R (S, 3, 3) with R b nearest to a (Kabsch 1976)."""
    U, _, Vt = np.linalg.svd(a.swapaxes(1, 2) @ b)
    U[:, :, 2] *= np.sign(np.linalg.det(U @ Vt))[:, None]
    return U @ Vt


def chained(tracks: FeatureTracks, camera: Camera, may_zoom: bool) -> Cameras:
    """The keyframes' cameras from each to the next, with the focal length given."""
    middle = np.array([camera.cx_px, camera.cy_px])
    R, log_focal = [np.eye(3)], [np.log(camera.focal_px)]
    for before, after in zip(tracks.keyframes[:-1], tracks.keyframes[1:], strict=True):
        rows_a, rows_b = tracks.common(int(before), int(after))
        if len(rows_a) < MIN_TRACKED:
            turn, zoom = np.eye(3), 1.0
        else:
            a, b = tracks.xy_px[rows_a] - middle, tracks.xy_px[rows_b] - middle
            turn, zoom = relative_turn(a, b, float(np.exp(log_focal[-1])), tracks.diagonal_px, may_zoom, seed=int(after))
        R.append(R[-1] @ turn)
        log_focal.append(log_focal[-1] + np.log(zoom))
    return Cameras(np.array(R), np.zeros((len(R), 3)), np.array(log_focal))


def first_directions(cameras: Cameras, problem: KeyframeProblem) -> Float[np.ndarray, "n 4"]:
    """Each corner's direction as the first keyframe that saw it has it."""
    _, first = np.unique(problem.seen.point, return_index=True)
    camera = problem.seen.camera[first]
    direction = np.concatenate([problem.seen.xy_px[first] / np.exp(cameras.log_focal[camera])[:, None], np.ones((len(first), 1))], axis=1)
    direction = np.einsum("nij,nj->ni", cameras.R[camera], direction / np.linalg.norm(direction, axis=1, keepdims=True))
    return np.concatenate([direction, np.zeros((len(first), 1))], axis=1)


def adjust_rotating(
    tracks: FeatureTracks, camera: Camera, focal_sigma: float, may_zoom: bool, guess: Cameras | None = None
) -> tuple[KeyframeProblem, Adjusted, Freedom]:
    """The keyframes' rotations and focal lengths: one focal length for all, unless it changes by more than ``MIN_ZOOM_SHARE``.

    ``focal_sigma`` is the standard deviation of the camera's focal length as a share of it. ``guess`` are keyframes to begin with.
    """
    problem = keyframe_problem(tracks, camera)
    min_noise_px = MIN_NOISE_SHARE * tracks.diagonal_px
    given = "shared" if focal_sigma > 0 else "fixed"
    given_log_focal = float(np.log(camera.focal_px))
    freedom = Freedom(focal=given, focal_sigma=max(focal_sigma, MIN_FOCAL_SIGMA), given_log_focal=given_log_focal)
    if may_zoom:
        zooming = replace(freedom, focal="each")
        guess = guess or chained(tracks, camera, may_zoom)
        adjusted = adjust(guess, first_directions(guess, problem), problem.seen, zooming, min_noise_px, rounds=2)
        if np.ptp(adjusted.cameras.log_focal) > MIN_ZOOM_SHARE:
            adjusted = adjust(adjusted.cameras, adjusted.points, problem.seen, zooming, min_noise_px)
            return problem, with_covariance(adjusted, problem.seen, zooming), zooming
        guess = adjusted.cameras
    cameras = guess or chained(tracks, camera, may_zoom=False)
    cameras = replace(cameras, log_focal=np.full(len(cameras), cameras.log_focal[0] if focal_sigma > 0 else given_log_focal))
    adjusted = adjust(cameras, first_directions(cameras, problem), problem.seen, freedom, min_noise_px)
    return problem, with_covariance(adjusted, problem.seen, freedom), freedom


def all_frames(tracks: FeatureTracks, camera: Camera, problem: KeyframeProblem, adjusted: Adjusted, freedom: Freedom) -> FrameCameras:
    """Every frame's camera, resected against the points that the keyframes gave."""
    point_of = np.full(int(tracks.track.max(initial=0)) + 1, -1)
    point_of[problem.track] = np.arange(len(problem.track))
    free = np.array([True] * 3 + [freedom.moving] * 3 + [freedom.focal == "each"])
    middle = np.array([camera.cx_px, camera.cy_px])
    K = adjusted.cameras
    xy_px = undistorted(tracks.xy_px - middle, adjusted.cameras.distortion, tracks.diagonal_px / 2)
    cameras, covariances = [], np.zeros((tracks.num_frames, 7, 7))
    now, keyframe = _camera(K, 0), 0
    assert adjusted.covariance is not None
    for frame in range(tracks.num_frames):
        rows = tracks.on(frame)
        point = point_of[tracks.track[rows]]
        known = point >= 0
        while keyframe + 1 < len(tracks.keyframes) and tracks.keyframes[keyframe + 1] <= frame:
            keyframe += 1
        if tracks.keyframes[keyframe] == frame:
            now = _camera(K, keyframe)
        own = np.zeros((7, 7))
        if frame and known.sum() >= MIN_TRACKED // 2:
            now, own = resect(now, adjusted.points[point[known]], xy_px[rows][known], free, adjusted.noise_px)
        cameras.append(now)
        covariances[frame] = own + _between(tracks.keyframes, adjusted.covariance, keyframe, frame)
    R, position, log_focal = (np.concatenate([getattr(c, name) for c in cameras]) for name in ("R", "position", "log_focal"))
    return FrameCameras(Cameras(R, position, log_focal), covariances)


def _camera(cameras: Cameras, index: int) -> Cameras:
    return Cameras(cameras.R[index : index + 1], cameras.position[index : index + 1], cameras.log_focal[index : index + 1])


def _between(keyframes: np.ndarray, covariance: np.ndarray, index: int, frame: int) -> np.ndarray:
    """The covariance of keyframe ``index`` and the next one, weighed by how near ``frame`` is to each."""
    if index + 1 == len(keyframes):
        return covariance[index]
    share = (frame - keyframes[index]) / (keyframes[index + 1] - keyframes[index])
    return (1 - share) * covariance[index] + share * covariance[index + 1]
