"""A camera that changes its place: structure from motion over the keyframes, from tracked corners.

Two keyframes with parallax begin (essential matrix, Nistér 2004, by OpenCV); the others are added one after the other (resection,
triangulation, adjustment of the latest), and a bundle adjustment over all settles them (Schönberger & Frahm 2016 describe the scheme).
The path's unit of length is the median distance of what the first frame sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.camera.bundle import (
    CAUCHY_SCALE,
    Adjusted,
    Cameras,
    CornerObservations,
    Freedom,
    adjust,
    bearings,
    jacobians,
    project,
    resect,
    tangents,
    undistorted,
    with_covariance,
)
from body4d.camera.rotating import KeyframeProblem, keyframe_problem, relative_turn
from body4d.camera.tracks import FeatureTracks
from body4d.core.camera import Camera

MIN_COMMON = 40
"""Corners that two keyframes share at least to begin with them."""
GOOD_PARALLAX_DEG = 3.0
"""Parallax from which two keyframes are as good a beginning as any."""
MIN_PARALLAX_DEG = 0.05
"""With less parallax between all of them, the camera turns on the spot."""
MIN_PLACING_DEG = 0.3
"""Corners whose lines of sight differ by less are taken to be as far away as the others in the median, until more is seen of them."""
MAX_START_PAIRS = 60
LOCAL_KEYFRAMES = 6
"""Keyframes that are adjusted together when one is added."""
MIN_RESECTED = 12
"""Corners of known place that a keyframe must see."""
MAX_DEPTH_SIGMA = 0.1
"""Standard deviation, as a share of it, of a corner's depth that is passed on: a corner of little parallax may be anywhere."""
FREE = np.array([True] * 6 + [False])


@dataclass
class _State:
    """The cameras and points known so far."""

    R: np.ndarray
    position: np.ndarray
    points: np.ndarray
    solved: np.ndarray
    placed: np.ndarray


@dataclass(frozen=True)
class CornerDepths:
    """Where corners of the background were seen on some frames, and their depth there (z in camera axes) in the path's unit."""

    frame: Int[np.ndarray, " n"]
    xy_px: Float[np.ndarray, "n 2"]
    depth: Float[np.ndarray, " n"]


class LostWayError(Exception):
    """No path with parallax was found."""


@dataclass(frozen=True)
class FirstPath:
    """All keyframes and corners in their places, one after the other, by the lens that ``cameras`` have: a beginning."""

    problem: KeyframeProblem
    cameras: Cameras
    points: Float[np.ndarray, "n 4"]


def first_path(tracks: FeatureTracks, camera: Camera, min_noise_px: float, focal_px: float, distortion: float = 0.0) -> FirstPath:
    """The keyframes' rotations and positions with the lens held.

    Raises LostWayError where no two keyframes have parallax, or one cannot be added.
    """
    seen_problem = keyframe_problem(tracks, camera)
    seen = seen_problem.seen
    problem = replace(seen_problem, seen=replace(seen, xy_px=undistorted(seen.xy_px, distortion, seen.corner_px)))
    log_focal = float(np.log(focal_px))
    by_keyframe = _by_keyframe(problem.seen, len(problem.keyframes))
    state = _begin(problem, by_keyframe, tracks, log_focal)
    for k in _order(state.solved):
        _add(state, k, problem, by_keyframe, tracks, log_focal, min_noise_px)
    _place(state, np.flatnonzero(~state.placed), problem, log_focal)
    state = _from_first(state)
    cameras = Cameras(state.R, state.position, np.full(len(state.R), log_focal), distortion)
    return FirstPath(seen_problem, cameras, state.points)


def adjust_moving(
    first: FirstPath, camera: Camera, focal_sigma: float, min_noise_px: float, distortion_sigma: float = 0.0
) -> tuple[Adjusted, Freedom]:
    """The keyframes' rotations and positions, and one focal length: within ``focal_sigma`` (a share of it) of the camera's."""
    focal = "shared" if focal_sigma > 0 else "fixed"
    freedom = Freedom(True, focal, float(np.log(camera.focal_px)), max(focal_sigma, 1e-3), distortion_sigma=distortion_sigma)
    adjusted = adjust(first.cameras, first.points, first.problem.seen, freedom, min_noise_px)
    adjusted = in_units(adjusted, first.problem.seen)
    return with_covariance(adjusted, first.problem.seen, freedom), freedom


