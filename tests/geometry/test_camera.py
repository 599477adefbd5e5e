"""Translations are recovered from the projections of bodies at known places."""

import numpy as np
import pytest

from body4d.geometry.camera import solve_translation

K = np.array([[900.0, 0, 400], [0, 910.0, 300], [0, 0, 1]])


def project(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    at = points + place[:, None]
    return (at @ K.T)[..., :2] / at[..., 2:]


@pytest.fixture
def body() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.5, (6, 20, 3)), rng.uniform([-1, -1, 3], [1, 1, 9], (6, 3))


def test_recovers_the_translation_of_projected_points(body) -> None:
    points, place = body
    np.testing.assert_allclose(solve_translation(points, project(points, place), K, np.ones((6, 20))), place, atol=1e-9)


def test_a_body_half_the_size_stands_at_half_the_distance(body) -> None:
    points, place = body
    np.testing.assert_allclose(solve_translation(points / 2, project(points, place), K, np.ones((6, 20))), place / 2, atol=1e-9)


def test_points_without_weight_or_pixels_do_not_count(body) -> None:
    points, place = body
    pixels, weights = project(points, place), np.ones((6, 20))
    pixels[:, 0], weights[:, 0] = 1e5, 0
    pixels[:, 1] = np.nan
    np.testing.assert_allclose(solve_translation(points, pixels, K, weights), place, atol=1e-9)


def test_too_few_points_give_nan(body) -> None:
    points, place = body
    weights = np.zeros((6, 20))
    weights[1:, 0] = 1
    weights[2:, 1] = 1
    translation = solve_translation(points, project(points, place), K, weights)
    assert np.isnan(translation[:2]).any(-1).all()
    assert np.isfinite(translation[2:]).all()
