"""Our MHR against the published description done joint by joint, vertex by vertex, in float64; parts of it against the whole."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from body4d.bodies.mhr.correctives import PoseCorrectives, compress, density
from body4d.bodies.mhr.module import MAX_CACHED_SUBSETS, MhrBody, corrective_features, load_mhr
from mhr_files import MadeRig, make_rig, plain_forward, random_inputs, save_script

MAX_ERROR_CM = 1e-2  # 1e-4 m
CHOSEN = torch.tensor([7, 3, 88, 3])


@pytest.fixture(scope="module")
def made() -> MadeRig:
    return make_rig(vertices=90, joints=127, faces=120)


@pytest.fixture(scope="module")
def body(made: MadeRig, tmp_path_factory: pytest.TempPathFactory) -> MhrBody:
    return load_mhr(save_script(made, tmp_path_factory.mktemp("rig") / "mhr_model.pt"))


def given(people: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(a) for a in random_inputs(people, seed))


def test_surface_and_skeleton_are_those_of_the_description(made: MadeRig, body: MhrBody) -> None:
    inputs = random_inputs(4)
    vertices, state = body(*map(torch.from_numpy, inputs))
    for row, person in enumerate(zip(*inputs, strict=True)):
        wanted_vertices, wanted_state = plain_forward(made, *person)
        np.testing.assert_allclose(vertices[row], wanted_vertices, rtol=0, atol=MAX_ERROR_CM / 10)
        np.testing.assert_allclose(state[row, :, :3], wanted_state[:, :3], rtol=0, atol=MAX_ERROR_CM / 10)
        np.testing.assert_allclose(state[row, :, 7], wanted_state[:, 7], rtol=1e-5)
        # A quaternion and its negative are one rotation.
        np.testing.assert_allclose(np.abs((state[row, :, 3:7].numpy() * wanted_state[:, 3:7]).sum(1)), 1, atol=1e-5)


@pytest.mark.parametrize("joints", [3, 4, 17])
def test_trees_of_other_sizes(joints: int, tmp_path: Path) -> None:
    made = make_rig(vertices=30, joints=joints, seed=joints)
    shape, parameters, face = random_inputs(1, seed=joints)
    vertices, _ = load_mhr(save_script(made, tmp_path / "mhr_model.pt"))(*map(torch.from_numpy, (shape, parameters, face)))
    np.testing.assert_allclose(vertices[0], plain_forward(made, shape[0], parameters[0], face[0])[0], rtol=0, atol=MAX_ERROR_CM / 10)


def test_at_rest_the_skinning_changes_nothing(made: MadeRig, body: MhrBody) -> None:
    vertices, _ = body(torch.zeros(1, 45), torch.zeros(1, 204))
    np.testing.assert_allclose(vertices[0], made.base_shape, atol=1e-3)


def test_results_do_not_depend_on_the_batch(body: MhrBody) -> None:
    inputs = given(5)
    together, _ = body(*inputs)
    alone = torch.cat([body(*(a[i : i + 1] for a in inputs))[0] for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_the_skeleton_alone_is_part_of_the_whole(body: MhrBody) -> None:
    shape, parameters, face = given(3)
    _, state = body(shape, parameters, face)
    torch.testing.assert_close(body.skeleton(parameters), state)


def test_correctives_matter_and_can_be_left_out(body: MhrBody) -> None:
    shape, parameters, _ = given(2)
    moved = (body(shape, parameters)[0] - body(shape, parameters, with_correctives=False)[0]).norm(dim=-1)
    assert moved.max() > 0.1
    rest = torch.zeros(1, 204)
    torch.testing.assert_close(body(shape[:1], rest)[0], body(shape[:1], rest, with_correctives=False)[0])


def test_sparse_and_dense_correctives_agree_both_ways(body: MhrBody) -> None:
    layer = body.correctives
    assert layer._sparse, "this rig's correctives are sparse enough"
    dense = PoseCorrectives(layer.first, body.file.correctives_cm)
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


def test_matrices_with_many_exact_zeros_are_compressed() -> None:
    matrix = torch.zeros(7, 5)
    matrix[1, 2], matrix[6, 0], matrix[6, 4] = 3.0, -1.0, 1e-30
    assert density(matrix) == pytest.approx(3 / 35)
    assert compress(matrix).layout == torch.sparse_csr
    assert torch.equal(compress(matrix).to_dense(), matrix)
    assert compress(torch.ones(7, 5)).layout == torch.strided


def test_a_rig_of_dense_correctives_stays_dense(made: MadeRig, body: MhrBody) -> None:
    full = replace(body.file, correctives_cm=torch.ones_like(body.file.correctives_cm))
    assert not MhrBody(full).correctives._sparse
    assert not MhrBody(body.file, sparse=False).correctives._sparse


@pytest.fixture
def new_body(body: MhrBody) -> MhrBody:
    """A body that has cached no subset yet."""
    return MhrBody(body.file)


@pytest.fixture
def subsets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many vertices the body was cut down to, each time it was."""
    calls: list[int] = []
    subset = MhrBody.subset

    def counted(self: MhrBody, vertices: torch.Tensor) -> MhrBody:
        calls.append(len(vertices))
        return subset(self, vertices)

    monkeypatch.setattr(MhrBody, "subset", counted)
    return calls


