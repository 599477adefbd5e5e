"""Smooth series over time: channels of a flat space, and rotations on SO(3). Pure numpy.

Rotations are smoothed on SO(3): the trajectory is unrolled into the flat space of its own body-frame turns, filtered there by a Kalman
filter with RTS pass (:mod:`.kalman`), rolled back and unrolled again about the result, until it no longer changes ("error state",
Solà, "Quaternion kinematics for the error-state Kalman filter", 2017; rolling: Jupp & Kent, "Fitting smooth paths to
spherical data", Applied Statistics 1987). Nothing wraps at 180 degrees.
"""

import numpy as np

from body4d.config import MotionSettings
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix
from body4d.motion.bandwidth import choose_cutoff_hz, median_variance
from body4d.motion.outliers import burst_outliers, chordal_points, single_frame_outliers
from body4d.motion.repeats import BodyChannels, fill_from_repeats
from body4d.motion.rts_smoother import jerk_density
from body4d.motion.rts_smoother import rts_smooth as kalman_smooth

_ROUNDS = 3  # the third changes a golf swing by less than 0.01 degrees


def smooth_series(
    times_s: np.ndarray, values: np.ndarray, variances: np.ndarray, settings: MotionSettings, doubt: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed ``values`` (T, B, D) of a flat space and their variances (T, B); ``variances`` (T, B) infinite where nothing is measured.
    ``doubt``: see :func:`.bandwidth.choose_cutoff_hz`."""
    variances = _without_detours(times_s, values, variances, settings)
    variances = np.where(single_frame_outliers(times_s, values, variances, settings), np.inf, variances)
    jerk = _jerk(times_s, values, variances, settings, doubt)
    run = kalman_smooth(times_s, values, variances, jerk, settings.gap_decay_s)
    return run.position, run.variance


def smooth_rotations(
    times_s: np.ndarray, local: np.ndarray, variances: np.ndarray, settings: MotionSettings, body: BodyChannels | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed rotations (T, B, 3, 3) of ``local`` and their variances (T, B); ``variances`` (T, B) in rad² about any axis, infinite
    where there is none. Where the channels are told to be one ``body``, its absences are bridged by what the clip shows once more."""
    seen = np.isfinite(variances).any(1)
    variances = _without_detours(times_s, chordal_points(local), variances, settings)
    reference = fill_rotations(times_s, local, np.isfinite(variances))
    measured = np.where(np.isfinite(variances)[..., None, None], local, reference)
    unrolled = unroll_rotations(reference)
    variances = np.where(single_frame_outliers(times_s, unrolled, variances, settings), np.inf, variances)
    reference = fill_rotations(times_s, measured, np.isfinite(variances))
    jerk = _jerk(times_s, unroll_rotations(reference), variances, settings)
    smoothed, variance = _rolled(times_s, reference, measured, variances, jerk, settings)
    if body is None:
        return smoothed, variance
    repeated, told = fill_from_repeats(times_s, smoothed, seen, body, settings)
    known = np.isfinite(told)
    if not known.any():
        return smoothed, variance
    measured = np.where(known[..., None, None], repeated, measured)
    reference = np.where(known[..., None, None], repeated, smoothed)
    return _rolled(times_s, reference, measured, np.where(known, told, variances), jerk, settings)


def _rolled(
    times_s: np.ndarray, reference: np.ndarray, measured: np.ndarray, variances: np.ndarray, jerk: np.ndarray, settings: MotionSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and variances smoothed about ``reference`` (T, B, 3, 3) and about the result again."""
    variance = np.zeros_like(variances)
    unrolled = unroll_rotations(reference)
    for _ in range(_ROUNDS):
        error = matrix_to_rotvec(np.swapaxes(reference, 2, 3) @ measured)
        run = kalman_smooth(times_s, unrolled + error, variances, jerk, settings.gap_decay_s)
        reference = reference @ rotvec_to_matrix(run.position - unrolled)
        unrolled, variance = unroll_rotations(reference), run.variance
    return reference, variance


def _without_detours(times_s: np.ndarray, places: np.ndarray, variances: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """``variances`` (T, B), infinite also for measurements ``places`` (T, B, D) of a detour; twice, as one may touch another."""
    for _ in range(2):
        known = np.isfinite(variances)
        points = np.where(known[..., None], places, np.nan)
        variances = np.where(burst_outliers(times_s, points, np.sqrt(np.where(known, variances, 0.0)), settings), np.inf, variances)
    return variances


def unroll_rotations(rotations: np.ndarray) -> np.ndarray:
    """Rotations (T, B, 3, 3) rolled out: sums (T, B, 3) of the turns from row to row, each in the body's own frame, the shorter way."""
    turns = matrix_to_rotvec(np.swapaxes(rotations[:-1], -1, -2) @ rotations[1:])
    return np.concatenate([np.zeros((1, *turns.shape[1:])), np.cumsum(turns, axis=0)])


def fill_rotations(times_s: np.ndarray, rotations: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Rotations (T, B, 3, 3) with rows where ``known`` (T, B) is false put evenly between their known neighbours, the shorter way."""
    out = np.where(known[..., None, None], rotations, np.eye(3))
    for b in np.flatnonzero(~known.all(0)):
        rows = np.flatnonzero(known[:, b])
        missing = np.flatnonzero(~known[:, b])
        after = np.clip(np.searchsorted(rows, missing), 0, len(rows) - 1)
        before = rows[np.maximum(np.searchsorted(rows, missing) - 1, 0)]
        after = rows[after]
        span = np.where(after > before, times_s[after] - times_s[before], 1.0)
        share = np.clip((times_s[missing] - times_s[before]) / span, 0, 1)
        turn = matrix_to_rotvec(np.swapaxes(out[before, b], 1, 2) @ out[after, b])
        out[missing, b] = out[before, b] @ rotvec_to_matrix(turn * share[:, None])
    return out


def _jerk(times_s: np.ndarray, values: np.ndarray, variances: np.ndarray, settings: MotionSettings, doubt: float = 1.0) -> np.ndarray:
    """Driving jerk (T - 1, B) of each interval, so that the cut-off is the geometric mean of its ends'."""
    if len(times_s) < 2:
        return np.zeros((0, values.shape[1]))
    cutoff = choose_cutoff_hz(times_s, values, variances, settings, doubt)
    return jerk_density(np.sqrt(cutoff[:-1] * cutoff[1:]), median_variance(variances), float(np.median(np.diff(times_s))))