def parallax_deg(a: Float[np.ndarray, "n 3"], b: Float[np.ndarray, "n 3"], R: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " n"]:
    """Angles by which bearings of a second camera, turned by ``R`` into the first one's axes, differ from its own."""
    return np.degrees(np.linalg.norm(a - b @ R.T, axis=1))


def _begin(problem: KeyframeProblem, by_keyframe: list[np.ndarray], tracks: FeatureTracks, log_focal: float) -> _State:
    """Two keyframes with much parallax and many corners in common, and the corners they place."""
    import cv2

    focal = float(np.exp(log_focal))
    best, best_score = None, 0.0
    for a, b in _start_pairs(len(problem.keyframes)):
        rows_a, rows_b = _common(by_keyframe, problem.seen, a, b)
        if len(rows_a) < MIN_COMMON:
            continue
        xy_a, xy_b = problem.seen.xy_px[rows_a], problem.seen.xy_px[rows_b]
        R, _ = relative_turn(xy_a, xy_b, focal, tracks.diagonal_px, may_zoom=False)
        angle = float(np.median(parallax_deg(bearings(xy_a, focal), bearings(xy_b, focal), R)))
        score = min(angle / GOOD_PARALLAX_DEG, 1) * min(len(rows_a) / (3 * MIN_COMMON), 1)
        if angle > MIN_PARALLAX_DEG and score > best_score:
            best, best_score = (a, b, rows_a, rows_b), score
    if best is None:
        raise LostWayError("no two keyframes have parallax")
    a, b, rows_a, rows_b = best
    xy_a, xy_b = problem.seen.xy_px[rows_a] / focal, problem.seen.xy_px[rows_b] / focal
    E, inlier = cv2.findEssentialMat(xy_a, xy_b, np.eye(3), method=cv2.USAC_MAGSAC, prob=0.9999, threshold=1.5 / focal)
    if E is None or E.shape != (3, 3):
        raise LostWayError("no essential matrix explains two keyframes")
    _, R, t, mask = cv2.recoverPose(E, xy_a, xy_b, np.eye(3), mask=inlier)
    K, n = len(problem.keyframes), len(problem.track)
    state = _State(np.tile(np.eye(3), (K, 1, 1)), np.zeros((K, 3)), np.zeros((n, 4)), np.zeros(K, bool), np.zeros(n, bool))
    # OpenCV's pose takes points of the first camera to the second; ours is the second one's place among the first one's axes.
    state.R[b], state.position[b] = R.T, -(R.T @ t).ravel()
    state.solved[[a, b]] = True
    _place(state, problem.seen.point[rows_a][mask.ravel() > 0], problem, log_focal)
    if state.placed.sum() < MIN_RESECTED:
        raise LostWayError("two keyframes place too few corners")
    return state


