"""One frame step for a file: the one that holds for a stretch of the clip, never a mean."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.core.types import Clip
from body4d.export.frame_grid import frame_grid
from scenes import make_clip


def clip_of(*stretches: tuple[int, float]) -> Clip:
    """A clip of so many steps of so many seconds each."""
    times = np.concatenate([[0.0], np.cumsum(np.concatenate([np.full(count, step) for count, step in stretches]))])
    rate = Fraction((len(times) - 1) / times[-1]).limit_denominator(1001)
    return Clip(Path("made.mp4"), 64, 48, rate, times, np.arange(len(times)), variable_rate=True)


@pytest.mark.parametrize(
    ("stretches", "step_s", "frames"),
    [
        (((10, 1 / 30), (32, 1 / 240), (10, 1 / 30)), 1 / 240, 193),  # slow motion in the middle
        (((30, 1 / 30), (1, 3.0), (30, 1 / 30)), 1 / 30, 151),  # a pause of three seconds
        (((20, 1 / 30), (1, 2 / 30), (40, 1 / 30), (1, 3 / 30), (9, 1 / 30)), 1 / 30, 75),  # frames that were dropped
        (((2, 1 / 25),), 1 / 25, 3),
    ],
)
def test_the_step_is_one_that_holds(stretches, step_s, frames):
    at_s, step = frame_grid(clip_of(*stretches))
    assert step == step_s
    assert len(at_s) == frames
    assert np.allclose(np.diff(at_s), step_s)


def test_rounded_stamps_and_every_second_frame_keep_the_exact_rate():
    clip = make_clip(300)
    rounded = dataclasses.replace(clip, times_s=np.round(clip.times_s, 3))
    assert frame_grid(rounded)[1] == float(Fraction(1001, 30000))
    assert frame_grid(rounded)[0] is rounded.times_s  # frame k is clip frame k
    halved = dataclasses.replace(clip, times_s=clip.times_s[::2], source_frames=clip.source_frames[::2])
    assert frame_grid(halved)[1] == float(Fraction(1001, 15000))
    assert frame_grid(make_clip(1)) == (make_clip(1).times_s, float(Fraction(1001, 30000)))


def test_another_rate_covers_the_clip():
    at_s, step_s = frame_grid(make_clip(60, rate=Fraction(60)), Fraction(50))
    assert step_s == 1 / 50
    assert np.allclose(at_s, np.arange(50) / 50)
