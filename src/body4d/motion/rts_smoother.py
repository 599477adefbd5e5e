"""A Kalman filter with a Rauch-Tung-Striebel (RTS) backward pass over whole clips, many channels at once.

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

from body4d.core.compiled import compiled
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
        mean, covariance = _smooth_part(
            times_s / unit_s, values[:, part], variances[:, part], jerk[:, part] * unit_s**5, gap_decay_s / unit_s
        )
        out.position[:, part], out.velocity[:, part] = mean[:, :, 0], mean[:, :, 1] / unit_s
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
    F, Q = _transitions(steps)
    F_gap, Q_gap = np.zeros_like(F), np.zeros_like(Q)
    gap = np.zeros((len(steps), B), bool)
    acceleration_variance = np.full((T, B), np.inf)  # of a pseudo-measurement of zero acceleration, where a gap begins
    if np.isfinite(gap_decay):
        jerk, gap = _constant_across_gaps(jerk, ~(measured[1:] & measured[:-1]))
        in_gap = np.flatnonzero(gap.any(1))
        F_gap[in_gap], Q_gap[in_gap] = _singer_transitions(steps[in_gap], gap_decay)
        begins = gap & ~np.concatenate([np.zeros((1, B), bool), gap[:-1]])
        # A decaying process looks the same backwards only if it begins with its stationary variance.
        acceleration_variance[:-1] = np.where(begins, jerk * gap_decay / 2, np.inf)
    # Channel by channel, in the order in which the compiled loop goes through them.
    mean, covariance = np.zeros((B, T, 3, D)), np.zeros((B, T, 3, 3))
    first = np.argmax(measured, axis=0)
    # Two measurements determine no acceleration and one no velocity. These are zero then, or the prior would decide them.
    determined = measured.sum(0)[:, None] > np.arange(3)
    covariance[:, 0] = np.eye(3) * (determined * (DIFFUSE_VARIANCE_RATIO * r[first, np.arange(B)])[:, None])[:, None, :]
    mean[:, 0, 0] = y[first, np.arange(B)]
    variance = np.where(measured, r, np.inf)
    by_channel = (np.ascontiguousarray(series.swapaxes(0, 1)) for series in (y, variance, acceleration_variance, gap, jerk))
    _smooth_channels(*by_channel, F, Q, F_gap, Q_gap, mean, covariance)
    return mean.swapaxes(0, 1), covariance.swapaxes(0, 1)


@compiled
def _smooth_channels(
    y: np.ndarray,
    variance: np.ndarray,
    acceleration_variance: np.ndarray,
    gap: np.ndarray,
    jerk: np.ndarray,
    F: np.ndarray,
    Q: np.ndarray,
    F_gap: np.ndarray,
    Q_gap: np.ndarray,
    mean: np.ndarray,
    covariance: np.ndarray,
) -> None:
    """Fill ``mean`` (B, T, 3, D) and ``covariance`` (B, T, 3, 3), whose first rows hold the prior, with smoothed states.

    ``y`` (B, T, D) is measured with ``variance`` (B, T), infinite where it is not, and an acceleration of zero with
    ``acceleration_variance`` (B, T). Where ``gap`` (B, T - 1), intervals go by ``F_gap`` and ``Q_gap`` (T - 1, 3, 3), elsewhere by ``F``
    and ``Q``; ``jerk`` (B, T - 1) scales the process noise.
    """
    B, T, D = y.shape
    predicted_mean, predicted = np.empty((T, 3, D)), np.empty((T, 3, 3))
    product, gain, change = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    off, moved = np.empty((3, D)), np.empty((3, D))
    zero = np.zeros(D)
    for b in range(B):
        for t in range(T):
            m, P = mean[b, t], covariance[b, t]
            if t:
                step, noise = (F_gap[t - 1], Q_gap[t - 1]) if gap[b, t - 1] else (F[t - 1], Q[t - 1])
                _multiply(step, mean[b, t - 1], m)
                _multiply(step, covariance[b, t - 1], product)
                _multiply_transposed(product, step, P)
                _add(P, noise, jerk[b, t - 1], P)
            _add(m, m, 0.0, predicted_mean[t])
            _add(P, P, 0.0, predicted[t])
            _kalman_update(m, P, 0, y[b, t], variance[b, t], product, change)
            _kalman_update(m, P, 2, zero, acceleration_variance[b, t], product, change)
        for t in range(T - 2, -1, -1):
            step = F_gap[t] if gap[b, t] else F[t]
            _multiply_transposed(covariance[b, t], step, product)
            _invert(predicted[t + 1], change)
            _multiply(product, change, gain)
            _add(mean[b, t + 1], predicted_mean[t + 1], -1.0, off)
            _multiply(gain, off, moved)
            _add(mean[b, t], moved, 1.0, mean[b, t])
            _add(covariance[b, t + 1], predicted[t + 1], -1.0, change)
            _multiply(gain, change, product)
            _multiply_transposed(product, gain, change)
            _add(covariance[b, t], change, 1.0, covariance[b, t])


@compiled
def _add(a: np.ndarray, b: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Fill ``out`` (3, n) with ``a`` + ``factor`` * ``b``."""
    for i in range(3):
        for j in range(a.shape[1]):
            out[i, j] = a[i, j] + factor * b[i, j]


