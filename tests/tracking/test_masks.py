"""Holes, specks and owners of pixels, against OpenCV's components and plain arg-max."""

import cv2
import numpy as np
import pytest

from body4d.core.types import MaskTrack
from body4d.tracking.masks import assign_pixel_owners, fill_holes_and_specks, subtract_masks


def components(inside: np.ndarray, max_cells: int) -> np.ndarray:
    """Cells of pieces up to ``max_cells`` cells, by OpenCV."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    small = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] <= max_cells]
    return np.isin(labels, small)


@pytest.mark.parametrize("seed", range(5))
def test_tidied_is_what_opencv_counts(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(60, 60)).astype(np.float32)
    strength = cv2.GaussianBlur(noise, (5, 5), 1.0)
    filled = (strength > 0) | components(strength <= 0, 8)
    expected = filled & ~components(filled, min(8, int(filled.sum()) // 2))
    assert np.array_equal(fill_holes_and_specks(strength, 8) > 0, expected)
    assert not np.array_equal(expected, strength > 0)


def test_holes_close_and_specks_go_by_a_little() -> None:
    strength = np.full((20, 20), -5.0, np.float32)
    strength[4:16, 4:16] = 5
    strength[8:10, 8:10] = -5
    strength[1, 1] = 5
    out = fill_holes_and_specks(strength, 4)
    assert out[8, 8] == pytest.approx(0.1)
    assert out[1, 1] == pytest.approx(-0.1)
    changed = out != strength
    assert changed.sum() == 5
    assert fill_holes_and_specks(strength, 0) is strength
    assert out.dtype == np.float32


def test_somebody_tiny_stays() -> None:
    strength = np.full((20, 20), -5.0, np.float32)
    strength[3:5, 3:5] = 5
    assert (fill_holes_and_specks(strength, 16) > 0).sum() == 4


def test_every_pixel_has_the_strongest_owner() -> None:
    strengths = np.random.default_rng(0).normal(size=(4, 30, 40)).astype(np.float32)
    owner = assign_pixel_owners(iter(strengths), [1, 1, 1, 1], (30, 40))
    assert np.array_equal(owner, np.where(strengths.max(0) > 0, strengths.argmax(0), -1))


def test_rank_goes_before_strength_but_needs_a_mask() -> None:
    weak, strong = np.full((2, 2), 0.5, np.float32), np.full((2, 2), 9.0, np.float32)
    weak[0, 0] = -1
    for order in ([weak, strong], [strong, weak]):
        ranks = [1 if one is weak else 0 for one in order]
        owner = assign_pixel_owners(order, ranks, (2, 2))
        assert order[owner[0, 0]] is strong
        assert order[owner[1, 1]] is weak


def test_without_takes_shared_pixels_out() -> None:
    a, b = np.zeros((10, 12), bool), np.zeros((10, 12), bool)
    a[2:8, 2:8], b[4:10, 4:12] = True, True
    codes = MaskTrack(
        1, np.arange(3), (MaskTrack.encode(a), subtract_masks(MaskTrack.encode(a), [MaskTrack.encode(b)], (10, 12)), b""), 10, 12
    )
    assert np.array_equal(codes.mask(1), a & ~b)
    apart = MaskTrack.encode(np.roll(b, 5, axis=0) & ~a & ~b)
    assert subtract_masks(codes.codes[0], [apart], (10, 12)) is codes.codes[0]
