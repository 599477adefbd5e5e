"""The contact sheet: which frames and what part of the picture it shows, and how it is laid out."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.config import PictureSettings
from body4d.render import contact_sheet
from body4d.render.contact_sheet import (
    CELL_HEIGHT_PX,
    MAX_WIDTH_PX,
    ContactSheet,
    cell_size,
    choose_sheet_frames,
    joint_speed,
    people_box,
    spread_frames,
)
from scenes import make_scene

TIMES_S = np.arange(40) / 10


@pytest.mark.slow  # Anny is set up
def test_speed_is_that_of_the_fastest_joint_and_none_across_an_absence() -> None:
    scene = make_scene(1, 13, rate=Fraction(10))
    person = scene.people[0]
    index = np.array([0, 1, 2, 10, 11, 12])
    joints = np.zeros((6, *person.joints_m.shape[1:]), np.float32)
    joints[:, 9, 0] = index * 0.3
    rows = {n: getattr(person, n)[:6] for n in ("rotations", "translation_m", "keypoints_px", "visibility", "confidence", "observed")}
    track = dataclasses.replace(person, frame_index=index, joints_m=joints, **rows, mask_iou=None, joints_raw_m=None)
    speed = joint_speed(track, scene)
    np.testing.assert_allclose(speed[[0, 1, 11, 12]], 3, rtol=1e-5)
    np.testing.assert_allclose(speed[[2, 10]], 1.5, rtol=1e-5)
    assert np.all(speed[3:10] == 0)
    assert np.all(joint_speed(make_scene(1, 1).people[0], make_scene(1, 1)) == 0)


def test_frames_crowd_where_most_moves() -> None:
    speed = np.where((TIMES_S > 1.95) & (TIMES_S < 2.55), 10.0, 0.1)
    even, half, moving = (spread_frames(TIMES_S, speed, 10, share) for share in (0.0, 0.5, 1.0))
    within = [int(np.sum((frames >= 19) & (frames <= 26))) for frames in (even, half, moving)]
    assert within[0] < within[1] < within[2]
    assert np.ptp(np.diff(even)) <= 1


@given(
    steps_s=st.lists(st.floats(0.01, 0.5), max_size=60),
    count=st.integers(1, 70),
    motion_share=st.floats(0, 1),
    data=st.data(),
)
def test_frames_rise_and_hold_both_ends(steps_s: list[float], count: int, motion_share: float, data: st.DataObject) -> None:
    times_s = np.concatenate([[0.0], np.cumsum(steps_s)])
    total = len(times_s)
    speed = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.3, 1e6]), min_size=total, max_size=total)))
    frames = spread_frames(times_s, speed, count, motion_share)
    assert len(frames) == min(count, total)
    assert np.all(np.diff(frames) > 0)  # Even where all movement is within one step.
    assert frames[-1] == total - 1
    assert frames[0] == 0 or count == 1


@pytest.mark.slow  # Anny is set up
def test_the_sheet_shows_the_part_with_the_people() -> None:
    scene = make_scene(1, 9)
    x0, y0, x1, y1 = people_box(scene)
    assert 0 <= x0 < x1 <= 640
    assert 0 <= y0 < y1 <= 480
    pixels = scene.camera.project(scene.people[0].joints_m)
    inside = (pixels > (x0, y0)).all(-1) & (pixels < (x1, y1)).all(-1)
    assert inside.mean() > 0.95
    assert (x1 - x0) * (y1 - y0) < 0.9 * 640 * 480
    assert people_box(make_scene(0, 3)) == (0, 0, 640, 480)


@pytest.mark.parametrize("count", [1, 7, 8, 12])
@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.5])
def test_two_blocks_of_the_sheet_hold_all_frames(count: int, aspect: float) -> None:
    width, height = cell_size(count, aspect)
    assert width / height == pytest.approx(aspect, rel=0.02)
    assert height <= CELL_HEIGHT_PX
    assert -(-count // 2) * (width + 6) < MAX_WIDTH_PX - 100
    if count == 8 and aspect == 0.5:
        assert height == CELL_HEIGHT_PX  # Nothing is shrunk without need.


@pytest.mark.slow  # Anny is set up
def test_the_sheet_shows_frames_in_which_somebody_is_followed() -> None:
    scene = make_scene(2, 9, gaps=True)
    frames = choose_sheet_frames(scene, 4)
    assert len(frames) == 4
    assert all(any(True for _ in scene.visible_at(int(frame))) for frame in frames)
    assert choose_sheet_frames(make_scene(0, 3), 4).tolist() == [0, 1, 2]


@pytest.mark.slow  # Anny is set up
def test_a_wide_sheet_is_broken_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheet, "CELL_HEIGHT_PX", 200)
    monkeypatch.setattr(contact_sheet, "MAX_WIDTH_PX", 900)
    scene = make_scene(1, 9)
    sheet = ContactSheet.of(scene, PictureSettings(num_sheet_frames=8))
    picture = np.full((480, 640, 3), 90, np.uint8)
    page = np.asarray(sheet.image([sheet.column(int(frame), picture, []) for frame in sheet.frames]))
    assert page.shape[1] <= 900
    assert page.shape[0] > 2 * 3 * 200
