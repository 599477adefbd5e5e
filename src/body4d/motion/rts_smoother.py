"""A Kalman filter with Rauch-Tung-Striebel backward pass over whole clips, many channels at once. Pure numpy.

Model: position, velocity and acceleration of each channel, driven by white jerk (Bar-Shalom, Li & Kirubarajan, "Estimation with
Applications to Tracking and Navigation", 2001, section 6.2.3: discretised continuous Wiener-process acceleration); backward pass:
Rauch, Tung & Striebel, "Maximum likelihood estimates of linear dynamic systems", AIAA Journal 1965.

Why acceleration is a state: such a smoother passes a frequency f with the factor 1 / (1 + (f / cut-off)^6), flat below the cut-off, where
a constant-velocity model already takes speed off a peak (power 4). And it bridges a gap by the path of least jerk, which is how
people move (Flash & Hogan, "The coordination of arm movements", J Neuroscience 1985); but nobody keeps up an acceleration for long, so
that across gaps it may be let decay (Singer, "Estimating optimal tracking filter performance for manned maneuvering targets", 1970).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm

from body4d.motion.gaps import true_runs

_DIFFUSE = 1e7  # first state's variance over the measurement's: knows nothing, and leaves half of float64's digits
_CELLS = 400_000  # times x channels held at once, about 250 MB; more channels go in turn, which changes no result


@dataclass(frozen=True)
class SmoothedSeries:
    """``position``, ``velocity`` (T, B, D), in the values' unit and that per second; ``variance`` (T, B) of each axis of the position."""

    position: np.ndarray
    velocity: np.ndarray
    variance: np.ndarray


def jerk_density(cutoff_hz: np.ndarray, variance: np.ndarray, step_s: float) -> np.ndarray:
    """Spectral density of the jerk that makes :func:`smooth` pass a sinusoid of ``cutoff_hz`` with factor 1/2.

    ``variance`` of a measurement, taken every ``step_s``. Unit: the values' squared over s^5.
    """
    return (2 * np.pi * cutoff_hz) ** 6 * variance * step_s


def rts_smooth(
    times_s: np.ndarray, values: np.ndarray, variances: np.ndarray, jerk: np.ndarray, gap_decay_s: float = np.inf
) -> SmoothedSeries:
    """Smoothed trajectories of ``values`` (T, B, D): B channels of D axes that share their noise.

    ``times_s`` (T,) rises strictly, in steps of any length. ``variances`` (T, B) of each axis of a measurement, infinite where
    there is none (its value is ignored, NaN included). ``jerk`` (T - 1, B) spectral density of the driving jerk in each
    interval; see :func:`jerk_density`. In intervals of which an end was not measured, accelerations decay by e in ``gap_decay_s``.
    Before its first and after its last measurement a channel stands still, its variance growing.
    The result is symmetric in time and the same for any grouping of channels.
    A channel without any measurement raises ValueError.
    """
    T, B, D = values.shape
    if variances.shape != (T, B) or jerk.shape != (max(T - 1, 0), B):
        raise ValueError(f"values {values.shape} need variances {(T, B)} and jerk {(T - 1, B)}, found {variances.shape}, {jerk.shape}")
    if np.any(np.diff(times_s) <= 0):
        raise ValueError("times_s must rise strictly")
    if T and not np.isfinite(variances).any(0).all():
        raise ValueError("a channel without any measurement cannot be smoothed")
    out = SmoothedSeries(np.empty((T, B, D)), np.empty((T, B, D)), np.empty((T, B)))
    size = max(1, _CELLS // max(T, 1))
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


def _hold_ends(run: SmoothedSeries, measured: np.ndarray) -> None:
    """Let channels stand still before their first and after their last ``measured`` (T, B) row: speeds and accelerations of a wide band
    are noise enough to carry an extrapolation metres away within a few frames."""
    rows = np.arange(len(measured))[:, None]
    inside = np.clip(rows, measured.argmax(0), len(measured) - 1 - measured[::-1].argmax(0))
    at, channel = np.nonzero(inside != rows)
    run.position[at, channel] = run.position[inside[at, channel], channel]
    run.velocity[at, channel] = 0.0


def _transitions(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transition matrices F and unit process noise Q (n, 3, 3) for ``steps`` (n,) in units of time."""
    h = steps
    one, zero = np.ones_like(h), np.zeros_like(h)
    F = np.stack([np.stack([one, h, h**2 / 2], -1), np.stack([zero, one, h], -1), np.stack([zero, zero, one], -1)], -2)
    a, b, c, d = h**5 / 20, h**4 / 8, h**3 / 6, h**3 / 3
    Q = np.stack([np.stack([a, b, c], -1), np.stack([b, d, h**2 / 2], -1), np.stack([c, h**2 / 2, h], -1)], -2)
    return F, Q


def _decaying(steps: np.ndarray, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`_transitions`, of accelerations that decay by e in ``decay``; by Van Loan's integral (IEEE Trans. Autom. Control 1978)."""
    A = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1 / decay]])
    block = np.zeros((6, 6))
    block[:3, :3], block[3:, 3:], block[2, 5] = -A, A.T, 1.0
    whole = expm(block * steps[:, None, None])
    F = np.swapaxes(whole[:, 3:, 3:], 1, 2)
    return F, F @ whole[:, :3, 3:]


