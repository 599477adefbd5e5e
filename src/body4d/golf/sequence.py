"""Kinematic sequence of the downswing and tempo: when pelvis, thorax and lead arm turn fastest, and what the frame rate lets one tell."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float

from body4d.golf.body_motion import BodyMotion
from body4d.golf.measures import Judging
from body4d.golf.quantities import MIN_RATE_FPS
from body4d.golf.types import Sequence, SequencePeak, SwingFrame, Tempo

BEFORE_TOP_S, AFTER_IMPACT_S = 0.05, 0.15
"""The window of the peaks in real time. In professionals the thorax is fastest after impact (Steele et al. 2018): a window that ends at
impact falsifies the order. The widths are a guess."""

USUAL_DOWNSWING_S = 0.25
MIN_LAG_FRAMES = 2.0


def lead_arm_rate_deg_s(motion: BodyMotion, frame: SwingFrame, top: float, impact: float) -> Float[np.ndarray, " t"]:
    """Turn of the line from lead shoulder to lead wrist about the normal of the plane of the hands' way from top to impact.

    Positive in the direction of the downswing.
    """
    hands = motion.joints["mid_wrist"][int(top) : int(np.ceil(impact)) + 1]
    normal = np.linalg.svd(hands - hands.mean(0))[2][-1]
    arm = motion.joints[f"{frame.lead}_wrist"] - motion.joints[f"{frame.lead}_shoulder"]
    u = np.cross(normal, np.array([0.0, 1.0, 0.0]))
    u /= max(float(np.linalg.norm(u)), 1e-9)
    v = np.cross(normal, u)
    angle = np.unwrap(np.arctan2(arm @ v, arm @ u))
    down = angle[min(int(np.ceil(impact)), len(angle) - 1)] - angle[int(top)]
    return np.degrees(np.gradient(angle, motion.real_s)) * (1.0 if down >= 0 else -1.0)


def kinematic_sequence(
    motion: BodyMotion, curves: Mapping[str, np.ndarray], arm_rate: Float[np.ndarray, " t"], rows: Mapping[str, float], judging: Judging
) -> Sequence:
    """The peaks between shortly before the top and some time after impact."""
    real = np.arange(len(motion))
    top_s, impact_s = (float(np.interp(rows[name], real, motion.real_s)) for name in ("top", "impact"))
    scale = 1.0 if judging.time_known else (impact_s - top_s) / USUAL_DOWNSWING_S
    first, last = (int(np.searchsorted(motion.real_s, at)) for at in (top_s - BEFORE_TOP_S * scale, impact_s + AFTER_IMPACT_S * scale))
    last = min(last, len(motion) - 1)
    rates: dict[Literal["pelvis", "thorax", "lead arm"], np.ndarray] = {
        "pelvis": curves["pelvis_turn_rate_deg_s"],
        "thorax": curves["thorax_turn_rate_deg_s"],
        "lead arm": arm_rate,
    }
    peaks = []
    for segment, values in rates.items():
        row, height = highest(values, first, last)
        at_s = float(np.interp(row, real, motion.real_s))
        bar = judging.bar(f"{segment.replace(' ', '_')}_peak_rate_deg_s", None)
        frame_exact = float(np.interp(row, real, motion.frames))
        peaks.append(SequencePeak(segment, height, bar, frame_exact, at_s - impact_s))
    peaks.sort(key=lambda peak: peak.time_to_impact_s)
    lag_bar = judging.bar("sequence_lag_s", None)
    min_gap_s = max(MIN_LAG_FRAMES / judging.fps, lag_bar if np.isfinite(lag_bar) else 0.0)
    gaps = [b.time_to_impact_s - a.time_to_impact_s for a, b in pairwise(peaks)]
    resolved = judging.fps >= MIN_RATE_FPS and judging.time_known and min(gaps) > min_gap_s
    return Sequence(tuple(peaks), lag_bar, resolved, _note(judging, resolved))


def _note(judging: Judging, resolved: bool) -> str:
    club = "The club is not part of it."
    if not judging.time_known:
        return f"The clip seems to be slowed down by an unknown factor, so rates and times are not real ones. {club}"
    if resolved:
        return f"The gaps are longer than two frames. {club}"
    return f"The order cannot be told at {judging.fps:.0f} frames a second. {club}"


def highest(values: Float[np.ndarray, " t"], first: int, last: int) -> tuple[float, float]:
    """Row and height of the greatest value between two rows, by a parabola through three rows."""
    row = first + int(np.argmax(values[first : last + 1]))
    if not 0 < row < len(values) - 1:
        return float(row), float(values[row])
    a, b, c = (float(values[row + k]) for k in (-1, 0, 1))
    bend = a - 2 * b + c
    if bend >= 0 or b < max(a, c):
        return float(row), b
    shift = 0.5 * (a - c) / bend
    return row + shift, b - 0.25 * (a - c) * shift


def swing_tempo(motion: BodyMotion, rows: Mapping[str, float]) -> Tempo | None:
    """Backswing against downswing; None where one of their ends is outside the clip."""
    if any(name not in rows for name in ("address", "top", "impact")):
        return None
    address, top, impact = (float(np.interp(rows[name], np.arange(len(motion)), motion.real_s)) for name in ("address", "top", "impact"))
    back, down, step = top - address, impact - top, motion.frame_time_s
    # One frame more or less of the downswing is what decides: it is the shorter one.
    return Tempo(back / down, back / down * step / down, back, down, step)
