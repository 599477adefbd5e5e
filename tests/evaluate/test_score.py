"""Scores of runs whose faults are known."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.core.errors import InputError
from body4d.core.joints import Body29
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Scene
from body4d.evaluate.score import SCORED_JOINTS, PersonScore, score_scene, score_table

FRAMES, HEIGHT, WIDTH = 12, 60, 160
NAMES = [j.name.lower() for j in Body29]


def clip(frames=range(FRAMES), width=WIDTH, height=HEIGHT):
    frames = np.array(list(frames))
    return Clip(Path("clip.mp4"), width, height, Fraction(30), (frames - frames[0]) / 30.0, frames)


def body(person_id, joints, frame_index=None):
    count = len(joints)
    return BodyTrack(
        person_id=person_id,
        body="anny",
        frame_index=np.arange(count) if frame_index is None else frame_index,
        shape=np.zeros(7),
        rotations=np.zeros((count, 2, 3)),
        translation_m=np.zeros((count, 3)),
        joints_m=joints,
        keypoints_px=np.full((count, 29, 2), np.nan),
        visibility=np.ones((count, 29)),
        confidence=np.ones(count),
        observed=np.ones(count, bool),
    )


def joints_of(seed):
    rng = np.random.default_rng(seed)
    still = rng.normal(size=(1, 29, 3)) * 0.3 + [seed, 0, 4]
    moving = np.repeat(still, FRAMES, 0)
    moving[:, [NAMES.index("left_wrist"), NAMES.index("right_wrist")], 1] += (np.arange(FRAMES) / 30)[:, None] ** 2
    return moving


def box_mask(left, shift=0, height=HEIGHT, width=WIDTH):
    mask = np.zeros((height, width), bool)
    mask[10 : height - 10, left + shift : left + shift + 20] = True
    return mask


def mask_track(person_id, masks, frame_index=None):
    codes = tuple(MaskTrack.encode(m) for m in masks)
    index = np.arange(len(masks)) if frame_index is None else frame_index
    return MaskTrack(person_id, index, codes, *masks[0].shape)


CAMERA = Camera(100.0, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT)
JOINTS = {1: joints_of(1), 2: joints_of(2)}
LEFT = {1: 20, 2: 100}


def truth():
    people = tuple(body(i, JOINTS[i]) for i in (1, 2))
    return Scene(clip(), CAMERA, people), tuple(mask_track(i, [box_mask(LEFT[i])] * FRAMES) for i in (1, 2))


def run(people, masks, **changes):
    return Scene(clip(**changes), CAMERA, tuple(people)), tuple(masks)


def test_the_truth_scores_perfectly_against_itself():
    result = score_scene(*truth(), *truth())
    assert (result.identity_switches, result.misses, result.false_positives, result.mota) == (0, 0, 0, 1.0)
    for person in result.people:
        assert person.person_id == person.truth_id
        assert person.frames == person.frames_with_body == FRAMES
        assert person.mpjpe_mm == person.absolute_mpjpe_mm == person.acceleration_error_m_s2 == 0
        assert person.pa_mpjpe_mm < 1e-6
        assert person.mask_iou == person.peak_wrist_speed_kept == 1
        assert person.jitter_m_s3 == person.truth_jitter_m_s3


def test_people_are_matched_by_masks_not_by_ids():
    masks = (mask_track(9, [box_mask(LEFT[1])] * FRAMES), mask_track(4, [box_mask(LEFT[2])] * FRAMES))
    result = score_scene(*run([body(9, JOINTS[1]), body(4, JOINTS[2])], masks), *truth())
    assert [p.person_id for p in result.people] == [9, 4]
    assert [p.mpjpe_mm for p in result.people] == [0, 0]
    assert result.identity_switches == 0


def test_bodies_swapped_between_the_masks_are_errors():
    result = score_scene(*run([body(1, JOINTS[2]), body(2, JOINTS[1])], truth()[1]), *truth())
    assert result.people[0].mpjpe_mm > 100
    assert result.people[0].absolute_mpjpe_mm > 900


def test_known_offsets_come_out_in_millimetres():
    moved = JOINTS[1] + [0.0, 0.0, 0.25]
    bent = moved.copy()
    bent[:, NAMES.index("left_wrist"), 2] += 0.13
    masks = truth()[1]
    plain = score_scene(*run([body(1, moved), body(2, JOINTS[2])], masks), *truth()).people[0]
    assert plain.mpjpe_mm == pytest.approx(0, abs=1e-6)
    assert plain.absolute_mpjpe_mm == pytest.approx(250)
    wrist = score_scene(*run([body(1, bent), body(2, JOINTS[2])], masks), *truth()).people[0]
    assert wrist.mpjpe_mm == pytest.approx(130 / len(SCORED_JOINTS))
    assert wrist.depth_error_mm == pytest.approx(130 / len(SCORED_JOINTS))
    assert wrist.lateral_error_mm == pytest.approx(0, abs=1e-6)
    assert 0 < wrist.pa_mpjpe_mm < wrist.mpjpe_mm * 2


def test_a_smoother_that_halves_the_swing_keeps_half_the_peak():
    slow = JOINTS[1].copy()
    for side in ("left", "right"):
        k = NAMES.index(f"{side}_wrist")
        slow[:, k] = slow[0, k] + (slow[:, k] - slow[0, k]) / 2
    assert score_scene(*run([body(1, slow), body(2, JOINTS[2])], truth()[1]), *truth()).people[0].peak_wrist_speed_kept == pytest.approx(
        0.5
    )


def test_swapped_identities_are_counted():
    first, second = [box_mask(LEFT[1])] * FRAMES, [box_mask(LEFT[2])] * FRAMES
    half = FRAMES // 2 + 1
    masks = (mask_track(1, first[:half] + second[half:]), mask_track(2, second[:half] + first[half:]))
    result = score_scene(*run([body(1, JOINTS[1]), body(2, JOINTS[2])], masks), *truth())
    assert result.identity_switches == 2
    assert result.mota == pytest.approx(1 - 2 / (2 * FRAMES))
    assert result.people[0].mask_iou == pytest.approx(half / FRAMES)


def test_a_person_lost_half_way_is_missed_and_scored_on_what_is_there():
    half = FRAMES // 2
    masks = (mask_track(1, [box_mask(LEFT[1])] * half), truth()[1][1])
    result = score_scene(*run([body(1, JOINTS[1][:half]), body(2, JOINTS[2])], masks), *truth())
    assert result.misses == FRAMES - half
    assert (result.people[0].frames, result.people[0].frames_with_body) == (FRAMES, half)
    assert result.people[0].mpjpe_mm == 0
    assert result.people[0].mask_iou == pytest.approx(0.5)


def test_a_run_without_bodies_scores_nan_not_zero():
    result = score_scene(*run([], []), *truth())
    assert result.misses == 2 * FRAMES
    assert result.people[0].person_id is None
    assert np.isnan(result.people[0].mpjpe_mm)
    assert "–" in score_table(result)


def test_a_track_of_nobody_is_a_false_positive():
    ghost = mask_track(5, [box_mask(60)] * FRAMES)
    result = score_scene(*run([body(1, JOINTS[1]), body(2, JOINTS[2]), body(5, JOINTS[1])], (*truth()[1], ghost)), *truth())
    assert result.false_positives == FRAMES


def test_a_run_of_every_second_frame_is_compared_at_the_same_times():
    frames = range(1, FRAMES, 2)
    masks = tuple(mask_track(i, [box_mask(LEFT[i])] * len(frames)) for i in (1, 2))
    result = score_scene(*run([body(i, JOINTS[i][1::2]) for i in (1, 2)], masks, frames=frames), *truth())
    assert [p.mpjpe_mm for p in result.people] == [0, 0]
    assert result.people[0].frames == len(frames)


def test_a_run_at_half_size_has_its_masks_compared_at_that_size():
    small = tuple(mask_track(i, [box_mask(LEFT[i])[::2, ::2]] * FRAMES) for i in (1, 2))
    result = score_scene(*run([body(i, JOINTS[i]) for i in (1, 2)], small, width=WIDTH // 2, height=HEIGHT // 2), *truth())
    assert result.people[0].mask_iou > 0.98


def test_a_run_of_another_video_is_refused():
    with pytest.raises(InputError) as frames:
        score_scene(*run([], [], frames=range(FRAMES + 5)), *truth())
    assert (frames.value.code, frames.value.facts) == ("truth_of_other_frames", {"frame": FRAMES, "truth_frames": FRAMES})
    with pytest.raises(InputError) as aspect:
        score_scene(*run([], [], width=90, height=160), *truth())
    assert aspect.value.code == "truth_of_other_aspect"


def test_the_table_shows_every_figure_and_the_dictionary_is_plain():
    result = score_scene(*truth(), *truth())
    text = score_table(result)
    assert "person 1" in text
    assert "PA-MPJPE" in text
    assert "12 of 12" in text
    assert "identity switches 0" in text
    plain = json.loads(json.dumps(dataclasses.asdict(result)))
    assert set(plain["people"][0]) == {f.name for f in dataclasses.fields(PersonScore)}
