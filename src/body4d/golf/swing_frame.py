"""Directions of a swing, from which side it is filmed, and on which side the golfer plays: each with how sure it is."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import expit, ndtr

from body4d.core.types import Scene
from body4d.golf.angles import UP
from body4d.golf.body_motion import BodyMotion
from body4d.golf.types import GolfOptions, Hand, SwingFrame, View

MIN_FACE_ON_DEG, MAX_DOWN_THE_LINE_DEG = 60.0, 30.0
"""Angle between the line of the ankles and the camera's direction: above, face-on; below, down the line; between, oblique."""

STANCE_SIGMA_DEG = 8.0
"""How far the recovered line of the ankles may be off: feet are placed in depth to some 5 cm over a stance of 45 cm. A guess."""

PATH_SCALE_M, GRIP_SCALE_M = 0.06, 0.04
"""The hands' way to the trail side, and the height of one hand over the other, that change the odds of a side by a factor e."""

MAX_PATH_VOTE, MAX_GRIP_VOTE = 6.0, 2.0
"""Limits of both votes in log odds: how wrists lie in the grip is seen to a few centimetres only."""


def decide_hand(motion: BodyMotion, address_rows: Sequence[int] | np.ndarray, top_row: int, options: GolfOptions) -> tuple[Hand, float]:
    """On which side the golfer plays, and the probability of it, by two votes.

    The hands go to the trail side from address to the top; the lower hand on the grip is the trail hand.
    """
    if options.hand is not None:
        return options.hand, 1.0
    rows = np.asarray(address_rows)
    left = _floor_unit(np.mean(motion.joints["left_ankle"][rows] - motion.joints["right_ankle"][rows], axis=0))
    path = motion.joints["mid_wrist"][top_row] - np.mean(motion.joints["mid_wrist"][rows], axis=0)
    lower_right = np.mean(motion.joints["left_wrist"][rows, 1] - motion.joints["right_wrist"][rows, 1])
    votes = float(
        np.clip(-(path @ left) / PATH_SCALE_M, -MAX_PATH_VOTE, MAX_PATH_VOTE)
        + np.clip(lower_right / GRIP_SCALE_M, -MAX_GRIP_VOTE, MAX_GRIP_VOTE)
    )
    return ("right", float(expit(votes))) if votes >= 0 else ("left", float(expit(-votes)))


def swing_frame(
    scene: Scene, motion: BodyMotion, address_rows: np.ndarray, hand: Hand, hand_confidence: float, options: GolfOptions
) -> SwingFrame:
    """The frame at ``address_rows``, the still stretch before the takeaway."""
    lead, trail = ("left", "right") if hand == "right" else ("right", "left")
    ankles = {side: np.mean(motion.joints[f"{side}_ankle"][address_rows], axis=0) for side in (lead, trail)}
    stance = _floor_unit(ankles[lead] - ankles[trail])
    right, _, away = scene.T_world_camera[:3, :3].astype(np.float64).T
    away = _floor_unit(away)
    right = _floor_unit(right - (right @ away) * away)
    view_deg = float(np.degrees(np.arccos(np.clip(abs(stance @ away), 0.0, 1.0))))
    view, view_confidence = decide_view(view_deg)
    if options.view is not None:
        view, view_confidence = options.view, 1.0
    target, source = _target(options.target_deg, view, stance, away, right)
    ball = np.cross(target, UP) if hand == "right" else np.cross(UP, target)
    across = float(np.cross(target, stance) @ UP)
    stance_deg = float(np.degrees(np.arctan2(across, target @ stance))) * (1.0 if hand == "right" else -1.0)
    origin = (ankles[lead] + ankles[trail]) / 2 * [1.0, 0.0, 1.0]
    return SwingFrame(
        target=target,
        ball=ball,
        up=UP.copy(),
        origin_m=origin,
        target_source=source,
        stance_deg=stance_deg,
        view=view,
        view_deg=view_deg,
        view_confidence=view_confidence,
        hand=hand,
        hand_confidence=hand_confidence,
        view_given=options.view is not None,
        hand_given=options.hand is not None,
    )


def decide_view(view_deg: float) -> tuple[View, float]:
    """The view for an angle in [0, 90] between ankles and camera, and the probability that the true angle belongs to it."""
    above_line = float(ndtr((view_deg - MAX_DOWN_THE_LINE_DEG) / STANCE_SIGMA_DEG))
    face_on = float(ndtr((view_deg - MIN_FACE_ON_DEG) / STANCE_SIGMA_DEG))
    if view_deg > MIN_FACE_ON_DEG:
        return "face-on", face_on
    if view_deg < MAX_DOWN_THE_LINE_DEG:
        return "down-the-line", 1.0 - above_line
    return "oblique", above_line - face_on


TargetSource = Literal["user", "camera axis", "picture", "stance"]


def _target(
    target_deg: float | None, view: View, stance: np.ndarray, away: np.ndarray, right: np.ndarray
) -> tuple[Float[np.ndarray, " 3"], TargetSource]:
    if target_deg is not None:
        angle = np.radians(target_deg)
        return np.cos(angle) * away + np.sin(angle) * right, "user"
    if view == "down-the-line":
        return away * (1.0 if stance @ away >= 0 else -1.0), "camera axis"
    if view == "face-on":
        return right * (1.0 if stance @ right >= 0 else -1.0), "picture"
    return stance, "stance"


def _floor_unit(v: np.ndarray) -> np.ndarray:
    """The direction of ``v`` in the floor."""
    flat = v * np.array([1.0, 0.0, 1.0])
    length = np.linalg.norm(flat)
    return flat / length if length > 1e-9 else np.array([1.0, 0.0, 0.0])
