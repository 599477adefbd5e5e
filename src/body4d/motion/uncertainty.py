"""How far each named joint may be off: the smoother's covariances carried through the chain. Pure numpy.

A turn of a joint by a small vector e moves a keypoint that hangs from it by e × r, r being the way from the joint to the keypoint;
errors of turns with the same variance s² about all three axes move it by 2 s² |r|² mean square. Joints err independently here.
"""

import numpy as np

from body4d.core.rig import Rig

_CHUNK = 256  # frames at once: their levers are 256 x K x J x 3 numbers, 20 MB for Anny


def joint_sigma_m(
    rig: Rig, rotations: np.ndarray, translation_m: np.ndarray, turn_variance: np.ndarray, place_variance: np.ndarray
) -> np.ndarray:
    """Root mean square error (T, K) in metres of the named joints of poses ``rotations`` (T, J, 3), ``translation_m`` (T, 3).

    ``turn_variance`` (T, J) in rad² about each axis of a joint, ``place_variance`` (T,) in m², the sum over axes.
    """
    shares = descendant_matrix(rig) @ rig.keypoint_weights.T  # (J, K): how much of a keypoint hangs from a joint
    out = np.empty((len(rotations), rig.keypoint_weights.shape[0]))
    moving = np.flatnonzero(turn_variance.any(0))
    for first in range(0, len(rotations), _CHUNK):
        rows = slice(first, first + _CHUNK)
        G, p = rig.forward(rotations[rows].astype(np.float64), translation_m[rows].astype(np.float64))
        keypoints = rig.keypoints(G, p)
        lever2 = ((keypoints[:, None] - p[:, moving, None]) ** 2).sum(-1)
        out[rows] = 2 * np.einsum("tj,jk,tjk->tk", turn_variance[rows][:, moving], shares[moving] ** 2, lever2)
    return np.sqrt(out + place_variance[:, None])


def descendant_matrix(rig: Rig) -> np.ndarray:
    """Matrix (J, J): 1 where the second joint is the first or hangs from it."""
    below = np.eye(len(rig.parents))
    for j in range(len(rig.parents) - 1, 0, -1):
        below[rig.parents[j]] += below[j]
    return below


def uncertainty_share(sigma_m: np.ndarray, sure_m: float, unsure_m: float) -> np.ndarray:
    """Uncertainties (...) in metres as shares from 0 (at most ``sure_m``) to 1 (at least ``unsure_m``), by their logarithm: for colours."""
    scaled = np.log(np.maximum(sigma_m, 1e-9) / sure_m) / np.log(unsure_m / sure_m)
    return np.clip(scaled, 0.0, 1.0)
