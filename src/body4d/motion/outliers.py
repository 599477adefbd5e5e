"""Which measurements are not motion: single frames off their neighbours, and short bursts that leap away and back. Pure numpy."""

import warnings

import numpy as np
from jaxtyping import Bool, Float

from body4d.motion.bandwidth import median_variance
from body4d.motion.rts_smoother import jerk_density, rts_smooth

SINGLE_CUTOFF_RAD_PER_STEP = 1.2
"""Cut-off of the trajectory that single frames are compared with: fast motion passes it, a single frame does not yet."""

MIN_SINGLE_RATIO = 5.0
"""A single frame is an outlier only when it is this many times further off than its neighbours; otherwise it is fast motion."""

MIN_BURST_SIGMAS = 5.0
"""A channel that leaps this many sigmas of its noise from one frame to the next, and soon leaps back, was wrong meanwhile."""

MIN_BURST_RATIO = 3.0
"""Both leaps of a burst are this many times larger than the steps beside them. The steps of a stroke at most double."""

MAX_BURST_S = 0.15
"""A longer excursion is a movement: no limb is back sooner from one."""

MAX_BURST_FRAMES = 4
"""The same in frames. At low frame rates, where it is longer than ``MAX_BURST_S``, it counts instead."""

ANY_STEP_S = 0.03
"""Within a burst no longer than this, steps may be of any size: no limb goes away and comes back in this time."""


def burst_outliers(
    times_s: Float[np.ndarray, " t"], points: Float[np.ndarray, "t b d"], sigmas: Float[np.ndarray, "t b"]
) -> Bool[np.ndarray, "t b"]:
    """Which measurements belong to a burst: a leap from one frame to the next, a short stay, and a leap back or no further measurement.

    ``points`` are NaN where there is no measurement; for rotations they are ``chordal_points``. ``sigmas`` are the noise of one axis.
    A run of frames is a burst where both leaps exceed ``MIN_BURST_SIGMAS`` of the noise and ``MIN_BURST_RATIO`` times every step beside
    them, outside and inside the run, less half of ``MIN_BURST_SIGMAS``, which noise alone may cause; and where the run comes back to
    within half of the leaps. Even the fastest stroke gathers and loses its speed over some frames and has no such leaps.
    """
    out = np.zeros(points.shape[:2], bool)
    if len(times_s) < 4:
        return out
    step_s = float(np.median(np.diff(times_s)))
    max_length = max(MAX_BURST_FRAMES, int(MAX_BURST_S / step_s))
    any_step_length = int(ANY_STEP_S / step_s)
    for rows, channels in _group_by_pattern(~np.isnan(points[..., 0])):
        measured, noise = points[rows][:, channels], sigmas[rows][:, channels]
        out[np.ix_(rows, channels)] = _bursts_between_leaps(measured, noise, max_length, any_step_length)
        # Beside a gap the leap back is not seen: a short run that leaps away from all the rest is an outlier as well.
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) > max_length) + 1):
            edges = _bursts_at_start(measured[part], noise[part], max_length)
            out[np.ix_(rows[part], channels)] |= edges | _bursts_at_start(measured[part[::-1]], noise[part[::-1]], max_length)[::-1]
    return out


