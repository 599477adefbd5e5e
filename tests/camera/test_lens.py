"""One focal length from the estimates of many frames: which of them count, and the warnings."""

import numpy as np
import pytest

from body4d.camera.lens import agree_on_focal, fov_deg, sample_frames

WIDTH = 1920


@pytest.mark.parametrize(
    ("focals", "focal", "words"),
    [
        ([1500.0] * 8, 1500, None),
        ([1490.0, 1500.0, 1510.0, 1505.0, 1495.0], 1500, None),
        ([1500.0, 1500.0, 1500.0, 90000.0], 1500, None),  # a wild frame moves the median by nothing
        ([1500.0, np.nan, 1500.0], 1500, None),
        ([1500.0, -20.0, 1500.0], 1500, None),
        ([1500.0], 1500, None),
        ([1500.0, np.nan, np.nan], 1500, "one frame of 3 alone"),
        ([1000.0, 1500.0, 2200.0, 900.0], 1250, "do not agree on the field of view: 47 to 94 degrees, 75 is taken"),
        ([np.nan, np.nan], None, "2 frames examined: nothing but sky"),
        ([200.0, 210.0], None, "only fields of view of 155 to 156 degrees"),
        ([-3.0], None, "only fields of view"),
        ([np.inf], None, "nothing but sky"),
        ([50000.0], None, "of 2 to 2 degrees"),
    ],
)
def test_consensus(focals: list[float], focal: float | None, words: str | None) -> None:
    found = agree_on_focal(np.array(focals), WIDTH)
    assert (found.focal_px is None) if focal is None else found.focal_px == pytest.approx(focal)
    assert (found.warning is None) if words is None else (words in found.warning.message)


def test_spread_is_a_standard_deviation_as_a_share() -> None:
    focals = 1500 * (1 + 0.05 * np.random.default_rng(0).standard_normal(4000))
    found = agree_on_focal(focals, WIDTH)
    assert found.spread == pytest.approx(0.05, rel=0.05)
    assert agree_on_focal(focals[:1], WIDTH).spread is None


def test_field_of_view_is_horizontal() -> None:
    assert fov_deg(np.array([960.0]), WIDTH) == pytest.approx(90)


@pytest.mark.parametrize(
    ("count", "wanted", "taken"),
    [
        (1, 8, [0]),
        (3, 8, [0, 1, 2]),
        (8, 8, list(range(8))),
        (100, 4, [12, 37, 62, 87]),
        (10, 1, [4]),
        (17, 8, [1, 3, 5, 7, 9, 11, 13, 15]),
    ],
)
def test_frames_are_spread(count: int, wanted: int, taken: list[int]) -> None:
    assert list(sample_frames(count, wanted)) == taken
