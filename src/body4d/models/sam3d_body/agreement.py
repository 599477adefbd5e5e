"""How far a predicted body is to be believed: the share of its joints that agree with the mask, and which keypoints were to be seen."""

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.joints import Coco17, Mhr70

OUTSIDE_VISIBILITY = 0.1
"""Visibility of a keypoint outside the frame, which the network guesses."""

PREDICTED_HAND_VISIBILITY = 0.4
"""Visibility of a hand's keypoints where the hand's own pass is not made or not used."""

MASK_REACH_PER_HEIGHT = 0.03
"""A joint this close to the mask, as a share of the mask's height, agrees with it: masks are tight."""

BODY_JOINTS = np.array([Mhr70[joint.name] for joint in Coco17])
"""COCO's joints among the 70 keypoints: fingers and toes would outvote the body."""

HAND_KEYPOINTS = {
    "left": slice(Mhr70.LEFT_THUMB_TIP, Mhr70.LEFT_WRIST + 1),
    "right": slice(Mhr70.RIGHT_THUMB_TIP, Mhr70.RIGHT_WRIST + 1),
}


def inside_frame(points_px: Float[np.ndarray, "*n 2"], width_px: int, height_px: int) -> Bool[np.ndarray, "*n"]:
    """Whether points lie inside the frame; NaN does not."""
    x, y = points_px[..., 0], points_px[..., 1]
    return (x >= 0) & (x < width_px) & (y >= 0) & (y < height_px)


def keypoint_visibility(
    points_px: Float[np.ndarray, "t 70 2"], hand_used: Bool[np.ndarray, "t 2"], width_px: int, height_px: int
) -> Float[np.ndarray, "t 70"]:
    """Visibility of the keypoints: lower outside the frame, and for hands without a pass of their own."""
    out = np.ones(points_px.shape[:2], np.float32)
    for column, name in enumerate(("left", "right")):
        out[:, HAND_KEYPOINTS[name]] = np.where(hand_used[:, column, None], 1.0, PREDICTED_HAND_VISIBILITY)
    outside = ~inside_frame(points_px, width_px, height_px)
    return np.where(outside, np.minimum(out, OUTSIDE_VISIBILITY), out).astype(np.float32)


def mask_agreement(
    points_px: Float[np.ndarray, "n 2"],
    edges: Int[np.ndarray, " m"],
    box_px: Float[np.ndarray, " 4"],
    size_px: tuple[int, int],
    reach_per_height: float = MASK_REACH_PER_HEIGHT,
) -> float:
    """Share of the points that lie inside the frame and on the mask, or within ``reach_per_height`` of the mask's height of it.

    The mask is that of ``edges`` (``MaskTrack.edges``) within ``box_px``, in a frame of ``size_px`` (width, height).
    """
    width, height = size_px
    reach = round(reach_per_height * (box_px[3] - box_px[1]))
    x, y = points_px[inside_frame(points_px, width, height)].astype(np.int64)[..., None].swapaxes(0, 1)
    columns = x + np.arange(-reach, reach + 1)
    first, end = columns * height + np.maximum(y - reach, 0), columns * height + np.minimum(y + reach + 1, height)
    # A stretch of a column meets the mask where it begins inside it, or where an edge is in it.
    before = np.searchsorted(edges, first, side="right")
    meets = (before % 2 == 1) | (np.searchsorted(edges, end, side="left") > before)
    return float((meets & (columns >= 0) & (columns < width)).any(1).sum()) / len(points_px)


def frame_confidence(
    points_px: Float[np.ndarray, "70 2"],
    edges: Int[np.ndarray, " m"],
    box_px: Float[np.ndarray, " 4"],
    size_px: tuple[int, int],
    min_confidence: float,
) -> float:
    """Confidence in one frame's body: the share of its main joints that agree with the mask, at least ``min_confidence``."""
    return max(mask_agreement(points_px[BODY_JOINTS], edges, box_px, size_px), min_confidence)
