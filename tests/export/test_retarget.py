"""Whatever names, bones, rest pose and units a skeleton gets: its joints stay where they are."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from body4d.core.errors import SettingsError
from body4d.core.types import Camera, Scene
from body4d.export.bvh import matrix_to_zxy, matrix_to_zyx
from body4d.export.character import make_character
from body4d.export.options import ExportOptions
from body4d.export.retarget import plan_retarget, retarget
from body4d.export.rigs import RIG_NAMES, part_joints, rig_bones
from body4d.export.skeleton import REST_TO_Y_UP, Skeleton
from body4d.geometry.rotations import rotvec_to_matrix
from fakes import stick_rig, stick_track
from scenes import make_clip

# Name: parent, place (x left, y up, z forward). Joints that no rig has stand between those that some have.
ANNY = {
    "root": ("", (0, 0.95, 0)), "spine05": ("root", (0, 0.95, 0)), "spine04": ("spine05", (0, 1.03, -0.03)),
    "spine03": ("spine04", (0, 1.1, -0.01)), "spine02": ("spine03", (0, 1.2, -0.01)),
    "spine01": ("spine02", (0, 1.34, -0.02)), "neck01": ("spine01", (0, 1.53, 0)),
    "neck02": ("neck01", (0, 1.56, 0.02)), "head": ("neck02", (0, 1.64, 0.04)),
}  # fmt: skip
MHR = {
    "body_world": ("", (0, 0, 0)), "root": ("body_world", (0, 0.92, 0)), "c_spine0": ("root", (0, 0.95, -0.02)),
    "c_spine1": ("c_spine0", (0, 1.05, 0)), "c_spine2": ("c_spine1", (0, 1.16, -0.01)),
    "c_spine3": ("c_spine2", (0, 1.34, 0)), "c_neck": ("c_spine3", (0, 1.43, 0.02)),
    "c_head": ("c_neck", (0, 1.53, 0.05)),
}  # fmt: skip


def made(body: str, frames: int = 4, seed: int = 0) -> Skeleton:
    """A skeleton with one body model's names, in any pose: every joint turns by up to half a turn."""
    joints = dict(ANNY if body == "anny" else MHR)
    for sign, side in ((1, "L"), (-1, "R")):
        if body == "anny":
            arm = ("clavicle", "shoulder01", "upperarm01", "upperarm02", "lowerarm01", "lowerarm02", "wrist", "finger3-1")
            leg = ("pelvis", "upperleg01", "upperleg02", "lowerleg01", "lowerleg02", "foot", "toe2-1")
            sided = [f"{name}.{side}" for name in (*arm, "finger2-1", "finger5-1", *leg)]
            tops = {sided[0]: "spine01", sided[8]: sided[6], sided[9]: sided[6], sided[10]: "root"}
        else:
            arm = ("clavicle", "uparm", "uparm_twist1", "lowarm", "lowarm_twist1", "wrist_twist", "wrist", "middle1")
            leg = ("hip", "upleg", "upleg_twist1", "lowleg", "lowleg_twist1", "foot", "ball")
            sided = [f"{side.lower()}_{name}" for name in (*arm, "index1", "pinky1", *leg)]
            tops = {sided[0]: "c_spine3", sided[8]: sided[6], sided[9]: sided[6], sided[10]: "root"}
        places = [
            (0.02, 1.46, 0.02), (0.11, 1.47, 0.02), (0.19, 1.43, 0.02), (0.24, 1.37, 0.02), (0.38, 1.22, 0.03),
            (0.44, 1.15, 0.11), (0.51, 1.08, 0.2), (0.56, 1.03, 0.28), (0.54, 1.04, 0.31), (0.57, 1.01, 0.24),
            (0, 0.95, 0), (0.11, 0.94, 0), (0.11, 0.84, 0.03),
            (0.15, 0.5, 0.03), (0.17, 0.27, 0.02), (0.19, 0.05, 0), (0.19, 0, 0.16),
        ]  # fmt: skip
        for k, (name, (x, y, z)) in enumerate(zip(sided, places, strict=True)):
            joints[name] = (tops.get(name, sided[k - 1]), (sign * x, y, z))
    names = tuple(joints)
    parents = np.array([names.index(parent) if parent else -1 for parent, _ in joints.values()])
    rng = np.random.default_rng(seed)
    turns = rotvec_to_matrix(rng.uniform(-1.8, 1.8, (frames, len(names), 3)))
    return Skeleton(names, parents, np.array([place for _, place in joints.values()], float), turns, rng.normal(0, 1, (frames, 3)))


