"""Depth-Anything-V2 (Yang et al. 2024): how near each place of a picture is, beside its other places. Through transformers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from body4d.models.diffusion_vas.checkpoint import find_depth_anything, load_depth_anything

SHORT_SIDE_PX, PATCH_PX = 518, 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DepthAnything:
    """A loaded network. ``swapped`` shows it red for blue, as the published completion does by a slip."""

    def __init__(self, net: nn.Module, device: torch.device, dtype: torch.dtype, *, swapped: bool) -> None:
        self._net, self._device, self._dtype, self._swapped = net, device, dtype, swapped

    @torch.inference_mode()
    def nearness(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Nearness (F, h, w), float32, of pictures (H, W, 3) RGB uint8 of one size; larger is nearer, without a unit."""
        images = torch.from_numpy(np.stack(pictures)).to(self._device).permute(0, 3, 1, 2).float() / 255
        if self._swapped:
            images = images.flip(1)
        size = network_size(*images.shape[2:])
        images = functional.interpolate(images, size=size, mode="bicubic", antialias=min(images.shape[2:]) > SHORT_SIDE_PX)
        mean, std = (torch.tensor(v, device=self._device).view(1, 3, 1, 1) for v in (MEAN, STD))
        return self._net(((images - mean) / std).to(self._dtype)).predicted_depth.float()

    def bytes_each(self, height_px: int, width_px: int) -> int:
        """Memory one picture takes on its way through: its tokens, and the maps of the head."""
        height, width = network_size(height_px, width_px)
        return height_px * width_px * 12 + height * width * 600


def network_size(height_px: int, width_px: int) -> tuple[int, int]:
    """Height and width the network sees a picture at: the shorter side at least 518, in whole patches."""
    factor = SHORT_SIDE_PX / min(height_px, width_px)
    sides = [max(round(side * factor / PATCH_PX), 1) * PATCH_PX for side in (height_px, width_px)]
    return max(sides[0], SHORT_SIDE_PX), max(sides[1], SHORT_SIDE_PX)


def depth_in(place: Path, *, swapped: bool) -> Callable[[torch.device, torch.dtype], DepthAnything]:
    """Loads the network from a checkpoint's folder; WeightsError where there is none is raised at once."""
    folder = find_depth_anything(place)
    return lambda device, dtype: DepthAnything(load_depth_anything(folder, device, dtype), device, dtype, swapped=swapped)
