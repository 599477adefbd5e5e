"""Which frames a track covers when short absences are bridged, and how far to trust what was bridged. Pure numpy."""

import numpy as np


def true_runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last rows of the stretches in which ``flags`` (T,) hold."""
    rows = np.flatnonzero(flags)
    return [(int(run[0]), int(run[-1])) for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(run)]


def bridged_segments(seen_frames: np.ndarray, times_s: np.ndarray, longest_gap_s: float) -> list[np.ndarray]:
    """Runs of clip frames from each first to last seen one, absences up to ``longest_gap_s`` within.

    ``seen_frames`` (S,) rising clip frames, ``times_s`` (N,) of all frames. An absence is as long as the time from the last frame seen
    before it to the first one after it, less one ordinary step.
    """
    if len(seen_frames) == 0:
        return []
    step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    absent_s = np.diff(times_s[seen_frames]) - step_s
    breaks = np.flatnonzero((np.diff(seen_frames) > 1) & (absent_s > longest_gap_s)) + 1
    return [np.arange(run[0], run[-1] + 1) for run in np.split(seen_frames, breaks)]


def bridged_confidence(times_s: np.ndarray, seen: np.ndarray, confidence: np.ndarray, half_life_s: float) -> np.ndarray:
    """Confidence (T,): as given where ``seen`` (T,) bool, else halved with each ``half_life_s`` to the nearest seen row."""
    at = times_s[seen]
    before = np.clip(np.searchsorted(at, times_s, side="right") - 1, 0, len(at) - 1)
    after = np.clip(np.searchsorted(at, times_s), 0, len(at) - 1)
    away_s = np.minimum(np.abs(times_s - at[before]), np.abs(at[after] - times_s))
    return np.interp(times_s, at, confidence[seen]) * 0.5 ** (away_s / half_life_s)
