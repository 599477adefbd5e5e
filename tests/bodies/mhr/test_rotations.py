"""Euler angles, matrices, quaternions and six numbers stand for the same rotations."""

import torch

from body4d.bodies.mhr.rotations import (
    angle_between,
    axis_rotation,
    euler_xyz_to_matrix,
    euler_xyz_to_quat,
    euler_xzy_to_matrix,
    matrix_to_euler_xyz,
    matrix_to_euler_xzy,
    quat_multiply,
    quat_rotate,
    quat_to_matrix,
    rot6d_to_euler_xyz,
    rot6d_to_matrix,
)

ANGLES = torch.rand(200, 3, generator=torch.Generator().manual_seed(3)) * torch.tensor([6.0, 3.0, 6.0]) - torch.tensor([3.0, 1.5, 3.0])


def test_euler_xyz_round_trip():
    torch.testing.assert_close(matrix_to_euler_xyz(euler_xyz_to_matrix(ANGLES)), ANGLES, atol=2e-5, rtol=0)


def test_euler_xzy_round_trip():
    torch.testing.assert_close(matrix_to_euler_xzy(euler_xzy_to_matrix(ANGLES)), ANGLES, atol=2e-5, rtol=0)


def test_six_numbers_give_the_rotation_back():
    R = euler_xyz_to_matrix(ANGLES)
    six = torch.cat([2 * R[..., 0], R[..., 1] + 0.3 * R[..., 0]], -1)
    torch.testing.assert_close(rot6d_to_matrix(six), R, atol=1e-5, rtol=0)
    torch.testing.assert_close(rot6d_to_euler_xyz(six), ANGLES, atol=2e-5, rtol=0)


def test_angle_between():
    R = euler_xyz_to_matrix(ANGLES)
    turn = axis_rotation(1, torch.full((200,), 0.7))
    torch.testing.assert_close(angle_between(R @ turn, R), torch.full((200,), 0.7), atol=1e-4, rtol=0)


def test_quaternions_compose_and_rotate_as_their_matrices_do():
    quat = euler_xyz_to_quat(ANGLES)
    R = quat_to_matrix(quat)
    torch.testing.assert_close(R, euler_xyz_to_matrix(ANGLES), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(200))
    torch.testing.assert_close(quat_to_matrix(quat_multiply(quat, quat.flip(0))), R @ R.flip(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(quat_rotate(quat, ANGLES), (R @ ANGLES[..., None])[..., 0], atol=1e-5, rtol=0)
