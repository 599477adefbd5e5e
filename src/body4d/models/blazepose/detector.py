"""What BlazePose's detector gives on one tile of a picture, read as MediaPipe's ``PoseDetectionCpu`` graph reads it.

Source: mediapipe/modules/pose_detection/pose_detection_cpu.pbtxt and the calculators it names. The network is a single-shot detector
(Bazarevsky et al. 2019, "BlazeFace") that gives each of 2,254 anchors a box and four points; the first two are a person's alignment points.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.special import expit

INPUT_PX = 224
"""Side of the network's square input."""
ANCHOR_STRIDES = ((8, 2), (16, 2), (32, 6))
"""Strides of the network's grids in input pixels, each with its number of anchors in a cell (SsdAnchorsCalculator, five layers)."""
MIN_SCORE = 0.5
"""Less probable detections are dropped (TensorsToDetectionsCalculator.min_score_thresh)."""
MIN_SAME_IOU = 0.3
"""Boxes that overlap more are of one person (NonMaxSuppressionCalculator.min_suppression_threshold)."""


@dataclass(frozen=True)
class TileDetection:
    """A person in a tile: the two alignment points in the tile's pixels, and the probability that there is somebody."""

    alignment_px: Float[np.ndarray, "2 2"]
    score: float


def input_tensor(tile: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "1 224 224 3"]:
    """The tile fitted into the network's square, centred, with black around it, in [-1, 1]."""
    height, width = tile.shape[:2]
    scale = INPUT_PX / max(width, height)
    matrix = np.array([[scale, 0, (INPUT_PX - scale * width) / 2], [0, scale, (INPUT_PX - scale * height) / 2], [0, 0, 1]])
    square = cv2.warpPerspective(tile, matrix, (INPUT_PX, INPUT_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return (square.astype(np.float32) * np.float32(2 / 255) - np.float32(1))[None]


def anchor_centres() -> Float[np.ndarray, "2254 2"]:
    """Centre (x, y) of each anchor in [0, 1]. All anchors are as large as the input, so that sizes need no scaling by them."""
    grids = []
    for stride, anchors_per_cell in ANCHOR_STRIDES:
        centres = (np.arange(INPUT_PX // stride) + 0.5) * stride / INPUT_PX
        x, y = np.meshgrid(centres, centres)
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=-1), anchors_per_cell, axis=0))
    return np.concatenate(grids)


_ANCHORS = anchor_centres()


def decode(boxes: Float[np.ndarray, "2254 12"], scores: Float[np.ndarray, " 2254"], width_px: int, height_px: int) -> list[TileDetection]:
    """People in a tile of this size, from the network's two outputs, the most probable first."""
    probability = expit(np.clip(scores.astype(np.float64), -100, 100))
    row = np.flatnonzero(probability >= MIN_SCORE)
    # (x, y), (width, height), then the four points, all relative to the anchor
    pairs = boxes[row].astype(np.float64).reshape(-1, 6, 2) / INPUT_PX
    size = pairs[:, 1]
    whole = np.all(size >= 0, axis=1) & np.isfinite(pairs).all(axis=(1, 2))
    row, pairs, size = row[whole], pairs[whole], size[whole]
    centre = pairs[:, 0] + _ANCHORS[row]
    points = pairs[:, 2:4] + _ANCHORS[row][:, None]
    groups = _merge_overlapping(np.concatenate([centre - size / 2, centre + size / 2], axis=1), probability[row])
    scale = max(width_px, height_px)
    margin = np.array([scale - width_px, scale - height_px]) / 2
    found = []
    for members in groups:
        weight = probability[row[members]]
        merged = np.einsum("m,mpd->pd", weight, points[members]) / weight.sum()
        found.append(TileDetection(merged * scale - margin, float(weight[0])))
    return found


def _merge_overlapping(boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"]) -> list[np.ndarray]:
    """Rows of boxes of one person each, the most probable person and, within a person, the most probable box first.

    Weighted non-maximum suppression, after BlazeFace (section "Post-processing"): boxes that overlap with the best one are averaged.
    """
    left = np.argsort(-scores, kind="stable")
    groups = []
    while left.size:
        is_same = _iou(boxes[left[0]], boxes[left]) > MIN_SAME_IOU
        if not is_same.any():  # the best box has no area, so it does not even overlap with itself
            groups.append(left[:1])
            break
        groups.append(left[is_same])
        left = left[~is_same]
    return groups


def _iou(one: Float[np.ndarray, " 4"], others: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    shared = np.maximum(np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2]), 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    union = (one[2:] - one[:2]).prod() + areas - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
