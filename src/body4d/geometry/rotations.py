"""Rotations as matrices, rotation vectors and unit quaternions (w, x, y, z), in numpy, for tracks, motion and exporters.

What MHR and its network compute with gradients or on a GPU is in ``body4d.bodies.mhr.rotations``.
"""

import numpy as np
from jaxtyping import Float


def skew(v: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3 3"]:
    """Cross-product matrices of vectors: skew(a) @ b = a × b."""
    zero = np.zeros_like(v[..., 0])
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    rows = [np.stack(r, -1) for r in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, -2)


def rotvec_to_matrix(rotvec: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3 3"]:
    """Rotation matrices of rotation vectors in radians (Rodrigues' formula), of the same float type."""
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1 - angle**2 / 6, np.sin(safe) / safe)
    b = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    K = skew(rotvec)
    return np.eye(3, dtype=rotvec.dtype) + (a * K + b * (K @ K)).astype(rotvec.dtype)


def matrix_to_quat(matrix: Float[np.ndarray, "*b 3 3"]) -> Float[np.ndarray, "*b 4"]:
    """Unit quaternions, w first and w >= 0, of rotation matrices."""
    m = np.asarray(matrix)
    diagonal = np.stack([m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], -1)
    trace = diagonal.sum(-1)
    # Each candidate below is the quaternion times 4 of one of its own components. That of the largest component is the most accurate.
    w = np.stack(
        [1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]],
        -1,
    )
    candidates = [w]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.empty((*m.shape[:-2], 4), m.dtype)
        q[..., 0] = m[..., k, j] - m[..., j, k]
        q[..., 1 + i] = 1 + m[..., i, i] - m[..., j, j] - m[..., k, k]
        q[..., 1 + j] = m[..., j, i] + m[..., i, j]
        q[..., 1 + k] = m[..., k, i] + m[..., i, k]
        candidates.append(q)
    stacked = np.stack(candidates, -2)
    best = np.argmax(np.concatenate([trace[..., None], diagonal], -1), -1)
    quat = np.take_along_axis(stacked, best[..., None, None], -2)[..., 0, :]
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    return np.where(quat[..., :1] < 0, -quat, quat)


def quat_to_rotvec(quat: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*b 3"]:
    """Rotation vectors, of angles in [0, pi], of unit quaternions."""
    quat = np.where(quat[..., :1] < 0, -quat, quat)
    sine = np.linalg.norm(quat[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quat[..., :1])
    scale = np.where(sine < 1e-8, 2.0, angle / np.where(sine < 1e-8, 1.0, sine))
    return quat[..., 1:] * scale


def matrix_to_rotvec(matrix: Float[np.ndarray, "*b 3 3"]) -> Float[np.ndarray, "*b 3"]:
    """Rotation vectors, of angles in [0, pi], of rotation matrices."""
    return quat_to_rotvec(matrix_to_quat(matrix))


def interpolated_rotations(
    a: Float[np.ndarray, "n *b 3 3"], b: Float[np.ndarray, "n *b 3 3"], share: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n *b 3 3"]:
    """Rotations at ``share`` of the shortest arc from ``a`` to ``b``. Where the share is 0 they keep ``a``'s bits."""
    along = share.reshape(-1, *[1] * (a.ndim - 2))
    turned = a @ rotvec_to_matrix(along * matrix_to_rotvec(np.swapaxes(a, -1, -2) @ b))
    return np.where((along == 0)[..., None], a, turned)


def rotation_between(a: Float[np.ndarray, "*#b 3"], b: Float[np.ndarray, "*#b 3"]) -> Float[np.ndarray, "*c 3 3"]:
    """The smallest rotation that turns direction ``a`` into direction ``b``.

    For opposite directions it is a half turn about some axis perpendicular to both.
    """
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    cosine = np.sum(a * b, axis=-1, keepdims=True)
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    smallest = np.argmin(np.abs(a), axis=-1)
    perpendicular = np.cross(a, np.eye(3)[smallest])
    perpendicular /= np.linalg.norm(perpendicular, axis=-1, keepdims=True)
    unit = np.where(sine > 1e-9, axis / np.where(sine > 1e-9, sine, 1.0), perpendicular)
    return rotvec_to_matrix(unit * np.arctan2(sine, cosine))


def geodesic_angle(a: Float[np.ndarray, "*#b 3 3"], b: Float[np.ndarray, "*#b 3 3"]) -> Float[np.ndarray, "*c"]:
    """Angle in radians between rotation matrices."""
    return np.asarray(np.linalg.norm(matrix_to_rotvec(np.swapaxes(a, -1, -2) @ b), axis=-1))
