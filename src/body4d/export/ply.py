"""PLY: the posed mesh of every person and frame, binary, y up."""

from pathlib import Path

import numpy as np

from body4d.bodies.registry import rig_of
from body4d.core.files import atomic_file
from body4d.core.types import Scene
from body4d.export.options import ExportOptions

_FRAMES_PER_CHUNK = 32
"""Frames skinned at once: 32 bodies of 14,000 vertices are 5 MB, so that memory does not grow with the clip."""


def write_ply(scene: Scene, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``frame_<6 digits>_person_<id>.ply`` for every followed frame, in the floor-aligned world, metres. Raises OutputError."""
    R, t = scene.T_world_camera[:3, :3], scene.T_world_camera[:3, 3]
    paths = []
    for track in scene.people:
        rig = rig_of(track)
        for first in range(0, len(track), _FRAMES_PER_CHUNK):
            rows = slice(first, first + _FRAMES_PER_CHUNK)
            G, p = rig.forward(track.rotations[rows].astype(np.float64), track.translation_m[rows].astype(np.float64))
            world = rig.vertices(R @ G, p @ R.T + t)
            for frame, vertices in zip(track.frame_index[rows], world, strict=True):
                path = folder / f"frame_{frame:06d}_person_{track.person_id}.ply"
                with atomic_file(path) as file:
                    file.write(_ply_bytes(vertices, rig.faces))
                paths.append(path)
    return sorted(paths)


def _ply_bytes(vertices_m: np.ndarray, faces: np.ndarray) -> bytes:
    from trimesh import Trimesh
    from trimesh.exchange.ply import export_ply

    # Unprocessed: merging vertices would take away the correspondence from frame to frame.
    return export_ply(Trimesh(vertices_m, faces, process=False), encoding="binary", vertex_normal=False)
