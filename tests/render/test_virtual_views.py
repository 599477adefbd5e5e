"""Virtual views: where their cameras stand, and that the grid lines lie at whole metres."""

import dataclasses

import numpy as np
import pytest

from body4d.core.types import Scene
from body4d.render.virtual_views import (
    VirtualCamera,
    floor_directions,
    render_floor,
    scene_bounds,
    side_camera,
    top_camera,
    view_directions,
)
from scenes import make_floor, make_scene, stick_scene, with_moving_camera

pytestmark = pytest.mark.slow  # Anny is set up


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(3, 12)


def world_joints(scene: Scene) -> np.ndarray:
    joints = np.concatenate([track.joints_m.reshape(-1, 3) for track in scene.people])
    return joints @ scene.T_world_camera[:3, :3].T + scene.T_world_camera[:3, 3]


@pytest.mark.parametrize("size", [(540, 720), (540, 356), (90, 200)])
def test_everything_that_moves_is_in_the_picture_and_fills_it(scene: Scene, size: tuple[int, int]) -> None:
    for make in (side_camera, top_camera):
        pixels = make(scene, *size).project(world_joints(scene))
        assert np.all(pixels > 0)
        assert np.all(pixels < size)
        assert np.max(np.ptp(pixels, axis=0) / size) > 0.65


def test_one_wild_frame_does_not_make_everybody_tiny() -> None:
    scene = make_scene(1, 300)
    calm = scene_bounds(scene)
    scene.people[0].joints_m[150] += 50
    wild = scene_bounds(scene)
    np.testing.assert_allclose(wild, calm, atol=0.05)


def test_the_side_view_has_height_upwards_and_the_filming_camera_on_the_left(scene: Scene) -> None:
    view = side_camera(scene, 540, 720)
    _, ahead = floor_directions(scene.T_world_camera)
    foot, head, farther = view.project(np.array([[0, 0, 0], [0, 1.7, 0], ahead]))
    assert head[1] < foot[1] - 50
    assert abs(head[0] - foot[0]) < 60
    assert farther[0] > foot[0] + 50


def test_the_top_view_has_the_filming_camera_at_the_bottom_and_its_right_on_the_right(scene: Scene) -> None:
    view = top_camera(scene, 540, 540)
    right, ahead = floor_directions(scene.T_world_camera)
    here, to_right, farther = view.project(np.array([[0, 0, 0], right, ahead]))
    assert to_right[0] > here[0] + 20
    assert abs(to_right[1] - here[1]) < 1e-6
    assert farther[1] < here[1] - 20


def test_with_a_moving_camera_the_side_view_looks_across_the_way_that_people_go() -> None:
    still = stick_scene(frames=30)
    joints = still.people[0].joints_m + np.linspace(0, 4, 30)[:, None, None].astype(np.float32) * np.array([1, 0, 0], np.float32)
    walking = dataclasses.replace(still, people=(dataclasses.replace(still.people[0], joints_m=joints),))
    assert side_camera(walking, 200, 200).T_view_world[2, 0] == pytest.approx(-1, abs=0.02)  # a still camera's view is from its right
    moved = with_moving_camera(walking)
    forward = side_camera(moved, 200, 200).T_view_world[2]
    assert abs(forward[0]) < 0.1
    assert forward[2] < -0.9  # from the camera's side
    right, ahead = view_directions(moved)
    turns = [floor_directions(T)[1] for T in moved.T_world_camera_at(np.array([0, 29]))]
    assert all(0.9 < ahead @ turn < 0.999 for turn in turns)
    assert abs(right @ ahead) < 1e-9


def test_the_heading_is_what_the_camera_sees() -> None:
    right, ahead = floor_directions(make_floor())
    np.testing.assert_allclose(right, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(ahead, [0, 0, -1], atol=1e-12)
    straight_down = np.eye(4)
    straight_down[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    right, ahead = floor_directions(straight_down)
    np.testing.assert_allclose(right, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(ahead, [0, 0, -1], atol=1e-12)


def test_views_are_cameras_without_mirrors(scene: Scene) -> None:
    for make in (side_camera, top_camera):
        turn = make(scene, 300, 300).T_view_world[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)


def test_grid_lines_lie_on_whole_metres(scene: Scene) -> None:
    view: VirtualCamera = top_camera(scene, 600, 600)
    picture = render_floor(view, scene_bounds(scene), floor_directions(scene.T_world_camera)).astype(float).sum(-1)
    seen = 0
    for x in range(-3, 4):
        for z in np.arange(-4, 5) + 0.3:
            (on_x, on_y), (off_x, off_y) = view.project(np.array([[x, 0, z], [x + 0.5, 0, z]]))
            if min(on_x, on_y, off_x, off_y) > 0 and max(on_x, on_y, off_x, off_y) < 600:
                assert picture[int(on_y), int(on_x)] < picture[int(off_y), int(off_x)] - 15
                seen += 1
    assert seen >= 6


def test_the_sky_is_no_floor(scene: Scene) -> None:
    picture = render_floor(side_camera(scene, 300, 400), scene_bounds(scene), floor_directions(scene.T_world_camera))
    assert picture.shape == (400, 300, 3)
    assert picture[:40].min() > 240
    assert np.median(picture[-1]) < 232
    assert picture[:40].std(axis=1).max() == 0
    assert picture[-40:].std(axis=1).max() > 4  # Lines.


def test_a_scene_without_anybody_still_has_a_stage(scene: Scene) -> None:
    empty = Scene(scene.clip, scene.camera, (), scene.T_world_camera)
    assert render_floor(side_camera(empty, 200, 200), scene_bounds(empty), floor_directions(empty.T_world_camera)).shape == (200, 200, 3)
