"""Sizes of the network, read off the shapes of a checkpoint."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

HEAD_WIDTH = 64
"""Width of one attention head in the DINOv3 backbones and in both decoders."""

VIT_HEADS = 16
"""Heads of the ViT-H backbone (80 wide): the one size its checkpoint exists in."""

CUT_BYTES_PER_PX = 100
"""Indices, weights and four taps of three channels for each pixel of a crop while it is cut out."""


@dataclass(frozen=True)
class BackboneSizes:
    """``kind`` dinov3: square crops. ``kind`` vit: ViTPose's ViT, which sees the middle three quarters of the crop's width."""

    kind: Literal["dinov3", "vit"]
    width: int
    depth: int
    heads: int
    hidden: int


@dataclass(frozen=True)
class NetworkSizes:
    """Everything that differs between checkpoints; all else is the same in every one of them."""

    backbone: BackboneSizes
    decoder_width: int
    decoder_depth: int
    decoder_attention: int
    decoder_hidden: int
    crop_px: int = 512
    patch_px: int = 16

    @property
    def side_margin_px(self) -> int:
        """Columns cut off at either side of the crop before the backbone."""
        return self.crop_px // 8 if self.backbone.kind == "vit" else 0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the feature map."""
        return self.crop_px // self.patch_px, (self.crop_px - 2 * self.side_margin_px) // self.patch_px

    def bytes_per_crop(self, itemsize: int, *, hands: bool) -> int:
        """Memory one person of one frame takes at most in the network, with ``itemsize`` bytes a number in its large products.

        The widest place is a block's feed-forward, uncompiled; with hands there are two crops of them, and the body's keys and values
        wait. Within 3 % of what an H100 measured at full size; what a crop is cut with counts where the network is small.
        """
        rows, columns = self.grid
        cells, net = rows * columns, self.backbone
        block = max((cells + 5) * (4 * net.hidden + 8 * net.width) * itemsize, CUT_BYTES_PER_PX * self.crop_px**2)
        context = 2 * self.decoder_depth * cells * self.decoder_attention * itemsize
        return 2 * block + context if hands else block


def sizes_from_shapes(shapes: Mapping[str, tuple[int, ...]]) -> NetworkSizes:
    """Sizes of the network an official checkpoint's keys and shapes belong to. Raises KeyError naming a key that is missing."""
    dinov3 = "backbone.encoder.cls_token" in shapes
    prefix = "backbone.encoder." if dinov3 else "backbone."
    width = shapes[prefix + "patch_embed.proj.weight"][0]
    backbone = BackboneSizes(
        kind="dinov3" if dinov3 else "vit",
        width=width,
        depth=_count(shapes, re.escape(prefix) + r"blocks\.(\d+)\."),
        heads=width // HEAD_WIDTH if dinov3 else VIT_HEADS,
        hidden=shapes[prefix + ("blocks.0.mlp.w1.weight" if dinov3 else "blocks.0.mlp.fc1.weight")][0],
    )
    return NetworkSizes(
        backbone=backbone,
        decoder_width=shapes["decoder.norm_final.weight"][0],
        decoder_depth=_count(shapes, r"decoder\.layers\.(\d+)\."),
        decoder_attention=shapes["decoder.layers.0.self_attn.q_proj.weight"][0],
        decoder_hidden=shapes["decoder.layers.0.ffn.layers.0.0.weight"][0],
    )


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    found = [int(m.group(1)) for m in (re.match(pattern, key) for key in shapes) if m]
    return max(found) + 1 if found else 0
