"""The measures of a swing: what each is, where it is taken, and how far one camera can tell it. Sources: docs/golf.md."""

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
from body4d.golf.types import ESTIMATE_LIMITS, Class, Curve, Measure, SwingFrame, View

MIN_RATE_FPS = 120.0
"""Rates of turn and their order are shown from this many real frames per second on: a downswing has 7 frames at 30."""

TURN, TILT, SHIFT, LIMBS, SPEED = "Turn", "Tilt and bend", "Shift", "Arms and legs", "Speed and tempo"
REVERSAL = "pelvis_reversal"


@dataclass(frozen=True)
class Quantity:
    """What is followed over a swing, and at which events it is read."""

    name: str
    label: str
    unit: str
    group: str
    face_on: Class
    down_the_line: Class
    method: str
    events: tuple[str, ...] = ()
    depth_view: View | None = None
    """The view from which it is a distance from the camera."""
    is_rate: bool = False

    def class_from(self, view: View) -> Class:
        """The class by the view; from an oblique side the worse of both."""
        if view == "face-on":
            return self.face_on
        if view == "down-the-line":
            return self.down_the_line
        return max(self.face_on, self.down_the_line)


_ATI, _ATIF, _TI, _TIF = (
    ("address", "top", "impact"),
    ("address", "top", "impact", "finish"),
    ("top", "impact"),
    ("top", "impact", "finish"),
)
_TILT_TWIST = "by tilt and twist (Sports Biomechanics 24(8), 2025)"
_FROM_ADDRESS = "against its place at address"

QUANTITIES: tuple[Quantity, ...] = (
    Quantity("pelvis_turn_deg", "Pelvis turn", "°", TURN, "B", "B", f"Turn of the pelvis bone about the vertical {_TILT_TWIST}; 0: facing the ball, positive: towards the target.", _ATIF),  # fmt: skip
    Quantity("thorax_turn_deg", "Thorax turn", "°", TURN, "B", "B", f"Turn of the upper spine's bone, which carries the collar bones, about the vertical {_TILT_TWIST}; 0: facing the ball, positive: towards the target.", _ATIF),  # fmt: skip
    Quantity("shoulder_line_turn_deg", "Turn of the shoulder line", "°", TURN, "B", "B", "Turn of the line between the shoulder joints in the floor; it moves with the shoulder blades and is not the thorax.", _ATIF),  # fmt: skip
    Quantity("x_factor_deg", "X-factor", "°", TURN, "B", "B", "How much farther back the thorax is turned than the pelvis (joint-angle form: Brown et al. 2013).", ("top", REVERSAL, "impact")),  # fmt: skip
    Quantity("trunk_twist_deg", "Twist of the trunk", "°", TURN, "B", "B", "Twist of the thorax bone relative to the pelvis bone about the pelvis' own axis, counted as the X-factor.", ("top", REVERSAL)),  # fmt: skip
    Quantity("shoulder_tilt_deg", "Shoulder tilt", "°", TILT, "A", "B", "Angle of the line between the shoulder joints to the floor; positive: the lead shoulder is lower (S-factor, Meister et al. 2011).", _ATI),  # fmt: skip
    Quantity("pelvis_tilt_deg", "Hip tilt", "°", TILT, "A", "B", "Angle of the line between the hip joints to the floor; positive: the lead hip is lower (O-factor, Meister et al. 2011).", _ATI),  # fmt: skip
    Quantity("thorax_forward_bend_deg", "Forward bend of the thorax", "°", TILT, "B", "A", "Lean of the upper spine's bone towards where the chest faces.", _ATI),  # fmt: skip
    Quantity("thorax_side_bend_deg", "Side bend of the thorax", "°", TILT, "A", "B", "Lean of the upper spine's bone towards the body's own lead side.", _ATI),  # fmt: skip
    Quantity("pelvis_forward_bend_deg", "Forward bend of the pelvis", "°", TILT, "B", "A", "Lean of the pelvis bone towards where it faces.", _ATI),  # fmt: skip
    Quantity("pelvis_side_bend_deg", "Side bend of the pelvis", "°", TILT, "A", "B", "Lean of the pelvis bone towards the body's own lead side.", _ATI),  # fmt: skip
    Quantity("pelvis_sway_cm", "Pelvis sway", "cm", SHIFT, "A", "C", f"Middle of the hip joints towards the target, {_FROM_ADDRESS}.", _TIF, "down-the-line"),  # fmt: skip
    Quantity("pelvis_thrust_cm", "Pelvis thrust", "cm", SHIFT, "C", "A", f"Middle of the hip joints towards the ball, {_FROM_ADDRESS}.", _TI, "face-on"),  # fmt: skip
    Quantity("pelvis_lift_cm", "Pelvis lift", "cm", SHIFT, "A", "A", f"Middle of the hip joints upwards, {_FROM_ADDRESS}.", _TI),
    Quantity("chest_sway_cm", "Chest sway", "cm", SHIFT, "A", "C", f"Middle of the shoulder joints towards the target, {_FROM_ADDRESS}.", _TI, "down-the-line"),  # fmt: skip
    Quantity("sway_gap_cm", "Pelvis ahead of the chest", "cm", SHIFT, "A", "C", "Sway of the pelvis minus sway of the chest.", _TI, "down-the-line"),  # fmt: skip
    Quantity("head_sway_cm", "Head towards the target", "cm", SHIFT, "A", "B", f"Mean of nose and ears towards the target, {_FROM_ADDRESS}.", _TI),  # fmt: skip
    Quantity("head_thrust_cm", "Head towards the ball", "cm", SHIFT, "B", "A", f"Mean of nose and ears towards the ball, {_FROM_ADDRESS}.", _TI),  # fmt: skip
    Quantity("head_lift_cm", "Head upwards", "cm", SHIFT, "A", "A", f"Mean of nose and ears upwards, {_FROM_ADDRESS}.", _TI),
    Quantity("pelvis_between_ankles", "Pelvis between the ankles", "", SHIFT, "B", "C", "Where the middle of the hips is between the ankles, along the target line: 0 trail, 1 lead. A stand-in for weight shift; no pressure is measured.", _ATI, "down-the-line"),  # fmt: skip
    Quantity("lead_arm_elevation_deg", "Lead arm above level", "°", LIMBS, "A", "A", "Angle of the line from lead shoulder to lead wrist above the horizontal.", _ATI),  # fmt: skip
    Quantity("lead_elbow_deg", "Lead elbow", "°", LIMBS, "B", "B", "Angle of shoulder, elbow and wrist; 180°: straight.", _ATI),
    Quantity("trail_elbow_deg", "Trail elbow", "°", LIMBS, "B", "B", "Angle of shoulder, elbow and wrist; 180°: straight.", _ATI),
    Quantity("lead_knee_deg", "Lead knee", "°", LIMBS, "B", "B", "Angle of hip, knee and ankle; 180°: straight.", _ATI),
    Quantity("trail_knee_deg", "Trail knee", "°", LIMBS, "B", "B", "Angle of hip, knee and ankle; 180°: straight.", _ATI),
    Quantity("hand_speed_m_s", "Hand speed", "m/s", SPEED, "B", "B", "Speed of the middle of the wrists.", ("impact",)),
    Quantity("pelvis_turn_rate_deg_s", "Pelvis turn rate", "°/s", SPEED, "B", "B", "Change of the pelvis turn per second; positive: towards the target.", ("impact",), is_rate=True),  # fmt: skip
    Quantity("thorax_turn_rate_deg_s", "Thorax turn rate", "°/s", SPEED, "B", "B", "Change of the thorax turn per second; positive: towards the target.", ("impact",), is_rate=True),  # fmt: skip
)