def euler_matrix(angles: np.ndarray, order: str) -> np.ndarray:
    out = np.eye(3)
    for axis, angle in zip(order, np.moveaxis(angles, -1, 0), strict=True):
        out = out @ rotvec_to_matrix(angle[..., None] * np.eye(3)["xyz".index(axis)])
    return out


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["anny", "mhr"]), st.sampled_from(RIG_NAMES), st.sampled_from(["", "a", "t"]), st.integers(0, 10**6))
def test_joints_stay_where_they_are(body, rig, rest, seed):
    skeleton = made(body, seed=seed)
    if rig == "lafan" and rest == "a":
        rest = ""
    moved = retarget(skeleton, rig, rest)
    source = plan_retarget(skeleton, rig, rest).source
    # Through the angles that a file holds, in its order.
    order, angles = ("zyx", matrix_to_zyx(moved.rotations)) if rig == "lafan" else ("zxy", matrix_to_zxy(moved.rotations))
    read = Skeleton(moved.names, moved.parents, moved.rest_m, euler_matrix(angles, order), moved.root_m, moved.places_m)
    assert np.abs(read.forward()[1] - skeleton.forward()[1][:, source]).max() < 1e-6


@pytest.mark.parametrize("body", ["anny", "mhr"])
@pytest.mark.parametrize("rig", [rig for rig in RIG_NAMES if rig != "native"])
def test_a_rig_has_its_bones_in_its_order(body, rig):
    skeleton = made(body)
    moved = retarget(skeleton, rig)
    at = part_joints(skeleton.names)
    assert list(moved.names) == [name for _, name, _ in rig_bones(rig, at)]
    assert {"mixamo": "mixamorig:LeftForeArm", "unreal": "lowerarm_l", "vrm": "leftLowerArm", "lafan": "LeftForeArm"}[rig] in moved.names
    if rig == "lafan":
        assert moved.names[:9] == ("Hips", "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToe", "RightUpLeg", "RightLeg", "RightFoot", "RightToe")
        assert len(moved.names) == 22


def test_the_t_pose_has_level_arms_straight_legs_and_feet_ahead():
    moved = retarget(made("anny"), "mixamo")
    rest = {name.removeprefix("mixamorig:"): place for name, place in zip(moved.names, moved.rest_m, strict=True)}
    for side, sign in (("Left", 1), ("Right", -1)):
        for a, b, way in (
            ("Arm", "ForeArm", (sign, 0, 0)),
            ("ForeArm", "Hand", (sign, 0, 0)),
            ("UpLeg", "Leg", (0, -1, 0)),
            ("Leg", "Foot", (0, -1, 0)),
        ):
            bone = rest[side + b] - rest[side + a]
            assert np.allclose(bone / np.linalg.norm(bone), way)
        foot = rest[f"{side}ToeBase"] - rest[f"{side}Foot"]
        assert abs(foot[0]) < 1e-9 < foot[2]


