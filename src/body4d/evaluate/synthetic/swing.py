"""A right-handed golfer's full swing as joint curves, from address to finish.

Timing follows published averages: backswing about 0.75 s and downswing 0.25 s, a ratio near 3 to 1 (Grober & Cholewicki, "Towards a
biomechanical understanding of tempo in the golf swing", 2006); the pelvis starts down before the thorax and the thorax before the arms
(Cheetham et al., "The importance of stretching the X-factor in the downswing of golf", 2001); at the top the pelvis has turned about
45 degrees and the thorax about 90 (Meister et al., "Rotational biomechanics of the elite golf swing", J Appl Biomech 2011).

It is a slow swing: its wrists reach 5.8 and 6.6 m/s (left, right) and the head of its iron 32 m/s; the wrists of a recorded tour driver
swing reach 9.8 and 9.6 m/s. Shorter times would leave the published ones; a fast swing is a recorded one (``motion_capture``).

The club leads: its direction, its roll and the place of the hands are curves, both hands are fixed to its grip, and the arms follow by
inverse kinematics. So both hands hold the club exactly in every frame. In stage axes (``limb_poser.py``) the target line runs towards +x
and the golfer faces −z. Lengths are for a golfer of ``AUTHORED_HEIGHT_M`` and scale with the body.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from body4d.core.rig import Rig
from body4d.evaluate.synthetic.limb_poser import SIDES, LimbPoser, axis_rotation, fit_to_reach, hand_axes, orthonormal_frame, unit

ADDRESS_SHARE = 0.42
"""Share of a clip's remaining time that is spent at address; the rest is spent holding the finish."""

AUTHORED_HEIGHT_M = 1.84

SMOOTHING_S = 0.018
"""Rounds the corners of the piecewise cubics, so that accelerations are continuous as a body's are."""

GRIP_HALF_M = 0.026
"""Half the distance of the two hands' middles along the grip."""

PALM_M = 0.026
"""Distance from the line between wrist and knuckle to the middle of the handle."""

CLUB_LENGTH_M = 0.92
"""A middle iron, without the part that the hands cover."""

KEY_TIMES_S = {
    "address": 0.0,
    "takeaway": 0.30,  # shaft level
    "halfway": 0.50,  # lead arm level
    "top": 0.75,
    "arm_down": 0.875,  # lead arm level again
    "delivery": 0.945,  # shaft level
    "impact": 1.0,
    "release": 1.055,  # shaft level
    "through": 1.15,  # lead arm level
    "high": 1.32,  # hands high
    "finish": 1.65,
}
"""Key moments of the swing, in seconds since takeaway begins."""

_KEY_S = np.array(list(KEY_TIMES_S.values()))

# The curves at these moments. Angles are in degrees; positive turns open towards the target.
_CURVES: dict[str, tuple[float, ...]] = {
    "pelvis_turn": (0, -12, -30, -45, -14, 16, 38, 52, 68, 82, 90),
    "thorax_turn": (0, -32, -66, -92, -60, -24, 10, 34, 62, 90, 108),
    "pelvis_bend": (22, 22, 21, 20, 22, 20, 15, 11, 8, 5, 3),
    "thorax_bend": (40, 40, 40, 39, 40, 39, 37, 33, 24, 8, -3),
    "thorax_side": (3, 2, 0, -4, 6, 13, 18, 19, 14, 6, 2),  # towards the trail side
    "head_turn": (0, -4, -9, -13, -8, -4, 0, 6, 26, 60, 80),
    "head_bend": (58, 58, 57, 55, 56, 56, 55, 52, 40, 18, 6),
    # Root of the neck, from the middle between the feet: to the target, up, forwards.
    "neck_x": (-0.01, -0.02, -0.03, -0.03, -0.02, -0.02, -0.02, 0.0, 0.05, 0.13, 0.17),
    "neck_up": (1.43, 1.43, 1.425, 1.42, 1.40, 1.405, 1.42, 1.44, 1.47, 1.52, 1.54),
    "neck_forward": (0.26, 0.26, 0.25, 0.24, 0.25, 0.26, 0.25, 0.23, 0.17, 0.09, 0.05),
    # Middle of the grip.
    "hands_x": (0.03, -0.29, -0.58, -0.40, -0.54, -0.27, 0.09, 0.42, 0.61, 0.42, 0.22),
    "hands_up": (0.755, 0.83, 1.13, 1.58, 1.20, 0.83, 0.77, 0.87, 1.17, 1.60, 1.62),
    "hands_forward": (0.36, 0.33, 0.22, -0.06, 0.13, 0.30, 0.38, 0.38, 0.18, -0.06, -0.14),
    # The club: its angle in the swing plane (0 hangs to the ball, 90 points away from the target, 270 at it), that plane's
    # slope, the roll about the shaft (90: the palms lie in the plane), and the angles between shaft and fingers:
    # the handle runs across the roots of the fingers while the wrists are cocked, along the palm while they are not.
    "club_angle": (0, 88, 178, 258, 196, 96, 6, -84, -168, -240, -300),
    "club_plane": (53, 53, 55, 58, 53, 51, 53, 53, 55, 50, 42),
    "club_roll": (0, 55, 88, 92, 90, 58, 0, -55, -88, -92, -92),
    "shaft_in_lead_hand": (22, 36, 60, 80, 68, 44, 22, 44, 85, 70, 66),
    "shaft_in_trail_hand": (22, 54, 82, 88, 90, 70, 42, 24, 46, 56, 84),
    "heel_rise": (0, 0, 0, 0, 0, 4, 14, 24, 42, 62, 72),
    "trail_foot_turn": (-8, -8, -8, -8, -8, -7, -4, 3, 18, 42, 58),
}
STANCE_M = 0.23
"""Distance of each ankle from the middle of the stance."""