BY_NAME: Mapping[str, Quantity] = {quantity.name: quantity for quantity in QUANTITIES}

OVER_SWING: tuple[Quantity, ...] = (
    Quantity("x_factor_stretch_deg", "X-factor stretch", "°", TURN, "C", "C", "The greatest X-factor between pelvis reversal and mid-downswing minus that at pelvis reversal, not at the club's top (Cheetham et al. 2001)."),  # fmt: skip
    Quantity("thorax_forward_bend_change_deg", "Change of the thorax' forward bend", "°", TILT, "B", "A", "Forward bend of the thorax at impact minus that at address; negative: it straightened up."),  # fmt: skip
    Quantity("pelvis_forward_bend_change_deg", "Change of the pelvis' forward bend", "°", TILT, "B", "A", "Forward bend of the pelvis at impact minus that at address; negative: early extension."),  # fmt: skip
    Quantity("peak_hand_speed_m_s", "Highest hand speed", "m/s", SPEED, "B", "B", "Highest speed of the middle of the wrists between top and impact."),  # fmt: skip
    Quantity("tempo_ratio", "Tempo", "", SPEED, "A", "A", "Time from address to top, divided by the time from top to impact."),
    Quantity("backswing_s", "Backswing", "s", SPEED, "A", "A", "Real time from address to top."),
    Quantity("downswing_s", "Downswing", "s", SPEED, "A", "A", "Real time from top to impact."),
)

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


def research_measures(motion: BodyMotion, rows: Mapping[str, float], frame: SwingFrame, judging: Judging, address_rows: np.ndarray) -> list[Measure]:
    """Cardan angles of thorax against pelvis at the main events."""
    angles = cardan_deg(motion.pelvis, motion.thorax, left_handed=frame.hand == "left")
    method = "Thorax relative to pelvis by Cardan angles in the order side bend, flexion, axial turn (the order recommended by Joyce et al. 2010)."
    names = (("cardan_side_bend_deg", "Side bend"), ("cardan_flexion_deg", "Flexion"), ("cardan_axial_deg", "Axial turn"))
    out = []
    for k, (name, label) in enumerate(names):
        quantity = Quantity(name, f"{label} of thorax against pelvis", "°", "Research", "B", "B", method)
        for event in _ATI:
            value = value_at(angles[:, k], rows[event], address_rows if event == "address" else None) if event in rows else float("nan")
            out.append(judging.measure(quantity, event, value, missing=f"The moment “{event}” is outside the clip."))
    return out


def _relative_twist_deg(pelvis: Float[np.ndarray, "t 3 3"], thorax: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, " t"]:
    """Twist of the thorax about the pelvis' up axis, positive to the left."""
    R = np.swapaxes(pelvis, -1, -2) @ thorax
    return np.degrees(np.unwrap(twist_about_up(R)))