def test_general_motion_retargeting_finds_a_robot_that_stands():
    """It turns each link by a rotation of its own from the bone's axes; in the T-pose with arms let down, all links are the base's."""
    skeleton = made("anny", frames=1)
    at = part_joints(skeleton.names)
    still = Skeleton(
        skeleton.names, skeleton.parents, skeleton.rest_m, np.broadcast_to(np.eye(3), skeleton.rotations.shape), skeleton.rest_m[:1]
    )
    t_pose = plan_retarget(still, "native", "t")
    straight = np.swapaxes(t_pose.turns, -1, -2)  # joints' rotations in the T-pose
    local = straight.copy()
    local[1:] = np.swapaxes(straight[still.parents[1:]], -1, -2) @ straight[1:]
    for side, sign in (("left", 1), ("right", -1)):  # arms hang
        local[at[f"{side}_upper_arm"]] = rotvec_to_matrix(np.array([0, 0, -sign * np.pi / 2])) @ local[at[f"{side}_upper_arm"]]
    stands = Skeleton(still.names, still.parents, still.rest_m, local[None], still.root_m)
    bones = retarget(stands, "lafan")
    G = dict(zip(bones.names, np.moveaxis(bones.forward()[0], 1, 0), strict=True))
    up, forward, left = np.array([0.0, 1, 0]), np.array([0.0, 0, 1]), np.array([1.0, 0, 0])
    # The bone's x, y and z for a link whose x is ahead, y to the left and z up, from its table for the robot G1.
    for names, axes in (
        (("Hips", "Spine2"), (up, forward, left)),
        (("LeftUpLeg", "RightUpLeg", "LeftLeg", "RightLeg"), (-up, forward, -left)),
        (("LeftToe", "RightToe"), (forward, up, -left)),
        (("LeftArm", "RightArm"), (-up, -forward, left)),
        (("LeftForeArm", "RightForeArm", "LeftHand", "RightHand"), (-up, -forward, left)),  # straight; bent at the elbow they point ahead
    ):
        for name in names:
            assert np.allclose(G[name][0], np.stack(axes, 1), atol=1e-9), name


def test_lafan_has_one_rest_pose_and_a_box_no_rig():
    with pytest.raises(SettingsError, match="rest pose of its own"):
        retarget(made("anny"), "lafan", "a")
    box = Skeleton(("root",), np.array([-1]), np.zeros((1, 3)), np.eye(3)[None, None], np.zeros((1, 3)))
    with pytest.raises(SettingsError, match="no joints for a mixamo skeleton"):
        retarget(box, "mixamo")


@pytest.mark.parametrize("rig_name", ["native", "mixamo", "unreal", "vrm"])
@pytest.mark.parametrize("body", ["anny", "mhr"])
def test_a_mesh_stays_where_it_is_though_every_joint_turns(body, rig_name):
    """Twists, roots and all: what a rig has no bone for has one of its own."""
    joints, rng = made(body, frames=6), np.random.default_rng(1)
    stick, parents = stick_rig(), joints.parents
    points = np.repeat(joints.rest_m @ REST_TO_Y_UP, 5, axis=0) + rng.normal(0, 0.05, (5 * len(parents), 3))
    owners = np.repeat(np.arange(len(parents)), 5)
    indices = np.stack([owners, np.maximum(parents[owners], 0), rng.integers(0, len(parents), len(owners))], axis=1)
    rig = dataclasses.replace(
        stick, joint_names=joints.names, parents=parents, rest_joints_m=joints.rest_m @ REST_TO_Y_UP, rest_vertices_m=points,
        skin_indices=indices, skin_weights=rng.dirichlet(np.ones(3), len(owners)), keypoint_weights=np.eye(29, len(parents)),
        keypoint_anchors_m=np.zeros((29, len(parents), 3)),
    )  # fmt: skip
    camera = Camera(600.0, 320.0, 240.0, 640, 480, "default")
    track = stick_track(1, stick, camera)
    rows = slice(0, 6)
    cut = {
        name: getattr(track, name)[rows] for name in ("joints_m", "keypoints_px", "visibility", "confidence", "observed", "translation_m")
    }
    turns = rng.uniform(-1.5, 1.5, (6, len(parents), 3))
    track = dataclasses.replace(track, **cut, frame_index=np.arange(6), rotations=turns, rig=rig)
    clip = make_clip(6)
    scene = Scene(clip, camera, (track,))
    character = make_character(scene, track, ExportOptions(rig=rig_name), clip.times_s)
    (moved,) = character.stretches(clip.times_s)
    G, p = moved.forward()
    local = character.vertices_m[:, None] - character.plan.rest_m[character.skin_indices]
    places = np.einsum("tvwab,vwb->tvwa", G[:, character.skin_indices], local) + p[:, character.skin_indices]
    played = np.einsum("vw,tvwa->tva", character.skin_weights, places)
    T = scene.T_world_camera
    truth = rig.vertices(*rig.forward(turns, track.translation_m)) @ T[:3, :3].T + T[:3, 3]
    assert np.abs(played - truth).max() < 1e-5
    assert abs(character.vertices_m[:, 1].min()) < 1e-9
