"""What makes SAM-3 fast on CUDA, as far as a CPU can tell: the same numbers, and every chain of steps goes where it would be recorded."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from body4d.config import Sam3Settings
from body4d.models.sam3.checkpoint import load_sam3
from body4d.models.sam3.network import Sam3Network
from body4d.models.sam3.object_tracker import Asked, Followed
from body4d.models.sam3.transformers_compat import cast_once, one_ahead
from body4d.runtime.cuda_graphs import CudaGraphRecorder
from sam3_files import write_tiny_sam3

W, H = 64, 48
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam3(tmp_path_factory.mktemp("weights"), finds=False)


def followed(network: Sam3Network, frames: int = 5) -> list[torch.Tensor]:
    pictures = list(np.random.default_rng(0).integers(0, 255, (frames, H, W, 3), dtype=np.uint8))
    seen = network.encode(pictures, [True] * frames, [network.text("person")])
    person = Followed(network, (W, H), frames, {0: Asked(np.array([[30.0, 24.0]]), np.array([1]))})
    return [person.visit(i, features) for i, (features, _) in enumerate(seen)]


def test_weights_cast_once_give_what_autocast_gives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = Sam3Network(load_sam3(folder), Sam3Settings(), CPU, torch.bfloat16)
    assert once.tracker.mask_decoder.upscale_conv1.weight.dtype == torch.bfloat16
    assert once.model.detector_model.text_projection.weight.dtype == torch.float32
    monkeypatch.setattr("body4d.models.sam3.network.cast_once", lambda model, dtype: None)
    each_time = Sam3Network(load_sam3(folder), Sam3Settings(), CPU, torch.bfloat16)
    for a, b in zip(followed(once), followed(each_time), strict=True):
        assert torch.equal(a, b)


def test_every_chain_of_small_steps_would_be_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: Counter[str] = Counter()
    plain = CudaGraphRecorder.__call__

    def counted(self, steps, inputs, key=None, owner=None):  # type: ignore[no-untyped-def]
        called[key if isinstance(key, str) else key[0]] += 1
        return plain(self, steps, inputs, key, owner)

    monkeypatch.setattr(CudaGraphRecorder, "__call__", counted)
    wrapped = followed(Sam3Network(load_sam3(folder), Sam3Settings(), CPU, torch.float32))
    # The click's own decoding is not: it comes with a prompt.
    assert called == {"attention": 4, "decoder": 4, "memory": 5}
    monkeypatch.setattr("body4d.models.sam3.network.record_tracker", lambda tracker: None)
    for a, b in zip(wrapped, followed(Sam3Network(load_sam3(folder), Sam3Settings(), CPU, torch.float32)), strict=True):
        assert torch.equal(a, b)


def test_casting_leaves_what_autocast_leaves(folder: Path) -> None:
    model = load_sam3(folder).model
    cast_once(model, torch.bfloat16)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm | torch.nn.Embedding) and getattr(module, "weight", None) is not None:
            assert module.weight.dtype == torch.float32


def test_without_cuda_nothing_is_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(1, 4):
            made.append(i)
            yield i

    passed = one_ahead(items(), CPU, lambda item: iter(()))
    assert next(passed) == 1
    assert made == [1]
    assert list(passed) == [2, 3]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="streams need CUDA")
def test_items_made_ahead_are_whole_when_used() -> None:
    def items() -> Iterator[torch.Tensor]:
        for i in range(6):
            yield (torch.full((512, 512), float(i), device="cuda") @ torch.eye(512, device="cuda")).clone()

    cuda = torch.device("cuda")
    assert [float(t.mean()) for t in one_ahead(items(), cuda, lambda t: iter((t,)))] == [0, 1, 2, 3, 4, 5]
