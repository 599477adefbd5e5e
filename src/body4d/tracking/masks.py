"""Masks from the scores of a network's cells: holes filled, specks removed, one owner for each pixel. Pure functions."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int16, Real

FILLED_SCORE = 0.1
"""Score given to a filled hole; its negative is given to a removed speck, as SAM-2 and SAM-3 do."""


def fill_holes_and_specks(scores: Float[np.ndarray, "h w"], max_cells: int) -> Float[np.ndarray, "h w"]:
    """Mask scores, positive inside the mask, with holes and specks of up to ``max_cells`` cells filled or removed.

    A speck is removed only where it is no more than half of the whole mask, so that a tiny person stays. Cells touch by corners too.
    """
    from scipy.ndimage import label

    if max_cells <= 0:
        return scores
    inside = scores > 0
    out = scores
    holes = _small_pieces(label, ~inside, max_cells)
    if holes.any():
        out = np.where(holes, np.float32(FILLED_SCORE), out)
        inside = inside | holes
    specks = _small_pieces(label, inside, min(max_cells, int(np.count_nonzero(inside)) // 2))
    return np.where(specks, np.float32(-FILLED_SCORE), out) if specks.any() else out


def _small_pieces(label: Any, cells: np.ndarray, max_cells: int) -> np.ndarray:
    """Cells of connected pieces that hold at most ``max_cells``."""
    pieces, count = label(cells, np.ones((3, 3), int))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    small = sizes <= max_cells
    small[0] = False
    return small[pieces]


def assign_pixel_owners(
    scores: Iterable[Real[np.ndarray, "h w"]],
    ranks: Sequence[int],
    size: tuple[int, int],
    parts: Sequence[tuple[slice, slice]] | None = None,
) -> Int16[np.ndarray, "h w"]:
    """Index of the mask that owns each pixel of a picture of ``size`` (height, width); −1 where no score is positive.

    Of several masks with a positive score the one of highest rank owns the pixel, then the one of highest score. Scores are read one
    after another, so that many people in a large picture take no more memory than two. ``parts``: of each score, the rows and columns
    outside which it is nowhere positive.
    """
    best = np.zeros(size, np.float32, order="F")  # as enlarged masks lie in memory
    owner = np.full(size, -1, np.int16, order="F")
    rank_of_owner = np.full(len(ranks) + 1, np.iinfo(np.int64).min)
    rank_of_owner[: len(ranks)] = ranks
    for i, whole in enumerate(scores):
        part = parts[i] if parts is not None else (slice(None), slice(None))
        score, best_here, owner_here = whole[part], best[part], owner[part]
        current = rank_of_owner[owner_here]
        wins = (score > 0) & ((ranks[i] > current) | ((ranks[i] == current) & (score > best_here)))
        np.copyto(best_here, score, where=wins)
        owner_here[wins] = i
    return owner


def subtract_masks(code: bytes, others: Sequence[bytes], size: tuple[int, int]) -> bytes:
    """A run-length coded mask of ``size`` (height, width) less the pixels of ``others``; the same bytes where they share none."""
    from pycocotools import mask as coco

    from body4d.core.types import MaskTrack

    def as_rle(counts: bytes) -> Any:
        return {"size": list(size), "counts": counts}

    overlapping = [o for o in others if int(coco.area(coco.merge([as_rle(code), as_rle(o)], intersect=True))) > 0]
    if not overlapping:
        return code
    rest = coco.decode(as_rle(code)).astype(bool)
    for other in overlapping:
        rest &= coco.decode(as_rle(other)) == 0
    return MaskTrack.encode(rest)


def mask_box(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 4"]:
    """Box (x0, y0, x1, y1) around a mask in pixels, the latter two exclusive; zeros where the mask is empty."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1] if len(xs) else [0, 0, 0, 0], np.float64)
