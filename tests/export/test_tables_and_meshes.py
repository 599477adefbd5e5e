"""Parquet by pandas' own reader, OBJ by trimesh, Alembic by its own: the same numbers at the same times."""

import numpy as np
import pytest

from body4d.export import export_scene
from scenes import stick_scene


@pytest.fixture(scope="module")
def scene():
    return stick_scene(people=2, frames=8, gaps=True, variable_rate=True)


def _world(scene, track):
    G, p = track.rig.forward(track.rotations.astype(np.float64), track.translation_m.astype(np.float64))
    return track.rig.vertices(G, p) @ scene.T_world_camera[:3, :3].T + scene.T_world_camera[:3, 3]


def test_parquet_is_the_csv_with_types(scene, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow, 170 MB, is not installed: pip install 'body4d[parquet]'")
    table = parquet.read_table(export_scene(scene, "parquet", tmp_path)[0])
    lines = export_scene(scene, "csv", tmp_path)[0].read_text().splitlines()
    assert table.column_names == lines[0].split(",")
    assert [str(kind) for kind in table.schema.types[:4]] == ["int32", "double", "int32", "float"]
    written = np.array([[float(cell or "nan") for cell in line.split(",")] for line in lines[1:]])
    read = np.array([[np.nan if v is None else v for v in column.to_pylist()] for column in table.columns], float).T
    assert np.allclose(read, written, atol=1e-6, equal_nan=True)
    assert table["time_s"].to_pylist() == [scene.clip.times_s[f] for f in table["frame"].to_pylist()]


def test_obj_files_are_numbered_by_person_and_frame(scene, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    paths = export_scene(scene, "obj", tmp_path)
    assert {p.name for p in paths} == {f"person_{t.person_id}_{f:06d}.obj" for t in scene.people for f in t.frame_index}
    track = scene.people[1]
    mesh = trimesh.load(tmp_path / f"person_2_{track.frame_index[2]:06d}.obj", process=False)
    assert np.allclose(mesh.vertices, _world(scene, track)[2], atol=1e-6)
    assert np.array_equal(mesh.faces, track.rig.faces)


def test_alembic_holds_meshes_at_the_clips_own_times(scene, tmp_path):
    pytest.importorskip("alembic3d", reason="alembic3d is not installed: pip install 'body4d[alembic]'")
    from alembic3d import Abc, AbcGeom

    archive = Abc.IArchive(str(export_scene(scene, "abc", tmp_path)[0]))
    top = archive.getTop()
    assert [top.children[k].getName() for k in range(len(top.children))] == ["person_1", "person_2"]
    for k, track in enumerate(scene.people):
        mesh = AbcGeom.IPolyMesh(top, top.children[k].getName())
        schema = mesh.getSchema()
        assert schema.getNumSamples() == len(track)
        sampling = schema.getTimeSampling()
        world = _world(scene, track)
        for row, frame in enumerate(track.frame_index):
            assert sampling.getSampleTime(row) == pytest.approx(scene.clip.times_s[frame])
            sample = schema.getValue(Abc.ISampleSelector(float(scene.clip.times_s[frame])))
            assert np.allclose(np.array(memoryview(sample.getPositions())), world[row], atol=1e-5)
        corners = np.array(memoryview(schema.getValue(Abc.ISampleSelector(0.0)).getFaceIndices())).reshape(-1, 3)
        assert np.array_equal(corners, track.rig.faces[:, ::-1])
        followed = np.isin(np.arange(len(scene.clip)), track.frame_index)
        for frame in range(len(scene.clip)):
            seen = AbcGeom.GetVisibility(mesh, Abc.ISampleSelector(float(scene.clip.times_s[frame])))
            assert (int(seen) != 0) == followed[frame]
