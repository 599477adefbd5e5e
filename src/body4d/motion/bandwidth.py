"""How strongly each channel may be smoothed at each moment, estimated from the clip itself. Pure numpy.

The noise of a channel is what its third differences show where it is quiet. The smoother is run at a grid of cut-offs, and at each moment
the lowest cut-off is chosen whose result differs from that of no higher one by more than the noise explains that the higher one lets
through (Lepski, Mammen & Spokoiny, "Optimal spatial adaptation to inhomogeneous smoothness", Annals of Statistics 1997). Slow motion is
smoothed strongly, and a fast stroke raises the cut-off by itself. Past and future count alike.
"""

from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.special import chdtri

from body4d.motion.rts_smoother import jerk_density, rts_smooth

MAX_CUTOFF_RAD_PER_STEP = 2.2
"""Highest cut-off tried. Sampling ends at pi radians a step; with a higher cut-off hardly any frames are left to average over."""

CUTOFF_RATIO = 1.5
"""Each cut-off of the grid is this many times the one below it."""

FALSE_ALARMS_PER_S = 0.001
"""How often per second noise alone may raise one channel by one step of the grid: rarely within a clip."""

WINDOW_S = 0.1
"""The cut-off rises half of this time before a stroke and falls as long after it."""

MIN_WINDOW_FRAMES = 1
"""The cut-off rises at least this many frames before a stroke, at any frame rate."""


