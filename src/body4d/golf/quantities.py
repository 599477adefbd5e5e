"""What is measured of a swing: names, definitions, where each is read, and from which side one camera sees it. Sources: docs/golf.md."""

from collections.abc import Mapping
from dataclasses import dataclass

from body4d.golf.types import Class, View

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


ATI, _ATIF, _TI, _TIF = (
    ("address", "top", "impact"),
    ("address", "top", "impact", "finish"),
    ("top", "impact"),
    ("top", "impact", "finish"),
)
_TILT_TWIST = "by tilt and twist (Sports Biomechanics 24(8), 2025)"
_TOWARDS = "0: facing the ball, positive: towards the target"
_FROM_ADDRESS = "against its place at address"

QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        "pelvis_turn_deg",
        "Pelvis turn",
        "°",
        TURN,
        "B",
        "B",
        f"Turn of the pelvis bone about the vertical {_TILT_TWIST}; {_TOWARDS}.",
        _ATIF,
    ),
    Quantity(
        "thorax_turn_deg",
        "Thorax turn",
        "°",
        TURN,
        "B",
        "B",
        f"Turn of the upper spine's bone, which carries the collar bones, about the vertical {_TILT_TWIST}; {_TOWARDS}.",
        _ATIF,
    ),
    Quantity(
        "shoulder_line_turn_deg",
        "Turn of the shoulder line",
        "°",
        TURN,
        "B",
        "B",
        "Turn of the line between the shoulder joints in the floor; it moves with the shoulder blades and is not the thorax.",
        _ATIF,
    ),
    Quantity(
        "x_factor_deg",
        "X-factor",
        "°",
        TURN,
        "B",
        "B",
        "How much farther back the thorax is turned than the pelvis (joint-angle form: Brown et al. 2013).",
        ("top", REVERSAL, "impact"),
    ),
    Quantity(
        "trunk_twist_deg",
        "Twist of the trunk",
        "°",
        TURN,
        "B",
        "B",
        "Twist of the thorax bone relative to the pelvis bone about the pelvis' own axis, counted as the X-factor.",
        ("top", REVERSAL),
    ),
    Quantity(
        "shoulder_tilt_deg",
        "Shoulder tilt",
        "°",
        TILT,
        "A",
        "B",
        "Angle of the line between the shoulder joints to the floor; positive: the lead shoulder is lower (S-factor, Meister et al. 2011).",
        ATI,
    ),
    Quantity(
        "pelvis_tilt_deg",
        "Hip tilt",
        "°",
        TILT,
        "A",
        "B",
        "Angle of the line between the hip joints to the floor; positive: the lead hip is lower (O-factor, Meister et al. 2011).",
        ATI,
    ),
    Quantity(
        "thorax_forward_bend_deg",
        "Forward bend of the thorax",
        "°",
        TILT,
        "B",
        "A",
        "Lean of the upper spine's bone towards where the chest faces.",
        ATI,
    ),
    Quantity(
        "thorax_side_bend_deg",
        "Side bend of the thorax",
        "°",
        TILT,
        "A",
        "B",
        "Lean of the upper spine's bone towards the body's own lead side.",
        ATI,
    ),
    Quantity(
        "pelvis_forward_bend_deg",
        "Forward bend of the pelvis",
        "°",
        TILT,
        "B",
        "A",
        "Lean of the pelvis bone towards where it faces.",
        ATI,
    ),
    Quantity(
        "pelvis_side_bend_deg",
        "Side bend of the pelvis",
        "°",
        TILT,
        "A",
        "B",
        "Lean of the pelvis bone towards the body's own lead side.",
        ATI,
    ),
    Quantity(
        "pelvis_sway_cm",
        "Pelvis sway",
        "cm",
        SHIFT,
        "A",
        "C",
        f"Middle of the hip joints towards the target, {_FROM_ADDRESS}.",
        _TIF,
        "down-the-line",
    ),
    Quantity(
        "pelvis_thrust_cm",
        "Pelvis thrust",
        "cm",
        SHIFT,
        "C",
        "A",
        f"Middle of the hip joints towards the ball, {_FROM_ADDRESS}.",
        _TI,
        "face-on",
    ),
    Quantity("pelvis_lift_cm", "Pelvis lift", "cm", SHIFT, "A", "A", f"Middle of the hip joints upwards, {_FROM_ADDRESS}.", _TI),
    Quantity(
        "chest_sway_cm",
        "Chest sway",
        "cm",
        SHIFT,
        "A",
        "C",
        f"Middle of the shoulder joints towards the target, {_FROM_ADDRESS}.",
        _TI,
        "down-the-line",
    ),
    Quantity(
        "sway_gap_cm",
        "Pelvis ahead of the chest",
        "cm",
        SHIFT,
        "A",
        "C",
        "Sway of the pelvis minus sway of the chest.",
        _TI,
        "down-the-line",
    ),
    Quantity(
        "head_sway_cm",
        "Head towards the target",
        "cm",
        SHIFT,
        "A",
        "C",
        f"Mean of nose and ears towards the target, {_FROM_ADDRESS}.",
        _TI,
        "down-the-line",
    ),
    Quantity(
        "head_thrust_cm",
        "Head towards the ball",
        "cm",
        SHIFT,
        "C",
        "A",
        f"Mean of nose and ears towards the ball, {_FROM_ADDRESS}.",
        _TI,
        "face-on",
    ),
    Quantity("head_lift_cm", "Head upwards", "cm", SHIFT, "A", "A", f"Mean of nose and ears upwards, {_FROM_ADDRESS}.", _TI),
    Quantity(
        "pelvis_between_ankles",
        "Pelvis between the ankles",
        "",
        SHIFT,
        "B",
        "C",
        "Where the middle of the hips is between the ankles, along the target line: 0 trail, 1 lead. No pressure is measured.",
        ATI,
        "down-the-line",
    ),
    Quantity(
        "lead_arm_elevation_deg",
        "Lead arm above level",
        "°",
        LIMBS,
        "A",
        "A",
        "Angle of the line from lead shoulder to lead wrist above the horizontal.",
        ATI,
    ),
    Quantity("lead_elbow_deg", "Lead elbow", "°", LIMBS, "B", "B", "Angle of shoulder, elbow and wrist; 180°: straight.", ATI),
    Quantity("trail_elbow_deg", "Trail elbow", "°", LIMBS, "B", "B", "Angle of shoulder, elbow and wrist; 180°: straight.", ATI),
    Quantity("lead_knee_deg", "Lead knee", "°", LIMBS, "B", "B", "Angle of hip, knee and ankle; 180°: straight.", ATI),
    Quantity("trail_knee_deg", "Trail knee", "°", LIMBS, "B", "B", "Angle of hip, knee and ankle; 180°: straight.", ATI),
    Quantity("hand_speed_m_s", "Hand speed", "m/s", SPEED, "B", "B", "Speed of the middle of the wrists.", ("impact",)),
    Quantity(
        "pelvis_turn_rate_deg_s",
        "Pelvis turn rate",
        "°/s",
        SPEED,
        "B",
        "B",
        "Change of the pelvis turn per second; positive: towards the target.",
        ("impact",),
        is_rate=True,
    ),
    Quantity(
        "thorax_turn_rate_deg_s",
        "Thorax turn rate",
        "°/s",
        SPEED,
        "B",
        "B",
        "Change of the thorax turn per second; positive: towards the target.",
        ("impact",),
        is_rate=True,
    ),
)

