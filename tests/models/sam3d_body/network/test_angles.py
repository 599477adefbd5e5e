"""Angles and matrices are each other's inverse."""

import torch

from body4d.models.sam3d_body.network import angles
from body4d.models.sam3d_body.network.heads import SINGLES, TRIPLES

ANGLES = torch.rand(200, 3, generator=torch.Generator().manual_seed(3)) * torch.tensor([6.0, 3.0, 6.0]) - torch.tensor([3.0, 1.5, 3.0])


def test_xyz_round_trip():
    torch.testing.assert_close(angles.xyz_from_matrix(angles.matrix_from_xyz(ANGLES)), ANGLES, atol=2e-5, rtol=0)


def test_xzy_round_trip():
    torch.testing.assert_close(angles.xzy_from_matrix(angles.matrix_from_xzy(ANGLES)), ANGLES, atol=2e-5, rtol=0)


def test_six_numbers_give_the_rotation_back():
    R = angles.matrix_from_xyz(ANGLES)
    six = torch.cat([2 * R[..., 0], R[..., 1] + 0.3 * R[..., 0]], -1)
    torch.testing.assert_close(angles.matrix_from_6d(six), R, atol=1e-5, rtol=0)
    torch.testing.assert_close(angles.xyz_from_6d(six), ANGLES, atol=2e-5, rtol=0)


def test_angle_between():
    R = angles.matrix_from_xyz(ANGLES)
    turn = angles.axis_rotation(1, torch.full((200,), 0.7))
    torch.testing.assert_close(angles.angle_between(R @ turn, R), torch.full((200,), 0.7), atol=1e-4, rtol=0)


def test_every_body_angle_is_said_once():
    said = sorted([i for t in TRIPLES for i in t] + list(SINGLES) + list(range(124, 130)))
    assert said == list(range(133))
    assert len(SINGLES) == 58
