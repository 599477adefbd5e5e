"""How far each named joint may be off: the smoother's variances carried through the kinematic chain. Pure numpy.

A joint rotated by a small vector e moves a keypoint below it by e × r, where r leads from the joint to the keypoint. Rotation errors of
variance s² about all three axes move the keypoint by 2 s² |r|² mean square. The errors of different joints are taken as independent.
"""

import numpy as np
from jaxtyping import Float

from body4d.core.rig import Rig

MIN_ROTATION_SIGMA_DEG = 0.1
"""No measured joint rotation is more precise than this."""

CHUNK_FRAMES = 256
"""Frames at once: their lever arms are 256 x K x J x 3 numbers, 20 MB for Anny."""


def joint_sigma_m(
    rig: Rig,
    rotations: Float[np.ndarray, "t j 3"],
    translation_m: Float[np.ndarray, "t 3"],
    rotation_variance: Float[np.ndarray, "t j"],
    translation_variance: Float[np.ndarray, " t"],
) -> Float[np.ndarray, "t k"]:
    """Root mean square error in metres of the named joints of the given poses.

    ``rotation_variance`` is in rad² about each axis of a joint, ``translation_variance`` in m², the sum over axes.
    """
    shares = descendant_matrix(rig) @ rig.keypoint_weights.T  # (J, K): how much of a keypoint moves with a joint
    out = np.empty((len(rotations), rig.keypoint_weights.shape[0]))
    moving = np.flatnonzero(rotation_variance.any(0))
    for first in range(0, len(rotations), CHUNK_FRAMES):
        rows = slice(first, first + CHUNK_FRAMES)
        G, p = rig.forward(rotations[rows].astype(np.float64), translation_m[rows].astype(np.float64))
        keypoints = rig.keypoints(G, p)
        squared_lever = ((keypoints[:, None] - p[:, moving, None]) ** 2).sum(-1)
        out[rows] = 2 * np.einsum("tj,jk,tjk->tk", rotation_variance[rows][:, moving], shares[moving] ** 2, squared_lever)
    return np.sqrt(out + translation_variance[:, None])


def descendant_matrix(rig: Rig) -> Float[np.ndarray, "j j"]:
    """1 where the second joint is the first or hangs below it, 0 elsewhere."""
    below = np.eye(len(rig.parents))
    for j in range(len(rig.parents) - 1, 0, -1):
        below[rig.parents[j]] += below[j]
    return below
