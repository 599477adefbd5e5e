"""A Kalman filter with a Rauch-Tung-Striebel (RTS) backward pass over whole clips, many channels at once. Pure numpy.

The state of each channel is position, velocity and acceleration, driven by white jerk (Bar-Shalom, Li & Kirubarajan, "Estimation with
Applications to Tracking and Navigation", 2001, section 6.2.3: discretised continuous Wiener-process acceleration). The backward pass is
that of Rauch, Tung & Striebel, "Maximum likelihood estimates of linear dynamic systems", AIAA Journal 1965.

Acceleration is part of the state for two reasons. Such a smoother passes a frequency f with the factor 1 / (1 + (f / cut-off)^6), which
is flat below the cut-off, where a constant-velocity model (power 4) already lowers the speed of a peak. And it bridges a gap by the path
of minimum jerk, which is how people move (Flash & Hogan, "The coordination of arm movements", J Neuroscience 1985). Nobody keeps up an
acceleration for long, so that across gaps it may decay (Singer, "Estimating optimal tracking filter performance for manned maneuvering
targets", 1970).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import expm

from body4d.motion.gaps import true_runs

DIFFUSE_VARIANCE_RATIO = 1e7
"""Variance of the first state over that of a measurement: a diffuse prior that still leaves half of float64's digits."""

MAX_CELLS = 400_000
"""Times x channels held in memory at once, about 250 MB. More channels are smoothed in turn, which does not change the result."""


@dataclass(frozen=True)
class SmoothedSeries:
    """Position in the unit of the values, velocity in that unit per second, and the variance of each axis of the position."""

    position: Float[np.ndarray, "t b d"]
    velocity: Float[np.ndarray, "t b d"]
    variance: Float[np.ndarray, "t b"]


def jerk_density(cutoff_hz: np.ndarray | float, variance: np.ndarray | float, step_s: float) -> np.ndarray:
    """Spectral density of the jerk that makes ``rts_smooth`` pass a sinusoid of ``cutoff_hz`` with the factor 1/2.

    A measurement of ``variance`` is taken every ``step_s``. The unit is that of the values, squared, over s^5. Arguments broadcast.
    """
    return np.asarray((2 * np.pi * cutoff_hz) ** 6 * variance * step_s)