def _start_pairs(num_keyframes: int) -> list[tuple[int, int]]:
    """Pairs of keyframes to begin with, near and far, spread over the clip."""
    pairs = [(a, a + gap) for gap in (1, 2, 3, 5, 8, 13, 21) for a in range(num_keyframes - gap)]
    every = max(1, len(pairs) // MAX_START_PAIRS)
    return pairs[::every]


def _by_keyframe(seen: CornerObservations, num_keyframes: int) -> list[np.ndarray]:
    """The rows of each keyframe's observations."""
    order = np.argsort(seen.camera, kind="stable")
    return np.split(order, np.searchsorted(seen.camera[order], np.arange(1, num_keyframes)))


def _common(by_keyframe: list[np.ndarray], seen: CornerObservations, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    _, at_a, at_b = np.intersect1d(seen.point[by_keyframe[a]], seen.point[by_keyframe[b]], return_indices=True)
    return by_keyframe[a][at_a], by_keyframe[b][at_b]


def _order(solved: Bool[np.ndarray, " k"]) -> list[int]:
    """The other keyframes, nearest to those known first: those between them, those after, those before."""
    known = np.flatnonzero(solved)
    first, last = int(known[0]), int(known[-1])
    return [*range(first + 1, last), *range(last + 1, len(solved)), *range(first - 1, -1, -1)]


def _add(
    state: _State,
    k: int,
    problem: KeyframeProblem,
    by_keyframe: list[np.ndarray],
    tracks: FeatureTracks,
    log_focal: float,
    min_noise_px: float,
) -> None:
    """One keyframe more, next to one that is known: resected, its corners placed, and adjusted with its neighbours."""
    seen = problem.seen
    near = min(np.flatnonzero(state.solved), key=lambda other: abs(int(other) - k))
    rows = by_keyframe[k]
    known = rows[state.placed[seen.point[rows]]]
    if len(known) < MIN_RESECTED:
        raise LostWayError(f"keyframe {k} sees too few corners of known place")
    rows_a, rows_b = _common(by_keyframe, seen, int(near), k)
    turn = np.eye(3)
    if len(rows_a) >= 8:
        turn, _ = relative_turn(seen.xy_px[rows_a], seen.xy_px[rows_b], float(np.exp(log_focal)), tracks.diagonal_px, may_zoom=False)
    guess = Cameras((state.R[near] @ turn)[None], state.position[near][None], np.array([log_focal]))
    found, _ = resect(guess, state.points[seen.point[known]], seen.xy_px[known], FREE, 3 * min_noise_px, num_steps=20)
    state.R[k], state.position[k] = found.R[0], found.position[0]
    state.solved[k] = True
    _place(state, seen.point[rows[~state.placed[seen.point[rows]]]], problem, log_focal)
    _settle(state, k, problem, log_focal, min_noise_px)


def _place(state: _State, candidates: np.ndarray, problem: KeyframeProblem, log_focal: float) -> None:
    """Corners triangulated from the known keyframes that see them (linear), where two of them see them."""
    seen = problem.seen
    wanted = np.zeros(len(problem.track), bool)
    wanted[candidates] = True
    rows = np.flatnonzero(wanted[seen.point] & state.solved[seen.camera])
    point, inverse, counts = np.unique(seen.point[rows], return_inverse=True, return_counts=True)
    if not len(point):
        return
    cameras = Cameras(state.R, state.position, np.full(len(state.R), log_focal))
    direction = bearings(seen.xy_px[rows], float(np.exp(log_focal)))
    in_reference = np.einsum("mij,mj->mi", state.R[seen.camera[rows]], direction)
    # The point is where it lies on all lines of sight: (I - d d^T) (x - rho p) = 0, for the homogeneous point (x, rho).
    first = np.unique(inverse, return_index=True)[1]
    across = np.eye(3) - in_reference[:, :, None] * in_reference[:, None]
    A = np.concatenate([across, -(across @ state.position[seen.camera[rows]][:, :, None])], axis=2)
    normal = np.zeros((len(point), 4, 4))
    np.add.at(normal, inverse, A.swapaxes(1, 2) @ A)
    solution = np.linalg.eigh(normal)[1][:, :, 0]
    # Of the two signs, the one that is before the camera which saw it first.
    ahead = ((solution[:, :3] - solution[:, 3:] * state.position[seen.camera[rows[first]]]) * in_reference[first]).sum(1)
    solution *= np.where(ahead < 0, -1.0, 1.0)[:, None]
    subset = CornerObservations(seen.camera[rows], inverse, seen.xy_px[rows])
    _, y = project(cameras, solution, subset)
    behind = np.zeros(len(point), bool)
    np.logical_or.at(behind, inverse, y[:, 2] <= 0)
    widest = np.zeros(len(point))
    np.maximum.at(widest, inverse, np.degrees(np.linalg.norm(in_reference - in_reference[first][inverse], axis=1)))
    good = (counts >= 2) & ~behind & (solution[:, 3] >= -1e-3) & (widest > MIN_PLACING_DEG)
    state.points[point[good]], state.placed[point[good]] = solution[good], True
    if state.placed.any():
        # Homogeneous: the camera's place and a unit of the line of sight, at the median inverse distance.
        far = (counts >= 2) & ~good
        rho = np.median(state.points[state.placed, 3] / np.linalg.norm(state.points[state.placed, :3], axis=1).clip(1e-6))
        at = np.column_stack([in_reference[first] + rho * state.position[seen.camera[rows[first]]], np.full(len(point), rho)])
        state.points[point[far]] = (at / np.linalg.norm(at, axis=1, keepdims=True))[far]
        state.placed[point[far]] = True


def _settle(state: _State, k: int, problem: KeyframeProblem, log_focal: float, min_noise_px: float) -> None:
    """The latest keyframes around ``k`` adjusted, the rest held."""
    seen, solved = problem.seen, np.flatnonzero(state.solved)
    latest = solved[np.argsort(np.abs(solved - k), kind="stable")[:LOCAL_KEYFRAMES]]
    is_free = np.zeros(len(state.R), bool)
    # Two are held, so that place and length stay.
    is_free[latest[: max(1, len(latest) - 2)]] = True
    if len(solved) <= LOCAL_KEYFRAMES:
        is_free[solved] = True
        is_free[solved[[0, -1]]] = False
    near_point = np.zeros(len(problem.track), bool)
    near_point[seen.point[is_free[seen.camera]]] = True
    near_point &= state.placed
    rows = np.flatnonzero(near_point[seen.point] & state.solved[seen.camera])
    point, inverse = np.unique(seen.point[rows], return_inverse=True)
    camera, camera_inverse = np.unique(seen.camera[rows], return_inverse=True)
    cameras = Cameras(state.R[camera], state.position[camera], np.full(len(camera), log_focal))
    subset = CornerObservations(camera_inverse, inverse, seen.xy_px[rows])
    freedom = Freedom(True, "fixed", log_focal, 1e-3, held=~is_free[camera])
    adjusted = adjust(cameras, state.points[point], subset, freedom, min_noise_px, rounds=1, steps=4)
    state.R[camera], state.position[camera] = adjusted.cameras.R, adjusted.cameras.position
    state.points[point] = adjusted.points


def _from_first(state: _State) -> _State:
    """In the axes of the first keyframe."""
    R0, p0 = state.R[0], state.position[0]
    x, rho = state.points[:, :3], state.points[:, 3:]
    x = (x - rho * p0) @ R0
    R, position = R0.T @ state.R, (state.position - p0) @ R0
    points = np.concatenate([x, rho], axis=1)
    return _State(R, position, points / np.linalg.norm(points, axis=1, keepdims=True), state.solved, state.placed)


def in_units(adjusted: Adjusted, seen: CornerObservations) -> Adjusted:
    """The same with the median distance of the corners that the first keyframe sees as the unit of length."""
    of_first = adjusted.points[np.unique(seen.point[seen.camera == 0])]
    unit = float(np.median(np.linalg.norm(of_first[:, :3], axis=1) / np.maximum(of_first[:, 3], 1e-6)))
    points = adjusted.points * [1, 1, 1, unit]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return replace(adjusted, cameras=replace(adjusted.cameras, position=adjusted.cameras.position / unit), points=points)


def corner_depths(
    tracks: FeatureTracks, camera: Camera, problem: KeyframeProblem, adjusted: Adjusted, cameras: Cameras, frames: Sequence[int]
) -> CornerDepths:
    """Depths of the corners that are seen on some ``frames`` and that the keyframes place well. ``cameras`` are those of every frame."""
    point_of = np.full(int(tracks.track.max(initial=0)) + 1, -1)
    point_of[problem.track] = np.arange(len(problem.track))
    rows = np.flatnonzero(np.isin(tracks.frame, np.array(frames)))
    rows = rows[point_of[tracks.track[rows]] >= 0]
    point, frame = point_of[tracks.track[rows]], tracks.frame[rows]
    corner_px = tracks.diagonal_px / 2
    undistorted_px = undistorted(tracks.xy_px[rows] - [camera.cx_px, camera.cy_px], adjusted.cameras.distortion, corner_px)
    seen = CornerObservations(frame, point, undistorted_px)
    xy, y = project(cameras, adjusted.points, seen)
    rho = adjusted.points[point, 3]
    good = (rho > 0) & (y[:, 2] > 0) & (np.linalg.norm(xy - seen.xy_px, axis=1) < CAUCHY_SCALE * adjusted.noise_px)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = y[:, 2] / rho
        # Depth is y_z / rho: its logarithm's derivative by the homogeneous point.
        line_of_sight = cameras.R[frame][:, :, 2]
        by_point = np.column_stack([line_of_sight, -(line_of_sight * cameras.position[frame]).sum(1)]) / y[:, 2:]
        by_point[:, 3] -= 1 / rho
    basis = tangents(adjusted.points, moving=True)
    _, _, _, by_tangent = jacobians(adjusted.cameras, adjusted.points, problem.seen, basis)
    by_tangent *= np.sqrt(adjusted.weight)[:, None, None] / adjusted.noise_px
    information = np.tile(1e-9 * np.eye(3), (len(problem.track), 1, 1))
    np.add.at(information, problem.seen.point, by_tangent.swapaxes(1, 2) @ by_tangent)
    gradient = np.einsum("mi,mij->mj", np.where(good[:, None], by_point, 0), basis[point])
    variance = np.einsum("mi,mij,mj->m", gradient, np.linalg.inv(information)[point], gradient)
    good &= variance < MAX_DEPTH_SIGMA**2
    return CornerDepths(frame[good], tracks.xy_px[rows[good]], depth[good])
