"""Whether a whole outline that a network painted is credible, and whether it says that somebody is hidden. Pure, table-tested.

The published rules, and where they refuse people for how they are filmed (upright in a portrait clip, sideways), the person's own look
besides.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from body4d.config import OcclusionSettings
from body4d.tracking.masks import mask_box

Fault = Literal["", "empty", "smaller", "long", "thin", "rim", "jumps"]


@dataclass(frozen=True)
class Judged:
    """Row by row of a stretch: ``visible_share`` (F,) IoU of what is seen with the outline, 1 where the outline is not to be believed;
    ``hidden`` (F,) bool; ``faults`` why an outline is not believed, "" where it is."""

    visible_share: np.ndarray
    hidden: np.ndarray
    faults: tuple[Fault, ...]


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask (H, W) bool; cells that touch by corners are connected."""
    from scipy.ndimage import label

    found: Any = label(mask, np.ones((3, 3), int))
    pieces, count = found
    if count <= 1:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return pieces == int(np.argmax(sizes))


def too_long(box_px: np.ndarray, width_px: float, height_px: float, settings: OcclusionSettings) -> bool:
    """Whether a box spans most of a picture one way or the other."""
    width, height = box_px[2] - box_px[0], box_px[3] - box_px[1]
    return bool(width >= settings.long_most_share * width_px or height >= settings.long_most_share * height_px)


def thinness(box_px: np.ndarray) -> float:
    """Shorter side of a box over its longer one; 0 where it is empty."""
    sides = sorted((float(box_px[2] - box_px[0]), float(box_px[3] - box_px[1])))
    return sides[0] / sides[1] if sides[1] > 0 else 0.0


def too_thin(box_px: np.ndarray, settings: OcclusionSettings) -> bool:
    """Whether a box is a sliver; an empty one is none."""
    return 0 < thinness(box_px) < settings.thin_least_ratio


def at_rim(box_px: np.ndarray, width_px: float, height_px: float, settings: OcclusionSettings) -> bool:
    """Whether a box lies within the rim of the picture on one side: whoever is there leaves it."""
    across, down = settings.rim_share * width_px, settings.rim_share * height_px
    return bool(box_px[2] <= across or box_px[0] >= width_px - across or box_px[3] <= down or box_px[1] >= height_px - down)


def jumps(outline_px: np.ndarray, seen_px: np.ndarray, areas: np.ndarray, settings: OcclusionSettings) -> np.ndarray:
    """Rows (F,) whose outline leaps away from both neighbours: by its place against that of what is seen, or by its area.

    ``outline_px`` and ``seen_px`` (F, 4) are boxes of the outlines and of what is seen, ``areas`` (F,) those of the outlines. At the
    ends of a stretch the one neighbour decides; a lasting change is no leap.
    """
    height = np.maximum(outline_px[:, 3] - outline_px[:, 1], 1e-6)
    centre = (outline_px[:, :2] + outline_px[:, 2:]) / 2
    moved = np.linalg.norm(np.diff(centre, axis=0), axis=1)
    # A person who runs moves, and what is seen of them with them.
    seen_moved = np.linalg.norm(np.diff((seen_px[:, :2] + seen_px[:, 2:]) / 2, axis=0), axis=1)
    leap = (moved - seen_moved) / np.minimum(height[1:], height[:-1]) > settings.jump_of_height
    grown = np.maximum(areas, 1.0)
    ratio = np.maximum(grown[1:] / grown[:-1], grown[:-1] / grown[1:])
    leap |= ratio > settings.jump_area_ratio
    if len(leap) < 2:
        return np.repeat(leap, 2) if len(leap) else np.zeros(len(areas), bool)
    within = leap[1:] & leap[:-1]
    return np.concatenate([leap[:1] & ~within[:1], within, leap[-1:] & ~within[-1:]])


def judge(
    seen: np.ndarray,
    outlines: np.ndarray,
    size_px: tuple[float, float],
    usual_px: tuple[float, float],
    scale: np.ndarray,
    origin_px: np.ndarray,
    settings: OcclusionSettings,
) -> Judged:
    """What is seen and the whole outlines, both (F, h, w) bool in a region of the frame: who is hidden, and which outlines are believed.

    ``size_px`` is the frame's width and height, ``usual_px`` the person's usual ones; ``scale`` (2,) frame pixels of a pixel of the
    region across and down, ``origin_px`` (2,) where the region begins in the frame.
    """
    place = np.concatenate([scale, scale]), np.concatenate([origin_px, origin_px])
    boxes, seen_boxes = (np.array([mask_box(m) for m in masks]) * place[0] + place[1] for masks in (outlines, seen))
    areas, seen_areas = outlines.sum((1, 2)), seen.sum((1, 2))
    leaps = jumps(boxes, seen_boxes, areas, settings)
    faults: list[Fault] = []
    for row, box in enumerate(boxes):
        faults.append(_fault(box, seen_boxes[row], int(areas[row]), int(seen_areas[row]), bool(leaps[row]), size_px, usual_px, settings))
    union = (seen | outlines).sum((1, 2))
    share = (seen & outlines).sum((1, 2)) / np.maximum(union, 1)
    share = np.where([fault == "" for fault in faults], share, 1.0)
    return Judged(share, share < settings.hidden_iou, tuple(faults))


def _fault(
    box: np.ndarray,
    seen: np.ndarray,
    area: int,
    seen_area: int,
    leaps: bool,
    size: tuple[float, float],
    usual: tuple[float, float],
    s: OcclusionSettings,
) -> Fault:
    """The first rule an outline breaks."""
    if area == 0 or seen_area == 0:
        return "empty"
    if seen_area > area:
        return "smaller"
    if at_rim(seen, *size, s):
        return "rim"
    side, longest = (box[2:] - box[:2]).max(), max(usual)
    if too_long(box, *size, s) and side > s.long_growth * longest:
        return "long"
    if too_thin(box, s) and thinness(box) < s.thin_of_seen * thinness(seen):
        return "thin"
    return "jumps" if leaps else ""
