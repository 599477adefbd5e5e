"""The surface of a person in the world, stretch by stretch; shared by formats that hold a mesh for each frame."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from body4d.bodies.registry import rig_of
from body4d.core.types import BodyTrack, Scene

_FRAMES_PER_CHUNK = 32
"""Frames skinned at once: 32 bodies of 14,000 vertices are 5 MB, so that memory does not grow with the clip."""


def world_surfaces(scene: Scene, track: BodyTrack) -> Iterator[tuple[slice, Float[np.ndarray, "t vertices 3"]]]:
    """Rows of ``track`` and their vertices, float32, metres, in the floor-aligned world."""
    rig = rig_of(track)
    for first in range(0, len(track), _FRAMES_PER_CHUNK):
        rows = slice(first, min(first + _FRAMES_PER_CHUNK, len(track)))
        G, p = rig.forward(track.rotations[rows].astype(np.float64), track.translation_m[rows].astype(np.float64))
        frames = track.frame_index[rows]
        yield rows, rig.vertices(scene.T_world_camera_at(frames)[:, None, :3, :3] @ G, scene.world_points(p, frames))
