"""Quaternions x y z w of MHR's joints, in torch: batched, differentiable, without matrix products."""

import torch
from torch import Tensor


def euler_to_quat(angles: Tensor) -> Tensor:
    """Quaternions (..., 4) x y z w of Rz(c) Ry(b) Rx(a) for angles (..., 3) = a, b, c in radians."""
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


def quat_product(a: Tensor, b: Tensor) -> Tensor:
    """Quaternions (..., 4) x y z w: first ``b``, then ``a``."""
    va, wa, vb, wb = a[..., :3], a[..., 3:], b[..., :3], b[..., 3:]
    vector = wa * vb + wb * va + torch.linalg.cross(va, vb)
    return torch.cat([vector, wa * wb - (va * vb).sum(-1, keepdim=True)], -1)


def quat_turn(quat: Tensor, points: Tensor) -> Tensor:
    """``points`` (..., 3) turned by unit quaternions (..., 4) x y z w."""
    vector, real = quat[..., :3], quat[..., 3:]
    across = 2 * torch.linalg.cross(vector, points)
    return points + real * across + torch.linalg.cross(vector, across)


def quat_to_matrix(quat: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4) x y z w."""
    x, y, z, w = quat.unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
        torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
        torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)
