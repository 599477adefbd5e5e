"""Three real people of one picture as SAM-3D-Body stored them: our camera, keypoint names, renderer and exporters agree with them."""

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import trimesh

from body4d.core.joints import Mhr70
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Camera, Clip, Scene
from body4d.export import export_scene
from body4d.render.rasterizer import silhouette

CAMERA = Camera(2535.27, 960, 445, 1920, 890, source="fov")
"""The camera that the people were recovered with."""


@pytest.fixture(scope="module")
def real(shared: Path) -> list[Path]:
    paths = [shared / "mhr" / f"sam3d_body_output_{i}.npz" for i in range(3)]
    if not paths[0].exists():
        pytest.skip("the real SAM-3D-Body results are not on this machine")
    return paths


@pytest.fixture(scope="module")
def trio(real: list[Path]) -> Scene:
    faces = np.asarray(trimesh.load_mesh(real[0].parent / "mhr_template.ply", process=False).faces, np.int32)
    people = tuple(rigid_person(i, dict(np.load(path)), faces) for i, path in enumerate(real, start=1))
    clip = Clip(Path("picture"), CAMERA.width_px, CAMERA.height_px, Fraction(1), np.zeros(1), np.zeros(1, np.int64))
    lowest = max(float((t.rig.rest_vertices_m[:, 1] + t.translation_m[0, 1]).max()) for t in people if t.rig)
    y_up = np.diag([1.0, -1.0, -1.0, 1.0])
    y_up[1, 3] = lowest
    return Scene(clip, CAMERA, people, y_up, preset="sam")


def rigid_person(person_id: int, stored: dict[str, np.ndarray], faces: np.ndarray) -> BodyTrack:
    """A stored surface with its keypoints as a rig of one joint, which moves as a whole."""
    vertices, keypoints = stored["pred_vertices"].astype(np.float64), stored["pred_keypoints_3d"].astype(np.float64)
    rig = Rig(
        joint_names=("root",),
        parents=np.array([-1]),
        rest_joints_m=np.zeros((1, 3)),
        rest_vertices_m=vertices,
        faces=faces,
        skin_indices=np.zeros((len(vertices), 1), np.int32),
        skin_weights=np.ones((len(vertices), 1)),
        joint_set="mhr70",
        keypoint_weights=np.ones((len(Mhr70), 1)),
        keypoint_anchors_m=keypoints[:, None],
    )
    return BodyTrack(
        person_id=person_id,
        body="mhr",
        frame_index=np.zeros(1, np.int64),
        shape=np.zeros(113, np.float32),
        rotations=np.zeros((1, 1, 3), np.float32),
        translation_m=stored["pred_cam_t"][None].astype(np.float32),
        joints_m=(stored["pred_keypoints_3d"] + stored["pred_cam_t"])[None].astype(np.float32),
        keypoints_px=stored["pred_keypoints_2d"][None].astype(np.float32),
        visibility=np.ones((1, len(Mhr70)), np.float32),
        confidence=np.ones(1, np.float32),
        observed=np.ones(1, bool),
        joint_set="mhr70",
        parameters=stored["mhr_model_params"][None].astype(np.float32),
        rig=rig,
    )


def posed(scene: Scene) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertices (V, 3) and keypoints (70, 3) of everybody, through the rig, camera axes."""
    out = []
    for track in scene.people:
        assert track.rig is not None
        G, p = track.rig.forward(track.rotations.astype(np.float64), track.translation_m.astype(np.float64))
        out.append((track.rig.vertices(G, p)[0], track.rig.keypoints(G, p)[0]))
    return out


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
    assert trio.people[0].rig is not None
    faces = trio.people[0].rig.faces
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
    read = trimesh.load(tmp_path / "ply" / "person_2_000000.ply", process=False)
    R, t = trio.T_world_camera[:3, :3], trio.T_world_camera[:3, 3]
    np.testing.assert_allclose(read.vertices, posed(trio)[1][0] @ R.T + t, atol=1e-5)
    assert read.is_watertight
    assert read.volume > 0.03, "faces wind outwards: about as many cubic metres as a person has"
    assert len((tmp_path / "csv" / "joints.csv").read_text().splitlines()) == 4
