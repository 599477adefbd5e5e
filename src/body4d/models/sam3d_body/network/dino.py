"""One block of DINOv3's ViT (Siméoni et al. 2025) as a function of tensors, so that all blocks share one compiled version.

The arithmetic is that of Hugging Face transformers' DINOv3ViTLayer, whose modules hold the weights; a test compares the two.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class BlockWeights(NamedTuple):
    """Weights of one block, in its own precision."""

    norm1: Tensor
    norm1_bias: Tensor
    query: Tensor
    query_bias: Tensor
    key: Tensor
    value: Tensor
    value_bias: Tensor
    out: Tensor
    out_bias: Tensor
    scale1: Tensor
    norm2: Tensor
    norm2_bias: Tensor
    gate: Tensor
    gate_bias: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor
    scale2: Tensor


def weights_of(layer: Any) -> BlockWeights:
    """The weights a DINOv3ViTLayer holds."""
    a, m = layer.attention, layer.mlp
    return BlockWeights(
        layer.norm1.weight, layer.norm1.bias, a.q_proj.weight, a.q_proj.bias, a.k_proj.weight, a.v_proj.weight, a.v_proj.bias,
        a.o_proj.weight, a.o_proj.bias, layer.layer_scale1.lambda1, layer.norm2.weight, layer.norm2.bias, m.gate_proj.weight,
        m.gate_proj.bias, m.up_proj.weight, m.up_proj.bias, m.down_proj.weight, m.down_proj.bias, layer.layer_scale2.lambda1,
    )  # fmt: skip


def block(
    x: Tensor, late: Tensor, scale: Tensor, cos: Tensor, sin: Tensor, w: BlockWeights, heads: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Tokens (B, n, C) through one block: the tokens before the block's last sum, and what is still to be added, times ``w.scale2``.

    ``late`` and ``scale`` are those two of the block before: taken in here, its sum and this block's norm are one pass through memory.
    ``cos`` and ``sin`` (cells, C / heads) float32 turn the last ``cells`` tokens.
    """
    width = x.shape[-1:]
    x = x + late * scale
    seen = F.layer_norm(x, width, w.norm1, w.norm1_bias, eps)
    q = turned(F.linear(seen, w.query, w.query_bias).unflatten(-1, (heads, -1)), cos, sin).transpose(1, 2)
    k = turned(F.linear(seen, w.key).unflatten(-1, (heads, -1)), cos, sin).transpose(1, 2)
    v = F.linear(seen, w.value, w.value_bias).unflatten(-1, (heads, -1)).transpose(1, 2)
    told = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x = x + F.linear(told, w.out, w.out_bias) * w.scale1
    seen = F.layer_norm(x, width, w.norm2, w.norm2_bias, eps)
    hidden = F.silu(F.linear(seen, w.gate, w.gate_bias)) * F.linear(seen, w.up, w.up_bias)
    return x, F.linear(hidden, w.down, w.down_bias)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on the last tokens of x (B, n, heads, 64), in float32: bfloat16 angles would be off by a 50th of a turn."""
    first = x.shape[1] - cos.shape[0]
    plain, cells = x[:, :first], x[:, first:].float()
    a, b = cells.chunk(2, -1)
    cells = cells * cos[:, None] + torch.cat([-b, a], -1) * sin[:, None]
    return torch.cat([plain, cells.to(x.dtype)], 1)
