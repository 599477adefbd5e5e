"""Where to look: rotated square regions around people, how they follow their person, and the tiles in which people are searched.

A region for the next frame comes from the two alignment points that the network gives beside its landmarks, steadied by a One Euro filter
(Casiez et al. 2012, "1€ Filter") with the constants of MediaPipe's ``PoseLandmarkFiltering``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from body4d.config import BlazePoseSettings

_REGION_MARGIN = 1.25  # PoseLandmarksToRoi and PoseDetectionToRoi: RectTransformationCalculator.scale_x


@dataclass(frozen=True)
class Region:
    """A rotated square around one person: centre and side in picture pixels, angle in radians (0: head up, clockwise positive)."""

    x_px: float
    y_px: float
    side_px: float
    angle: float
    score: float = 1.0

    @staticmethod
    def from_alignment(alignment_px: np.ndarray, score: float = 1.0) -> "Region":
        """Region of alignment points (2, 2): hip centre, and the point on the circle around the whole body that is overhead."""
        (x, y), (dx, dy) = alignment_px[0], alignment_px[1] - alignment_px[0]
        return Region(float(x), float(y), float(2 * np.hypot(dx, dy) * _REGION_MARGIN), float(np.arctan2(dx, -dy)), score)

    def shifted(self, step_px: np.ndarray) -> "Region":
        return Region(self.x_px + float(step_px[0]), self.y_px + float(step_px[1]), self.side_px, self.angle, self.score)

    def bounds_px(self, width_px: int, height_px: int) -> tuple[int, int, int, int]:
        """Whole-pixel box (x0, y0, x1, y1) inside the picture that holds the rotated square; empty where it lies outside."""
        reach = self.side_px / 2 * (abs(np.cos(self.angle)) + abs(np.sin(self.angle))) + 2  # 2 px for the interpolation at the rim
        x0, y0 = max(0, int(self.x_px - reach)), max(0, int(self.y_px - reach))
        x1, y1 = min(width_px, int(np.ceil(self.x_px + reach))), min(height_px, int(np.ceil(self.y_px + reach)))
        return x0, y0, max(x0, x1), max(y0, y1)


class AlignmentFilter:
    """One Euro filter on the two alignment points, as MediaPipe steadies its regions: speeds are counted in body sizes a second."""

    MIN_CUTOFF_HZ, BETA, SPEED_CUTOFF_HZ = 0.01, 10.0, 1.0  # mediapipe/modules/pose_landmark/pose_landmark_filtering.pbtxt

    def __init__(self) -> None:
        self._value: np.ndarray | None = None
        self._raw = self._speed = np.zeros((2, 2))

    def __call__(self, alignment_px: np.ndarray, step_s: float) -> np.ndarray:
        if self._value is None:
            self._value = self._raw = alignment_px
            return alignment_px
        size_px = max(2 * float(np.hypot(*(alignment_px[1] - alignment_px[0]))), 1e-6)
        speed = (alignment_px - self._raw) / size_px / step_s
        self._speed = self._speed + self._weight(self.SPEED_CUTOFF_HZ, step_s) * (speed - self._speed)
        weight = self._weight(self.MIN_CUTOFF_HZ + self.BETA * np.abs(self._speed), step_s)
        steady = self._value + weight * (alignment_px - self._value)
        self._value, self._raw = steady, alignment_px
        return steady

    @staticmethod
    def _weight(cutoff_hz: Any, step_s: float) -> Any:
        return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * step_s))


def tiles(width_px: int, height_px: int, shares: Sequence[float], settings: BlazePoseSettings) -> list[tuple[int, int, int, int]]:
    """Search tiles (x0, y0, x1, y1): the whole picture, then overlapping squares, their sides ``shares`` of its shorter side."""
    found = [(0, 0, width_px, height_px)]
    for share in shares:
        side = round(share * min(width_px, height_px))
        if side < settings.least_tile_px:
            continue
        for y in _starts(height_px, side, settings.tile_overlap):
            for x in _starts(width_px, side, settings.tile_overlap):
                found.append((x, y, x + side, y + side))
    return list(dict.fromkeys(found))


def _starts(length: int, side: int, overlap: float) -> Iterator[int]:
    count = 1 + int(np.ceil((length - side) / (side * (1 - overlap)))) if length > side else 1
    return (round(k * (length - side) / max(count - 1, 1)) for k in range(count))


def same(a: Region, b: Region, share: float, settings: BlazePoseSettings) -> bool:
    large, small = max(a.side_px, b.side_px), max(min(a.side_px, b.side_px), 1e-6)
    near = np.hypot(a.x_px - b.x_px, a.y_px - b.y_px) < share * small
    return bool(near) and large / small < settings.region_same_ratio


def near(a: Region, b: Region, settings: BlazePoseSettings) -> bool:
    return bool(np.hypot(a.x_px - b.x_px, a.y_px - b.y_px) < settings.near_share * max(a.side_px, b.side_px))


def around(region: Region, width_px: int, height_px: int, settings: BlazePoseSettings) -> Iterator[tuple[int, int, int, int]]:
    """Tiles around a region: as large as it, and half as large again in case the person has moved on."""
    for factor in (1.0, 1.5):
        half = region.side_px / 2 * factor
        x0, y0 = max(0, int(region.x_px - half)), max(0, int(region.y_px - half))
        x1, y1 = min(width_px, int(region.x_px + half)), min(height_px, int(region.y_px + half))
        if min(x1 - x0, y1 - y0) >= settings.least_tile_px:
            yield x0, y0, x1, y1
