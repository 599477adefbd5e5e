"""The rig taken from Anny stands as conventions.md says, and agrees with Anny's own posing; its fingers close."""

import numpy as np
import pytest
import torch

from body4d.bodies.anny import (
    _ANNY_TO_REST,
    DEFAULT_SHAPE,
    FEMALE,
    MALE,
    SHAPE_NAMES,
    UNDECIDED,
    SeenFingers,
    age_parameter,
    anny_body,
    curl_fingers,
    finger_flexion,
)
from body4d.core.joints import Body29
from body4d.geometry.rotations import rotvec_to_matrix

pytestmark = pytest.mark.slow  # Anny is set up


@pytest.fixture(scope="module")
def rig():
    return anny_body().rig(DEFAULT_SHAPE)


def test_rest_pose_stands_upright_and_faces_the_camera(rig):
    x = rig.keypoints(*rig.forward(np.zeros((1, len(rig.parents), 3)), np.zeros((1, 3))))[0]
    assert x[Body29.NOSE, 1] < x[Body29.LEFT_HIP, 1] < x[Body29.LEFT_ANKLE, 1]  # y points down
    assert x[Body29.NOSE, 2] < x[Body29.LEFT_EAR, 2]  # looks along -z
    assert x[Body29.LEFT_WRIST, 0] > 0.3 > -0.3 > x[Body29.RIGHT_WRIST, 0]  # its left hand at +x
    assert 1.6 < rig.height_m < 1.95


