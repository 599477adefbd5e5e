"""What BlazePose's landmark network gives in one region, read as MediaPipe's ``PoseLandmarkByRoiCpu`` graph reads it.

Source: mediapipe/modules/pose_landmark/pose_landmark_by_roi_cpu.pbtxt, tensors_to_pose_landmarks_and_segmentation.pbtxt,
pose_landmarks_and_segmentation_inverse_projection.pbtxt and the calculators they name; Bazarevsky et al. 2020, "BlazePose".
"""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32
from scipy.special import expit

from body4d.models.blazepose.association import Box
from body4d.models.blazepose.roi import RotatedRoi

INPUT_PX = 256
"""Side of the network's square input, and of the mask it gives."""
HEAT_MAP_PX = 64
NUM_POINTS, NUM_LANDMARKS = 39, 33
"""The network gives 33 landmarks of the body, two alignment points and four that are not read."""
REFINE_REACH = 3
"""A landmark moves to the heat map's mean within this distance, in its pixels (RefineLandmarksFromHeatmapCalculator.kernel_size 7)."""
MIN_HEAT = 0.5
"""A heat map whose largest value near the landmark is smaller leaves it where it is (the same, min_confidence_to_refine)."""
MIN_PRESENCE = 0.5
"""Where the network is less sure that a person is there, there is nobody (ThresholdingCalculator)."""


@dataclass(frozen=True)
class PoseDetection:
    """One person as BlazePose reads them in one region.

    Attributes:
        points_px: Blazepose33 landmarks in picture pixels.
        depth_px: Depth of each landmark in pixels at the picture's scale, 0 at the hips, positive away from the camera.
        world_m: Metric landmarks, relative to the hips.
        visibility: Of each landmark, in [0, 1].
        alignment_px: Centre of the hips, and the point of the circle around the whole body that is above the head.
        mask_probability: How surely each pixel of ``box_px`` shows the person, in [0, 1].
        box_px: The part of the picture that holds the region.
    """

    points_px: Float[np.ndarray, "33 2"]
    depth_px: Float[np.ndarray, " 33"]
    world_m: Float[np.ndarray, "33 3"]
    visibility: Float[np.ndarray, " 33"]
    alignment_px: Float[np.ndarray, "2 2"]
    mask_probability: Float32[np.ndarray, "h w"]
    box_px: Box

    def without_mask(self) -> "PoseDetection":
        """The same without its mask, which is too large to keep for every frame."""
        return dataclasses.replace(self, mask_probability=np.zeros((0, 0), np.float32))


@dataclass(frozen=True)
class LandmarkTensors:
    """The network's five outputs for one region.

    Attributes:
        points: x, y, z in input pixels, then visibility and presence before the sigmoid.
        presence: Probability that the region shows a person.
        mask: Before the sigmoid.
        heat_maps: Before the sigmoid, one for each point.
        world_m: Metric points, relative to the hips, in the region's own orientation.
    """

    points: Float32[np.ndarray, "39 5"]
    presence: float
    mask: Float32[np.ndarray, "256 256"]
    heat_maps: Float32[np.ndarray, "64 64 39"]
    world_m: Float32[np.ndarray, "39 3"]


def decode(tensors: LandmarkTensors, roi: RotatedRoi, box: Box) -> PoseDetection | None:
    """The person in the region, with the mask in ``box``; None where there is nobody."""
    if not tensors.presence > MIN_PRESENCE or not (np.isfinite(tensors.points).all() and np.isfinite(tensors.world_m).all()):
        return None
    xy = refine_by_heat_maps(tensors.points[:, :2] / INPUT_PX, tensors.heat_maps) - 0.5
    points_px = _rotated(xy, roi.angle) * roi.side_px + (roi.x_px, roi.y_px)
    world = tensors.world_m[:NUM_LANDMARKS].astype(np.float64)
    world_m = np.concatenate([_rotated(world[:, :2], roi.angle), world[:, 2:]], axis=1)
    return PoseDetection(
        points_px=points_px[:NUM_LANDMARKS],
        depth_px=tensors.points[:NUM_LANDMARKS, 2].astype(np.float64) / INPUT_PX * roi.side_px,
        world_m=world_m,
        visibility=expit(tensors.points[:NUM_LANDMARKS, 3].astype(np.float64)),
        alignment_px=points_px[NUM_LANDMARKS : NUM_LANDMARKS + 2],
        mask_probability=_mask_in_box(expit(tensors.mask), roi, box),
        box_px=box,
    )


def refine_by_heat_maps(xy: Float[np.ndarray, "n 2"], heat_maps: Float[np.ndarray, "side side n"]) -> Float[np.ndarray, "n 2"]:
    """Points in [0, 1], each moved to the mean of its heat map (before the sigmoid) near it, where that is warm enough."""
    xy = xy.astype(np.float64)
    centre = np.trunc(xy * HEAT_MAP_PX).astype(int)
    reach = np.arange(-REFINE_REACH, REFINE_REACH + 1)
    column, row = centre[:, 0, None, None] + reach, centre[:, 1, None, None] + reach[:, None]
    column, row = np.broadcast_arrays(column, row)
    inside = (column >= 0) & (column < HEAT_MAP_PX) & (row >= 0) & (row < HEAT_MAP_PX)
    point = np.arange(len(xy))[:, None, None]
    heat = np.where(inside, expit(heat_maps[row.clip(0, HEAT_MAP_PX - 1), column.clip(0, HEAT_MAP_PX - 1), point]), 0).astype(np.float64)
    total = heat.sum(axis=(1, 2))
    mean = np.stack([(column * heat).sum(axis=(1, 2)), (row * heat).sum(axis=(1, 2))], axis=-1) / np.maximum(total, 1e-12)[:, None]
    is_in_map = np.all((centre >= 0) & (centre < HEAT_MAP_PX), axis=1)
    is_refined = is_in_map & (heat.max(axis=(1, 2)) >= MIN_HEAT)
    return np.where(is_refined[:, None], mean / HEAT_MAP_PX, xy)


def _rotated(xy: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * xy[:, 0] - sin * xy[:, 1], sin * xy[:, 0] + cos * xy[:, 1]], axis=-1)


def _mask_in_box(mask: Float32[np.ndarray, "256 256"], roi: RotatedRoi, box: Box) -> Float32[np.ndarray, "h w"]:
    """The region's mask laid over the pixels of ``box``, 0 outside the region.

    MediaPipe counts both pictures' pixels from their corners here (affine_transformation_runner_opencv.cc, "kOpenCvCompatibility").
    """
    x0, y0, x1, y1 = box
    scale = INPUT_PX / roi.side_px
    cos, sin = scale * np.cos(roi.angle), scale * np.sin(roi.angle)
    half, x, y = INPUT_PX / 2, x0 - roi.x_px, y0 - roi.y_px
    into_region = np.array([[cos, sin, half + cos * x + sin * y], [-sin, cos, half - sin * x + cos * y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(mask, into_region, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_CONSTANT)
