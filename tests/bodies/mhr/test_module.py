"""Our MHR against the published description done joint by joint, vertex by vertex, in float64."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from body4d.bodies.mhr.correctives import PoseCorrectives, compressed, density, some_rows
from body4d.bodies.mhr.module import MhrBody, MhrScript, corrective_features, load_mhr, quat_to_matrix
from mhr_files import MadeRig, make_rig, plain_forward, random_inputs, save_script

MOST_CM = 1e-2  # 1e-4 m


@pytest.fixture(scope="module")
def made() -> MadeRig:
    return make_rig(vertices=90, joints=127, faces=120)


@pytest.fixture(scope="module")
def body(made: MadeRig, tmp_path_factory: pytest.TempPathFactory) -> MhrBody:
    return MhrBody.load(save_script(made, tmp_path_factory.mktemp("rig") / "mhr_model.pt"))


def given(people: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(a) for a in random_inputs(people, seed))


def test_surface_and_skeleton_are_those_of_the_description(made: MadeRig, body: MhrBody) -> None:
    inputs = random_inputs(4)
    vertices, state = body(*map(torch.from_numpy, inputs))
    for row, person in enumerate(zip(*inputs, strict=True)):
        wanted_vertices, wanted_state = plain_forward(made, *person)
        np.testing.assert_allclose(vertices[row], wanted_vertices, rtol=0, atol=MOST_CM / 10)
        np.testing.assert_allclose(state[row, :, :3], wanted_state[:, :3], rtol=0, atol=MOST_CM / 10)
        np.testing.assert_allclose(state[row, :, 7], wanted_state[:, 7], rtol=1e-5)
        # A quaternion and its negative are one rotation.
        np.testing.assert_allclose(np.abs((state[row, :, 3:7].numpy() * wanted_state[:, 3:7]).sum(1)), 1, atol=1e-5)


@pytest.mark.parametrize("joints", [3, 4, 17])
def test_trees_of_other_sizes(joints: int, tmp_path: Path) -> None:
    made = make_rig(vertices=30, joints=joints, seed=joints)
    shape, parameters, face = random_inputs(1, seed=joints)
    vertices, _ = MhrBody.load(save_script(made, tmp_path / "mhr_model.pt"))(*map(torch.from_numpy, (shape, parameters, face)))
    np.testing.assert_allclose(vertices[0], plain_forward(made, shape[0], parameters[0], face[0])[0], rtol=0, atol=MOST_CM / 10)


def test_at_rest_the_skinning_changes_nothing(made: MadeRig, body: MhrBody) -> None:
    vertices, _ = body(torch.zeros(1, 45), torch.zeros(1, 204))
    np.testing.assert_allclose(vertices[0], made.base_shape, atol=1e-3)


def test_results_do_not_depend_on_the_batch(body: MhrBody) -> None:
    inputs = given(5)
    together, _ = body(*inputs)
    alone = torch.cat([body(*(a[i : i + 1] for a in inputs))[0] for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_skeleton_alone_and_vertices_alone_are_parts_of_the_whole(body: MhrBody) -> None:
    shape, parameters, face = given(3)
    vertices, state = body(shape, parameters, face)
    torch.testing.assert_close(body.skeleton(parameters), state)
    chosen = torch.tensor([7, 3, 88])
    some, _ = body.only(chosen)(shape, parameters, face)
    torch.testing.assert_close(some, vertices[:, chosen], rtol=0, atol=1e-4)


def test_correctives_matter_and_can_be_left_out(body: MhrBody) -> None:
    shape, parameters, _ = given(2)
    moved = (body(shape, parameters)[0] - body(shape, parameters, correct=False)[0]).norm(dim=-1)
    assert moved.max() > 0.1
    rest = torch.zeros(1, 204)
    torch.testing.assert_close(body(shape[:1], rest)[0], body(shape[:1], rest, correct=False)[0])


def test_sparse_and_dense_correctives_agree_both_ways(body: MhrBody) -> None:
    layer = body.correctives
    assert layer._sparse, "this rig's correctives are sparse enough"
    dense = PoseCorrectives(layer.first, body.file.correctives_cm.to_dense())
    results = []
    for each in (layer, dense):
        features = torch.randn(3, layer.first.shape[1], generator=torch.Generator().manual_seed(0), requires_grad=True)
        out = each(features)
        out.square().sum().backward()
        results.append((out.detach(), features.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_finite_differences(made: MadeRig, body: MhrBody) -> None:
    inputs = [a.requires_grad_() for a in given(1, seed=3)]
    towards = np.random.default_rng(1).normal(size=(90, 3))
    (body(*inputs)[0][0] * torch.from_numpy(towards).float()).sum().backward()
    plain = [a.detach().double().numpy()[0] for a in inputs]
    step = 1e-5
    for which, places in ((0, [0, 44]), (1, [0, 4, 40, 133, 150]), (2, [5])):
        for place in places:
            values = []
            for sign in (1, -1):
                moved = [a.copy() for a in plain]
                moved[which][place] += sign * step
                values.append((plain_forward(made, *moved)[0] * towards).sum())
            wanted = (values[0] - values[1]) / (2 * step)
            assert inputs[which].grad is not None
            assert float(inputs[which].grad[0, place]) == pytest.approx(wanted, rel=2e-3, abs=2e-2)


def test_autocast_does_not_coarsen_the_body(body: MhrBody) -> None:
    inputs = given(2)
    with torch.autocast("cpu", torch.bfloat16):
        vertices, state = body(*inputs)
    assert vertices.dtype == state.dtype == torch.float32
    torch.testing.assert_close(vertices, body(*inputs)[0])


def test_features_are_the_first_columns_less_the_identity() -> None:
    quarter = torch.zeros(1, 3, 7)
    quarter[0, 2, 5] = torch.pi / 2  # about z: x goes to y
    torch.testing.assert_close(corrective_features(quarter), torch.tensor([[-1.0, 1, 0, -1, -1, 0]]), atol=1e-6, rtol=0)


def test_density_counts_exact_zeros_and_rows_come_out_of_either_layout() -> None:
    matrix = torch.zeros(7, 5)
    matrix[1, 2], matrix[6, 0], matrix[6, 4] = 3.0, -1.0, 1e-30
    csr = compressed(matrix)
    assert density(matrix) == density(csr) == pytest.approx(3 / 35)
    assert csr.layout == torch.sparse_csr
    rows = torch.tensor([6, 0, 1, 6])
    torch.testing.assert_close(some_rows(csr, rows), matrix[rows])
    assert compressed(torch.ones(7, 5)).layout == torch.strided


def test_a_rig_of_dense_correctives_stays_dense(made: MadeRig, body: MhrBody) -> None:
    full = replace(body.file, correctives_cm=torch.ones_like(body.file.correctives_cm.to_dense()))
    assert not MhrBody(full).correctives._sparse
    assert not MhrBody(body.file, sparse=False).correctives._sparse


class _Opaque(torch.nn.Module):
    def forward(self, shape: torch.Tensor, parameters: torch.Tensor, face: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        place = parameters[:, None, :3] + shape.sum() + face.sum()
        return place.expand(-1, 5, -1), torch.cat([place, place, place[..., :2]], -1).expand(-1, 4, -1)


def test_a_file_without_buffers_is_called(tmp_path: Path) -> None:
    path = tmp_path / "mhr_model.pt"
    torch.jit.script(_Opaque()).save(str(path))
    body = load_mhr(path)
    assert isinstance(body, MhrScript)
    vertices, state = body(torch.zeros(2, 45), torch.ones(2, 204))
    assert vertices.shape == (2, 5, 3)
    torch.testing.assert_close(body.skeleton(torch.ones(2, 204)), state)


def test_matrices_are_rotations() -> None:
    quats = torch.nn.functional.normalize(torch.randn(20, 4, generator=torch.Generator().manual_seed(1)), dim=-1)
    R = quat_to_matrix(quats)
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand(20, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(20))
