"""Prompts: a mask added to the feature map, keypoints as tokens, and the position encoding of both."""

import itertools
import math

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.core.joints import Mhr70
from body4d.models.sam3d_body.network.layers import ChannelNorm, patch_linear
from body4d.runtime.torch_utils import float32_matmul

NUM_KEYPOINTS = len(Mhr70)
NO_PROMPT = -2
"""Label of an empty keypoint prompt."""
WRONG_POINT = -1
"""Label of a point that belongs to no keypoint."""


class FourierPosition(nn.Module):
    """Position encoding by random Fourier features (Segment Anything, Kirillov et al. 2023)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(2, width // 2))

    def forward(self, xy: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch width"]:
        """The encoding of positions in [0, 1] x [0, 1]."""
        angle = 2 * math.pi * float32_matmul(2 * xy - 1, self.matrix)
        return torch.cat([angle.sin(), angle.cos()], -1)

    def of_grid(self, grid: tuple[int, int]) -> Float[Tensor, "cells width"]:
        """The encoding of a feature map's cells, row by row. A map narrower than high is the middle part of a square one."""
        rows, columns = grid
        centre = (torch.arange(rows, device=self.matrix.device, dtype=torch.float32) + 0.5) / rows
        margin = (rows - columns) // 2
        y, x = torch.meshgrid(centre, centre[margin : rows - margin], indexing="ij")
        return self(torch.stack([x, y], -1)).flatten(0, 1)


class MaskPrompt(nn.Module):
    """Embeds a crop's mask at the feature map's size and width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (1, 4, 16, 64, 256)
        pairs = list(itertools.pairwise(channels))
        self.convs = nn.ModuleList(nn.Conv2d(a, b, kernel_size=2, stride=2) for a, b in pairs)
        self.norms = nn.ModuleList(ChannelNorm(b) for _, b in pairs)
        self.out = nn.Conv2d(channels[-1], width, kernel_size=1)

    def forward(self, mask: Float[Tensor, "b 1 crop crop"]) -> Float[Tensor, "b width rows columns"]:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            mask = F.gelu(norm(patch_linear(mask, conv))).movedim(-1, 1)  # type: ignore[arg-type]
        return patch_linear(mask, self.out).movedim(-1, 1)


class PromptEncoder(nn.Module):
    """Encodes all prompts of the body decoder; the hand decoder shares it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.position = FourierPosition(width)
        self.keypoints = nn.Parameter(torch.zeros(NUM_KEYPOINTS, width))
        self.wrong_point = nn.Parameter(torch.zeros(1, width))
        self.no_prompt = nn.Parameter(torch.zeros(1, width))
        self.mask = MaskPrompt(width)
        self.no_mask = nn.Parameter(torch.zeros(1, width))

    def embed_keypoints(self, prompts: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n width"]:
        """Embeddings of keypoint prompts: x and y in [0, 1] of the crop, and a label, which is a keypoint, NO_PROMPT or WRONG_POINT.

        All labels are looked up in one table: there is no loop over labels, and nothing waits for the device.
        """
        label = prompts[..., 2].long()
        table = torch.cat([self.no_prompt, self.wrong_point, self.keypoints])
        position = self.position(prompts[..., :2]) * (label >= 0)[..., None]
        return position + table[label - NO_PROMPT]

    def add_mask(
        self,
        features: Float[Tensor, "b width rows columns"],
        mask: Num[Tensor, "b 1 crop crop"] | None,
        score: Float[Tensor, " b"] | None,
        side_margin_px: int,
    ) -> Float[Tensor, "b width rows columns"]:
        """Features plus the embedded mask. ``mask`` has values from 0 to 255; ``score`` is 0 where a crop has no mask."""
        no_mask = self.no_mask[..., None, None]
        if mask is None or score is None:
            return features + no_mask.to(features.dtype)
        score = score[:, None, None, None]
        embedded = self.mask(mask.float())
        cells = side_margin_px * features.shape[-2] // mask.shape[-1]
        if cells:
            embedded = embedded[..., cells:-cells]
        return features + torch.where(score > 0, score * embedded, no_mask).to(features.dtype)
