"""Stretches in which a body is probably wrong, on made tracks."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.core.joints import Body29
from body4d.core.types import Clip
from body4d.run.suspects import suspect_stretches, suspect_warnings
from scenes import track_of_joints

T = 60
CLIP = Clip(Path("clip.mp4"), 64, 48, Fraction(30), np.arange(T) / 30, np.arange(T))


def track(**changes):
    joints = np.zeros((T, 29, 3))
    joints[..., 0] = np.arange(T)[:, None] / 30  # a walk of 1 m/s
    return track_of_joints(joints, **{"person_id": 2, "mask_iou": np.full(T, 0.85)} | changes)


def test_a_walk_that_covers_its_masks_is_not_suspect():
    assert suspect_stretches(track(), CLIP) == ()
    assert suspect_warnings([track(), track(mask_iou=None)], CLIP) == ()


def test_a_leap_of_a_wrist_and_a_body_beside_its_mask_are_told_with_their_times():
    joints, iou = track().joints_m.copy(), np.full(T, 0.85)
    joints[15, Body29.LEFT_WRIST, 0] += 1.0
    iou[30:36] = 0.4
    iou[50] = np.nan  # no mask
    first, second = suspect_stretches(track(joints_m=joints, mask_iou=iou), CLIP)
    assert (first.first_s, first.last_s) == pytest.approx((14 / 30, 16 / 30))
    assert first.reasons == ("impossible_speed",)
    assert (second.first_s, second.last_s) == pytest.approx((1.0, 35 / 30))
    assert second.reasons == ("low_overlap",)
    (warning,) = suspect_warnings([track(joints_m=joints, mask_iou=iou)], CLIP)
    assert "Person 2" in warning.message
    assert "from 1.00 to 1.17 s (the body covers little of the person's mask)" in warning.message


def test_slow_motion_is_judged_in_real_seconds():
    joints = track().joints_m.copy()
    joints[20:, Body29.RIGHT_WRIST, 0] += 0.3  # 9 m/s at 30 frames/s, 72 m/s where eight times as many were taken
    assert suspect_stretches(track(joints_m=joints), CLIP) == ()
    assert suspect_stretches(track(joints_m=joints), dataclasses.replace(CLIP, capture_rate=Fraction(240))) != ()


def test_a_person_whom_the_mask_never_fits_is_judged_by_what_is_usual():
    assert suspect_stretches(track(mask_iou=np.full(T, 0.45)), CLIP) == ()


def test_nobody_is_too_fast_across_a_cut():
    joints = track().joints_m.copy()
    joints[30:, :, 0] += 3.0
    assert suspect_stretches(track(joints_m=joints), CLIP) != ()
    assert suspect_stretches(track(joints_m=joints), dataclasses.replace(CLIP, cuts=np.array([30]))) == ()
