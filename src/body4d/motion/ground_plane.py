"""Where the floor is, told by everybody's feet. Pure numpy."""

from collections.abc import Sequence

import numpy as np

from body4d.config import MotionSettings
from body4d.core.types import BodyTrack, Camera

_TRIALS = 400  # of three footholds each: with half of them wrong, one is right all but certainly
_FEET = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel"))
_ANKLES = ("left_ankle", "right_ankle")
_TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
_STANDING_RISE_M = 0.6  # of the trunk's middle over the ankles: about 1.0 m in an adult who stands, 0.4 m in one who squats
_LEVEL = np.diag([1.0, -1.0, -1.0, 1.0])


def floor_transform(people: Sequence[BodyTrack], camera: Camera, settings: MotionSettings | None = None) -> np.ndarray:
    """``T_world_camera`` (4, 4) of the floor-aligned world: y up, metres, origin on the floor below the first person's first pelvis.

    The camera looks along the world's -z, as far as that is level; what is right in the picture is at greater x.

    The floor is the plane through the lowest footholds of everybody over the clip (heels and toes; ankles where a joint set has none),
    each patch of ``floor_cell_m`` counting once. Rule for the tilt: the camera is taken to be level within ``floor_level_deg``, each
    person to stand upright within ``floor_upright_deg``, each foothold to be right within ``floor_sigma_m``, and the likeliest plane
    is taken. So one person standing still leaves the camera nearly level, and people who walk about
    determine the tilt. Footholds far above (jumps, steps) are left out (random sample
    consensus, Fischler & Bolles 1981, then least squares). Without anybody, the world's axes are the camera's with y and z reversed.
    """
    settings = settings or MotionSettings.model_validate({})
    everybodys = [footholds(points, settings) for points in _foot_points(people, camera) if len(points)]
    if not everybodys:
        return _LEVEL.copy()
    owner = np.repeat(np.arange(len(everybodys)), [len(holds) for holds in everybodys])
    height, slope_x, slope_z = _fit(np.concatenate(everybodys), owner, upright_slopes(people), settings)
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


def footholds(points_m: np.ndarray, settings: MotionSettings) -> np.ndarray:
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


def upright_slopes(people: Sequence[BodyTrack]) -> np.ndarray:
    """How each person (n, 2) stands: the lean of trunk over feet, metres to the right and away from the camera per metre of height.

    The median over the frames in which the trunk is well above the feet; people who never stand are left out. Depths of different
    people are not comparable to a few per cent, for nobody knows how tall each is, so their feet alone would tilt the floor.
    """
    leans = []
    for track in people:
        names = track.joint_names
        if not all(n in names for n in (*_ANKLES, *_TRUNK)):
            continue
        x = track.joints_m[track.observed].astype(np.float64)
        rise = x[:, [names.index(n) for n in _TRUNK]].mean(1) - x[:, [names.index(n) for n in _ANKLES]].mean(1)
        standing = -rise[:, 1] > np.maximum(_STANDING_RISE_M, np.hypot(rise[:, 0], rise[:, 2]))
        if standing.any():
            leans.append(np.median(rise[standing][:, [0, 2]] / -rise[standing][:, 1:2], axis=0))
    return np.array(leans).reshape(-1, 2)


def _foot_points(people: Sequence[BodyTrack], camera: Camera) -> list[np.ndarray]:
    """Each person's observed foot points (N, 3) within the picture; all of them where nobody has one within."""
    found, inside = [], []
    for track in people:
        names = [n for n in _FEET if n in track.joint_names] or [n for n in _ANKLES if n in track.joint_names]
        columns = [track.joint_names.index(n) for n in names]
        points = track.joints_m[track.observed][:, columns].reshape(-1, 3).astype(np.float64)
        with np.errstate(invalid="ignore"):
            px = camera.project(points)
            found.append(points)
            inside.append(points[np.all((px >= 0) & (px < [camera.width_px, camera.height_px]), axis=-1)])
    return inside if any(len(points) for points in inside) else found


def _first_pelvis(people: Sequence[BodyTrack]) -> np.ndarray:
    """Middle of the hips (3,) in the first row of the first person who has one; the root where the joint set has no hips."""
    track = next(p for p in people if len(p))
    hips = [track.joint_names.index(n) for n in ("left_hip", "right_hip") if n in track.joint_names]
    return (track.joints_m[0, hips].mean(0) if hips else track.translation_m[0]).astype(np.float64)


