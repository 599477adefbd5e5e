"""Image backbones: normalised crops in, feature maps of a sixteenth of their size out.

DINOv3's block (Siméoni et al. 2025) is a function of tensors, so that all blocks share one compiled version. Its arithmetic is that of
Hugging Face transformers' DINOv3ViTLayer, whose modules hold the weights; a test compares the two.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.models.sam3d_body.network.config import BackboneSizes, NetworkSizes
from body4d.models.sam3d_body.network.layers import constant, patch_linear
from body4d.runtime.fused import add_norm, has_fused_kernels, rotate_, silu_product_

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
REGISTER_TOKENS = 4
VIT_PATCH_PADDING_PX = 2
"""ViTPose's patch embedding pads by two pixels, although the patches fit without."""


class BlockWeights(NamedTuple):
    """Weights of one DINOv3 block, in its own precision."""

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


def block_weights(layer: Any) -> BlockWeights:
    """The weights a DINOv3ViTLayer holds."""
    a, m = layer.attention, layer.mlp
    return BlockWeights(
        layer.norm1.weight, layer.norm1.bias, a.q_proj.weight, a.q_proj.bias, a.k_proj.weight, a.v_proj.weight, a.v_proj.bias,
        a.o_proj.weight, a.o_proj.bias, layer.layer_scale1.lambda1, layer.norm2.weight, layer.norm2.bias, m.gate_proj.weight,
        m.gate_proj.bias, m.up_proj.weight, m.up_proj.bias, m.down_proj.weight, m.down_proj.bias, layer.layer_scale2.lambda1,
    )  # fmt: skip


