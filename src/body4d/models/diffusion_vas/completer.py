"""Diffusion-VAS (Chen et al. 2024) as an amodal completer: finds who is hidden, and completes them.

There are four steps, each for what the one before has left: masks alone say who may be hidden; the amodal pipeline makes amodal masks of
these; rules on the masks confirm who is hidden; the content pipeline makes images of those. Where nobody may be hidden, no network is
loaded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from body4d.config import ComputeSettings, OcclusionSettings
from body4d.core.errors import DeviceError, RunWarning, distinct_warnings
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import Clip, MaskTrack
from body4d.models.diffusion_vas.amodal_checks import MaskCheck, check_amodal_masks, largest_component
from body4d.models.diffusion_vas.candidates import RowSpan, candidate_spans, padded_runs
from body4d.models.diffusion_vas.crops import CropImages, VideoCrop, group_crops, make_crop, read_crops
from body4d.models.diffusion_vas.depth import depth_from_folder
from body4d.models.diffusion_vas.pipeline import LoadVideoDiffusion, VideoDiffusion, pipeline_from_folder
from body4d.models.diffusion_vas.windows import (
    MAX_GROUP_FRAMES,
    describe_cost,
    spans_to_process,
    split_windows,
    widen,
)
from body4d.runtime.device import (
    AdaptiveBatcher,
    choose_batch_size,
    choose_device,
    choose_dtype,
    free_memory_bytes,
    is_out_of_memory,
    kept,
    release_memory,
)

MASK_THRESHOLD = 0.7843
"""Published: brightness of a generated mask from which on a pixel belongs to the person."""

MAX_READ_BATCH = 8
"""Frames whose depth is estimated together at most, and which are cut together."""


class DepthEstimator(Protocol):
    """A network that estimates relative inverse depth."""

    def inverse_depth(self, images: Sequence[UInt8[np.ndarray, "height width 3"]]) -> Float[Tensor, "f h w"]: ...

    def bytes_per_image(self, height_px: int, width_px: int) -> int: ...


@dataclass(frozen=True)
class VasLoaders:
    """How the networks are loaded: depth, amodal masks, completed images."""

    depth: Callable[[torch.device, torch.dtype], DepthEstimator]
    amodal: LoadVideoDiffusion
    content: LoadVideoDiffusion


@dataclass(frozen=True)
class _CheckedCrop:
    """A crop with its amodal masks, eight cells to a byte, and the verdict on them."""

    crop: VideoCrop
    packed_masks: UInt8[np.ndarray, "f h w8"]
    check: MaskCheck

    def masks(self) -> Bool[np.ndarray, "f h w"]:
        return np.unpackbits(self.packed_masks, axis=-1).astype(bool)


class VasCompleter:
    """An ``AmodalCompleter``. Networks are loaded when they are needed and released when done.

    ``max_group_frames``: frames of crops that are held in memory together.
    """

    def __init__(
        self, loaders: VasLoaders, settings: OcclusionSettings, compute: ComputeSettings, *, max_group_frames: int = MAX_GROUP_FRAMES
    ) -> None:
        self._loaders, self._settings, self._compute, self._max_group_frames = loaders, settings, compute, max_group_frames
        self._warnings: tuple[RunWarning, ...] = ()
        self._cached_spans: tuple[Sequence[MaskTrack], tuple[RowSpan, ...]] | None = None

    @property
    def cache_inputs(self) -> Any:
        return [self._settings.cache_inputs(), self._compute.cache_inputs()]

    def estimate_cost(self, clip: Clip, masks: Sequence[MaskTrack]) -> RunWarning | None:
        """What ``complete`` will look at and how long that is expected to take, None where there is nothing; loads no network."""
        spans = self._spans(clip, masks)
        if not spans:
            return None
        return describe_cost(spans, [len(track) for track in masks], _device_name(choose_device(self._compute)), self._settings)

    def _spans(self, clip: Clip, masks: Sequence[MaskTrack]) -> tuple[RowSpan, ...]:
        """Where somebody may be hidden; computed once for the same masks."""
        if self._cached_spans is None or self._cached_spans[0] is not masks:
            self._cached_spans = masks, candidate_spans(masks, clip.times_s, self._settings, clip.shot_index)
        return self._cached_spans[1]

    def complete(self, frames: FrameSource, masks: Sequence[MaskTrack], progress: ProgressFn) -> StageOutput[tuple[OcclusionSegment, ...]]:
        """Segments in which somebody is hidden, by person, then in time; none, and a warning, where memory does not suffice, unless the
        settings ask for them by ``mode`` "on". Raises WeightsError, DeviceError."""
        self._warnings = ()
        try:
            return self._complete(frames, masks, progress)
        except (DeviceError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        # Outside the handler: the error's frames hold the tensors that must be freed.
        release_memory()
        hint = "Use a GPU with more free memory and --fresh, or smaller occlusion.short_side_px and occlusion.long_side_px."
        if self._settings.mode == "on":
            raise DeviceError(f"Memory does not suffice to complete hidden people ({reason}).", code="out_of_memory", hint=hint)
        message = "Memory does not suffice to complete hidden people; frames in which somebody is hidden are bridged instead."
        return StageOutput((), (*self._warnings, RunWarning("hidden_people_no_memory", message, hint, {"reason": reason})))

    def _complete(self, frames: FrameSource, masks: Sequence[MaskTrack], progress: ProgressFn) -> StageOutput[tuple[OcclusionSegment, ...]]:
        settings, num_rows = self._settings, [len(track) for track in masks]
        spans = self._spans(frames.clip, masks)
        if not spans:
            return StageOutput(())
        processed = spans_to_process(spans, num_rows, settings.window_frames, self._max_group_frames)
        crops = [make_crop(span, masks[span.track], settings) for span in processed]
        num_windows = sum(len(split_windows(len(span), settings.window_frames)) for span in processed)
        # Completing costs at most as much again; how much is known when the amodal masks are.
        steps = _DenoisingProgress(progress, num_windows, settings.num_steps)
        device = choose_device(self._compute)
        # Published in float16 with an image encoder that is raised to float32 for it; in bfloat16 all parts have the range.
        dtype = choose_dtype(self._compute, device, torch.bfloat16)
        checked = self._check_crops(frames, crops, device, dtype, steps)
        hidden = [one for one in checked if one.check.hidden.any()]
        parts = self._crops_to_complete(hidden)
        steps.set_remaining(sum(len(split_windows(len(crop), settings.window_frames)) for crop, _ in parts))
        segments = self._complete_crops(frames, parts, device, dtype, steps) if hidden else []
        steps.finish()
        order = [track.person_id for track in masks]
        ordered = sorted(segments, key=lambda segment: (order.index(segment.person_id), int(segment.frame_index[0])))
        return StageOutput(tuple(ordered), self._warnings)

    def _check_crops(
        self, frames: FrameSource, crops: Sequence[VideoCrop], device: torch.device, dtype: torch.dtype, progress: "_DenoisingProgress"
    ) -> list[_CheckedCrop]:
        """The amodal masks of all crops."""
        amodal: VideoDiffusion | None = None
        try:
            checked = []
            for group in group_crops(crops, self._max_group_frames):
                images = self._read_with_depth(frames, group, device, dtype)
                amodal = amodal or self._loaders.amodal(device, dtype)
                visible = [crop.visible_masks() for crop in group]
                first = torch.cat([_mask_images(torch.from_numpy(masks)) for masks in visible])
                second = torch.cat([_depth_images(torch.stack(one.inverse_depth)) for one in images])
                generated = _generate(amodal, first, second, group, progress)
                checked += [_check_crop(*one) for one in zip(group, visible, generated, strict=True)]
            return checked
        finally:
            self._warnings = (*self._warnings, *(amodal.warnings if amodal else ()))
            del amodal
            release_memory()

    def _read_with_depth(
        self, frames: FrameSource, group: Sequence[VideoCrop], device: torch.device, dtype: torch.dtype
    ) -> list[CropImages]:
        """The images of crops and their inverse depth. The network goes before the next one comes: a card of 8 GB does not hold both at
        work. A second group of crops loads it again, which is little beside the minute that the group takes."""
        depth = self._loaders.depth(device, dtype)
        image_bytes = depth.bytes_per_image(frames.clip.height_px, frames.clip.width_px)
        size = choose_batch_size(free_memory_bytes(device), image_bytes, self._compute, MAX_READ_BATCH)
        batches = AdaptiveBatcher(size, "frames")
        try:

            def inverse_depth(images: Sequence[np.ndarray]) -> Tensor:
                return torch.cat(batches.run(len(images), lambda rows: depth.inverse_depth(images[rows])))

            return read_crops(frames, group, size, inverse_depth)
        finally:
            self._warnings = (*self._warnings, *([batches.warning] if batches.warning else []))
            del depth
            release_memory()

    def _crops_to_complete(self, checked: Sequence[_CheckedCrop]) -> list[tuple[VideoCrop, _CheckedCrop]]:
        """Hidden rows, with as much around them as a window holds."""
        parts = []
        for one in checked:
            runs = [RowSpan(0, first, last) for first, last in padded_runs(one.check.hidden)]
            joined: list[RowSpan] = []
            for span in (widen(run, self._settings.window_frames, 0, len(one.crop)) for run in runs):
                if joined and span.first < joined[-1].last:
                    span = RowSpan(0, joined.pop().first, span.last)
                joined.append(span)
            parts += [(one.crop.rows(span.first, span.last), one) for span in joined]
        return parts

    def _complete_crops(
        self,
        frames: FrameSource,
        parts: Sequence[tuple[VideoCrop, _CheckedCrop]],
        device: torch.device,
        dtype: torch.dtype,
        progress: "_DenoisingProgress",
    ) -> list[OcclusionSegment]:
        content = self._loaders.content(device, dtype)
        try:
            checked_of = {id(crop): one for crop, one in parts}
            segments: list[OcclusionSegment] = []
            for group in group_crops([crop for crop, _ in parts], self._max_group_frames):
                images = read_crops(frames, group, MAX_READ_BATCH)
                checked = [checked_of[id(crop)] for crop in group]
                amodal = [
                    one.masks()[crop.span.first - one.crop.span.first :][: len(crop)] for crop, one in zip(group, checked, strict=True)
                ]
                first = torch.cat(
                    [_visible_on_white(torch.stack(one.images), crop.visible_masks()) for one, crop in zip(images, group, strict=True)]
                )
                second = torch.cat([_mask_images(torch.from_numpy(masks)) for masks in amodal])
                generated = _generate(content, first, second, group, progress)
                for one in zip(group, checked, amodal, generated, strict=True):
                    segments += _segments(*one)
            return segments
        finally:
            self._warnings = distinct_warnings([*self._warnings, *content.warnings])
            del content
            release_memory()


class _DenoisingProgress:
    """Steps of denoising that windows have gone through. The total is an upper bound until ``set_remaining``."""

    def __init__(self, progress: ProgressFn, windows: int, num_steps: int) -> None:
        self._progress, self._num_steps, self._done, self._total = progress, num_steps, 0, 2 * windows * num_steps
        progress(0, self._total)

    def step(self, windows: int) -> None:
        """So many windows have gone through a step."""
        self._done += windows
        self._progress(min(self._done, self._total), self._total)

    def set_remaining(self, windows: int) -> None:
        """So many windows remain."""
        self._total = self._done + windows * self._num_steps

    def finish(self) -> None:
        self._progress(self._total, self._total)


def _generate(
    pipeline: VideoDiffusion, first: Tensor, second: Tensor, group: Sequence[VideoCrop], progress: _DenoisingProgress
) -> list[Tensor]:
    """The generated images of each crop of a group."""
    lengths = [len(crop) for crop in group]
    noise_keys = [key for crop in group for key in crop.noise_keys]
    return list(pipeline.generate(first, second, noise_keys, lengths, progress.step).split(lengths))


def _check_crop(crop: VideoCrop, visible: np.ndarray, generated: Tensor) -> _CheckedCrop:
    """Amodal masks from what was generated (F, 3, h, w); the visible part in place of those that are not credible."""
    amodal = np.stack([largest_component(mask) for mask in (generated.mean(1) > MASK_THRESHOLD).numpy()])
    box, (width, height) = crop.box_px.astype(float), crop.size_px
    scale = (box[2:] - box[:2]) / [width, height]
    frame_size_px = float(crop.track.width_px), float(crop.track.height_px)
    check = check_amodal_masks(visible, amodal, frame_size_px, crop.usual_px, scale, box[:2])
    return _CheckedCrop(crop, np.packbits((amodal & check.credible[:, None, None]) | visible, axis=-1), check)


def _segments(crop: VideoCrop, checked: _CheckedCrop, amodal: np.ndarray, generated: Tensor) -> list[OcclusionSegment]:
    """The segments of one crop, from its amodal masks (F, h, w) and generated images (F, 3, h, w) in [0, 1]."""
    offset = crop.span.first - checked.crop.span.first
    rows = slice(offset, offset + len(crop))
    hidden, share = checked.check.hidden[rows], checked.check.visible_share[rows]
    codes = crop.encode_masks(amodal)
    images = (generated * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return [
        OcclusionSegment(
            person_id=crop.track.person_id,
            frame_index=crop.frame_index[first:last],
            hidden=hidden[first:last],
            visible_share=share[first:last].astype(np.float32),
            codes=codes[first:last],
            height_px=crop.track.height_px,
            width_px=crop.track.width_px,
            box_px=crop.box_px,
            pictures=images[first:last],
        )
        for first, last in padded_runs(hidden)
    ]


def _mask_images(masks: Bool[Tensor, "f h w"]) -> Float[Tensor, "f 3 h w"]:
    """Masks as images, −1 outside and 1 inside."""
    return (masks.float() * 2 - 1)[:, None].expand(-1, 3, -1, -1)


def _depth_images(inverse_depth: Float[Tensor, "f h w"]) -> Float[Tensor, "f 3 h w"]:
    """The inverse depth of one video as images in [-1, 1]."""
    low, high = inverse_depth.min(), inverse_depth.max()
    return ((inverse_depth - low) / (high - low).clamp_min(1e-8) * 2 - 1)[:, None].expand(-1, 3, -1, -1)


def _visible_on_white(images: UInt8[Tensor, "f 3 h w"], visible: Bool[np.ndarray, "f h w"]) -> Float[Tensor, "f 3 h w"]:
    """Images in [-1, 1], white where the person is not visible."""
    return torch.where(torch.from_numpy(visible)[:, None], images.float() / 127.5 - 1, torch.ones(()))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"this {device.type}"


def vas_from_folders(amodal: Path, content: Path, depth: Path, settings: OcclusionSettings, compute: ComputeSettings) -> VasLoaders:
    """The networks in their checkpoints' folders; the WeightsError where one is missing is raised at once, before any work."""
    return VasLoaders(
        kept(depth_from_folder(depth, swap_channels=settings.upstream_exact), compute),
        kept(pipeline_from_folder(amodal, 0, settings, compute), compute),
        kept(pipeline_from_folder(content, 1, settings, compute), compute),
    )
