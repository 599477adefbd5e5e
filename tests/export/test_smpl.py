"""SMPL files hold the motion by AMASS's keys: posed by the model file again, they are the body that was exported."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from body4d.bodies.smpl.model import load_model
from body4d.core.errors import SettingsError, WeightsError
from body4d.core.rig import Rig
from body4d.core.types import Scene
from body4d.export import ExportOptions, check_export, export_scene, smpl
from body4d.export.skeleton import REST_TO_Y_UP, Y_UP_TO_Z_UP
from body4d.geometry.rotations import rotvec_to_matrix
from scenes import make_scene, stick_scene
from smpl_files import write_model


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up model files, and maps that take vertex k of ``_mhr_like`` to vertex k of the model."""
    folder = tmp_path / "models"
    for kind in ("smpl", "smplx"):
        write_model(folder / f"{kind.upper()}_NEUTRAL.npz", kind, pose_scale_m=0)
        count = len(load_model(kind, folder).vertices.rest_m)
        name = smpl._MAPS[kind][0]
        np.savez(folder / name, triangle_ids=np.arange(count), baryc_coords=np.tile([1.0, 0, 0], (count, 1)))
        digest = smpl.sha256((folder / name).read_bytes()).hexdigest()
        monkeypatch.setitem(smpl._MAPS, kind, (name, digest))
    return folder


def _mhr_like(kind: str, folder: Path, **choices: object) -> Scene:
    """People whose body is the model file's own in one shape, so that a fit can be exact, and says it was MHR."""
    body = load_model(kind, folder).vertices
    betas = np.array([1.0, -0.5, 0.3, 0.8])
    count = len(body.rest_m)
    scene = stick_scene(frames=9, **choices)
    indices = np.argsort(-body.weights, axis=1)[:, :2]
    rig = Rig(
        joint_names=tuple(map(str, range(len(body.parents)))),
        parents=body.parents,
        rest_joints_m=body.rest_joints(betas) @ REST_TO_Y_UP,
        rest_vertices_m=(body.rest_m + body.shapes_m @ betas) @ REST_TO_Y_UP,
        faces=np.stack([np.arange(count)] * 3, 1),
        skin_indices=indices,
        skin_weights=np.take_along_axis(body.weights, indices, 1),
        joint_set="body29",
        keypoint_weights=np.zeros((29, len(body.parents))),
        keypoint_anchors_m=np.zeros((29, len(body.parents), 3)),
    )
    rng = np.random.default_rng(3)
    people = []
    for track in scene.people:
        turns = rng.normal(0, 0.3, (1, len(body.parents), 3)) * np.linspace(0.5, 1, len(track))[:, None, None]
        if kind == "smplx":
            turns[:, 22:25] = 0
        people.append(dataclasses.replace(track, body="mhr", rig=rig, rotations=turns))
    return dataclasses.replace(scene, people=tuple(people))


@pytest.mark.parametrize("kind", ["smpl", "smplx"])
def test_a_surface_comes_back_by_the_model_file(kind, models, tmp_path):
    scene = _mhr_like(kind, models)
    track = scene.people[0]
    path = export_scene(scene, kind, tmp_path / "out", ExportOptions(body_models=models))[0]
    assert path.name == f"person_1_{kind}.npz"
    data = np.load(path)
    model = load_model(kind, models)
    rotations = rotvec_to_matrix(data["poses"].reshape(9, -1, 3))
    root = data["trans"] + model.vertices.rest_joints(data["betas"])[0]
    G, p = track.rig.forward(track.rotations, track.translation_m.astype(np.float64))
    T = data["T_world_camera"]
    truth = track.rig.vertices(G, p) @ T[:3, :3].T + T[:3, 3]
    miss = np.linalg.norm(model.vertices.posed(data["betas"], rotations, root) - truth, axis=-1)
    assert miss.max() < 0.001
    assert np.allclose(1000 * miss.mean(1), data["fit_error_mm"], atol=0.01)
    assert np.allclose(1000 * miss.max(1), data["fit_error_worst_mm"], atol=0.01)
    assert data["fit_error_max_mm"] == pytest.approx(data["fit_error_worst_mm"].max(), abs=1e-3)
    assert str(data["fit_by"]) == "surface"
    assert np.allclose(T[:3, :3], Y_UP_TO_Z_UP @ scene.T_world_camera[:3, :3])
    # What readers of AMASS ask for, and its parts together are its poses.
    assert str(data["gender"]) == "neutral"
    assert float(data["mocap_framerate"]) == float(data["mocap_frame_rate"]) == pytest.approx(30000 / 1001)
    parts = ["root_orient", "pose_body"] + (["pose_jaw", "pose_eye", "pose_hand"] if kind == "smplx" else [])
    joined = np.concatenate([data[part] for part in parts], axis=1)
    assert np.array_equal(joined, data["poses"][:, : joined.shape[1]])
    assert joined.shape[1] == (165 if kind == "smplx" else 66)


def test_uneven_frames_are_resampled_and_absences_are_told(models, tmp_path):
    scene = _mhr_like("smpl", models, variable_rate=True, gaps=True)
    options = ExportOptions(body_models=models, fps=60)  # pyright: ignore[reportArgumentType]
    data = np.load(export_scene(scene, "smpl", tmp_path, options)[0])
    assert np.allclose(np.diff(data["times_s"]), 1 / 60)
    assert float(data["mocap_framerate"]) == pytest.approx(60)
    assert len(data["poses"]) == len(data["followed"]) == len(data["times_s"])
    assert not data["followed"][0]
    assert data["followed"].any()


def test_what_is_missing_is_said_before_anything_is_written(models, tmp_path, monkeypatch):
    monkeypatch.delenv(smpl.MODELS_VARIABLE, raising=False)
    with pytest.raises(WeightsError, match="nothing says where"):
        check_export(["bvh", "smpl"], tmp_path, ExportOptions())
    (models / smpl._MAPS["smpl"][0]).unlink()
    with pytest.raises(WeightsError, match="map of its surface") as caught:
        export_scene(_mhr_like("smpl", models), "smpl", tmp_path / "out", ExportOptions(body_models=models))
    assert "curl" in caught.value.hint
    with pytest.raises(SettingsError, match="joints for a fit"):
        export_scene(stick_scene(frames=3), "smpl", tmp_path / "out", ExportOptions(body_models=models))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # Anny is set up
def test_anny_is_fitted_by_joints_and_says_so(models, tmp_path):
    scene = make_scene(frames=4)
    data = np.load(export_scene(scene, "smpl", tmp_path, ExportOptions(body_models=models))[0])
    assert str(data["fit_by"]) == "joints"
    model = load_model("smpl", models)
    rotations = rotvec_to_matrix(data["poses"].reshape(4, -1, 3))
    rest = model.vertices.rest_joints(data["betas"])
    _, p = model.vertices.forward(rest, rotations, data["trans"] + rest[0])
    T = data["T_world_camera"]
    for name in ("left_elbow", "right_knee"):
        theirs = p[:, model.joint_names.index(name)]
        ours = scene.people[0].joint(name) @ T[:3, :3].T + T[:3, 3]
        # The made-up body is no person, and the keypoint at an elbow is not the joint.
        assert np.linalg.norm(theirs - ours, axis=-1).max() < 0.1
    # Upright means along z: the head is above the feet.
    assert np.all(p[:, model.joint_names.index("head"), 2] > p[:, model.joint_names.index("left_foot"), 2] + 1)
