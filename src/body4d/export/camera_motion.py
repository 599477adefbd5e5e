"""The clip's camera at any times, for files that hold cameras."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.core.types import Scene
from body4d.export.character import continuous_quats
from body4d.export.frame_grid import rows_between
from body4d.export.skeleton import REST_TO_Y_UP
from body4d.geometry.rotations import interpolated_rotations

SENSOR_MM = 36.0
"""The width that a lens is given for; any does, since a camera's picture is a ratio."""


@dataclass(frozen=True)
class CameraMotion:
    """Where the camera is at some times, and its focal length there."""

    T_world_camera: Float[np.ndarray, "n 4 4"]
    focal_px: Float[np.ndarray, " n"]

    @staticmethod
    def at(scene: Scene, at_s: Float[np.ndarray, " n"]) -> "CameraMotion":
        """The camera at times of the clip: between two frames it turns along the shortest arc and moves and zooms evenly."""
        left, right, share = rows_between(scene.clip.times_s, at_s)
        a, b = scene.T_world_camera_at(left), scene.T_world_camera_at(right)
        between = a + share[:, None, None] * (b - a)
        between[:, :3, :3] = interpolated_rotations(a[:, :3, :3], b[:, :3, :3], share)
        focal_a, focal_b = scene.camera.focal_px_at(left), scene.camera.focal_px_at(right)
        return CameraMotion(between, focal_a + share * (focal_b - focal_a))

    @property
    def zooms(self) -> bool:
        """Whether the focal length changes."""
        return bool(np.any(self.focal_px != self.focal_px[0]))

    @property
    def place_m(self) -> Float[np.ndarray, "n 3"]:
        """Where it is in the world."""
        return self.T_world_camera[:, :3, 3]

    @property
    def y_up_rotations(self) -> Float[np.ndarray, "n 3 3"]:
        """How it is turned in the world where cameras look along -z with y up, as those of glTF, USD and Blender do."""
        return self.T_world_camera[:, :3, :3] @ REST_TO_Y_UP

    @property
    def y_up_quats(self) -> Float[np.ndarray, "n 4"]:
        """``y_up_rotations`` as float32, x y z w, each on the same side as the one before it."""
        return continuous_quats(self.y_up_rotations)