def rts_smooth(
    times_s: Float[np.ndarray, " t"],
    values: Float[np.ndarray, "t b d"],
    variances: Float[np.ndarray, "t b"],
    jerk: Float[np.ndarray, "t-1 b"],
    gap_decay_s: float = np.inf,
) -> SmoothedSeries:
    """Smoothed trajectories of ``values``: B channels of D axes that share their noise.

    ``times_s`` rises strictly, in steps of any length. ``variances`` are those of each axis of a measurement; infinite means that there
    is no measurement, and its value, which may be NaN, is ignored. ``jerk`` is the spectral density of the driving jerk in each interval
    (``jerk_density``). In intervals of which an end is not measured, accelerations decay by a factor of e in ``gap_decay_s``.
    Before its first and after its last measurement a channel stands still while its variance grows.
    The result is symmetric in time and does not depend on how channels are grouped.
    Raises ValueError for a channel without any measurement.
    """
    T, B, D = values.shape
    if variances.shape != (T, B) or jerk.shape != (max(T - 1, 0), B):
        raise ValueError(f"values {values.shape} need variances {(T, B)} and jerk {(T - 1, B)}, found {variances.shape}, {jerk.shape}")
    if np.any(np.diff(times_s) <= 0):
        raise ValueError("times_s must rise strictly")
    if T and not np.isfinite(variances).any(0).all():
        raise ValueError("a channel without any measurement cannot be smoothed")
    out = SmoothedSeries(np.empty((T, B, D)), np.empty((T, B, D)), np.empty((T, B)))
    size = max(1, MAX_CELLS // max(T, 1))
    for first in range(0, B if T else 0, size):
        part = slice(first, first + size)
        unit_s = float(np.median(np.diff(times_s))) if T > 1 else 1.0
        # The last bits of BLAS's products of matrix and vector depend on where in memory the vector lies. Those of two matrices do not,
        # so a channel of one axis is solved as two.
        axes = values[:, part] if D > 1 else np.repeat(values[:, part], 2, axis=-1)
        mean, covariance = _smooth_part(times_s / unit_s, axes, variances[:, part], jerk[:, part] * unit_s**5, gap_decay_s / unit_s)
        out.position[:, part], out.velocity[:, part] = mean[:, :, 0, :D], mean[:, :, 1, :D] / unit_s
        out.variance[:, part] = covariance[:, :, 0, 0]
    if T:
        _hold_ends(out, np.isfinite(variances))
    return out


def _hold_ends(series: SmoothedSeries, measured: np.ndarray) -> None:
    """Let channels stand still before their first and after their last ``measured`` (T, B) row, in place.

    With a high cut-off, velocities and accelerations carry so much noise that an extrapolation is metres away within a few frames.
    """
    rows = np.arange(len(measured))[:, None]
    inside = np.clip(rows, measured.argmax(0), len(measured) - 1 - measured[::-1].argmax(0))
    at, channel = np.nonzero(inside != rows)
    series.position[at, channel] = series.position[inside[at, channel], channel]
    series.velocity[at, channel] = 0.0


def _transitions(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transition matrices F and unit process noise Q (n, 3, 3) for ``steps`` (n,) in units of time."""
    h = steps
    one, zero = np.ones_like(h), np.zeros_like(h)
    F = np.stack([np.stack([one, h, h**2 / 2], -1), np.stack([zero, one, h], -1), np.stack([zero, zero, one], -1)], -2)
    a, b, c, d = h**5 / 20, h**4 / 8, h**3 / 6, h**3 / 3
    Q = np.stack([np.stack([a, b, c], -1), np.stack([b, d, h**2 / 2], -1), np.stack([c, h**2 / 2, h], -1)], -2)
    return F, Q


def _singer_transitions(steps: np.ndarray, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """As ``_transitions``, for accelerations that decay by a factor of e in ``decay`` (Singer's model).

    The integral is Van Loan's ("Computing integrals involving the matrix exponential", IEEE Trans. Autom. Control 1978).
    """
    A = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1 / decay]])
    block = np.zeros((6, 6))
    block[:3, :3], block[3:, 3:], block[2, 5] = -A, A.T, 1.0
    exponential = expm(block * steps[:, None, None])
    F = np.swapaxes(exponential[:, 3:, 3:], 1, 2)
    return F, F @ exponential[:, :3, 3:]


def _smooth_part(
    times: np.ndarray, values: np.ndarray, variances: np.ndarray, jerk: np.ndarray, gap_decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed states (T, B, 3, D) and their covariances (T, B, 3, 3).

    Time is in median steps, so that position, velocity and acceleration are of similar magnitude.
    """
    T, B, D = values.shape
    measured = np.isfinite(variances)
    y = np.where(measured[..., None], values, 0.0)
    r = np.where(measured, variances, 1.0)
    steps = np.diff(times)
    F, Q = (np.repeat(m[:, None], B, axis=1) for m in _transitions(steps))
    acceleration_variance = np.full((T, B), np.inf)  # of a pseudo-measurement of zero acceleration, where a gap begins
    if np.isfinite(gap_decay):
        jerk, gap = _constant_across_gaps(jerk, ~(measured[1:] & measured[:-1]))
        in_gap = np.flatnonzero(gap.any(1))
        for matrices, decaying in zip((F, Q), _singer_transitions(steps[in_gap], gap_decay), strict=True):
            matrices[in_gap] = np.where(gap[in_gap][..., None, None], decaying[:, None], matrices[in_gap])
        begins = gap & ~np.concatenate([np.zeros((1, B), bool), gap[:-1]])
        # A decaying process looks the same backwards only if it begins with its stationary variance.
        acceleration_variance[:-1] = np.where(begins, jerk * gap_decay / 2, np.inf)
    mean, covariance = np.empty((T, B, 3, D)), np.empty((T, B, 3, 3))
    predicted_mean, predicted = np.empty((T, B, 3, D)), np.empty((T, B, 3, 3))
    first = np.argmax(measured, axis=0)
    # Two measurements determine no acceleration and one no velocity. These are zero then, or the prior would decide them.
    determined = measured.sum(0)[:, None] > np.arange(3)
    predicted_mean[0] = 0.0
    predicted[0] = np.eye(3) * (determined * (DIFFUSE_VARIANCE_RATIO * r[first, np.arange(B)])[:, None])[:, None, :]
    predicted_mean[0, :, 0] = y[first, np.arange(B)]
    for t in range(T):
        if t:
            predicted_mean[t] = F[t - 1] @ mean[t - 1]
            predicted[t] = F[t - 1] @ covariance[t - 1] @ np.swapaxes(F[t - 1], 1, 2) + jerk[t - 1][:, None, None] * Q[t - 1]
        mean[t], covariance[t] = _kalman_update(predicted_mean[t], predicted[t], 0, y[t], np.where(measured[t], r[t], np.inf))
        if np.isfinite(acceleration_variance[t]).any():
            mean[t], covariance[t] = _kalman_update(mean[t], covariance[t], 2, np.zeros_like(y[t]), acceleration_variance[t])
    if T > 1:
        gain = covariance[:-1] @ np.swapaxes(F, 2, 3) @ _inverse(predicted[1:])
        for t in range(T - 2, -1, -1):
            mean[t] += gain[t] @ (mean[t + 1] - predicted_mean[t + 1])
            covariance[t] += gain[t] @ (covariance[t + 1] - predicted[t + 1]) @ np.swapaxes(gain[t], 1, 2)
    return mean, covariance


def _constant_across_gaps(jerk: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``jerk`` (T - 1, B) with its geometric mean throughout each run of ``gap`` (T - 1, B) intervals, and ``gap``."""
    jerk = jerk.copy()
    for b in np.flatnonzero(gap.any(0)):
        for first, last in true_runs(gap[:, b]):
            run = slice(first, last + 1)
            jerk[run, b] = np.exp(np.log(np.maximum(jerk[run, b], 1e-300)).mean())
    return jerk, gap


def _kalman_update(mean: np.ndarray, P: np.ndarray, state: int, y: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States (B, 3, D) and covariances (B, 3, 3) once component ``state`` of each is measured as ``y`` (B, D) with variance ``r`` (B,)."""
    gain = P[:, :, state] / (P[:, state, state] + r)[:, None]
    # Joseph's form stays symmetric and positive also with the diffuse prior.
    keep = np.broadcast_to(np.eye(3), P.shape).copy()
    keep[:, :, state] -= gain
    noise = gain * np.where(np.isfinite(r), r, 0.0)[:, None]
    updated = keep @ P @ np.swapaxes(keep, 1, 2) + gain[:, :, None] * noise[:, None, :]
    return mean + gain[:, :, None] * (y - mean[:, state])[:, None, :], updated


def _inverse(m: np.ndarray) -> np.ndarray:
    """Inverses (..., 3, 3) of symmetric positive matrices, scaled to a unit diagonal first, as their units differ by magnitudes."""
    scale = 1 / np.sqrt(np.einsum("...ii->...i", m))
    both = scale[..., :, None] * scale[..., None, :]
    return np.linalg.inv(m * both) * both