def test_faces_are_wound_counter_clockwise_from_outside(rig):
    corners = rig.rest_vertices_m[rig.faces]
    volume = np.einsum("fa,fa->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert 0.04 < volume < 0.12  # litres of an adult, positive only if wound outwards


def test_scale_is_uniform(rig):
    larger = DEFAULT_SHAPE.copy()
    larger[SHAPE_NAMES.index("scale")] = 1.25
    assert np.allclose(anny_body().rig(larger).rest_vertices_m, 1.25 * rig.rest_vertices_m)


def breast_depth_m(gender: float) -> float:
    """How far the chest stands out in front of the ribs below it, in a body of 1.70 m."""
    shape = DEFAULT_SHAPE.copy()
    shape[SHAPE_NAMES.index("gender")] = gender
    v = anny_body().rig(anny_body().with_height(shape, 1.7)).rest_vertices_m
    beside = (np.abs(v[:, 0]) > 0.05) & (np.abs(v[:, 0]) < 0.14)
    chest, ribs = (v[beside & (np.abs(v[:, 1] - v[:, 1].min() - below_crown) < 0.01), 2].min() for below_crown in (0.48, 0.52))
    return ribs - chest


def test_only_women_have_breasts():
    assert breast_depth_m(FEMALE) > breast_depth_m(MALE) + 0.01
    assert breast_depth_m(UNDECIDED) < breast_depth_m(MALE) + 0.002


@pytest.mark.parametrize("height_m", [1.1, 1.55, 1.965, 2.55])
def test_a_height_is_met(height_m):
    assert anny_body().rig(anny_body().with_height(DEFAULT_SHAPE, height_m)).height_m == pytest.approx(height_m, abs=1e-6)


def test_tall_people_are_not_scaled_short_ones():
    short, tall = (anny_body().rig(anny_body().with_height(DEFAULT_SHAPE, h)) for h in (1.5, 1.95))
    head = [j for j, name in enumerate(short.joint_names) if name == "head"]
    top = [float((rig.rest_joints_m[head, 1] - rig.rest_vertices_m[:, 1].min())[0] / rig.height_m) for rig in (short, tall)]
    assert top[1] < 0.95 * top[0]  # heads grow less than bodies


def test_ages_in_years():
    assert [round(age_parameter(years), 3) for years in (1, 11, 64, 120)] == [0.05, 0.415, 0.83, 1.0]


def test_a_wrong_number_of_shape_parameters_is_refused():
    with pytest.raises(ValueError, match="7 numbers"):
        anny_body().rig(np.zeros(6))


def test_posing_agrees_with_annys_own(rig):
    """Our G, p of a random pose, turned into Anny's absolute bone poses, give Anny's vertices up to the four-influence cut."""
    rng = np.random.default_rng(0)
    rotations = rng.normal(size=(1, len(rig.parents), 3)) * 0.2
    G, p = rig.forward(rotations, np.array([[0.1, -0.2, 0.3]]))
    model, back = anny_body()._model, _ANNY_TO_REST.T
    phenotypes = {n: torch.tensor([float(v)]) for n, v in zip(SHAPE_NAMES[:-1], DEFAULT_SHAPE[:-1], strict=True)}
    rest = model(pose_parameters=None, phenotype_kwargs=phenotypes)["rest_bone_poses"][0].numpy()
    posed = np.tile(np.eye(4), (len(rig.parents), 1, 1))
    posed[:, :3, :3] = back @ G[0] @ back.T @ rest[:, :3, :3]
    posed[:, :3, 3] = p[0] @ back.T
    theirs = model(torch.tensor(posed)[None], phenotype_kwargs=phenotypes, pose_parameterization="world")["vertices"][0].numpy()
    ours = rig.vertices(G, p)[0] @ back.T
    distance = np.linalg.norm(ours - theirs, axis=-1)
    assert np.median(distance) < 1e-4
    assert distance.max() < 0.02  # where Anny blends up to nine joints and glTF allows four


def test_folded_keypoints_equal_the_regressor_on_vertices(rig):
    rng = np.random.default_rng(1)
    G, p = rig.forward(rng.normal(size=(2, len(rig.parents), 3)) * 0.3, rng.normal(size=(2, 3)))
    vertices, keypoints = rig.vertices(G, p), rig.keypoints(G, p)
    for joint, weights in anny_body()._regressor.items():
        assert np.allclose(keypoints[:, joint], np.einsum("v,tva->ta", weights / weights.sum(), vertices), atol=1e-5), joint.name


def test_local_rotations_are_relative_to_the_parent(rig):
    turn = np.zeros((1, len(rig.parents), 3))
    knee = rig.joint_names.index("lowerleg01.L")
    turn[0, knee] = [0.7, 0, 0]
    G, p = rig.forward(turn, np.zeros((1, 3)))
    rest, p_rest = rig.forward(np.zeros_like(turn), np.zeros((1, 3)))
    ankle = rig.joint_names.index("foot.L")
    assert np.allclose(G[0, ankle], rotvec_to_matrix(np.array([0.7, 0, 0])))
    assert p[0, ankle, 2] > p_rest[0, ankle, 2] + 0.2  # a knee bends backwards, away from the camera
    assert np.allclose(rest, np.eye(3))


@pytest.mark.parametrize("side", ["L", "R"])
def test_a_gripping_hand_closes_towards_the_thumb(rig, side):
    at = {name: j for j, name in enumerate(rig.joint_names)}
    still = np.zeros((2, len(rig.parents), 3))
    opened, closed = (rig.forward(curl_fingers(rig, still, np.full(2, held)), np.zeros((2, 3)))[1][0] for held in (0.0, 1.0))
    thumb = f"finger1-3.{side}"
    for finger in (2, 3, 4, 5):
        tip = f"finger{finger}-3.{side}"
        before = np.linalg.norm(opened[at[tip]] - opened[at[thumb]])
        after = np.linalg.norm(closed[at[tip]] - closed[at[thumb]])
        assert after < before - 0.005, tip
        assert np.linalg.norm(closed[at[tip]] - closed[at[f"wrist.{side}"]]) < np.linalg.norm(opened[at[tip]] - opened[at[f"wrist.{side}"]])


@pytest.mark.parametrize("side", ["L", "R"])
def test_fingers_bend_as_far_as_they_are_seen_to(rig, side):
    """Fingers of the rig itself, bent by a known angle, are read as bent by it; surely seen they bend by most of it, unseen not at all."""
    at = {name: j for j, name in enumerate(rig.joint_names)}

    def chains(rotations):
        heads = rig.forward(rotations, np.zeros((1, 3)))[1][0]
        fingers = [[heads[at[f"wrist.{side}"]], *(heads[at[f"finger{f}-{s}.{side}"]] for s in (1, 2, 3))] for f in range(1, 6)]
        return np.concatenate([np.array(fingers), np.zeros((5, 1, 3))], axis=1)

    still = np.zeros((1, len(rig.parents), 3))
    rest = finger_flexion(chains(still), is_right=side == "R")[:, :2]
    for grip, index_deg in ((0.0, (14, 22)), (1.0, (62, 72))):
        bent = finger_flexion(chains(curl_fingers(rig, still, np.full(1, grip))), is_right=side == "R")[:, :2]
        assert np.degrees(bent - rest)[1] == pytest.approx(index_deg, abs=2)
    flexion = np.zeros((1, 2, 5, 3))
    flexion[..., :2] = rest
    flexion += np.radians(60)
    seen, unseen = (curl_fingers(rig, still, np.zeros(1), SeenFingers(flexion, np.full((1, 2), weight))) for weight in (1.0, 0.0))
    joint = at[f"finger2-1.{side}"]
    # Of 60 degrees with a standard deviation of 15, and of the 14 of a relaxed hand with one of 20.
    assert np.degrees(np.linalg.norm(seen[0, joint])) == pytest.approx((60 / 15**2 + 14 / 20**2) / (1 / 15**2 + 1 / 20**2), abs=0.1)
    assert np.allclose(unseen, curl_fingers(rig, still, np.zeros(1)), atol=1e-12)


def test_nothing_but_fingers_moves(rig):
    turned = curl_fingers(rig, np.zeros((3, len(rig.parents), 3)), np.ones(3))
    moved = {rig.joint_names[j] for j in np.flatnonzero(np.abs(turned).sum((0, 2)))}
    assert len(moved) == 30
    assert all(name.startswith("finger") for name in moved)
