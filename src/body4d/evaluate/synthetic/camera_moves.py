"""How the camera of a synthetic clip is moved: on a tripod, by hand, on a rail, around somebody. Stage axes: y down, floor at y = 0."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from body4d.core.camera import Camera, CameraPath
from body4d.evaluate.synthetic.limb_poser import axis_rotation

CameraMove = Literal["static", "pan", "zoom", "handheld", "follow", "orbit", "dolly"]
CAMERA_MOVES: tuple[CameraMove, ...] = get_args(CameraMove)

MOVE_KINDS: dict[CameraMove, Literal["static", "rotating", "moving"]] = {
    "static": "static",
    "pan": "rotating",
    "zoom": "rotating",
    "handheld": "moving",
    "follow": "moving",
    "orbit": "moving",
    "dolly": "moving",
}
"""What moves: nothing, rotation and focal length alone, or the camera's place too."""

EYE_M, EYE_HEIGHT_M, CHEST_M = 5.2, 1.5, 0.95
"""The camera stands this far from the middle of the stage, this high, and is aimed this high."""

PAN_LAG_S = 0.12
"""Somebody who follows a walker with a camera is late by the time of a reaction that foresees most of the movement."""

ZOOM_FACTOR = 1.9
ORBIT_HALF_DEG = 36.0
DOLLY_HALF_M, DOLLY_NEARER_M = 1.5, 0.7

TRIPOD_DEG = 0.12
"""Root mean square of a hand's unsteadiness on the lever of a tripod."""

HAND_DEG, HAND_ROLL_DEG, HAND_M = 0.55, 0.35, 0.012
"""Root mean square of a standing person's sway with a phone in both hands, of each angle and along each axis."""

GAIT_HZ, GAIT_BOUNCE_M, GAIT_SWAY_M, GAIT_DEG = 1.8, 0.018, 0.015, 0.5
"""Somebody who films while walking: steps a second, amplitudes up and down, from side to side (at half the rate), and of pitch."""

_SHAKE_HZ = (0.15, 9.0)  # from a body's sway to the tremor of hands
_SHAKE_WAVES = 28


@dataclass(frozen=True)
class CameraViews:
    """Where the camera is at given moments, and its focal length there."""

    T_camera_stage: Float[np.ndarray, "t 4 4"]
    focal_px: Float[np.ndarray, " t"]


@dataclass(frozen=True)
class FilmingCamera:
    """A camera that moves. ``camera`` is its lens on the first frame; ``views`` gives the rest at seconds (T,) from there."""

    camera: Camera
    kind: Literal["static", "rotating", "moving"]
    views: Callable[[np.ndarray], CameraViews]

    def path(self, times_s: Float[np.ndarray, " t"]) -> CameraPath | None:
        """The exact path over frames at ``times_s``; None where the camera stands still."""
        if self.kind == "static":
            return None
        views = self.views(times_s)
        exact = np.zeros(len(times_s))
        T_reference_camera = views.T_camera_stage[0] @ np.linalg.inv(views.T_camera_stage)
        T_reference_camera[0] = np.eye(4)
        return CameraPath(self.kind, T_reference_camera, views.focal_px, exact, exact, exact, source="truth", scale_source="truth")


def standing_camera(camera: Camera, T_camera_stage: Float[np.ndarray, "4 4"]) -> FilmingCamera:
    """``camera`` where it stands."""

    def views(times_s: np.ndarray) -> CameraViews:
        return CameraViews(np.tile(T_camera_stage, (len(times_s), 1, 1)), np.full(len(times_s), camera.focal_px))

    return FilmingCamera(camera, "static", views)


def moving_camera(
    move: CameraMove, camera: Camera, subject_m: Callable[[np.ndarray], np.ndarray], seconds: float, seed: int
) -> FilmingCamera:
    """``camera`` moved as ``move`` says through a film of ``seconds``. ``subject_m`` gives the place (T, 3) of who is filmed."""

    def views(times_s: np.ndarray) -> CameraViews:
        eye, aim, angles_deg, zoom = _moved(move, times_s, subject_m, seconds, seed)
        return CameraViews(_looking(eye, aim, np.radians(angles_deg)), camera.focal_px * zoom)

    return FilmingCamera(camera, MOVE_KINDS[move], views)


