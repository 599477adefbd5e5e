"""A Kalman filter with Rauch-Tung-Striebel backward pass over whole clips, many channels at once. Pure numpy.

Model: position, velocity and acceleration of each channel, driven by white jerk (Bar-Shalom, Li & Kirubarajan, "Estimation with
Applications to Tracking and Navigation", 2001, section 6.2.3: discretised continuous Wiener-process acceleration); backward pass:
Rauch, Tung & Striebel, "Maximum likelihood estimates of linear dynamic systems", AIAA Journal 1965.

Why acceleration is a state: such a smoother passes a frequency f with the factor 1 / (1 + (f / cut-off)^6), flat below the cut-off, where
a constant-velocity model already takes speed off a peak (power 4). And it bridges a gap by the path of least jerk, which is how
people move (Flash & Hogan, "The coordination of arm movements", J Neuroscience 1985).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_DIFFUSE = 1e7  # first state's variance over the measurement's: knows nothing, and leaves half of float64's digits
_CELLS = 400_000  # times x channels held at once, about 250 MB; more channels go in turn, which changes no result


@dataclass(frozen=True)
class Smoothed:
    """``position``, ``velocity`` (T, B, D), in the values' unit and that per second; ``variance`` (T, B) of each axis of the position."""

    position: Array
    velocity: Array
    variance: Array


def jerk_density(cutoff_hz: Array, variance: Array, step_s: float) -> Array:
    """Spectral density of the jerk that makes :func:`smooth` pass a sinusoid of ``cutoff_hz`` with factor 1/2.

    ``variance`` of a measurement, taken every ``step_s``. Unit: the values' squared over s^5.
    """
    return (2 * np.pi * cutoff_hz) ** 6 * variance * step_s


def smooth(times_s: Array, values: Array, variances: Array, jerk: Array) -> Smoothed:
    """Smoothed trajectories of ``values`` (T, B, D): B channels of D axes that share their noise.

    ``times_s`` (T,) rises strictly, in steps of any length. ``variances`` (T, B) of each axis of a measurement, infinite where
    there is none (its value is ignored, NaN included). ``jerk`` (T - 1, B) spectral density of the driving jerk in each
    interval; see :func:`jerk_density`. The result is symmetric in time and the same for any grouping of channels.
    A channel without any measurement raises ValueError.
    """
    T, B, D = values.shape
    if variances.shape != (T, B) or jerk.shape != (max(T - 1, 0), B):
        raise ValueError(f"values {values.shape} need variances {(T, B)} and jerk {(T - 1, B)}, found {variances.shape}, {jerk.shape}")
    if np.any(np.diff(times_s) <= 0):
        raise ValueError("times_s must rise strictly")
    if T and not np.isfinite(variances).any(0).all():
        raise ValueError("a channel without any measurement cannot be smoothed")
    out = Smoothed(np.empty((T, B, D)), np.empty((T, B, D)), np.empty((T, B)))
    size = max(1, _CELLS // max(T, 1))
    for first in range(0, B if T else 0, size):
        part = slice(first, first + size)
        unit_s = float(np.median(np.diff(times_s))) if T > 1 else 1.0
        mean, covariance = _smooth_part(times_s / unit_s, values[:, part], variances[:, part], jerk[:, part] * unit_s**5)
        out.position[:, part], out.velocity[:, part] = mean[:, :, 0], mean[:, :, 1] / unit_s
        out.variance[:, part] = covariance[:, :, 0, 0]
    return out


def _transitions(steps: Array) -> tuple[Array, Array]:
    """Transition matrices F and unit process noise Q (n, 3, 3) for ``steps`` (n,) in units of time."""
    h = steps
    one, zero = np.ones_like(h), np.zeros_like(h)
    F = np.stack([np.stack([one, h, h**2 / 2], -1), np.stack([zero, one, h], -1), np.stack([zero, zero, one], -1)], -2)
    a, b, c, d = h**5 / 20, h**4 / 8, h**3 / 6, h**3 / 3
    Q = np.stack([np.stack([a, b, c], -1), np.stack([b, d, h**2 / 2], -1), np.stack([c, h**2 / 2, h], -1)], -2)
    return F, Q


def _smooth_part(times: Array, values: Array, variances: Array, jerk: Array) -> tuple[Array, Array]:
    """Smoothed states (T, B, 3, D) and their covariances (T, B, 3, 3). Time is in median steps, so that all states are of one size."""
    T, B, D = values.shape
    measured = np.isfinite(variances)
    y = np.where(measured[..., None], values, 0.0)
    r = np.where(measured, variances, 1.0)
    F, Q = _transitions(np.diff(times))
    mean, covariance = np.empty((T, B, 3, D)), np.empty((T, B, 3, 3))
    ahead_mean, ahead = np.empty((T, B, 3, D)), np.empty((T, B, 3, 3))
    first = np.argmax(measured, axis=0)
    # Two measurements tell no acceleration and one no speed: what they cannot tell is zero, or the start would decide it.
    told = measured.sum(0)[:, None] > np.arange(3)
    ahead_mean[0], ahead[0] = 0.0, np.eye(3) * (told * (_DIFFUSE * r[first, np.arange(B)])[:, None])[:, None, :]
    ahead_mean[0, :, 0] = y[first, np.arange(B)]
    for t in range(T):
        if t:
            ahead_mean[t] = F[t - 1] @ mean[t - 1]
            ahead[t] = F[t - 1] @ covariance[t - 1] @ F[t - 1].T + jerk[t - 1][:, None, None] * Q[t - 1]
        P = ahead[t]
        gain = P[:, :, 0] * (measured[t] / (P[:, 0, 0] + r[t]))[:, None]
        mean[t] = ahead_mean[t] + gain[:, :, None] * (y[t] - ahead_mean[t, :, 0])[:, None, :]
        # Joseph's form: stays symmetric and positive where the first states know next to nothing.
        keep = np.broadcast_to(np.eye(3), P.shape).copy()
        keep[:, :, 0] -= gain
        covariance[t] = keep @ P @ np.swapaxes(keep, 1, 2) + gain[:, :, None] * (gain * r[t][:, None])[:, None, :]
    if T > 1:
        back = covariance[:-1] @ np.swapaxes(F, 1, 2)[:, None] @ _inverse(ahead[1:])
        for t in range(T - 2, -1, -1):
            mean[t] += back[t] @ (mean[t + 1] - ahead_mean[t + 1])
            covariance[t] += back[t] @ (covariance[t + 1] - ahead[t + 1]) @ np.swapaxes(back[t], 1, 2)
    return mean, covariance


def _inverse(m: Array) -> Array:
    """Inverses (..., 3, 3) of symmetric positive matrices; scaled to ones on the diagonal first, as their units differ by magnitudes."""
    scale = 1 / np.sqrt(np.einsum("...ii->...i", m))
    both = scale[..., :, None] * scale[..., None, :]
    return np.linalg.inv(m * both) * both
