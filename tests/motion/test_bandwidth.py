"""The band follows motion, not single frames."""

import numpy as np

from body4d.config import MotionSettings
from body4d.motion.bandwidth import choose_cutoff_hz

DEFAULT = MotionSettings()
RATE, SIGMA = 240, 0.01


def band(values):
    times = np.arange(len(values)) / RATE
    return choose_cutoff_hz(times, values[:, None], np.full((len(values), 1), SIGMA**2), DEFAULT)[:, 0]


def noise(seed):
    return np.random.default_rng(seed).normal(0, SIGMA, (RATE, 3))


def test_one_wrong_frame_opens_no_band():
    """Six sigmas off in one frame, below what counts as an outlier."""
    opened = []
    for seed in range(8):
        values = noise(seed)
        values[120] = [6 * SIGMA, 0, 0]
        opened.append(band(values).max())
    assert np.median(opened) < 5 * DEFAULT.slowest_hz


def test_a_stroke_opens_it():
    values = noise(0)
    values[:, 0] += 1 / (1 + np.exp(-(np.arange(RATE) - 120) / 4))
    found = band(values)
    assert found[115:125].min() > 4 * DEFAULT.slowest_hz
    assert found[:20].max() < found[115:125].min() / 3
