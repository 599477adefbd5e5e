"""What the networks of hidden people look at: a person's surroundings over a stretch, cut from frames that are read once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from body4d.config import OcclusionSettings
from body4d.core.stages import FrameSource
from body4d.core.types import MaskTrack
from body4d.models.diffusion_vas.candidates import Span
from body4d.models.diffusion_vas.pipeline import Key
from body4d.models.diffusion_vas.windows import picture_size, region_of, usual_size


@dataclass(frozen=True)
class Look:
    """One person over rows ``span`` of their track, in the region ``box_px`` (4,) of the frame, seen at ``size`` (width, height)."""

    span: Span
    track: MaskTrack
    box_px: np.ndarray
    size: tuple[int, int]
    usual_px: tuple[float, float]

    @property
    def frame_index(self) -> np.ndarray:
        return self.track.frame_index[self.span.first : self.span.last]

    @property
    def keys(self) -> list[Key]:
        return [(self.track.person_id, int(frame)) for frame in self.frame_index]

    def part(self, first: int, last: int) -> "Look":
        """Rows ``first`` to ``last`` of this look."""
        span = Span(self.span.person, self.span.first + first, self.span.first + last)
        return Look(span, self.track, self.box_px, self.size, self.usual_px)

    def seen(self) -> np.ndarray:
        """What is seen of the person (F, h, w) bool."""
        x0, y0, x1, y1 = self.box_px.tolist()
        masks = np.stack([self.track.mask(row)[y0:y1, x0:x1] for row in range(self.span.first, self.span.last)])
        return (shown(torch.from_numpy(masks)[:, None].float(), self.size) > 0.5)[:, 0].numpy()

    def codes(self, masks: np.ndarray) -> tuple[bytes, ...]:
        """COCO codes at the clip's size of masks (F, h, w) bool in the region."""
        x0, y0, x1, y1 = self.box_px.tolist()
        large = shown(torch.from_numpy(masks)[:, None].float(), (x1 - x0, y1 - y0))[:, 0].numpy() > 0.5
        out = []
        for mask in large:
            whole = np.zeros((self.track.height_px, self.track.width_px), bool)
            whole[y0:y1, x0:x1] = mask
            out.append(MaskTrack.encode(whole))
        return tuple(out)


def look_at(span: Span, track: MaskTrack, settings: OcclusionSettings) -> Look:
    """The look at one stretch of a person."""
    boxes, size = track.boxes_px(), (track.width_px, track.height_px)
    usual = usual_size(boxes, settings)
    region = region_of(boxes[span.first : span.last], usual, size, settings)
    return Look(span, track, region, picture_size(size, settings), usual)


def shown(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (F, C, H, W) at ``size`` (width, height), smooth when shrunk."""
    return functional.interpolate(pictures, size=(size[1], size[0]), mode="bilinear", antialias=True)


def grouped(looks: Sequence[Look], most: int) -> Iterator[list[Look]]:
    """Looks in order of time, so many together that ``most`` frames are held."""
    group: list[Look] = []
    for look in sorted(looks, key=lambda one: (int(one.frame_index[0]), one.span.person)):
        if group and sum(len(one.span) for one in group) + len(look.span) > most:
            yield group
            group = []
        group.append(look)
    if group:
        yield group


@dataclass
class Cut:
    """Pictures cut for one look: ``pictures`` F of (3, h, w) uint8, and ``nearness`` F of (h, w) where asked for."""

    pictures: list[Tensor] = field(default_factory=list)
    nearness: list[Tensor] = field(default_factory=list)


def cut_from(
    frames: FrameSource, looks: Sequence[Look], at_once: int, nearness: Callable[[Sequence[np.ndarray]], Tensor] | None = None
) -> list[Cut]:
    """The looks' pictures, each frame read once; ``nearness`` is asked about ``at_once`` frames at a time."""
    there: dict[int, list[int]] = {}
    for number, look in enumerate(looks):
        for frame in look.frame_index.tolist():
            there.setdefault(frame, []).append(number)
    cuts = [Cut() for _ in looks]
    held: list[tuple[int, np.ndarray]] = []
    for frame, picture in frames.read(min(there), max(there) + 1):
        if frame in there:
            held.append((frame, picture))
        if len(held) >= at_once:
            _cut(held, there, looks, cuts, nearness)
            held = []
    if held:
        _cut(held, there, looks, cuts, nearness)
    return cuts


def _cut(
    held: Sequence[tuple[int, np.ndarray]],
    there: dict[int, list[int]],
    looks: Sequence[Look],
    cuts: Sequence[Cut],
    nearness: Callable[[Sequence[np.ndarray]], Tensor] | None,
) -> None:
    near = nearness([picture for _, picture in held]).cpu() if nearness else None
    for row, (frame, picture) in enumerate(held):
        for number in there[frame]:
            look = looks[number]
            x0, y0, x1, y1 = look.box_px.tolist()
            part = torch.from_numpy(np.ascontiguousarray(picture[y0:y1, x0:x1])).permute(2, 0, 1)[None].float()
            cuts[number].pictures.append(shown(part, look.size)[0].round().clamp(0, 255).byte())
            if near is not None:
                cuts[number].nearness.append(_region(near[row], look.box_px, picture.shape[:2], look.size))


def _region(values: Tensor, box: np.ndarray, frame: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    """A region of values (h, w) that stand for a whole ``frame``, sampled at ``size``."""
    height, width = frame
    x = (torch.arange(size[0]) + 0.5) / size[0] * float(box[2] - box[0]) + float(box[0])
    y = (torch.arange(size[1]) + 0.5) / size[1] * float(box[3] - box[1]) + float(box[1])
    grid = torch.stack(torch.meshgrid(2 * y / height - 1, 2 * x / width - 1, indexing="ij")[::-1], -1)
    return functional.grid_sample(values[None, None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0, 0]
