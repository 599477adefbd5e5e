"""Building blocks of data association that several trackers share: the optimal assignment and the colours that people wear."""

import numpy as np
from jaxtyping import Bool, Float, Real, UInt8

from body4d.core.joints import Blazepose33 as J

BODY_JOINTS = np.array(
    [
        *(J.NOSE, J.LEFT_SHOULDER, J.RIGHT_SHOULDER, J.LEFT_ELBOW, J.RIGHT_ELBOW, J.LEFT_WRIST, J.RIGHT_WRIST),
        *(J.LEFT_HIP, J.RIGHT_HIP, J.LEFT_KNEE, J.RIGHT_KNEE, J.LEFT_ANKLE, J.RIGHT_ANKLE),
    ]
)
"""Blazepose33 joints that locate a body. The nose stands for the eleven points of the face; fingers move too fast to be of use."""

COLOUR_BINS = (6, 9, 9)
"""Bins of luma, blueness and redness. Luma has few, so that a change of light moves little."""

MIN_COLOUR_SAMPLES = 20
"""A histogram of fewer pixels says nothing about what somebody wears and is left empty."""


def linear_assignment(cost: Real[np.ndarray, "rows columns"]) -> dict[int, int]:
    """Row of each column in the assignment of least total cost (Kuhn 1955, "The Hungarian method").

    As many pairs as possible are made; a pair of infinite cost is never made, and its column is left out.
    """
    from scipy.optimize import linear_sum_assignment

    forbidden = 1e6  # more than all allowed pairs cost together, so that as many as possible are made
    rows, columns = linear_sum_assignment(np.where(np.isfinite(cost), cost, forbidden))
    return {int(c): int(r) for r, c in zip(rows, columns, strict=True) if np.isfinite(cost[r, c])}


def colour_histogram(
    pixels: UInt8[np.ndarray, "n 3"], weights: Real[np.ndarray, " n"], is_upper: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, " bins"]:
    """Colours of somebody's clothes: a histogram of the upper body and one of the legs, end to end.

    Each half sums to one, or is zero where fewer than ``MIN_COLOUR_SAMPLES`` pixels belong to it. Neighbouring bins are blurred
    into each other, so that a colour near the edge of a bin is not lost.

    Args:
        pixels: RGB samples.
        weights: How surely each sample belongs to the person, in [0, 1].
        is_upper: Whether each sample lies on the upper body.
    """
    rgb = pixels.astype(np.float32) / 255
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    blue, red = 0.5 + (rgb[:, 2] - luma), 0.5 + (rgb[:, 0] - luma)
    index = np.zeros(len(rgb), np.int64)
    for value, bins in zip((luma, blue, red), COLOUR_BINS, strict=True):
        index = index * bins + np.clip((value * bins).astype(np.int64), 0, bins - 1)
    halves = []
    for half in (is_upper, ~is_upper):
        histogram = np.bincount(index[half], weights[half], minlength=int(np.prod(COLOUR_BINS))).reshape(COLOUR_BINS)
        for axis in range(3):
            padded = np.pad(histogram, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
            before, after = (np.take(padded, range(s, s + COLOUR_BINS[axis]), axis) for s in (0, 2))
            histogram = 0.5 * histogram + 0.25 * (before + after)
        total = float(histogram.sum())
        halves.append(histogram.ravel() / total if total >= MIN_COLOUR_SAMPLES else np.zeros(histogram.size))
    return np.concatenate(halves)


def colour_distance(a: Float[np.ndarray, " bins"], b: Float[np.ndarray, " bins"]) -> float:
    """Bhattacharyya distance in [0, 1] of two ``colour_histogram``, averaged over the halves that both show; 0.5 if there is none."""
    halves = [(x, y) for x, y in zip(np.split(a, 2), np.split(b, 2), strict=True) if x.sum() > 0 and y.sum() > 0]
    if not halves:
        return 0.5
    return float(np.mean([np.sqrt(max(0.0, 1 - float(np.sqrt(x * y).sum()))) for x, y in halves]))
