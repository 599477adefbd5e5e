"""Alembic: everybody's moving mesh in one file, through the package alembic3d (extra ``alembic``). Floor-aligned world, y up, metres."""

from pathlib import Path
from typing import Any

import numpy as np

from body4d.bodies.registry import rig_of
from body4d.core.files import atomic_path
from body4d.core.types import BodyTrack, Scene
from body4d.export.options import ExportOptions
from body4d.export.surface import world_surfaces

_VISIBLE, _HIDDEN = -1, 0
"""Alembic's own: visible as the object above, or not at all."""


def write_alembic(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write a mesh ``person_<id>`` for everybody, with samples at the times of their frames. Raises OutputError."""
    from alembic3d import Abc  # pyright: ignore[reportMissingImports]

    with atomic_path(path) as made:
        archive = Abc.OArchive(str(made))
        done, total = 0, sum(map(len, scene.people))
        for track in scene.people:
            for count in _write_person(archive, scene, track):
                done += count
                options.on_progress(done, total)
        del archive  # the file is complete when the last of its objects is gone


def _write_person(archive: Any, scene: Scene, track: BodyTrack) -> Any:
    """Write one person's mesh and yield how many frames each stretch had."""
    from alembic3d import AbcCoreAbstract, AbcGeom  # pyright: ignore[reportMissingImports]
    from imath import IntArrayFromBuffer, V3fArrayFromBuffer  # pyright: ignore[reportMissingImports]

    faces = rig_of(track).faces
    corners = IntArrayFromBuffer(np.ascontiguousarray(faces[:, ::-1], np.int32).reshape(-1))  # Alembic winds clockwise
    counts = IntArrayFromBuffer(np.full(len(faces), 3, np.int32))
    times = archive.addTimeSampling(_time_sampling(scene.clip.times_s[track.frame_index], AbcCoreAbstract))
    mesh = AbcGeom.OPolyMesh(archive.getTop(), f"person_{track.person_id}", times)
    schema = mesh.getSchema()
    for rows, surfaces in world_surfaces(scene, track):
        for vertices in surfaces:
            schema.set(AbcGeom.OPolyMeshSchemaSample(V3fArrayFromBuffer(np.ascontiguousarray(vertices)), corners, counts))
        yield rows.stop - rows.start
    followed = np.zeros(len(scene.clip), bool)
    followed[track.frame_index] = True
    if not followed.all():
        # On every frame, since readers take the nearest sample.
        frames = archive.addTimeSampling(_time_sampling(scene.clip.times_s, AbcCoreAbstract))
        visibility = AbcGeom.CreateVisibilityProperty(mesh, frames)
        for is_there in followed:
            visibility.setValue(_VISIBLE if is_there else _HIDDEN)


def _time_sampling(times_s: np.ndarray, core: Any) -> Any:
    """The very times, even or not."""
    times = core.TimeVector()
    times[:] = [float(t) for t in times_s]
    return core.TimeSampling(core.TimeSamplingType(core.AcyclicFlag.kAcyclic), times)
