"""SMPL's file, skinning and fit, on made-up bodies: the published files need a registration."""

import pickle
import sys
import types

import numpy as np
import pytest
from scipy.sparse import csc_matrix

from body4d.bodies.smpl.fit import FittedPoses, PointFit
from body4d.bodies.smpl.model import find_model, load_model
from body4d.core.errors import WeightsError
from body4d.geometry.rotations import geodesic_angle, rotvec_to_matrix
from smpl_files import model_arrays, write_model


def _moved(model, frames, seed=1):
    """Poses, roots and a shape, and where they put the vertices; jaw and eyes stay."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(0, 0.4, (frames, len(model.joint_names), 3))
    pose[:, 0] = rng.normal(0, 1.5, (frames, 3))
    if model.kind == "smplx":
        pose[:, 22:25] = 0
    rotations, root_m = rotvec_to_matrix(pose), rng.normal(0, 1, (frames, 3))
    betas = rng.normal(0, 1, model.vertices.shapes_m.shape[-1])
    return rotations, root_m, betas, model.vertices.posed(betas, rotations, root_m)


@pytest.mark.parametrize("kind", ["smpl", "smplx"])
def test_a_known_pose_and_shape_come_back(kind, tmp_path):
    write_model(tmp_path / f"{kind}_neutral.npz", kind)
    model = load_model(kind, tmp_path)
    rotations, _, betas, vertices = _moved(model, 6)
    free = np.array([name not in ("jaw", "left_eye", "right_eye") for name in model.joint_names])
    fit = PointFit(model.vertices, np.ones(len(model.vertices.rest_m)), free)
    found = fit.shape(vertices[::2], 1e-4)
    assert np.abs(found - betas).max() < 1e-3
    poses = fit.poses(vertices, found)
    assert np.linalg.norm(model.vertices.posed(found, poses.rotations, poses.root_m) - vertices, axis=-1).max() < 1e-4
    assert np.degrees(geodesic_angle(poses.rotations, rotations)).max() < 0.05


def test_the_normal_equations_are_those_of_the_numeric_derivative(tmp_path):
    write_model(tmp_path / "smpl_neutral.npz", "smpl", pose_scale_m=0)  # the derivative leaves the pose's corrections out
    model = load_model("smpl", tmp_path)
    rotations, root_m, betas, vertices = _moved(model, 1)
    fit = PointFit(model.vertices, np.ones(len(model.vertices.rest_m)), np.ones(24, bool))
    poses = FittedPoses(rotations, root_m)
    target = vertices + np.random.default_rng(0).normal(0, 0.01, vertices.shape)
    columns = []
    for k in range(24 * 3 + 3):
        step = np.zeros((1, 24 * 3 + 3))
        step[0, k] = 1e-6
        moved = fit._moved(poses, step, betas)
        columns.append((model.vertices.posed(betas, moved.rotations, moved.root_m) - vertices).reshape(-1) / 1e-6)
    jacobian = np.stack(columns, 1)
    H, g = fit._equations(betas, poses, target)
    count = len(model.vertices.rest_m)
    assert np.abs(H[0] - jacobian.T @ jacobian / count).max() < 1e-5
    assert np.abs(g[0] - jacobian.T @ (vertices - target).reshape(-1) / count).max() < 1e-6


@pytest.mark.parametrize("kind", ["smpl", "smplx"])
def test_skinning_is_that_of_the_published_package(kind, tmp_path):
    lbs = pytest.importorskip("smplx.lbs", reason="smplx, whose licence is not for all uses, is not installed").lbs
    import torch

    arrays = write_model(tmp_path / f"{kind}_neutral.npz", kind)
    model = load_model(kind, tmp_path)
    rotations, root_m, betas, vertices = _moved(model, 3)
    tensor = lambda a: torch.as_tensor(np.asarray(a, np.float64))  # noqa: E731
    parents = torch.as_tensor(model.vertices.parents)
    dirs = tensor(arrays["posedirs"].reshape(-1, arrays["posedirs"].shape[-1]).T)
    theirs, joints = lbs(
        tensor(np.tile(betas, (3, 1))), tensor(rotations), tensor(arrays["v_template"]), tensor(arrays["shapedirs"]), dirs,
        tensor(arrays["J_regressor"]), parents, tensor(arrays["weights"]), pose2rot=False,
    )  # fmt: skip
    trans = root_m - joints[:, 0].numpy()
    assert np.abs(theirs.numpy() + trans[:, None] - vertices).max() < 1e-6


def test_a_pickle_of_arrays_is_read_without_its_packages(tmp_path, monkeypatch):
    arrays = model_arrays("smpl")
    chumpy = types.ModuleType("chumpy.ch")
    chumpy.Ch = type("Ch", (), {"__module__": "chumpy.ch"})  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", chumpy)
    shapes = chumpy.Ch()
    shapes.x = arrays["shapedirs"]
    stored = {**arrays, "shapedirs": shapes, "J_regressor": csc_matrix(arrays["J_regressor"]), "bs_style": "lbs"}
    write_model(tmp_path / "plain" / "smpl_neutral.npz", "smpl")
    plain = load_model("smpl", tmp_path / "plain")
    for protocol in (2, 5):
        (tmp_path / "basicmodel_m_lbs.pkl").write_bytes(pickle.dumps(stored, protocol))
        model = load_model("smpl", tmp_path)
        assert model.gender == "male"
        assert np.array_equal(model.vertices.joint_shapes_m, plain.vertices.joint_shapes_m)
        assert np.allclose(model.vertices.joints_m, plain.vertices.joints_m, atol=1e-12)  # its matrix lies transposed


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w')",)


def test_a_pickle_that_would_run_something_is_refused_and_does_not(tmp_path):
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps({**model_arrays("smpl"), "f": _Bomb(tmp_path / "ran")}))
    with pytest.raises(WeightsError, match="refused") as caught:
        load_model("smpl", tmp_path)
    assert "npz" in caught.value.hint
    assert not (tmp_path / "ran").exists()


def test_what_is_missing_or_another_model_is_said(tmp_path):
    with pytest.raises(WeightsError, match="no SMPL-X model") as caught:
        find_model("smplx", tmp_path)
    assert "SMPLX_NEUTRAL.npz" in caught.value.hint
    write_model(tmp_path / "smpl" / "SMPL_FEMALE.npz", "smpl")
    write_model(tmp_path / "SMPL_NEUTRAL.npz", "smpl")
    assert find_model("smpl", tmp_path).name == "SMPL_NEUTRAL.npz"
    with pytest.raises(WeightsError, match="24 joints"):
        load_model("smplx", tmp_path / "SMPL_NEUTRAL.npz")
    (tmp_path / "SMPLX_MALE.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(WeightsError, match="cannot be used"):
        load_model("smplx", tmp_path)
