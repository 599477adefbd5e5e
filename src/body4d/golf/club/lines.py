"""The lines of one picture that may be the club's shaft: thin, straight, and beginning at the hands.

A blurred shaft is no thin line and counts as not seen. A wrong shaft is worse than none, so that what could as well be an arm, a crease or
the background is left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, maximum_filter1d

from body4d.core.compiled import compiled

WORKING_PX_PER_M = 170.0
"""Pictures are shrunk to this scale, at which a shaft is one to three pixels wide. Larger people show no more."""

MIN_LENGTH_M, MAX_LENGTH_M = 0.40, 1.30
"""Length of what is seen of the shaft from the hands, in the picture at the golfer's distance. The longest driver has 1.2 m; one that
points towards the camera looks longer."""

REACH_M = 1.55
"""How far lines are followed, to tell a shaft from a longer line behind it."""

HAND_RADIUS_M = 0.07
"""The line is looked for from here on: nearer are fingers."""

MAX_OFFSET_M = 0.075
"""The line passes the estimated middle of the hands this closely; the hands' place is known to some centimetres."""

ANGLE_STEP = math.radians(0.75)
SIDE_PX = 2
"""The line is compared with the picture this far on both sides of it."""

FULL_CONTRAST = 14.0
"""A line that differs from both sides by this many grey levels, or by ``FULL_NOISE`` times what is usual around the hands, has full
support."""
FULL_NOISE = 4.0

MIN_SUPPORT = 0.78
"""Share of the line that is supported."""

REWARD_FROM = 0.55
"""A line is followed as long as its support is above this on average."""

FOREARM_ANGLE = math.radians(14)
"""A line closer than this to a forearm, seen from the hands, may be its edge."""

SMOOTHING_PX = 0.7

MAX_BEHIND_M, MAX_BEHIND_SHARE = 0.04, 0.35
"""A line that goes on behind the hands for more than this, in metres of support and as a share of what is before them, is no club."""

LONGER_SHARE = 1.2
"""A line is left out where one within ``PEAK_WIDTH`` of its direction goes on too far and stands out by this factor more."""

BESIDE = (7, 7)
"""Steps of angle and pixels of offset over which a line is looked for behind the hands."""

PEAK_WIDTH = math.radians(6)
"""Of lines closer in direction than this, the best is taken."""

OFFSET_COST = 0.3
"""Metres of score for each metre that the line passes the middle of the hands."""

CANDIDATES = 6


@dataclass(frozen=True)
class ShaftLine:
    """A line that may be the shaft, in pixels of the picture."""

    grip_px: Float[np.ndarray, " 2"]
    head_px: Float[np.ndarray, " 2"]
    support: float
    """Share of the line that stands out of the picture, in [0, 1]."""
    length_m: float
    score: float
    """Metres of supported line above what chance gives; larger is better."""

    @property
    def angle(self) -> float:
        x, y = self.head_px - self.grip_px
        return math.atan2(y, x)


