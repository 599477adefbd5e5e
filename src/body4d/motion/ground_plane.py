"""The ground plane, estimated from everybody's feet. Pure numpy."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from body4d.core.joints import joint_names
from body4d.core.rig import Rig
from body4d.core.types import LEVEL_SIGMA_DEG, BodyTrack, Camera
from body4d.motion.world import points_to_frames

FOOT_JOINTS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel"))
ANKLES = ("left_ankle", "right_ankle")
TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")

CELL_M = 0.3
"""Side of a cell of ground. Foot points in one cell are one foothold, so that a foot that stands long counts once."""

CELL_QUANTILE = 0.1
"""Quantile of the heights in a cell that is taken for its foothold: lifted feet are above it, a few wrong heights below it."""

FOOTHOLD_SIGMA_M = 0.05
"""How far a foothold is off the floor, mostly by an error in depth along the slanted view."""

PERSON_SIGMA_M = 0.12
"""How far all footholds of one person are off the floor together, because nobody's height is known."""

FOOTHOLD_DEPTH_SIGMA_M = 0.15
"""How far a foothold is off in depth, which raises or lowers it along the slanted view: what the tilt of the floor is weighed with, so that
somebody who stays in one place says little about it and somebody who walks a few metres says much."""

UPRIGHT_SIGMA_DEG = (3.0, 6.0)
"""How far from upright a person stands on average, across the view and along it, where depth is inferred. A golfer bends, but has the trunk
over the feet."""

OUTLIER_SIGMAS = 3.0
"""A foothold further off the floor than this is not on it, but on a step, on a chair or in a jump."""

MIN_STANDING_RISE_M = 0.6
"""Height of the trunk's middle over the ankles from which a person stands: it is about 1.0 m in an adult who stands, 0.4 m in a squat."""

MAX_BELOW_FLOOR_M, BODY_BEYOND_JOINTS_M = 0.2, 0.12
"""Somebody who is this far below a floor found from the feet, in most frames, does not stand on them: they lie, hang or stand on their
hands, or the film is on its head. The second is how far skull and flesh reach beyond the joints."""

RANSAC_TRIALS = 400
"""Planes tried, through three footholds each. With half of the footholds wrong, some trial is all but certain to hit three right ones."""

_LEVEL = np.diag([1.0, -1.0, -1.0, 1.0])


def floor_transform(people: Sequence[BodyTrack], camera: Camera) -> Float[np.ndarray, "4 4"]:
    """``T_world_camera`` of the floor-aligned world: y up, metres, origin on the floor below the first person's first pelvis.

    Where the camera moves along a path, ``people`` are in reference axes (``body4d.motion.world``), and so is what the transform takes.
    The camera (of the first frame) looks along the world's -z, as far as that is level. What is right in the picture has greater x.

    The floor is the plane through the lowest footholds of everybody over the clip: heels and toes, or ankles where a joint set has no
    feet. Its tilt is the most likely one given gravity as the picture's verticals show it (else a camera level within
    ``LEVEL_SIGMA_DEG``), people upright within ``UPRIGHT_SIGMA_DEG`` and footholds on one floor. Footholds far above the floor (jumps,
    steps) are left out by random sample consensus (Fischler & Bolles 1981), before least squares. Without anybody the world has the
    camera's axes, y and z reversed.
    """
    footholds_by_person = [footholds(points) for points in _foot_points(people, camera) if len(points)]
    if not footholds_by_person:
        return _LEVEL.copy()
    owner = np.repeat(np.arange(len(footholds_by_person)), [len(points) for points in footholds_by_person])
    height, slope_x, slope_z = _fit_plane(np.concatenate(footholds_by_person), owner, upright_slopes(people), camera)
    up = np.array([slope_x, -1.0, slope_z])
    up /= np.linalg.norm(up)
    back = -np.array([0.0, 0.0, 1.0]) + up[2] * up
    back /= np.linalg.norm(back)
    R = np.stack([np.cross(up, back), up, back])
    pelvis = _first_pelvis(people)
    # Products of a matrix and a vector are sums here: the last bits of `@` depend on where in memory the vector lies.
    origin = pelvis - ((pelvis - [0.0, height, 0.0]) * up).sum() * up
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = R, -(R * origin).sum(-1)
    transform[1, 3] += _depth_below_floor_m(people, camera, transform)
    return transform


