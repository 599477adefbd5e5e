import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from body4d.geometry.rotations import rotvec_to_matrix
from body4d.motion.outliers import burst_outliers, chordal_points

SIGMA = 0.01


def moving(frames, rate=30.0, seed=0):
    """A point (T, 1, 3) that sways by half a metre, with noise."""
    times = np.arange(frames) / rate
    place = np.stack([0.5 * np.sin(3 * times), 0.2 * np.cos(2 * times), 0 * times], -1)
    return times, (place + np.random.default_rng(seed).normal(0, SIGMA, place.shape))[:, None]


def burst_rows(times, points):
    return np.flatnonzero(burst_outliers(times, points, np.full(points.shape[:2], SIGMA))[:, 0])


@settings(max_examples=40)
@given(st.integers(10, 70), st.integers(1, 4), st.integers(0, 1000))
def test_a_run_that_leaps_away_and_back_is_a_burst_and_nothing_else(first, length, seed):
    times, places = moving(90, seed=seed)
    places[first : first + length] += [0.0, 0.7, 0.3]
    assert burst_rows(times, places).tolist() == list(range(first, first + length))


@settings(max_examples=40)
@given(st.integers(0, 1000), st.sampled_from([30.0, 60.0, 240.0]))
def test_plain_motion_has_no_bursts(seed, rate):
    assert not len(burst_rows(*moving(120, rate, seed)))


@pytest.mark.parametrize("rate", [30, 60, 240])
@pytest.mark.parametrize("lasts_s", [0.15, 0.25, 0.5])
def test_a_stroke_and_a_blow_out_and_back_are_motion(rate, lasts_s):
    """A metre away with minimum jerk, and away and back again at once."""
    times = np.arange(2 * rate) / rate
    u = np.clip((times - 0.7) / lasts_s, 0, 1)
    away = 10 * u**3 - 15 * u**4 + 6 * u**5
    u = np.clip((times - 0.7 - lasts_s) / lasts_s, 0, 1)
    for path in (away, away - (10 * u**3 - 15 * u**4 + 6 * u**5)):
        assert not len(burst_rows(times, path[:, None, None] * np.array([1.0, 0, 0])))


def test_a_short_run_beside_a_gap_is_a_burst_though_no_leap_back_is_seen():
    times, places = moving(90)
    places[40:60] = np.nan
    places[60:63] += [0.0, 0.9, 0.0]
    assert burst_rows(times, places).tolist() == [60, 61, 62]
    assert burst_rows(times, places[::-1]).tolist() == [27, 28, 29]


def test_a_leap_without_a_leap_back_is_motion():
    times, places = moving(90)
    places[40:] += [0.0, 0.9, 0.0]
    assert not len(burst_rows(times, places))


def test_rotations_are_compared_by_angle_beyond_half_a_turn():
    """A leap of 170 degrees and back: unrolled, it might be taken the long way round and never come back."""
    rotations = rotvec_to_matrix(np.random.default_rng(0).normal(0, SIGMA, (60, 1, 3)))
    rotations[30:33] = rotations[30:33] @ rotvec_to_matrix(np.array([0.0, np.radians(170), 0.0]))
    assert burst_rows(np.arange(60) / 30, chordal_points(rotations)).tolist() == [30, 31, 32]


def test_a_step_of_noise_beside_a_leap_does_not_hide_it():
    """A step of four sigmas before a leap of nineteen back, and none of motion."""
    times = np.arange(60) / 30
    places = np.zeros((60, 1, 3))
    places[29] = [0.0, 0.0, -4 * SIGMA]
    places[30:32] = [0.0, 0.0, 15 * SIGMA]
    assert {30, 31} <= set(burst_rows(times, places).tolist())


@pytest.mark.parametrize(("rate", "is_burst"), [(240.0, True), (30.0, False)])
def test_a_burst_of_large_steps_is_no_motion_if_it_is_too_quick(rate, is_burst):
    """Away, half back, away, back: in 17 ms nobody does it, in 130 ms somebody may."""
    times, places = moving(90, rate)
    places[40:44, 0, 1] += [0.8, 0.35, 0.8, 0.8]
    assert set(range(40, 44)) <= set(burst_rows(times, places).tolist()) or not is_burst
    if not is_burst:
        assert not {40, 41, 42, 43} <= set(burst_rows(times, places).tolist())
