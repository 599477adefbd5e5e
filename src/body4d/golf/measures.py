"""The measures of a swing: their values, and by bar, view and rate how each is shown."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.golf.angles import (
    UP,
    cardan_deg,
    elevation_deg,
    joint_angle_deg,
    line_tilt_deg,
    line_turn_deg,
    rate,
    segment_angles,
    twist_about_up,
)
from body4d.golf.bars import BarTable
from body4d.golf.body_motion import BodyMotion
from body4d.golf.quantities import ATI, BY_NAME, MIN_RATE_FPS, QUANTITIES, REVERSAL, SHIFT, Quantity
from body4d.golf.types import ESTIMATE_LIMITS, Class, Curve, Measure, SwingFrame, View

DEPTH_REASON = "From this side it is movement towards the camera or away from it, which one camera cannot tell."
SMALL_REASON = "It is a difference of a few degrees, smaller than what one camera can tell."
OBLIQUE_REASON = "The camera stands at an angle to the golfer, so that part of it is movement towards the camera or away from it."
SLOWED_REASON = "The clip seems to be slowed down, and by how much is not known."


@dataclass(frozen=True)
class Judging:
    """What decides how a measure is shown."""

    table: BarTable
    preset: str
    view: View
    fps: float
    """Real frames per second of the frames that were looked at."""
    time_known: bool = True

    def bar(self, name: str, event: str | None) -> float:
        return self.table.bar(name, event, preset=self.preset, view=self.view, fps=self.fps)

    def class_of(self, quantity: Quantity, bar: float) -> tuple[Class, str]:
        """The class of a quantity with this bar, and the reason where it is grey."""
        class_ = quantity.class_from(self.view)
        if not self.time_known and quantity.unit in ("m/s", "°/s", "s"):
            return "C", SLOWED_REASON
        if quantity.is_rate and self.fps < MIN_RATE_FPS:
            return "C", f"Rates need at least {MIN_RATE_FPS:.0f} frames a second; this clip has {self.fps:.0f}."
        if class_ == "C":
            if quantity.depth_view is None:
                return "C", SMALL_REASON
            return "C", DEPTH_REASON if quantity.depth_view == self.view else OBLIQUE_REASON
        limit = ESTIMATE_LIMITS.get(quantity.unit)
        return ("B" if class_ == "A" and limit is not None and bar > limit else class_), ""

    def measure(self, quantity: Quantity, event: str | None, value: float, *, proxy: bool = False, missing: str = "") -> Measure:
        """A measure with its bar and class; ``missing`` is why ``value`` is NaN."""
        bar = self.bar(quantity.name, event)
        class_, reason = self.class_of(quantity, bar)
        if not np.isfinite(value):
            class_, reason, bar = "C", missing or "It could not be told.", float("nan")
        return Measure(
            name=quantity.name,
            label=quantity.label,
            event=event,
            value=float(value),
            bar=bar,
            unit=quantity.unit,
            class_=class_,
            method=quantity.method,
            proxy=proxy,
            reason=reason,
            group=quantity.group,
        )

    def curve(self, name: str, values: Float[np.ndarray, " t"]) -> Curve:
        """A quantity over the swing; its bar is that at the top, or at impact where it is read only there."""
        quantity = BY_NAME[name]
        bar = self.bar(name, "top" if "top" in quantity.events else "impact")
        return Curve(name, quantity.label, quantity.unit, values, bar, self.class_of(quantity, bar)[0], quantity.group)


def swing_curves(motion: BodyMotion, frame: SwingFrame, address_rows: np.ndarray) -> dict[str, Float[np.ndarray, " t"]]:
    """Every quantity of ``QUANTITIES`` on all rows of ``motion``."""
    joints, lead, trail = motion.joints, frame.lead, frame.trail
    pelvis, thorax = segment_angles(motion.pelvis, frame), segment_angles(motion.thorax, frame)
    sign = 1.0 if frame.hand == "right" else -1.0

    def since_address(name: str, direction: np.ndarray) -> np.ndarray:
        along = joints[name] @ direction
        return 100.0 * (along - along[address_rows].mean())

    def joint(side: str, *names: str) -> np.ndarray:
        return joint_angle_deg(*(joints[f"{side}_{name}"] for name in names))

    ankles = {side: joints[f"{side}_ankle"] @ frame.target for side in (lead, trail)}
    # Feet roll and turn after impact; the stance is that of address.
    trail_m, lead_m = (ankles[side][address_rows].mean() for side in (trail, lead))
    hands = np.gradient(joints["mid_wrist"], motion.real_s, axis=0)
    curves = {
        "pelvis_turn_deg": pelvis.turn_deg,
        "thorax_turn_deg": thorax.turn_deg,
        "shoulder_line_turn_deg": line_turn_deg(joints[f"{lead}_shoulder"], joints[f"{trail}_shoulder"], frame),
        "x_factor_deg": pelvis.turn_deg - thorax.turn_deg,
        "trunk_twist_deg": -sign * _relative_twist_deg(motion.pelvis, motion.thorax),
        "shoulder_tilt_deg": line_tilt_deg(joints[f"{lead}_shoulder"], joints[f"{trail}_shoulder"]),
        "pelvis_tilt_deg": line_tilt_deg(joints[f"{lead}_hip"], joints[f"{trail}_hip"]),
        "thorax_forward_bend_deg": thorax.forward_bend_deg,
        "thorax_side_bend_deg": thorax.side_bend_deg,
        "pelvis_forward_bend_deg": pelvis.forward_bend_deg,
        "pelvis_side_bend_deg": pelvis.side_bend_deg,
        "pelvis_sway_cm": since_address("mid_hip", frame.target),
        "pelvis_thrust_cm": since_address("mid_hip", frame.ball),
        "pelvis_lift_cm": since_address("mid_hip", UP),
        "chest_sway_cm": since_address("mid_shoulder", frame.target),
        "head_sway_cm": since_address("head", frame.target),
        "head_thrust_cm": since_address("head", frame.ball),
        "head_lift_cm": since_address("head", UP),
        "pelvis_between_ankles": (joints["mid_hip"] @ frame.target - trail_m) / max(lead_m - trail_m, 1e-6),
        "lead_arm_elevation_deg": elevation_deg(joints[f"{lead}_shoulder"], joints[f"{lead}_wrist"]),
        "lead_elbow_deg": joint(lead, "shoulder", "elbow", "wrist"),
        "trail_elbow_deg": joint(trail, "shoulder", "elbow", "wrist"),
        "lead_knee_deg": joint(lead, "hip", "knee", "ankle"),
        "trail_knee_deg": joint(trail, "hip", "knee", "ankle"),
        "hand_speed_m_s": np.linalg.norm(hands, axis=-1),
        "pelvis_turn_rate_deg_s": rate(pelvis.turn_deg, motion.real_s),
        "thorax_turn_rate_deg_s": rate(thorax.turn_deg, motion.real_s),
    }
    curves["sway_gap_cm"] = curves["pelvis_sway_cm"] - curves["chest_sway_cm"]
    # Turns may have wound up before the swing: they count from where address faces the ball.
    for name in ("pelvis_turn_deg", "thorax_turn_deg", "shoulder_line_turn_deg", "trunk_twist_deg"):
        curves[name] = curves[name] - 360.0 * np.round(curves[name][address_rows].mean() / 360.0)
    curves["x_factor_deg"] = curves["pelvis_turn_deg"] - curves["thorax_turn_deg"]
    return curves


def event_measures(
    curves: Mapping[str, np.ndarray], rows: Mapping[str, float], proxies: Mapping[str, bool], address_rows: np.ndarray, judging: Judging
) -> list[Measure]:
    """Each quantity at its events; ``rows`` are those of the events inside the clip, and of the pelvis reversal."""
    out = []
    for quantity in QUANTITIES:
        needs_address = quantity.group == SHIFT
        for event in quantity.events:
            missing = next((name for name in (*(("address",) if needs_address else ()), event) if name not in rows), None)
            value = float("nan") if missing else value_at(curves[quantity.name], rows[event], address_rows if event == "address" else None)
            why = f"The moment “{missing.replace('_', ' ')}” is outside the clip." if missing else ""
            out.append(judging.measure(quantity, event, value, proxy=proxies.get(event, False), missing=why))
    return out


def value_at(values: Float[np.ndarray, " t"], row: float, address_rows: np.ndarray | None = None) -> float:
    """A curve between two rows; at address its mean over the still stretch."""
    return float(values[address_rows].mean() if address_rows is not None else np.interp(row, np.arange(len(values)), values))


def x_factor_stretch_deg(curves: Mapping[str, np.ndarray], rows: Mapping[str, float]) -> float:
    """How much the X-factor grows from pelvis reversal on, until mid-downswing."""
    if REVERSAL not in rows or "mid_downswing" not in rows:
        return float("nan")
    x = curves["x_factor_deg"]
    start, end = rows[REVERSAL], rows["mid_downswing"]
    first = value_at(x, start)
    between = x[int(np.ceil(start)) : int(end) + 1]
    return max(float(between.max()) if len(between) else first, first) - first


def research_measures(
    motion: BodyMotion, rows: Mapping[str, float], frame: SwingFrame, judging: Judging, address_rows: np.ndarray
) -> list[Measure]:
    """Cardan angles of thorax against pelvis at the main events."""
    angles = cardan_deg(motion.pelvis, motion.thorax, left_handed=frame.hand == "left")
    method = "Thorax relative to pelvis by Cardan angles in the order side bend, flexion, axial turn (order: Joyce et al. 2010)."
    names = (("cardan_side_bend_deg", "Side bend"), ("cardan_flexion_deg", "Flexion"), ("cardan_axial_deg", "Axial turn"))
    out = []
    for k, (name, label) in enumerate(names):
        quantity = Quantity(name, f"{label} of thorax against pelvis", "°", "Research", "B", "B", method)
        for event in ATI:
            value = value_at(angles[:, k], rows[event], address_rows if event == "address" else None) if event in rows else float("nan")
            out.append(judging.measure(quantity, event, value, missing=f"The moment “{event}” is outside the clip."))
    return out


def _relative_twist_deg(pelvis: Float[np.ndarray, "t 3 3"], thorax: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, " t"]:
    """Twist of the thorax about the pelvis' up axis, positive to the left."""
    R = np.swapaxes(pelvis, -1, -2) @ thorax
    return np.degrees(np.unwrap(twist_about_up(R)))
