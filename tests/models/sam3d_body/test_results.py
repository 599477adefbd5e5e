"""Stored results of SAM-3D-Body as scenes: made-up ones, and three real people of one picture."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import trimesh

from body4d.bodies.registry import body_model
from body4d.core.errors import InputError
from body4d.core.scene_io import load_scene, save_scene
from body4d.core.types import Camera, Scene
from body4d.export import export_scene
from body4d.models.sam3d_body.results import load_results, read_result
from body4d.render.rasterizer import silhouette
from mhr_results import save_result

CAMERA = Camera(2535.27, 960, 445, 1920, 890, source="fov")
SMALL = Camera(1000.0, 320, 240, 640, 480)


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    faces = np.random.default_rng(0).integers(0, 150, (40, 3))
    trimesh.Trimesh(np.zeros((150, 3)), faces, process=False).export(tmp_path / "mesh.ply")
    return tmp_path / "mesh.ply"


@pytest.fixture(scope="module")
def real(shared: Path) -> list[Path]:
    paths = [shared / "mhr" / f"sam3d_body_output_{i}.npz" for i in range(3)]
    if not paths[0].exists():
        pytest.skip("the real SAM-3D-Body results are not on this machine")
    return paths


@pytest.fixture(scope="module")
def trio(real: list[Path]) -> Scene:
    return load_results(real, CAMERA, real[0].parent / "mhr_template.ply")


def posed(scene: Scene) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertices (V, 3) and keypoints (70, 3) of everybody, through the rig, camera axes."""
    out = []
    for track in scene.people:
        rig = body_model(track.body).rig(track.shape)
        G, p = rig.forward(track.rotations.astype(np.float64), track.translation_m.astype(np.float64))
        out.append((rig.vertices(G, p)[0], rig.keypoints(G, p)[0]))
    return out


def test_a_stored_surface_comes_back_as_it_was(mesh: Path, tmp_path: Path) -> None:
    path = save_result(tmp_path / "a.npz")
    scene, stored = load_results([path], SMALL, mesh), read_result(path)
    vertices, keypoints = posed(scene)[0]
    np.testing.assert_allclose(vertices, stored.vertices_m + stored.translation_m, atol=1e-6)
    np.testing.assert_allclose(keypoints, scene.people[0].joints_m[0], atol=1e-6)
    np.testing.assert_allclose(SMALL.project(scene.people[0].joints_m[0]), stored.keypoints_px, atol=1e-2)


def test_such_a_scene_is_saved_and_loaded(mesh: Path, tmp_path: Path) -> None:
    scene = load_results([save_result(tmp_path / "a.npz"), save_result(tmp_path / "b.npz", seed=1)], SMALL, mesh)
    save_scene(scene, tmp_path / "scene.npz")
    again = load_scene(tmp_path / "scene.npz")
    assert [p.person_id for p in again.people] == [1, 2]
    np.testing.assert_array_equal(posed(again)[1][0], posed(scene)[1][0])


def test_what_is_no_result_is_told(mesh: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="no SAM-3D-Body result, it lacks"):
        read_result(tmp_path / "other.npz")
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        read_result(tmp_path / "broken.npz")
    wrong = save_result(tmp_path / "wrong.npz", mhr_model_params=np.zeros(203))
    with pytest.raises(InputError, match=r"mhr_model_params of .* should have shape"):
        read_result(wrong)
    with pytest.raises(ValueError, match="a surface of 150 vertices"):
        body_model(f"surface:{mesh}").rig(np.zeros(9))
    with pytest.raises(InputError, match="cannot be read"):
        body_model(f"surface:{tmp_path / 'nowhere.ply'}")


def test_our_camera_sees_the_real_keypoints_where_they_were_seen(trio: Scene) -> None:
    assert len(trio.people) == 3
    for track in trio.people:
        off_px = np.abs(trio.camera.project(track.joints_m[0].astype(np.float64)) - track.keypoints_px[0])
        assert off_px.max() < 0.01


def test_keypoint_names_are_right_for_real_people(trio: Scene) -> None:
    for track in trio.people:
        across = track.joint("left_shoulder")[0] - track.joint("right_shoulder")[0]
        for part in ("eye", "ear", "hip", "acromion"):
            assert (track.joint(f"left_{part}")[0] - track.joint(f"right_{part}")[0]) @ across > 0
        for side in ("left", "right"):
            wrist, elbow = track.joint(f"{side}_wrist")[0], track.joint(f"{side}_elbow")[0]
            assert 0.18 < np.linalg.norm(wrist - elbow) < 0.35
            assert np.linalg.norm(track.joint(f"{side}_olecranon")[0] - elbow) < 0.08
            for finger in ("thumb", "index", "middle", "ring", "pinky"):
                from_wrist = [np.linalg.norm(track.joint(f"{side}_{finger}_{part}")[0] - wrist) for part in ("third", "tip")]
                assert from_wrist[0] < 0.13
                assert from_wrist[1] < 0.25
                bones = [track.joint(f"{side}_{finger}_{part}")[0] for part in ("tip", "first", "second", "third")]
                assert all(0.01 < np.linalg.norm(a - b) < 0.07 for a, b in itertools.pairwise(bones))
        assert track.joint("neck")[0, 1] > track.joint("nose")[0, 1]  # y points down


def test_real_bodies_fill_their_boxes_in_the_picture(trio: Scene, real: list[Path]) -> None:
    faces = body_model(trio.people[0].body).rig(trio.people[0].shape).faces
    for path, (vertices, keypoints) in zip(real, posed(trio), strict=True):
        rows, columns = np.nonzero(silhouette(vertices, faces, trio.camera))
        drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        box = np.load(path)["bbox"]
        overlap = np.minimum(drawn[2:], box[2:]) - np.maximum(drawn[:2], box[:2])
        union = np.prod(drawn[2:] - drawn[:2]) + np.prod(box[2:] - box[:2]) - np.prod(overlap)
        assert np.prod(overlap) / union > 0.7
        inside = trio.camera.project(keypoints).astype(int)
        mask = silhouette(vertices, faces, trio.camera)
        assert mask[inside[:, 1], inside[:, 0]].mean() > 0.9


def test_real_people_export(trio: Scene, tmp_path: Path) -> None:
    for fmt in ("ply", "npz", "csv", "glb"):
        assert export_scene(trio, fmt, tmp_path / fmt)
    read = trimesh.load(tmp_path / "ply" / "frame_000000_person_2.ply", process=False)
    R, t = trio.T_world_camera[:3, :3], trio.T_world_camera[:3, 3]
    np.testing.assert_allclose(read.vertices, posed(trio)[1][0] @ R.T + t, atol=1e-5)
    assert read.is_watertight
    assert read.volume > 0.03, "faces wind outwards: about as many cubic metres as a person has"
    assert len((tmp_path / "csv" / "joints.csv").read_text().splitlines()) == 4