@compiled
def _multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (3, n) with ``a`` (3, 3) times ``b`` (3, n)."""
    for i in range(3):
        for j in range(b.shape[1]):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@compiled
def _multiply_transposed(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (3, 3) with ``a`` (3, 3) times the transpose of ``b`` (3, 3)."""
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[j, 0] + a[i, 1] * b[j, 1] + a[i, 2] * b[j, 2]


@compiled
def _kalman_update(mean: np.ndarray, P: np.ndarray, state: int, y: np.ndarray, r: float, keep: np.ndarray, kept: np.ndarray) -> None:
    """Update a state (3, D) and its covariance (3, 3), in place: its component ``state`` is measured as ``y`` (D,) with variance ``r``.

    ``keep`` and ``kept`` (3, 3) are scratch.
    """
    if not np.isfinite(r):
        return
    total = P[state, state] + r
    g0, g1, g2 = P[0, state] / total, P[1, state] / total, P[2, state] / total
    for d in range(y.shape[0]):
        off = y[d] - mean[state, d]
        mean[0, d] += g0 * off
        mean[1, d] += g1 * off
        mean[2, d] += g2 * off
    # Joseph's form stays symmetric and positive also with the diffuse prior.
    for i in range(3):
        for j in range(3):
            keep[i, j] = 1.0 if i == j else 0.0
    keep[0, state] -= g0
    keep[1, state] -= g1
    keep[2, state] -= g2
    _multiply(keep, P, kept)
    _multiply_transposed(kept, keep, P)
    for i, a in enumerate((g0, g1, g2)):
        P[i, 0] += a * g0 * r
        P[i, 1] += a * g1 * r
        P[i, 2] += a * g2 * r


@compiled
def _invert(m: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` with the inverse of a symmetric positive matrix (3, 3), scaled to a unit diagonal first, as its units differ by
    magnitudes; by Cholesky's decomposition."""
    s0, s1, s2 = 1 / np.sqrt(m[0, 0]), 1 / np.sqrt(m[1, 1]), 1 / np.sqrt(m[2, 2])
    a, b, c = m[0, 1] * s0 * s1, m[0, 2] * s0 * s2, m[1, 2] * s1 * s2
    # The lower factor is ((1, 0, 0), (a, e, 0), (b, f, g)); its inverse ((1, 0, 0), (k, 1 / e, 0), (n, o, 1 / g)).
    e = np.sqrt(1 - a * a)
    f = (c - a * b) / e
    g = np.sqrt(1 - b * b - f * f)
    k, o = -a / e, -f / (e * g)
    n = -(b + f * k) / g
    out[0, 0], out[1, 1], out[2, 2] = (1 + k * k + n * n) * s0 * s0, (1 / (e * e) + o * o) * s1 * s1, s2 * s2 / (g * g)
    out[0, 1], out[0, 2], out[1, 2] = (k / e + n * o) * s0 * s1, n / g * s0 * s2, o / g * s1 * s2
    out[1, 0], out[2, 0], out[2, 1] = out[0, 1], out[0, 2], out[1, 2]


def _constant_across_gaps(jerk: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``jerk`` (T - 1, B) with its geometric mean throughout each run of ``gap`` (T - 1, B) intervals, and ``gap``."""
    jerk = jerk.copy()
    for b in np.flatnonzero(gap.any(0)):
        for first, last in true_runs(gap[:, b]):
            run = slice(first, last + 1)
            jerk[run, b] = np.exp(np.log(np.maximum(jerk[run, b], 1e-300)).mean())
    return jerk, gap
