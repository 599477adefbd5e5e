"""Filters that the smoother is compared with: none, a causal average, a one-euro filter and a Butterworth filter, each as usually applied.

All work on rotation quaternions kept on one hemisphere and on the translation in metres, with gaps bridged by straight lines beforehand.
"""

from collections.abc import Callable

import numpy as np
from motion_tracks import SyntheticPerson, posed
from scipy.signal import butter, sosfiltfilt

from body4d.core.types import BodyTrack
from body4d.geometry.rotations import matrix_to_quat, matrix_to_rotvec, quat_to_rotvec, rotvec_to_matrix
from body4d.motion.smoother import fill_rotations

CAUSAL_FRAMES = 5
ONE_EURO_MIN_HZ, ONE_EURO_SLOPE, ONE_EURO_SPEED_HZ = 1.5, 1.0, 1.0  # chosen for the lowest MPJPE on the walk at 30 fps, seed 0
BUTTERWORTH_HZ = 6.0


def bridged(person: SyntheticPerson, times_s: np.ndarray) -> BodyTrack:
    """The raw track with its gaps bridged by straight lines (translation) and even turns the shorter way (rotations)."""
    raw, observed = person.raw, person.raw.observed
    known = np.broadcast_to(observed[:, None], raw.rotations.shape[:2])
    local = fill_rotations(times_s, rotvec_to_matrix(raw.rotations), known)
    translation_m = np.stack([np.interp(times_s, times_s[observed], raw.translation_m[observed, i]) for i in range(3)], -1)
    return posed(raw, person.rig, matrix_to_rotvec(local), translation_m)


def _apply(person: SyntheticPerson, times_s: np.ndarray, filter_channels: Callable[[np.ndarray], np.ndarray]) -> BodyTrack:
    """The bridged track with ``filter_channels`` (T, C) -> (T, C) applied to quaternions and translation."""
    track = bridged(person, times_s)
    quat = matrix_to_quat(rotvec_to_matrix(track.rotations))
    signs = np.where((quat[1:] * quat[:-1]).sum(-1) < 0, -1.0, 1.0)
    quat[1:] *= np.cumprod(signs, axis=0)[..., None]
    smooth = filter_channels(quat.reshape(len(quat), -1)).reshape(quat.shape)
    rotations = quat_to_rotvec(smooth / np.linalg.norm(smooth, axis=-1, keepdims=True))
    return posed(track, person.rig, rotations, filter_channels(track.translation_m))


def causal_average(person: SyntheticPerson, times_s: np.ndarray) -> BodyTrack:
    """Mean of the last five frames."""

    def average(x: np.ndarray) -> np.ndarray:
        padded = np.concatenate([np.repeat(x[:1], CAUSAL_FRAMES - 1, 0), x])
        return np.mean([padded[i : i + len(x)] for i in range(CAUSAL_FRAMES)], axis=0)

    return _apply(person, times_s, average)


def one_euro(person: SyntheticPerson, times_s: np.ndarray) -> BodyTrack:
    """Casiez, Roussel & Vogel, "1 euro filter", CHI 2012: a causal low pass whose cut-off grows with speed."""
    step = float(np.median(np.diff(times_s)))

    def share(cutoff_hz: np.ndarray | float) -> np.ndarray:
        return 1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff_hz) * step))

    def filtered(x: np.ndarray) -> np.ndarray:
        out, speed = x.copy(), np.zeros(x.shape[1])
        for t in range(1, len(x)):
            speed += share(ONE_EURO_SPEED_HZ) * ((x[t] - x[t - 1]) / step - speed)
            out[t] = out[t - 1] + share(ONE_EURO_MIN_HZ + ONE_EURO_SLOPE * np.abs(speed)) * (x[t] - out[t - 1])
        return out

    return _apply(person, times_s, filtered)


def butterworth(person: SyntheticPerson, times_s: np.ndarray) -> BodyTrack:
    """Zero-lag Butterworth low pass at 6 Hz, order 2 there and back (Winter, "Biomechanics and motor control", 2009)."""
    sos = butter(2, BUTTERWORTH_HZ, fs=1 / float(np.median(np.diff(times_s))), output="sos")
    return _apply(person, times_s, lambda x: sosfiltfilt(sos, x, axis=0))