def dinov3_block(
    x: Tensor, pending: Tensor, pending_scale: Tensor, cos: Tensor, sin: Tensor, w: BlockWeights, heads: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Tokens (B, n, C) through one block: the tokens before the block's last sum, and what must still be added, times ``w.scale2``.

    ``pending`` and ``pending_scale`` are these two of the block before: adding them here makes the sum and this block's norm one pass
    through memory. ``cos`` and ``sin`` (cells, C / heads) float32 are the rotary positions of the last ``cells`` tokens.
    """
    width = x.shape[-1:]
    x = x + pending * pending_scale
    normed = F.layer_norm(x, width, w.norm1, w.norm1_bias, eps)
    q = apply_rope(F.linear(normed, w.query, w.query_bias).unflatten(-1, (heads, -1)), cos, sin).transpose(1, 2)
    k = apply_rope(F.linear(normed, w.key).unflatten(-1, (heads, -1)), cos, sin).transpose(1, 2)
    v = F.linear(normed, w.value, w.value_bias).unflatten(-1, (heads, -1)).transpose(1, 2)
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x = x + F.linear(attended, w.out, w.out_bias) * w.scale1
    normed = F.layer_norm(x, width, w.norm2, w.norm2_bias, eps)
    hidden = F.silu(F.linear(normed, w.gate, w.gate_bias)) * F.linear(normed, w.up, w.up_bias)
    return x, F.linear(hidden, w.down, w.down_bias)


def fused_dinov3_block(
    x: Tensor, pending: Tensor, pending_scale: Tensor, cos: Tensor, sin: Tensor, w: BlockWeights, heads: int, eps: float
) -> tuple[Tensor, Tensor]:
    """``dinov3_block`` with one pass through memory for what lies between two products. ``cos`` and ``sin`` are contiguous."""
    x, normed = add_norm(x, pending, pending_scale, w.norm1, w.norm1_bias, eps)
    q = rotate_(F.linear(normed, w.query, w.query_bias), cos, sin, interleaved=False)
    k = rotate_(F.linear(normed, w.key), cos, sin, interleaved=False)
    v = F.linear(normed, w.value, w.value_bias)
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x, normed = add_norm(x, F.linear(attended, w.out, w.out_bias), w.scale1, w.norm2, w.norm2_bias, eps)
    hidden = silu_product_(F.linear(normed, w.gate, w.gate_bias), F.linear(normed, w.up, w.up_bias))
    return x, F.linear(hidden, w.down, w.down_bias)


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position encoding of the last tokens of x (B, n, heads, 64), in float32: bfloat16 angles are off by a 50th of a turn."""
    num_special = x.shape[1] - cos.shape[0]
    special, cells = x[:, :num_special], x[:, num_special:].float()
    a, b = cells.chunk(2, -1)
    cells = cells * cos[:, None] + torch.cat([-b, a], -1) * sin[:, None]
    return torch.cat([special, cells.to(x.dtype)], 1)


class DinoBackbone(nn.Module):
    """DINOv3's ViT, whose normalised patch tokens are the feature map. Hugging Face transformers holds weights and positions."""

    def __init__(self, sizes: BackboneSizes, crop_px: int) -> None:
        super().__init__()
        from transformers.models.dinov3_vit.configuration_dinov3_vit import DINOv3ViTConfig
        from transformers.models.dinov3_vit.modeling_dinov3_vit import DINOv3ViTModel

        config = DINOv3ViTConfig(
            patch_size=16,
            image_size=crop_px,
            hidden_size=sizes.width,
            intermediate_size=sizes.hidden,
            num_hidden_layers=sizes.depth,
            num_attention_heads=sizes.heads,
            hidden_act="silu",
            use_gated_mlp=True,
            num_register_tokens=REGISTER_TOKENS,
            layer_norm_eps=1e-5,
            rope_theta=100.0,
            key_bias=False,
        )
        config._attn_implementation = "sdpa"
        self.vit = DINOv3ViTModel(config)
        self._run_block = dinov3_block

    def reset_buffers(self, device: torch.device | str) -> None:
        """Make the tensors that no checkpoint holds, after the module was built on the meta device."""
        rope = type(self.vit.rope_embeddings)
        with torch.device(device):
            # A new module is in training mode, where it shifts the positions at random.
            self.vit.rope_embeddings = rope(self.vit.config).train(self.vit.training)

    def compile_blocks(self) -> None:
        """Run every block through one compiled function; see ``body4d.runtime.torch_utils``."""
        self._run_block = torch.compile(dinov3_block)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b width rows columns"]:
        embed, config = self.vit.embeddings, self.vit.config
        cells = patch_linear(pixels.to(embed.cls_token.dtype), embed.patch_embeddings)
        grid, count = cells.shape[1:3], len(cells)
        x = torch.cat([embed.cls_token.expand(count, -1, -1), embed.register_tokens.expand(count, -1, -1), cells.flatten(1, 2)], 1)
        # Of the image only shape and type matter here.
        cos, sin = self.vit.rope_embeddings(torch.empty((1, 1, *pixels.shape[-2:]), device=pixels.device))
        pending = torch.zeros_like(x)
        pending_scale = embed.cls_token.flatten()
        run_block = self._run_block if count > 1 else dinov3_block
        if run_block is not dinov3_block:  # One compiled version serves every batch but a single crop.
            torch._dynamo.mark_dynamic(x, 0)
            torch._dynamo.mark_dynamic(pending, 0)
        elif has_fused_kernels(x.device):
            run_block = fused_dinov3_block
            cos, sin = cos.float().contiguous(), sin.float().contiguous()
        for layer in self.vit.model.layer:
            weights = block_weights(layer)
            x, pending = run_block(x, pending, pending_scale, cos, sin, weights, config.num_attention_heads, config.layer_norm_eps)
            pending_scale = weights.scale2
        num_special = 1 + REGISTER_TOKENS
        return self.vit.norm(x[:, num_special:] + pending[:, num_special:] * pending_scale).mT.unflatten(2, grid)


class VitAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class VitMlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class VitBlock(nn.Module):
    def __init__(self, sizes: BackboneSizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width)
        self.attn = VitAttention(sizes.width, sizes.heads)
        self.norm2 = nn.LayerNorm(sizes.width)
        self.mlp = VitMlp(sizes.width, sizes.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VitBackbone(nn.Module):
    """ViTPose's plain ViT (ViTPose, Xu et al. 2022): learnt positions, no class token, final norm."""

    def __init__(self, sizes: BackboneSizes, grid: tuple[int, int]) -> None:
        super().__init__()
        embed = nn.Conv2d(3, sizes.width, kernel_size=16, stride=16, padding=VIT_PATCH_PADDING_PX)
        self.patch_embed = nn.ModuleDict({"proj": embed})
        # Entry 0 belongs to the class token of the network it was initialised from; its position is added to every patch.
        self.pos_embed = nn.Parameter(torch.zeros(1, grid[0] * grid[1] + 1, sizes.width))
        self.blocks = nn.ModuleList(VitBlock(sizes) for _ in range(sizes.depth))
        self.last_norm = nn.LayerNorm(sizes.width)

    def reset_buffers(self, device: torch.device | str) -> None:
        """Nothing: every tensor of this backbone is in its checkpoint."""

    def compile_blocks(self) -> None:
        """Nothing: compiling this backbone was not measured."""

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b width rows columns"]:
        pad = VIT_PATCH_PADDING_PX
        # Two pixels added at one side push two out at the other, which no patch covers.
        x = patch_linear(F.pad(pixels.to(self.pos_embed.dtype), (pad, -pad, pad, -pad)), self.patch_embed["proj"])  # type: ignore[arg-type]
        grid = x.shape[1:3]
        x = x.flatten(1, 2) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        for layer in self.blocks:
            x = layer(x)
        return self.last_norm(x).transpose(1, 2).unflatten(2, grid)


def make_backbone(sizes: NetworkSizes) -> DinoBackbone | VitBackbone:
    """The backbone of a checkpoint of these sizes."""
    if sizes.backbone.kind == "dinov3":
        return DinoBackbone(sizes.backbone, sizes.crop_px)
    return VitBackbone(sizes.backbone, sizes.grid)


def normalise(crops: UInt8[Tensor, "b 3 crop crop"], side_margin_px: int = 0) -> Float[Tensor, "b 3 h w"]:
    """RGB crops as the backbone takes them: by ImageNet's mean and standard deviation, side columns cut off."""
    if side_margin_px:
        crops = crops[..., side_margin_px:-side_margin_px]
    mean, std = (constant(values, crops.device)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    return (crops.float() / 255 - mean) / std