def _depth_below_floor_m(people: Sequence[BodyTrack], camera: Camera, transform: np.ndarray) -> float:
    """How far the floor must be lowered so that nobody is under it, as far as they are in the picture; 0 where people stand."""
    lowest = 0.0
    for track in people:
        if track.observed.any():
            points = track.joints_m[track.observed].astype(np.float64)
            heights = (points * transform[1, :3]).sum(-1) + transform[1, 3]
            depth = -np.where(_in_picture(points, track.frame_index[track.observed], camera), heights, 0.0).min(1)
            if np.median(depth) > MAX_BELOW_FLOOR_M:
                lowest = max(lowest, float(depth.max()) + BODY_BEYOND_JOINTS_M)
    return lowest


def sole_m(rig: Rig) -> float:
    """How far a body's soles lie below the joints of its feet when it stands, in metres. The floor is found from the joints."""
    names = joint_names(rig.joint_set)
    feet = [names.index(name) for name in FOOT_JOINTS if name in names]
    if not feet:
        return 0.0
    standing = rig.keypoint_anchors_m[feet].sum(1)  # y points down
    return float(rig.rest_vertices_m[:, 1].max() - np.median(standing[:, 1]))


def footholds(points_m: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "c 3"]:
    """One point for each cell of ground that foot points came over: their mean place in it, at their ``CELL_QUANTILE`` of height."""
    cells = np.floor(points_m[:, [0, 2]] / CELL_M).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    cell = cell.ravel()
    out = []
    for c in range(cell.max() + 1):
        points = points_m[cell == c]
        # y points down, so that the low quantile of height is the high one of y.
        out.append([points[:, 0].mean(), np.quantile(points[:, 1], 1 - CELL_QUANTILE), points[:, 2].mean()])
    return np.array(out)


def upright_slopes(people: Sequence[BodyTrack]) -> Float[np.ndarray, "n 2"]:
    """How each person leans: the trunk over the feet, in metres to the right and away from the camera per metre of height.

    It is the median over the frames in which the trunk is well above the feet; people who never stand are left out. Depths of different
    people are not comparable within a few per cent, because nobody's height is known, so that their feet alone would tilt the floor.
    """
    leans = []
    for track in people:
        names = track.joint_names
        if not all(n in names for n in (*ANKLES, *TRUNK)):
            continue
        x = track.joints_m[track.observed].astype(np.float64)
        rise = x[:, [names.index(n) for n in TRUNK]].mean(1) - x[:, [names.index(n) for n in ANKLES]].mean(1)
        standing = -rise[:, 1] > np.maximum(MIN_STANDING_RISE_M, np.hypot(rise[:, 0], rise[:, 2]))
        if standing.any():
            leans.append(np.median(rise[standing][:, [0, 2]] / -rise[standing][:, 1:2], axis=0))
    return np.array(leans).reshape(-1, 2)


def _foot_points(people: Sequence[BodyTrack], camera: Camera) -> list[np.ndarray]:
    """Each person's observed foot points (N, 3) within the picture; all of them where nobody has one within."""
    everywhere, in_picture = [], []
    for track in people:
        names = [n for n in FOOT_JOINTS if n in track.joint_names] or [n for n in ANKLES if n in track.joint_names]
        columns = [track.joint_names.index(n) for n in names]
        points = track.joints_m[track.observed][:, columns].astype(np.float64)
        everywhere.append(points.reshape(-1, 3))
        in_picture.append(points[_in_picture(points, track.frame_index[track.observed], camera)])
    return in_picture if any(len(points) for points in in_picture) else everywhere


def _in_picture(points_m: np.ndarray, frames: np.ndarray, camera: Camera) -> np.ndarray:
    """Which points (n, k, 3) lie in the picture of their frame (n,), as (n, k)."""
    with np.errstate(invalid="ignore"):
        px = camera.project_at(points_to_frames(points_m, frames, camera), frames)
        return np.all((px >= 0) & (px < [camera.width_px, camera.height_px]), axis=-1)


def _first_pelvis(people: Sequence[BodyTrack]) -> np.ndarray:
    """Middle of the hips (3,) in the first row of the first person who has one; the root where the joint set has no hips."""
    track = next(p for p in people if len(p))
    hips = [track.joint_names.index(n) for n in ("left_hip", "right_hip") if n in track.joint_names]
    return (track.joints_m[0, hips].mean(0) if hips else track.translation_m[0]).astype(np.float64)


