"""What lies between matrix products: in plain torch as elsewhere in torch, and as single kernels on CUDA the same to rounding."""

import pytest
import torch
from torch.nn import functional as F

from body4d.models.sam3d_body.network.backbone import BlockWeights, apply_rope, dinov3_block, fused_dinov3_block
from body4d.runtime.fused import add_norm, rotate_, silu_product_

HEADS, SIZE, CELLS, TOKENS = 3, 8, 6, 9
WIDTH = HEADS * SIZE

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="kernels need CUDA"))


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
