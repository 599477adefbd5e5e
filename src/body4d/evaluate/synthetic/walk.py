"""A walk at a comfortable pace as joint curves, feet first.

The package ``anny`` has one recorded walk cycle, but as keys of Blender's IK handles, whose rest frames and solver are not in the package.
So the walk is authored here from the stride data of Perry & Burnfield, "Gait Analysis" (2nd ed., ch. 1–4): stance 62% of
the cycle, heel strike with the toes up, heel rise from 40%, pelvis turning and listing by about 5 degrees, thorax against it. A foot on
the floor is still to the micrometre, so that foot sliding of the truth is nil. The walker goes along −z of the stage axes
(``limb_poser.py``).
"""

from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from body4d.core.rig import Rig
from body4d.evaluate.synthetic.limb_poser import SIDES, LimbPoser, axis_rotation, fit_to_reach, unit

STRIDE_S = 1.08
STRIDE_M = 1.36  # of the authored body; 1.26 m/s
_AUTHORED_PELVIS_M = 0.986  # height of the root above the sole at rest; lengths scale with it
_PELVIS_SHARE = 0.948  # of the standing height: knees are never quite straight
_STANCE_SHARE = 0.62
_TRACK_HALF_M = 0.075  # half the distance between the two feet's lines
_TOE_OUT_DEG = 7.0

# Pitch of the foot in degrees (toes down is positive) over its cycle, heel strike at 0.
_PITCH_PHASE = (0.0, 0.07, 0.14, 0.36, 0.50, 0.62, 0.72, 0.84, 0.95, 1.0)
_PITCH_DEG = (-20.0, -8.0, 0.0, 0.0, 22.0, 58.0, 48.0, 8.0, -18.0, -20.0)


class WalkCycle:
    """The walk of one body."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        cycle = np.arange(40) / 40 * STRIDE_S
        self._lower_m, _ = fit_to_reach(lambda lower, draw_in: _walk(rig, cycle, lower).overreach_m)

    def poses(self, since_start_s: Float[np.ndarray, " t"]) -> tuple[Float[np.ndarray, "t j 3"], Float[np.ndarray, "t 3"]]:
        """Rotation vectors and root positions in stage axes; the walker passes (0, ·, 0) at 0 seconds."""
        return _walk(self._rig, since_start_s, self._lower_m).pose()


def _walk(rig: Rig, since_start_s: np.ndarray, lower_m: float) -> LimbPoser:
    standing_m = float(rig.rest_vertices_m[:, 1].max() - rig.rest_joints_m[0, 1])
    scale = standing_m / _AUTHORED_PELVIS_M
    cycle = since_start_s / STRIDE_S
    turn = 2 * np.pi * cycle
    forward = cycle * STRIDE_M * scale
    # The left heel strikes at cycle 0: both feet down, the pelvis lowest, its left side ahead, the weight going to the left.
    root_up = standing_m * _PELVIS_SHARE - lower_m - 0.02 * scale * np.cos(2 * turn)
    root = np.stack([0.018 * scale * np.sin(turn), -root_up, -forward], -1)
    pelvis = axis_rotation(1, np.radians(5.0) * np.cos(turn)) @ axis_rotation(2, np.radians(3.0) * np.sin(turn))
    pelvis = pelvis @ axis_rotation(0, np.full_like(turn, np.radians(3.0)))
    thorax = axis_rotation(1, -np.radians(5.0) * np.cos(turn)) @ axis_rotation(0, np.radians(4.0) + 0.02 * np.cos(2 * turn))
    poser = LimbPoser(rig, root)
    poser.set_global("root", pelvis)
    poser.distribute(("spine04", "spine03", "spine01"), np.swapaxes(pelvis, -1, -2) @ thorax)
    poser.distribute(("neck01", "head"), np.swapaxes(thorax, -1, -2))
    for side, sign in SIDES:
        phase = cycle + (0.0 if side == "L" else 0.5)
        _leg(poser, side, sign, phase, scale)
        _arm(poser, side, sign, 2 * np.pi * phase, thorax)
    return poser


@cache
def _pitch_curve() -> Any:
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(_PITCH_PHASE, np.radians(_PITCH_DEG))


def _rest_foot(rig: Rig, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ankle, heel and ball of the foot at rest, relative to the point on the sole below the ankle: (3,) each."""
    at = {name: rig.rest_joints_m[j] for j, name in enumerate(rig.joint_names)}
    sole = rig.rest_vertices_m[:, 1].max()
    plumb = np.array([at[f"foot.{side}"][0], sole, at[f"foot.{side}"][2]])
    balls = np.mean([at[f"toe{n}-1.{side}"] for n in range(1, 6)], axis=0)
    near = np.abs(rig.rest_vertices_m[:, 0] - plumb[0]) < 0.06
    low = near & (rig.rest_vertices_m[:, 1] > sole - 0.03)
    heel = np.array([plumb[0], sole, rig.rest_vertices_m[low, 2].max() - 0.015])
    return at[f"foot.{side}"] - plumb, heel - plumb, balls - plumb


