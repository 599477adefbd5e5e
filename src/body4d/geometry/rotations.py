"""Rotations as matrices, rotation vectors and unit quaternions (w, x, y, z). Pure numpy, any leading shape."""

import numpy as np


def skew(v: np.ndarray) -> np.ndarray:
    """Cross-product matrices (..., 3, 3) of vectors (..., 3)."""
    zero = np.zeros_like(v[..., 0])
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    rows = [np.stack(r, -1) for r in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, -2)


def rotvec_to_matrix(rotvec: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3) in radians (Rodrigues)."""
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1 - angle**2 / 6, np.sin(safe) / safe)
    b = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    K = skew(rotvec)
    return np.eye(3, dtype=rotvec.dtype) + (a * K + b * (K @ K)).astype(rotvec.dtype)


def matrix_to_quat(matrix: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4), w first and w >= 0, of rotation matrices (..., 3, 3)."""
    m = np.asarray(matrix)
    diagonal = np.stack([m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], -1)
    trace = diagonal.sum(-1)
    # Each column below is the quaternion times 4 of one of its own components; the largest component is the stable choice.
    w = np.stack(
        [1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]],
        -1,
    )
    options = [w]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.empty((*m.shape[:-2], 4), m.dtype)
        q[..., 0] = m[..., k, j] - m[..., j, k]
        q[..., 1 + i] = 1 + m[..., i, i] - m[..., j, j] - m[..., k, k]
        q[..., 1 + j] = m[..., j, i] + m[..., i, j]
        q[..., 1 + k] = m[..., k, i] + m[..., i, k]
        options.append(q)
    stacked = np.stack(options, -2)
    best = np.argmax(np.concatenate([trace[..., None], diagonal], -1), -1)
    quat = np.take_along_axis(stacked, best[..., None, None], -2)[..., 0, :]
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    return np.where(quat[..., :1] < 0, -quat, quat)


def quat_to_rotvec(quat: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), angle in [0, pi], of unit quaternions (..., 4)."""
    quat = np.where(quat[..., :1] < 0, -quat, quat)
    sine = np.linalg.norm(quat[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quat[..., :1])
    scale = np.where(sine < 1e-8, 2.0, angle / np.where(sine < 1e-8, 1.0, sine))
    return quat[..., 1:] * scale


def matrix_to_rotvec(matrix: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), angle in [0, pi], of rotation matrices (..., 3, 3)."""
    return quat_to_rotvec(matrix_to_quat(matrix))


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Smallest rotation (..., 3, 3) that turns direction ``a`` (..., 3) into direction ``b`` (..., 3).

    For opposite directions it is a half turn about some axis at right angles to both.
    """
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    cosine = np.sum(a * b, axis=-1, keepdims=True)
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    least = np.argmin(np.abs(a), axis=-1)
    perpendicular = np.cross(a, np.eye(3)[least])
    perpendicular /= np.linalg.norm(perpendicular, axis=-1, keepdims=True)
    unit = np.where(sine > 1e-9, axis / np.where(sine > 1e-9, sine, 1.0), perpendicular)
    return rotvec_to_matrix(unit * np.arctan2(sine, cosine))


def geodesic_angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle in radians (...,) between rotation matrices ``a`` and ``b`` (..., 3, 3)."""
    return np.linalg.norm(matrix_to_rotvec(np.swapaxes(a, -1, -2) @ b), axis=-1)
