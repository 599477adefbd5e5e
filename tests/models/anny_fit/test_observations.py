"""Feet at rest and hands that hold one thing, from the tracks of their points."""

import numpy as np
import pytest

from body4d.models.anny_fit.observations import acceleration_sigma, foot_at_rest, hands_joined

HEIGHT, RATE = 300.0, 30.0
TIMES = np.arange(90) / RATE


def noisy(points: np.ndarray, seed: int = 0) -> np.ndarray:
    return points + np.random.default_rng(seed).normal(size=points.shape) * 1.0


def swing(centre: tuple[float, float], reach_px: float) -> np.ndarray:
    return np.array(centre) + reach_px * np.stack([np.sin(2 * TIMES), np.cos(2 * TIMES)], -1)


def test_a_still_foot_rests_and_a_walking_one_does_not():
    assert foot_at_rest(noisy(np.tile([50.0, 280.0], (90, 1))), TIMES, HEIGHT).mean() > 0.95
    assert foot_at_rest(noisy(np.stack([60 * TIMES, 0 * TIMES], -1)), TIMES, HEIGHT).mean() == 0


def test_rest_does_not_depend_on_the_frame_rate():
    fast = np.arange(720) / 240
    moving = np.stack([60 * fast, 0 * fast], -1)
    assert foot_at_rest(moving, fast, HEIGHT).mean() == 0


@pytest.mark.parametrize(
    ("name", "left", "right", "expected"),
    [
        ("hands on one grip", swing((150, 150), 90), swing((155, 158), 90), 1.0),
        ("hands far apart", swing((60, 150), 90), swing((240, 150), 90), 0.0),
        ("folded hands at rest", np.tile([150.0, 150.0], (90, 1)), np.tile([158.0, 150.0], (90, 1)), 0.0),
    ],
)
def test_hands_on_one_grip_are_joined(name, left, right, expected):
    assert hands_joined(noisy(left), noisy(right, 1), TIMES, HEIGHT).mean() == pytest.approx(expected, abs=0.05), name


def test_hands_that_pass_each_other_are_not_joined():
    left = np.stack([50 + 70 * TIMES, 0 * TIMES + 150], -1)
    right = np.stack([260 - 70 * TIMES, 0 * TIMES + 150], -1)
    assert not hands_joined(left, right, TIMES, HEIGHT).any()


def test_a_short_blur_does_not_part_them_but_is_not_joined_itself():
    left, right = swing((150, 150), 90), swing((155, 158), 90)
    right[40:46] += 80
    joined = hands_joined(left, right, TIMES, HEIGHT)
    assert joined[:38].all()
    assert joined[48:].all()
    assert not joined[42:44].any()
    hidden = np.zeros(90, bool)
    hidden[38:50] = True
    assert hands_joined(left, right, TIMES, HEIGHT, hidden).all(), "a hidden hand stays on the grip that it held before and after"
    right[40:60] += 80  # for longer than a short loss
    assert not hands_joined(left, right, TIMES, HEIGHT, hidden)[42:48].any()


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_tracks_too_short_say_nothing(frames):
    points = np.zeros((frames, 2))
    assert foot_at_rest(points, TIMES[:frames], HEIGHT).shape == (frames,)
    assert not hands_joined(points, points, TIMES[:frames], HEIGHT).any()


def test_a_stroke_is_allowed_its_acceleration_and_scatter_is_not():
    """A hand swings by on an arc at 8 m/s for a moment; a foot only scatters."""
    times = np.arange(60) / 30
    angle = np.pi / (1 + np.exp(-25 * (times - 1.0)))
    scatter = np.random.default_rng(0).normal(0, 2.0, (60, 2))
    hand, foot = 200 * np.stack([np.cos(angle), np.sin(angle)], -1) + scatter, scatter[::-1]
    sigma = acceleration_sigma(np.stack([hand, foot], 1), times, np.full(60, 0.004), 18.0)
    true = np.linalg.norm(np.diff(hand - scatter, 2, axis=0), axis=-1).max() * 0.004
    assert sigma[25:35, 0, 0].max() > 0.8 * true
    assert sigma[:, 1, 0].max() < 0.25 * true
    assert sigma[:15, 0, 0].max() < 0.25 * true
