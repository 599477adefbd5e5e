"""Rotations as the MHR parameters want them. Torch, float32, any leading shape; angles in radians."""

import torch
from torch import Tensor
from torch.nn import functional as F

from body4d.models.sam3d_body.network.layers import exact_product


def matrix_from_6d(columns: Tensor) -> Tensor:
    """Rotations (..., 3, 3) whose first two columns are (..., 6) made orthonormal (Zhou et al. 2019)."""
    a, b = columns[..., :3], columns[..., 3:]
    x = F.normalize(a, dim=-1)
    y = F.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def xyz_from_6d(columns: Tensor) -> Tensor:
    """Angles (..., 3) about x, y, z with R = Rz Ry Rx, of the rotation whose first column and first two columns' plane are given."""
    x = F.normalize(columns[..., :3], dim=-1)
    z = F.normalize(torch.linalg.cross(x, columns[..., 3:]), dim=-1)
    y = torch.linalg.cross(z, x)
    return xyz_from_matrix(torch.stack([x, y, z], -1))


def xyz_from_matrix(R: Tensor) -> Tensor:
    """Angles (..., 3) about x, y, z with R = Rz Ry Rx; where y stands at a right angle, z is set to 0."""
    flat = torch.hypot(R[..., 0, 0], R[..., 1, 0])
    locked = flat < 1e-6
    x = torch.where(locked, torch.atan2(-R[..., 1, 2], R[..., 1, 1]), torch.atan2(R[..., 2, 1], R[..., 2, 2]))
    z = torch.where(locked, torch.zeros_like(flat), torch.atan2(R[..., 1, 0], R[..., 0, 0]))
    return torch.stack([x, torch.atan2(-R[..., 2, 0], flat), z], -1)


def axis_rotation(axis: int, angle: Tensor) -> Tensor:
    """Rotations (..., 3, 3) about axis 0, 1 or 2."""
    c, s = torch.cos(angle), torch.sin(angle)
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    rows = {
        0: [one, zero, zero, zero, c, -s, zero, s, c],
        1: [c, zero, s, zero, one, zero, -s, zero, c],
        2: [c, -s, zero, s, c, zero, zero, zero, one],
    }[axis]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def matrix_from_xyz(angles: Tensor) -> Tensor:
    """R = Rz Ry Rx of angles (..., 3) given as x, y, z."""
    x, y, z = angles.unbind(-1)
    return exact_product(exact_product(axis_rotation(2, z), axis_rotation(1, y)), axis_rotation(0, x))


def matrix_from_xzy(angles: Tensor) -> Tensor:
    """R = Rx Rz Ry of angles (..., 3) given as x, z, y."""
    x, z, y = angles.unbind(-1)
    return exact_product(exact_product(axis_rotation(0, x), axis_rotation(2, z)), axis_rotation(1, y))


def xzy_from_matrix(R: Tensor) -> Tensor:
    """Angles (..., 3) as x, z, y with R = Rx Rz Ry."""
    z = torch.atan2(-R[..., 0, 1], torch.hypot(R[..., 0, 0], R[..., 0, 2]))
    return torch.stack([torch.atan2(R[..., 2, 1], R[..., 1, 1]), z, torch.atan2(R[..., 0, 2], R[..., 0, 0])], -1)


def matrix_from_quat(xyzw: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of unit quaternions (..., 4), w last."""
    x, y, z, w = xyzw.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def angle_between(A: Tensor, B: Tensor) -> Tensor:
    """Angle (...) between rotations, in [0, pi]."""
    trace = (A * B).sum((-2, -1))
    return torch.acos(((trace - 1) / 2).clamp(-1, 1))