def test_they_are_the_whole_bodys_rows(body: MhrBody) -> None:
    inputs = given(3)
    vertices, state = body(*inputs)
    some, same_state = body.at_vertices(*inputs, CHOSEN)
    torch.testing.assert_close(some, vertices[:, CHOSEN], rtol=0, atol=1e-4)
    assert torch.equal(state, same_state)


def test_no_vertices_is_the_skeleton_without_a_surface(new_body: MhrBody, subsets: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    shape, parameters, face = given(2)
    wanted = new_body.skeleton(parameters)
    for name in ("_skin", "correctives", "forward"):
        monkeypatch.setattr(MhrBody, name, property(lambda _: pytest.fail("surface work")), raising=False)
    vertices, state = new_body.at_vertices(shape, parameters, face, torch.zeros(0, dtype=torch.long))
    assert vertices.shape == (2, 0, 3)
    assert subsets == []
    assert torch.equal(state, wanted)


def test_a_set_is_made_once_and_few_are_kept(new_body: MhrBody, subsets: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = given(1)
    reads: list[int] = []
    to_list = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(len(self)) or to_list(self))
    for _ in range(3):
        new_body.at_vertices(*inputs, CHOSEN)
    assert (subsets, reads.count(4)) == ([4], 1), "the same tensor is known without looking at its content"
    new_body.at_vertices(*inputs, CHOSEN.clone())
    assert (subsets, reads.count(4)) == ([4], 2), "another tensor is known by its content"
    for first in range(20):
        new_body.at_vertices(*inputs, torch.arange(first, first + 2))
    assert len(new_body._subsets._by_tensor) == len(new_body._subsets._by_content) == MAX_CACHED_SUBSETS


def test_an_index_changed_in_place_is_noticed(body: MhrBody) -> None:
    inputs, index = given(1), CHOSEN.clone()
    body.at_vertices(*inputs, index)
    index[0] = 50
    torch.testing.assert_close(body.at_vertices(*inputs, index)[0], body(*inputs)[0][:, index], rtol=0, atol=1e-4)


def test_gradients_flow_also_after_a_first_use_in_inference_mode(new_body: MhrBody) -> None:
    with torch.inference_mode():
        new_body.at_vertices(*given(2), CHOSEN)
        new_body.at_vertices(*given(2), CHOSEN.clone())
    grads = []
    for part in (True, False):
        inputs = [a.requires_grad_() for a in given(2)]
        rows = new_body.at_vertices(*inputs, CHOSEN)[0] if part else new_body(*inputs)[0][:, CHOSEN]
        rows.square().sum().backward()
        grads.append([a.grad for a in inputs])
    for ours, wanted in zip(*grads, strict=True):
        assert ours is not None
        assert wanted is not None
        assert ours.abs().max() > 0
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_autocast_does_not_coarsen_them(body: MhrBody) -> None:
    inputs = given(2)
    wanted, _ = body.at_vertices(*inputs, CHOSEN)
    with torch.autocast("cpu", torch.bfloat16):
        some, state = body.at_vertices(*inputs, CHOSEN)
    assert some.dtype == state.dtype == torch.float32
    assert torch.equal(some, wanted)


def test_they_follow_the_body_to_another_device(new_body: MhrBody, subsets: list[int]) -> None:
    inputs = given(1)
    new_body.at_vertices(*inputs, CHOSEN)
    new_body.to("cpu").at_vertices(*inputs, CHOSEN)
    assert subsets == [4, 4]
    # The device without numbers, which every machine has; MHR itself does not run there.
    part = new_body.to("meta")._subsets.get(CHOSEN, new_body.subset)
    assert {buffer.device.type for buffer in part.buffers()} == {"meta"}


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_whole_it_is_the_same_body(body: MhrBody, backend: str) -> None:
    if backend == "inductor" and not (os.environ.get("BODY4D_SLOW_TESTS") and shutil.which("g++")):
        pytest.skip("half a minute of a C++ compiler: set BODY4D_SLOW_TESTS")
    dense = MhrBody(body.file, sparse=False)
    compiled = torch.compile(dense, fullgraph=True, backend=backend)
    inputs = given(2)
    with torch.no_grad():
        for ours, wanted in zip(compiled(*inputs), dense(*inputs), strict=True):
            torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-3)


@pytest.mark.cuda
def test_a_gpu_gives_the_same_body(body: MhrBody) -> None:
    inputs = given(3)
    on_gpu, _ = MhrBody(body.file, sparse=False).to("cuda")(*(a.to("cuda") for a in inputs))
    torch.testing.assert_close(on_gpu.cpu(), body(*inputs)[0], rtol=0, atol=1e-3)
