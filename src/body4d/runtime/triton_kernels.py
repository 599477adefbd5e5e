"""Triton kernels for ``fused``: one pass through memory each. They build in about a second, once a machine."""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROW_WARPS, FLAT_BLOCK, FLAT_WARPS = 8, 2048, 8
NARROW_ROW, NARROW_WARPS = 512, 2
"""A row up to so wide is done by so many warps."""

STAT_ROWS = 256
"""Rows that are summed together for a group norm: a fixed number, so that results do not depend on what else is computed."""

NORM_ROWS, NORM_COLUMNS, NORM_WARPS = 32, 64, 4


@triton.jit
def _add_norm_kernel(
    x_ptr, added_ptr, scale_ptr, shared_ptr, weight_ptr, bias_ptr, sum_ptr, normed_ptr, width, rows_each, eps,
    HAS_SCALE: tl.constexpr, HAS_SHARED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    first = row * width
    column = tl.arange(0, BLOCK)
    inside = column < width
    x = tl.load(x_ptr + first + column, mask=inside, other=0.0)
    added = tl.load(added_ptr + first + column, mask=inside, other=0.0)
    if HAS_SCALE:
        scale = tl.load(scale_ptr + column, mask=inside, other=0.0)
        added = (added.to(tl.float32) * scale.to(tl.float32)).to(added.dtype)
    total = x.to(tl.float32) + added.to(tl.float32)
    if HAS_SHARED:
        total += tl.load(shared_ptr + row // rows_each * width + column, mask=inside, other=0.0).to(tl.float32)
    total = total.to(x.dtype)
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


@triton.jit
def _group_sums_kernel(
    x_ptr, shared_ptr, sums_ptr, length, width, rows_each,
    HAS_SHARED: tl.constexpr, STAT_ROWS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    part, item = tl.program_id(0), tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total, squares = tl.zeros((ROWS, COLUMNS), tl.float32), tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, STAT_ROWS, ROWS):
        row = part * STAT_ROWS + first + tl.arange(0, ROWS)
        inside = (row < length)[:, None] & (column < width)[None, :]
        x = tl.load(x_ptr + (item * length + row)[:, None] * width + column[None, :], mask=inside, other=0.0).to(tl.float32)
        if HAS_SHARED:
            at = (item * length + row) // rows_each
            x += tl.load(shared_ptr + at[:, None] * width + column[None, :], mask=inside, other=0.0).to(tl.float32)
        total += x
        squares += x * x
    at = sums_ptr + (item * tl.num_programs(0) + part) * 2 * width + column
    tl.store(at, tl.sum(total, 0), mask=column < width)
    tl.store(at + width, tl.sum(squares, 0), mask=column < width)


@triton.jit
def _group_norm_kernel(
    x_ptr, shared_ptr, sums_ptr, weight_ptr, bias_ptr, out_ptr, length, width, rows_each, groups, eps,
    HAS_SHARED: tl.constexpr, SILU: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    item = tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    known = column < width
    inside = (row < length)[:, None] & known[None, :]
    count = length * (width // groups)
    at = sums_ptr + item * 2 * groups + column // (width // groups)
    mean = tl.load(at, mask=known, other=0.0) / count
    variance = tl.load(at + groups, mask=known, other=0.0) / count - mean * mean
    scale = tl.rsqrt(tl.maximum(variance, 0.0) + eps) * tl.load(weight_ptr + column, mask=known, other=0.0).to(tl.float32)
    offset = tl.load(bias_ptr + column, mask=known, other=0.0).to(tl.float32) - mean * scale
    at = (item * length + row)[:, None] * width + column[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_SHARED:
        from_row = (item * length + row) // rows_each
        x += tl.load(shared_ptr + from_row[:, None] * width + column[None, :], mask=inside, other=0.0).to(tl.float32)
    x = x * scale[None, :] + offset[None, :]
    if SILU:
        x = x / (1.0 + tl.exp(-x))
    tl.store(out_ptr + at, x.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _add_mixed_kernel(
    x_ptr, added_ptr, scale_ptr, shared_ptr, out_ptr, count, width, rows_each, HAS_SCALE: tl.constexpr, BLOCK: tl.constexpr
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    row = at // width
    more = tl.load(added_ptr + at, mask=inside, other=0.0).to(tl.float32)
    more += tl.load(shared_ptr + row // rows_each * width + at % width, mask=inside, other=0.0).to(tl.float32)
    if HAS_SCALE:
        more *= tl.load(scale_ptr).to(tl.float32)
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, (x + more).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _blend_kernel(x_ptr, shared_ptr, y_ptr, added_ptr, share_ptr, out_ptr, count, width, rows_each, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    x -= tl.load(shared_ptr + at // width // rows_each * width + at % width, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + at, mask=inside, other=0.0).to(tl.float32) + tl.load(added_ptr + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, (x + (y - x) * tl.load(share_ptr).to(tl.float32)).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gelu_product_kernel(x_ptr, out_ptr, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    up = tl.load(x_ptr + row * 2 * width + column, mask=inside, other=0.0)
    gate = tl.load(x_ptr + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
    gate = (0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))).to(up.dtype)
    tl.store(out_ptr + row * width + column, up * gate, mask=inside)


@triton.jit
def _attention_over_frames_kernel(
    qkv_ptr, out_ptr, frames, places, heads, scale, FRAMES: tl.constexpr, SIZE: tl.constexpr
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    head, place, video = program % heads, program // heads % places, program // (heads * places)
    frame, column = tl.arange(0, FRAMES), tl.arange(0, SIZE)
    inside = (frame < frames)[:, None]
    row = ((video * frames + frame) * places + place)[:, None]
    at = qkv_ptr + row * 3 * heads * SIZE + head * SIZE + column[None, :]
    q = tl.load(at, mask=inside, other=0.0)
    k = tl.load(at + heads * SIZE, mask=inside, other=0.0)
    v = tl.load(at + 2 * heads * SIZE, mask=inside, other=0.0)
    weight = tl.where((frame < frames)[None, :], tl.dot(q, tl.trans(k), input_precision="ieee") * scale, float("-inf"))
    weight = tl.exp(weight - tl.max(weight, 1)[:, None])
    total = tl.sum(weight, 1)
    out = tl.dot(weight.to(v.dtype), v, input_precision="ieee") / total[:, None]
    tl.store(out_ptr + row * heads * SIZE + head * SIZE + column[None, :], out.to(v.dtype), mask=inside)


def add_norm(
    x: Tensor, added: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, eps: float, shared: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    width = x.shape[-1]
    rows, block = x.numel() // width, triton.next_power_of_2(width)
    warps = NARROW_WARPS if block <= NARROW_ROW else ROW_WARPS
    total, normed = torch.empty_like(x), torch.empty_like(added)
    _add_norm_kernel[(rows,)](
        x, added, x if scale is None else scale, x if shared is None else shared, weight, bias, total, normed,
        width, 1 if shared is None else rows // len(shared), eps,
        HAS_SCALE=scale is not None, HAS_SHARED=shared is not None, BLOCK=block, num_warps=warps,
    )  # fmt: skip
    return total, normed


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, shared: Tensor | None, *, silu: bool) -> Tensor:
    count, length, width = x.shape
    parts, across = triton.cdiv(length, STAT_ROWS), triton.cdiv(width, NORM_COLUMNS)
    sums = torch.empty((count, parts, 2, groups, width // groups), device=x.device, dtype=torch.float32)
    added, rows_each = (x, 1) if shared is None else (shared, count * length // len(shared))
    tile = {"HAS_SHARED": shared is not None, "ROWS": NORM_ROWS, "COLUMNS": NORM_COLUMNS, "num_warps": NORM_WARPS}
    _group_sums_kernel[(parts, across, count)](x, added, sums, length, width, rows_each, STAT_ROWS=STAT_ROWS, **tile)
    out = torch.empty_like(x)
    _group_norm_kernel[(triton.cdiv(length, NORM_ROWS), across, count)](
        x, added, sums.sum((1, 4)), weight, bias, out, length, width, rows_each, groups, eps, SILU=silu, **tile
    )
    return out


def add_mixed(x: Tensor, added: Tensor, scale: Tensor | None, shared: Tensor) -> Tensor:
    count, width, out = x.numel(), x.shape[-1], torch.empty_like(x)
    _add_mixed_kernel[(triton.cdiv(count, FLAT_BLOCK),)](
        x, added, x if scale is None else scale, shared, out, count, width, count // width // len(shared),
        HAS_SCALE=scale is not None, BLOCK=FLAT_BLOCK, num_warps=FLAT_WARPS,
    )  # fmt: skip
    return out


def blend(x: Tensor, shared: Tensor, y: Tensor, added: Tensor, share: Tensor) -> Tensor:
    count, width, out = x.numel(), x.shape[-1], torch.empty_like(x)
    _blend_kernel[(triton.cdiv(count, FLAT_BLOCK),)](
        x, shared, y, added, share, out, count, width, count // width // len(shared), BLOCK=FLAT_BLOCK, num_warps=FLAT_WARPS
    )
    return out


def gelu_product(x: Tensor) -> Tensor:
    width = x.shape[-1] // 2
    out = torch.empty((*x.shape[:-1], width), device=x.device, dtype=x.dtype)
    block = min(1024, triton.next_power_of_2(width))
    _gelu_product_kernel[(out.numel() // width, triton.cdiv(width, block))](x, out, width, BLOCK=block, num_warps=4)
    return out


def attention_over_frames(qkv: Tensor, frames: int, heads: int) -> Tensor:
    count, places, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    out = torch.empty((count, places, width), device=qkv.device, dtype=qkv.dtype)
    _attention_over_frames_kernel[(count // frames * places * heads,)](
        qkv, out, frames, places, heads, (width // heads) ** -0.5,
        FRAMES=max(16, triton.next_power_of_2(frames)), SIZE=width // heads, num_warps=1,
    )  # fmt: skip
    return out


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
