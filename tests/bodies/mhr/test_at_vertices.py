"""Some vertices of MHR alone: the same as the whole body's rows, made once for each set, in full float32."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from body4d.bodies.mhr.float32 import full_float32, product
from body4d.bodies.mhr.module import MhrBody, MhrScript
from body4d.models.sam3d_body.network.heads import MhrAtVertices
from mhr_files import make_rig, random_inputs, save_script

CHOSEN = torch.tensor([7, 3, 88, 3])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_script(make_rig(vertices=90, joints=127, faces=120), tmp_path_factory.mktemp("rig") / "mhr_model.pt")


@pytest.fixture
def body(path: Path) -> MhrBody:
    return MhrBody.load(path)


def given(people: int, device: str = "cpu", grad: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shape, parameters, face = (torch.from_numpy(a).to(device).requires_grad_(grad) for a in random_inputs(people, 2))
    return shape, parameters, face


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many vertices the body was cut down to, each time it was."""
    calls: list[int] = []
    only = MhrBody.only

    def counted(self: MhrBody, vertices: torch.Tensor) -> MhrBody:
        calls.append(len(vertices))
        return only(self, vertices)

    monkeypatch.setattr(MhrBody, "only", counted)
    return calls


def test_they_are_the_whole_bodys_rows(body: MhrBody) -> None:
    inputs = given(3)
    vertices, state = body(*inputs)
    some, same_state = body.at_vertices(*inputs, CHOSEN)
    torch.testing.assert_close(some, vertices[:, CHOSEN], rtol=0, atol=1e-4)
    assert torch.equal(state, same_state)
    assert isinstance(body, MhrAtVertices)


def test_no_vertices_is_the_skeleton_without_a_surface(body: MhrBody, made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    shape, parameters, face = given(2)
    wanted = body.skeleton(parameters)
    for name in ("_skin", "correctives", "forward"):
        monkeypatch.setattr(MhrBody, name, property(lambda _: pytest.fail("surface work")), raising=False)
    vertices, state = body.at_vertices(shape, parameters, face, torch.zeros(0, dtype=torch.long))
    assert vertices.shape == (2, 0, 3)
    assert made == []
    assert torch.equal(state, wanted)


def test_a_set_is_made_once_and_few_are_kept(body: MhrBody, made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = given(1)
    reads: list[int] = []
    to_list = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(len(self)) or to_list(self))
    for _ in range(3):
        body.at_vertices(*inputs, CHOSEN)
    assert (made, reads.count(4)) == ([4], 1), "the same tensor is known without looking at its content"
    body.at_vertices(*inputs, CHOSEN.clone())
    assert (made, reads.count(4)) == ([4], 2), "another tensor is known by its content"
    for first in range(20):
        body.at_vertices(*inputs, torch.arange(first, first + 2))
    assert len(body._parts._asked) == len(body._parts._made) == 4


def test_an_index_changed_in_place_is_noticed(body: MhrBody) -> None:
    inputs, index = given(1), CHOSEN.clone()
    body.at_vertices(*inputs, index)
    index[0] = 50
    torch.testing.assert_close(body.at_vertices(*inputs, index)[0], body(*inputs)[0][:, index], rtol=0, atol=1e-4)


def test_gradients_flow_also_after_a_first_use_in_inference_mode(body: MhrBody) -> None:
    with torch.inference_mode():
        body.at_vertices(*given(2), CHOSEN)
        body.at_vertices(*given(2), CHOSEN.clone())
    grads = []
    for part in (True, False):
        inputs = given(2, grad=True)
        rows = body.at_vertices(*inputs, CHOSEN)[0] if part else body(*inputs)[0][:, CHOSEN]
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


def test_they_follow_the_body_to_another_device(body: MhrBody, made: list[int]) -> None:
    inputs = given(1)
    body.at_vertices(*inputs, CHOSEN)
    body.to("cpu").at_vertices(*inputs, CHOSEN)
    assert made == [4, 4]
    # The device without numbers, which every machine has; MHR itself does not run there.
    part = body.to("meta")._parts.find(CHOSEN, body.only)
    assert {buffer.device.type for buffer in part.buffers()} == {"meta"}


def test_a_called_file_gives_the_same_rows(path: Path, body: MhrBody) -> None:
    class Whole(torch.nn.Module):
        def forward(self, shape: torch.Tensor, parameters: torch.Tensor, face: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            place = parameters[:, None, :3] * torch.arange(90)[None, :, None] + shape.sum() + face.sum()
            return place, torch.cat([place, place, place[..., :2]], -1)[:, :4]

    script = path.with_name("opaque.pt")
    torch.jit.script(Whole()).save(str(script))
    called = MhrScript(script)
    assert isinstance(called, MhrAtVertices)
    inputs = given(2)
    some, state = called.at_vertices(*inputs, CHOSEN)
    assert torch.equal(some, called(*inputs)[0][:, CHOSEN])
    assert torch.equal(state, called(*inputs)[1])
    assert called.at_vertices(*inputs, CHOSEN[:0])[0].shape == (2, 0, 3)


@pytest.fixture
def settings():
    """Leaves torch's precision as a process starts with it."""
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = "none"
    torch.backends.mkldnn.matmul.fp32_precision = "none"  # pyright: ignore[reportAttributeAccessIssue]


def allowed() -> tuple[object, object]:
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("how", ["nothing", "allow_tf32", "medium", "new"])
@pytest.mark.usefixtures("settings")
def test_coarse_products_are_off_inside_and_as_they_were_after(how: str) -> None:
    if how == "allow_tf32":
        torch.backends.cuda.matmul.allow_tf32 = True
    elif how == "medium":
        torch.set_float32_matmul_precision("medium")
    elif how == "new":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    before = allowed()
    assert (how == "nothing") == (before == ("none", "none"))
    inside = []

    def look() -> None:
        inside.extend(allowed())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), full_float32():
        look()
    assert len(inside) == 2
    assert not set(inside) & {"tf32", "bf16"}
    assert allowed() == before


def test_no_product_of_the_body_goes_unguarded(body: MhrBody) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    dense = MhrBody(body.file, sparse=False)
    with Watch():
        dense(*given(2, grad=True))[0].sum().backward()
        dense.at_vertices(*given(2), CHOSEN)
    assert sum(name.startswith("body4d.product") for name in seen) > 14
    assert not [name for name in seen if name.split(".")[1] in ("mm", "bmm", "addmm", "baddbmm", "mv", "dot")]


def test_products_have_the_gradients_of_plain_ones() -> None:
    made = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 4, generator=made).double(), torch.randn(3, 4, 2, generator=made).double()
    assert torch.autograd.gradcheck(product, (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="TF32 is of CUDA")
@pytest.mark.usefixtures("settings")
def test_on_cuda_tf32_changes_nothing(body: MhrBody) -> None:
    dense = MhrBody(body.file, sparse=False).to("cuda")
    inputs = given(3, "cuda")
    wanted, _ = dense(*inputs)
    torch.backends.cuda.matmul.allow_tf32 = True
    assert torch.equal(dense(*inputs)[0], wanted)
    torch.testing.assert_close(dense.at_vertices(*inputs, CHOSEN.cuda())[0], wanted[:, CHOSEN.cuda()], rtol=0, atol=1e-4)
    torch.testing.assert_close(wanted.cpu(), body(*given(3))[0], rtol=0, atol=1e-3)


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
