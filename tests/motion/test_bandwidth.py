"""The cut-off follows motion, not single frames."""

import numpy as np

from body4d.motion.bandwidth import choose_cutoff_hz

MIN_CUTOFF_HZ = 1.5
RATE, SIGMA = 240, 0.01


def cutoff_hz(values):
    times = np.arange(len(values)) / RATE
    return choose_cutoff_hz(times, values[:, None], np.full((len(values), 1), SIGMA**2), MIN_CUTOFF_HZ)[:, 0]


def noise(seed):
    return np.random.default_rng(seed).normal(0, SIGMA, (RATE, 3))


def test_one_wrong_frame_does_not_raise_the_cutoff():
    """Six sigmas off in one frame, below what counts as an outlier."""
    highest = []
    for seed in range(8):
        values = noise(seed)
        values[120] = [6 * SIGMA, 0, 0]
        highest.append(cutoff_hz(values).max())
    assert np.median(highest) < 5 * MIN_CUTOFF_HZ


def test_a_stroke_raises_it():
    values = noise(0)
    values[:, 0] += 1 / (1 + np.exp(-(np.arange(RATE) - 120) / 4))
    cutoff = cutoff_hz(values)
    assert cutoff[115:125].min() > 4 * MIN_CUTOFF_HZ
    assert cutoff[:20].max() < cutoff[115:125].min() / 3