def _ankle(rig: Rig, side: str, phase: np.ndarray) -> np.ndarray:
    """Ankle (N, 3) over phases of one stance, in a frame whose origin is the point on the sole below the standing ankle."""
    ankle, heel, ball = _rest_foot(rig, side)
    pitch = _pitch_curve()(phase)
    turned = axis_rotation(0, pitch)
    about_heel = heel + np.einsum("tab,b->ta", turned, ankle - heel)
    about_ball = ball + np.einsum("tab,b->ta", turned, ankle - ball)
    return np.where(pitch[:, None] < 0, about_heel, about_ball)


def _foot_path(rig: Rig, side: str, phase: np.ndarray, stride_m: float) -> np.ndarray:
    """Ankle (T, 3) relative to the point below the ankle of the step that ``floor(phase)`` begins; the next is one stride along −z."""
    from scipy.interpolate import CubicHermiteSpline

    within = phase - np.floor(phase)
    stance = _ankle(rig, side, np.minimum(within, _STANCE_SHARE))
    h = 1e-4
    ends = _ankle(rig, side, np.array([_STANCE_SHARE - h, _STANCE_SHARE, 0.0, h]))
    leave, land = (ends[1] - ends[0]) / h, (ends[3] - ends[2]) / h
    next_step = ends[2] + [0, 0, -stride_m]
    swing = CubicHermiteSpline([_STANCE_SHARE, 1.0], np.stack([ends[1], next_step]), np.stack([leave, land]))(within)
    return np.where((within > _STANCE_SHARE)[:, None], swing, stance)


def _leg(poser: LimbPoser, side: str, sign: float, phase: np.ndarray, scale: float) -> None:
    stride = STRIDE_M * scale
    pitch = _pitch_curve()(phase - np.floor(phase))
    # At heel strike the foot is a little less than half a stride's stance ahead of the pelvis.
    step_m = (np.floor(phase) - (0.0 if side == "L" else 0.5)) * stride + 0.30 * stride
    ankle = _foot_path(poser.rig, side, phase, stride)
    out = axis_rotation(1, np.full_like(pitch, -sign * np.radians(_TOE_OUT_DEG)))
    target = np.stack([np.full_like(pitch, sign * _TRACK_HALF_M * scale), np.zeros_like(pitch), -step_m], -1) + ankle
    foot = out @ axis_rotation(0, pitch)
    pole = -(0.7 * out[..., 2] + 0.3 * poser.rotation("root")[..., 2])
    poser.solve_limb(f"upperleg01.{side}", f"lowerleg01.{side}", f"foot.{side}", target, pole)
    poser.set_global(f"foot.{side}", foot)
    flat = out @ axis_rotation(0, np.minimum(pitch, 0.0) + 0.35 * np.maximum(pitch - 0.6, 0.0))
    for n in range(1, 6):
        poser.set_global(f"toe{n}-1.{side}", flat)


def _arm(poser: LimbPoser, side: str, sign: float, turn: np.ndarray, thorax: np.ndarray) -> None:
    """Arms swing against the legs, elbows bending on the way forward."""
    length = sum(
        np.linalg.norm(poser.at_rest(b) - poser.at_rest(a))
        for a, b in ((f"upperarm01.{side}", f"lowerarm01.{side}"), (f"lowerarm01.{side}", f"wrist.{side}"))
    )
    swing = np.radians(4.0) - np.radians(23.0) * np.cos(turn)  # positive is forward; the arm is back when its own heel strikes
    reach = (0.955 - 0.03 * np.sin(swing)) * length
    hang = np.stack([np.full_like(swing, 0.17 * sign), np.cos(swing), -np.sin(swing)], -1)
    poser.set_local(f"clavicle.{side}", axis_rotation(2, np.full_like(swing, sign * np.radians(6.0))))
    target = poser.position(f"upperarm01.{side}") + reach[:, None] * unit(hang)
    pole = thorax @ np.array([0.3 * sign, 0.0, 1.0])
    poser.solve_limb(f"upperarm01.{side}", f"lowerarm01.{side}", f"wrist.{side}", target, pole)
    poser.close_hand(side, np.radians(22.0))
