"""Rotations in torch: batched, differentiable, on any device. Angles in radians, quaternions in the order x, y, z, w.

This module serves MHR and the network that predicts its parameters; both need gradients or a GPU, which the numpy functions of
``body4d.geometry.rotations`` do not offer. Quaternions pose the joints without matrix products, which a GPU could run in a lower
precision; the Euler angles are those of MHR's parameters.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from body4d.runtime.torch_utils import float32_matmul

GIMBAL_LOCK_COS = 1e-6
"""Where the cosine of the middle Euler angle is smaller, the outer two turn about the same axis."""


def euler_xyz_to_quat(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Quaternions of Rz Ry Rx, for angles about x, y and z."""
    half = angles * 0.5
    (cx, cy, cz), (sx, sy, sz) = half.cos().unbind(-1), half.sin().unbind(-1)
    return torch.stack(
        [
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
            cx * cy * cz + sx * sy * sz,
        ],
        -1,
    )


def quat_multiply(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*batch 4"]:
    """The rotation ``b`` followed by the rotation ``a``."""
    va, wa, vb, wb = a[..., :3], a[..., 3:], b[..., :3], b[..., 3:]
    vector = wa * vb + wb * va + torch.linalg.cross(va, vb)
    return torch.cat([vector, wa * wb - (va * vb).sum(-1, keepdim=True)], -1)


def quat_rotate(quat: Float[Tensor, "*#batch 4"], points: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "*batch 3"]:
    """``points`` rotated by unit quaternions."""
    vector, real = quat[..., :3], quat[..., 3:]
    twice_cross = 2 * torch.linalg.cross(vector, points)
    return points + real * twice_cross + torch.linalg.cross(vector, twice_cross)


def quat_to_matrix(quat: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of unit quaternions."""
    x, y, z, w = quat.unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def rot6d_to_matrix(rot6d: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices whose first two columns are the six numbers made orthonormal (Zhou et al. 2019)."""
    a, b = rot6d[..., :3], rot6d[..., 3:]
    x = F.normalize(a, dim=-1)
    y = F.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def rot6d_to_euler_xyz(rot6d: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3"]:
    """Angles about x, y and z, with R = Rz Ry Rx, of six numbers: the first column, and a second vector in the first two columns' plane."""
    x = F.normalize(rot6d[..., :3], dim=-1)
    z = F.normalize(torch.linalg.cross(x, rot6d[..., 3:]), dim=-1)
    y = torch.linalg.cross(z, x)
    return matrix_to_euler_xyz(torch.stack([x, y, z], -1))


def matrix_to_euler_xyz(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Angles about x, y and z, with R = Rz Ry Rx; in gimbal lock (y at a right angle) z is set to 0."""
    cos_y = torch.hypot(R[..., 0, 0], R[..., 1, 0])
    locked = cos_y < GIMBAL_LOCK_COS
    x = torch.where(locked, torch.atan2(-R[..., 1, 2], R[..., 1, 1]), torch.atan2(R[..., 2, 1], R[..., 2, 2]))
    z = torch.where(locked, torch.zeros_like(cos_y), torch.atan2(R[..., 1, 0], R[..., 0, 0]))
    return torch.stack([x, torch.atan2(-R[..., 2, 0], cos_y), z], -1)


def euler_xyz_to_matrix(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """R = Rz Ry Rx of angles in the order x, y, z."""
    x, y, z = angles.unbind(-1)
    return float32_matmul(float32_matmul(axis_rotation(2, z), axis_rotation(1, y)), axis_rotation(0, x))


def euler_xzy_to_matrix(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """R = Rx Rz Ry of angles in the order x, z, y."""
    x, z, y = angles.unbind(-1)
    return float32_matmul(float32_matmul(axis_rotation(0, x), axis_rotation(2, z)), axis_rotation(1, y))


def matrix_to_euler_xzy(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Angles in the order x, z, y with R = Rx Rz Ry."""
    z = torch.atan2(-R[..., 0, 1], torch.hypot(R[..., 0, 0], R[..., 0, 2]))
    return torch.stack([torch.atan2(R[..., 2, 1], R[..., 1, 1]), z, torch.atan2(R[..., 0, 2], R[..., 0, 0])], -1)


def axis_rotation(axis: int, angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations by ``angle`` about the axis x (0), y (1) or z (2)."""
    c, s = torch.cos(angle), torch.sin(angle)
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    entries = {
        0: [one, zero, zero, zero, c, -s, zero, s, c],
        1: [c, zero, s, zero, one, zero, -s, zero, c],
        2: [c, -s, zero, s, c, zero, zero, zero, one],
    }[axis]
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def angle_between(A: Float[Tensor, "*batch 3 3"], B: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angles in [0, pi] between rotations."""
    trace = (A * B).sum((-2, -1))
    return torch.acos(((trace - 1) / 2).clamp(-1, 1))
