"""What lies between matrix products: in plain torch as elsewhere in torch, and as single kernels on CUDA the same to rounding."""

import pytest
import torch
from torch.nn import functional as F

from body4d.models.sam3d_body.network.backbone import BlockWeights, apply_rope, dinov3_block, fused_dinov3_block
from body4d.runtime.fused import add_mixed, add_norm, attention_over_frames, blend, gelu_product, group_norm, rotate_, silu_product_

HEADS, SIZE, CELLS, TOKENS = 3, 8, 6, 9
WIDTH = HEADS * SIZE

CUDA = pytest.param("cuda", marks=pytest.mark.cuda)


def made(*shape: int, seed: int = 0, device: str = "cpu") -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("scaled", [True, False])
def test_a_sum_and_its_norm(device: str, scaled: bool) -> None:
    x, added, scale, weight, bias = (made(*s, seed=k, device=device) for k, s in enumerate([(4, WIDTH), (4, WIDTH), *[(WIDTH,)] * 3]))
    total, normed = add_norm(x, added, scale if scaled else None, weight, bias, 1e-5)
    expected = x + added * scale if scaled else x + added
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(normed, F.layer_norm(expected, (WIDTH,), weight, bias, 1e-5))


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_wide_sum_gives_a_narrow_norm(device: str) -> None:
    x, added, weight, bias = (made(*s, seed=k, device=device) for k, s in enumerate([(4, WIDTH), (4, WIDTH), (WIDTH,), (WIDTH,)]))
    total, normed = add_norm(x, added.bfloat16(), None, weight, bias, 1e-5)
    assert (total.dtype, normed.dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_rows_of_which_each_is_added_to_several(device: str) -> None:
    """A sum with its norm, a share of a sum, a mixture of two sums: of 3 rows, each goes to 4 of 12."""
    x, y, added = (made(12, WIDTH, seed=k, device=device) for k in range(3))
    shared, weight, bias, share = (made(*s, seed=3 + k, device=device) for k, s in enumerate([(3, WIDTH), (WIDTH,), (WIDTH,), (1,)]))
    each = shared.repeat_interleave(4, 0)
    total, normed = add_norm(x, added, None, weight, bias, 1e-5, shared)
    torch.testing.assert_close(total, x + added + each)
    torch.testing.assert_close(normed, F.layer_norm(x + added + each, (WIDTH,), weight, bias, 1e-5))
    torch.testing.assert_close(add_mixed(x, added, share, shared), x + (added + each) * share)
    torch.testing.assert_close(add_mixed(x, added, None, shared), x + added + each)
    torch.testing.assert_close(blend(x, shared, y, added, share), (x - each) * (1 - share) + (y + added) * share)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("length", [4, 600])  # 600: more rows than are summed together
def test_a_group_norm_with_channels_last(device: str, silu: bool, length: int) -> None:
    x, weight, bias, shared = (made(*s, seed=k, device=device) for k, s in enumerate([(2, length, 96), (96,), (96,), (4, 96)]))
    expected = F.group_norm((x + shared.repeat_interleave(length // 2, 0).view(x.shape)).transpose(1, 2), 32, weight, bias, 1e-5)
    expected = (F.silu(expected) if silu else expected).transpose(1, 2)
    torch.testing.assert_close(group_norm(x, weight, bias, 32, 1e-5, shared, silu=silu), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_half_the_columns_times_gelu_of_the_others(device: str) -> None:
    x = made(5, 2 * 700, device=device)
    torch.testing.assert_close(gelu_product(x), x[:, :700] * F.gelu(x[:, 700:]))


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("size", [16, 24])  # a power of two, and what the kernel does not take
def test_places_attend_to_themselves_on_other_frames(device: str, size: int) -> None:
    frames, places = 5, 3
    qkv = made(2 * frames, places, 3 * 2 * size, device=device)
    found = attention_over_frames(qkv, frames, 2)
    q, k, v = (part.reshape(2, frames, places, 2, size) for part in qkv.chunk(3, -1))
    weight = torch.einsum("vtphs,vuphs->vphtu", q, k).div(size**0.5).softmax(-1)
    expected = torch.einsum("vphtu,vuphs->vtphs", weight, v).reshape(found.shape)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_pairs_half_a_head_apart_turn_as_in_dinov3(device: str) -> None:
    x, cos, sin = made(2, TOKENS, WIDTH, device=device), made(CELLS, SIZE, seed=1, device=device), made(CELLS, SIZE, seed=2, device=device)
    expected = apply_rope(x.unflatten(-1, (HEADS, SIZE)), cos, sin).flatten(2)
    torch.testing.assert_close(rotate_(x.clone(), cos, sin, interleaved=False), expected)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_neighbours_turn_together(device: str) -> None:
    x, angle = made(2, TOKENS, WIDTH, device=device), made(CELLS, SIZE // 2, seed=1, device=device)
    cos, sin = (one.repeat_interleave(2, -1).contiguous() for one in (angle.cos(), angle.sin()))
    turned = (
        torch.view_as_complex(x[:, TOKENS - CELLS :].reshape(2, CELLS, HEADS, -1, 2)) * torch.polar(torch.ones_like(angle), angle)[:, None]
    )
    expected = torch.cat([x[:, : TOKENS - CELLS], torch.view_as_real(turned).reshape(2, CELLS, WIDTH)], 1)
    torch.testing.assert_close(rotate_(x.clone(), cos, sin, interleaved=True), expected)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_gated_product(device: str) -> None:
    gate, up = made(5, 700, device=device), made(5, 700, seed=1, device=device)
    torch.testing.assert_close(silu_product_(gate.clone(), up), F.silu(gate) * up)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_block_of_dinov3(device: str) -> None:
    shapes = {
        "gate": (2 * WIDTH, WIDTH),
        "up": (2 * WIDTH, WIDTH),
        "down": (WIDTH, 2 * WIDTH),
        "gate_bias": (2 * WIDTH,),
        "up_bias": (2 * WIDTH,),
    }
    square = dict.fromkeys(("query", "key", "value", "out"), (WIDTH, WIDTH))
    weights = BlockWeights(
        *(0.3 * made(*{**square, **shapes}.get(name, (WIDTH,)), seed=k, device=device) for k, name in enumerate(BlockWeights._fields))
    )
    x, pending, scale = (
        made(2, TOKENS, WIDTH, device=device),
        made(2, TOKENS, WIDTH, seed=1, device=device),
        made(WIDTH, seed=2, device=device),
    )
    cos, sin = made(CELLS, SIZE, seed=3, device=device), made(CELLS, SIZE, seed=4, device=device)
    expected = dinov3_block(x, pending, scale, cos, sin, weights, HEADS, 1e-5)
    found = fused_dinov3_block(x.clone(), pending.clone(), scale, cos, sin, weights, HEADS, 1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
