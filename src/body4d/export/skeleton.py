"""A person's rig and movement in the axes of asset files: the floor-aligned world, y up. Shared by GLB and BVH."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Scene
from body4d.export.frame_grid import rows_between
from body4d.geometry.rotations import interpolated_rotations, rotvec_to_matrix

REST_TO_Y_UP = np.diag([1.0, -1.0, -1.0])
"""Rest axes (y down, face along -z) to asset axes (y up, face along +z, left hand at +x): a half turn, so handedness stays."""

Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""The world of asset files to one with z up: x stays, what was ahead (z) is -y."""

MAX_STILL_CHANGE = 1e-6
"""A joint whose rotation matrix never differs by more than this from its first frame does not move: float32 is no more precise."""

CHUNK_FRAMES = 512
"""Frames posed at once: 512 of 104 joints are 4 MB of rotations, so that memory does not grow with the clip."""


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
    places_m: Mapping[int, Float[np.ndarray, "t 3"]] = field(default_factory=dict)
    """Joints whose place relative to their parent changes, by index: that place in the parent's axes."""

    @property
    def offsets_m(self) -> Float[np.ndarray, "joints 3"]:
        """Rest positions relative to the parent: the measured bones; zero at the root."""
        up = np.maximum(self.parents, 0)
        return np.where(self.parents[:, None] >= 0, self.rest_m - self.rest_m[up], 0.0)

    def forward(self) -> tuple[Float[np.ndarray, "t joints 3 3"], Float[np.ndarray, "t joints 3"]]:
        """Rotations and places of all joints in the world."""
        G, p = np.empty_like(self.rotations), np.empty(self.rotations.shape[:3])
        offsets = self.offsets_m
        for j, parent in enumerate(self.parents):
            if parent < 0:
                G[:, j], p[:, j] = self.rotations[:, j], self.root_m
                continue
            G[:, j] = G[:, parent] @ self.rotations[:, j]
            place = self.places_m[j] if j in self.places_m else offsets[j][None]
            p[:, j] = p[:, parent] + np.einsum("tab,tb->ta", G[:, parent], np.broadcast_to(place, (len(G), 3)))
        return G, p

    def moving_joints(self) -> Bool[np.ndarray, " joints"]:
        """Which joints turn at all."""
        if len(self.rotations) == 0:
            return np.zeros(len(self.names), bool)
        return np.abs(self.rotations - self.rotations[:1]).max(axis=(0, 2, 3)) > MAX_STILL_CHANGE


def build_skeleton(rig: Rig, track: BodyTrack, scene: Scene, rows: slice = slice(None)) -> Skeleton:
    """``track``'s movement, or that of some of its ``rows``, as a y-up skeleton in the world of ``scene``."""
    # With v' = C v for rest points: world = Rw (G (v - rest) + p) + tw = (Rw G C) (v' - rest') + (Rw p + tw), and C cancels below the root.
    C = REST_TO_Y_UP
    local = C @ rotvec_to_matrix(track.rotations[rows].astype(np.float64)) @ C
    frames = track.frame_index[rows]
    local[:, 0] = scene.T_world_camera_at(frames)[:, :3, :3] @ C @ local[:, 0]
    return Skeleton(
        names=rig.joint_names,
        parents=rig.parents,
        rest_m=rig.rest_joints_m @ C,
        rotations=local,
        root_m=scene.world_points(track.translation_m[rows], frames),
    )


def resample_skeleton(
    skeleton: Skeleton, times_s: Float[np.ndarray, " t"], at_s: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n joints 3 3"], Float[np.ndarray, "n 3"]]:
    """Rotations and root at the times ``at_s``, between the frames at ``times_s``.

    Rotations go along the shortest arc on SO(3), the root along a line; before the first and after the last frame both are held.
    """
    left, right, share = rows_between(times_s, at_s)
    rotations = interpolated_rotations(skeleton.rotations[left], skeleton.rotations[right], share)
    return rotations, skeleton.root_m[left] + share[:, None] * (skeleton.root_m[right] - skeleton.root_m[left])


def moving_joints(track: BodyTrack) -> Bool[np.ndarray, " joints"]:
    """Which joints turn at all, as ``Skeleton.moving_joints`` says it of a whole movement, in memory that does not grow with the clip."""
    moves = np.zeros(track.rotations.shape[1], bool)
    for first in range(0, len(track), CHUNK_FRAMES):
        moves |= np.abs(track.rotations[first : first + CHUNK_FRAMES] - track.rotations[:1]).max(axis=(0, 2)) > MAX_STILL_CHANGE
    return moves


def skeletons_at(rig: Rig, track: BodyTrack, scene: Scene, at_s: Float[np.ndarray, " n"]) -> Iterator[Skeleton]:
    """The movement at the rising times ``at_s``, stretch by stretch of ``CHUNK_FRAMES``; see ``resample_skeleton``."""
    times_s = scene.clip.times_s[track.frame_index]
    for first in range(0, len(at_s), CHUNK_FRAMES):
        wanted = at_s[first : first + CHUNK_FRAMES]
        at = np.clip(wanted[[0, -1]], times_s[0], times_s[-1])
        low = max(int(np.searchsorted(times_s, at[0], side="right")) - 1, 0)
        high = min(int(np.searchsorted(times_s, at[1], side="right")) + 1, len(times_s))
        rows = slice(low, high)
        stretch = build_skeleton(rig, track, scene, rows)
        rotations, root_m = resample_skeleton(stretch, times_s[rows], wanted)
        yield replace(stretch, rotations=rotations, root_m=root_m)
