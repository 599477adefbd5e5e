"""Euler angles for BVH: Z, then X, then Y, without jumps from frame to frame."""

import numpy as np

ORDER = "ZXY"
"""R = Rz Rx Ry. The middle angle, X, is the one that must stay off ±90°: for a y-up body that is pitch, so that turning on the spot
(Y) and a full swing of an arm to the side (Z) are free."""

_LOCK = 1e-6  # cos(x) below which Z and Y turn about the same axis


def matrix_to_zxy(matrices: np.ndarray) -> np.ndarray:
    """Angles (T, J, 3) in radians, in the order z, x, y, of rotations (T, J, 3, 3), each frame the nearest to the one before it.

    A rotation has two sets of angles, (z, x, y) and (z + π, π − x, y + π), each up to full turns; where cos x = 0 only z ± y is
    told, and z stays what it was.
    """
    m = np.asarray(matrices, np.float64)
    cos_x = np.hypot(m[..., 0, 1], m[..., 1, 1])
    x = np.arctan2(m[..., 2, 1], cos_x)
    z = np.arctan2(-m[..., 0, 1], m[..., 1, 1])
    y = np.arctan2(-m[..., 2, 0], m[..., 2, 2])
    locked = cos_x < _LOCK
    twist = np.arctan2(m[..., 1, 0], m[..., 0, 0])  # z + y where x = 90°, z − y where x = −90°
    out = np.empty((*m.shape[:-2], 3))
    before = np.zeros((*m.shape[1:-2], 3))
    for t in range(len(m)):
        z_t = np.where(locked[t], before[..., 0], z[t])
        y_t = np.where(locked[t], np.sign(x[t]) * (twist[t] - z_t), y[t])
        one = np.stack([z_t, x[t], y_t], -1)
        other = np.stack([z_t + np.pi, np.pi - x[t], y_t + np.pi], -1)
        one, other = (angles + 2 * np.pi * np.round((before - angles) / (2 * np.pi)) for angles in (one, other))
        if t == 0:
            other = one  # the first frame keeps |x| <= 90°
        nearer = np.abs(other - before).sum(-1) < np.abs(one - before).sum(-1)
        out[t] = before = np.where(nearer[..., None], other, one)
    return out
