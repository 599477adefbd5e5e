"""Figures against measured joints: errors that are known go in, and come out as figures."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.core.errors import InputError
from body4d.core.joints import joint_names
from body4d.core.types import BodyTrack, Camera, Clip, LandmarkTrack, MaskTrack, Scene
from body4d.evaluate.measured_truth import (
    SCORED_JOINTS,
    load_measured_truth,
    measured_scores_table,
    score_joints,
    score_measured,
    truth_of_scene,
    turn_at_top,
)
from body4d.geometry.rotations import rotvec_to_matrix

T, FPS = 20, 30.0
UP = np.array([0.0, -1.0, 0.0])
AHEAD = np.array([0.0, 0.0, 4.0])
# A person before the camera who faces it: their left at +x.
STANDING = {
    "shoulder": (0.18, -1.45),
    "elbow": (0.22, -1.17),
    "wrist": (0.24, -0.92),
    "hip": (0.1, -0.92),
    "knee": (0.11, -0.5),
    "ankle": (0.12, -0.08),
}


def standing() -> dict[str, np.ndarray]:
    sides = (("left", 1.0), ("right", -1.0))
    return {f"{s}_{j}": np.tile([sign * x, y, 4.0], (T, 1)) for j, (x, y) in STANDING.items() for s, sign in sides}


def test_the_truth_itself_has_no_error():
    score = score_joints(standing(), standing(), UP, FPS)
    assert score.mpjpe_mm == score.across_mm == score.depth_mm == score.shoulder_turn_rmse_deg == 0
    assert score.pa_mpjpe_mm < 1e-6
    assert score.reversed_frames == ()
    assert score.fast_wrist_samples == 0


def test_an_error_in_depth_of_the_ankles_is_found_there_and_nowhere_else():
    found = standing()
    for side in ("left", "right"):
        found[f"{side}_ankle"] = found[f"{side}_ankle"] + [0, 0, 0.06]
    score = score_joints(found, standing(), UP, FPS)
    assert score.joint_depth_mm == pytest.approx({"shoulder": 0, "elbow": 0, "wrist": 0, "hip": 0, "knee": 0, "ankle": 60})
    assert score.joint_mm["ankle"] == pytest.approx(60)
    assert score.mpjpe_mm == pytest.approx(10)
    assert score.depth_mm == pytest.approx(10)
    assert score.across_mm == pytest.approx(0)
    # The shank leans by the angle between 6 cm and 42 cm.
    assert score.angle_rmse_deg["knee"] == pytest.approx(np.degrees(np.arctan2(0.06, np.hypot(0.42, 0.01))), abs=0.3)
    assert score.angle_rmse_deg["elbow"] == 0


def test_where_the_person_stands_does_not_count_and_hips_are_aligned():
    found = {name: points + np.array([1.0, 0.2, -0.5]) for name, points in standing().items()}
    assert score_joints(found, standing(), UP, FPS).mpjpe_mm == pytest.approx(0, abs=1e-9)


def test_reversed_frames_and_flying_wrists_are_counted():
    found = standing()
    turned = slice(5, 9)
    for joint in STANDING:
        left, right = found[f"left_{joint}"].copy(), found[f"right_{joint}"].copy()
        found[f"left_{joint}"][turned], found[f"right_{joint}"][turned] = right[turned], left[turned]
    score = score_joints(found, standing(), UP, FPS)
    assert score.reversed_frames == (5, 6, 7, 8)
    # Each wrist changes sides twice: 0.48 m in a thirtieth of a second are 14 m/s, which an arm could have.
    assert score.fast_wrist_samples == 0
    flung = standing()
    flung["left_wrist"][10] += [0.0, 0.0, 0.7]  # 21 m/s there and back
    assert score_joints(flung, standing(), UP, FPS).fast_wrist_samples == 2


def test_a_turn_of_the_shoulders_is_its_rmse():
    found, turn = standing(), rotvec_to_matrix(np.radians(20) * UP)
    for side in ("left", "right"):
        found[f"{side}_shoulder"] = (found[f"{side}_shoulder"] - AHEAD) @ turn.T + AHEAD
    score = score_joints(found, standing(), UP, FPS)
    assert score.shoulder_turn_rmse_deg == pytest.approx(20)
    assert score.hip_turn_rmse_deg == 0


def test_the_top_of_the_backswing_is_where_shoulders_are_turned_furthest_before_the_hands_are_fast():
    joints, phase = standing(), np.linspace(0, 1, T)
    shoulder = np.where(phase < 0.5, -90 * phase / 0.5, -90 + 160 * (phase - 0.5) / 0.5)
    for part, turns in (("shoulder", shoulder), ("hip", shoulder / 2)):
        for side in ("left", "right"):
            R = rotvec_to_matrix(np.radians(turns)[:, None] * UP)
            joints[f"{side}_{part}"] = np.einsum("tab,tb->ta", R, joints[f"{side}_{part}"] - AHEAD) + AHEAD
    for side in ("left", "right"):
        joints[f"{side}_wrist"][15:] += [0.5, 0, 0]
    top = turn_at_top(joints, UP)
    assert top.row in (9, 10)
    assert abs(top.shoulders_deg) == pytest.approx(90, abs=5)
    assert top.pelvis_deg == pytest.approx(top.shoulders_deg / 2)
    assert turn_at_top(joints, UP, 0).shoulders_deg == 0


def scene_of(joints: dict[str, np.ndarray], sigma_m: float | None, tilt_deg: float = 0.0) -> Scene:
    names = joint_names("body29")
    points = np.zeros((T, len(names), 3)) + AHEAD
    for name, track in joints.items():
        points[:, names.index(name)] = track
    track = BodyTrack(
        person_id=1,
        body="anny",
        frame_index=np.arange(T),
        shape=np.zeros(7),
        rotations=np.zeros((T, 2, 3)),
        translation_m=np.zeros((T, 3)),
        joints_m=points,
        keypoints_px=np.full((T, 29, 2), np.nan),
        visibility=np.ones((T, 29)),
        confidence=np.ones(T),
        observed=np.ones(T, bool),
        joint_sigma_m=None if sigma_m is None else np.full((T, 29), sigma_m),
    )
    world = np.diag([1.0, -1.0, -1.0, 1.0])
    world[:3, :3] = world[:3, :3] @ rotvec_to_matrix(np.array([np.radians(tilt_deg), 0, 0]))
    clip = Clip(Path("clip.mp4"), 64, 48, Fraction(30), np.arange(T) / 30, np.arange(T) + 100)
    return Scene(clip, Camera(60.0, 32, 24, 64, 48), (track,), world)


def write_truth(path: Path, joints: dict[str, np.ndarray], frames) -> Path:
    arrays = {
        "joint_names": np.array(SCORED_JOINTS), "fps": FPS, "source_frames": np.arange(T),
        "cam1/joints_m": np.stack([joints[n] for n in SCORED_JOINTS], 1), "cam1/up": 2 * UP, "cam1/source_frames": np.array(frames),
    }  # fmt: skip
    np.savez(path, **arrays)
    return path


def test_a_run_is_scored_on_the_frames_of_the_file_with_its_vertical_and_its_sigmas(tmp_path):
    found = standing()
    found["left_wrist"] = found["left_wrist"] + [0.03, 0, 0]
    scene = scene_of(found, sigma_m=0.02, tilt_deg=12.0)
    truth = load_measured_truth(write_truth(tmp_path / "truth.npz", standing(), range(102, 102 + T)), "cam1")
    world = np.zeros((T, 33, 3))
    for name, points in standing().items():
        world[:, joint_names("blazepose33").index(name)] = points
    landmarks = LandmarkTrack(np.zeros((T, 33, 2)), np.zeros((T, 33)), world, np.ones((T, 33)))
    code = MaskTrack.encode(np.ones((48, 64), bool))
    score = score_measured(scene, (MaskTrack(1, np.arange(T), (code,) * T, 48, 64, landmarks),), truth)
    assert score.result.frames == T - 2
    assert score.frames_missing == 2
    assert score.up_error_deg == pytest.approx(12.0)
    assert score.result.joint_mm["wrist"] == pytest.approx(15)
    # 3 cm are beyond one sigma of 2 cm and within two; nothing else errs.
    assert score.within_one_sigma["wrist"] == 0.5
    assert score.within_two_sigma["wrist"] == 1.0
    assert score.within_one_sigma["all"] == pytest.approx(11 / 12)
    assert score.landmarks is not None
    assert score.landmarks.mpjpe_mm == pytest.approx(0, abs=1e-9)
    table = measured_scores_table({"clip": score, "again": dataclasses.replace(score, up_error_deg=2.0)})
    assert "mean 7.0, worst 12.0 degrees over 2 clips" in table
    assert "7.5 / 0.0" not in table  # the wrist is 15 / 0, not halved again
    assert next(line for line in table.splitlines() if line.startswith("wrist (mm)")).split()[2:5] == ["15.0", "/", "0.0"]


def test_a_run_without_sigmas_or_landmarks_has_no_such_figures():
    scene = scene_of(standing(), sigma_m=None)
    score = score_measured(scene, (), truth_of_scene(scene))
    assert score.within_one_sigma == {}
    assert score.landmarks is None
    assert score.up_error_deg == pytest.approx(0, abs=1e-5)


def test_a_wrong_camera_and_another_video_are_refused(tmp_path):
    path = write_truth(tmp_path / "truth.npz", standing(), range(T))
    with pytest.raises(InputError) as wrong:
        load_measured_truth(path, "cam2")
    assert wrong.value.code == "truth_camera"
    with pytest.raises(InputError) as other:
        score_measured(scene_of(standing(), None), (), load_measured_truth(path, "cam1"))
    assert other.value.code == "truth_of_other_frames"
    with pytest.raises(InputError) as missing:
        load_measured_truth(tmp_path / "none.npz", "cam1")
    assert missing.value.code == "truth_file"
