"""PLY and OBJ: the posed mesh of every person and frame in a file of its own, y up."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from body4d.bodies.registry import rig_of
from body4d.core.files import atomic_file
from body4d.core.types import Scene
from body4d.export.options import ExportOptions
from body4d.export.surface import world_surfaces


def write_ply(scene: Scene, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``person_<id>_<6 digits>.ply``, binary, for every followed frame, in the floor-aligned world, metres. Raises OutputError."""
    return _write(scene, folder, "ply", lambda faces: lambda vertices: _ply_bytes(vertices, faces), options)


def write_obj(scene: Scene, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``person_<id>_<6 digits>.obj`` for every followed frame, in the floor-aligned world, metres. Raises OutputError."""
    return _write(scene, folder, "obj", _obj_writer, options)


def _write(
    scene: Scene,
    folder: Path,
    ending: str,
    writer_of: Callable[[np.ndarray], Callable[[np.ndarray], bytes]],
    options: ExportOptions,
) -> list[Path]:
    """A file for each frame. The number comes last in its name, by which programs recognise a sequence."""
    paths: list[Path] = []
    total = sum(map(len, scene.people))
    for track in scene.people:
        to_bytes = writer_of(rig_of(track).faces)
        for rows, surfaces in world_surfaces(scene, track):
            for frame, vertices in zip(track.frame_index[rows], surfaces, strict=True):
                path = folder / f"person_{track.person_id}_{frame:06d}.{ending}"
                with atomic_file(path) as file:
                    file.write(to_bytes(vertices))
                paths.append(path)
            options.on_progress(len(paths), total)
    return sorted(paths)


def _ply_bytes(vertices_m: np.ndarray, faces: np.ndarray) -> bytes:
    from trimesh import Trimesh
    from trimesh.exchange.ply import export_ply

    # Unprocessed: merging vertices would take away the correspondence from frame to frame.
    return export_ply(Trimesh(vertices_m, faces, process=False), encoding="binary", vertex_normal=False)


def _obj_writer(faces: np.ndarray) -> Callable[[np.ndarray], bytes]:
    """OBJ counts vertices from 1. The triangles' text is the same in every frame."""
    triangles = "".join(f"f {a} {b} {c}\n" for a, b, c in (faces + 1).tolist())

    def to_bytes(vertices_m: np.ndarray) -> bytes:
        points = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in vertices_m.tolist())
        return (points + triangles).encode()

    return to_bytes
