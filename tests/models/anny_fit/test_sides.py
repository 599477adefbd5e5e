"""Left and right, front and back over a clip: made people who stand, sway and turn, with the network's errors put in."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from body4d.core.joints import Body29 as B
from body4d.models.anny_fit.observations import BodyLandmarks
from body4d.models.anny_fit.sides import TURNED, _read, exchanged, leaping_arm, settle_sides, sides_warning, unclear_spans

LEFT_ARM = [B.LEFT_ELBOW, B.LEFT_WRIST, B.LEFT_THUMB, B.LEFT_INDEX, B.LEFT_PINKY]
PX_PER_M = 300.0

_HALF = {  # a person's left half, facing the camera: across, down and away, metres from the middle of the hips
    "EYE": (0.03, -0.72, -0.09),
    "EAR": (0.07, -0.70, 0.0),
    "SHOULDER": (0.18, -0.50, 0.0),
    "ELBOW": (0.27, -0.25, 0.03),
    "WRIST": (0.30, -0.05, -0.10),
    "THUMB": (0.30, 0.0, -0.14),
    "INDEX": (0.31, 0.05, -0.12),
    "PINKY": (0.32, 0.05, -0.08),
    "HIP": (0.11, 0.0, 0.0),
    "KNEE": (0.13, 0.42, -0.05),
    "ANKLE": (0.14, 0.83, 0.03),
    "HEEL": (0.14, 0.88, 0.08),
    "BIG_TOE": (0.15, 0.89, -0.14),
    "SMALL_TOE": (0.18, 0.89, -0.12),
}


def person(yaw_rad: np.ndarray, noise_m: float = 0.0, seed: int = 0) -> BodyLandmarks:
    """Somebody who faces the camera at yaw 0, with arms and legs that swing."""
    T = len(yaw_rad)
    body = np.zeros((len(B), 3))
    body[B.NOSE] = (0.0, -0.68, -0.11)
    for name, (x, y, z) in _HALF.items():
        body[B[f"LEFT_{name}"]], body[B[f"RIGHT_{name}"]] = (x, y, z), (-x, y, z)
    moving = np.repeat(body[None], T, 0)
    swing = 0.1 * np.sin(np.arange(T) / 8)
    moving[:, [*LEFT_ARM, B.RIGHT_KNEE], 2] += swing[:, None]
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    turn = np.zeros((T, 3, 3))
    turn[:, 0, 0], turn[:, 0, 2], turn[:, 1, 1], turn[:, 2, 0], turn[:, 2, 2] = cos, sin, 1, -sin, cos
    world = np.einsum("tab,tkb->tka", turn, moving) + np.random.default_rng(seed).normal(0, noise_m, (T, len(B), 3))
    return BodyLandmarks(world[..., :2] * PX_PER_M + 500, world, np.full((T, len(B)), 0.95))


def stretch(T: int, first: int, length: int) -> np.ndarray:
    rows = np.zeros(T, bool)
    rows[first : first + length] = True
    return rows


@settings(max_examples=25, deadline=None)
@given(turn=st.floats(-400, 400), start=st.floats(0, 360), fps=st.sampled_from([25.0, 30.0, 60.0]), seed=st.integers(0, 99))
def test_a_person_who_turns_is_left_as_seen(turn: float, start: float, fps: float, seed: int) -> None:
    times = np.arange(60) / fps
    seen = person(np.radians(start + turn * times), 0.005, seed)
    settled = settle_sides(seen, times)
    assert not settled.changed.any()
    assert settled.measured.all()
    np.testing.assert_array_equal(settled.landmarks.points_px, seen.points_px)
    np.testing.assert_array_equal(settled.landmarks.world_m, seen.world_m)


@settings(max_examples=25, deadline=None)
@given(start=st.floats(-45, 45), back=st.booleans(), first=st.integers(5, 60), length=st.integers(3, 40), fps=st.sampled_from([30.0, 60.0]))
def test_a_stretch_of_front_for_back_is_turned_round(start: float, back: bool, first: int, length: int, fps: float) -> None:
    times = np.arange(120) / fps
    true = person(np.radians(start + 180 * back + 10 * np.sin(3 * times)), 0.005)
    wrong = _read(true, np.where(stretch(120, first, length), TURNED, 0))
    settled = settle_sides(wrong, times)
    assert settled.changed[first : first + length].all()
    assert settled.changed.sum() == length
    kept = settled.measured.all(1)
    np.testing.assert_allclose(settled.landmarks.points_px[kept], true.points_px[kept])
    across = settled.landmarks.world_m[:, B.LEFT_SHOULDER] - settled.landmarks.world_m[:, B.RIGHT_SHOULDER]
    true_across = true.world_m[:, B.LEFT_SHOULDER] - true.world_m[:, B.RIGHT_SHOULDER]
    assert (np.sum(across * true_across, -1) > 0).all()


@settings(max_examples=15, deadline=None)
@given(start=st.floats(-40, 40), first=st.integers(5, 60), length=st.integers(3, 30))
def test_arms_alone_are_exchanged_back(start: float, first: int, length: int) -> None:
    times = np.arange(100) / 60
    true = person(np.full(100, np.radians(start)))
    settled = settle_sides(exchanged(true, stretch(100, first, length), LEFT_ARM), times)
    kept = settled.measured.all(1)
    assert kept.mean() > 0.9
    np.testing.assert_allclose(settled.landmarks.points_px[kept], true.points_px[kept])
    off = np.linalg.norm(settled.landmarks.points_px - true.points_px, axis=-1)
    assert off.max() < 0.05 * PX_PER_M


def test_a_frame_that_fits_no_reading_is_left_out_and_interpolated() -> None:
    times = np.arange(60) / 60
    true = person(np.zeros(60))
    world = true.world_m.copy()
    world[30, :, :2] = world[30, :, :2].mean(0)
    settled = settle_sides(dataclasses.replace(true, world_m=world), times)
    assert not settled.measured[30].any()
    assert settled.measured[[*range(30), *range(31, 60)]].all()
    np.testing.assert_allclose(settled.landmarks.points_px[30], true.points_px[30], atol=0.02 * PX_PER_M)
    assert settled.landmarks.visibility[30].max() < 0.5 < settled.landmarks.visibility[29].min()


def test_readings_that_take_turns_equally_are_unclear_from_when_to_when() -> None:
    times = np.arange(120) / 60
    true = person(np.full(120, 0.2))
    settled = settle_sides(_read(true, np.where(np.arange(120) // 20 % 2 == 1, TURNED, 0)), times)
    ((first_s, last_s),) = unclear_spans(settled.ambiguity, times)
    assert first_s < 0.1
    assert last_s > 1.8
    warning = sides_warning(3, [(first_s, last_s)])
    assert warning is not None
    assert warning.code == "sides_unclear"
    assert warning.facts == {"person": 3, "spans_s": [[first_s, last_s]]}
    clear = settle_sides(true, times)
    assert clear.ambiguity.max() < 0.2
    assert sides_warning(3, unclear_spans(clear.ambiguity, times)) is None


@pytest.mark.parametrize("T", [1, 2])
def test_very_short_tracks_are_left_alone(T: int) -> None:
    settled = settle_sides(person(np.zeros(T)), np.arange(T) / 30)
    assert not settled.changed.any()


def test_a_new_shot_from_behind_stays() -> None:
    times = np.arange(80) / 30
    seen = person(np.where(np.arange(80) < 40, 0.0, np.pi))
    points = seen.points_px.copy()
    points[40:] += 400
    settled = settle_sides(dataclasses.replace(seen, points_px=points), times)
    assert not settled.changed.any()


def test_an_arm_that_leaps_in_depth_for_two_frames_is_found_and_a_fast_stroke_is_not() -> None:
    times = np.arange(60) / 30
    joints = person(np.zeros(60)).world_m
    joints[20:22, [B.RIGHT_ELBOW, B.RIGHT_WRIST], 2] -= [0.6, 1.1]
    stroke = 0.6 * np.exp(-(((times - 1.0) / 0.12) ** 2))
    joints[:, B.LEFT_WRIST, 1] -= stroke
    assert np.abs(np.gradient(stroke, times)).max() > 3.5
    assert np.flatnonzero(leaping_arm(joints, times, "RIGHT")).tolist() == [20, 21]
    assert not leaping_arm(joints, times, "LEFT").any()


def legs_that_pass(frames: int = 60) -> tuple[BodyLandmarks, list[B]]:
    """Seen from the side one foot swings past the other; and the keypoints of the left foot."""
    walker = person(np.full(frames, np.pi / 2))
    feet = [B.LEFT_ANKLE, B.LEFT_HEEL, B.LEFT_BIG_TOE, B.LEFT_SMALL_TOE]
    world = walker.world_m.copy()
    world[:, feet, 0] += np.clip(np.arange(frames) - 20, 0, 20)[:, None] / 20 * 0.9 - 0.45
    return BodyLandmarks(world[..., :2] * PX_PER_M + 500, world, walker.visibility), feet


@pytest.mark.parametrize("length", [1, 3])
def test_feet_that_are_exchanged_for_a_moment_while_the_legs_pass_are_exchanged_back(length: int) -> None:
    """Seen from the side one foot swings past the other, slower than feet can; depth stays with its label, as the network leaves it."""
    true, feet = legs_that_pass()
    world = true.world_m
    rows = stretch(60, 24, length)
    seen = exchanged(true, rows, feet)
    seen = dataclasses.replace(seen, world_m=np.concatenate([seen.world_m[..., :2], world[..., 2:]], axis=-1))
    settled = settle_sides(seen, np.arange(60) / 30)
    assert settled.landmarks.points_px[:, feet] == pytest.approx(true.points_px[:, feet])
    assert settled.landmarks.world_m[:, feet] == pytest.approx(world[:, feet])
    assert settle_sides(true, np.arange(60) / 30).landmarks.points_px[:, feet] == pytest.approx(true.points_px[:, feet])


@pytest.mark.parametrize("shares", [(0.5,), (0.4, 0.6), (0.9, 0.6, 0.4)])
def test_feet_seen_between_the_two_for_a_moment_are_interpolated(shares: tuple[float, ...]) -> None:
    """On the way into an exchange and out of it both feet are seen between their own place and the other's."""
    true, feet = legs_that_pass()
    both = [*feet, *(B[k.name.replace("LEFT", "RIGHT")] for k in feet)]
    rows = stretch(60, 24, len(shares))
    other = exchanged(true, np.ones(60, bool), feet).points_px
    points = true.points_px.copy()
    points[rows] += np.array(shares)[:, None, None] * (other - true.points_px)[rows]
    settled = settle_sides(dataclasses.replace(true, points_px=points), np.arange(60) / 30)
    assert np.abs(settled.landmarks.points_px - true.points_px)[:, both].max() < 0.02 * PX_PER_M
    assert settled.measured[~rows].all()
    assert not settled.measured[rows][:, both].all()
    assert settled.measured[:, [k for k in B if k not in both]].all()


def test_hands_that_clap_and_a_foot_that_kicks_are_left_as_seen() -> None:
    """Two hands that meet and part within a tenth of a second are no mixture of two, nor is a quick foot that goes elsewhere."""
    times = np.arange(60) / 30
    moving = person(np.zeros(60))
    world = moving.world_m.copy()
    clap = np.clip(1 - np.abs(np.arange(60) - 30) / 2, 0, 1)
    world[:, B.LEFT_WRIST, 0] -= 0.28 * clap
    world[:, B.RIGHT_WRIST, 0] += 0.28 * clap
    kick = 0.6 * np.exp(-(((times - 1.0) / 0.12) ** 2))
    for k in (B.LEFT_ANKLE, B.LEFT_HEEL, B.LEFT_BIG_TOE, B.LEFT_SMALL_TOE):
        world[:, k, 1] -= kick
    seen = BodyLandmarks(world[..., :2] * PX_PER_M + 500, world, moving.visibility)
    settled = settle_sides(seen, times)
    assert settled.measured.all()
    np.testing.assert_array_equal(settled.landmarks.points_px, seen.points_px)
