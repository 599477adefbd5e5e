"""Where the floor is, told by everybody's feet. Pure numpy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from body4d.config import MotionSettings
from body4d.scene import BodyTrack, Camera

Array = NDArray[Any]

_TRIALS = 400  # of three footholds each: with half of them wrong, one is right all but certainly
_FEET = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel"))
_ANKLES = ("left_ankle", "right_ankle")
_LEVEL = np.diag([1.0, -1.0, -1.0, 1.0])


def floor_transform(people: Sequence[BodyTrack], camera: Camera, settings: MotionSettings | None = None) -> Array:
    """``T_world_camera`` (4, 4) of the floor-aligned world: y up, metres, origin on the floor below the first person's first pelvis.

    The camera looks along the world's -z, as far as that is level; what is right in the picture is at greater x.

    The floor is the plane through the lowest footholds of everybody over the clip (heels and toes; ankles where a joint set has none),
    each patch of ``floor_cell_m`` counting once. Rule for the tilt: the camera is taken to be level within ``floor_level_deg`` and each
    foothold to be right within ``floor_sigma_m``, and the likeliest plane is taken. So one person standing still leaves the
    camera level, and people who walk about determine the tilt. Footholds far above (jumps, steps) are left out (random sample
    consensus, Fischler & Bolles 1981, then least squares). Without anybody, the world's axes are the camera's with y and z reversed.
    """
    settings = settings or MotionSettings.model_validate({})
    points = _foot_points(people, camera)
    if len(points) == 0:
        return _LEVEL.copy()
    height, slope_x, slope_z = _fit(footholds(points, settings), settings)
    up = np.array([slope_x, -1.0, slope_z])
    up /= np.linalg.norm(up)
    back = -np.array([0.0, 0.0, 1.0]) + up[2] * up
    back /= np.linalg.norm(back)
    R = np.stack([np.cross(up, back), up, back])
    pelvis = _first_pelvis(people)
    origin = pelvis - ((pelvis - [0.0, height, 0.0]) @ up) * up
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = R, -R @ origin
    return transform


def footholds(points_m: Array, settings: MotionSettings) -> Array:
    """One point (C, 3) for each cell of ground that feet ``points_m`` (N, 3) came over: the mean place there, at its low quantile."""
    cells = np.floor(points_m[:, [0, 2]] / settings.floor_cell_m).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    cell = cell.ravel()
    out = []
    for c in range(cell.max() + 1):
        here = points_m[cell == c]
        # y points down, so the low quantile of height is the high one of y.
        out.append([here[:, 0].mean(), np.quantile(here[:, 1], 1 - settings.floor_quantile), here[:, 2].mean()])
    return np.array(out)


def _foot_points(people: Sequence[BodyTrack], camera: Camera) -> Array:
    """Observed foot points (N, 3) within the picture; all of them where none is within."""
    found = []
    for track in people:
        names = [n for n in _FEET if n in track.joint_names] or [n for n in _ANKLES if n in track.joint_names]
        columns = [track.joint_names.index(n) for n in names]
        found.append(track.joints_m[track.observed][:, columns].reshape(-1, 3).astype(np.float64))
    points = np.concatenate(found) if found else np.zeros((0, 3))
    with np.errstate(invalid="ignore"):
        px = camera.project(points)
        inside = np.all((px >= 0) & (px < [camera.width_px, camera.height_px]), axis=-1)
    return points[inside] if inside.any() else points


def _first_pelvis(people: Sequence[BodyTrack]) -> Array:
    """Middle of the hips (3,) in the first row of the first person who has one; the root where the joint set has no hips."""
    track = next(p for p in people if len(p))
    hips = [track.joint_names.index(n) for n in ("left_hip", "right_hip") if n in track.joint_names]
    return (track.joints_m[0, hips].mean(0) if hips else track.translation_m[0]).astype(np.float64)


def _fit(holds: Array, settings: MotionSettings) -> Array:
    """The likeliest floor y = height + slope_x x + slope_z z through footholds (C, 3), as (3,) in metres and camera axes."""
    sigma, level = settings.floor_sigma_m, np.tan(np.radians(settings.floor_level_deg))
    A = np.stack([np.ones(len(holds)), holds[:, 0], holds[:, 2]], -1)
    y = holds[:, 1]
    prior = np.diag([0.0, 1 / level**2, 1 / level**2])
    middle = holds[:, [0, 2]].mean(0)

    def cost(planes: Array) -> Array:
        off = np.clip((y - planes @ A.T) / sigma, -settings.floor_outlier_sigmas, 3 * settings.floor_outlier_sigmas)
        # Above the floor a foot may be as high as it likes; below it, it must not be, so that counts up to three times as far.
        return (off**2).sum(1) + ((planes[:, 1:] / level) ** 2).sum(1)

    planes = np.concatenate([_level_planes(y), _planes_through_three(A, y, middle)])
    best = planes[np.argmin(cost(planes))]
    for _ in range(20):
        near = np.abs(y - A @ best) <= settings.floor_outlier_sigmas * sigma
        if not near.any():
            break
        weighted = A[near].T / sigma**2
        new = np.linalg.solve(weighted @ A[near] + prior, weighted @ y[near])
        if np.allclose(new, best, atol=1e-9):
            break
        best = new
    return best


def _level_planes(y: Array) -> Array:
    """Level planes (n, 3) at each foothold's height."""
    return np.stack([y, np.zeros_like(y), np.zeros_like(y)], -1)


def _planes_through_three(A: Array, y: Array, middle: Array) -> Array:
    """Planes (n, 3) through three footholds each, drawn the same way every time; those that are nearly in line are left out."""
    if len(y) < 3:
        return np.zeros((0, 3))
    rng = np.random.default_rng(0)
    chosen = np.stack([rng.choice(len(y), 3, replace=False) for _ in range(_TRIALS)])
    centred = A[chosen] - [0.0, *middle]
    wide = np.abs(np.linalg.det(centred)) > 1e-3
    return np.linalg.solve(A[chosen][wide], y[chosen][wide][..., None])[..., 0]
