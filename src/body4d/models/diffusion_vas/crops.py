"""What the networks see of a person: their surroundings over a span, cut from frames that are read once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from body4d.config import OcclusionSettings
from body4d.core.stages import FrameSource
from body4d.core.types import MaskTrack
from body4d.models.diffusion_vas.candidates import USUAL_QUANTILE, RowSpan
from body4d.models.diffusion_vas.pipeline import NoiseKey

REGION_PADDING = 1.4
"""The region around a person, as a factor of the box that holds them over the span. Published: the whole frame, which shows the person
smaller; which of the two is better is not known."""


@dataclass(frozen=True)
class VideoCrop:
    """One person over the rows ``span`` of their track, in the region ``box_px`` of the frame, resized to ``size_px`` (width, height).

    ``usual_px`` are the person's usual width and height in the frame.
    """

    span: RowSpan
    track: MaskTrack
    box_px: Int[np.ndarray, "4"]
    size_px: tuple[int, int]
    usual_px: tuple[float, float]

    def __len__(self) -> int:
        return len(self.span)

    @property
    def frame_index(self) -> Int[np.ndarray, " f"]:
        return self.track.frame_index[self.span.first : self.span.last]

    @property
    def noise_keys(self) -> list[NoiseKey]:
        return [(self.track.person_id, int(frame)) for frame in self.frame_index]

    def rows(self, first: int, last: int) -> "VideoCrop":
        """Rows ``first`` to ``last`` of this crop."""
        span = RowSpan(self.span.track, self.span.first + first, self.span.first + last)
        return VideoCrop(span, self.track, self.box_px, self.size_px, self.usual_px)

    def visible_masks(self) -> Bool[np.ndarray, "f h w"]:
        """The masks of what is visible of the person."""
        x0, y0, x1, y1 = self.box_px.tolist()
        masks = np.stack([self.track.mask(row)[y0:y1, x0:x1] for row in range(self.span.first, self.span.last)])
        return (resize(torch.from_numpy(masks)[:, None].float(), self.size_px) > 0.5)[:, 0].numpy()

    def encode_masks(self, masks: Bool[np.ndarray, "f h w"]) -> tuple[bytes, ...]:
        """COCO codes, at the clip's size, of masks in the region."""
        x0, y0, x1, y1 = self.box_px.tolist()
        full_size = resize(torch.from_numpy(masks)[:, None].float(), (x1 - x0, y1 - y0))[:, 0].numpy() > 0.5
        codes = []
        for mask in full_size:
            frame = np.zeros((self.track.height_px, self.track.width_px), bool)
            frame[y0:y1, x0:x1] = mask
            codes.append(MaskTrack.encode(frame))
        return tuple(codes)


def make_crop(span: RowSpan, track: MaskTrack, settings: OcclusionSettings) -> VideoCrop:
    """The crop of one span of a person's track."""
    boxes, frame_size_px = track.boxes_px(), (track.width_px, track.height_px)
    usual_px = usual_size_px(boxes)
    size_px = crop_size_px(frame_size_px, settings)
    region = crop_region(boxes[span.first : span.last], usual_px, frame_size_px, size_px)
    return VideoCrop(span, track, region, size_px, usual_px)


def usual_size_px(boxes_px: Float[np.ndarray, "t 4"]) -> tuple[float, float]:
    """A person's usual width and height, from the boxes of their masks; zero boxes do not count."""
    visible = boxes_px[boxes_px[:, 2] > boxes_px[:, 0]]
    if len(visible) == 0:
        return 0.0, 0.0
    width, height = np.quantile(visible[:, 2:] - visible[:, :2], USUAL_QUANTILE, axis=0)
    return float(width), float(height)


def crop_size_px(frame_size_px: tuple[int, int], settings: OcclusionSettings) -> tuple[int, int]:
    """Width and height at which the networks see crops of a frame (width, height): the longer side lies as the frame's does."""
    sides = (settings.long_side_px, settings.short_side_px)
    return sides if frame_size_px[0] >= frame_size_px[1] else (sides[1], sides[0])


