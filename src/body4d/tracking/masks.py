"""Masks from what a network says of every cell: holes closed, specks dropped, and one owner for each pixel. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_BARELY = 0.1
"""Strength given to a closed hole; its negative to a dropped speck (as SAM-3 and SAM-2 do)."""


def clean_mask_logits(strength: np.ndarray, most_cells: int) -> np.ndarray:
    """Strength (h, w), positive inside the mask, with holes and specks of up to ``most_cells`` cells closed or dropped.

    A speck goes only where it is no more than half of the whole mask, so that somebody tiny stays. Cells touch by corners too.
    """
    from scipy.ndimage import label

    if most_cells <= 0:
        return strength
    inside = strength > 0
    out = strength
    holes = _small(label, ~inside, most_cells)
    if holes.any():
        out = np.where(holes, np.float32(_BARELY), out)
        inside = inside | holes
    specks = _small(label, inside, min(most_cells, int(np.count_nonzero(inside)) // 2))
    return np.where(specks, np.float32(-_BARELY), out) if specks.any() else out


def _small(label: Any, cells: np.ndarray, most: int) -> np.ndarray:
    """Cells of pieces that hold at most ``most``."""
    pieces, count = label(cells, np.ones((3, 3), int))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    small = sizes <= most
    small[0] = False
    return small[pieces]


def assign_pixel_owners(strengths: Iterable[np.ndarray], ranks: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """Whose each pixel is, int16 (H, W), −1 nobody's: of those with a positive strength (H, W) there, the highest rank, then the strongest.

    Strengths are looked at one after another, so that many people in a large picture take no more memory than two.
    """
    best = np.zeros(shape, np.float32)
    owner = np.full(shape, -1, np.int16)
    rank_of_owner = np.full(len(ranks) + 1, np.iinfo(np.int64).min)
    rank_of_owner[: len(ranks)] = ranks
    for i, strength in enumerate(strengths):
        held = rank_of_owner[owner]
        wins = (strength > 0) & ((ranks[i] > held) | ((ranks[i] == held) & (strength > best)))
        best[wins] = strength[wins]
        owner[wins] = i
    return owner


def subtract_masks(code: bytes, others: Sequence[bytes], size: tuple[int, int]) -> bytes:
    """A run-length coded mask (H, W) = ``size`` less the pixels of ``others``, coded again; the very same where they share none."""
    from pycocotools import mask as coco

    from body4d.core.types import MaskTrack

    def coded(counts: bytes) -> Any:
        return {"size": list(size), "counts": counts}

    there = [o for o in others if int(coco.area(coco.merge([coded(code), coded(o)], intersect=True))) > 0]
    if not there:
        return code
    rest = coco.decode(coded(code)).astype(bool)
    for other in there:
        rest &= coco.decode(coded(other)) == 0
    return MaskTrack.encode(rest)


def mask_box(mask: np.ndarray) -> np.ndarray:
    """Box (x0, y0, x1, y1) around a mask bool (H, W), in pixels with ``x1`` and ``y1`` exclusive; zeros where the mask is empty."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1] if len(xs) else [0, 0, 0, 0], np.float64)
