"""Triton kernels for ``fused``: one pass through memory each. They build in about a second, once a machine."""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROW_WARPS, FLAT_BLOCK, FLAT_WARPS = 8, 2048, 8


@triton.jit
def _add_norm_kernel(
    x_ptr, added_ptr, scale_ptr, weight_ptr, bias_ptr, sum_ptr, normed_ptr, width, eps, HAS_SCALE: tl.constexpr, BLOCK: tl.constexpr
):
    first = tl.program_id(0).to(tl.int64) * width
    column = tl.arange(0, BLOCK)
    inside = column < width
    x = tl.load(x_ptr + first + column, mask=inside, other=0.0)
    added = tl.load(added_ptr + first + column, mask=inside, other=0.0)
    if HAS_SCALE:
        scale = tl.load(scale_ptr + column, mask=inside, other=0.0)
        added = (added.to(tl.float32) * scale.to(tl.float32)).to(added.dtype)
    total = (x.to(tl.float32) + added.to(tl.float32)).to(x.dtype)
    tl.store(sum_ptr + first + column, total, mask=inside)
    total = total.to(tl.float32)
    mean = tl.sum(total) / width
    centred = tl.where(inside, total - mean, 0.0)
    norm = tl.rsqrt(tl.sum(centred * centred) / width + eps)
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed_ptr + first + column, (centred * norm * weight + bias).to(normed_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _rotate_kernel(x_ptr, cos_ptr, sin_ptr, tokens, cells, heads, HEADS: tl.constexpr, HALF: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cell = row % cells
    token = (row // cells) * tokens + tokens - cells + cell
    head, pair = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (pair < HALF)
    at = x_ptr + token * heads * 2 * HALF + head * 2 * HALF + pair
    a, b = tl.load(at, mask=inside, other=0.0), tl.load(at + HALF, mask=inside, other=0.0)
    angle = cell * 2 * HALF + pair
    cos_a, cos_b = tl.load(cos_ptr + angle), tl.load(cos_ptr + angle + HALF)
    sin_a, sin_b = tl.load(sin_ptr + angle), tl.load(sin_ptr + angle + HALF)
    x, y = a.to(tl.float32), b.to(tl.float32)
    tl.store(at, (x * cos_a - y * sin_a).to(a.dtype), mask=inside)
    tl.store(at + HALF, (y * cos_b + x * sin_b).to(a.dtype), mask=inside)


@triton.jit
def _rotate_neighbours_kernel(x_ptr, cos_ptr, sin_ptr, tokens, cells, heads, HEADS: tl.constexpr, SIZE: tl.constexpr):
    # Numbers are loaded and stored as they lie, and parted into pairs in between: every other one alone would be ten times slower.
    row = tl.program_id(0).to(tl.int64)
    cell = row % cells
    token = (row // cells) * tokens + tokens - cells + cell
    head, number = tl.arange(0, HEADS)[:, None], tl.arange(0, SIZE)[None, :]
    inside = (head < heads) & (number < SIZE)
    at = x_ptr + token * heads * SIZE + head * SIZE + number
    angle = cell * SIZE + tl.arange(0, SIZE)
    whole = tl.load(at, mask=inside, other=0.0)
    x, y = tl.split(tl.reshape(whole.to(tl.float32), (HEADS, SIZE // 2, 2)))
    cos_x, cos_y = tl.split(tl.reshape(tl.load(cos_ptr + angle), (1, SIZE // 2, 2)))
    sin_x, sin_y = tl.split(tl.reshape(tl.load(sin_ptr + angle), (1, SIZE // 2, 2)))
    turned = tl.reshape(tl.join(x * cos_x - y * sin_x, y * cos_y + x * sin_y), (HEADS, SIZE))
    tl.store(at, turned.to(whole.dtype), mask=inside)


@triton.jit
def _silu_product_kernel(gate_ptr, up_ptr, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    gate = tl.load(gate_ptr + at, mask=inside, other=0.0)
    up = tl.load(up_ptr + at, mask=inside, other=0.0)
    wide = gate.to(tl.float32)
    tl.store(gate_ptr + at, (wide / (1.0 + tl.exp(-wide))).to(gate.dtype) * up, mask=inside)


def add_norm(x: Tensor, added: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    width = x.shape[-1]
    total, normed = torch.empty_like(x), torch.empty_like(added)
    _add_norm_kernel[(x.numel() // width,)](
        x, added, x if scale is None else scale, weight, bias, total, normed, width, eps,
        HAS_SCALE=scale is not None, BLOCK=triton.next_power_of_2(width), num_warps=ROW_WARPS,
    )  # fmt: skip
    return total, normed


def rotate_(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> Tensor:
    count, tokens, width = x.shape
    cells, size = cos.shape
    heads, grid = width // size, (count * cells,)
    if interleaved:
        _rotate_neighbours_kernel[grid](x, cos, sin, tokens, cells, heads, HEADS=triton.next_power_of_2(heads), SIZE=size)
    else:
        _rotate_kernel[grid](x, cos, sin, tokens, cells, heads, HEADS=triton.next_power_of_2(heads), HALF=size // 2)
    return x


def silu_product_(gate: Tensor, up: Tensor) -> Tensor:
    count = gate.numel()
    _silu_product_kernel[(triton.cdiv(count, FLAT_BLOCK),)](gate, up, count, BLOCK=FLAT_BLOCK, num_warps=FLAT_WARPS)
    return gate
