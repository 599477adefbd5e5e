"""Diffusion-VAS's networks: fast layers against diffusers' own, the order of embeddings, windows that overlap, and the goldens."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from body4d.models.diffusion_vas.checkpoint import load_vas
from body4d.models.diffusion_vas.network.sampler import SamplerOptions, VasNetworks, denoise, guidance_embeddings, window_weights
from body4d.models.diffusion_vas.network.unet import FrameConv, SingleKeyAttention, use_fast_layers
from vas_files import write_tiny_diffusion_vas

ROOT = Path(__file__).parents[3]
GOLDENS = Path(os.environ.get("BODY4D_SHARED", "")) / "goldens"


def made(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_a_convolution_over_frames(frames: int) -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)), made(2, 4, frames, 3, 5)
    torch.testing.assert_close(FrameConv(conv)(x), conv(x))


def test_attention_to_a_single_key() -> None:
    torch.manual_seed(0)
    attention = Attention(query_dim=16, cross_attention_dim=8, heads=2, dim_head=8)
    queries, key = made(3, 5, 16), made(3, 1, 8).squeeze(0)
    expected = attention(queries, encoder_hidden_states=key)
    attention.set_processor(SingleKeyAttention())  # type: ignore[arg-type]
    torch.testing.assert_close(attention(queries, encoder_hidden_states=key), expected)
    with pytest.raises(AssertionError, match="more than one embedding"):
        attention(queries, encoder_hidden_states=torch.cat([key, key], 1))


def test_only_what_fits_is_changed() -> None:
    kept = [nn.Conv3d(2, 2, 3, padding=1), nn.Conv3d(2, 2, (3, 1, 1), stride=(2, 1, 1)), nn.Conv2d(2, 2, 3)]
    net = use_fast_layers(nn.Sequential(*kept, nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0))))
    assert [type(module) for module in net] == [nn.Conv3d, nn.Conv3d, nn.Conv2d, FrameConv]


def test_embeddings_in_the_published_order_and_the_right_one() -> None:
    own = torch.arange(1.0, 5).view(1, 4, 1)
    assert guidance_embeddings(own, scrambled=False)[:, 0, :, 0].tolist() == [[0, 0, 0, 0], [1, 2, 3, 4]]
    # none, own, none, own, ... cut in the middle: half of both halves, and of the wrong frames.
    assert guidance_embeddings(own, scrambled=True)[:, 0, :, 0].tolist() == [[0, 1, 0, 2], [0, 3, 0, 4]]
    odd = torch.arange(1.0, 4).view(1, 3, 1)
    assert guidance_embeddings(odd, scrambled=True)[:, 0, :, 0].tolist() == [[0, 1, 0], [2, 0, 3]]


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> VasNetworks:
    return load_vas(write_tiny_diffusion_vas(tmp_path_factory.mktemp("vas")))


@torch.inference_mode()
def test_the_order_of_embeddings_makes_a_difference(nets: VasNetworks) -> None:
    noise, condition_latents, embeddings = made(6, 4, 8, 8), made(6, 8, 8, 8).abs(), made(6, 16)
    one, other = (
        denoise(nets, noise, condition_latents, embeddings, [range(6)], SamplerOptions(2, 1.5, scrambled)) for scrambled in (True, False)
    )
    assert (one - other).abs().max() > 1e-3


def test_windows_share_a_frame_by_how_far_inside_it_lies() -> None:
    index = torch.tensor([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]])
    weight = window_weights(index, 8)[..., 0, 0, 0]
    total = torch.zeros(8).index_add_(0, index.flatten(), weight.flatten())
    torch.testing.assert_close(total, torch.ones(8))
    # Frame 3 is the second last of the first window and the first of the second: two parts in three, and one.
    torch.testing.assert_close(weight[:, [3, 0]].diagonal(), torch.tensor([2 / 3, 1 / 3]))


@torch.inference_mode()
def test_batches_of_rows_change_nothing(nets: VasNetworks) -> None:
    noise, condition_latents, embeddings = made(8, 4, 8, 8), made(8, 8, 8, 8), made(8, 16)

    def one_by_one(count: int, work: Callable[[slice], Tensor]) -> list[Tensor]:
        return [work(slice(i, i + 1)) for i in range(count)]

    windows = [range(5), range(3, 8)]
    whole = denoise(nets, noise, condition_latents, embeddings, windows, SamplerOptions(2, 1.5))
    torch.testing.assert_close(
        denoise(nets, noise, condition_latents, embeddings, windows, SamplerOptions(2, 1.5), run_batches=one_by_one),
        whole,
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.skipif(not GOLDENS.is_dir(), reason="needs goldens/ under $BODY4D_SHARED")
@pytest.mark.parametrize("kind", ["unet", "pipeline"])
def test_parity_with_the_published_code(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (ROOT / "benchmarks", GOLDENS):
        monkeypatch.syspath_prepend(str(folder))
    parity = importlib.import_module("parity_diffusion_vas")
    rows = list(parity.rows(GOLDENS / f"diffusion_vas_{kind}_tiny_A.npz", GOLDENS, "", None))
    assert len(rows) == {"unet": 1, "pipeline": 32}[kind]
    assert not [row for row in rows if not row.relative <= row.limit]
    other = next(iter(parity.rows(GOLDENS / f"diffusion_vas_{kind}_tiny_A.npz", GOLDENS, "B:", None)))
    assert other.relative > 0.1  # other weights, other numbers: what is compared was computed
