"""How strongly each channel may be smoothed at each moment, told by the clip itself. Pure numpy.

The noise of a channel is what its third differences show where it is quiet. The smoother is then run at a ladder of cut-offs, and
at each moment the lowest one is taken that differs from none of the wider ones by more than the noise those let through explains
(Lepski, Mammen & Spokoiny, "Optimal spatial adaptation to inhomogeneous smoothness", Annals of Statistics 1997). Slow motion is
smoothed strongly; a fast stroke opens the band by itself. Everything looks equally far into past and future.
"""

from functools import cache

import numpy as np
from scipy.special import chdtri

from body4d.config import MotionSettings
from body4d.motion.rts_smoother import jerk_density, rts_smooth

_WIDEST_RAD_PER_STEP = 2.2  # of pi, where sampling ends: what passes there leaves little to average over


def noise_sigma(times_s: np.ndarray, values: np.ndarray, shares: np.ndarray, least: float) -> np.ndarray:
    """Standard deviation (B,) of one axis' measurement noise in ``values`` (T, B, D), robustly, and at least ``least``.

    From third differences, which motion hardly has over four frames where it is quiet. ``shares`` (T, B): variance of each
    measurement relative to the channel's usual one, infinite where there is none.
    """
    T, B, D = values.shape
    if T < 4:
        return np.full(B, least)
    windows = np.arange(T - 3)[:, None] + np.arange(4)
    gaps = times_s[windows][:, :, None] - times_s[windows][:, None, :]
    weights = 1 / np.prod(np.where(np.eye(4, dtype=bool), 1.0, gaps), axis=2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    known = np.isfinite(shares)
    filled = np.where(known[..., None], values, 0.0)
    difference = np.einsum("wi,wibd->wbd", weights, filled[windows])
    spread = np.einsum("wi,wib->wb", weights**2, np.where(known, shares, 1.0)[windows])
    usable = known[windows].all(1)
    # Squared lengths against their chi-squared median: the same from whatever direction the axes are laid.
    squared = np.where(usable, (difference**2).sum(-1) / spread, np.nan)
    sigma = np.full(B, least)
    some = usable.any(0)
    sigma[some] = np.sqrt(np.nanmedian(squared[:, some], axis=0) / chdtri(D, 0.5))
    return np.maximum(sigma, least)


def cutoff_grid_hz(times_s: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """Cut-offs to try, rising, from ``slowest_hz`` to the widest the frame rate allows."""
    widest = _WIDEST_RAD_PER_STEP / (2 * np.pi * float(np.median(np.diff(times_s))))
    if widest <= settings.slowest_hz:
        return np.array([widest])
    rungs = 1 + int(np.ceil(np.log(widest / settings.slowest_hz) / np.log(settings.ladder_ratio)))
    return np.geomspace(settings.slowest_hz, widest, rungs)


def choose_cutoff_hz(
    times_s: np.ndarray, values: np.ndarray, variances: np.ndarray, settings: MotionSettings, doubt: float = 1.0
) -> np.ndarray:
    """Cut-off (T, B) in Hz for each channel of ``values`` (T, B, D) at each moment.

    ``variances`` (T, B) of each axis of a measurement, infinite where there is none; all must have at least one. Within a gap the
    cut-off passes from one side's to the other's. ``doubt`` multiplies the variance that is put down to noise: 1 where errors of
    neighbouring frames are independent.
    """
    T, B, D = values.shape
    if T < 4:
        return np.full((T, B), settings.slowest_hz)
    rungs = cutoff_grid_hz(times_s, settings)
    usual = median_variance(variances)
    step_s = float(np.median(np.diff(times_s)))
    known = np.isfinite(variances)
    tried, tried_variance = _at_each(rungs, times_s, values, variances, usual, step_s)
    # How often noise alone may open the band counts per second, and a wider band has more independent moments in a second.
    allowed = chdtri(D, np.minimum(settings.false_alarms_per_s / (2 * rungs), 0.5)) / D
    chosen = np.zeros((T, B))
    for i in range(len(rungs) - 2, -1, -1):
        for j in range(i + 1, len(rungs)):
            apart = ((tried[i] - tried[j]) ** 2).mean(-1)
            biased = apart > doubt * allowed[j] * tried_variance[j] * _noise_between(rungs[j] / rungs[i])
            biased = _with_neighbours(biased, known)
            chosen[biased] = np.maximum(chosen[biased], i + 1)
    window = SlidingWindow(times_s, max(settings.window_s / 2, settings.window_frames * step_s))
    return _spread_over_time(np.log(rungs), chosen, window.sum(known.astype(float)), times_s, window)


def _with_neighbours(flags: np.ndarray, known: np.ndarray) -> np.ndarray:
    """``flags`` (T, B) without those that stand alone between measured frames: one wrong frame is no motion, whatever it is off by."""
    lone = known & flags
    lone[1:] &= ~flags[:-1]
    lone[:-1] &= ~flags[1:]
    return flags & ~lone


def _at_each(
    rungs: np.ndarray, times_s: np.ndarray, values: np.ndarray, variances: np.ndarray, usual: np.ndarray, step_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (R, T, B, D) and variances (R, T, B) of ``values`` smoothed at each of ``rungs`` (R,) in Hz."""
    T, B, D = values.shape
    R = len(rungs)
    jerk = jerk_density(rungs[:, None], usual, step_s).ravel()
    run = rts_smooth(times_s, np.tile(values, (1, R, 1)), np.tile(variances, (1, R)), np.broadcast_to(jerk, (T - 1, R * B)))
    return np.moveaxis(run.position.reshape(T, R, B, D), 1, 0), np.moveaxis(run.variance.reshape(T, R, B), 1, 0)


@cache
def _noise_between(ratio: float) -> float:
    """Variance of the difference of two smoothed series whose cut-offs are ``ratio`` apart, as a share of the wider one's variance."""
    w = np.linspace(0, 20, 4001)
    wide, narrow = 1 / (1 + w**6), 1 / (1 + (w * ratio) ** 6)
    return float(np.sum((wide - narrow) ** 2) / np.sum(wide))


def median_variance(variances: np.ndarray) -> np.ndarray:
    """Median (B,) of each channel's finite ``variances`` (T, B)."""
    return np.nanmedian(np.where(np.isfinite(variances), variances, np.nan), axis=0)


def _spread_over_time(
    log_rungs: np.ndarray, chosen: np.ndarray, counts: np.ndarray, times_s: np.ndarray, window: "SlidingWindow"
) -> np.ndarray:
    """Cut-offs (T, B) from rungs (T, B): interpolated over gaps, widened by one window so that strokes begin in time, then rounded."""
    log_cutoff = np.interp(chosen, np.arange(len(log_rungs)), log_rungs)
    for b in range(chosen.shape[1]):
        seen = counts[:, b] > 0
        log_cutoff[:, b] = np.interp(times_s, times_s[seen], log_cutoff[seen, b])
    return np.exp(window.mean(window.largest(log_cutoff)))


class SlidingWindow:
    """Sums, means and maxima over [t - half_s, t + half_s] of series (T, B) with rows at ``times_s``."""

    def __init__(self, times_s: np.ndarray, half_s: float) -> None:
        slack = 1e-6 * half_s
        self.first = np.searchsorted(times_s, times_s - half_s - slack)
        self.stop = np.searchsorted(times_s, times_s + half_s + slack)

    def sum(self, series: np.ndarray) -> np.ndarray:
        """A sum per row; added up window by window, so that nothing large far away costs digits here."""
        out = np.zeros_like(series)
        for offset in range(int((self.stop - self.first).max())):
            row = self.first + offset
            inside = row < self.stop
            out[inside] += series[row[inside]]
        return out

    def mean(self, series: np.ndarray) -> np.ndarray:
        return self.sum(series) / (self.stop - self.first)[:, None]

    def largest(self, series: np.ndarray) -> np.ndarray:
        out = np.full_like(series, -np.inf)
        for offset in range(int((self.stop - self.first).max())):
            row = self.first + offset
            inside = row < self.stop
            out[inside] = np.maximum(out[inside], series[row[inside]])
        return out
