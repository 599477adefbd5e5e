"""MHR as a Rig: what of the body a skeleton of rest-aligned joints keeps."""

from pathlib import Path

import numpy as np
import pytest

from body4d.bodies.mhr.module import MhrBody, load_mhr
from body4d.bodies.mhr.to_rig import lbs_gap_m, mhr_vertices_m, rig_motion, rig_shape
from body4d.core.joints import Mhr70
from body4d.core.rig import Rig
from mhr_files import make_rig, random_inputs, save_repack

JOINTS, VERTICES = 60, 150


@pytest.fixture(scope="module")
def rig_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mapping = np.random.default_rng(2).random((308, VERTICES + JOINTS)).astype(np.float32)
    mapping *= np.random.default_rng(3).random(mapping.shape) < 0.03
    mapping[:, -1] += 1e-3
    mapping /= mapping.sum(1, keepdims=True)
    return save_repack(make_rig(VERTICES, JOINTS, 200, seed=4), tmp_path_factory.mktemp("rig") / "mhr.safetensors", mapping)


@pytest.fixture(scope="module")
def body(rig_path: Path) -> MhrBody:
    return load_mhr(rig_path)


def rigid(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Shape (113,) and parameters (T, 204) of a moving person whose bones neither grow nor slide."""
    shape, parameters, _ = random_inputs(frames, seed=7)
    parameters[:, 130:136] = 0
    parameters[:, 136:] = parameters[0, 136:]
    return rig_shape(shape[0], parameters), parameters


def posed(body: MhrBody, shape: np.ndarray, parameters: np.ndarray, away_m: np.ndarray) -> tuple[Rig, np.ndarray, np.ndarray]:
    rig = body.rig(shape)
    rotations, root = rig_motion(body, shape, parameters, away_m)
    return rig, *rig.forward(rotations.astype(np.float64), root.astype(np.float64))


def test_joints_stand_where_mhr_puts_them_prerotations_scales_and_all(body: MhrBody) -> None:
    import torch

    shape, parameters = rigid(5)
    away = np.array([[0.3, -0.2, 4.0]] * 5)
    _, _, p = posed(body, shape, parameters, away)
    state = body.skeleton(torch.from_numpy(parameters)).numpy()
    wanted = state[..., :3] * [0.01, -0.01, -0.01] + away[:, None]
    np.testing.assert_allclose(p[:, 1:], wanted[:, 1:], rtol=0, atol=1e-5)


def test_rest_is_mhrs_rest_in_our_axes(body: MhrBody) -> None:
    shape, _ = rigid(1)
    rest = np.zeros((1, 204), np.float32)
    rest[0, 136:] = shape[45:]
    np.testing.assert_allclose(body.rig(shape).rest_vertices_m, mhr_vertices_m(body, shape[:45], rest)[0], atol=1e-6)
    rotations, root = rig_motion(body, shape, rest, np.zeros((1, 3)))
    np.testing.assert_allclose(rotations, 0, atol=1e-3)
    np.testing.assert_allclose(root[0], body.rig(shape).rest_joints_m[0], atol=1e-6)


def test_without_scales_and_correctives_the_rig_is_mhr_to_the_vertex(body: MhrBody) -> None:
    shape, parameters = rigid(4)
    shape[45:], parameters[:, 136:] = 0, 0
    rig, G, p = posed(body, shape, parameters, np.zeros((4, 3)))
    np.testing.assert_allclose(rig.vertices(G, p), mhr_vertices_m(body, shape[:45], parameters, with_correctives=False), rtol=0, atol=1e-5)


def test_the_gap_is_what_the_rig_leaves_out(body: MhrBody) -> None:
    shape, parameters = rigid(4)
    gap = lbs_gap_m(body, shape, parameters)
    assert gap.shape == (4, VERTICES)
    rig, G, p = posed(body, shape, parameters, np.zeros((4, 3)))
    wanted = np.linalg.norm(rig.vertices(G, p) - mhr_vertices_m(body, shape[:45], parameters), axis=-1)
    np.testing.assert_allclose(gap, wanted, atol=1e-7)
    still = np.zeros_like(parameters)
    still[:, 136:] = shape[45:]
    assert lbs_gap_m(body, shape, still).max() < 1e-5 < gap.max()


def test_keypoints_fold_to_the_mapping(body: MhrBody) -> None:
    import torch

    shape, parameters = rigid(3)
    shape[45:], parameters[:, 136:] = 0, 0
    parameters[:, :3] = 0  # MHR's first joint stays behind when the second is moved; a Rig's comes along
    rig, G, p = posed(body, shape, parameters, np.zeros((3, 3)))
    assert rig.joint_set == "mhr70"
    vertices, state = body(torch.from_numpy(shape[None, :45]), torch.from_numpy(parameters), with_correctives=False)
    points = np.concatenate([vertices.numpy(), state[..., :3].numpy()], axis=1) * [0.01, -0.01, -0.01]
    mapping = body.file.keypoint_mapping
    assert mapping is not None
    np.testing.assert_allclose(rig.keypoints(G, p), np.einsum("kn,tna->tka", mapping.numpy(), points), rtol=0, atol=1e-5)


def test_without_a_mapping_keypoints_are_not_made_up(tmp_path: Path) -> None:
    rig = load_mhr(save_repack(make_rig(), tmp_path / "mhr.safetensors")).rig(np.zeros(113))
    assert np.isnan(rig.keypoint_weights).all()
    assert rig.keypoint_anchors_m.shape == (len(Mhr70), 12, 3)


def test_weights_are_whole_and_a_wrong_shape_is_refused(body: MhrBody) -> None:
    rig = body.rig(np.zeros(113))
    np.testing.assert_allclose(rig.skin_weights.sum(1), 1)
    assert rig.skin_indices.shape[1] <= 4
    with pytest.raises(ValueError, match="45 \\+ 68"):
        body.rig(np.zeros(45))


def test_a_person_of_mhr_exports_in_every_format(body: MhrBody, tmp_path: Path) -> None:
    import pygltflib

    from body4d.core.types import BodyTrack, Camera, Scene
    from body4d.export import export_scene
    from scenes import make_clip

    shape, parameters = rigid(2)
    rig = body.rig(shape)
    rotations, root = rig_motion(body, shape, parameters, np.array([[0.2, 0.9, 5.0]] * 2))
    joints = rig.keypoints(*rig.forward(rotations.astype(np.float64), root.astype(np.float64))).astype(np.float32)
    camera = Camera(1000.0, 320, 240, 640, 480)
    track = BodyTrack(
        person_id=1,
        body="mhr",
        frame_index=np.arange(2),
        shape=shape,
        rotations=rotations,
        translation_m=root,
        joints_m=joints,
        keypoints_px=camera.project(joints).astype(np.float32),
        visibility=np.ones(joints.shape[:2], np.float32),
        confidence=np.ones(2, np.float32),
        observed=np.ones(2, bool),
        joint_set="mhr70",
        parameters=parameters,
        rig=rig,
    )
    scene = Scene(make_clip(2), camera, (track,), np.diag([1.0, -1.0, -1.0, 1.0]), preset="sam")
    for fmt in ("glb", "npz", "ply", "csv", "bvh"):
        export_scene(scene, fmt, tmp_path / fmt)
    skin = pygltflib.GLTF2().load(str(tmp_path / "glb" / "body.glb")).skins[0]
    assert len(skin.joints) == JOINTS
