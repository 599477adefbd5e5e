"""PLY files read back by an independent reader are the posed bodies, in the floor-aligned world."""

import numpy as np
import pytest

from body4d.bodies.registry import body_model
from body4d.export import export_scene
from scenes import make_scene

pytestmark = pytest.mark.slow  # Anny is set up


@pytest.fixture(scope="module")
def scene():
    return make_scene(people=2, frames=6, gaps=True)


def test_every_followed_frame_of_everybody_comes_back(scene, tmp_path):
    plyfile = pytest.importorskip("plyfile", reason="plyfile, the independent PLY reader, is not installed")
    paths = export_scene(scene, "ply", tmp_path / "meshes")
    wanted = {f"person_{t.person_id}_{f:06d}.ply" for t in scene.people for f in t.frame_index}
    assert {p.name for p in paths} == wanted == {p.name for p in (tmp_path / "meshes").iterdir()}
    track = scene.people[1]
    rig = body_model("anny").rig(track.shape)
    G, p = rig.forward(track.rotations.astype(np.float64), track.translation_m.astype(np.float64))
    truth = rig.vertices(G, p) @ scene.T_world_camera[:3, :3].T + scene.T_world_camera[:3, 3]
    for row, frame in enumerate(track.frame_index):
        ply = plyfile.PlyData.read(tmp_path / "meshes" / f"person_2_{frame:06d}.ply")
        assert ply.byte_order == "<"
        assert not ply.text
        vertices = np.stack([ply["vertex"][a] for a in "xyz"], 1)
        assert np.abs(vertices - truth[row]).max() < 1e-4
        assert np.array_equal(np.stack(ply["face"]["vertex_indices"]), rig.faces)


def test_feet_are_below_the_head(scene, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    path = export_scene(scene, "ply", tmp_path)[0]
    body = trimesh.load(path, process=False)
    assert 1.2 < np.ptp(body.vertices[:, 1]) < 2.2
    widest = body.vertices[np.argmax(np.abs(body.vertices[:, 0] - body.vertices[:, 0].mean()))]
    assert widest[1] > body.vertices[:, 1].min() + 0.4  # the hands, not the feet
