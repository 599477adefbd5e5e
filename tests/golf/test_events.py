"""Pieces of the search for events: the prior, sub-frame times, what is level and lowest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.golf.events import SHARES, crossing, lowest, share_cost
from body4d.golf.swing_frame import decide_view


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