@compiled
def _follow(
    grey: np.ndarray,
    centre_x: float,
    centre_y: float,
    angles: np.ndarray,
    offsets: np.ndarray,
    radii: int,
    side: int,
    full: float,
    start: int,
    reward_from: float,
    best: np.ndarray,
    end: np.ndarray,
    support: np.ndarray,
    inside: np.ndarray,
) -> None:
    """For each line past the centre (angle, offset): the greatest sum of (support - reward_from) from sample ``start`` on, the sample where
    it is reached, and the mean support up to there; for each angle, how many samples lie in the picture.

    Samples are two pixels apart. A sample's support is how far it lies above both sides, or below both, in units of ``full``, at most 1. A
    neighbouring offset counts, since shafts bend."""
    height, width = grey.shape
    count = len(offsets)
    level = np.zeros((count, radii), np.float32)
    ridge = np.zeros((count, radii), np.float32)
    for a in range(len(angles)):
        ux, uy = np.cos(angles[a]), np.sin(angles[a])
        reach = 0
        for r in range(radii):
            for o in range(count):
                # Pixel coordinates count from the corner of the first pixel, samples from its centre.
                x = centre_x - 0.5 + 2.0 * r * ux - offsets[o] * uy
                y = centre_y - 0.5 + 2.0 * r * uy + offsets[o] * ux
                if x < 0 or y < 0 or x > width - 1.001 or y > height - 1.001:
                    level[o, r] = np.nan
                    continue
                i, j = int(x), int(y)
                fx, fy = x - i, y - j
                top = grey[j, i] + fx * (grey[j, i + 1] - grey[j, i])
                low = grey[j + 1, i] + fx * (grey[j + 1, i + 1] - grey[j + 1, i])
                level[o, r] = top + fy * (low - top)
            if level[count // 2, r] == level[count // 2, r]:
                reach = r + 1
        inside[a] = reach
        ridge[:] = 0
        for o in range(side, count - side):
            for r in range(start, reach):
                left, right = level[o, r] - level[o - side, r], level[o, r] - level[o + side, r]
                if left > 0 and right > 0:
                    ridge[o, r] = min(left, right) / full
                elif left < 0 and right < 0:
                    ridge[o, r] = min(-left, -right) / full
        for o in range(side + 1, count - side - 1):
            total, peak, held, peak_held = 0.0, 0.0, 0.0, 0.0
            last = start
            for r in range(start, reach):
                value = min(max(ridge[o, r], 0.9 * ridge[o - 1, r], 0.9 * ridge[o + 1, r]), 1.0)
                total += value - reward_from
                held += value
                if total > peak:
                    peak, last, peak_held = total, r + 1, held
            best[a, o], end[a, o] = peak, last
            support[a, o] = peak_held / (last - start) if last > start else 0.0


def find_lines(
    picture: UInt8[np.ndarray, "h w 3"],
    hands_px: Float[np.ndarray, " 2"],
    px_per_m: float,
    elbows_px: Sequence[Float[np.ndarray, " 2"]] = (),
) -> list[ShaftLine]:
    """The lines of one picture that may be the shaft, best first.

    ``hands_px`` is the middle of both hands, ``px_per_m`` the picture's scale at them.
    """
    if not (np.isfinite(hands_px).all() and px_per_m > 0):
        return []
    grey, corner, scale = _crop(picture, hands_px, px_per_m)
    if min(grey.shape) < 8:
        return []
    unit = px_per_m * scale
    centre = (np.asarray(hands_px, np.float64) - corner) * scale
    angles = np.arange(0, 2 * math.pi, ANGLE_STEP)
    width = round(MAX_OFFSET_M * unit) + SIDE_PX + 1
    offsets = np.arange(-width, width + 1).astype(np.float64)
    radii = int(REACH_M * unit / 2)
    full = max(FULL_CONTRAST, FULL_NOISE * _usual_ridge(grey))
    shape = (len(angles), len(offsets))
    best, end, support, inside = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape), np.zeros(len(angles), np.int64)
    start = int(HAND_RADIUS_M * unit / 2)
    _follow(grey, *centre.tolist(), angles, offsets, radii, SIDE_PX, full, start, REWARD_FROM, best, end, support, inside)
    length_m = 2.0 * end / unit
    allowed = (length_m >= MIN_LENGTH_M) & (length_m <= MAX_LENGTH_M) & (support >= MIN_SUPPORT)
    allowed &= ~_along_forearms(angles, hands_px, elbows_px)[:, None]
    # A line that is a little off it leaves such a line early, so that all near its direction are left out.
    endless = maximum_filter1d(np.where(length_m > MAX_LENGTH_M, best, 0.0).max(1), 2 * round(PEAK_WIDTH / ANGLE_STEP) + 1, mode="wrap")
    allowed &= endless[:, None] < LONGER_SHARE * best
    # A line that goes on behind the hands runs past them: of the grip, a hand's width sticks out at most.
    opposite = maximum_filter(np.roll(best[:, ::-1], len(angles) // 2, axis=0), BESIDE, mode="wrap")
    allowed &= opposite < np.maximum(MAX_BEHIND_M * unit / 2, MAX_BEHIND_SHARE * best)
    score = np.where(allowed, best * 2.0 / unit - OFFSET_COST * np.abs(offsets) / unit, 0.0)
    frame = _LineFrame(grey, centre, corner, scale, full, start)
    return [_line(frame, angles[a], offsets[o], int(end[a, o]), score[a, o], support[a, o], unit) for a, o in _peaks(score)]


def shrunk(picture: np.ndarray, scale: float) -> np.ndarray:
    """``picture`` in grey and ``scale`` times as large, a little smoothed."""
    grey = Image.fromarray(picture).convert("L")
    if scale < 1:
        size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
        grey = grey.resize(size, Image.Resampling.BOX)
    return gaussian_filter(np.asarray(grey, np.float32), SMOOTHING_PX)


def _crop(picture: np.ndarray, hands_px: np.ndarray, px_per_m: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The part within reach of the hands in grey, shrunk to the working scale; its corner in the picture; and how much it is shrunk."""
    reach = REACH_M * px_per_m
    low = np.clip(np.floor(hands_px - reach), 0, picture.shape[1::-1]).astype(int)
    high = np.clip(np.ceil(hands_px + reach), 0, picture.shape[1::-1]).astype(int)
    scale = min(1.0, WORKING_PX_PER_M / px_per_m)
    if min(high - low) < 8 / scale:
        return np.zeros((0, 0), np.float32), low, scale
    return shrunk(np.ascontiguousarray(picture[low[1] : high[1], low[0] : high[0]]), scale), low.astype(np.float64), scale


def _usual_ridge(grey: np.ndarray) -> float:
    """How far a pixel usually stands out of both sides, by grain and texture."""
    near, across = grey[:, SIDE_PX:-SIDE_PX], grey[SIDE_PX:-SIDE_PX]
    found = (_ridge(grey[:, : -2 * SIDE_PX], near, grey[:, 2 * SIDE_PX :]), _ridge(grey[: -2 * SIDE_PX], across, grey[2 * SIDE_PX :]))
    return float(np.mean([part.mean() for part in found]))


def _ridge(before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far ``middle`` lies above both others, or below both; else 0."""
    left, right = middle - before, middle - after
    return np.where(left * right > 0, np.minimum(np.abs(left), np.abs(right)), 0)


def _along_forearms(angles: np.ndarray, hands_px: np.ndarray, elbows_px: Sequence[np.ndarray]) -> np.ndarray:
    near = np.zeros(len(angles), bool)
    for elbow in elbows_px:
        if np.isfinite(elbow).all():
            x, y = np.asarray(elbow) - hands_px
            near |= np.abs(wrapped(angles - math.atan2(y, x))) < FOREARM_ANGLE
    return near


def wrapped(angle: np.ndarray) -> np.ndarray:
    """In [-pi, pi)."""
    return (np.asarray(angle) + math.pi) % (2 * math.pi) - math.pi


def _peaks(score: np.ndarray) -> list[tuple[int, int]]:
    """The best lines, each of another direction."""
    best_offset = score.argmax(1)
    by_angle = score[np.arange(len(score)), best_offset].copy()
    width = round(PEAK_WIDTH / ANGLE_STEP)
    found = []
    while len(found) < CANDIDATES and by_angle.max() > 0:
        a = int(by_angle.argmax())
        found.append((a, int(best_offset[a])))
        by_angle[np.arange(a - width, a + width + 1) % len(by_angle)] = 0
    return found


class _LineFrame(NamedTuple):
    """What lines of one picture are measured in."""

    grey: np.ndarray
    centre: np.ndarray
    corner: np.ndarray
    scale: float
    full: float
    start: int


def _line(frame: _LineFrame, angle: float, offset: float, end: int, score: float, support: float, unit: float) -> ShaftLine:
    """The line through the middle of the ridge at (angle, offset), fitted between the grid's lines."""
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    r = 2.0 * np.arange(frame.start, end)
    d = offset + np.arange(-2, 3)
    ridge = ridges(frame.grey, frame.centre + r[:, None, None] * along + d[:, None] * across, across).clip(0, frame.full)
    weight = ridge.sum(1)
    middle = (ridge * d).sum(1) / np.maximum(weight, 1e-9)
    slope, at_hands = np.polyfit(r, middle, 1, w=np.sqrt(weight) + 1e-6) if len(r) > 3 else (0.0, offset)
    grip = frame.centre + across * at_hands
    head = grip + 2.0 * end * (along + across * slope)
    return ShaftLine(
        grip / frame.scale + frame.corner, head / frame.scale + frame.corner, float(support), float(2.0 * end / unit), float(score)
    )


def ridges(grey: np.ndarray, points: np.ndarray, across: np.ndarray) -> np.ndarray:
    """How far ``points`` (..., 2) of ``grey`` stand out of both sides along ``across``; 0 outside."""

    def level(shift: float) -> np.ndarray:
        x, y = np.moveaxis(points + shift * across - 0.5, -1, 0)
        return map_coordinates(grey, [y, x], order=1, cval=np.nan)

    with np.errstate(invalid="ignore"):
        return np.nan_to_num(_ridge(level(-SIDE_PX), level(0), level(SIDE_PX)))
