"""The camera as a network sees it in a few frames of the clip, asked only where nothing more certain tells the lens."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from body4d.camera.intrinsics import choose_focal, ideal_camera
from body4d.camera.lens import agree_on_lens, spread_frames
from body4d.config import CameraSettings, ComputeSettings, MogeSettings
from body4d.core.stages import FrameSource, ProgressFn
from body4d.core.types import Camera
from body4d.runtime.device import AdaptiveBatcher, choose_batch_size, choose_device, choose_dtype, free_memory_bytes, release_memory


class LensFinder(Protocol):
    """A network that tells the focal length of single pictures."""

    def focals_px(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Focal lengths (F,) in pixels of pictures (H, W, 3) RGB uint8, all of one size; NaN where a picture tells none."""
        ...

    def bytes_each(self, height_px: int, width_px: int) -> int:
        """Memory one picture takes on its way through."""
        ...


Load = Callable[[torch.device, torch.dtype], LensFinder]


class EstimatedCamera:
    """A :class:`~body4d.core.stages.CameraEstimator`: median of what ``load``'s network says of frames spread over the clip.

    Precedence: ``fov_deg``, ``focal_mm35``, the file's metadata; only then is the network loaded and asked, and let go when done. Where
    its answers belong to no lens, the default is taken and ``notes`` says so.
    """

    def __init__(
        self, load: Load, source: str, camera: CameraSettings, lens: MogeSettings, compute: ComputeSettings, most: dict[str, int]
    ) -> None:
        self._load, self._source, self._camera, self._lens, self._compute, self._most = load, source, camera, lens, compute, most
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about the last ``estimate``."""
        return self._notes

    def estimate(self, frames: FrameSource, report: ProgressFn) -> Camera:
        """The clip's camera. Raises SettingsError where the user's values contradict each other, WeightsError, DeviceError."""
        clip, self._notes = frames.clip, ()
        focal_px, source = choose_focal(self._camera, clip.width_px, clip.height_px, clip.focal_mm35)
        if source != "default":
            report(1, 1)
            return ideal_camera(clip, focal_px, source, self._camera)
        try:
            focals, note = self._ask(frames, report)
        finally:
            release_memory()
        lens = agree_on_lens(focals, clip.width_px, self._lens)
        self._notes = tuple(sentence for sentence in (lens.note, note) if sentence)
        if lens.focal_px is None:
            return ideal_camera(clip, focal_px, source, self._camera)
        return ideal_camera(clip, lens.focal_px, self._source, self._camera, lens.spread)

    def _ask(self, frames: FrameSource, report: ProgressFn) -> tuple[np.ndarray, str]:
        clip, device = frames.clip, choose_device(self._compute)
        index = spread_frames(len(clip), self._lens.frames)
        report(0, len(index))
        pictures = [picture for _, picture in frames.read(index.start, index.stop, index.step)]
        finder = self._load(device, choose_dtype(self._compute, device))
        each = finder.bytes_each(clip.height_px, clip.width_px)
        batches = AdaptiveBatcher(
            choose_batch_size(free_memory_bytes(device), each, self._compute, self._most.get(device.type, 1)), "frames"
        )

        def work(rows: slice) -> np.ndarray:
            out = finder.focals_px(pictures[rows])
            report(rows.stop, len(index))
            return out

        return np.concatenate(batches.run(len(pictures), work)), batches.note
