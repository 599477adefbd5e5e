"""Regions of interest: rotated squares around people, how they follow their person, and the tiles in which people are searched.

The region for the next frame comes from the two alignment points that the network gives beside its landmarks, smoothed by a One Euro
filter (Casiez et al. 2012, "1€ Filter") with the constants of MediaPipe's ``PoseLandmarkFiltering``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from body4d.models.blazepose.association import Box

ROI_MARGIN = 1.25
"""A region's side by the diameter of the body's circle (PoseLandmarksToRoi, PoseDetectionToRoi: RectTransformationCalculator.scale_x)."""
TILE_SHARES = (1.0, 0.67, 0.46)
"""Sides of the square search tiles as shares of the picture's shorter side; the detector wants a person to fill a tile."""
TILE_OVERLAP = 0.34
"""Share by which neighbouring tiles overlap, so that nobody is cut by a border in all of them."""
MIN_TILE_PX = 64
"""Smaller tiles hold nobody whom the detector could tell from the background."""
MAX_ROI_SIZE_RATIO = 1.4
"""Two regions whose sides differ by more than this factor are not of the same person."""
NEAR_SHARE = 0.5
"""People whose centres are closer than this share of the larger region stand near each other."""


@dataclass(frozen=True)
class RotatedRoi:
    """A rotated square around one person: centre and side in picture pixels, angle in radians (0: head up, clockwise positive)."""

    x_px: float
    y_px: float
    side_px: float
    angle: float
    score: float = 1.0

    @staticmethod
    def from_alignment(alignment_px: Float[np.ndarray, "2 2"], score: float = 1.0) -> "RotatedRoi":
        """The region of two alignment points: the centre of the hips, and the point of the body's circle that is above the head."""
        (x, y), (dx, dy) = alignment_px[0], alignment_px[1] - alignment_px[0]
        return RotatedRoi(float(x), float(y), float(2 * np.hypot(dx, dy) * ROI_MARGIN), float(np.arctan2(dx, -dy)), score)

    def shifted(self, shift_px: Float[np.ndarray, " 2"]) -> "RotatedRoi":
        return RotatedRoi(self.x_px + float(shift_px[0]), self.y_px + float(shift_px[1]), self.side_px, self.angle, self.score)

    def bounds_px(self, width_px: int, height_px: int) -> Box:
        """Box in whole pixels inside the picture that holds the rotated square; empty where the square lies outside."""
        # Two pixels more for the interpolation at the border.
        reach = self.side_px / 2 * (abs(np.cos(self.angle)) + abs(np.sin(self.angle))) + 2
        x0, y0 = max(0, int(self.x_px - reach)), max(0, int(self.y_px - reach))
        x1, y1 = min(width_px, int(np.ceil(self.x_px + reach))), min(height_px, int(np.ceil(self.y_px + reach)))
        return x0, y0, max(x0, x1), max(y0, y1)

    def is_same(self, other: "RotatedRoi", max_shift_share: float) -> bool:
        """Whether both are regions of one person: centres closer than this share of the smaller side, and sides that differ little."""
        large, small = max(self.side_px, other.side_px), max(min(self.side_px, other.side_px), 1e-6)
        is_near = np.hypot(self.x_px - other.x_px, self.y_px - other.y_px) < max_shift_share * small
        return bool(is_near) and large / small < MAX_ROI_SIZE_RATIO

    def is_near(self, other: "RotatedRoi") -> bool:
        """Whether the two people stand near each other (``NEAR_SHARE``)."""
        return bool(np.hypot(self.x_px - other.x_px, self.y_px - other.y_px) < NEAR_SHARE * max(self.side_px, other.side_px))


def upright_square(rgb: UInt8[np.ndarray, "h w 3"], roi: RotatedRoi, side_px: int) -> Float32[np.ndarray, "1 side side 3"]:
    """The region turned upright, ``side_px`` wide, in [0, 1]. The picture's border is repeated where the region reaches beyond it."""
    scale, half = side_px / roi.side_px, side_px / 2
    cos, sin = scale * np.cos(roi.angle), scale * np.sin(roi.angle)
    matrix = np.array([[cos, sin, half - cos * roi.x_px - sin * roi.y_px], [-sin, cos, half + sin * roi.x_px - cos * roi.y_px], [0, 0, 1]])
    square = cv2.warpPerspective(rgb, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return (square.astype(np.float32) * np.float32(1 / 255))[None]


class AlignmentFilter:
    """One Euro filter on the two alignment points, as MediaPipe smooths its regions; speeds are in body sizes per second."""

    MIN_CUTOFF_HZ, BETA, SPEED_CUTOFF_HZ = 0.01, 10.0, 1.0  # mediapipe/modules/pose_landmark/pose_landmark_filtering.pbtxt

    def __init__(self) -> None:
        self._filtered: np.ndarray | None = None
        self._raw = self._speed = np.zeros((2, 2))

    def __call__(self, alignment_px: Float[np.ndarray, "2 2"], step_s: float) -> Float[np.ndarray, "2 2"]:
        """The filtered points, ``step_s`` after those of the previous call."""
        if self._filtered is None:
            self._filtered = self._raw = alignment_px
            return alignment_px
        size_px = max(2 * float(np.hypot(*(alignment_px[1] - alignment_px[0]))), 1e-6)
        speed = (alignment_px - self._raw) / size_px / step_s
        self._speed = self._speed + self._weight(self.SPEED_CUTOFF_HZ, step_s) * (speed - self._speed)
        weight = self._weight(self.MIN_CUTOFF_HZ + self.BETA * np.abs(self._speed), step_s)
        filtered = self._filtered + weight * (alignment_px - self._filtered)
        self._filtered, self._raw = filtered, alignment_px
        return filtered

    @staticmethod
    def _weight(cutoff_hz: Any, step_s: float) -> Any:
        return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * step_s))


def search_tiles(width_px: int, height_px: int, shares: Sequence[float] = TILE_SHARES) -> list[Box]:
    """The whole picture, then overlapping square tiles that cover it, their sides ``shares`` of its shorter side."""
    tiles = [(0, 0, width_px, height_px)]
    for share in shares:
        side = round(share * min(width_px, height_px))
        if side < MIN_TILE_PX:
            continue
        for y in _tile_starts(height_px, side):
            for x in _tile_starts(width_px, side):
                tiles.append((x, y, x + side, y + side))
    return list(dict.fromkeys(tiles))


def _tile_starts(length: int, side: int) -> Iterator[int]:
    count = 1 + int(np.ceil((length - side) / (side * (1 - TILE_OVERLAP)))) if length > side else 1
    return (round(k * (length - side) / max(count - 1, 1)) for k in range(count))


def tiles_around(roi: RotatedRoi, width_px: int, height_px: int) -> Iterator[Box]:
    """Tiles around a region: one as large, and one half as large again in case the person has moved on."""
    for factor in (1.0, 1.5):
        half = roi.side_px / 2 * factor
        x0, y0 = max(0, int(roi.x_px - half)), max(0, int(roi.y_px - half))
        x1, y1 = min(width_px, int(roi.x_px + half)), min(height_px, int(roi.y_px + half))
        if min(x1 - x0, y1 - y0) >= MIN_TILE_PX:
            yield x0, y0, x1, y1