def _smooth_part(
    times: np.ndarray, values: np.ndarray, variances: np.ndarray, jerk: np.ndarray, gap_decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed states (T, B, 3, D) and their covariances (T, B, 3, 3). Time is in median steps, so that all states are of one size."""
    T, B, D = values.shape
    measured = np.isfinite(variances)
    y = np.where(measured[..., None], values, 0.0)
    r = np.where(measured, variances, 1.0)
    steps = np.diff(times)
    F, Q = (np.repeat(m[:, None], B, axis=1) for m in _transitions(steps))
    still = np.full((T, B), np.inf)  # variance of acceleration about none, where a gap begins
    if np.isfinite(gap_decay):
        jerk, gap = _even_across_gaps(jerk, ~(measured[1:] & measured[:-1]))
        some = np.flatnonzero(gap.any(1))
        for whole, decaying in zip((F, Q), _decaying(steps[some], gap_decay), strict=True):
            whole[some] = np.where(gap[some][..., None, None], decaying[:, None], whole[some])
        begins = gap & ~np.concatenate([np.zeros((1, B), bool), gap[:-1]])
        # A decaying process looks the same backwards only if it begins with the variance it keeps.
        still[:-1] = np.where(begins, jerk * gap_decay / 2, np.inf)
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
            ahead[t] = F[t - 1] @ covariance[t - 1] @ np.swapaxes(F[t - 1], 1, 2) + jerk[t - 1][:, None, None] * Q[t - 1]
        mean[t], covariance[t] = _told(ahead_mean[t], ahead[t], 0, y[t], np.where(measured[t], r[t], np.inf))
        if np.isfinite(still[t]).any():
            mean[t], covariance[t] = _told(mean[t], covariance[t], 2, np.zeros_like(y[t]), still[t])
    if T > 1:
        back = covariance[:-1] @ np.swapaxes(F, 2, 3) @ _inverse(ahead[1:])
        for t in range(T - 2, -1, -1):
            mean[t] += back[t] @ (mean[t + 1] - ahead_mean[t + 1])
            covariance[t] += back[t] @ (covariance[t + 1] - ahead[t + 1]) @ np.swapaxes(back[t], 1, 2)
    return mean, covariance


def _even_across_gaps(jerk: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``jerk`` (T - 1, B) with its geometric mean throughout each run of ``gap`` (T - 1, B), and ``gap``."""
    jerk = jerk.copy()
    for b in np.flatnonzero(gap.any(0)):
        for first, last in true_runs(gap[:, b]):
            run = slice(first, last + 1)
            jerk[run, b] = np.exp(np.log(np.maximum(jerk[run, b], 1e-300)).mean())
    return jerk, gap


def _told(mean: np.ndarray, P: np.ndarray, state: int, y: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States (B, 3, D) and covariances (B, 3, 3) after ``state`` of each was measured as ``y`` (B, D) with variance ``r`` (B,)."""
    gain = P[:, :, state] / (P[:, state, state] + r)[:, None]
    # Joseph's form: stays symmetric and positive where the first states know next to nothing.
    keep = np.broadcast_to(np.eye(3), P.shape).copy()
    keep[:, :, state] -= gain
    noise = gain * np.where(np.isfinite(r), r, 0.0)[:, None]
    told = keep @ P @ np.swapaxes(keep, 1, 2) + gain[:, :, None] * noise[:, None, :]
    return mean + gain[:, :, None] * (y - mean[:, state])[:, None, :], told


def _inverse(m: np.ndarray) -> np.ndarray:
    """Inverses (..., 3, 3) of symmetric positive matrices; scaled to ones on the diagonal first, as their units differ by magnitudes."""
    scale = 1 / np.sqrt(np.einsum("...ii->...i", m))
    both = scale[..., :, None] * scale[..., None, :]
    return np.linalg.inv(m * both) * both
