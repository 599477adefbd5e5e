"""What lies between the matrix products of a vision transformer, in one pass through memory each.

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
) -> tuple[Float[Tensor, "*rows c"], Float[Tensor, "*rows c"]]:
    """``x + added * scale`` in the precision of x, and its layer norm in that of ``added``. All contiguous; scale None is 1."""
    kernels = _kernels(x)
    if kernels is not None:
        return kernels.add_norm(x, added, scale, weight, bias, eps)
    total = x + (added if scale is None else added * scale).to(x.dtype)
    return total, F.layer_norm(total.float(), x.shape[-1:], weight.float(), bias.float(), eps).to(added.dtype)


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
