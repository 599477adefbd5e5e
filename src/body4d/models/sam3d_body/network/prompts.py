"""Prompts: a mask laid over the feature map, keypoints as tokens, and the positions of both."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.models.sam3d_body.network.layers import ChannelNorm, patch_linear
from body4d.runtime.torch_utils import float32_matmul

KEYPOINTS = 70
NO_PROMPT = -2
"""Label of a keypoint prompt that says nothing."""
WRONG_POINT = -1
"""Label of a point that belongs to no keypoint."""


class FourierPosition(nn.Module):
    """Random Fourier features of places in [0, 1] x [0, 1] (Segment Anything, Kirillov et al. 2023)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(2, width // 2))

    def forward(self, xy: Tensor) -> Tensor:
        """Features (..., width) of places (..., 2)."""
        angle = 2 * math.pi * float32_matmul(2 * xy - 1, self.matrix)
        return torch.cat([angle.sin(), angle.cos()], -1)

    def of_grid(self, grid: tuple[int, int]) -> Tensor:
        """Features (rows * columns, width) of a feature map's cells. A map narrower than high is the middle of a square one."""
        rows, columns = grid
        middle = (torch.arange(rows, device=self.matrix.device, dtype=torch.float32) + 0.5) / rows
        cut = (rows - columns) // 2
        y, x = torch.meshgrid(middle, middle[cut : rows - cut], indexing="ij")
        return self(torch.stack([x, y], -1)).flatten(0, 1)


class MaskPrompt(nn.Module):
    """A crop's mask (B, 1, s, s) brought to the feature map's size and width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (1, 4, 16, 64, 256)
        pairs = list(itertools.pairwise(channels))
        self.convs = nn.ModuleList(nn.Conv2d(a, b, kernel_size=2, stride=2) for a, b in pairs)
        self.norms = nn.ModuleList(ChannelNorm(b) for _, b in pairs)
        self.out = nn.Conv2d(channels[-1], width, kernel_size=1)

    def forward(self, mask: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            mask = F.gelu(norm(patch_linear(mask, conv))).movedim(-1, 1)  # type: ignore[arg-type]
        return patch_linear(mask, self.out).movedim(-1, 1)


class PromptEncoder(nn.Module):
    """All prompts of the body decoder; the hand decoder shares it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.position = FourierPosition(width)
        self.keypoints = nn.Parameter(torch.zeros(KEYPOINTS, width))
        self.wrong_point = nn.Parameter(torch.zeros(1, width))
        self.no_prompt = nn.Parameter(torch.zeros(1, width))
        self.mask = MaskPrompt(width)
        self.no_mask = nn.Parameter(torch.zeros(1, width))

    def embed_keypoints(self, prompts: Tensor) -> Tensor:
        """Prompts (B, n, 3), x and y in [0, 1] of the crop and a label, as (B, n, width).

        One table holds every label, looked up in one step: no loop over labels, nothing waits for the device.
        """
        label = prompts[..., 2].long()
        table = torch.cat([self.no_prompt, self.wrong_point, self.keypoints])
        position = self.position(prompts[..., :2]) * (label >= 0)[..., None]
        return position + table[label - NO_PROMPT]

    def add_mask(self, features: Tensor, mask: Tensor | None, score: Tensor | None, side_margin_px: int) -> Tensor:
        """Features (B, C, h, w) plus the mask's. ``mask`` (B, 1, s, s) has values 0 to 255, ``score`` (B,) 0 where there is none."""
        nothing = self.no_mask[..., None, None]
        if mask is None or score is None:
            return features + nothing.to(features.dtype)
        score = score[:, None, None, None]
        embedded = self.mask(mask.float())
        cells = side_margin_px * features.shape[-2] // mask.shape[-1]
        if cells:
            embedded = embedded[..., cells:-cells]
        return features + torch.where(score > 0, score * embedded, nothing).to(features.dtype)