def _bursts_at_start(points: np.ndarray, sigmas: np.ndarray, max_length: int) -> np.ndarray:
    """Which of the first rows (T, B) of a stretch are parted from the rest by a leap; at most a third of the stretch."""
    T, B, _ = points.shape
    out = np.zeros((T, B), bool)
    step = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    noise = _noise_step(points, sigmas)
    inside = np.zeros(B)
    for length in range(1, min(max_length, T // 3) + 1):
        leap, after = step[length - 1], np.maximum(step[length] - noise[length] / 2, 0.0)
        out[:length] |= (leap > MIN_BURST_RATIO * np.maximum(inside, after)) & (leap > noise[length])
        inside = np.maximum(inside, np.maximum(leap - noise[length - 1] / 2, 0.0))
    return out


def _noise_step(points: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Size (T, B) that a step caused by noise alone does not reach."""
    return MIN_BURST_SIGMAS * np.sqrt(2 * min(points.shape[2], 3)) * sigmas


def chordal_points(rotations: Float[np.ndarray, "t b 3 3"]) -> Float[np.ndarray, "t b 9"]:
    """Rotations as points whose distances are the angles between them where these are small, and which never wrap."""
    return rotations.reshape(*rotations.shape[:2], 9) / np.sqrt(2)


def _group_by_pattern(measured: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Channels of ``measured`` (T, B) that lack the same rows, together: (measured rows, channels)."""
    patterns, group = np.unique(measured.T, axis=0, return_inverse=True)
    return [(np.flatnonzero(pattern), np.flatnonzero(group.ravel() == i)) for i, pattern in enumerate(patterns)]


def _bursts_between_leaps(points: np.ndarray, sigmas: np.ndarray, max_length: int, any_step_length: int) -> np.ndarray:
    """``burst_outliers`` (T, B) of rows that follow each other."""
    T, B, _ = points.shape
    out = np.zeros((T, B), bool)
    if T < 4:
        return out
    step = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    noise = _noise_step(points, sigmas)
    before = np.concatenate([np.zeros((1, B)), step[:-1]])
    after = np.concatenate([step[1:], np.zeros((1, B))])
    inside = np.zeros_like(step)  # the largest step so far within the run that step i leads into
    for length in range(1, min(max_length, T - 2) + 1):
        # Step i leads into the run of rows i + 1 ... i + length, step i + length out of it.
        leap_in, leap_out = step[: T - 1 - length], step[length:]
        if length > 1:
            inside = np.maximum(inside[: len(leap_in)], step[length - 1 : T - 2])
        across = np.linalg.norm(points[length + 1 :] - points[: T - 1 - length], axis=-1)
        beside = np.maximum(before[: len(leap_in)], after[length:])
        beside = beside if length <= any_step_length else np.maximum(beside, inside[: len(leap_in)])
        beside = np.maximum(beside - noise[: len(leap_in)] / 2, 0.0)
        leap = np.minimum(leap_in, leap_out)
        burst = (leap > MIN_BURST_RATIO * beside) & (leap > 2 * across) & (leap > noise[: len(leap_in)]) & (leap > noise[length + 1 :])
        for offset in range(1, length + 1):
            out[offset : offset + len(burst)] |= burst
    return out


def single_frame_outliers(
    times_s: Float[np.ndarray, " t"], values: Float[np.ndarray, "t b d"], variances: Float[np.ndarray, "t b"], outlier_sigmas: float
) -> Bool[np.ndarray, "t b"]:
    """Which measurements of ``values`` stand alone against their neighbours on both sides, so that they cannot be motion.

    Each is judged by its distance from a trajectory smoothed without it. The distance must exceed ``outlier_sigmas`` of the noise, and
    ``MIN_SINGLE_RATIO`` times the median among the eight frames around it, which in fast motion are off as well. And the measurement must
    stick out: it is further from the middle of its two neighbours than these are from each other.
    """
    T, B, D = values.shape
    measured = np.isfinite(variances)
    if T < 6:
        return np.zeros((T, B), bool)
    variance = median_variance(variances)
    step_s = float(np.median(np.diff(times_s)))
    jerk = jerk_density(np.full((T - 1, B), SINGLE_CUTOFF_RAD_PER_STEP / (2 * np.pi * step_s)), variance, step_s)
    series = rts_smooth(times_s, values, variances, jerk)
    finite = np.where(measured, variances, 1.0)
    independence = np.clip(1 - series.variance / finite, 1e-3, 1.0)
    residual = np.where(measured[..., None], values - series.position, 0.0)
    # Divided by the share of it that is independent of the measurement, a residual is what it is without that measurement.
    distance = np.sqrt((residual**2).sum(-1) / (finite * independence) / D)
    padded = np.pad(np.where(measured, distance, np.nan), ((4, 4), (0, 0)), constant_values=np.nan)
    around = np.stack([padded[i : i + T] for i in range(9) if i != 4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row alone in a gap has no neighbours: NaN, and so no outlier
        usual = np.nanmedian(around, axis=0)
    sticks_out = np.zeros((T, B), bool)
    middle, span = (values[:-2] + values[2:]) / 2, values[2:] - values[:-2]
    sticks_out[1:-1] = np.linalg.norm(values[1:-1] - middle, axis=-1) > np.linalg.norm(span, axis=-1)
    return measured & sticks_out & (distance > outlier_sigmas) & (distance > MIN_SINGLE_RATIO * usual)
