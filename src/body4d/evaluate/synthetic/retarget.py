"""A recorded motion performed by a body of other proportions: bones keep their directions, feet stay on the floor, joined hands joined.

The motion is scaled by the length of the legs. Pelvis, thorax, head and hands take the recorded turns; upper arms and forearms point where
the recorded ones point; ankles are placed, so that a foot that rests does not slide, and the knees follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from body4d.core.rig import Rig
from body4d.evaluate.synthetic.limb_poser import MAX_REACH_SHARE, LimbPoser, hand_axes, orthonormal_frame, unit
from body4d.evaluate.synthetic.motion_capture import SIDES, MotionCapture
from body4d.evaluate.synthetic.swing import AUTHORED_HEIGHT_M, CLUB_LENGTH_M, FIST_RAD, PALM_M, GolfClub
from body4d.geometry.rotations import rotation_between

LETTERS = {"left": "L", "right": "R"}
RELAXED_RAD = np.radians(22.0)

TOGETHER_M, APART_M = 0.20, 0.30
"""Wrists that are nearer than the first hold one thing and keep their distance on every body; beyond the second they do not."""

PULL_STEPS = 6

MAX_LOWER_M = 0.06
"""The pelvis is lowered by at most this much for the sake of feet out of reach."""

NEAR_FLOOR_M = 0.02
"""A sole within about this distance of the floor is on it: recordings and bodies differ in the thickness of soles and shoes."""

MAX_REST_SPEED_M_S = 0.15
"""An ankle slower than this belongs to a foot that rests; the floor is at the median height of their soles."""

FLOOR_PERCENTILE = 5.0
"""Where no foot rests, as in a run, the floor is where the soles are in the lowest twentieth of all samples."""

WRIST_HEIGHT_M = 0.07
"""A wrist is at least this high: a hand may stand on the floor but not in it."""


@dataclass(frozen=True)
class _Fit:
    """How a recorded motion is moved for one body: see ``RetargetedMotion``."""

    scale: float
    lift_m: float
    lower_m: float
    shaft: Float[np.ndarray, "3"]


class RetargetedMotion:
    """``motion`` performed by the body of ``rig``; with ``with_club`` both hands, the left one leading, hold a golf club."""

    def __init__(self, rig: Rig, motion: MotionCapture, *, with_club: bool = False) -> None:
        self._rig = rig
        self._motion = motion
        self._with_club = with_club
        fit = _Fit(_own_leg_m(rig) / motion.leg_length, 0.0, 0.0, np.zeros(3))
        samples = motion.at(motion.times_s - motion.times_s[0])
        fit = replace(fit, lift_m=-self._floor_height_m(samples, fit))
        over = self._posed(samples, fit)[0].overreach_m["foot"]
        fit = replace(fit, lower_m=min(over * 1.05 + 0.002, MAX_LOWER_M) if over > 0 else 0.0)
        if with_club:
            fit = replace(fit, shaft=self._shaft_at_address(samples, fit))
        self._fit = fit

    @property
    def seconds(self) -> float:
        """How long the motion lasts."""
        return self._motion.seconds

    def poses(self, since_start_s: Float[np.ndarray, " t"]) -> tuple[Float[np.ndarray, "t j 3"], Float[np.ndarray, "t 3"], GolfClub | None]:
        """Rotation vectors, root positions in stage axes and the club, at seconds from the motion's first sample."""
        motion = self._motion.at(since_start_s)
        poser, joints = self._posed(motion, self._fit)
        club = self._club(poser, motion, joints, self._fit) if self._with_club else None
        return *poser.pose(), club

    def _posed(self, motion: MotionCapture, fit: _Fit) -> tuple[LimbPoser, dict[str, np.ndarray]]:
        """The body at all moments of ``motion``, and the recorded joints, scaled and with the floor at y = 0."""
        joints = {name: points * fit.scale + [0.0, -fit.lift_m, 0.0] for name, points in motion.joints.items()}
        segments = motion.segments
        poser = LimbPoser(self._rig, np.zeros((len(motion.times_s), 3)))
        poser.set_global("root", segments["pelvis"])
        hips = (poser.position("upperleg01.L") + poser.position("upperleg01.R")) / 2
        poser.root_m = (joints["left_hip"] + joints["right_hip"]) / 2 - hips + [0.0, fit.lower_m, 0.0]
        poser.distribute(("spine04", "spine03", "spine01"), np.swapaxes(segments["pelvis"], -1, -2) @ segments["thorax"])
        if "head" in segments:
            poser.distribute(("neck01", "head"), np.swapaxes(segments["thorax"], -1, -2) @ segments["head"])
        for side in SIDES:
            self._place_leg(poser, side, joints, segments)
            self._point_arm(poser, side, joints, segments)
        self._hold_together(poser, joints)
        for side in SIDES:
            self._turn_hand(poser, side, motion, joints)
        return poser, joints

    def _place_leg(self, poser: LimbPoser, side: str, joints: Mapping[str, np.ndarray], segments: Mapping[str, np.ndarray]) -> None:
        letter = LETTERS[side]
        foot = _foot_rotation(side, joints, segments)
        soles = np.einsum("tab,kb->tka", foot, _sole_points(self._rig, side))
        ankle = joints[f"{side}_ankle"].copy()
        height = -(ankle[:, 1] + soles[..., 1].max(1))
        above = np.maximum(height, 0.0)
        ankle[:, 1] += height - above**2 / (above + NEAR_FLOOR_M)
        knee = joints[f"{side}_knee"] - joints[f"{side}_hip"]
        # A straight knee has no plane of its own: a little of the foot's and the pelvis' front keeps it from turning.
        front = -(foot[..., 2] + segments["pelvis"][..., 2]) / 2
        along = unit(joints[f"{side}_ankle"] - joints[f"{side}_hip"])
        bend = (knee - np.sum(knee * along, -1, keepdims=True) * along) / self._rig.height_m
        poser.solve_limb(f"upperleg01.{letter}", f"lowerleg01.{letter}", f"foot.{letter}", ankle, bend + 0.01 * front)
        poser.set_global(f"foot.{letter}", foot)

    def _point_arm(self, poser: LimbPoser, side: str, joints: Mapping[str, np.ndarray], segments: Mapping[str, np.ndarray]) -> None:
        letter = LETTERS[side]
        if f"{side}_clavicle" in segments:
            poser.set_local(f"clavicle.{letter}", np.swapaxes(segments["thorax"], -1, -2) @ segments[f"{side}_clavicle"])
        upper, lower, wrist = (joints[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        own_upper, own_lower = _own_arm_m(poser, letter)
        shoulder = poser.position(f"upperarm01.{letter}")
        elbow = shoulder + own_upper * unit(lower - upper)
        target = elbow + own_lower * unit(wrist - lower)
        above = -target[:, 1] - WRIST_HEIGHT_M
        target[:, 1] -= (np.hypot(above, NEAR_FLOOR_M) - above) / 2
        self._reach(poser, letter, target, elbow - shoulder)

    def _reach(self, poser: LimbPoser, letter: str, wrist: np.ndarray, to_elbow: np.ndarray) -> None:
        shoulder = poser.position(f"upperarm01.{letter}")
        along = unit(wrist - shoulder)
        out = to_elbow - np.sum(to_elbow * along, -1, keepdims=True) * along
        # As with the knee: a straight elbow points down and back.
        thorax = poser.rotation("spine01")
        poser.solve_limb(
            f"upperarm01.{letter}", f"lowerarm01.{letter}", f"wrist.{letter}", wrist, out + 0.005 * (thorax[..., 1] + 0.5 * thorax[..., 2])
        )

    def _hold_together(self, poser: LimbPoser, joints: Mapping[str, np.ndarray]) -> None:
        """Wrists that are together in the recording are as far and in the same direction from each other on this body."""
        apart = joints["right_wrist"] - joints["left_wrist"]
        share = np.clip((APART_M - np.linalg.norm(apart, axis=-1)) / (APART_M - TOGETHER_M), 0.0, 1.0)
        share = (share * share * (3 - 2 * share))[:, None]
        if not share.any():
            return
        left, right = poser.position("wrist.L"), poser.position("wrist.R")
        middle = (left + right) / 2
        for _ in range(PULL_STEPS):  # nearer, until both hands reach what they hold
            pull = np.zeros_like(middle)
            for letter, sign in (("L", -0.5), ("R", 0.5)):
                to_hand = middle + sign * apart - poser.position(f"upperarm01.{letter}")
                short = np.linalg.norm(to_hand, axis=-1) - MAX_REACH_SHARE * sum(_own_arm_m(poser, letter))
                pull += np.maximum(short, 0.0)[:, None] * unit(to_hand)
            middle = middle - pull
        for letter, own, sign in (("L", left, -0.5), ("R", right, 0.5)):
            target = own + share * (middle + sign * apart - own)
            to_elbow = poser.position(f"lowerarm01.{letter}") - poser.position(f"upperarm01.{letter}")
            self._reach(poser, letter, target, to_elbow)

    def _turn_hand(self, poser: LimbPoser, side: str, motion: MotionCapture, joints: Mapping[str, np.ndarray]) -> None:
        letter = LETTERS[side]
        along, palm = hand_axes(self._rig, letter)
        hand = motion.segments.get(f"{side}_hand")
        if hand is None:
            hand = _hand_from_arm(side, motion, joints)
        poser.set_hand(letter, hand @ orthonormal_frame(along, palm).T)
        poser.close_hand(letter, FIST_RAD if self._with_club else RELAXED_RAD)

    def _floor_height_m(self, motion: MotionCapture, fit: _Fit) -> float:
        """Height of the floor in the recording, scaled but not lifted yet."""
        heights, speeds = [], []
        for side in SIDES:
            ankle = motion.joints[f"{side}_ankle"] * fit.scale
            soles = np.einsum("tab,kb->tka", _foot_rotation(side, motion.joints, motion.segments), _sole_points(self._rig, side))
            heights.append(-(ankle[:, 1] + soles[..., 1].max(1)))
            speeds.append(np.linalg.norm(np.gradient(ankle, motion.times_s, axis=0), axis=-1))
        height, rests = np.concatenate(heights), np.concatenate(speeds) < MAX_REST_SPEED_M_S
        return float(np.median(height[rests])) if rests.mean() > 0.05 else float(np.percentile(height, FLOOR_PERCENTILE))

    def _grips(self, poser: LimbPoser) -> tuple[np.ndarray, np.ndarray]:
        """Where the left and the right hand would hold a handle."""
        out = []
        for letter in "LR":
            along, palm = hand_axes(self._rig, letter)
            knuckle = np.linalg.norm(poser.at_rest(f"finger3-1.{letter}") - poser.at_rest(f"wrist.{letter}"))
            scale = self._rig.height_m / AUTHORED_HEIGHT_M
            out.append(
                poser.position(f"wrist.{letter}") + poser.rotation(f"wrist.{letter}") @ (0.85 * knuckle * along + PALM_M * scale * palm)
            )
        return out[0], out[1]

    def _shaft_at_address(self, motion: MotionCapture, fit: _Fit) -> Float[np.ndarray, "3"]:
        """The club's direction in the left hand's axes: at first its head lies on the floor in front of the person."""
        poser, _ = self._posed(motion.at(np.zeros(1)), fit)
        left, right = self._grips(poser)
        hands_up = -(left + right)[0, 1] / 2
        ahead = np.array([0.0, 0.0, -1.0])  # a motion on stage first faces −z
        steep = min(hands_up / self._club_m, 1.0)
        shaft = steep * np.array([0.0, 1.0, 0.0]) + np.sqrt(1 - steep**2) * ahead
        return poser.rotation("wrist.L")[0].T @ shaft

    @property
    def _club_m(self) -> float:
        return CLUB_LENGTH_M * self._rig.height_m / AUTHORED_HEIGHT_M

    def _club(self, poser: LimbPoser, motion: MotionCapture, joints: Mapping[str, np.ndarray], fit: _Fit) -> GolfClub:
        left, right = self._grips(poser)
        hands = (left + right) / 2
        if motion.club_head is not None:
            head = motion.club_head * fit.scale + [0.0, -fit.lift_m, 0.0]
            shaft = unit(head - (joints["left_wrist"] + joints["right_wrist"]) / 2)
        else:
            shaft = poser.rotation("wrist.L") @ fit.shaft
        palm = poser.rotation("wrist.L") @ hand_axes(self._rig, "L")[1]
        face = unit(-palm + np.sum(palm * shaft, -1, keepdims=True) * shaft)
        return GolfClub(hands, shaft, face, self._club_m)


def _own_leg_m(rig: Rig) -> float:
    """Length of thigh and shank together."""
    at = dict(zip(rig.joint_names, rig.rest_joints_m, strict=True))
    a, b, c = at["upperleg01.L"], at["lowerleg01.L"], at["foot.L"]
    return float(np.linalg.norm(b - a) + np.linalg.norm(c - b))


def _own_arm_m(poser: LimbPoser, letter: str) -> tuple[float, float]:
    a, b, c = (poser.at_rest(f"{name}.{letter}") for name in ("upperarm01", "lowerarm01", "wrist"))
    return float(np.linalg.norm(b - a)), float(np.linalg.norm(c - b))


def _sole_points(rig: Rig, side: str) -> Float[np.ndarray, "k 3"]:
    """Heel, ball and tip of the foot at the height of the sole, relative to the ankle, rest axes."""
    letter, at = LETTERS[side], dict(zip(rig.joint_names, rig.rest_joints_m, strict=True))
    ankle = at[f"foot.{letter}"]
    sole = rig.rest_vertices_m[:, 1].max()
    near = np.sign(rig.rest_vertices_m[:, 0]) == np.sign(ankle[0])
    low = rig.rest_vertices_m[near & (rig.rest_vertices_m[:, 1] > sole - 0.03)]
    ball = np.mean([at[f"toe{n}-1.{letter}"] for n in range(1, 6)], axis=0)
    points = np.array([[ankle[0], sole, low[:, 2].max() - 0.015], [ball[0], sole, ball[2]], [ball[0], sole, low[:, 2].min() + 0.01]])
    return points - ankle


def _foot_rotation(side: str, joints: Mapping[str, np.ndarray], segments: Mapping[str, np.ndarray]) -> Float[np.ndarray, "t 3 3"]:
    """The recorded foot's, or, where none was recorded, square to the shank."""
    if f"{side}_foot" in segments:
        return segments[f"{side}_foot"]
    shank = unit(joints[f"{side}_ankle"] - joints[f"{side}_knee"])
    pelvis = segments["pelvis"]
    return rotation_between(pelvis[..., 1], shank) @ pelvis


def _hand_from_arm(side: str, motion: MotionCapture, joints: Mapping[str, np.ndarray]) -> Float[np.ndarray, "t 3 3"]:
    """Fingers along the forearm and palm to the body; around the shaft where there is a club."""
    fore = unit(joints[f"{side}_wrist"] - joints[f"{side}_elbow"])
    thorax = motion.segments["thorax"]
    medial = (-1.0 if side == "left" else 1.0) * thorax[..., 0]
    if motion.club_head is None:
        return orthonormal_frame(fore, medial)
    middle = (motion.joints["left_wrist"] + motion.joints["right_wrist"]) / 2
    shaft = unit(motion.club_head - middle)
    # The handle lies across the fingers on the side of the thumb: index finger towards the club's head.
    across = unit(fore - np.sum(fore * shaft, -1, keepdims=True) * shaft)
    fingers = unit(fore + across)
    palm = np.cross(shaft, fingers) * (-1.0 if side == "left" else 1.0)
    return orthonormal_frame(fingers, palm)
