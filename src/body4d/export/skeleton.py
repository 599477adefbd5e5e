"""A person's rig and movement in the axes of asset files: the floor-aligned world, y up. Shared by GLB and BVH."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.rig import Rig
from body4d.core.types import BodyTrack
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix

REST_TO_Y_UP = np.diag([1.0, -1.0, -1.0])
"""Rest axes (y down, face along -z) to asset axes (y up, face along +z, left hand at +x): a half turn, so handedness stays."""

MAX_STILL_CHANGE = 1e-6
"""A joint whose rotation matrix never differs by more than this from its first frame does not move: float32 is no more precise."""


@dataclass(frozen=True)
class Skeleton:
    """Joints of one person and their movement, y up, metres.

    ``rest_m`` are rest positions, ``rotations`` relative to the parent (the root's: to the world), ``root_m`` is the root joint in the
    world. Rest orientations are the identity. ``parents`` holds -1 at the root, joint 0.
    """

    names: tuple[str, ...]
    parents: Int[np.ndarray, " joints"]
    rest_m: Float[np.ndarray, "joints 3"]
    rotations: Float[np.ndarray, "t joints 3 3"]
    root_m: Float[np.ndarray, "t 3"]

    @property
    def offsets_m(self) -> Float[np.ndarray, "joints 3"]:
        """Rest positions relative to the parent: the measured bones; zero at the root."""
        up = np.maximum(self.parents, 0)
        return np.where(self.parents[:, None] >= 0, self.rest_m - self.rest_m[up], 0.0)

    def moving_joints(self) -> Bool[np.ndarray, " joints"]:
        """Which joints turn at all."""
        if len(self.rotations) == 0:
            return np.zeros(len(self.names), bool)
        return np.abs(self.rotations - self.rotations[:1]).max(axis=(0, 2, 3)) > MAX_STILL_CHANGE


def build_skeleton(rig: Rig, track: BodyTrack, T_world_camera: Float[np.ndarray, "4 4"]) -> Skeleton:
    """``track``'s movement as a y-up skeleton in the world of ``T_world_camera``."""
    # With v' = C v for rest points: world = Rw (G (v - rest) + p) + tw = (Rw G C) (v' - rest') + (Rw p + tw), and C cancels below the root.
    C = REST_TO_Y_UP
    local = C @ rotvec_to_matrix(track.rotations.astype(np.float64)) @ C
    local[:, 0] = T_world_camera[:3, :3] @ C @ local[:, 0]
    return Skeleton(
        names=rig.joint_names,
        parents=rig.parents,
        rest_m=rig.rest_joints_m @ C,
        rotations=local,
        root_m=track.translation_m @ T_world_camera[:3, :3].T + T_world_camera[:3, 3],
    )


def resample_skeleton(
    skeleton: Skeleton, times_s: Float[np.ndarray, " t"], at_s: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n joints 3 3"], Float[np.ndarray, "n 3"]]:
    """Rotations and root at the times ``at_s``, between the frames at ``times_s``.

    Rotations go along the shortest arc on SO(3), the root along a line; before the first and after the last frame both are held.
    """
    at = np.clip(at_s, times_s[0], times_s[-1])
    left = np.clip(np.searchsorted(times_s, at, side="right") - 1, 0, max(len(times_s) - 2, 0))
    right = np.minimum(left + 1, len(times_s) - 1)
    span = np.where(right > left, times_s[right] - times_s[left], 1.0)
    share = (at - times_s[left]) / span
    a, b = skeleton.rotations[left], skeleton.rotations[right]
    turned = a @ rotvec_to_matrix(share[:, None, None] * matrix_to_rotvec(np.swapaxes(a, -1, -2) @ b))
    # Frames that are hit exactly keep their bits: no rounding through the logarithm.
    rotations = np.where((share == 0)[:, None, None, None], a, turned)
    return rotations, skeleton.root_m[left] + share[:, None] * (skeleton.root_m[right] - skeleton.root_m[left])
