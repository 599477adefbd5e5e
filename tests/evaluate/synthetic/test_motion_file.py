"""Readers of recorded motion, on files that the tests write."""

import numpy as np
import pytest

from body4d.core.errors import InputError
from body4d.evaluate.synthetic.bvh_file import read_bvh
from body4d.evaluate.synthetic.motion_capture import mirrored
from body4d.evaluate.synthetic.motion_file import load_motion
from body4d.geometry.rotations import rotvec_to_matrix
from mocap_files import SKELETON, arms_down_and_a_step, golfer_markers_m, write_bvh, write_deepmimic

FRAMES = 30
LEFT, DOWN, BACK = np.eye(3)


def random_angles(seed: int, most_deg: float = 40.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-most_deg, most_deg, (1, 3)) + rng.uniform(-9, 9, (FRAMES, 3)) for name in SKELETON}


def test_positions_are_those_of_an_independent_reader(tmp_path):
    bvh_module = pytest.importorskip("pymotion.io.bvh", reason="upc-pymotion, the independent BVH reader, is not installed")
    from pymotion.ops.skeleton import fk

    path = write_bvh(tmp_path / "a.bvh", random_angles(0), FRAMES)
    other = bvh_module.BVH()
    other.load(str(path))
    rotations, places, parents, offsets, _, _ = other.get_data()
    theirs, _ = fk(rotations, places[:, 0], offsets, parents)
    ours = read_bvh(path)
    _, positions = ours.pose()
    named = [ours.names.index(name) for name in other.data["names"]]
    np.testing.assert_allclose(positions[:, named], theirs, atol=1e-3)
    assert ours.frame_s == pytest.approx(1 / 60)


@pytest.mark.parametrize("z_up", [False, True])
def test_the_zero_pose_stands_upright_faces_the_camera_and_has_its_left_hand_at_the_left(tmp_path, z_up):
    motion = load_motion(write_bvh(tmp_path / "a.bvh", {}, FRAMES, z_up=z_up))
    for name in ("pelvis", "thorax", "head", "left_foot", "right_foot", "left_clavicle"):
        np.testing.assert_allclose(motion.segments[name], np.broadcast_to(np.eye(3), (FRAMES, 3, 3)), atol=1e-6)
    assert motion.joints["left_wrist"][0, 0] > 60 > -60 > motion.joints["right_wrist"][0, 0]
    assert motion.joints["left_knee"][0, 1] > motion.joints["left_hip"][0, 1]  # y down
    np.testing.assert_allclose(motion.segments["left_hand"][0, :, 0], LEFT, atol=1e-6)
    np.testing.assert_allclose(motion.segments["left_hand"][0, :, 1], DOWN, atol=1e-6)  # the palm of a T pose
    assert motion.leg_length == pytest.approx(82)
    assert motion.seconds == pytest.approx((FRAMES - 1) / 60)


