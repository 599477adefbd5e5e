"""Gravity from lines that are vertical in space, on lines projected from known directions and on a drawn picture."""

import dataclasses

import numpy as np
import pytest

from body4d.camera.verticals import PITCH_PRIOR_DEG, down_vector, gravity_from_segments, upright_segments, witness_weights
from body4d.core.types import Camera

CAMERA = Camera(focal_px=1100, cx_px=640, cy_px=360, width_px=1280, height_px=720, source="fov")


def angle_deg(a, b):
    return float(np.degrees(np.arccos(np.clip(np.dot(a, b), -1, 1))))


def projected_verticals(down, count, rng, noise_px=0.5):
    """Picture segments (count, 4) of vertical edges 1 m long, 3 to 8 m before the camera."""
    depth = rng.uniform(3, 8, count)
    middle = np.stack([rng.uniform(-0.5, 0.5, count) * depth, rng.uniform(-0.2, 0.2, count) * depth, depth], axis=-1)
    ends = [CAMERA.project(middle + side * 0.5 * np.asarray(down)) + rng.normal(0, noise_px, (count, 2)) for side in (-1, 1)]
    return np.concatenate(ends, axis=1)


def clutter(count, rng):
    """Segments that slant anyhow within the range that passes for upright."""
    middle, length = rng.uniform([100, 100], [1180, 620], (count, 2)), rng.uniform(60, 200, count)
    slant = rng.uniform(-0.55, 0.55, count)
    half = 0.5 * length[:, None] * np.stack([np.sin(slant), np.cos(slant)], -1)
    return np.concatenate([middle - half, middle + half], axis=1)


@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(0, 0), (-22, 3), (12, -2), (-35, 0)])
def test_verticals_among_clutter_show_where_down_is(pitch_deg, roll_deg):
    rng, down = np.random.default_rng(3), down_vector(pitch_deg, roll_deg)
    segments = np.concatenate([projected_verticals(down, 25, rng), clutter(20, rng)])
    gravity = gravity_from_segments(segments, np.full(45, 0.5), CAMERA)
    assert angle_deg(gravity.down, down) < 2
    assert max(gravity.sigma_deg) < 4
    assert gravity.num_lines > 8


def test_without_lines_the_camera_is_held_as_people_hold_cameras():
    gravity = gravity_from_segments(np.zeros((0, 4)), np.zeros(0), CAMERA)
    assert angle_deg(gravity.down, down_vector(PITCH_PRIOR_DEG[0], 0)) < 0.5
    assert gravity.sigma_deg[0] > 10
    assert gravity.num_lines == 0


def test_clutter_alone_is_no_evidence():
    segments = clutter(40, np.random.default_rng(1))
    assert gravity_from_segments(segments, np.full(40, 0.5), CAMERA).sigma_deg[0] > 4


def test_lines_that_stand_close_together_tell_the_roll_and_not_the_pitch():
    down, rng = down_vector(-20, 0), np.random.default_rng(2)
    beside = projected_verticals(down, 200, rng, 0.2)
    beside = beside[np.abs(beside[:, [0, 2]].mean(1) - 640) < 25][:8]
    gravity = gravity_from_segments(beside, np.full(len(beside), 0.5), CAMERA)
    assert gravity.sigma_deg[1] < 2
    assert gravity.sigma_deg[0] > 5


def test_an_assumed_focal_length_makes_the_pitch_less_sure():
    segments = projected_verticals(down_vector(-30, 0), 30, np.random.default_rng(4))
    known, assumed = (gravity_from_segments(segments, np.full(30, 0.5), c) for c in (CAMERA, dataclasses.replace(CAMERA, source="default")))
    assert assumed.sigma_deg[0] > known.sigma_deg[0]


def test_segments_are_found_in_a_picture_and_people_are_left_out():
    rgb = np.full((720, 1280, 3), 90, np.uint8)
    for x in (200, 500, 1000):
        rgb[100:600, x : x + 40] = 220
    rgb[650:660] = 250  # a level edge is no vertical
    people = np.zeros((720, 1280), bool)
    people[:, 450:600] = True
    segments = upright_segments(rgb, people)
    places = segments[:, [0, 2]].mean(1)
    assert {round(x / 10) for x in places} <= {20, 24, 100, 104}
    assert len(segments) >= 4
    lengths = np.hypot(*(segments[:, 2:] - segments[:, :2]).T)
    assert lengths.max() == pytest.approx(500, abs=10)
    assert upright_segments(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), bool)).shape == (0, 4)


def test_long_segments_weigh_more_up_to_half_a_witness():
    segments = np.array([[0, 0, 0, 30.0], [0, 0, 0, 154], [0, 0, 0, 700]])
    weights = witness_weights(segments, max(CAMERA.width_px, CAMERA.height_px))
    assert weights == pytest.approx([15 / 153.6, 0.5, 0.5], abs=0.01)