def crop_region(
    boxes_px: Float[np.ndarray, "f 4"], usual_px: tuple[float, float], frame_size_px: tuple[int, int], crop_size_px: tuple[int, int]
) -> Int[np.ndarray, "4"]:
    """The part of a frame, in whole pixels, that holds a person's whole body on all rows of ``boxes_px``.

    Sizes are (width, height). The region has the aspect ratio of ``crop_size_px`` where the frame is large enough, so that nothing is
    squashed.
    """
    visible = boxes_px[(boxes_px[:, 2] > boxes_px[:, 0])]
    if len(visible) == 0:
        return np.array([0, 0, *frame_size_px])
    # What is hidden may lie on either side of what is visible.
    missing = np.maximum(np.array(usual_px) - (visible[:, 2:] - visible[:, :2]), 0)
    low, high = (visible[:, :2] - missing).min(0), (visible[:, 2:] + missing).max(0)
    size = (high - low) * REGION_PADDING
    across, down = crop_size_px
    size = np.maximum(size, [size[1] * across / down, size[0] * down / across])
    side = np.minimum(np.ceil(size), frame_size_px)
    start = np.clip(np.rint((low + high - side) / 2), 0, np.array(frame_size_px) - side)
    return np.concatenate([start, start + side]).astype(int)


def resize(images: Float[Tensor, "f c h w"], size_px: tuple[int, int]) -> Float[Tensor, "f c height width"]:
    """Images at ``size_px`` (width, height), averaged where they shrink."""
    return functional.interpolate(images, size=(size_px[1], size_px[0]), mode="bilinear", antialias=True)


def group_crops(crops: Sequence[VideoCrop], max_frames: int) -> Iterator[list[VideoCrop]]:
    """Crops in order of time, so many together that at most ``max_frames`` frames are held, or one crop."""
    group: list[VideoCrop] = []
    for crop in sorted(crops, key=lambda one: (int(one.frame_index[0]), one.span.track)):
        if group and sum(map(len, group)) + len(crop) > max_frames:
            yield group
            group = []
        group.append(crop)
    if group:
        yield group


@dataclass
class CropImages:
    """Images of one crop, frame by frame, and the relative inverse depth where it was asked for."""

    images: list[UInt8[Tensor, "3 h w"]] = field(default_factory=list)
    inverse_depth: list[Float[Tensor, "h w"]] = field(default_factory=list)


InverseDepthFn = Callable[[Sequence[np.ndarray]], Tensor]


def read_crops(
    frames: FrameSource, crops: Sequence[VideoCrop], batch_size: int, inverse_depth: InverseDepthFn | None = None
) -> list[CropImages]:
    """The images of all crops, for which each frame is read once; depth is estimated on ``batch_size`` frames at a time."""
    crops_of_frame: dict[int, list[int]] = {}
    for i, crop in enumerate(crops):
        for frame in crop.frame_index.tolist():
            crops_of_frame.setdefault(frame, []).append(i)
    out = [CropImages() for _ in crops]
    batch: list[tuple[int, np.ndarray]] = []
    for frame, image in frames.read(min(crops_of_frame), max(crops_of_frame) + 1):
        if frame in crops_of_frame:
            batch.append((frame, image))
        if len(batch) >= batch_size:
            _cut(batch, crops_of_frame, crops, out, inverse_depth)
            batch = []
    if batch:
        _cut(batch, crops_of_frame, crops, out, inverse_depth)
    return out


def _cut(
    batch: Sequence[tuple[int, np.ndarray]],
    crops_of_frame: dict[int, list[int]],
    crops: Sequence[VideoCrop],
    out: Sequence[CropImages],
    inverse_depth: InverseDepthFn | None,
) -> None:
    depth = inverse_depth([image for _, image in batch]).cpu() if inverse_depth else None
    for row, (frame, image) in enumerate(batch):
        for i in crops_of_frame[frame]:
            crop = crops[i]
            x0, y0, x1, y1 = crop.box_px.tolist()
            part = torch.from_numpy(np.ascontiguousarray(image[y0:y1, x0:x1])).permute(2, 0, 1)[None].float()
            out[i].images.append(resize(part, crop.size_px)[0].round().clamp(0, 255).byte())
            if depth is not None:
                out[i].inverse_depth.append(_sample_region(depth[row], crop.box_px, image.shape[:2], crop.size_px))


def _sample_region(values: Tensor, box_px: np.ndarray, frame_shape: tuple[int, ...], size_px: tuple[int, int]) -> Tensor:
    """A region of values (h, w) that cover a whole frame (height, width), sampled at ``size_px``."""
    height, width = frame_shape
    x = (torch.arange(size_px[0]) + 0.5) / size_px[0] * float(box_px[2] - box_px[0]) + float(box_px[0])
    y = (torch.arange(size_px[1]) + 0.5) / size_px[1] * float(box_px[3] - box_px[1]) + float(box_px[1])
    grid = torch.stack(torch.meshgrid(2 * y / height - 1, 2 * x / width - 1, indexing="ij")[::-1], -1)
    return functional.grid_sample(values[None, None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0, 0]
