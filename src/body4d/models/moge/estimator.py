"""MoGe-2 (Wang et al. 2025) as a camera estimator: one focal length for the clip, the median of several frames; and metric depth on them,
where the camera's path needs a length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8

from body4d.camera.intrinsics import choose_focal, focal_warnings, ideal_camera, intrinsics_inputs
from body4d.camera.lens import agree_on_focal, sample_frames
from body4d.config import CameraSettings, ComputeSettings, MogeSettings
from body4d.core.camera import DepthMap
from body4d.core.errors import RunWarning, SettingsError
from body4d.core.stages import CameraOutput, DepthSource, FrameSource, ProgressFn, StageOutput
from body4d.core.types import Camera, Clip
from body4d.models.moge.checkpoint import find_moge, load_moge
from body4d.models.moge.network.camera import focal_and_shift, focal_px, sampled_index, sampled_uv
from body4d.models.moge.network.model import Moge, bytes_per_image
from body4d.runtime.device import (
    AdaptiveBatcher,
    allocated_bytes,
    choose_batch_size,
    choose_device,
    choose_dtype,
    free_memory_bytes,
    release_memory,
)
from body4d.runtime.load_ahead import AheadLoader, has_room_ahead

MAX_BATCH = {"cuda": 8, "mps": 4, "cpu": 1}
"""Frames that go through the network together, by device: one of 3,600 patches fills a CPU, eight fill a large GPU."""

MIN_MASK_PROBABILITY = 0.5
"""Published: points that are less likely to be a surface at all (sky is none) are not used."""

MIN_VALID_SHARE = 0.1
"""A frame in which a smaller share of the sampled points is valid gives no focal length."""


@dataclass(frozen=True)
class FrameGeometry:
    """What a network makes of one frame.

    Attributes:
        focal_px: Focal length in pixels; NaN where the frame gives none.
        points: Points in camera axes, up to a shift along z, at sampled pixels; NaN where there is no surface. Times ``metric_scale`` they
            are in metres. Both are None where the network does not know metres.
    """

    focal_px: float
    points: Float[np.ndarray, "64 64 3"] | None = None
    metric_scale: float | None = None


class FocalEstimator(Protocol):
    """A network that estimates the focal length of single frames, and may know their metric geometry."""

    def look_at(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[FrameGeometry]:
        """What it makes of RGB frames, all of one size."""
        ...

    def bytes_per_frame(self, height_px: int, width_px: int) -> int:
        """Memory that one frame takes on its way through."""
        ...


LoadFocalEstimator = Callable[[torch.device, torch.dtype], FocalEstimator]


class MogeFocalEstimator:
    """A loaded MoGe-2 as a ``FocalEstimator``.

    The encoder works in ``dtype``. Neck and heads need the numbers of a pixel's place in the image, which bfloat16 does not hold: they
    work in float16, as published, where ``dtype`` is a short one, and in float32 elsewhere.
    """

    def __init__(self, network: Moge, settings: MogeSettings, device: torch.device, dtype: torch.dtype) -> None:
        self._head_dtype = torch.float16 if dtype.itemsize == 2 and device.type != "cpu" else torch.float32
        self._network, self._device = network.set_precision(dtype, self._head_dtype), device
        self.num_tokens = network.num_tokens(settings.detail)

    @torch.inference_mode()
    def look_at(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[FrameGeometry]:
        points, mask, metric_scale = self.predict_points(images)
        height, width = images[0].shape[:2]
        focals = [self.fit_focal_px(p, m, height, width) for p, m in zip(points, mask, strict=True)]
        if metric_scale is None:
            return [FrameGeometry(focal) for focal in focals]
        points = np.where((mask > MIN_MASK_PROBABILITY)[..., None], points, np.nan)
        return [FrameGeometry(focal, p, float(scale)) for focal, p, scale in zip(focals, points, metric_scale, strict=True)]

    def predict_points(
        self, images: Sequence[UInt8[np.ndarray, "h w 3"]]
    ) -> tuple[Float[np.ndarray, "f 64 64 3"], Float[np.ndarray, "f 64 64"], Float[np.ndarray, " f"] | None]:
        """Points in space at sampled pixels, the probability that each is a surface at all, and the metres in the points' unit, where the
        checkpoint knows them."""
        batch = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2).float() / 255
        points, mask, metric_scale = self._network.sampled(batch, self.num_tokens)
        return points.cpu().numpy(), mask.cpu().numpy(), None if metric_scale is None else metric_scale.cpu().numpy()

    def fit_focal_px(self, points: Float[np.ndarray, "64 64 3"], mask: Float[np.ndarray, "64 64"], height: int, width: int) -> float:
        """Focal length in pixels of one frame's points, NaN where too few of them are valid."""
        valid = (mask > MIN_MASK_PROBABILITY) & np.isfinite(points).all(-1)
        if valid.mean() < MIN_VALID_SHARE:
            return float("nan")
        focal, _ = focal_and_shift(points[valid], sampled_uv(height, width)[valid])
        return focal_px(focal, width, height)

    def bytes_per_frame(self, height_px: int, width_px: int) -> int:
        grid = self._network.grid(height_px, width_px, self.num_tokens)
        return bytes_per_image(self._network.sizes, *grid, height_px, width_px, self._head_dtype.itemsize)


