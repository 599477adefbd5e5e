"""The parts of a DINOv3 block between its matrix products, each in one pass through memory: Triton kernels for CUDA.

They take the place of compiling: they build in about a second, once a machine, and round where plain torch rounds.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

NUM_WARPS = 8
FLAT_BLOCK = 2048


@triton.jit
def _add_norm_kernel(x_ptr, added_ptr, scale_ptr, weight_ptr, bias_ptr, sum_ptr, normed_ptr, width, eps, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * width
    column = tl.arange(0, BLOCK)
    inside = column < width
    x = tl.load(x_ptr + first + column, mask=inside, other=0.0)
    added = tl.load(added_ptr + first + column, mask=inside, other=0.0).to(tl.float32)
    scale = tl.load(scale_ptr + column, mask=inside, other=0.0).to(tl.float32)
    total = (x.to(tl.float32) + (added * scale).to(x.dtype).to(tl.float32)).to(x.dtype)
    tl.store(sum_ptr + first + column, total, mask=inside)
    total = total.to(tl.float32)
    mean = tl.sum(total) / width
    centred = tl.where(inside, total - mean, 0.0)
    norm = tl.rsqrt(tl.sum(centred * centred) / width + eps)
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed_ptr + first + column, (centred * norm * weight + bias).to(x.dtype), mask=inside)


@triton.jit
def _rope_kernel(x_ptr, cos_ptr, sin_ptr, tokens, cells, heads, HEADS: tl.constexpr, HALF: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cell = row % cells
    token = (row // cells) * tokens + tokens - cells + cell
    head, place = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (place < HALF)
    at = x_ptr + token * heads * 2 * HALF + head * 2 * HALF + place
    a, b = tl.load(at, mask=inside, other=0.0), tl.load(at + HALF, mask=inside, other=0.0)
    angle = cell * 2 * HALF + place
    cos_a, cos_b = tl.load(cos_ptr + angle), tl.load(cos_ptr + angle + HALF)
    sin_a, sin_b = tl.load(sin_ptr + angle), tl.load(sin_ptr + angle + HALF)
    x, y = a.to(tl.float32), b.to(tl.float32)
    tl.store(at, (x * cos_a - y * sin_a).to(a.dtype), mask=inside)
    tl.store(at + HALF, (y * cos_b + x * sin_b).to(a.dtype), mask=inside)


@triton.jit
def _silu_product_kernel(gate_ptr, up_ptr, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    gate = tl.load(gate_ptr + at, mask=inside, other=0.0)
    up = tl.load(up_ptr + at, mask=inside, other=0.0)
    wide = gate.to(tl.float32)
    opened = (wide / (1.0 + tl.exp(-wide))).to(gate.dtype)
    tl.store(gate_ptr + at, opened * up, mask=inside)


def add_norm(
    x: Float[Tensor, "*rows c"], added: Float[Tensor, "*rows c"], scale: Float[Tensor, " c"], weight: Tensor, bias: Tensor, eps: float
) -> tuple[Float[Tensor, "*rows c"], Float[Tensor, "*rows c"]]:
    """``x + added * scale``, and its layer norm. All contiguous."""
    width = x.shape[-1]
    total, normed = torch.empty_like(x), torch.empty_like(x)
    block = triton.next_power_of_2(width)
    _add_norm_kernel[(x.numel() // width,)](x, added, scale, weight, bias, total, normed, width, eps, BLOCK=block, num_warps=NUM_WARPS)
    return total, normed


def apply_rope_(x: Float[Tensor, "b n c"], cos: Float[Tensor, "cells d"], sin: Float[Tensor, "cells d"]) -> Float[Tensor, "b n c"]:
    """Rotary positions of the last tokens of contiguous x, in place; c is heads times d."""
    count, tokens, width = x.shape
    cells, size = cos.shape
    heads = width // size
    _rope_kernel[(count * cells,)](x, cos, sin, tokens, cells, heads, HEADS=triton.next_power_of_2(heads), HALF=size // 2)
    return x


def silu_product_(gate: Float[Tensor, "*n"], up: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """``silu(gate) * up`` in the place of contiguous ``gate``."""
    count = gate.numel()
    _silu_product_kernel[(triton.cdiv(count, FLAT_BLOCK),)](gate, up, count, BLOCK=FLAT_BLOCK, num_warps=NUM_WARPS)
    return gate