def noise_sigma(
    times_s: Float[np.ndarray, " t"], values: Float[np.ndarray, "t b d"], variance_ratios: Float[np.ndarray, "t b"], min_sigma: float
) -> Float[np.ndarray, " b"]:
    """Standard deviation of one axis of the measurement noise in ``values``: a robust estimate, at least ``min_sigma``.

    It is taken from third differences, in which motion hardly shows over four frames where it is quiet. ``variance_ratios`` are the
    variance of each measurement over that of the channel, infinite where there is no measurement.
    """
    T, B, D = values.shape
    if T < 4:
        return np.full(B, min_sigma)
    windows = np.arange(T - 3)[:, None] + np.arange(4)
    steps_s = times_s[windows][:, :, None] - times_s[windows][:, None, :]
    weights = 1 / np.prod(np.where(np.eye(4, dtype=bool), 1.0, steps_s), axis=2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    measured = np.isfinite(variance_ratios)
    filled = np.where(measured[..., None], values, 0.0)
    difference = np.einsum("wi,wibd->wbd", weights, filled[windows])
    spread = np.einsum("wi,wib->wb", weights**2, np.where(measured, variance_ratios, 1.0)[windows])
    usable = measured[windows].all(1)
    # Squared lengths over their chi-squared median do not depend on the directions of the axes.
    squared = np.where(usable, (difference**2).sum(-1) / spread, np.nan)
    sigma = np.full(B, min_sigma)
    estimable = usable.any(0)
    sigma[estimable] = np.sqrt(np.nanmedian(squared[:, estimable], axis=0) / chdtri(D, 0.5))
    return np.maximum(sigma, min_sigma)


def cutoff_grid_hz(times_s: Float[np.ndarray, " t"], min_cutoff_hz: float) -> Float[np.ndarray, " r"]:
    """Cut-offs to try, rising from ``min_cutoff_hz`` to the highest that the frame rate allows."""
    highest = MAX_CUTOFF_RAD_PER_STEP / (2 * np.pi * float(np.median(np.diff(times_s))))
    if highest <= min_cutoff_hz:
        return np.array([highest])
    count = 1 + int(np.ceil(np.log(highest / min_cutoff_hz) / np.log(CUTOFF_RATIO)))
    return np.geomspace(min_cutoff_hz, highest, count)


def choose_cutoff_hz(
    times_s: Float[np.ndarray, " t"],
    values: Float[np.ndarray, "t b d"],
    variances: Float[np.ndarray, "t b"],
    min_cutoff_hz: float,
    variance_scale: float = 1.0,
) -> Float[np.ndarray, "t b"]:
    """Cut-off in Hz of each channel of ``values`` at each moment.

    ``variances`` are those of each axis of a measurement, infinite where there is none; each channel must have at least one. Within a gap
    the cut-off goes over from that of one side to that of the other. The variance that is put down to noise is multiplied by
    ``variance_scale``: 1 where the errors of neighbouring frames are independent.
    """
    T, B, D = values.shape
    if T < 4:
        return np.full((T, B), min_cutoff_hz)
    cutoff_grid = cutoff_grid_hz(times_s, min_cutoff_hz)
    variance = median_variance(variances)
    step_s = float(np.median(np.diff(times_s)))
    measured = np.isfinite(variances)
    smoothed, smoothed_variance = _smooth_at_each_cutoff(cutoff_grid, times_s, values, variances, variance, step_s)
    # False alarms count per second, and with a higher cut-off a second holds more independent moments.
    threshold = chdtri(D, np.minimum(FALSE_ALARMS_PER_S / (2 * cutoff_grid), 0.5)) / D
    chosen = np.zeros((T, B))
    for i in range(len(cutoff_grid) - 2, -1, -1):
        for j in range(i + 1, len(cutoff_grid)):
            squared_difference = ((smoothed[i] - smoothed[j]) ** 2).mean(-1)
            noise_share = _difference_variance_ratio(cutoff_grid[j] / cutoff_grid[i])
            biased = squared_difference > variance_scale * threshold[j] * smoothed_variance[j] * noise_share
            biased = _without_single_frames(biased, measured)
            chosen[biased] = np.maximum(chosen[biased], i + 1)
    window = SlidingWindow(times_s, max(WINDOW_S / 2, MIN_WINDOW_FRAMES * step_s))
    return _spread_over_time(np.log(cutoff_grid), chosen, window.sum(measured.astype(float)), times_s, window)


def _without_single_frames(flags: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """``flags`` (T, B) without measured frames flagged alone: one wrong frame is no motion, however wrong it is."""
    alone = measured & flags
    alone[1:] &= ~flags[:-1]
    alone[:-1] &= ~flags[1:]
    return flags & ~alone


def _smooth_at_each_cutoff(
    cutoff_grid: np.ndarray, times_s: np.ndarray, values: np.ndarray, variances: np.ndarray, variance: np.ndarray, step_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (R, T, B, D) and their variances (R, T, B) of ``values`` smoothed at each of ``cutoff_grid`` (R,) in Hz."""
    T, B, D = values.shape
    R = len(cutoff_grid)
    jerk = jerk_density(cutoff_grid[:, None], variance, step_s).ravel()
    series = rts_smooth(times_s, np.tile(values, (1, R, 1)), np.tile(variances, (1, R)), np.broadcast_to(jerk, (T - 1, R * B)))
    return np.moveaxis(series.position.reshape(T, R, B, D), 1, 0), np.moveaxis(series.variance.reshape(T, R, B), 1, 0)


@cache
def _difference_variance_ratio(cutoff_ratio: float) -> float:
    """Variance of the difference of two smoothed series whose cut-offs are ``cutoff_ratio`` apart, over the variance of the higher one."""
    w = np.linspace(0, 20, 4001)
    higher, lower = 1 / (1 + w**6), 1 / (1 + (w * cutoff_ratio) ** 6)
    return float(np.sum((higher - lower) ** 2) / np.sum(higher))


def median_variance(variances: Float[np.ndarray, "t b"]) -> Float[np.ndarray, " b"]:
    """Median of the finite ``variances`` of each channel."""
    return np.nanmedian(np.where(np.isfinite(variances), variances, np.nan), axis=0)


def _spread_over_time(
    log_cutoff_grid: np.ndarray, chosen: np.ndarray, counts: np.ndarray, times_s: np.ndarray, window: "SlidingWindow"
) -> np.ndarray:
    """Cut-offs (T, B) in Hz from the chosen rows (T, B) of the grid.

    They are interpolated over gaps, widened in time by one window, so that the cut-off has risen before a stroke begins, and averaged
    over it. ``counts`` (T, B) is how many measurements lie in the window around each row.
    """
    log_cutoff = np.interp(chosen, np.arange(len(log_cutoff_grid)), log_cutoff_grid)
    for b in range(chosen.shape[1]):
        measured_near = counts[:, b] > 0
        log_cutoff[:, b] = np.interp(times_s, times_s[measured_near], log_cutoff[measured_near, b])
    return np.exp(window.mean(window.max(log_cutoff)))


class SlidingWindow:
    """Sums, means and maxima over [t - half_width_s, t + half_width_s] of series (T, B) with rows at ``times_s``."""

    def __init__(self, times_s: np.ndarray, half_width_s: float) -> None:
        tolerance_s = 1e-6 * half_width_s
        self.first = np.searchsorted(times_s, times_s - half_width_s - tolerance_s)
        self.stop = np.searchsorted(times_s, times_s + half_width_s + tolerance_s)

    def sum(self, series: np.ndarray) -> np.ndarray:
        """A sum per row, added up window by window: with one running sum, large values elsewhere would cost digits here."""
        out = np.zeros_like(series)
        for offset in range(int((self.stop - self.first).max())):
            row = self.first + offset
            inside = row < self.stop
            out[inside] += series[row[inside]]
        return out

    def mean(self, series: np.ndarray) -> np.ndarray:
        return self.sum(series) / (self.stop - self.first)[:, None]

    def max(self, series: np.ndarray) -> np.ndarray:
        out = np.full_like(series, -np.inf)
        for offset in range(int((self.stop - self.first).max())):
            row = self.first + offset
            inside = row < self.stop
            out[inside] = np.maximum(out[inside], series[row[inside]])
        return out
