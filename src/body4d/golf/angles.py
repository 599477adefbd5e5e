"""Angles of trunk and limbs: tilt and twist of a bone, lines against the floor, joints. Degrees; signs: docs/golf.md."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.golf.types import SwingFrame

UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class SegmentAngles:
    """A segment's turn about the vertical and its tilt, split so that neither leaks into the other (tilt and twist)."""

    turn_deg: Float[np.ndarray, " t"]
    """Positive towards the target; unwrapped over time; 0 where the segment faces the ball."""
    forward_bend_deg: Float[np.ndarray, " t"]
    """Lean towards where the segment itself faces."""
    side_bend_deg: Float[np.ndarray, " t"]
    """Lean towards the segment's own lead side."""


def segment_angles(bone: Float[np.ndarray, "t 3 3"], frame: SwingFrame) -> SegmentAngles:
    """Angles of a bone whose columns are its left, up and front in the world.

    With u the bone's up: S is the smallest rotation from the vertical to u, and the rest of the bone's rotation, W = Sᵀ R, is its turn.
    """
    sign = 1.0 if frame.hand == "right" else -1.0
    upright = np.stack([np.cross(UP, frame.ball), UP, frame.ball], -1)
    u = bone[:, :, 1]
    turn = np.unwrap(twist_about_up(bone @ upright.T))
    cosine, sine = np.cos(turn)[:, None], np.sin(turn)[:, None]
    facing = cosine * frame.ball + sine * np.cross(UP, frame.ball)
    lead = cosine * frame.target + sine * np.cross(UP, frame.target)
    upward = u @ UP
    forward = np.arctan2(np.sum(u * facing, -1), upward)
    side = np.arctan2(np.sum(u * lead, -1), upward)
    return SegmentAngles(nearest_turn(sign * np.degrees(turn)), np.degrees(forward), np.degrees(side))


def twist_about_up(R: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, " t"]:
    """Angle W, in radians, of R = S W: W turns about the second axis, and S is the smallest rotation that tilts this axis.

    Half of it has the tangent q_y / q_w of R's quaternion; R's entries give the double of that angle.
    """
    return np.arctan2(R[:, 0, 2] - R[:, 2, 0], R[:, 0, 0] + R[:, 2, 2])


def nearest_turn(turn_deg: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """An unwrapped turn, moved by whole turns so that it begins between −180° and 180°."""
    return turn_deg - 360.0 * np.round(turn_deg[:1] / 360.0)


def line_turn_deg(lead: Float[np.ndarray, "t 3"], trail: Float[np.ndarray, "t 3"], frame: SwingFrame) -> Float[np.ndarray, " t"]:
    """Turn of the line from trail to lead joint in the floor, against the target line; positive: open, towards the target."""
    line = lead - trail
    # Turning towards the target takes the lead end away from the ball.
    return nearest_turn(np.degrees(np.unwrap(np.arctan2(-(line @ frame.ball), line @ frame.target))))


def line_tilt_deg(lead: Float[np.ndarray, "t 3"], trail: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, " t"]:
    """Angle of the line of two joints to the floor; positive: the lead side is lower."""
    line = lead - trail
    return np.degrees(np.arctan2(-line[:, 1], np.hypot(line[:, 0], line[:, 2])))


def joint_angle_deg(a: Float[np.ndarray, "t 3"], b: Float[np.ndarray, "t 3"], c: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, " t"]:
    """Angle at ``b`` between the directions to ``a`` and ``c``; 180: straight."""
    first, second = a - b, c - b
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(first, second), axis=-1), np.sum(first * second, -1)))


def elevation_deg(start: Float[np.ndarray, "t 3"], end: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, " t"]:
    """Angle of the direction from ``start`` to ``end`` above the horizontal."""
    line = end - start
    return np.degrees(np.arctan2(line[:, 1], np.hypot(line[:, 0], line[:, 2])))


def cardan_deg(pelvis: Float[np.ndarray, "t 3 3"], thorax: Float[np.ndarray, "t 3 3"], *, left_handed: bool) -> Float[np.ndarray, "t 3"]:
    """Thorax relative to pelvis as Cardan angles: side bend, flexion, axial turn, in this order (Joyce et al. 2010).

    Both bones' columns are left, up and front. The turns are about the front axis, then the side axis, then the vertical axis, each in the
    moved segment's own axes. Side bend is positive towards the lead side, flexion forwards, the axial turn towards the target.
    """
    R = np.swapaxes(pelvis, -1, -2) @ thorax  # x left, y up, z front
    # R = Rz(a) Rx(b) Ry(c)
    flexion = np.arcsin(np.clip(R[:, 2, 1], -1.0, 1.0))
    side = np.arctan2(-R[:, 0, 1], R[:, 1, 1])
    axial = np.unwrap(np.arctan2(-R[:, 2, 0], R[:, 2, 2]))
    sign = -1.0 if left_handed else 1.0
    # A positive turn about the front axis takes the head to the right: away from a right-hander's target.
    return np.degrees(np.stack([-sign * side, flexion, sign * axial], -1))


def rate(values: Float[np.ndarray, " t"], seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """Change per second, by central differences."""
    return np.gradient(values, seconds)
