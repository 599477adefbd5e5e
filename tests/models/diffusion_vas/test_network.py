"""Diffusion-VAS's networks: fast layers against diffusers' own, the order of embeddings, windows that overlap, and the goldens."""

import copy
import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from torch import Tensor, nn

import vas_files
from body4d.models.diffusion_vas.checkpoint import load_vas
from body4d.models.diffusion_vas.network.fast_layers import FrameConv, use_fast_layers
from body4d.models.diffusion_vas.network.sampler import SamplerOptions, VasNetworks, denoise, guidance_embeddings, window_weights
from body4d.models.diffusion_vas.network.unet import VasUnet
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


def test_only_what_fits_is_changed() -> None:
    kept = [nn.Conv3d(2, 2, 3, padding=1), nn.Conv3d(2, 2, (3, 1, 1), stride=(2, 1, 1)), nn.Conv2d(2, 2, 3)]
    net = use_fast_layers(nn.Sequential(*kept, nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0))))
    assert [type(module) for module in net] == [nn.Conv3d, nn.Conv3d, nn.Conv2d, FrameConv]


@pytest.fixture(scope="module")
def plain() -> tuple[nn.Module, nn.Module]:
    """A tiny UNet and VAE of diffusers' own layers."""
    nets = VasUnet.from_config({**vas_files.UNET, "in_channels": 12}), AutoencoderKLTemporalDecoder.from_config(vas_files.VAE)
    for seed, net in enumerate(nets):
        net.load_state_dict(vas_files.made_up({key: tuple(value.shape) for key, value in net.state_dict().items()}, seed))
    return tuple(net.float().eval() for net in nets)  # type: ignore[return-value]


PRECISIONS = [("cpu", torch.float32), *(pytest.param("cuda", dtype, marks=pytest.mark.cuda) for dtype in (torch.float16, torch.bfloat16))]


def assert_as_exact(found: Tensor, plain: Tensor, exact: Tensor) -> None:
    """What the fast layers give is as near to float32 as what diffusers' layers give in the same precision, and no farther than that."""
    off, usual = (((one.cpu().float() - exact).square().mean() / exact.square().mean()).sqrt() for one in (found, plain))
    assert off <= max(1.2 * usual, 1e-5), f"{off:.2e}, diffusers' own {usual:.2e}"


@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
@pytest.mark.parametrize(("height", "width", "frames"), [(8, 8, 3), (7, 10, 5)])  # sizes that halve without and with a remainder
@torch.inference_mode()
def test_the_unet_s_fast_layers_give_diffusers_numbers(
    plain: tuple[nn.Module, nn.Module], device: str, dtype: torch.dtype, height: int, width: int, frames: int
) -> None:
    slow, fast = (change(copy.deepcopy(plain[0])).to(device, dtype) for change in (lambda net: net, use_fast_layers))
    inputs = made(2, frames, 12, height, width), torch.tensor(1.0), made(2, frames, 16), torch.tensor([[7.0, 127, 0.02]]).expand(2, 3)
    given = [one.to(device, dtype if one.ndim > 2 else None) for one in inputs]
    assert_as_exact(fast(*given), slow(*given), plain[0](*inputs))


@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
@torch.inference_mode()
def test_the_vae_s_fast_layers_give_diffusers_numbers(plain: tuple[nn.Module, nn.Module], device: str, dtype: torch.dtype) -> None:
    slow, fast = (change(copy.deepcopy(plain[1])).to(device, dtype) for change in (lambda net: net, use_fast_layers))
    images, latents = made(2, 3, 32, 64), made(6, 4, 4, 8)

    def both_ways(net: nn.Module, device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        encoded = net.encode(images.to(device, dtype)).latent_dist.mode()  # type: ignore[operator]
        return encoded, net.decode(latents.to(device, dtype), num_frames=3).sample  # type: ignore[operator]

    results = both_ways(fast, device, dtype), both_ways(slow, device, dtype), both_ways(plain[1], "cpu", torch.float32)
    for found, usual, exact in zip(*results, strict=True):
        assert_as_exact(found, usual, exact)


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