def _fit(holds: np.ndarray, owner: np.ndarray, leans: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """The likeliest floor y = height + slope_x x + slope_z z through footholds (C, 3) of persons ``owner`` (C,), as (3,), metres.

    Each foothold errs by itself (``floor_sigma_m``) and with all others of its person (``floor_person_sigma_m``): somebody taller than
    taken for stands, wherever they go, on too high a floor.
    """
    sigma, shared = settings.floor_sigma_m, settings.floor_person_sigma_m
    A = np.stack([np.ones(len(holds)), holds[:, 0], holds[:, 2]], -1)
    y = holds[:, 1]
    prior, slopes = _slope_prior(leans, settings)
    own = (owner[:, None] == np.arange(owner.max() + 1)).astype(float)

    def offsets(off: np.ndarray, use: np.ndarray) -> np.ndarray:
        """How far each person's footholds lie together off the floor (..., n), as far as the spread of offsets lets them."""
        counted = own * use[:, None]
        return off @ counted * (shared**2 / (sigma**2 + counted.sum(0) * shared**2))

    def cost(planes: np.ndarray) -> np.ndarray:
        off = y - planes @ A.T
        mine = offsets(off, np.ones(len(y)))
        off = np.clip((off - mine @ own.T) / sigma, -settings.floor_outlier_sigmas, 3 * settings.floor_outlier_sigmas)
        # Above the floor a foot may be as high as it likes; below it, it must not be, so that counts up to three times as far.
        alike = np.minimum(np.abs(mine) / shared, settings.floor_outlier_sigmas)
        return (off**2).sum(1) + (alike**2).sum(1) + prior[1, 1] * ((planes[:, 1:] - slopes) ** 2).sum(1)

    planes = np.concatenate([_planes_of_slope(holds, slopes), _planes_through_three(A, y, holds[:, [0, 2]].mean(0))])
    best = planes[np.argmin(cost(planes))]
    for _ in range(20):
        off = y - A @ best
        mine = offsets(off, np.ones(len(y))) @ own.T
        near = np.abs(off - mine) <= settings.floor_outlier_sigmas * sigma
        # Whoever stands far above everybody else stands on something else.
        near &= np.abs(mine) <= settings.floor_outlier_sigmas * shared
        if not near.any():
            break
        counted = own[near]
        whitened = np.eye(near.sum()) - counted * (shared**2 / (sigma**2 + counted.sum(0) * shared**2)) @ counted.T
        weighted = A[near].T @ whitened / sigma**2
        new = np.linalg.solve(weighted @ A[near] + prior, weighted @ y[near] + prior @ [0.0, *slopes])
        if np.allclose(new, best, atol=1e-9):
            break
        best = new
    return best


def _slope_prior(leans: np.ndarray, settings: MotionSettings) -> tuple[np.ndarray, np.ndarray]:
    """What is known of the floor's slopes without footholds: precision (3, 3) and the slopes (2,). A level camera, upright people; of
    these the middle one, so that one who bends does not count."""
    level, upright = np.tan(np.radians([settings.floor_level_deg, settings.floor_upright_deg]))
    lean = np.median(leans, axis=0) if len(leans) else np.zeros(2)
    weight = 1 / level**2 + len(leans) / upright**2
    return np.diag([0.0, weight, weight]), lean * (len(leans) / upright**2) / weight


def _planes_of_slope(holds: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Planes (n, 3) of the given slopes through each foothold."""
    tilt = np.broadcast_to(slopes, (len(holds), 2))
    return np.concatenate([(holds[:, 1] - holds[:, [0, 2]] @ slopes)[:, None], tilt], axis=1)


def _planes_through_three(A: np.ndarray, y: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Planes (n, 3) through three footholds each, drawn the same way every time; those that are nearly in line are left out."""
    if len(y) < 3:
        return np.zeros((0, 3))
    rng = np.random.default_rng(0)
    chosen = np.stack([rng.choice(len(y), 3, replace=False) for _ in range(_TRIALS)])
    centred = A[chosen] - [0.0, *middle]
    wide = np.abs(np.linalg.det(centred)) > 1e-3
    return np.linalg.solve(A[chosen][wide], y[chosen][wide][..., None])[..., 0]
