"""The virtual stage: fixed cameras beside and above everything that moves in a clip, over a floor with a grid of metres."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from body4d.core.types import Camera, Scene

_AROUND_M = 0.15  # Joints lie within the body: the crown and the fingertips reach this much farther.
_LEAST_M = 1.2  # At least so much is shown, however little moves.
_EMPTY_STAGE = np.array([-1.0, 0.0, -1.0]), np.array([1.0, 1.7, 1.0])  # Where nobody was found.
_OUTLIER_PERCENT = 0.5  # Of the frames at either end; one frame gone wild shall not make everybody tiny.
_TILT_DEG = 9.0  # The side camera looks down a little, or the floor would be a line.
_SIDE_FOV_DEG, _TOP_FOV_DEG = 24.0, 14.0  # Long lenses: sizes can be compared across the stage.
_FILL = 0.9  # Share of the panel that the stage takes.

_SKY, _HAZE, _FLOOR, _LINE, _STRONG = (
    np.array(c, float) for c in ((250, 251, 252), (231, 234, 238), (222, 226, 231), (178, 186, 196), (140, 150, 162))
)


@dataclass(frozen=True)
class VirtualCamera:
    """A virtual camera: ``camera`` and ``T_view_world`` (4, 4), which maps world points into its axes."""

    camera: Camera
    T_view_world: np.ndarray

    def points_m(self, world_m: np.ndarray) -> np.ndarray:
        """World points (..., 3) in the view's camera axes."""
        return world_m @ self.T_view_world[:3, :3].T + self.T_view_world[:3, 3]

    def project(self, world_m: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of world points (..., 3)."""
        return self.camera.project(self.points_m(world_m))


def scene_bounds(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Corners (3,), (3,) in metres, world axes, of the box around all that moves in the clip, the floor under it included."""
    spans = _spans(_world_joints(scene))
    low, high = (spans[0] - _AROUND_M, spans[1] + _AROUND_M) if spans else _EMPTY_STAGE
    return np.minimum(low, [np.inf, 0, np.inf]), high


def _world_joints(scene: Scene) -> list[np.ndarray]:
    """Everybody's joints (T, K, 3) in world axes."""
    turn, shift = scene.T_world_camera[:3, :3], scene.T_world_camera[:3, 3]
    return [track.joints_m @ turn.T + shift for track in scene.people if len(track)]


def _spans(tracks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Least and greatest coordinates (D,) of ``tracks``, each (T, K, D), without each track's wildest frames."""
    if not tracks:
        return None
    low = np.min([np.percentile(track.min(1), _OUTLIER_PERCENT, axis=0) for track in tracks], axis=0)
    return low, np.max([np.percentile(track.max(1), 100 - _OUTLIER_PERCENT, axis=0) for track in tracks], axis=0)


def floor_directions(T_world_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(right, ahead), unit vectors (3,) on the floor, as the camera that filmed sees them."""
    ahead = T_world_camera[:3, 2] * [1, 0, 1]
    if np.linalg.norm(ahead) < 1e-3:  # It looks straight down: the picture's top is ahead.
        ahead = -T_world_camera[:3, 1] * [1, 0, 1]
    ahead = ahead / np.linalg.norm(ahead)
    return np.cross(ahead, [0, 1, 0]), ahead


def side_camera(scene: Scene, width_px: int, height_px: int) -> VirtualCamera:
    """From the filming camera's right: what was far away is on the right, the filming camera stands on the left."""
    right, ahead = floor_directions(scene.T_world_camera)
    tilt = np.radians(_TILT_DEG)
    forward = -right * np.cos(tilt) - np.array([0, 1, 0]) * np.sin(tilt)
    return _fitted(scene, ahead, forward, _SIDE_FOV_DEG, width_px, height_px)


def top_camera(scene: Scene, width_px: int, height_px: int) -> VirtualCamera:
    """From above: what was far away is at the top, the filming camera stands below."""
    right, _ = floor_directions(scene.T_world_camera)
    return _fitted(scene, right, np.array([0.0, -1.0, 0.0]), _TOP_FOV_DEG, width_px, height_px)


def _fitted(scene: Scene, right: np.ndarray, forward: np.ndarray, fov_deg: float, width_px: int, height_px: int) -> VirtualCamera:
    """The view along ``forward`` whose picture all that moves just fills, centred by shifting the lens."""
    low, high = scene_bounds(scene)
    distance = max(np.linalg.norm(high - low), _LEAST_M) / 2 / np.tan(np.radians(fov_deg / 2))
    transform = np.eye(4)
    transform[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    transform[:3, 3] = [0, 0, distance] - transform[:3, :3] @ (low + high) / 2
    view = VirtualCamera(Camera(1.0, 0.0, 0.0, width_px, height_px), transform)
    spans = _spans([view.project(joints) for joints in _world_joints(scene)])
    if spans is None:
        corners = view.project(np.array(_EMPTY_STAGE))
        spans = corners.min(0), corners.max(0)
    middle, size = (spans[0] + spans[1]) / 2, np.maximum(spans[1] - spans[0] + 2 * _AROUND_M / distance, _LEAST_M / distance)
    focal = float(_FILL * np.min([width_px, height_px] / size))
    camera = Camera(focal, width_px / 2 - focal * middle[0], height_px / 2 - focal * middle[1], width_px, height_px)
    return VirtualCamera(camera, transform)


def render_floor(view: VirtualCamera, bounds: tuple[np.ndarray, np.ndarray], axes: Sequence[np.ndarray]) -> np.ndarray:
    """The empty stage, RGB uint8 (H, W, 3): lines every metre, stronger every five, fading out around ``bounds``.

    ``axes``: the two directions (3,) on the floor that lines are at right angles to; lines are counted from the world's origin.
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
        place = floor @ axis
        for every, colour, half_width_px in ((1.0, _LINE, 0.55), (5.0, _STRONG, 0.9)):
            strength = _lines(place / every, half_width_px * max(height / 540, 0.7)) * solid
            picture += (colour - picture) * strength[..., None]
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _lines(place: np.ndarray, half_width_px: float) -> np.ndarray:
    """Coverage (H, W) in [0, 1] of lines at whole numbers of ``place`` (H, W); lines too dense to be told apart vanish."""
    down, across = np.gradient(place)
    step = np.hypot(down, across) + 1e-12  # of ``place`` for one pixel
    away_px = np.abs(place - np.round(place)) / step
    covered = np.clip(half_width_px + 0.5 - away_px, 0, 1) * np.clip(1.25 - 5 * step, 0, 1)
    return np.nan_to_num(covered)