CLAVICLE_SHARE = 0.25
"""The shoulder girdle follows the arm by about this share (scapulohumeral rhythm), up to ``MAX_CLAVICLE_RAD``."""

MAX_CLAVICLE_RAD = np.radians(20)
FIST_RAD = np.radians(70)
LEAD_TOE_OUT_DEG = 22.0


def swing_duration_s() -> float:
    """Seconds from takeaway to the finish."""
    return float(_KEY_S[-1])


@cache
def _curve(name: str) -> Any:
    """The smoothed curve as a function of seconds from takeaway."""
    from scipy.interpolate import CubicSpline, PchipInterpolator
    from scipy.ndimage import gaussian_filter1d

    step = 0.002
    t = np.arange(-0.5, swing_duration_s() + 0.5, step)
    keys = PchipInterpolator(_KEY_S, _CURVES[name])
    values = keys(np.clip(t, _KEY_S[0], _KEY_S[-1]))
    return CubicSpline(t, gaussian_filter1d(values, SMOOTHING_S / step, mode="nearest"))


@dataclass(frozen=True)
class GolfClub:
    """A club over time: ``hands_m`` is the middle of the grip, ``length_m`` from there to the head; ``shaft`` and ``face`` are unit vectors
    towards the head and out of its face."""

    hands_m: Float[np.ndarray, "t 3"]
    shaft: Float[np.ndarray, "t 3"]
    face: Float[np.ndarray, "t 3"]
    length_m: float

    @property
    def head_m(self) -> Float[np.ndarray, "t 3"]:
        """Position of the head."""
        return self.hands_m + self.length_m * self.shaft


