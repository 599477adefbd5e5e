"""Image backbones: normalised crops (B, 3, h, w) in, feature maps (B, C, h/16, w/16) out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.models.sam3d_body.network.config import BackboneSizes, NetworkSizes
from body4d.models.sam3d_body.network.dino import block, weights_of
from body4d.models.sam3d_body.network.layers import constant, patch_linear

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
REGISTER_TOKENS = 4
VIT_PATCH_PADDING_PX = 2
"""ViTPose's patch embedding pads by two pixels, although the patches fit."""


class DinoBackbone(nn.Module):
    """DINOv3 ViT; the final-normed patch tokens as a map. Hugging Face transformers holds weights and positions, :mod:`dino` runs them."""

    def __init__(self, sizes: BackboneSizes, crop_px: int) -> None:
        super().__init__()
        from transformers import DINOv3ViTConfig, DINOv3ViTModel

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
        self._run = block

    def reset_buffers(self, device: torch.device | str) -> None:
        """Make anew what no checkpoint holds, after the module was built on the meta device."""
        rope = type(self.vit.rope_embeddings)
        with torch.device(device):
            # A fresh module is one in training, and would move the positions at random.
            self.vit.rope_embeddings = rope(self.vit.config).train(self.vit.training)

    def compile_blocks(self) -> None:
        """Run every block through one compiled function; see :mod:`body4d.runtime.torch_utils`."""
        self._run = torch.compile(block)

    def forward(self, pixels: Tensor) -> Tensor:
        embed, config = self.vit.embeddings, self.vit.config
        cells = patch_linear(pixels.to(embed.cls_token.dtype), embed.patch_embeddings)
        grid, count = cells.shape[1:3], len(cells)
        x = torch.cat([embed.cls_token.expand(count, -1, -1), embed.register_tokens.expand(count, -1, -1), cells.flatten(1, 2)], 1)
        # Only shape and type of what is given here are looked at.
        cos, sin = self.vit.rope_embeddings(torch.empty((1, 1, *pixels.shape[-2:]), device=pixels.device))
        late = torch.zeros_like(x)
        scale = embed.cls_token.flatten()
        run = self._run if count > 1 else block
        if run is not block:  # One compiled version for every batch but a single crop.
            torch._dynamo.mark_dynamic(x, 0)
            torch._dynamo.mark_dynamic(late, 0)
        for layer in self.vit.model.layer:
            weights = weights_of(layer)
            x, late = run(x, late, scale, cos, sin, weights, config.num_attention_heads, config.layer_norm_eps)
            scale = weights.scale2
        first = 1 + REGISTER_TOKENS
        return self.vit.norm(x[:, first:] + late[:, first:] * scale).mT.unflatten(2, grid)


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
        # Place 0 belongs to a class token that the network was started from; its position is added to every patch.
        self.pos_embed = nn.Parameter(torch.zeros(1, grid[0] * grid[1] + 1, sizes.width))
        self.blocks = nn.ModuleList(VitBlock(sizes) for _ in range(sizes.depth))
        self.last_norm = nn.LayerNorm(sizes.width)

    def reset_buffers(self, device: torch.device | str) -> None:
        """Nothing: every tensor of this backbone is in its checkpoint."""

    def compile_blocks(self) -> None:
        """Nothing: this backbone was not measured."""

    def forward(self, pixels: Tensor) -> Tensor:
        pad = VIT_PATCH_PADDING_PX
        # Two pixels in at one side push two out at the other, which no patch sees.
        x = patch_linear(F.pad(pixels.to(self.pos_embed.dtype), (pad, -pad, pad, -pad)), self.patch_embed["proj"])  # type: ignore[arg-type]
        grid = x.shape[1:3]
        x = x.flatten(1, 2) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        for layer in self.blocks:
            x = layer(x)
        return self.last_norm(x).transpose(1, 2).unflatten(2, grid)


def make_backbone(sizes: NetworkSizes) -> DinoBackbone | VitBackbone:
    """The backbone a checkpoint of these sizes was trained with."""
    if sizes.backbone.kind == "dinov3":
        return DinoBackbone(sizes.backbone, sizes.crop_px)
    return VitBackbone(sizes.backbone, sizes.grid)


def normalise(crops: Tensor, side_margin_px: int = 0) -> Tensor:
    """RGB uint8 crops (B, 3, s, s) as the backbone wants them: ImageNet mean and spread, float32, side columns cut off."""
    if side_margin_px:
        crops = crops[..., side_margin_px:-side_margin_px]
    mean, std = (constant(values, crops.device)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    return (crops.float() / 255 - mean) / std
