"""The nouns refuse what does not fit together, and answer by name."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from body4d.core.types import Camera, Clip, MaskTrack, Prompt, Scene
from scenes import make_clip, make_masks, make_scene

CAMERA = Camera(focal_px=600.0, cx_px=320.0, cy_px=240.0, width_px=640, height_px=480)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(people=2, frames=8, gaps=True, body="stick")


BAD_TRACK = {
    "frames twice": ("frame_index", lambda v: np.zeros_like(v), "rise"),
    "frames negative": ("frame_index", lambda v: v - 100, "rise"),
    "frames as floats": ("frame_index", lambda v: v.astype(float), "dtype"),
    "a row short": ("rotations", lambda v: v[1:], "rotations must have shape"),
    "joints of another set": ("joints_m", lambda v: v[:, :17], "joints_m must have shape"),
    "NaN joints": ("joints_m", lambda v: np.full_like(v, np.nan), "NaN"),
    "infinite place": ("translation_m", lambda v: np.full_like(v, np.inf), "infinity"),
    "observed as numbers": ("observed", lambda v: v.astype(float), "dtype"),
    "one IoU": ("mask_iou", lambda v: v[:1], "mask_iou must have shape"),
    "uncertainty of another length": ("joint_sigma_m", lambda v: np.zeros((1, 29)), "joint_sigma_m must have shape"),
    "raw of another length": ("joints_raw_m", lambda v: v[:1], "joints_raw_m must have shape"),
}


@pytest.mark.parametrize("name", BAD_TRACK)
def test_body_track_refuses(scene, name):
    field, spoil, says = BAD_TRACK[name]
    track = scene.people[0]
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(track, **{field: spoil(getattr(track, field))})


def test_keypoints_not_measured_may_be_nan(scene):
    track = scene.people[0]
    dataclasses.replace(track, keypoints_px=np.full_like(track.keypoints_px, np.nan))


def test_joints_answer_by_name(scene):
    track = scene.people[0]
    assert np.array_equal(track.joint("left_wrist"), track.joints_m[:, 9])
    with pytest.raises(ValueError, match="not in tuple"):
        track.joint("left_tail")


def test_rows_and_frames_agree(scene):
    for track in scene.people:
        for frame in range(len(scene.clip)):
            row = track.row(frame)
            assert (row is None) == (frame not in track.frame_index)
            assert row is None or track.frame_index[row] == frame
    assert [t.person_id for t, _ in scene.visible_at(0)] == []
    assert [t.person_id for t, _ in scene.visible_at(1)] == [1]
    assert [(t.person_id, row) for t, row in scene.visible_at(2)] == [(1, 1), (2, 0)]


def test_scene_refuses_two_of_one_id_and_frames_beyond_the_clip(scene):
    with pytest.raises(ValueError, match="ids must differ"):
        dataclasses.replace(scene, people=(scene.people[0], scene.people[0]))
    with pytest.raises(ValueError, match="beyond the clip"):
        dataclasses.replace(scene, clip=make_clip(3))
    with pytest.raises(KeyError, match="no person 7"):
        scene.person(7)


def test_default_world_turns_y_up(scene):
    world = Scene(clip=scene.clip, camera=CAMERA, people=()).T_world_camera
    assert np.array_equal(world @ [0, 1, 0, 0], [0, -1, 0, 0])
    assert np.isclose(np.linalg.det(world), 1)


def test_clip_checks_its_times():
    def clip(times, **more):
        return Clip(Path("x"), 4, 4, Fraction(30), np.asarray(times, float), np.arange(len(times)), **more)

    with pytest.raises(ValueError, match="rise strictly"):
        clip([0, 0.1, 0.1])
    with pytest.raises(ValueError, match="positive size"):
        dataclasses.replace(clip([0.0]), width_px=0)
    assert clip([0.0]).time_scale == 1
    assert clip([0.0], capture_rate=Fraction(240)).time_scale == 0.125


@given(
    st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 50)),
    st.floats(0.1, 4),
)
def test_a_scaled_camera_sees_scaled_pixels(point, factor):
    pixels = CAMERA.project(np.array(point))
    assert np.allclose(CAMERA.scaled(factor).project(np.array(point)), pixels * factor, atol=1e-6)
    homogeneous = CAMERA.K @ point
    assert np.allclose(homogeneous[:2] / homogeneous[2], pixels)


def test_points_behind_the_camera_are_nan():
    assert np.all(np.isnan(CAMERA.project(np.array([[0.0, 0, -1], [0, 0, 0]]))))
    with pytest.raises(ValueError, match="focal_px"):
        dataclasses.replace(CAMERA, focal_px=float("nan"))


def test_field_of_view_is_that_of_the_width():
    assert np.isclose(dataclasses.replace(CAMERA, focal_px=320.0).fov_deg, 90)


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.booleans())
def test_masks_are_coded_as_coco_does_it(mask, by_columns):
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert MaskTrack.encode(np.asfortranarray(mask) if by_columns else mask) == theirs
    assert np.array_equal(filled(MaskTrack(1, np.array([0]), (theirs,), *mask.shape)), mask)


@given(
    arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_a_part_is_coded_as_the_picture_that_holds_it(part, before, after):
    whole = np.pad(part, tuple(zip(before, after, strict=True)))
    assert MaskTrack.encode(part, before[::-1], whole.shape) == MaskTrack.encode(whole)


def filled(track):
    """The first mask of a track by its edges."""
    flips = np.zeros(track.height_px * track.width_px, int)
    flips[track.edges(0)] = 1
    return (np.cumsum(flips) % 2 == 1).reshape(track.width_px, track.height_px).T


@given(mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)), cut=st.tuples(*[st.integers(0, 12)] * 4))
def test_a_part_of_a_mask_is_that_of_the_whole(mask, cut):
    height, width = mask.shape
    (left, right), (top, bottom) = sorted(min(x, width) for x in cut[:2]), sorted(min(y, height) for y in cut[2:])
    track = MaskTrack(1, np.array([0]), (MaskTrack.encode(mask),), height, width)
    np.testing.assert_array_equal(track.part(0, (left, top, right, bottom)), mask[top:bottom, left:right])


def test_edges_of_a_code_with_empty_runs():
    code = coco_mask.frPyObjects({"size": [2, 3], "counts": [1, 2, 0, 1, 2]}, 2, 3)["counts"]
    assert MaskTrack(1, np.array([0]), (code,), 2, 3).edges(0).tolist() == [1, 4]


def test_masks_decode_to_what_was_encoded():
    mask = np.zeros((6, 9), bool)
    mask[2:5, 3:8] = True
    track = MaskTrack(1, np.array([4, 7]), (MaskTrack.encode(mask), MaskTrack.encode(np.zeros_like(mask))), 6, 9)
    assert np.array_equal(track.mask(0), mask)
    assert track.boxes_px().tolist() == [[3, 2, 8, 5], [0, 0, 0, 0]]
    assert track.areas_px().tolist() == [15, 0]


def test_masks_need_a_code_and_landmarks_for_each_frame(scene):
    track = make_masks(scene)[0]
    with pytest.raises(ValueError, match="as many masks"):
        dataclasses.replace(track, codes=track.codes[1:])
    with pytest.raises(ValueError, match="one row for each frame"):
        dataclasses.replace(track, frame_index=track.frame_index[1:], codes=track.codes[1:])


def test_a_prompt_says_something():
    with pytest.raises(ValueError, match="points, a box or a text"):
        Prompt(frame=3)
    with pytest.raises(ValueError, match="label"):
        Prompt(points_px=np.zeros((2, 2)), labels=np.ones(1))
    Prompt(text="the dancer in red")