def _fit_plane(points: np.ndarray, owner: np.ndarray, leans: np.ndarray, camera: Camera) -> np.ndarray:
    """The most likely floor y = height + slope_x x + slope_z z, as (3,), through footholds (C, 3) of persons ``owner`` (C,).

    Each foothold errs by itself (``FOOTHOLD_SIGMA_M``) and together with all others of its person (``PERSON_SIGMA_M``): somebody who is
    taller than assumed stands, wherever they go, on too high a floor.
    """
    sigma, shared = FOOTHOLD_SIGMA_M, PERSON_SIGMA_M
    A = np.stack([np.ones(len(points)), points[:, 0], points[:, 2]], -1)
    y = points[:, 1]
    prior, slopes = _slope_prior(leans, camera)
    membership = (owner[:, None] == np.arange(owner.max() + 1)).astype(float)

    def person_offsets(residual: np.ndarray, use: np.ndarray) -> np.ndarray:
        """How far each person's footholds lie together off the floor (..., n), as far as the spread of offsets allows."""
        counted = membership * use[:, None]
        return (residual[..., None] * counted).sum(-2) * (shared**2 / (sigma**2 + counted.sum(0) * shared**2))

    def cost(planes: np.ndarray) -> np.ndarray:
        residual = y - planes @ A.T
        offsets = person_offsets(residual, np.ones(len(y)))
        # Above the floor a foot may be as high as it likes. Below it, it cannot be, so that errors there count up to three times as far.
        off = np.clip((residual - offsets @ membership.T) / sigma, -OUTLIER_SIGMAS, 3 * OUTLIER_SIGMAS)
        offsets = np.minimum(np.abs(offsets) / shared, OUTLIER_SIGMAS)
        return (off**2).sum(1) + (offsets**2).sum(1) + ((planes[:, 1:] - slopes) ** 2 * np.diag(prior)[1:]).sum(1)

    planes = np.concatenate([_planes_of_slope(points, slopes), _planes_through_three(A, y, points[:, [0, 2]].mean(0))])
    best = planes[np.argmin(cost(planes))]
    for _ in range(20):
        residual = y - (A * best).sum(-1)
        offset = person_offsets(residual, np.ones(len(y)))[owner]
        inlier = np.abs(residual - offset) <= OUTLIER_SIGMAS * sigma
        # Somebody who stands far above everybody else stands on something else.
        inlier &= np.abs(offset) <= OUTLIER_SIGMAS * shared
        if not inlier.any():
            break
        counted, variance = membership[inlier], sigma**2 + FOOTHOLD_DEPTH_SIGMA_M**2
        whitened = np.eye(inlier.sum()) - counted * (shared**2 / (variance + counted.sum(0) * shared**2)) @ counted.T
        weighted = A[inlier].T @ whitened / variance
        new = np.linalg.solve(weighted @ A[inlier] + prior, (weighted * y[inlier]).sum(-1) + (prior * [0.0, *slopes]).sum(-1))
        if np.allclose(new, best, atol=1e-9):
            break
        best = new
    return best


def _slope_prior(leans: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """What is known of the floor's slopes without footholds: the precision (3, 3) and the slopes (2,).

    It combines gravity and upright people, of whose leans the median counts, so that one person who bends does not.
    """
    level, sigma_deg = np.zeros(2), LEVEL_SIGMA_DEG
    if camera.gravity is not None and camera.gravity_sigma_deg is not None:
        right, down, away = camera.gravity
        level, sigma_deg = np.array([-right, -away]) / down, camera.gravity_sigma_deg
    known, upright = 1 / np.tan(np.radians(sigma_deg[::-1])) ** 2, len(leans) / np.tan(np.radians(UPRIGHT_SIGMA_DEG)) ** 2
    lean = np.median(leans, axis=0) if len(leans) else np.zeros(2)
    weight = known + upright
    return np.diag([0.0, *weight]), (known * level + upright * lean) / weight


def _planes_of_slope(points: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Planes (n, 3) of the given slopes through each foothold."""
    tilt = np.broadcast_to(slopes, (len(points), 2))
    return np.concatenate([(points[:, 1] - (points[:, [0, 2]] * slopes).sum(-1))[:, None], tilt], axis=1)


def _planes_through_three(A: np.ndarray, y: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Planes (n, 3) through three footholds each, drawn the same way every time, without those that are nearly in line."""
    if len(y) < 3:
        return np.zeros((0, 3))
    rng = np.random.default_rng(0)
    triples = np.stack([rng.choice(len(y), 3, replace=False) for _ in range(RANSAC_TRIALS)])
    centred = A[triples] - [0.0, *middle]
    spread_out = np.abs(np.linalg.det(centred)) > 1e-3
    return np.linalg.solve(A[triples][spread_out], y[triples][spread_out][..., None])[..., 0]
