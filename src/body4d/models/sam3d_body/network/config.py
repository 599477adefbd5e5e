"""Sizes of the network, and how they follow from the shapes of a checkpoint's tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

HEAD_WIDTH = 64
"""Width of one attention head in the DINOv3 backbones and in both decoders."""

VIT_HEADS = 16
"""Heads of the ViT-H backbone (80 wide): the one size its checkpoint exists in."""

WARP_BYTES_PER_PX = 100
"""Memory for each pixel of a crop while it is cut out: indices, weights, and four taps of three channels."""


@dataclass(frozen=True)
class BackboneSizes:
    """The image backbone. "dinov3" takes square crops; "vit", ViTPose's ViT, takes the middle three quarters of a crop's width."""

    kind: Literal["dinov3", "vit"]
    width: int
    depth: int
    heads: int
    hidden: int


@dataclass(frozen=True)
class NetworkSizes:
    """Everything in which checkpoints differ."""

    backbone: BackboneSizes
    decoder_width: int
    decoder_depth: int
    decoder_attention: int
    decoder_hidden: int
    crop_px: int = 512
    patch_px: int = 16

    @property
    def side_margin_px(self) -> int:
        """Columns that are cut off at either side of the crop before the backbone."""
        return self.crop_px // 8 if self.backbone.kind == "vit" else 0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the feature map."""
        return self.crop_px // self.patch_px, (self.crop_px - 2 * self.side_margin_px) // self.patch_px

    def bytes_per_crop(self, itemsize: int, *, hands: bool) -> int:
        """Most memory that one person in one frame takes in the network, with ``itemsize`` bytes per number in the large products.

        The peak is in an uncompiled block's feed-forward layer. With hands, two crops go through it while the body's keys and values
        are kept. The figure is within 3 % of the measurement on an H100 at full size; in a small network the peak is in cutting crops.
        """
        rows, columns = self.grid
        cells, net = rows * columns, self.backbone
        block = max((cells + 5) * (4 * net.hidden + 8 * net.width) * itemsize, WARP_BYTES_PER_PX * self.crop_px**2)
        context = 2 * self.decoder_depth * cells * self.decoder_attention * itemsize
        return 2 * block + context if hands else block


def sizes_from_shapes(shapes: Mapping[str, tuple[int, ...]]) -> NetworkSizes:
    """Sizes of the network that an official checkpoint's keys and shapes belong to. Raises KeyError with the key that is missing."""
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
