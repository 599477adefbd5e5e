"""Tilt and twist, Cardan angles and lines against rotations put together from the definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from body4d.golf.angles import cardan_deg, elevation_deg, joint_angle_deg, line_tilt_deg, line_turn_deg, segment_angles
from body4d.golf.types import Hand, SwingFrame

UP = np.array([0.0, 1.0, 0.0])
HANDS = st.sampled_from(["right", "left"])


def frame_of(hand: Hand, heading_deg: float = 0.0) -> SwingFrame:
    """The target at a bearing; the ball at a right angle, on the side that the golfer faces."""
    angle = np.radians(heading_deg)
    target = np.array([np.cos(angle), 0.0, -np.sin(angle)])
    ball = np.cross(target, UP) if hand == "right" else np.cross(UP, target)
    return SwingFrame(target, ball, UP, np.zeros(3), "user", 0.0, "face-on", 90.0, 1.0, hand, 1.0)


def bone(hand: Hand, turn_deg: float, tilt_deg: float, tilt_towards_deg: float, heading_deg: float = 0.0) -> np.ndarray:
    """A bone that first turns about the vertical towards the target, then tilts by the shortest way towards a bearing."""
    frame = frame_of(hand, heading_deg)
    upright = np.stack([np.cross(UP, frame.ball), UP, frame.ball], -1)
    sign = 1.0 if hand == "right" else -1.0
    turn = Rotation.from_rotvec(np.radians(sign * turn_deg) * UP)
    bearing = np.radians(tilt_towards_deg)
    towards = np.cos(bearing) * frame.ball + np.sin(bearing) * frame.target
    tilt = Rotation.from_rotvec(np.radians(tilt_deg) * np.cross(UP, towards))
    return (tilt * turn).as_matrix() @ upright


@given(
    HANDS,
    st.floats(-170, 170),
    st.floats(0, 80),
    st.floats(-180, 180),
    st.floats(-180, 180),
)
def test_turn_is_what_was_turned_whatever_the_tilt(hand: Hand, turn: float, tilt: float, towards: float, heading: float) -> None:
    found = segment_angles(bone(hand, turn, tilt, towards, heading)[None], frame_of(hand, heading))
    assert found.turn_deg[0] == pytest.approx(turn, abs=1e-6)


@given(HANDS, st.floats(-170, 170), st.floats(0, 70), st.floats(-180, 180))
def test_bends_are_seen_from_the_turned_body(hand: Hand, turn: float, tilt: float, towards: float) -> None:
    found = segment_angles(bone(hand, turn, tilt, towards)[None], frame_of(hand))
    # A body turned towards the target by ``turn`` faces there instead of the ball; its lead side is a quarter turn farther.
    off = np.radians(towards - turn)
    expected = [np.degrees(np.arctan(np.tan(np.radians(tilt)) * part)) for part in (np.cos(off), np.sin(off))]
    np.testing.assert_allclose([found.forward_bend_deg[0], found.side_bend_deg[0]], expected, atol=1e-6)


def test_turn_is_unwrapped_over_time() -> None:
    turns = np.linspace(-100, 250, 60)
    bones = np.stack([bone("right", float(turn), 20, 10) for turn in turns])
    np.testing.assert_allclose(segment_angles(bones, frame_of("right")).turn_deg, turns, atol=1e-6)


@given(HANDS, st.floats(-60, 60), st.floats(-60, 60), st.floats(-60, 60))
def test_cardan_angles_are_those_put_together(hand: Hand, side: float, flexion: float, axial: float) -> None:
    sign = -1.0 if hand == "right" else 1.0  # about the front axis a positive turn leans to the body's right
    # Columns left, up, front are x, y, z: a right-handed frame.
    R = Rotation.from_euler("ZXY", [sign * side, flexion, -sign * axial], degrees=True).as_matrix()
    pelvis = Rotation.from_rotvec([0.3, -1.0, 0.2]).as_matrix()
    found = cardan_deg(pelvis[None], (pelvis @ R)[None], left_handed=hand == "left")[0]
    np.testing.assert_allclose(found, [side, flexion, axial], atol=1e-6)


@pytest.mark.parametrize("hand", ["right", "left"])
def test_an_open_line_is_positive_and_a_low_lead_end_too(hand: Hand) -> None:
    frame = frame_of(hand)
    lead = 0.2 * frame.target - 0.1 * frame.ball + 0.0 * UP  # drawn back from the ball
    trail = -0.2 * frame.target + 0.1 * frame.ball + 0.3 * UP
    assert line_turn_deg(lead[None], trail[None], frame)[0] == pytest.approx(np.degrees(np.arctan2(0.2, 0.4)))
    assert line_tilt_deg(lead[None], trail[None])[0] == pytest.approx(np.degrees(np.arctan2(0.3, np.hypot(0.4, 0.2))))


def test_joint_angles_and_elevation() -> None:
    a, b, c = (np.array([v], float) for v in ([0, 1, 0], [0, 0, 0], [1, 0, 0]))
    assert joint_angle_deg(a, b, c)[0] == pytest.approx(90)
    assert joint_angle_deg(a, b, -a)[0] == pytest.approx(180)
    assert elevation_deg(b, a + c)[0] == pytest.approx(45)
