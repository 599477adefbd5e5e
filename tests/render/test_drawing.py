"""Trails, shadows and text: where they touch a picture and where they do not."""

import numpy as np
import pytest
import trimesh

from body4d.render.drawing import draw_shadow, draw_trail, label_sprite, paste_sprite, text_sprite
from body4d.render.virtual_views import side_camera
from scenes import make_scene


def white(height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def test_a_trail_has_its_width_and_colour() -> None:
    picture = white()
    draw_trail(picture, np.array([[10.0, 20.0], [50.0, 20.0]]), np.ones(2), 2.0, (0, 100, 200))
    assert picture[20, 30].tolist() == [0, 100, 200]
    assert (255 - picture[:, 30, 0].astype(float)).sum() / 255 == pytest.approx(4, abs=0.1)  # Twice the radius.
    assert (picture[:, :7] == 255).all()
    assert (picture[:17] == 255).all()


def test_a_trail_grows_stronger_and_is_no_darker_where_it_folds() -> None:
    picture = white()
    points = np.array([[10.0, 20.0], [50.0, 20.0], [10.0, 20.0]])
    draw_trail(picture, points, np.array([0.2, 0.2, 0.2]), 3.0, (0, 0, 0))
    assert picture[20, 30, 0] == pytest.approx(255 * 0.8, abs=1)
    rising = white()
    draw_trail(rising, points[:2], np.array([0.0, 1.0]), 3.0, (0, 0, 0))
    assert np.all(np.diff(rising[20, 12:48, 0].astype(int)) < 0)


def test_a_trail_is_interrupted_where_nobody_was_followed() -> None:
    picture = white()
    draw_trail(picture, np.array([[5, 20], [20, 20], [np.nan, np.nan], [40, 20], [55, 20]], float), np.ones(5), 2.0, (0, 0, 0))
    assert picture[20, 15, 0] == 0
    assert picture[20, 50, 0] == 0
    assert (picture[:, 24:36] == 255).all()


@pytest.mark.parametrize(
    "points", [[[np.nan, np.nan]] * 3, [[5.0, 5.0]], [[-90.0, -90.0], [-80.0, -80.0]]], ids=["unknown", "one", "outside"]
)
def test_a_trail_of_nothing_leaves_no_mark(points: list[list[float]]) -> None:
    picture = white()
    draw_trail(picture, np.array(points), np.ones(len(points)), 2.0, (0, 0, 0))
    assert (picture == 255).all()


def test_a_trail_across_the_border_is_cut_off() -> None:
    picture = white()
    draw_trail(picture, np.array([[-500.0, 20.0], [500.0, 20.0]]), np.ones(2), 2.0, (0, 0, 0))
    assert (picture[20] == 0).all()


@pytest.mark.slow  # Anny is set up
def test_a_shadow_is_under_the_body_and_nowhere_else() -> None:
    view = side_camera(make_scene(1, 3), 301, 401)
    ball = trimesh.creation.icosphere(radius=0.2)
    world = np.asarray(ball.vertices) + np.array([0.1, 1.0, 0.0])
    picture = white(401, 301)
    draw_shadow(picture, world, np.asarray(ball.faces, np.int32), view)
    x, y = view.project(np.array([0.1, 0.0, 0.0]))
    assert picture[int(y), int(x), 0] < 200
    rows, columns = np.nonzero(picture[..., 0] < 250)
    assert abs(rows.mean() - y) < 6
    assert abs(columns.mean() - x) < 6
    assert picture.min() > 150
    draw_shadow(picture, world + np.array([500, 0, 0]), np.asarray(ball.faces, np.int32), view)


def test_text_is_drawn_and_grows_with_its_size() -> None:
    small, large = text_sprite("front", 14), text_sprite("front", 42)
    assert small.dtype == np.uint8
    assert 2.5 < large.shape[0] / small.shape[0] < 3.5
    assert large[..., 3].max() == 255
    assert (text_sprite("front", 14) == small).all()
    assert label_sprite("side", 20).shape[0] == label_sprite("top", 20).shape[0]


@pytest.mark.parametrize(("x", "y"), [(-20, -5), (50, 35), (200, 200), (-500, 3), (10, 10)])
def test_pasting_across_the_border_is_cut_off(x: int, y: int) -> None:
    picture, sprite = white(), np.zeros((10, 30, 4), np.uint8)
    sprite[..., 3] = 255
    paste_sprite(picture, sprite, x, y)
    expected = white()
    expected[max(y, 0) : max(y + 10, 0), max(x, 0) : max(x + 30, 0)] = 0
    np.testing.assert_array_equal(picture, expected)
