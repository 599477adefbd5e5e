"""Whether an amodal mask (the outline of the whole person) that a network made is credible, and whether it says that the person is hidden.

Pure. The rules are the published ones. Where these refuse people for how they are filmed (upright in a portrait clip, sideways), the
person's own usual size counts as well.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Num

from body4d.models.diffusion_vas.candidates import BORDER_SHARE
from body4d.tracking.masks import mask_box

MAX_VISIBLE_IOU = 0.7
"""Published: hidden is who overlaps with their amodal mask by less than this (IoU)."""

MAX_IMAGE_SHARE = 0.7
"""Published: an amodal mask that spans this share of the image's width or height is not credible ..."""

MAX_GROWTH = 1.5
"""... where it is also this many times the person's usual size: in portrait clips people fill the image."""

MIN_THINNESS = 0.2
"""Published: an amodal mask whose box has a lower ratio of shorter to longer side is not credible ..."""

MIN_THINNESS_OF_VISIBLE = 0.8
"""... unless its ratio is this share of the visible part's: people stand sideways."""

MAX_JUMP_PER_HEIGHT = 0.25
"""An amodal mask that moves by this share of its height against the visible part, from a frame to the next, is not credible ..."""

MAX_AREA_RATIO = 1.8
"""... nor is one whose area changes by this factor from a frame to the next."""

MaskFault = Literal["", "empty", "smaller", "leaving", "too_large", "sliver", "jump"]
"""Why an amodal mask is not credible; "" where it is."""


@dataclass(frozen=True)
class MaskCheck:
    """The verdict, frame by frame. ``visible_share``: IoU of the visible part with the amodal mask, 1 where that is not credible."""

    visible_share: Float[np.ndarray, " f"]
    hidden: Bool[np.ndarray, " f"]
    faults: tuple[MaskFault, ...]

    @property
    def credible(self) -> Bool[np.ndarray, " f"]:
        return np.array([fault == "" for fault in self.faults])


def largest_component(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The largest connected component of a mask; cells that touch by corners are connected."""
    from scipy.ndimage import label

    labelled: Any = label(mask, np.ones((3, 3), int))
    components, count = labelled
    if count <= 1:
        return mask
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components == int(np.argmax(sizes))


def spans_image(box_px: Num[np.ndarray, "4"], width_px: float, height_px: float) -> bool:
    """Whether a box spans most of an image one way or the other."""
    width, height = box_px[2] - box_px[0], box_px[3] - box_px[1]
    return bool(width >= MAX_IMAGE_SHARE * width_px or height >= MAX_IMAGE_SHARE * height_px)


def thinness(box_px: Num[np.ndarray, "4"]) -> float:
    """Shorter side of a box over its longer one; 0 where it is empty."""
    sides = sorted((float(box_px[2] - box_px[0]), float(box_px[3] - box_px[1])))
    return sides[0] / sides[1] if sides[1] > 0 else 0.0


def is_sliver(box_px: Num[np.ndarray, "4"]) -> bool:
    """Whether a box is a sliver; an empty one is none."""
    return 0 < thinness(box_px) < MIN_THINNESS


def is_leaving(box_px: Num[np.ndarray, "4"], width_px: float, height_px: float) -> bool:
    """Whether a box lies within the strip along one of the image's borders: whoever is there is leaving it."""
    across, down = BORDER_SHARE * width_px, BORDER_SHARE * height_px
    return bool(box_px[2] <= across or box_px[0] >= width_px - across or box_px[3] <= down or box_px[1] >= height_px - down)


def find_jumps(
    amodal_px: Float[np.ndarray, "f 4"], visible_px: Float[np.ndarray, "f 4"], areas: Num[np.ndarray, " f"]
) -> Bool[np.ndarray, " f"]:
    """Rows whose amodal mask differs from that of both neighbours: in its place, against that of the visible part, or in its area.

    Boxes are those of amodal masks and visible parts, ``areas`` those of the amodal masks. At the ends of a span its one neighbour
    decides. A lasting change is no jump.
    """
    height = np.maximum(amodal_px[:, 3] - amodal_px[:, 1], 1e-6)
    centre = (amodal_px[:, :2] + amodal_px[:, 2:]) / 2
    moved = np.linalg.norm(np.diff(centre, axis=0), axis=1)
    # A person who runs moves, and the visible part with them.
    visible_moved = np.linalg.norm(np.diff((visible_px[:, :2] + visible_px[:, 2:]) / 2, axis=0), axis=1)
    jump = (moved - visible_moved) / np.minimum(height[1:], height[:-1]) > MAX_JUMP_PER_HEIGHT
    positive = np.maximum(areas, 1.0)
    ratio = np.maximum(positive[1:] / positive[:-1], positive[:-1] / positive[1:])
    jump |= ratio > MAX_AREA_RATIO
    if len(jump) < 2:
        return np.repeat(jump, 2) if len(jump) else np.zeros(len(areas), bool)
    inner = jump[1:] & jump[:-1]
    return np.concatenate([jump[:1] & ~inner[:1], inner, jump[-1:] & ~inner[-1:]])


def check_amodal_masks(
    visible: Bool[np.ndarray, "f h w"],
    amodal: Bool[np.ndarray, "f h w"],
    frame_size_px: tuple[float, float],
    usual_px: tuple[float, float],
    scale: Float[np.ndarray, "2"],
    origin_px: Float[np.ndarray, "2"],
) -> MaskCheck:
    """Which amodal masks are credible, and where the person is hidden, from masks in a region of the frame.

    Sizes are (width, height): those of the frame and the person's usual one. A pixel of the region is ``scale`` frame pixels across and
    down, and the region begins at ``origin_px`` of the frame.
    """
    to_frame = np.concatenate([scale, scale]), np.concatenate([origin_px, origin_px])
    boxes, visible_boxes = (np.array([mask_box(m) for m in masks]) * to_frame[0] + to_frame[1] for masks in (amodal, visible))
    areas, visible_areas = amodal.sum((1, 2)), visible.sum((1, 2))
    jumps = find_jumps(boxes, visible_boxes, areas)
    faults: list[MaskFault] = []
    for row, box in enumerate(boxes):
        sizes = int(areas[row]), int(visible_areas[row])
        faults.append(_fault(box, visible_boxes[row], *sizes, bool(jumps[row]), frame_size_px, usual_px))
    union = (visible | amodal).sum((1, 2))
    share = (visible & amodal).sum((1, 2)) / np.maximum(union, 1)
    share = np.where([fault == "" for fault in faults], share, 1.0)
    return MaskCheck(share, share < MAX_VISIBLE_IOU, tuple(faults))


def _fault(
    box: np.ndarray,
    visible: np.ndarray,
    area: int,
    visible_area: int,
    jumps: bool,
    frame_size_px: tuple[float, float],
    usual_px: tuple[float, float],
) -> MaskFault:
    """The first rule that an amodal mask breaks."""
    if area == 0 or visible_area == 0:
        return "empty"
    if visible_area > area:
        return "smaller"
    if is_leaving(visible, *frame_size_px):
        return "leaving"
    if spans_image(box, *frame_size_px) and (box[2:] - box[:2]).max() > MAX_GROWTH * max(usual_px):
        return "too_large"
    if is_sliver(box) and thinness(box) < MIN_THINNESS_OF_VISIBLE * thinness(visible):
        return "sliver"
    return "jump" if jumps else ""
