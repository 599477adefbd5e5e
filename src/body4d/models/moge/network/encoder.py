"""DINOv2 (Oquab et al. 2023) as MoGe-2 uses it: an image's patches in, one map of features and the class token out.

Names of modules and tensors are those of the published checkpoint. The position encoding is resized by the factor that the backbone was
trained with, (rows + 0.1) / 37, which shifts it by up to a hundredth of a cell; transformers' Dinov2 resizes to a size and does not fit.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.models.moge.network.config import HEAD_WIDTH, MogeSizes

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
POSITION_OFFSET = 0.1
"""Cells added to the grid's size when the position encoding is resized, as in DINO's published training code."""


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, HEAD_WIDTH)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Dinov2(nn.Module):
    """Normalised pixels (B, 3, 14 rows, 14 columns) to the final-normed tokens (B, 1 + rows columns, width) of chosen blocks."""

    def __init__(self, sizes: MogeSizes) -> None:
        super().__init__()
        self.layers, self.grid = sizes.layers, sizes.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + sizes.grid**2, sizes.width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, sizes.width, sizes.patch_px, stride=sizes.patch_px)})
        self.blocks = nn.ModuleList(Block(sizes.width) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, eps=1e-6)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        patches = self.patch_embed["proj"](pixels)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches.flatten(2).mT], 1)
        x = x + self.positions(*patches.shape[-2:]).to(x.dtype)
        out = []
        for i, block in enumerate(self.blocks[: self.layers[-1] + 1]):
            x = block(x)
            if i in self.layers:
                out.append(self.norm(x))
        return out

    def positions(self, rows: int, cols: int) -> Tensor:
        """Position encoding (1, 1 + rows cols, width) of the class token and of a grid's cells, in float32."""
        table = self.pos_embed.float()
        if rows == cols == self.grid:
            return table
        factors = [(n + POSITION_OFFSET) / self.grid for n in (rows, cols)]
        cells = table[:, 1:].mT.unflatten(2, (self.grid, self.grid))
        cells = F.interpolate(cells, scale_factor=factors, mode="bicubic")
        return torch.cat([table[:, :1], cells.flatten(2).mT], 1)


class Encoder(nn.Module):
    """RGB images (B, 3, H, W) in [0, 1] of any size to a feature map (B, features, rows, cols) and the class token (B, width)."""

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, sizes: MogeSizes) -> None:
        super().__init__()
        self.patch_px = sizes.patch_px
        self.backbone = Dinov2(sizes)
        self.output_projections = nn.ModuleList(nn.Conv2d(sizes.width, sizes.features, 1) for _ in sizes.layers)
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor, rows: int, cols: int) -> tuple[Tensor, Tensor]:
        size = (rows * self.patch_px, cols * self.patch_px)
        pixels = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        pixels = (pixels - self.image_mean.float()) / self.image_std.float()
        tokens = self.backbone(pixels.to(self.backbone.cls_token.dtype))
        maps = [project(x[:, 1:].mT.unflatten(2, (rows, cols))) for project, x in zip(self.output_projections, tokens, strict=True)]
        return torch.stack(maps).sum(0), tokens[-1][:, 0]
