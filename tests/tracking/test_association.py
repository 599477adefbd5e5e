"""The building blocks of data association."""

import numpy as np
import pytest

from body4d.tracking.association import colour_distance, colour_histogram, linear_assignment

RED, BLUE = (200, 30, 30), (30, 40, 190)


def worn(*rgb: int) -> np.ndarray:
    pixels = np.tile(np.array(rgb, np.uint8), (200, 1))
    return colour_histogram(pixels, np.ones(200), np.arange(200) < 100)


@pytest.mark.parametrize(("other", "low", "high"), [(RED, 0, 0.01), ((180, 25, 25), 0, 0.5), (BLUE, 0.9, 1)])
def test_distance_of_like_and_unlike_colours(other, low, high):
    assert low <= colour_distance(worn(*RED), worn(*other)) <= high


def test_colours_compare_only_the_halves_both_show():
    pixels = np.tile(np.array(RED, np.uint8), (100, 1))
    torso_only = colour_histogram(pixels, np.ones(100), np.ones(100, bool))
    assert colour_distance(torso_only, worn(*RED)) < 0.01
    assert colour_distance(np.zeros_like(torso_only), worn(*RED)) == 0.5


def test_assignment_makes_as_many_pairs_as_are_allowed():
    cost = np.array([[0.1, 1.0, np.inf], [0.2, np.inf, np.inf]])
    assert linear_assignment(cost) == {0: 1, 1: 0}  # the cheapest pair alone would leave the second row without one