class MogeCameraEstimator:
    """A ``CameraEstimator``: the median focal length of frames spread over the clip.

    What the user or the file's metadata says about the focal length takes precedence. Only where they say nothing is the network loaded,
    by ``load`` (``moge_from_folder``), and released when done. Where the estimates do not agree on a plausible focal length, the
    default is taken with a warning. Its ``depth`` is what was seen on the way; where nothing was, the network is loaded when it is asked.
    """

    def __init__(self, load: LoadFocalEstimator, camera: CameraSettings, settings: MogeSettings, compute: ComputeSettings) -> None:
        self._load, self._camera, self._settings, self._compute = AheadLoader(load), camera, settings, compute

    @property
    def cache_inputs(self) -> Any:
        return [intrinsics_inputs(self._camera), self._settings.cache_inputs(), self._compute.cache_inputs()]

    def load_ahead(self, clip: Clip) -> None:
        """Begin to load the network, where nobody says the focal length, on GPUs that have room for it beside another one."""
        try:
            source = choose_focal(self._camera, clip.width_px, clip.height_px, clip.focal_mm35)[1]
        except SettingsError:
            return  # The stage says it.
        device = choose_device(self._compute)
        if source == "default" and has_room_ahead(device):
            self._load.begin(device, choose_dtype(self._compute, device, torch.float16))

    def drop_ahead(self) -> None:
        self._load.drop()

    def estimate(self, frames: FrameSource, progress: ProgressFn) -> CameraOutput:
        """The clip's camera. Raises SettingsError where the user's values contradict each other, WeightsError, DeviceError."""
        clip = frames.clip
        focal, source = choose_focal(self._camera, clip.width_px, clip.height_px, clip.focal_mm35)
        if source != "default":
            progress(1, 1)
            camera = ideal_camera(clip, focal, source, self._camera)
            return CameraOutput(camera, focal_warnings(camera), self._depth(frames))
        looks, memory_warning = self._look(frames, progress)
        consensus = agree_on_focal(np.array([look.focal_px for look in looks]), clip.width_px)
        if consensus.focal_px is None:
            camera = ideal_camera(clip, focal, source, self._camera)
        else:
            camera = ideal_camera(clip, consensus.focal_px, "moge", self._camera, consensus.spread)
        warnings = (*focal_warnings(camera), *(w for w in (consensus.warning, memory_warning) if w))
        return CameraOutput(camera, warnings, self._depth(frames, looks))

    def _depth(self, frames: FrameSource, looks: Sequence[FrameGeometry] | None = None) -> DepthSource:
        """Metric depth from what was seen already, or from what the network sees when it is asked."""
        index = sample_frames(len(frames.clip), self._settings.num_frames)

        def measure(camera: Camera, progress: ProgressFn) -> StageOutput[tuple[DepthMap, ...]]:
            seen, warning = (looks, None) if looks is not None else self._look(frames, progress)
            maps = (metric_depth(look, frame, camera) for look, frame in zip(seen, index, strict=True))
            return StageOutput(tuple(one for one in maps if one is not None), (warning,) if warning else ())

        return DepthSource(index, measure)

    def _look(self, frames: FrameSource, progress: ProgressFn) -> tuple[list[FrameGeometry], RunWarning | None]:
        """What the network, loaded for it, makes of frames spread over the clip."""
        device = choose_device(self._compute)
        before = allocated_bytes(device)
        try:
            return self._look_with(device, frames, progress)
        finally:
            release_memory(device, before)

    def _look_with(self, device: torch.device, frames: FrameSource, progress: ProgressFn) -> tuple[list[FrameGeometry], RunWarning | None]:
        clip = frames.clip
        index = sample_frames(len(clip), self._settings.num_frames)
        progress(0, len(index))
        images = [image for _, image in frames.read(index.start, index.stop, index.step)]
        network = self._load(device, choose_dtype(self._compute, device, torch.float16))
        frame_bytes = network.bytes_per_frame(clip.height_px, clip.width_px)
        size = choose_batch_size(free_memory_bytes(device), frame_bytes, self._compute, MAX_BATCH.get(device.type, 1))
        batches = AdaptiveBatcher(size, "frames")

        def run(rows: slice) -> list[FrameGeometry]:
            looks = network.look_at(images[rows])
            progress(rows.stop, len(index))
            return looks

        return list(chain.from_iterable(batches.run(len(images), run))), batches.warning


def metric_depth(look: FrameGeometry, frame: int, camera: Camera) -> DepthMap | None:
    """Depth in metres on a frame of a camera whose focal length is known; None where the network saw too little or knows no metres."""
    if look.points is None or look.metric_scale is None:
        return None
    valid = np.isfinite(look.points).all(-1)
    if valid.mean() < MIN_VALID_SHARE:
        return None
    height, width = camera.height_px, camera.width_px
    focal = float(camera.focal_px_at(np.array([frame]))[0]) / float(np.hypot(width, height) / 2)
    _, shift = focal_and_shift(look.points[valid], sampled_uv(height, width)[valid], focal=focal)
    z_m = np.where(valid, look.points[..., 2].astype(np.float64) + shift, np.nan) * look.metric_scale
    return DepthMap(frame, sampled_index(width) + 0.5, sampled_index(height) + 0.5, np.where(z_m > 0, z_m, np.nan))


def moge_from_folder(path: Path, settings: MogeSettings) -> LoadFocalEstimator:
    """Loads MoGe-2 from a checkpoint's folder or file when called; the WeightsError where there is none is raised at once."""
    file = find_moge(path)
    return lambda device, dtype: MogeFocalEstimator(load_moge(file, device), settings, device, dtype)
