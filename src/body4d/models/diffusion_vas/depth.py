"""Depth-Anything-V2 (Yang et al. 2024), through transformers: relative inverse depth of single images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from body4d.models.diffusion_vas.checkpoint import find_depth_anything, load_depth_anything

SHORT_SIDE_PX, PATCH_PX = 518, 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DepthAnything:
    """A loaded network. ``swap_channels`` shows it red for blue, as the published completion does by a slip."""

    def __init__(self, net: nn.Module, device: torch.device, dtype: torch.dtype, *, swap_channels: bool) -> None:
        self.net, self._device, self._dtype, self._swap_channels = net, device, dtype, swap_channels

    @torch.inference_mode()
    def inverse_depth(self, images: Sequence[UInt8[np.ndarray, "height width 3"]]) -> Float[Tensor, "f h w"]:
        """Relative inverse depth of RGB images of one size: larger is nearer, without a unit."""
        batch = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2).float() / 255
        if self._swap_channels:
            batch = batch.flip(1)
        size = input_size_px(*batch.shape[2:])
        batch = functional.interpolate(batch, size=size, mode="bicubic", antialias=min(batch.shape[2:]) > SHORT_SIDE_PX)
        mean, std = (torch.tensor(v, device=self._device).view(1, 3, 1, 1) for v in (MEAN, STD))
        return self.net(((batch - mean) / std).to(self._dtype)).predicted_depth.float()

    def bytes_per_image(self, height_px: int, width_px: int) -> int:
        """Memory that one image takes on its way through: its tokens, and the maps of the head."""
        height, width = input_size_px(height_px, width_px)
        return height_px * width_px * 12 + height * width * 600


def input_size_px(height_px: int, width_px: int) -> tuple[int, int]:
    """Height and width at which the network sees an image: the shorter side at least 518, both in whole patches."""
    factor = SHORT_SIDE_PX / min(height_px, width_px)
    sides = [max(round(side * factor / PATCH_PX), 1) * PATCH_PX for side in (height_px, width_px)]
    return max(sides[0], SHORT_SIDE_PX), max(sides[1], SHORT_SIDE_PX)


def depth_from_folder(folder: Path, *, swap_channels: bool) -> Callable[[torch.device, torch.dtype], DepthAnything]:
    """Loads the network from a checkpoint's folder when called; the WeightsError where there is none is raised at once."""
    folder = find_depth_anything(folder)
    return lambda device, dtype: DepthAnything(load_depth_anything(folder, device, dtype), device, dtype, swap_channels=swap_channels)
