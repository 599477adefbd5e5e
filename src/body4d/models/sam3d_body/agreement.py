"""How far to trust a body recovered from one picture: whether it lies where the mask says the person is. Pure numpy."""

import numpy as np

from body4d.config import Sam3dBodySettings
from body4d.core.joints import Coco17, Mhr70

MAIN = np.array([Mhr70[joint.name] for joint in Coco17])
"""The joints of COCO among the 70: fingers and toes would outvote the body."""

HANDS = {"left": slice(Mhr70.LEFT_THUMB_TIP, Mhr70.LEFT_WRIST + 1), "right": slice(Mhr70.RIGHT_THUMB_TIP, Mhr70.RIGHT_WRIST + 1)}


def inside_picture(points_px: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Whether points (..., 2) fall into the picture (...); NaN does not."""
    x, y = points_px[..., 0], points_px[..., 1]
    return (x >= 0) & (x < width_px) & (y >= 0) & (y < height_px)


def keypoint_visibility(
    points_px: np.ndarray, hands_seen: np.ndarray, width_px: int, height_px: int, settings: Sam3dBodySettings
) -> np.ndarray:
    """Visibility (T, 70) of the 70 keypoints (T, 70, 2); ``hands_seen`` (T, 2) whether the left and the right hand's own pass was taken."""
    out = np.ones(points_px.shape[:2], np.float32)
    for column, name in enumerate(("left", "right")):
        out[:, HANDS[name]] = np.where(hands_seen[:, column, None], 1.0, settings.hand_guess_visibility)
    outside = ~inside_picture(points_px, width_px, height_px)
    return np.where(outside, np.minimum(out, settings.outside_visibility), out).astype(np.float32)


def mask_agreement(points_px: np.ndarray, mask: np.ndarray, reach_of_height: float) -> float:
    """Share of the points (K, 2) that lie in the picture and on the mask (H, W), or no farther from it than ``reach_of_height`` of the
    mask's height."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return 0.0
    reach = max(round(reach_of_height * (rows[-1] + 1 - rows[0])), 0)
    known = inside_picture(points_px, mask.shape[1], mask.shape[0])
    near = 0
    for x, y in points_px[known].astype(np.int64):
        near += bool(mask[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].any())
    return near / len(points_px)


def frame_confidence(points_px: np.ndarray, mask: np.ndarray, settings: Sam3dBodySettings) -> float:
    """How far to trust one frame's body, in [0, 1]: the share of its main joints that the mask agrees with. ``points_px`` (70, 2)."""
    return max(mask_agreement(points_px[MAIN], mask, settings.mask_reach_of_height), settings.least_confidence)
