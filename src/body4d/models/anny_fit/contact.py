"""What rests and what is held, told from landmarks in the picture alone. Pure functions, times in seconds, lengths in body heights."""

import numpy as np
from scipy.ndimage import median_filter

from body4d.config import ContactSettings


def _steady(points_px: np.ndarray, frames: int) -> np.ndarray:
    """Running median (T, 2) over ``frames`` rows: single wild landmarks neither move a foot nor part two hands."""
    return median_filter(points_px, size=(max(1, frames) | 1, 1), mode="nearest")


def _shift_within(points_px: np.ndarray, times_s: np.ndarray, window_s: float) -> np.ndarray:
    """How far (T,) each point moves between ``window_s``/2 before and after each row, interpolated in time."""
    half = window_s / 2
    start, stop = times_s[0], times_s[-1]
    before, after = np.clip(times_s - half, start, stop), np.clip(times_s + half, start, stop)
    moved = [np.interp(after, times_s, points_px[:, a]) - np.interp(before, times_s, points_px[:, a]) for a in range(2)]
    span = np.maximum(after - before, 1e-9)
    return np.hypot(*moved) * window_s / span


def resting(points_px: np.ndarray, times_s: np.ndarray, height_px: float, rules: ContactSettings) -> np.ndarray:
    """Whether a foot rests (T,) bool: its point ``points_px`` (T, 2) moves less than ``rest_of_height`` within ``rest_window_s``.

    ``times_s`` (T,) are real seconds (slow motion already undone). A track shorter than three rows never counts as resting.
    """
    if len(points_px) < 3:
        return np.zeros(len(points_px), bool)
    steady = _steady(points_px, 5)
    return _shift_within(steady, times_s, rules.rest_window_s) < rules.rest_of_height * height_px


def holding(left_px: np.ndarray, right_px: np.ndarray, times_s: np.ndarray, height_px: float, rules: ContactSettings) -> np.ndarray:
    """Whether two hands hold one thing (T,) bool, from their places ``left_px`` and ``right_px`` (T, 2).

    Hands that stay within ``held_of_height`` of each other for at least ``held_least_s`` and travel together by at least
    ``held_travel_of_height`` meanwhile are joined by what they hold: hands that merely pass each other do not, nor do hands folded
    at rest, of which nothing need be known.
    """
    T = len(left_px)
    if T < 3:
        return np.zeros(T, bool)
    left, right = _steady(left_px, 5), _steady(right_px, 5)
    near = np.linalg.norm(left - right, axis=-1) < rules.held_of_height * height_px
    held = np.zeros(T, bool)
    middle = (left + right) / 2
    for first, stop in _runs(near, times_s, rules.held_pause_s):
        long_enough = times_s[stop - 1] - times_s[first] >= rules.held_least_s
        travel = np.linalg.norm(np.ptp(middle[first:stop], axis=0))
        if long_enough and travel >= rules.held_travel_of_height * height_px:
            held[first:stop] = near[first:stop]
    return held


def _runs(flags: np.ndarray, times_s: np.ndarray, pause_s: float) -> list[tuple[int, int]]:
    """Half-open row ranges in which ``flags`` hold, pauses up to ``pause_s`` bridged."""
    rows = np.flatnonzero(flags)
    if len(rows) == 0:
        return []
    breaks = np.flatnonzero((np.diff(rows) > 1) & (np.diff(times_s[rows]) > pause_s))
    firsts = np.concatenate([[rows[0]], rows[breaks + 1]])
    lasts = np.concatenate([rows[breaks], [rows[-1]]])
    return [(int(a), int(b) + 1) for a, b in zip(firsts, lasts, strict=True)]
