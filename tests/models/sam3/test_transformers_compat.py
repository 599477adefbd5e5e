"""What is replaced in transformers: the same numbers as without it, and every chain of small steps goes to the recorder."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from body4d.core.errors import MissingDependencyError
from body4d.models.sam3.checkpoint import load_sam3
from body4d.models.sam3.network import Sam3Network
from body4d.models.sam3.object_tracker import ObjectTracker
from body4d.models.sam3.prompts import FramePrompt
from body4d.models.sam3.transformers_compat import cast_weights, fuse_memory_attention, require_supported_transformers
from body4d.runtime.cuda_graphs import CudaGraphRecorder
from sam3_files import write_tiny_sam3

W, H = 64, 48
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam3(tmp_path_factory.mktemp("weights"), finds=False)


def tracked(network: Sam3Network, frames: int = 5) -> list[torch.Tensor]:
    images = list(np.random.default_rng(0).integers(0, 255, (frames, H, W, 3), dtype=np.uint8))
    encoded = network.encode_frames(images, [True] * frames, [network.encode_text("person")])
    tracker = ObjectTracker(network, (W, H), frames, {0: FramePrompt(np.array([[30.0, 24.0]]), np.array([1]))})
    return [tracker.track_frame(i, features) for i, (features, _) in enumerate(encoded)]


def test_weights_cast_once_give_what_autocast_gives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = Sam3Network(load_sam3(folder), 0.5, CPU, torch.bfloat16)
    assert once.tracker.mask_decoder.upscale_conv1.weight.dtype == torch.bfloat16
    assert once.model.detector_model.text_projection.weight.dtype == torch.float32
    monkeypatch.setattr("body4d.models.sam3.network.cast_weights", lambda model, dtype: None)
    each_time = Sam3Network(load_sam3(folder), 0.5, CPU, torch.bfloat16)
    for a, b in zip(tracked(once), tracked(each_time), strict=True):
        assert torch.equal(a, b)


def test_every_chain_of_small_steps_would_be_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: Counter[str] = Counter()
    plain = CudaGraphRecorder.__call__

    def counted(self, steps, inputs, key=None, owner=None):  # type: ignore[no-untyped-def]
        called[key if isinstance(key, str) else key[0]] += 1
        return plain(self, steps, inputs, key, owner)

    monkeypatch.setattr(CudaGraphRecorder, "__call__", counted)
    wrapped = tracked(Sam3Network(load_sam3(folder), 0.5, CPU, torch.float32))
    # The click's own decoding is not: it comes with a prompt.
    assert called == {"search": 1, "attention": 4, "decoder": 4, "memory": 5}
    monkeypatch.setattr("body4d.models.sam3.network.record_tracker", lambda tracker: None)
    for a, b in zip(wrapped, tracked(Sam3Network(load_sam3(folder), 0.5, CPU, torch.float32)), strict=True):
        assert torch.equal(a, b)


def test_casting_leaves_what_autocast_leaves(folder: Path) -> None:
    model = load_sam3(folder).model
    cast_weights(model, torch.bfloat16)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm | torch.nn.Embedding) and getattr(module, "weight", None) is not None:
            assert module.weight.dtype == torch.float32


def test_another_minor_version_of_transformers_is_refused() -> None:
    require_supported_transformers("5.23.7")
    for version in ("5.22.0", "5.24.0", "6.23.0"):
        with pytest.raises(MissingDependencyError, match=rf"transformers {version} is installed, and SAM-3 works only with 5\.23"):
            require_supported_transformers(version)


@pytest.mark.parametrize("num_pointers", [0, 3])
def test_attention_to_memory_is_what_transformers_computes(folder: Path, num_pointers: int) -> None:
    model = load_sam3(folder, torch.device("cpu")).model
    attention = model.tracker_model.memory_attention
    cells, channels = len(attention.position_ids), attention.config.memory_attention_hidden_size
    made = torch.Generator().manual_seed(0)
    now, position = (torch.randn(cells, 1, channels, generator=made) for _ in range(2))
    memory, memory_position = (torch.randn(2 * cells + num_pointers, 1, 64, generator=made) for _ in range(2))
    with torch.inference_mode():
        expected = attention(now, memory, position, memory_position, num_pointers)
        fuse_memory_attention(model.tracker_model)
        torch.testing.assert_close(attention(now, memory, position, memory_position, num_pointers), expected)
