"""The landmark network's input and the reading of its output, on tensors whose answer is known."""

import dataclasses

import numpy as np
import pytest

from body4d.models.blazepose.landmarks import HEAT_MAP_PX, INPUT_PX, LandmarkTensors, decode, refine_by_heat_maps
from body4d.models.blazepose.roi import RotatedRoi, upright_square

COLD = np.full((HEAT_MAP_PX, HEAT_MAP_PX, 39), -20, np.float32)
CENTRED = np.tile([INPUT_PX / 2, INPUT_PX / 2, 0, 3, 3], (39, 1)).astype(np.float32)


def tensors(**changes):
    whole = LandmarkTensors(CENTRED, 0.9, np.full((INPUT_PX, INPUT_PX), 20, np.float32), COLD, np.zeros((39, 3), np.float32))
    return dataclasses.replace(whole, **changes)


def test_the_middle_of_the_region_is_its_centre_however_it_is_turned():
    for angle in (0.0, 1.0, -2.5):
        pose = decode(tensors(), RotatedRoi(300, 200, 128, angle), (200, 100, 400, 300))
        assert pose is not None
        assert pose.points_px == pytest.approx(np.tile([300, 200], (33, 1)))
        assert pose.alignment_px.shape == (2, 2)


def test_points_turn_and_grow_with_the_region():
    points = CENTRED.copy()
    points[0, :3] = (INPUT_PX / 2, 0, 64)  # at the middle of the upper side
    world = np.zeros((39, 3), np.float32)
    world[0] = (0, -1, 0.3)
    pose = decode(tensors(points=points, world_m=world), RotatedRoi(300, 200, 128, np.pi / 2), (200, 100, 400, 300))
    assert pose is not None
    assert pose.points_px[0] == pytest.approx([300 + 64, 200])  # a head turned clockwise by 90° points to the right
    assert pose.depth_px[0] == pytest.approx(32)
    assert pose.world_m[0] == pytest.approx([1, 0, 0.3], abs=1e-6)


def test_nobody_where_the_network_is_unsure_or_gives_no_number():
    roi, box = RotatedRoi(30, 30, 60, 0), (0, 0, 60, 60)
    assert decode(tensors(presence=0.5), roi, box) is None
    assert decode(tensors(presence=float("nan")), roi, box) is None
    bad = CENTRED.copy()
    bad[4, 0] = np.nan
    assert decode(tensors(points=bad), roi, box) is None


def test_the_mask_covers_the_region_and_nothing_else():
    pose = decode(tensors(), RotatedRoi(50, 40, 40, 0), (10, 0, 90, 80))
    assert pose is not None
    rows, columns = np.nonzero(pose.mask_probability > 0.5)
    assert (columns.min() + 10, columns.max() + 10, rows.min(), rows.max()) == pytest.approx((30, 70, 20, 60), abs=1)
    assert pose.without_mask().mask_probability.size == 0


def test_a_landmark_moves_to_its_heat_where_that_is_warm_enough():
    heat = np.full((HEAT_MAP_PX, HEAT_MAP_PX, 4), -30, np.float32)
    heat[20, 12, 0] = 30  # two to the right of the first landmark
    heat[20, 12, 1] = -1  # too cold
    heat[20, 30, 2] = 30  # too far
    start = np.tile([10.5 / HEAT_MAP_PX, 20.5 / HEAT_MAP_PX], (4, 1))
    start[3] = [1.2, 0.5]  # outside the map
    moved = refine_by_heat_maps(start, heat)
    assert moved[0] * HEAT_MAP_PX == pytest.approx([12, 20])
    assert moved[1:] == pytest.approx(start[1:])


def test_the_heat_of_a_landmark_at_the_border_is_that_inside():
    heat = np.full((HEAT_MAP_PX, HEAT_MAP_PX, 1), -30, np.float32)
    heat[0, :2, 0] = 30
    assert refine_by_heat_maps(np.zeros((1, 2)), heat)[0] * HEAT_MAP_PX == pytest.approx([0.5, 0], abs=1e-6)


def test_a_region_is_cut_out_upright_and_repeats_the_pictures_border():
    rgb = np.zeros((100, 100, 3), np.uint8)
    rgb[:, 60:] = 255
    upright = upright_square(rgb, RotatedRoi(50, 50, 80, 0), INPUT_PX)[0, :, :, 0]
    assert upright[:, :150].max() == 0
    assert upright[:, 170:].min() == 1
    turned = upright_square(rgb, RotatedRoi(50, 50, 80, np.pi / 2), INPUT_PX)[0, :, :, 0]
    assert turned[:90].min() == 1  # what was on the right is above where the head points to the right
    assert turned[110:].max() == 0
    beyond = upright_square(rgb, RotatedRoi(95, 50, 80, 0), INPUT_PX)[0, :, :, 0]
    assert beyond[:, 160:].min() == 1
