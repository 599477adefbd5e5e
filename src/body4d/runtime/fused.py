"""What lies between the matrix products and convolutions of large networks, in one pass through memory each.

On CUDA these are Triton kernels, which make a block as fast as a compiled one without the wait for a compiler; elsewhere, and where Triton
is not installed (torch for Windows has none), they are plain torch. Sums and angles are float32.
"""

from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@lru_cache
def has_fused_kernels(device: torch.device) -> bool:
    """Whether the functions of this module are single kernels on ``device``."""
    return device.type == "cuda" and find_spec("triton") is not None


def _kernels(x: Tensor) -> ModuleType | None:
    if not has_fused_kernels(x.device):
        return None
    from body4d.runtime import triton_kernels

    return triton_kernels


def add_norm(
    x: Float[Tensor, "*rows c"],
    added: Float[Tensor, "*rows c"],
    scale: Float[Tensor, " c"] | None,
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    eps: float,
    shared: Float[Tensor, "groups c"] | None = None,
) -> tuple[Float[Tensor, "*rows c"], Float[Tensor, "*rows c"]]:
    """``x + added * scale`` in the precision of x, and its layer norm in that of ``added``. All contiguous; scale None is 1.

    ``shared`` is added besides: its rows each to as many consecutive rows of x.
    """
    kernels = _kernels(x)
    if kernels is not None:
        return kernels.add_norm(x, added, scale, weight, bias, eps, shared)
    total = x + (added if scale is None else added * scale).to(x.dtype)
    total = total if shared is None else _add_shared(total, shared)
    return total, F.layer_norm(total.float(), x.shape[-1:], weight.float(), bias.float(), eps).to(added.dtype)


def group_norm(
    x: Float[Tensor, "n l c"],
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    groups: int,
    eps: float,
    shared: Float[Tensor, "parts c"] | None = None,
    *,
    silu: bool = True,
) -> Float[Tensor, "n l c"]:
    """Group norm of contiguous ``x + shared``, channels last, each of the n by itself; then ``silu``. ``shared`` as in ``add_norm``."""
    kernels = _kernels(x)
    if kernels is not None:
        return kernels.group_norm(x, weight, bias, groups, eps, shared, silu=silu)
    normed = F.group_norm((x if shared is None else _add_shared(x, shared)).transpose(1, 2), groups, weight, bias, eps).transpose(1, 2)
    return (F.silu(normed) if silu else normed).contiguous()


def add_mixed(
    x: Float[Tensor, "*rows c"],
    added: Float[Tensor, "*rows c"],
    scale: Float[Tensor, "1"] | None,
    shared: Float[Tensor, "groups c"],
) -> Float[Tensor, "*rows c"]:
    """``x + (added + shared) * scale``, all contiguous; scale None is 1. ``shared`` as in ``add_norm``."""
    kernels = _kernels(x)
    if kernels is not None:
        return kernels.add_mixed(x, added, scale, shared)
    more = _add_shared(added, shared)
    return x + (more if scale is None else more * scale.to(x.dtype))


def blend(
    x: Float[Tensor, "*rows c"],
    shared: Float[Tensor, "groups c"],
    y: Float[Tensor, "*rows c"],
    added: Float[Tensor, "*rows c"],
    share: Float[Tensor, "1"],
) -> Float[Tensor, "*rows c"]:
    """``x - shared`` and ``y + added``, mixed with ``share`` of the latter; all contiguous. ``shared`` as in ``add_norm``."""
    kernels = _kernels(x)
    if kernels is not None:
        return kernels.blend(x, shared, y, added, share)
    return torch.lerp(_add_shared(x, -shared), y + added, share.to(x.dtype))


def gelu_product(x: Float[Tensor, "*n two_c"]) -> Float[Tensor, "*n c"]:
    """The first half of contiguous x's columns times gelu of the second."""
    kernels = _kernels(x)
    if kernels is not None:
        return kernels.gelu_product(x)
    up, gate = x.chunk(2, dim=-1)
    return up * F.gelu(gate)


def attention_over_frames(qkv: Float[Tensor, "f l three_c"], frames: int, heads: int) -> Float[Tensor, "f l c"]:
    """Each of the l places of a video of ``frames`` attends to itself on other frames; f is videos times frames.

    A row of contiguous ``qkv`` holds queries, keys and values of all heads.
    """
    size = qkv.shape[-1] // 3 // heads
    kernels = _kernels(qkv)
    # Frames are padded to a power of two, all of a head in registers.
    if kernels is not None and frames <= 64 and size in (16, 32, 64, 128):
        return kernels.attention_over_frames(qkv, frames, heads)
    split = qkv.unflatten(-1, (3, heads, size)).unflatten(0, (-1, frames))  # videos, frames, places, 3, heads, size
    q, k, v = split.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)
    out = F.scaled_dot_product_attention(q, k, v)
    return out.unflatten(0, (split.shape[0], -1)).permute(0, 3, 1, 2, 4).flatten(0, 1).flatten(2)


def _add_shared(x: Tensor, shared: Tensor) -> Tensor:
    """Rows of ``shared``, each added to as many consecutive rows of x."""
    return (x.reshape(len(shared), -1, x.shape[-1]) + shared[:, None].to(x.dtype)).view(x.shape)


def rotate_(x: Float[Tensor, "b n c"], cos: Float[Tensor, "cells d"], sin: Float[Tensor, "cells d"], *, interleaved: bool) -> Tensor:
    """Rotary positions of the last ``cells`` tokens of contiguous x, in place; c is heads times d, cos and sin are float32.

    A head's numbers are turned in pairs: neighbours where ``interleaved``, else those half a head apart.
    """
    kernels = _kernels(x)
    if kernels is not None:
        return kernels.rotate_(x, cos, sin, interleaved=interleaved)
    cells, size = cos.shape
    turned = x[:, x.shape[1] - cells :].unflatten(-1, (-1, size))
    pairs = turned.float().unflatten(-1, (-1, 2) if interleaved else (2, -1))
    a, b = pairs.unbind(-1 if interleaved else -2)
    across = torch.stack([-b, a], -1 if interleaved else -2).flatten(-2)
    turned.copy_(turned.float() * cos[:, None] + across * sin[:, None])
    return x


WIDE_HEAD = 128
"""Wider heads go to FlashAttention on CUDA: for 36,400 keys of 256 it takes 0.63 ms, cuDNN, which torch would choose, 0.82 (H200)."""


def attend(
    q: Float[Tensor, "b heads n d"], k: Float[Tensor, "b heads m d"], v: Float[Tensor, "b heads m d"]
) -> Float[Tensor, "b heads n d"]:
    """Scaled dot-product attention, without a mask and without gradients."""
    if q.is_cuda and q.shape[-1] > WIDE_HEAD and q.dtype != torch.float32:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]
    return F.scaled_dot_product_attention(q, k, v)


def silu_product_(gate: Float[Tensor, "*n"], up: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """``silu(gate) * up`` in the place of contiguous ``gate``."""
    kernels = _kernels(gate)
    return F.silu(gate, inplace=True).mul_(up) if kernels is None else kernels.silu_product_(gate, up)