def _moved(
    move: CameraMove, times_s: np.ndarray, subject_m: Callable[[np.ndarray], np.ndarray], seconds: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Place (T, 3), the point it is aimed at (T, 3), further yaw, pitch and roll (T, 3) in degrees, and factor of the focal length (T,)."""
    T = len(times_s)
    share = _eased(times_s / seconds)
    eye = np.tile([0.0, -EYE_HEIGHT_M, -EYE_M], (T, 1))
    aim = np.tile([0.0, -CHEST_M, 0.0], (T, 1))
    angles, zoom = np.zeros((T, 3)), np.ones(T)
    late = subject_m(times_s - PAN_LAG_S) * [1.0, 0.0, 1.0] + [0.0, -CHEST_M, 0.0]
    if move in ("pan", "zoom"):
        aim = late
        angles = _shake(times_s, seed, 3) * [TRIPOD_DEG, TRIPOD_DEG, 0.0]
        if move == "zoom":
            zoom = ZOOM_FACTOR**share
    elif move in ("handheld", "follow"):
        angles = _shake(times_s, seed, 3) * [HAND_DEG, HAND_DEG, HAND_ROLL_DEG]
        eye += _shake(times_s, seed + 1, 3) * HAND_M
        aim = 0.5 * (aim + late)
        if move == "follow":
            step = 2 * np.pi * GAIT_HZ * times_s
            eye[:, 0] += late[:, 0] + GAIT_SWAY_M * np.sin(step / 2)
            eye[:, 1] += GAIT_BOUNCE_M * np.cos(step)
            eye[:, 2] += 0.5 * late[:, 2]
            angles[:, 1] += GAIT_DEG * np.sin(step + 0.7)
            aim = late
    elif move == "orbit":
        bearing = np.radians(ORBIT_HALF_DEG) * (2 * share - 1)
        eye = np.stack([EYE_M * np.sin(bearing), -EYE_HEIGHT_M - 0.25 * share, -EYE_M * np.cos(bearing)], -1)
        aim = 0.35 * aim + 0.65 * late
    elif move == "dolly":
        eye += np.stack([DOLLY_HALF_M * (2 * share - 1), 0 * share, DOLLY_NEARER_M * share], -1)
        aim = eye + np.array([0.0, EYE_HEIGHT_M - CHEST_M, EYE_M])
    return eye, aim, angles, zoom


def _eased(share: np.ndarray) -> np.ndarray:
    """0 to 1 with a gentle start and end: the minimum-jerk curve of Flash & Hogan, J Neurosci 1985."""
    s = np.clip(share, 0, 1)
    return s**3 * (10 - 15 * s + 6 * s**2)


def _shake(times_s: np.ndarray, seed: int, channels: int) -> np.ndarray:
    """Unsteadiness (T, channels) of unit root mean square: waves whose amplitude falls with their frequency."""
    rng = np.random.default_rng([seed, 5])
    hz = np.geomspace(*_SHAKE_HZ, _SHAKE_WAVES) * rng.uniform(0.93, 1.07, (channels, _SHAKE_WAVES))
    amplitude = hz**-0.75
    amplitude *= np.sqrt(2 / np.sum(amplitude**2, axis=1, keepdims=True))
    phase = rng.uniform(0, 2 * np.pi, hz.shape)
    return np.einsum("cw,tcw->tc", amplitude, np.sin(2 * np.pi * hz * times_s[:, None, None] + phase))


def _looking(eye_m: np.ndarray, aim_m: np.ndarray, angles_rad: np.ndarray) -> np.ndarray:
    """T_camera_stage (T, 4, 4) of cameras at ``eye_m`` that are aimed at ``aim_m``, then turned by yaw, pitch and roll."""
    ahead = aim_m - eye_m
    yaw = np.arctan2(ahead[:, 0], ahead[:, 2]) + angles_rad[:, 0]
    pitch = np.arctan2(ahead[:, 1], np.hypot(ahead[:, 0], ahead[:, 2])) + angles_rad[:, 1]
    rotation = axis_rotation(2, angles_rad[:, 2]) @ axis_rotation(0, pitch) @ axis_rotation(1, -yaw)
    out = np.tile(np.eye(4), (len(eye_m), 1, 1))
    out[:, :3, :3] = rotation
    out[:, :3, 3] = -np.einsum("tab,tb->ta", rotation, eye_m)
    return out