BY_NAME: Mapping[str, Quantity] = {quantity.name: quantity for quantity in QUANTITIES}

OVER_SWING: tuple[Quantity, ...] = (
    Quantity(
        "x_factor_stretch_deg",
        "X-factor stretch",
        "°",
        TURN,
        "C",
        "C",
        "The greatest X-factor from pelvis reversal to mid-downswing minus that at pelvis reversal (Cheetham et al. 2001).",
    ),
    Quantity(
        "thorax_forward_bend_change_deg",
        "Change of the thorax' forward bend",
        "°",
        TILT,
        "B",
        "A",
        "Forward bend of the thorax at impact minus that at address; negative: it straightened up.",
    ),
    Quantity(
        "pelvis_forward_bend_change_deg",
        "Change of the pelvis' forward bend",
        "°",
        TILT,
        "B",
        "A",
        "Forward bend of the pelvis at impact minus that at address; negative: early extension.",
    ),
    Quantity(
        "peak_hand_speed_m_s",
        "Highest hand speed",
        "m/s",
        SPEED,
        "B",
        "B",
        "Highest speed of the middle of the wrists between top and impact.",
    ),
    Quantity("tempo_ratio", "Tempo", "", SPEED, "A", "A", "Time from address to top, divided by the time from top to impact."),
    Quantity("backswing_s", "Backswing", "s", SPEED, "A", "A", "Real time from address to top."),
    Quantity("downswing_s", "Downswing", "s", SPEED, "A", "A", "Real time from top to impact."),
)