def test_a_mirror_exchanges_left_and_right(tmp_path):
    motion = load_motion(write_bvh(tmp_path / "a.bvh", random_angles(0), FRAMES))
    mirror = mirrored(motion)
    flip = np.array([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(mirror.joints["left_wrist"], motion.joints["right_wrist"] * flip)
    for name, rotation in mirror.segments.items():
        np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(mirrored(mirror).segments[name], motion.segments[name], atol=1e-12)
    np.testing.assert_allclose(mirror.segments["left_hand"][..., 0], motion.segments["right_hand"][..., 0] * flip)
    # The pelvis of a mirror image: its left is where the other's right was.
    np.testing.assert_allclose(mirror.segments["pelvis"][..., 0], -motion.segments["pelvis"][..., 0] * flip)


def test_either_axis_may_be_up_and_gives_the_same_motion(tmp_path):
    a, b = (load_motion(write_bvh(tmp_path / f"{z}.bvh", arms_down_and_a_step(FRAMES), FRAMES, z_up=z)) for z in (False, True))
    for name in a.joints:
        np.testing.assert_allclose(a.joints[name], b.joints[name], atol=1e-3)


def test_a_person_who_faces_elsewhere_is_turned_to_the_camera(tmp_path):
    angles = {"Hips": np.tile([0.0, 0.0, 130.0], (FRAMES, 1))}
    way = np.array(SKELETON["Hips"][1]) + np.linspace(0, 100, FRAMES)[:, None] * np.array([1.0, 0, 0])
    motion = load_motion(write_bvh(tmp_path / "a.bvh", angles, FRAMES, root_cm=way))
    np.testing.assert_allclose(motion.segments["pelvis"][0], np.eye(3), atol=1e-6)
    hips = (motion.joints["left_hip"] + motion.joints["right_hip"])[:, [0, 2]] / 2
    np.testing.assert_allclose((hips.min(0) + hips.max(0)) / 2, 0, atol=1e-6)
    assert np.linalg.norm(hips[-1] - hips[0]) == pytest.approx(100)


def test_a_rest_pose_in_front_is_left_out_and_a_quick_start_is_not(tmp_path):
    angles = {name: a.copy() for name, a in arms_down_and_a_step(FRAMES).items()}
    assert len(load_motion(write_bvh(tmp_path / "whole.bvh", angles, FRAMES)).times_s) == FRAMES
    for a in angles.values():
        a[0] = 0
    assert len(load_motion(write_bvh(tmp_path / "rest.bvh", angles, FRAMES)).times_s) == FRAMES - 1


def test_between_samples_the_motion_is_smooth_and_segments_stay_rotations(tmp_path):
    motion = load_motion(write_bvh(tmp_path / "a.bvh", arms_down_and_a_step(FRAMES), FRAMES))
    same = motion.at(motion.times_s)
    np.testing.assert_allclose(same.joints["left_wrist"], motion.joints["left_wrist"], atol=1e-9)
    between = motion.at(motion.times_s[:-1] + 1 / 120)
    np.testing.assert_allclose(np.linalg.det(between.segments["thorax"]), 1, atol=1e-9)
    beyond = motion.at(np.array([-1.0, 99.0]))
    np.testing.assert_allclose(beyond.joints["left_wrist"][1], motion.joints["left_wrist"][-1], atol=1e-9)


def test_a_knee_of_deepmimic_bends_backwards_and_right_is_right(tmp_path):
    motion = load_motion(write_deepmimic(tmp_path / "a.txt", 10, knee_rad=-1.0))
    np.testing.assert_allclose(motion.segments["pelvis"][0], np.eye(3), atol=1e-9)
    shank = motion.joints["right_ankle"][0] - motion.joints["right_knee"][0]
    assert shank @ BACK > 0.3
    assert motion.joints["left_ankle"][0, 0] > 0 > motion.joints["right_ankle"][0, 0]
    np.testing.assert_allclose((motion.joints["left_ankle"] - motion.joints["left_knee"])[0] / 0.40987, DOWN, atol=1e-9)
    assert motion.seconds == pytest.approx(9 / 30)


def test_golf_markers_become_joints_and_a_missing_marker_is_bridged(tmp_path):
    ezc3d = pytest.importorskip("ezc3d", reason="ezc3d, which reads C3D, is not installed")
    markers = golfer_markers_m(FRAMES)
    markers["LWristTop"][5:9] = np.nan
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file["parameters"]["POINT"]["RATE"]["value"] = [120.0]
    file["parameters"]["POINT"]["LABELS"]["value"] = list(markers)
    points = np.ones((4, len(markers), FRAMES))
    points[:3] = 1e3 * np.moveaxis(np.stack(list(markers.values())), -1, 0)
    file["data"]["points"] = points
    file.write(str(tmp_path / "a.c3d"))
    motion = load_motion(tmp_path / "a.c3d")
    assert motion.seconds == pytest.approx((FRAMES - 1) / 120)
    for name in ("pelvis", "thorax", "left_foot", "right_foot"):
        np.testing.assert_allclose(motion.segments[name], np.broadcast_to(np.eye(3), (FRAMES, 3, 3)), atol=0.03)
    assert motion.joints["left_wrist"][0, 0] > 0 > motion.joints["right_wrist"][0, 0]
    assert motion.joints["left_hip"][0, 1] == pytest.approx(-0.92, abs=0.01)
    step = np.diff(motion.joints["left_wrist"][:, 0])
    np.testing.assert_allclose(step, step[0], atol=1e-5)
    assert motion.club_head is not None
    assert motion.club_head[0] @ BACK < -0.7


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.bvh", "HIERARCHY\nMOTION\n", "motion_damaged"),
        ("a.bvh", "nothing", "motion_damaged"),
        ("a.txt", '{"Frames": [[1, 2]]}', "motion_damaged"),
        ("a.txt", "words", "motion_damaged"),
        ("a.fbx", "", "motion_format"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text, code):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        load_motion(tmp_path / name)
    assert error.value.code == code
    assert name in error.value.message


def test_a_file_cut_short_and_one_that_is_not_there(tmp_path):
    path = write_bvh(tmp_path / "a.bvh", {}, FRAMES)
    path.write_text("\n".join(path.read_text().splitlines()[:-3]))
    with pytest.raises(InputError, match="30 frames of"):
        load_motion(path)
    with pytest.raises(InputError) as error:
        load_motion(tmp_path / "none.bvh")
    assert error.value.code == "motion_missing"


def test_a_skeleton_without_knees_is_named(tmp_path):
    path = write_bvh(tmp_path / "a.bvh", {}, FRAMES)
    path.write_text(path.read_text().replace("JOINT LeftLeg", "JOINT Something"))
    with pytest.raises(InputError, match="left_knee"):
        load_motion(path)


def test_a_foot_of_a_zero_pose_with_legs_apart_is_level(tmp_path):
    """As in CMU's files: legs lean by 20 degrees at zero and are brought together by the angles."""
    path = write_bvh(tmp_path / "a.bvh", {"LeftUpLeg": np.tile([-20.0, 0, 0], (FRAMES, 1))}, FRAMES)
    turn = rotvec_to_matrix(np.array([0, 0, np.radians(20.0)]))
    text = path.read_text()
    for offset in ((0, -42, 0), (0, -40, 0)):
        x, y, _ = turn @ np.array(offset, float)
        first = text.index("JOINT LeftLeg" if offset[1] == -42 else "JOINT LeftFoot")
        text = text[:first] + text[first:].replace(f"OFFSET {offset[0]} {offset[1]} {offset[2]}", f"OFFSET {x} {y} 0", 1)
    path.write_text(text)
    motion = load_motion(path)
    np.testing.assert_allclose(motion.joints["left_ankle"][0, 0] - motion.joints["left_hip"][0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(motion.segments["left_foot"][0], np.eye(3), atol=1e-6)
