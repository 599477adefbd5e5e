"""Which measurements are none of motion: single frames off their neighbours, and short runs that leap away and back. Pure numpy."""

import warnings

import numpy as np

from body4d.config import MotionSettings
from body4d.motion.bandwidth import median_variance
from body4d.motion.rts_smoother import jerk_density, rts_smooth

_OUTLIER_RAD_PER_STEP = 1.2  # lets fast motion through and not yet a single frame


def burst_outliers(times_s: np.ndarray, places: np.ndarray, sigmas: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """Which measurements (T, B) leap away from one frame to the next, stay away for a while, and leap back or are not seen again.

    ``places`` (T, B, D) are points, NaN where there is none; of rotations, :func:`chords`. ``sigmas`` (T, B) of one axis. A run
    counts where both leaps are more than ``detour_sigmas`` of the noise and ``detour_ratio`` times every step beside them, outside and
    inside the run, less half of ``detour_sigmas``, which noise does; and the run comes back to within half of them. The fastest stroke
    gathers and loses its speed over some frames, so it has no such leaps; no run is longer than ``detour_longest_s`` or
    ``detour_longest_frames``, and within one of ``detour_quickest_s`` any step may be large.
    """
    out = np.zeros(places.shape[:2], bool)
    if len(times_s) < 4:
        return out
    step_s = float(np.median(np.diff(times_s)))
    longest = max(settings.detour_longest_frames, int(settings.detour_longest_s / step_s))
    quickest = int(settings.detour_quickest_s / step_s)
    for rows, channels in _alike(~np.isnan(places[..., 0])):
        here, noise = places[rows][:, channels], sigmas[rows][:, channels]
        out[np.ix_(rows, channels)] = _detours(here, noise, longest, quickest, settings)
        # Beside a gap there is no leap back to be seen: a short run that leaps away from all the rest is left out as well.
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) > longest) + 1):
            edges = _loose_edges(here[part], noise[part], longest, settings)
            out[np.ix_(rows[part], channels)] |= edges | _loose_edges(here[part[::-1]], noise[part[::-1]], longest, settings)[::-1]
    return out


def _loose_edges(places: np.ndarray, sigmas: np.ndarray, longest: int, settings: MotionSettings) -> np.ndarray:
    """Which of the first rows (T, B) of a stretch are parted from the rest by a leap; no more than a third of it."""
    T, B, _ = places.shape
    out = np.zeros((T, B), bool)
    step = np.linalg.norm(np.diff(places, axis=0), axis=-1)
    noise = _leap_noise(places, sigmas, settings)
    inside = np.zeros(B)
    for length in range(1, min(longest, T // 3) + 1):
        leap, after = step[length - 1], np.maximum(step[length] - noise[length] / 2, 0.0)
        out[:length] |= (leap > settings.detour_ratio * np.maximum(inside, after)) & (leap > noise[length])
        inside = np.maximum(inside, np.maximum(leap - noise[length - 1] / 2, 0.0))
    return out


def _leap_noise(places: np.ndarray, sigmas: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """Size (T, B) that a step of noise alone does not reach."""
    return settings.detour_sigmas * np.sqrt(2 * min(places.shape[2], 3)) * sigmas


def chordal_points(rotations: np.ndarray) -> np.ndarray:
    """Rotations (T, B, 3, 3) as points (T, B, 9) whose distances are the angles between them where these are small, never wrapping."""
    return rotations.reshape(*rotations.shape[:2], 9) / np.sqrt(2)


def _alike(known: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Channels of ``known`` (T, B) that miss the same rows, together: (known rows, channels)."""
    patterns, which = np.unique(known.T, axis=0, return_inverse=True)
    return [(np.flatnonzero(pattern), np.flatnonzero(which.ravel() == i)) for i, pattern in enumerate(patterns)]


def _detours(places: np.ndarray, sigmas: np.ndarray, longest: int, quickest: int, settings: MotionSettings) -> np.ndarray:
    """:func:`detours` of rows that follow each other."""
    T, B, _ = places.shape
    out = np.zeros((T, B), bool)
    if T < 4:
        return out
    step = np.linalg.norm(np.diff(places, axis=0), axis=-1)
    noise = _leap_noise(places, sigmas, settings)
    before = np.concatenate([np.zeros((1, B)), step[:-1]])
    after = np.concatenate([step[1:], np.zeros((1, B))])
    inside = np.zeros_like(step)  # of the run that step i leads into, the largest step so far
    for length in range(1, min(longest, T - 2) + 1):
        # Step i leads into the run of rows i + 1 ... i + length, step i + length out of it.
        into, from_ = step[: T - 1 - length], step[length:]
        if length > 1:
            inside = np.maximum(inside[: len(into)], step[length - 1 : T - 2])
        across = np.linalg.norm(places[length + 1 :] - places[: T - 1 - length], axis=-1)
        beside = np.maximum(before[: len(into)], after[length:])
        beside = beside if length <= quickest else np.maximum(beside, inside[: len(into)])
        beside = np.maximum(beside - noise[: len(into)] / 2, 0.0)
        leap = np.minimum(into, from_)
        run = (leap > settings.detour_ratio * beside) & (leap > 2 * across) & (leap > noise[: len(into)]) & (leap > noise[length + 1 :])
        for offset in range(1, length + 1):
            out[offset : offset + len(run)] |= run
    return out


def single_frame_outliers(times_s: np.ndarray, values: np.ndarray, variances: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """Which measurements (T, B) of ``values`` (T, B, D) stand alone against their neighbours on both sides, and are none of motion.

    Judged by how far each is off a trajectory smoothed without it: more than ``outlier_sigmas`` of the noise, and more than
    ``outlier_ratio`` times what is usual among the eight frames around it, which in fast motion are off as well. And it sticks out:
    it is further from the middle of its two neighbours than these are from each other, which what merely moves fast is not.
    """
    T, B, D = values.shape
    known = np.isfinite(variances)
    if T < 6:
        return np.zeros((T, B), bool)
    usual = median_variance(variances)
    step_s = float(np.median(np.diff(times_s)))
    jerk = jerk_density(np.full((T - 1, B), _OUTLIER_RAD_PER_STEP / (2 * np.pi * step_s)), usual, step_s)
    run = rts_smooth(times_s, values, variances, jerk)
    safe = np.where(known, variances, 1.0)
    free = np.clip(1 - run.variance / safe, 1e-3, 1.0)
    residual = np.where(known[..., None], values - run.position, 0.0)
    # A residual divided by its own share of say is the one it would have had without its say.
    off = np.sqrt((residual**2).sum(-1) / (safe * free) / D)
    padded = np.pad(np.where(known, off, np.nan), ((4, 4), (0, 0)), constant_values=np.nan)
    around = np.stack([padded[i : i + T] for i in range(9) if i != 4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row alone in a gap has no neighbours: NaN, and so no outlier
        usually = np.nanmedian(around, axis=0)
    sticks_out = np.zeros((T, B), bool)
    middle, span = (values[:-2] + values[2:]) / 2, values[2:] - values[:-2]
    sticks_out[1:-1] = np.linalg.norm(values[1:-1] - middle, axis=-1) > np.linalg.norm(span, axis=-1)
    return known & sticks_out & (off > settings.outlier_sigmas) & (off > settings.outlier_ratio * usually)