class GolfSwing:
    """The swing of one body."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        moments = np.arange(0.0, swing_duration_s(), 0.015)
        self._shift_m = fit_to_reach(lambda lower, draw_in: _swing(rig, moments, lower, draw_in)[0].overreach_m)

    def poses(self, since_takeaway_s: Float[np.ndarray, " t"]) -> tuple[Float[np.ndarray, "t j 3"], Float[np.ndarray, "t 3"], GolfClub]:
        """Rotation vectors, root positions in stage axes and the club, at seconds since takeaway began."""
        poser, club = _swing(self._rig, since_takeaway_s, *self._shift_m)
        return *poser.pose(), club


def _swing(rig: Rig, since_takeaway_s: np.ndarray, lower_m: float, draw_in_m: float) -> tuple[LimbPoser, GolfClub]:
    curves = {name: _curve(name)(np.clip(since_takeaway_s, -0.4, swing_duration_s() + 0.4)) for name in _CURVES}
    scale = rig.height_m / AUTHORED_HEIGHT_M
    rad = {name: np.radians(values) for name, values in curves.items()}
    bend = axis_rotation(0, rad["thorax_bend"])
    thorax = axis_rotation(2, -rad["thorax_side"]) @ bend @ axis_rotation(1, -rad["thorax_turn"])
    pelvis = axis_rotation(0, rad["pelvis_bend"]) @ axis_rotation(1, -rad["pelvis_turn"])
    head = axis_rotation(0, rad["head_bend"]) @ axis_rotation(1, -rad["head_turn"])

    poser = LimbPoser(rig, np.zeros((len(since_takeaway_s), 3)))
    poser.set_global("root", pelvis)
    poser.distribute(("spine04", "spine03", "spine01"), np.swapaxes(pelvis, -1, -2) @ thorax)
    poser.distribute(("neck01", "head"), np.swapaxes(thorax, -1, -2) @ head)
    # The neck hardly moves until impact, as coaches ask. So the neck is placed, and the pelvis follows from the spine.
    neck = np.stack([curves["neck_x"], -curves["neck_up"], -curves["neck_forward"]], -1) * scale + [0.0, lower_m, 0.0]
    poser = _shifted(poser, neck - poser.position("neck01"))
    _legs(poser, curves, rad, scale)
    club = _club(curves, rad, scale)
    to_neck = neck - club.hands_m
    club = replace(club, hands_m=club.hands_m + draw_in_m * unit(to_neck))
    _arms(poser, club, {"L": rad["shaft_in_lead_hand"], "R": rad["shaft_in_trail_hand"]}, thorax, scale)
    return poser, club


def _shifted(poser: LimbPoser, by_m: np.ndarray) -> LimbPoser:
    shifted = LimbPoser(poser.rig, poser.root_m + by_m)
    shifted.local = poser.local
    return shifted


def _legs(poser: LimbPoser, curves: dict[str, np.ndarray], rad: dict[str, np.ndarray], scale: float) -> None:
    """Both feet stand on the floor; the trail foot turns on its toes once the club is through."""
    rig = poser.rig
    sole = rig.rest_vertices_m[:, 1].max()
    zero = np.zeros(len(poser.root_m))
    address_turn = {"L": np.radians(LEAD_TOE_OUT_DEG), "R": np.radians(_CURVES["trail_foot_turn"][0])}
    turns = {"L": axis_rotation(1, zero - address_turn["L"]), "R": axis_rotation(1, -rad["trail_foot_turn"])}
    for side, sign in SIDES:
        rise = rad["heel_rise"] if side == "R" else zero
        flat = turns[side]
        foot = flat @ axis_rotation(0, rise)
        toe = np.mean([poser.at_rest(f"toe{n}-1.{side}") for n in range(1, 6)], axis=0)
        ankle = poser.at_rest(f"foot.{side}")
        # Where the ball of the foot stands at address stays; the ankle turns about it.
        at_address = axis_rotation(1, -address_turn[side])
        ball = np.array([sign * STANCE_M * scale, toe[1] - sole, 0.03 * scale]) + at_address @ ((toe - ankle) * [1, 0, 1])
        forward = 0.6 * foot[..., 2] + 0.4 * poser.rotation("root")[..., 2]
        poser.solve_limb(f"upperleg01.{side}", f"lowerleg01.{side}", f"foot.{side}", ball + foot @ (ankle - toe), -forward)
        poser.set_global(f"foot.{side}", foot)
        for n in range(1, 6):
            poser.set_global(f"toe{n}-1.{side}", flat)


def _club(curves: dict[str, np.ndarray], rad: dict[str, np.ndarray], scale: float) -> GolfClub:
    """The club from its curves."""
    zero = np.zeros_like(rad["club_plane"])
    cosine, sine = np.cos(rad["club_plane"]), np.sin(rad["club_plane"])
    down = np.stack([zero, sine, -cosine], -1)
    normal = np.stack([zero, -cosine, -sine], -1)
    away = np.array([-1.0, 0.0, 0.0])
    angle, roll = rad["club_angle"][:, None], rad["club_roll"][:, None]
    shaft = np.cos(angle) * down + np.sin(angle) * away
    ahead = np.cos(angle) * away - np.sin(angle) * down
    hands = np.stack([curves["hands_x"], -curves["hands_up"], -curves["hands_forward"]], -1) * scale
    return GolfClub(hands, shaft, np.sin(roll) * normal - np.cos(roll) * ahead, CLUB_LENGTH_M * scale)


def _arms(poser: LimbPoser, club: GolfClub, across_rad: dict[str, np.ndarray], thorax: np.ndarray, scale: float) -> None:
    """Both hands on the grip, palms facing each other, the lead hand above; elbows hang."""
    for side, sign in SIDES:
        along, palm = hand_axes(poser.rig, side)
        knuckle = np.linalg.norm(poser.at_rest(f"finger3-1.{side}") - poser.at_rest(f"wrist.{side}"))
        across = poser.at_rest(f"finger2-1.{side}") - poser.at_rest(f"finger5-1.{side}")
        handed = np.sign(np.cross(along, palm) @ across)
        facing = -sign * club.face
        sideways = -handed * np.cross(club.shaft, facing)
        fingers = np.cos(across_rad[side])[:, None] * club.shaft + np.sin(across_rad[side])[:, None] * sideways
        hand = orthonormal_frame(fingers, facing) @ orthonormal_frame(along, palm).T
        grip = club.hands_m - sign * GRIP_HALF_M * scale * club.shaft
        wrist = grip - hand @ (0.85 * knuckle * along + PALM_M * scale * palm)
        _shoulder_girdle(poser, side, wrist)
        pole = thorax @ np.array([0.35 * sign, 1.0, 0.45])
        poser.solve_limb(f"upperarm01.{side}", f"lowerarm01.{side}", f"wrist.{side}", wrist, pole)
        poser.set_hand(side, hand)
        poser.close_hand(side, FIST_RAD)


def _shoulder_girdle(poser: LimbPoser, side: str, wrist_m: np.ndarray) -> None:
    """Turn the clavicle towards the hand."""
    from body4d.geometry.rotations import matrix_to_rotvec, rotation_between, rotvec_to_matrix

    name = f"clavicle.{side}"
    rest = unit(poser.at_rest(f"upperarm01.{side}") - poser.at_rest(name))
    to_hand = np.einsum("tba,tb->ta", poser.parent_global(name), unit(wrist_m - poser.position(name)))
    turn = matrix_to_rotvec(rotation_between(np.broadcast_to(rest, to_hand.shape), to_hand)) * CLAVICLE_SHARE
    size = np.linalg.norm(turn, axis=-1, keepdims=True)
    limited = MAX_CLAVICLE_RAD * np.tanh(size / MAX_CLAVICLE_RAD)
    poser.set_local(name, rotvec_to_matrix(turn * limited / np.maximum(size, 1e-9)))
