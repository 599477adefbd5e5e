import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from body4d.motion.rts_smoother import jerk_density, rts_smooth


def run(times, values, sigma=1.0, cutoff_hz=2.0, variances=None):
    T, B, _ = values.shape
    step = float(np.median(np.diff(times))) if T > 1 else 1.0
    variances = np.full((T, B), sigma**2) if variances is None else variances
    return rts_smooth(times, values, variances, np.full((max(T - 1, 0), B), jerk_density(cutoff_hz, sigma**2, step)))


def uneven_times(frames, seed, rate=30.0):
    return np.cumsum(np.random.default_rng(seed).uniform(0.5, 1.5, frames)) / rate


def test_equals_a_dense_least_squares_solution():
    """The same posterior, computed by one big linear system instead of a recursion."""
    rng = np.random.default_rng(0)
    T, sigma, jerk = 12, 0.3, 50.0
    times = uneven_times(T, 1)
    y = rng.normal(size=(T, 1, 2))
    seen = np.ones(T, bool)
    seen[[4, 5, 9]] = False
    normal, right = np.zeros((3 * T, 3 * T)), np.zeros((3 * T, 2))
    for t in range(T):
        if seen[t]:
            normal[3 * t, 3 * t] += 1 / sigma**2
            right[3 * t] += y[t, 0] / sigma**2
        if t:
            h = times[t] - times[t - 1]
            F = np.array([[1, h, h * h / 2], [0, 1, h], [0, 0, 1]])
            Q = jerk * np.array([[h**5 / 20, h**4 / 8, h**3 / 6], [h**4 / 8, h**3 / 3, h**2 / 2], [h**3 / 6, h**2 / 2, h]])
            A = np.zeros((3, 3 * T))
            A[:, 3 * t - 3 : 3 * t], A[:, 3 * t : 3 * t + 3] = -F, np.eye(3)
            normal += A.T @ np.linalg.solve(Q, A)
    wanted = np.linalg.solve(normal, right).reshape(T, 3, 2)
    variance = np.diag(np.linalg.inv(normal))[::3]
    got = rts_smooth(times, y, np.where(seen, sigma**2, np.inf)[:, None], np.full((T - 1, 1), jerk))
    np.testing.assert_allclose(got.position[:, 0], wanted[:, 0], atol=1e-5)
    np.testing.assert_allclose(got.velocity[:, 0], wanted[:, 1], atol=1e-3)
    np.testing.assert_allclose(got.variance[:, 0], variance, rtol=1e-4)


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(0, 1000), st.floats(0.5, 10))
def test_is_symmetric_in_time(frames, seed, cutoff_hz):
    times = uneven_times(frames, seed)
    y = np.random.default_rng(seed).normal(size=(frames, 2, 3))
    there = run(times, y, cutoff_hz=cutoff_hz)
    back = run(-times[::-1], y[::-1], cutoff_hz=cutoff_hz)
    np.testing.assert_allclose(back.position[::-1], there.position, atol=2e-5)
    # Speeds grow as the steps shrink; a start that knows nothing (variance 1e7) leaves four digits of them.
    fastest = np.abs(there.velocity).max()
    np.testing.assert_allclose(-back.velocity[::-1], there.velocity, rtol=0, atol=1e-4 * fastest + 1e-9)


def test_two_frames_give_the_same_speed_at_both():
    got = run(np.array([0.0, 0.1]), np.array([0.0, 1.0])[:, None, None])
    assert got.velocity.ravel() == pytest.approx([10.0, 10.0], rel=1e-4)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_motion_of_constant_acceleration_passes_unchanged(degree):
    times = uneven_times(50, 3)
    y = (times**degree)[:, None, None] * np.ones((1, 1, 3))
    np.testing.assert_allclose(run(times, y, cutoff_hz=1.0).position, y, atol=1e-5)


@pytest.mark.parametrize(("share_of_cutoff", "gain"), [(0.5, 1 / (1 + 0.5**6)), (1.0, 0.5), (2.0, 1 / (1 + 2**6))])
def test_passes_a_sinusoid_as_the_cutoff_says(share_of_cutoff, gain):
    times = np.arange(1200) / 240
    y = np.sin(2 * np.pi * 4.0 * share_of_cutoff * times)[:, None, None]
    middle = slice(400, 800)
    assert np.std(run(times, y, cutoff_hz=4.0).position[middle]) / np.std(y[middle]) == pytest.approx(gain, rel=0.01)


def test_uncertainty_grows_into_a_gap_and_bridges_it_better_than_a_line():
    times = np.arange(90) / 30
    truth = np.sin(2 * np.pi * 0.8 * times)[:, None, None]
    seen = np.ones(90, bool)
    seen[40:55] = False
    got = run(times, np.where(seen[:, None, None], truth, np.nan), 0.01, 2.0, np.where(seen, 1e-4, np.inf)[:, None])
    line = np.interp(times, times[seen], truth[seen, 0, 0])
    assert np.all(np.diff(got.variance[39:48, 0]) > 0)
    assert np.abs(got.position[~seen] - truth[~seen]).max() < 0.2 * np.abs(line[~seen] - truth[~seen, 0, 0]).max()


def test_channels_and_their_grouping_do_not_touch_each_other(monkeypatch):
    y = np.random.default_rng(0).normal(size=(40, 7, 3))
    times = np.arange(40) / 30
    together = run(times, y).position
    monkeypatch.setattr("body4d.motion.rts_smoother.MAX_CELLS", 100)
    np.testing.assert_allclose(run(times, y).position, together, rtol=0, atol=1e-12)
    np.testing.assert_allclose(run(times, y[:, 3:4]).position, together[:, 3:4], rtol=0, atol=1e-12)


def test_noise_variance_falls_as_it_says():
    y = np.random.default_rng(0).normal(size=(3000, 1, 1))
    got = run(np.arange(3000) / 30, y, cutoff_hz=2.0)
    assert np.var(got.position) < got.variance[1500, 0] < 0.2


def test_a_channel_never_measured_is_refused():
    with pytest.raises(ValueError, match="without any measurement"):
        run(np.arange(4.0), np.zeros((4, 1, 1)), variances=np.full((4, 1), np.inf))


def test_beyond_what_was_measured_it_stands_still_and_says_how_unsure_that_is():
    """Of a wide band, speeds are mostly noise: extrapolated, they would carry a body metres away within a few frames."""
    times = np.arange(60) / 240
    values = np.random.default_rng(0).normal(0, 1, (60, 1, 2)) + 5 * times[:, None, None]
    variances = np.ones((60, 1))
    variances[:5] = variances[50:] = np.inf
    out = run(times, values, cutoff_hz=80.0, variances=variances)
    assert np.array_equal(out.position[50:], np.broadcast_to(out.position[49], (10, 1, 2)))
    assert np.array_equal(out.position[:5], np.broadcast_to(out.position[5], (5, 1, 2)))
    assert not out.velocity[50:].any()
    assert np.all(np.diff(out.variance[49:, 0]) > 0)
    assert np.all(np.diff(out.variance[:6, 0]) < 0)
