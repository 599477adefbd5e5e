import numpy as np
import pytest

from body4d.bodies.anny import DEFAULT_SHAPE, anny_body
from body4d.core.joints import Body29
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix
from body4d.motion.uncertainty import descendant_matrix, joint_sigma_m, systematic_sigma_m


@pytest.mark.slow  # Anny is set up
def test_equals_the_spread_of_many_drawn_poses():
    rig = anny_body().rig(DEFAULT_SHAPE)
    rng = np.random.default_rng(0)
    J, draws = len(rig.parents), 4000
    pose = rng.normal(0, 0.3, (1, J, 3)) * (np.arange(J) < 55)[:, None]
    sigma = rng.uniform(0, 0.02, J)
    place_sigma = np.array([0.004, 0.004, 0.03])
    turned = rotvec_to_matrix(pose) @ rotvec_to_matrix(rng.normal(0, 1, (draws, J, 3)) * sigma[:, None])
    place = np.array([0, 0, 4.0]) + rng.normal(0, 1, (draws, 3)) * place_sigma
    joints = rig.keypoints(*rig.forward(turned, place))
    spread = np.sqrt(((joints - joints.mean(0)) ** 2).sum(-1).mean(0))
    sigma_m = joint_sigma_m(rig, pose, np.array([[0, 0, 4.0]]), sigma[None] ** 2, np.array([(place_sigma**2).sum()]))[0]
    np.testing.assert_allclose(sigma_m, spread, rtol=0.06)


@pytest.mark.slow  # Anny is set up
def test_descendants_are_the_joints_below():
    rig = anny_body().rig(DEFAULT_SHAPE)
    below = descendant_matrix(rig)
    knee, foot = rig.joint_names.index("lowerleg01.L"), rig.joint_names.index("foot.L")
    assert below[knee, foot] == 1
    assert below[foot, knee] == 0
    assert below[0].all()


@pytest.mark.slow  # Anny is set up
def test_only_joints_above_a_keypoint_move_it():
    rig = anny_body().rig(DEFAULT_SHAPE)
    variance = np.zeros((1, len(rig.parents)))
    variance[0, rig.joint_names.index("lowerarm01.L")] = 1e-4
    sigma_m = joint_sigma_m(rig, np.zeros((1, len(rig.parents), 3)), np.array([[0, 0, 4.0]]), variance, np.zeros(1))[0]
    assert sigma_m[Body29.LEFT_WRIST] > 0.002
    assert sigma_m[Body29.RIGHT_WRIST] == sigma_m[Body29.LEFT_KNEE] == 0


@pytest.mark.slow  # Anny is set up
def test_a_turn_of_the_pose_leaves_it_as_it_is():
    rig = anny_body().rig(DEFAULT_SHAPE)
    rng = np.random.default_rng(1)
    J = len(rig.parents)
    pose, variance = rng.normal(0, 0.2, (1, J, 3)), rng.uniform(0, 1e-3, (1, J))
    turned = pose.copy()
    turned[:, 0] = matrix_to_rotvec(rotvec_to_matrix(np.array([[0.3, 1.0, -0.4]])) @ rotvec_to_matrix(pose[:, 0]))
    sigma_m = [joint_sigma_m(rig, rotations, np.array([[0.0, 0, 4]]), variance, np.ones(1)) for rotations in (pose, turned)]
    np.testing.assert_allclose(sigma_m[1], sigma_m[0])


def test_what_is_alike_in_all_frames_grows_along_the_limbs_with_what_is_hidden_and_with_an_assumed_height():
    names = ("left_hip", "right_hip", "left_wrist", "left_ankle")
    joints = np.array([[[0.1, 0, 4], [-0.1, 0, 4], [0.1, 0.2, 4], [0.1, 0.9, 4]]])
    seen, hidden = np.ones((1, 4)), np.array([[1, 1, 0.0, 1]])
    known = systematic_sigma_m(names, joints, seen, 1.75, False)[0]
    assert known[0] < 0.03 < known[2] < 0.13
    assert systematic_sigma_m(names, joints, hidden, 1.75, False)[0, 2] == pytest.approx(2 * known[2])
    assumed = systematic_sigma_m(names, joints, seen, 1.75, True)[0]
    assert assumed[3] == pytest.approx(np.hypot(known[3], 0.055 * np.hypot(0.1, 0.9)))
