"""Colours, faintness and the moments of the contact sheet, decided without any picture."""

import dataclasses

import numpy as np
import pytest

from body4d.config import PictureSettings
from body4d.core.types import BodyTrack
from body4d.render.style import body_opacity, joint_speed, pelvis_on_floor, person_colour, spread_frames
from scenes import make_clip, make_floor, make_scene

SETTINGS = PictureSettings()


def track(
    observed: list[bool], confidence: list[float] | None = None, frames: list[int] | None = None, speed_mps: float = 0.0
) -> BodyTrack:
    t = len(observed)
    index = np.array(frames if frames is not None else range(t), dtype=np.int64)
    joints = np.zeros((t, 29, 3), np.float32)
    joints[:, 9, 0] = index * speed_mps / 10  # The clip of these tests runs at 10 frames/s.
    return BodyTrack(
        person_id=1,
        body="anny",
        frame_index=index,
        shape=np.zeros(7, np.float32),
        rotations=np.zeros((t, 1, 3), np.float32),
        translation_m=np.zeros((t, 3), np.float32),
        joints_m=joints,
        keypoints_px=np.zeros((t, 29, 2), np.float32),
        visibility=np.ones((t, 29), np.float32),
        confidence=np.array(confidence if confidence is not None else [1.0] * t, np.float32),
        observed=np.array(observed),
    )


TIMES_S = np.arange(40) / 10


def test_colours_differ_for_the_first_twenty_people() -> None:
    colours = {person_colour(place) for place in range(20)}
    assert len(colours) == 20
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)


def test_bridged_and_doubtful_stretches_are_faint_and_the_rest_is_solid() -> None:
    observed = [True] * 10 + [False] * 10 + [True] * 20
    confidence = [0.9] * 30 + [0.05] * 10
    shown = body_opacity(track(observed, confidence), TIMES_S, SETTINGS)
    np.testing.assert_allclose(shown[:9], 1)
    np.testing.assert_allclose(shown[11:19], SETTINGS.faint_opacity)
    np.testing.assert_allclose(shown[21:29], 1)
    np.testing.assert_allclose(shown[31:], SETTINGS.faint_opacity)


def test_one_doubtful_frame_fades_instead_of_flickering() -> None:
    times = np.arange(40) / 60
    shown = body_opacity(track([True] * 20 + [False] + [True] * 19), times, SETTINGS)
    assert SETTINGS.faint_opacity < shown[20] < 1
    assert np.abs(np.diff(shown)).max() < 0.5 * (1 - SETTINGS.faint_opacity)


def test_fading_knows_time_not_rows() -> None:
    """Across an absence of a second nothing is averaged."""
    shown = body_opacity(track([True] * 5 + [False] * 5, frames=[*range(5), *range(15, 20)]), TIMES_S, SETTINGS)
    np.testing.assert_allclose(shown, [1] * 5 + [SETTINGS.faint_opacity] * 5)


def test_the_pelvis_is_followed_on_the_floor() -> None:
    scene = make_scene(1, 5)
    person = scene.people[0]
    ground = pelvis_on_floor(person.joints_m, person.joint_names, scene.T_world_camera)
    hips = (person.joint("left_hip") + person.joint("right_hip")) / 2
    world = hips @ make_floor()[:3, :3].T + make_floor()[:3, 3]
    assert np.all(ground[:, 1] == 0)
    np.testing.assert_allclose(ground[:, [0, 2]], world[:, [0, 2]], atol=1e-6)


def test_speed_is_that_of_the_fastest_joint_and_none_across_an_absence() -> None:
    speed = joint_speed(track([True] * 6, frames=[0, 1, 2, 10, 11, 12], speed_mps=3.0), TIMES_S)
    np.testing.assert_allclose(speed[[0, 1, 11, 12]], 3, rtol=1e-5)
    np.testing.assert_allclose(speed[[2, 10]], 1.5, rtol=1e-5)
    assert np.all(speed[3:10] == 0)
    assert np.all(joint_speed(track([True]), TIMES_S) == 0)


def test_moments_crowd_where_most_moves() -> None:
    speed = np.where((TIMES_S > 1.95) & (TIMES_S < 2.55), 10.0, 0.1)
    even, half, moving = (spread_frames(TIMES_S, speed, 10, share) for share in (0.0, 0.5, 1.0))
    within = [int(np.sum((frames >= 19) & (frames <= 26))) for frames in (even, half, moving)]
    assert within[0] < within[1] < within[2]
    assert np.ptp(np.diff(even)) <= 1


@pytest.mark.parametrize("count", [1, 2, 5, 10, 40])
@pytest.mark.parametrize("total", [1, 2, 3, 11, 40])
@pytest.mark.parametrize("burst", [False, True])
def test_moments_rise_and_hold_both_ends(count: int, total: int, burst: bool) -> None:
    speed = np.zeros(total)
    if burst:
        speed[total // 2] = 1e6  # All movement within one step: moments must still differ.
    frames = spread_frames(TIMES_S[:total], speed, count, 1.0)
    assert len(frames) == min(count, total)
    assert np.all(np.diff(frames) > 0)
    assert frames[0] >= 0
    assert frames[-1] == total - 1
    if count > 1:
        assert frames[0] == 0


def test_opacity_of_nobody_is_empty() -> None:
    empty = dataclasses.replace(track([True]), frame_index=np.zeros(0, np.int64), **_empty())
    assert body_opacity(empty, make_clip(3).times_s, SETTINGS).shape == (0,)


def _empty() -> dict[str, np.ndarray]:
    whole = track([True])
    names = ("rotations", "translation_m", "joints_m", "keypoints_px", "visibility", "confidence", "observed")
    return {name: getattr(whole, name)[:0] for name in names}
