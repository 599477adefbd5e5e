"""Made-up golf analyses with plausible curves, for tests of what is written and drawn from one. ``golf`` computes nothing of it."""

import dataclasses
from typing import Any

import numpy as np

from body4d.core.errors import RunWarning
from body4d.golf.types import (
    EVENTS,
    Curve,
    GolfAnalysis,
    Measure,
    Sequence,
    SequencePeak,
    Swing,
    SwingEvent,
    SwingFrame,
    Tempo,
)

SHARES = (0.0, 0.40, 0.54, 0.77, 0.92, 1.0, 1.06, 1.57)
"""Places of the events between address (0) and impact (1)."""

BACKSWING_AND_DOWNSWING_S = 1.0
MARGIN_S = 0.2


def make_swing(*, fps: float = 60.0, first_frame: int = 12, resolved: bool = True, turn: float = 1.0, **changes: Any) -> Swing:
    """A right-handed swing seen face-on; ``turn`` scales every turn of the body."""
    exact = np.array(SHARES) * BACKSWING_AND_DOWNSWING_S * fps + MARGIN_S * fps + first_frame
    last = int(np.ceil(exact[-1] + MARGIN_S * fps / 2))
    frames = np.arange(first_frame, last + 1)
    times = (frames - exact[0]) / fps
    events = tuple(
        SwingEvent(
            name,
            round(float(at)),
            float(at),
            float(at / fps),
            0.9,
            name in ("toe_up", "mid_follow_through"),
            "hands at their address place",
        )
        for name, at in zip(EVENTS, exact, strict=True)
    )

    def through(*values: float) -> np.ndarray:
        """A smooth curve with ``values`` at address, top, impact and finish."""
        from scipy.interpolate import PchipInterpolator

        knots = [-1.0, 0.0, SHARES[3], SHARES[5], SHARES[7], SHARES[7] + 1.0]
        return PchipInterpolator(knots, [values[0], *values, values[-1]])(times)

    pelvis, thorax = turn * through(0, -40, 38, 95), turn * through(0, -88, 25, 120)
    shoulders, arm = turn * through(2, -96, 30, 130), through(-62, 35, -58, 40)
    sway, lift, thrust = through(0, -3, 8, 14), through(0, -2, 1, 4), through(0, 1, -2, 3)
    hands = np.stack([through(0, -0.42, 0.1, 0.2), through(0.75, 1.55, 0.82, 1.5), through(0.4, 0.05, 0.45, 0.0)], axis=1)
    speed = np.linalg.norm(np.gradient(hands, times, axis=0), axis=1)
    rates = {name: np.gradient(values, times) for name, values in (("pelvis", pelvis), ("thorax", thorax), ("lead_arm", -arm))}
    curves = (
        Curve("pelvis_turn_deg", "Pelvis turn", "°", pelvis, 6.0, "B", "Turn"),
        Curve("thorax_turn_deg", "Thorax turn", "°", thorax, 8.0, "B", "Turn"),
        Curve("shoulder_line_turn_deg", "Shoulder line turn", "°", shoulders, 9.0, "B", "Turn"),
        Curve("x_factor_deg", "X-factor", "°", np.abs(thorax - pelvis), 7.0, "B", "Turn"),
        Curve("lead_arm_elevation_deg", "Lead arm", "°", arm, 4.0, "A", "Arms and legs"),
        Curve("pelvis_sway_cm", "Pelvis sway", "cm", sway, 1.5, "A", "Shift"),
        Curve("pelvis_lift_cm", "Pelvis lift", "cm", lift, 1.0, "A", "Shift"),
        Curve("pelvis_thrust_cm", "Pelvis thrust", "cm", thrust, 5.0, "C", "Shift"),
        Curve("hand_speed_m_s", "Hand speed", "m/s", speed, 0.6, "B", "Speed and tempo"),
        Curve("pelvis_turn_rate_deg_s", "Pelvis", "°/s", rates["pelvis"], 60.0, "B", "Sequence"),
        Curve("thorax_turn_rate_deg_s", "Thorax", "°/s", rates["thorax"], 80.0, "B", "Sequence"),
        Curve("lead_arm_rate_deg_s", "Lead arm", "°/s", rates["lead_arm"], 90.0, "B", "Sequence"),
    )
    measures = []
    for curve in curves[:8]:
        for event in ("address", "top", "impact"):
            at = exact[EVENTS.index(event)] - frames[0]
            value = float(np.interp(at, np.arange(len(frames)), curve.values))
            reason = "One camera face-on sees hardly any depth." if curve.class_ == "C" else ""
            method = f"How far the {curve.label.lower()} is from its value at address."
            measures.append(
                Measure(curve.name, curve.label, event, value, curve.bar, curve.unit, curve.class_, method, False, reason, curve.group)
            )
    measures += [
        Measure("head_sway_cm", "Head sway", "top", float("nan"), float("nan"), "cm", "A", "Middle of nose and ears.", False, "", "Shift"),
        Measure(
            "peak_hand_speed_m_s", "Greatest hand speed", None, 7.4, 0.6, "m/s", "B", "Middle of the wrists.", True, "", "Speed and tempo"
        ),
        Measure(
            "x_factor_stretch_deg",
            "X-factor stretch",
            None,
            4.0,
            9.0,
            "°",
            "C",
            "Growth after pelvis reversal.",
            False,
            "Filmed too slowly.",
            "Turn",
        ),
    ]
    impact = exact[EVENTS.index("impact")]
    peaks = tuple(
        SequencePeak(segment, peak, 60.0, float(impact + lag * fps), lag)
        for segment, peak, lag in (("pelvis", 430.0, -0.09), ("thorax", 610.0, -0.05), ("lead arm", 900.0, -0.03))
    )
    frame = SwingFrame(
        np.array([1.0, 0, 0]),
        np.array([0, 0, 1.0]),
        np.array([0, 1.0, 0]),
        np.zeros(3),
        "picture",
        3.0,
        "face-on",
        84.0,
        0.95,
        "right",
        0.8,
    )
    swing = Swing(
        frames=frames,
        times_s=times,
        frame=frame,
        events=events,
        pelvis_reversal=SwingEvent(
            "pelvis_reversal", round(exact[3] - 0.03 * fps), float(exact[3] - 0.03 * fps), 0.0, 0.7, False, "turn reverses"
        ),
        measures=tuple(measures),
        curves=curves,
        tempo=Tempo(3.35, 0.4, 0.77, 0.23, 1 / fps),
        sequence=Sequence(peaks, 0.012, resolved, "" if resolved else "The gaps are shorter than two frames."),
        hand_path_m=hands,
        confidence=0.92,
    )
    return dataclasses.replace(swing, **changes)


def make_analysis(*swings: Swing, fps: float = 60.0, main: int = 0, **changes: Any) -> GolfAnalysis:
    """An analysis of ``swings``, or of one made swing."""
    warning = RunWarning("slow_motion", "The clip looks slowed down: a backswing took 2.4 seconds.", hint="Say --capture-fps.", facts={})
    analysis = GolfAnalysis(1, "lite", "made.mp4", fps, 1.0, "file", swings or (make_swing(fps=fps),), main, None, (warning,))
    return dataclasses.replace(analysis, **changes)


def cut_off(swing: Swing) -> Swing:
    """``swing`` in a clip that ends before impact: three events are missing, their measures are unknown, curves have gaps."""
    kept = tuple(event for event in swing.events if event.name in EVENTS[:5])
    measures = tuple(dataclasses.replace(m, value=float("nan"), bar=float("nan")) if m.event == "impact" else m for m in swing.measures)
    curves = tuple(dataclasses.replace(c, values=np.where(np.arange(len(c.values)) % 7 == 0, np.nan, c.values)) for c in swing.curves)
    return dataclasses.replace(
        swing, events=kept, measures=measures, curves=curves, cut_off=EVENTS[5:], tempo=None, sequence=None, pelvis_reversal=None
    )
