"""Virtual views: fixed cameras beside and above everything that moves in a clip, over a floor with a grid of metres."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from body4d.core.types import Camera, Scene

_PADDING_M = 0.15  # Joints are inside the body: the crown and the fingertips reach this much farther.
_MIN_EXTENT_M = 1.2  # At least so much is shown, however little moves.
_EMPTY_BOUNDS_M = np.array([-1.0, 0.0, -1.0]), np.array([1.0, 1.7, 1.0])  # Where nobody was found.
_OUTLIER_PERCENT = 0.5  # Share of frames left out at either end: one wrong frame must not make everybody tiny.
_TILT_DEG = 9.0  # The side camera looks down a little, or the floor would be a line.
_SIDE_FOV_DEG, _TOP_FOV_DEG = 24.0, 14.0  # Long lenses: sizes can be compared across the view.
_FILL_SHARE = 0.9  # Share of the panel that the scene takes.
_NUM_DIRECTIONS = 200  # Frames from which the mean direction of a camera that moves is taken.
_MIN_COMMON_SHARE = 0.3  # Length of the mean of unit vectors below which they have no common direction: an orbit of more than 270 degrees.
_MIN_WAY_M = 1.5  # Who goes less far stays in their place.
_MAX_CAMERA_GROWTH, _ALWAYS_SHOWN_M = 3.0, 8.0
# The top view is at most so many times wider for the camera's sake, or so wide: half a metre of shoulders is then 20 of 356 pixels.

_SKY, _HAZE, _FLOOR, _LINE, _STRONG_LINE = (
    np.array(c, float) for c in ((250, 251, 252), (231, 234, 238), (222, 226, 231), (178, 186, 196), (140, 150, 162))
)


@dataclass(frozen=True)
class VirtualCamera:
    """A virtual camera: ``camera`` and ``T_view_world``, which maps world points into its axes."""

    camera: Camera
    T_view_world: Float[np.ndarray, "4 4"]

    def points_m(self, world_m: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """World points in the view's camera axes."""
        return world_m @ self.T_view_world[:3, :3].T + self.T_view_world[:3, 3]

    def project(self, world_m: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Pixels of world points."""
        return self.camera.project(self.points_m(world_m))


def scene_bounds(scene: Scene) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Corners in metres, world axes, of the box around all that moves in the clip, the floor under it included."""
    spans = _spans(_world_joints(scene))
    low, high = (spans[0] - _PADDING_M, spans[1] + _PADDING_M) if spans else _EMPTY_BOUNDS_M
    return np.minimum(low, [np.inf, 0, np.inf]), high


def _world_joints(scene: Scene) -> list[np.ndarray]:
    """Everybody's joints (T, K, 3) in world axes."""
    return [scene.world_points(track.joints_m, track.frame_index) for track in scene.people if len(track)]


def _spans(tracks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Least and greatest coordinates (D,) of ``tracks``, each (T, K, D), without each track's outermost frames."""
    if not tracks:
        return None
    low = np.min([np.percentile(track.min(1), _OUTLIER_PERCENT, axis=0) for track in tracks], axis=0)
    return low, np.max([np.percentile(track.max(1), 100 - _OUTLIER_PERCENT, axis=0) for track in tracks], axis=0)


def floor_directions(T_world_camera: Float[np.ndarray, "4 4"]) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """(right, ahead), unit vectors on the floor, as the clip's camera sees them."""
    ahead = T_world_camera[:3, 2] * [1, 0, 1]
    if np.linalg.norm(ahead) < 1e-3:  # It looks straight down: the picture's top is ahead.
        ahead = -T_world_camera[:3, 1] * [1, 0, 1]
    ahead = ahead / np.linalg.norm(ahead)
    return np.cross(ahead, [0, 1, 0]), ahead


def view_directions(scene: Scene) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """``floor_directions`` for the whole clip: in the mean those of a camera that moves, of its first frame where it turns round."""
    if not scene.camera.has_places:
        return floor_directions(scene.T_world_camera)
    frames = np.unique(np.linspace(0, len(scene.clip) - 1, _NUM_DIRECTIONS).round().astype(int))
    ahead = np.mean([floor_directions(T)[1] for T in scene.T_world_camera_at(frames)], axis=0)
    length = np.linalg.norm(ahead)
    if length < _MIN_COMMON_SHARE:
        return floor_directions(scene.T_world_camera)
    return np.cross(ahead / length, [0, 1, 0]), ahead / length


def side_camera(scene: Scene, width_px: int, height_px: int) -> VirtualCamera:
    """From the right of the clip's camera: what was far away is on the right, the clip's camera is on the left.

    Where that one moves along with people who cover ground, this one looks across their way, from its side.
    """
    right, ahead = view_directions(scene)
    along = _main_way(scene) if scene.camera.has_places else None
    if along is not None:
        across = np.cross([0, 1, 0], along)
        return standing_camera(scene, across * (1 if across @ ahead >= 0 else -1), width_px, height_px)
    return standing_camera(scene, -right, width_px, height_px)


def _main_way(scene: Scene) -> Float[np.ndarray, " 3"] | None:
    """The direction on the floor in which people cover most ground, a unit vector; None where they hardly leave their place."""
    middles = [joints.mean(1)[:, [0, 2]] for joints in _world_joints(scene)]
    if not middles:
        return None
    places = np.concatenate(middles)
    axis = np.linalg.svd(places - places.mean(0), full_matrices=False)[2][0]
    low, high = np.percentile(places @ axis, [_OUTLIER_PERCENT, 100 - _OUTLIER_PERCENT])
    return np.array([axis[0], 0.0, axis[1]]) if high - low >= _MIN_WAY_M else None


def standing_camera(scene: Scene, ahead: Float[np.ndarray, " 3"], width_px: int, height_px: int) -> VirtualCamera:
    """A camera beside the scene that looks along ``ahead``, a unit vector in the floor, and down a little."""
    tilt = np.radians(_TILT_DEG)
    forward = ahead * np.cos(tilt) - np.array([0, 1, 0]) * np.sin(tilt)
    return _fit_camera(scene, np.cross(ahead, [0, 1, 0]), forward, _SIDE_FOV_DEG, width_px, height_px)


def top_camera(scene: Scene, width_px: int, height_px: int) -> VirtualCamera:
    """From above: what was far away is at the top, the clip's camera is below. One that moves is in the picture, unless it is far off."""
    right, _ = view_directions(scene)
    return _fit_camera(scene, right, np.array([0.0, -1.0, 0.0]), _TOP_FOV_DEG, width_px, height_px, _near_places(scene))


def _near_places(scene: Scene) -> list[np.ndarray]:
    """Where a camera that moves is (T, 1, 3) in world axes; nothing where people would be too small beside its path."""
    if not scene.camera.has_places:
        return []
    places = scene.T_world_camera_at(np.arange(len(scene.clip)))[:, None, :3, 3]
    low, high = scene_bounds(scene)
    whole = np.maximum(high, places.max(0)[0]) - np.minimum(low, places.min(0)[0])
    limit = max(_MAX_CAMERA_GROWTH * float(np.max((high - low)[[0, 2]])), _ALWAYS_SHOWN_M)
    return [places] if np.max(whole[[0, 2]]) <= limit else []


def _fit_camera(
    scene: Scene, right: np.ndarray, forward: np.ndarray, fov_deg: float, width_px: int, height_px: int, besides: Sequence[np.ndarray] = ()
) -> VirtualCamera:
    """The camera along ``forward`` whose picture is just filled by all that moves, centred by shifting the principal point.

    ``besides`` are points (T, K, 3) in world axes that shall be in it too.
    """
    low, high = scene_bounds(scene)
    distance = max(np.linalg.norm(high - low), _MIN_EXTENT_M) / 2 / np.tan(np.radians(fov_deg / 2))
    transform = np.eye(4)
    transform[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    transform[:3, 3] = [0, 0, distance] - transform[:3, :3] @ (low + high) / 2
    view = VirtualCamera(Camera(1.0, 0.0, 0.0, width_px, height_px), transform)
    spans = _spans([view.project(points) for points in (*_world_joints(scene), *besides)])
    if spans is None:
        corners = view.project(np.array(_EMPTY_BOUNDS_M))
        spans = corners.min(0), corners.max(0)
    centre, size = (spans[0] + spans[1]) / 2, np.maximum(spans[1] - spans[0] + 2 * _PADDING_M / distance, _MIN_EXTENT_M / distance)
    focal = float(_FILL_SHARE * np.min([width_px, height_px] / size))
    camera = Camera(focal, width_px / 2 - focal * centre[0], height_px / 2 - focal * centre[1], width_px, height_px)
    return VirtualCamera(camera, transform)


def render_floor(
    view: VirtualCamera,
    bounds: tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]],
    axes: Sequence[Float[np.ndarray, " 3"]],
) -> UInt8[np.ndarray, "h w 3"]:
    """The floor without people: lines every metre, stronger every five, fading out around ``bounds``.

    ``axes`` are the two directions on the floor that lines are at right angles to; lines are counted from the world's origin.
    """
    height, width = view.camera.height_px, view.camera.width_px
    rows, columns = np.mgrid[:height, :width] + 0.5
    rays = np.stack([columns - view.camera.cx_px, rows - view.camera.cy_px, np.full_like(rows, view.camera.focal_px)], -1)
    rays = rays / view.camera.focal_px @ view.T_view_world[:3, :3]
    eye = -view.T_view_world[:3, :3].T @ view.T_view_world[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(rays[..., 1] < -1e-6, -eye[1] / rays[..., 1], np.nan)
    floor = eye + rays * reach[..., None]
    low, high = bounds
    size = np.linalg.norm((high - low)[[0, 2]])
    outside = np.linalg.norm(np.maximum(np.maximum(low - floor, floor - high)[..., [0, 2]], 0), axis=-1)
    solid = np.nan_to_num(np.clip(1 - outside / (0.5 * size + 1.5), 0, 1))
    solid = solid**2 * (3 - 2 * solid)  # Without a kink, which would be seen as a line.
    ramp = (rows / height)[..., None]
    picture = _SKY * (1 - ramp) + _HAZE * ramp
    picture += (_FLOOR - picture) * solid[..., None]
    for axis in axes:
        coordinate = floor @ axis
        for every, colour, half_width_px in ((1.0, _LINE, 0.55), (5.0, _STRONG_LINE, 0.9)):
            strength = _lines(coordinate / every, half_width_px * max(height / 540, 0.7)) * solid
            picture += (colour - picture) * strength[..., None]
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _lines(coordinate: np.ndarray, half_width_px: float) -> np.ndarray:
    """Coverage (H, W) in [0, 1] of lines at whole numbers of ``coordinate`` (H, W); lines too dense to be distinct vanish."""
    down, across = np.gradient(coordinate)
    step = np.hypot(down, across) + 1e-12  # of ``coordinate`` for one pixel
    away_px = np.abs(coordinate - np.round(coordinate)) / step
    covered = np.clip(half_width_px + 0.5 - away_px, 0, 1) * np.clip(1.25 - 5 * step, 0, 1)
    return np.nan_to_num(covered)
