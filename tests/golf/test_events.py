"""Pieces of the search for events: the prior, sub-frame times, what is level and lowest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.golf.event_cues import shaft_heights
from body4d.golf.event_search import SHARES, share_cost
from body4d.golf.events import crossing, lowest
from body4d.golf.swing_frame import decide_view
from body4d.golf.types import ClubShaft


@pytest.mark.parametrize("name", SHARES)
def test_the_prior_is_lowest_at_the_median_and_rises_away_from_it(name: str) -> None:
    low, _, middle, _, high = SHARES[name]
    shares = np.linspace(low - 0.3, high + 0.3, 400)
    costs = share_cost(name, shares)
    assert share_cost(name, np.array([middle]))[0] == 0
    before, after = costs[shares < middle], costs[shares > middle]
    assert np.all(np.diff(before) < 0)
    assert np.all(np.diff(after) > 0)
    assert share_cost(name, np.array([low]))[0] == pytest.approx(share_cost(name, np.array([high]))[0])


@given(st.floats(3.5, 15.5), st.floats(0.1, 5.0), st.floats(-3, 3))
def test_the_lowest_point_of_a_parabola_is_found_between_rows(at: float, bend: float, height: float) -> None:
    rows = np.arange(20.0)
    assert lowest(bend * (rows - at) ** 2 + height, round(at)) == pytest.approx(at, abs=1e-6)


@given(st.floats(3.5, 15.5), st.floats(0.1, 5.0))
def test_a_line_crosses_its_level_between_rows(at: float, slope: float) -> None:
    rows = np.arange(20.0)
    assert crossing(slope * (rows - at), round(at)) == pytest.approx(at, abs=1e-6)


def test_without_a_crossing_nearby_the_row_stays() -> None:
    assert crossing(np.ones(9), 4) == 4.0


def test_views_are_named_by_their_angle() -> None:
    assert decide_view(88.0)[0] == "face-on"
    assert decide_view(3.0)[0] == "down-the-line"
    assert decide_view(45.0)[0] == "oblique"
    assert decide_view(61.0)[1] < 0.7 < 0.99 < decide_view(88.0)[1]


def shaft(heights: dict[int, float], confidence: float = 0.9) -> ClubShaft:
    """A shaft 100 pixels long whose head is so many pixels above the hands on each frame."""
    frames = np.array(list(heights))
    up = np.array(list(heights.values()))
    head = np.stack([np.sqrt(100.0**2 - up**2), -up], -1)
    return ClubShaft(frames, np.zeros((len(up), 2)), head, np.full(len(up), confidence), "line")


def test_a_shaft_that_points_at_the_camera_is_level_between_the_frames_around():
    club = shaft({10: -90.0, 11: -75.0, 12: -60.0, 20: 60.0, 21: 75.0, 22: 90.0})
    height, seen = shaft_heights(club, np.arange(8, 26), max_bridge_rows=8)
    assert crossing(height, 8) == pytest.approx(16 - 8, abs=0.05)
    assert seen.sum() == 6
    assert np.isfinite(height).sum() == 13
    # Not over a longer gap, nor on the way down, nor from a line that is not sure.
    assert np.isfinite(shaft_heights(club, np.arange(8, 26), 7)[0]).sum() == 6
    falling = shaft({10: 75.0, 11: 60.0, 18: -60.0, 19: -75.0})
    assert np.isfinite(shaft_heights(falling, np.arange(8, 26), 8)[0]).sum() == 4
    assert not np.isfinite(shaft_heights(shaft({10: 5.0}, 0.4), np.arange(8, 26), 8)[0]).any()
