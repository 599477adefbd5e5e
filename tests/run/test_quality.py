"""Figures of a run without truth, on tracks and masks whose figures are known."""

import dataclasses
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.core.joints import Body29
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Scene
from body4d.run.quality import (
    PersonReport,
    error_2d_px,
    measure_mask_iou,
    quality_warnings,
    report_people,
    righting_turn_deg,
    silhouette_iou,
    standing_height_px,
)
from scenes import track_of_joints

FRAMES = 6
CAMERA = Camera(500.0, 32.0, 24.0, 64, 48)
CLIP = Clip(Path("clip.mp4"), 64, 48, Fraction(30), np.arange(FRAMES) / 30, np.arange(FRAMES))


def square_rig() -> Rig:
    """A square of 0.2 m before the root: 25 x 25 pixels at 4 m."""
    corners = np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]])
    weights = np.ones((29, 1))
    anchors = np.zeros((29, 1, 3))
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 2, 1], [0, 3, 2]])
    return Rig(
        ("root",), np.array([-1]), np.zeros((1, 3)), corners, faces, np.zeros((4, 1), int), np.ones((4, 1)), "body29", weights, anchors
    )


def make_track(**changes) -> BodyTrack:
    joints = np.tile([0.0, 0.0, 4.0], (FRAMES, 29, 1))
    fields = {
        "person_id": 1,
        "body": "made",
        "frame_index": np.arange(FRAMES),
        "shape": np.zeros(1),
        "rotations": np.zeros((FRAMES, 1, 3)),
        "translation_m": joints[:, 0],
        "joints_m": joints,
        "keypoints_px": CAMERA.project(joints),
        "visibility": np.ones((FRAMES, 29)),
        "confidence": np.ones(FRAMES),
        "observed": np.ones(FRAMES, bool),
    }
    return BodyTrack(**{**fields, **changes})


def mask_track(person_id: int, columns: slice) -> MaskTrack:
    mask = np.zeros((48, 64), bool)
    mask[11:37, columns] = True
    return MaskTrack(person_id, np.arange(FRAMES), (MaskTrack.encode(mask),) * FRAMES, 48, 64)


def test_the_2d_error_counts_visible_body_keypoints_of_observed_frames() -> None:
    track = make_track()
    track.keypoints_px[:] += [3.0, 4.0]
    assert error_2d_px(track, CAMERA) == pytest.approx(5.0)
    track.keypoints_px[:, Body29.LEFT_EYE] += 100  # no body keypoint
    track.keypoints_px[:, Body29.NOSE] += 100
    track.visibility[:, Body29.NOSE] = 0.4
    track.keypoints_px[2] += 100
    track.observed[2] = False
    track.keypoints_px[3, Body29.LEFT_HIP] = np.nan
    assert error_2d_px(track, CAMERA) == pytest.approx(5.0)
    assert error_2d_px(dataclasses.replace(track, observed=np.zeros(FRAMES, bool)), CAMERA) is None


def test_the_standing_height_in_pixels_is_taken_at_the_persons_distance() -> None:
    assert standing_height_px(make_track(), CAMERA, 1.8) == pytest.approx(500 * 1.8 / 4)


def test_a_report_has_none_where_nothing_is_known() -> None:
    raw = np.full((FRAMES, 29, 3), np.nan)
    track = make_track(keypoints_px=np.full((FRAMES, 29, 2), np.nan), joints_raw_m=raw, mask_iou=np.full(FRAMES, np.nan))
    (report,) = report_people(Scene(CLIP, CAMERA, (track,)), {})
    assert (report.id, report.frames_visible, report.jitter) == (1, FRAMES, 0)
    assert (report.error_2d_px, report.error_2d_percent_of_height, report.mask_iou, report.jitter_raw, report.height_m) == (None,) * 5


def test_occluded_pixels_count_neither_for_nor_against() -> None:
    silhouette, mask = np.zeros((4, 8), bool), np.zeros((4, 8), bool)
    silhouette[:, :6], mask[:, :4] = True, True
    occluded = np.zeros((4, 8), bool)
    occluded[:, 4:] = True
    assert silhouette_iou(silhouette, mask) == pytest.approx(4 / 6)
    assert silhouette_iou(silhouette, mask, occluded) == 1
    assert np.isnan(silhouette_iou(silhouette, mask & occluded))


def test_mask_iou_is_measured_on_frames_with_a_mask_and_without_other_people() -> None:
    rigs = {1: square_rig()}
    progress: list[tuple[int, int]] = []
    alone = measure_mask_iou([make_track()], rigs, [mask_track(1, slice(19, 45))], CAMERA, lambda *step: progress.append(step))[0]
    assert alone.mask_iou.min() > 0.9
    assert progress[-1] == (FRAMES, FRAMES)
    half = mask_track(1, slice(19, 32))
    with_half = measure_mask_iou([make_track()], rigs, [half], CAMERA, lambda *step: None)[0]
    assert with_half.mask_iou.max() < 0.6
    behind = measure_mask_iou([make_track()], rigs, [half, mask_track(2, slice(32, 50))], CAMERA, lambda *step: None)[0]
    assert behind.mask_iou.min() > 0.9
    nobody = measure_mask_iou([make_track()], rigs, [mask_track(2, slice(32, 50))], CAMERA, lambda *step: None)[0]
    assert np.isnan(nobody.mask_iou).all()


@pytest.mark.parametrize(("head", "turn"), [((0, -1), 0), ((1, 0), 270), ((-1, 0), 90), ((0, 1), 180), ((0.4, -0.9), 0)])
def test_a_film_that_lies_is_known_by_its_people(head, turn) -> None:
    joints = np.zeros((FRAMES, 29, 3))
    for name, along in (("shoulder", 0.5), ("hip", 0.0), ("ankle", -0.9)):
        for side in ("left", "right"):
            joints[:, Body29[f"{side}_{name}".upper()], :2] = np.array(head) * along
    joints[..., 2] = 4.0
    track = track_of_joints(joints)
    assert righting_turn_deg(track) == turn
    (report,) = report_people(Scene(CLIP, CAMERA, (track,), np.eye(4), "lite"), {track.person_id: 1.7})
    told = quality_warnings([track], [replace(report, explains_poorly=False)])
    assert [warning.facts.get("rotate_deg") for warning in told] == ([turn] if turn else [])


def test_who_is_hardly_seen_explains_the_picture_poorly() -> None:
    track = track_of_joints(np.ones((FRAMES, 29, 3)))
    clear = PersonReport(1, 5, 4.0, 1.4, 0.85, None, None, 1.7, True)
    for report in (
        replace(clear, mask_iou=0.6, explains_poorly=True),
        replace(clear, error_2d_percent_of_height=4.2, explains_poorly=True),
    ):
        codes = [warning.code for warning in quality_warnings([track], [report])]
        assert "explains_poorly" in codes
    iou = np.full(FRAMES, 0.6)
    scene = Scene(CLIP, CAMERA, (replace(track, mask_iou=iou),), np.eye(4), "lite")
    assert report_people(scene, {})[0].explains_poorly
    assert not report_people(replace(scene, people=(replace(track, mask_iou=iou + 0.2),)), {})[0].explains_poorly
