"""The even steps in time that formats with one frame rate need. Containers round time stamps, phones change their rate within a clip."""

from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.types import BodyTrack, Clip

EVEN_SHARE = 0.02
"""Frame steps that differ by less than this share count as one rate."""

ROUNDING_S = 1e-3
"""Nor does a difference of one millisecond count, to which containers commonly round."""

MIN_STRETCH_STEPS = 4
"""A rate holds where it lasts for as many steps: fewer equal steps come about by chance where frames jitter."""

JITTER_SHARE = 0.1
"""Where no rate holds, one that is within this share of the middle step is taken for what the camera aimed at."""

COMMON_RATES = (
    *(Fraction(n) for n in (24, 25, 30, 50, 60, 90, 100, 120, 240)),
    *(Fraction(n * 1000, 1001) for n in (24, 30, 60, 120, 240)),
)
"""Frames/s at which cameras record, and which a measured step is taken for where stamps are rounded."""


def frame_grid(clip: Clip, fps: Fraction | None = None) -> tuple[Float[np.ndarray, " n"], float]:
    """Times of a file's frames in seconds, and its frame step: the clip's own times where its steps are even, else evenly spread.

    The step is the smallest that holds for a stretch of the clip, so that no movement is lost; it is never a mean of different rates. It
    is exact where it is that of the clip's rate or of a common one (1001/30000 s for 29.97 frames/s). ``fps`` asks for another rate.
    """
    times_s, n = clip.times_s, len(clip)
    if fps is None and n == 1:
        return times_s, float(1 / clip.rate)
    if fps is None:
        step_s, even = _lasting_step(clip)
        if even:
            return times_s, step_s
    else:
        step_s = float(1 / fps)
    count = int(np.floor((times_s[-1] - times_s[0]) / step_s + 0.5)) + 1
    return times_s[0] + step_s * np.arange(count), step_s


def _lasting_step(clip: Clip) -> tuple[float, bool]:
    """The smallest step in seconds that holds for a stretch, and whether it holds for the whole clip."""
    times_s = clip.times_s
    steps = np.diff(times_s)
    min_steps = min(MIN_STRETCH_STEPS, len(steps))
    lasting = []
    for first, last in _equal_runs(steps):
        step = float(times_s[last] - times_s[first]) / (last - first)
        line = times_s[first] + step * np.arange(last - first + 1)
        if last - first >= min_steps and np.max(np.abs(times_s[first : last + 1] - line)) <= max(EVEN_SHARE * step, ROUNDING_S):
            lasting.append((_exact(step, last - first, clip.rate, max(EVEN_SHARE * step, 2 * ROUNDING_S)), last - first))
    if not lasting:
        # Every step differs from the next: half of them are no longer than this one.
        median = float(np.median(steps))
        return _exact(median, 1, clip.rate, JITTER_SHARE * median), False
    step = min(step for step, _ in lasting)
    return step, len(lasting) == 1 and lasting[0][1] == len(steps)


def _equal_runs(steps: Float[np.ndarray, " n"]) -> Int[np.ndarray, "runs 2"]:
    """First and last time index of each run of steps of which none differs from the next by more than rounding."""
    tolerance = np.maximum(EVEN_SHARE * steps[:-1], np.minimum(1.01 * ROUNDING_S, steps[:-1] / 3))
    breaks = np.flatnonzero(np.abs(np.diff(steps)) > tolerance) + 1
    return np.stack([np.concatenate([[0], breaks]), np.concatenate([breaks, [len(steps)]])], axis=1)


def _exact(step_s: float, count: int, rate: Fraction, near_s: float) -> float:
    """``step_s`` as the exact step of ``rate`` (or of every n-th frame of it), or of a common rate, where ``count`` of either end within
    ``near_s`` of each other."""
    multiple = max(round(step_s * rate), 1)
    for exact in (Fraction(multiple) / rate, *sorted((1 / common for common in COMMON_RATES), key=lambda s: abs(float(s) - step_s))):
        if abs(float(exact) - step_s) * count <= near_s:
            return float(exact)
    return step_s


def rows_between(
    times_s: Float[np.ndarray, " t"], at_s: Float[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The rows before and after each time, and its share of the way between them; before the first and after the last they are held."""
    at = np.clip(at_s, times_s[0], times_s[-1])
    left = np.clip(np.searchsorted(times_s, at, side="right") - 1, 0, max(len(times_s) - 2, 0))
    right = np.minimum(left + 1, len(times_s) - 1)
    return left, right, (at - times_s[left]) / np.where(right > left, times_s[right] - times_s[left], 1.0)


def followed_at(track: BodyTrack, clip: Clip, at_s: Float[np.ndarray, " n"], step_s: float) -> Bool[np.ndarray, " n"]:
    """Whether the person was followed at each time: between two frames of the clip, if they were in both."""
    times_s, frames = clip.times_s[track.frame_index], track.frame_index
    left, right, _ = rows_between(times_s, at_s)
    near = 0.1 * step_s  # a stamp is known to a tenth of a step
    at_left, at_right = np.abs(times_s[left] - at_s) <= near, np.abs(times_s[right] - at_s) <= near
    inside = (at_s >= times_s[0]) & (at_s <= times_s[-1]) & (frames[right] - frames[left] == 1)
    return at_left | at_right | inside
