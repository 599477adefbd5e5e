"""Recorded motion in one form for every file format: where twelve joints are, and how the segments that joints do not tell are turned.

Lengths are in the file's own unit, as a motion is scaled to the body that performs it. ``motion_file.load_motion`` reads files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from body4d.evaluate.synthetic.limb_poser import axis_rotation

SIDES = ("left", "right")
FACING_S = 0.1
"""The way that a person faces is their pelvis' over this first part of the motion."""

JOINED_PER_LEG = 0.25
"""Wrists nearer than this share of a leg's length (about 20 cm) hold one thing."""

MAX_FIRST_STEP = 5.0
"""A first frame that is this many times the usual step away from the second one is a rest pose that a converter put in front."""


@dataclass(frozen=True)
class MotionCapture:
    """Joints and segments over time in stage axes (``limb_poser.py``), in any unit: y down, the person at first facing −z about the origin.

    ``segments`` are rotations from rest axes: of ``pelvis`` and ``thorax`` always; of ``head``, and of ``clavicle`` and ``foot`` with a
    side in front, where the file tells them. The columns of ``left_hand`` and ``right_hand`` are the direction of the fingers, where the
    palm faces, and their cross product. ``club_head`` is a point at the head of a golf club.
    """

    times_s: Float[np.ndarray, " t"]
    joints: Mapping[str, Float[np.ndarray, "t 3"]]
    segments: Mapping[str, Float[np.ndarray, "t 3 3"]]
    club_head: Float[np.ndarray, "t 3"] | None = None

    @property
    def seconds(self) -> float:
        """Time from the first sample to the last."""
        return float(self.times_s[-1] - self.times_s[0])

    @cached_property
    def leg_length(self) -> float:
        """Mean length of thigh and shank together, in the file's unit."""
        bones = [
            np.linalg.norm(self.joints[f"{s}_{a}"] - self.joints[f"{s}_{b}"], axis=-1).mean()
            for s in SIDES
            for a, b in (("hip", "knee"), ("knee", "ankle"))
        ]
        return float(sum(bones) / 2)

    @property
    def hands_joined_share(self) -> float:
        """Share of the time in which the wrists are near each other, as a golfer's are."""
        apart = np.linalg.norm(self.joints["right_wrist"] - self.joints["left_wrist"], axis=-1)
        return float(np.mean(apart < JOINED_PER_LEG * self.leg_length))

    def at(self, times_s: Float[np.ndarray, " n"]) -> "MotionCapture":
        """The motion at other times from its start, by cubic splines; before and after it holds its first and last pose."""
        inside = np.clip(np.asarray(times_s, np.float64), 0.0, self.seconds)
        spline = self._spline
        joints = {name: spline[name](inside) for name in self.joints}
        segments = {name: _orthonormal(spline[name](inside)) for name in self.segments}
        club = None if self.club_head is None else spline["club_head"](inside)
        return MotionCapture(inside, joints, segments, club)

    @cached_property
    def _spline(self) -> dict[str, Any]:
        from scipy.interpolate import CubicSpline

        values = {**self.joints, **self.segments, **({} if self.club_head is None else {"club_head": self.club_head})}
        return {name: CubicSpline(self.times_s - self.times_s[0], v, axis=0) for name, v in values.items()}


def without_rest_pose(motion: MotionCapture) -> MotionCapture:
    """``motion`` without a first frame that is a rest pose, as in many conversions of CMU's recordings."""
    if len(motion.times_s) < 4:
        return motion
    step = np.max([np.linalg.norm(np.diff(points, axis=0), axis=-1) for points in motion.joints.values()], axis=0)
    if step[0] <= MAX_FIRST_STEP * np.median(step) or step[0] <= 3 * step[1]:
        return motion
    club = None if motion.club_head is None else motion.club_head[1:]
    return MotionCapture(
        motion.times_s[1:],
        {name: v[1:] for name, v in motion.joints.items()},
        {name: v[1:] for name, v in motion.segments.items()},
        club,
    )


def on_stage(motion: MotionCapture) -> MotionCapture:
    """``motion`` turned about the vertical so that the person first faces −z, with the middle of the pelvis' way at x = z = 0."""
    first = motion.times_s - motion.times_s[0] <= FACING_S
    front = -motion.segments["pelvis"][first][..., 2].mean(0)
    # The angle from −z to the front, seen from above (y down): a turn by its opposite brings the front to −z.
    turn = axis_rotation(1, np.array(np.arctan2(front[0], -front[2])))
    pelvis = (motion.joints["left_hip"] + motion.joints["right_hip"]) / 2 @ turn.T
    middle = (pelvis.min(0) + pelvis.max(0)) / 2 * [1.0, 0.0, 1.0]

    def placed(points: np.ndarray) -> np.ndarray:
        return points @ turn.T - middle

    return MotionCapture(
        motion.times_s,
        {name: placed(points) for name, points in motion.joints.items()},
        {name: turn @ v for name, v in motion.segments.items()},
        None if motion.club_head is None else placed(motion.club_head),
    )


def mirrored(motion: MotionCapture) -> MotionCapture:
    """``motion`` as a mirror shows it: left is right, a right-handed golfer plays left-handed."""
    flip = np.array([-1.0, 1.0, 1.0])
    other = {"left": "right", "right": "left"}

    def swapped(name: str) -> str:
        side, _, rest = name.partition("_")
        return f"{other[side]}_{rest}" if side in other else name

    def turned(name: str, rotation: np.ndarray) -> np.ndarray:
        if name.endswith("_hand"):  # columns are directions and their cross product, which a mirror reverses
            return rotation * flip[:, None] * [1.0, 1.0, -1.0]
        return rotation * flip[:, None] * flip

    return MotionCapture(
        motion.times_s,
        {swapped(name): points * flip for name, points in motion.joints.items()},
        {swapped(name): turned(name, v) for name, v in motion.segments.items()},
        None if motion.club_head is None else motion.club_head * flip,
    )


def _orthonormal(matrices: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, "t 3 3"]:
    """The nearest rotations."""
    u, _, vt = np.linalg.svd(matrices)
    return u @ vt
