"""MoGe-2 (Wang et al. 2025) in the seat of the CameraEstimator: one lens for the clip, of several frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from body4d.camera.estimator import EstimatedCamera, Load
from body4d.config import CameraSettings, ComputeSettings, MogeSettings
from body4d.models.moge.checkpoint import find_moge, load_moge
from body4d.models.moge.network.camera import focal_and_shift, focal_px, sampled_uv
from body4d.models.moge.network.model import Moge, bytes_per_picture

_MOST = {"cuda": 8, "mps": 4, "cpu": 1}
"""Pictures at once at most: one of 3,600 patches fills a CPU, eight fill a large GPU."""


class MogeLens:
    """A loaded network, asked for focal lengths. Lives on ``device``; its encoder works in ``dtype``, neck and heads in the numbers their
    places in the picture need: half precision as published where ``dtype`` is a short one, float32 elsewhere."""

    def __init__(self, net: Moge, settings: MogeSettings, device: torch.device, dtype: torch.dtype) -> None:
        self._stacks = torch.float16 if dtype.itemsize == 2 and device.type != "cpu" else torch.float32
        self._net, self._settings, self._device = net.set_precision(dtype, self._stacks), settings, device
        self._tokens = net.tokens_of(settings.detail)

    @torch.inference_mode()
    def focals_px(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Focal lengths (F,) in pixels of pictures (H, W, 3) RGB uint8 of one size; NaN where too little of a picture is anything."""
        points, mask = self.look(pictures)
        height, width = pictures[0].shape[:2]
        return np.array([self.solve(p, m, height, width) for p, m in zip(points, mask, strict=True)])

    def look(self, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Points (F, 64, 64, 3) and mask (F, 64, 64) that the network sees."""
        images = torch.from_numpy(np.stack(pictures)).to(self._device).permute(0, 3, 1, 2).float() / 255
        points, mask = self._net.sampled(images, self._tokens)
        return points.cpu().numpy(), mask.cpu().numpy()

    def solve(self, points: np.ndarray, mask: np.ndarray, height: int, width: int) -> float:
        """Focal length in pixels of one picture's points, or NaN."""
        sure = (mask > self._settings.mask_least) & np.isfinite(points).all(-1)
        if sure.mean() < self._settings.points_least_share:
            return float("nan")
        focal, _ = focal_and_shift(points[sure], sampled_uv(height, width)[sure], self._settings.solver_tolerance)
        return focal_px(focal, width, height)

    def bytes_each(self, height_px: int, width_px: int) -> int:
        """Memory one picture takes on its way through."""
        grid = self._net.grid(height_px, width_px, self._tokens)
        return bytes_per_picture(self._net.sizes, *grid, height_px, width_px, self._stacks.itemsize)


class MogeCamera(EstimatedCamera):
    """MoGe-2 as a camera estimator; ``load`` is :func:`moge_in` of a checkpoint's place."""

    def __init__(self, load: Load, camera: CameraSettings, moge: MogeSettings, compute: ComputeSettings) -> None:
        super().__init__(load, "moge", camera, moge, compute, _MOST)


def moge_in(place: Path, settings: MogeSettings) -> Load:
    """Loads MoGe-2 from a checkpoint's folder or file; WeightsError where there is none is raised at once, before any work."""
    file = find_moge(place)
    return lambda device, dtype: MogeLens(load_moge(file, device), settings, device, dtype)
