"""The term on accelerations where the camera turns: it ties frames together in axes that stay. Pure numpy.

Keypoints and their derivatives are turned into reference axes, in which a person at rest does not move while the camera pans. How far a
keypoint may accelerate still differs along the ray and across it, so that a weight is a matrix there and no longer a number for each axis.
"""

import numpy as np

from body4d.geometry.rotations import matrix_to_rotvec
from body4d.models.anny_fit.kinematic_chain import KinematicChain
from body4d.models.anny_fit.residuals import FAST_MOTION_SIGMAS, NormalEquations, frame_blocks, robust_weights, second_difference_shares
from body4d.models.anny_fit.types import Observations


def steady_acceleration(
    system: NormalEquations,
    chain: KinematicChain,
    local: np.ndarray,
    x: np.ndarray,
    J: np.ndarray,
    G: np.ndarray,
    observations: Observations,
) -> None:
    """As ``residuals.acceleration``, for a camera that turns by ``observations.R_reference_camera`` and moves by ``camera_m``."""
    T, K, _, P = J.shape
    R = observations.R_reference_camera
    if T < 3 or R is None:
        return
    both = (observations.is_consecutive[:-1] & observations.is_consecutive[1:]).astype(float)
    place = x @ np.swapaxes(R, -1, -2)
    if observations.camera_m is not None:
        place = place + observations.camera_m[:, None]
    inverse_sigma = both[:, None, None] / observations.acceleration_sigma_m[1:-1]
    # Judged in the camera axes of the middle frame, where sigmas are known.
    residual = (place[:-2] - 2 * place[1:-1] + place[2:]) @ R[1:-1] * inverse_sigma
    weights = robust_weights(np.linalg.norm(residual, axis=-1), FAST_MOTION_SIGMAS)[..., None]
    turned = R[1:-1, None] * ((inverse_sigma * weights) ** 2)[:, :, None, :]
    w = turned @ np.swapaxes(R[1:-1], -1, -2)[:, None]
    wr = (residual * weights**2 * inverse_sigma) @ np.swapaxes(R[1:-1], -1, -2)
    own, pull, to_next = second_difference_shares(w, wr)
    rows = R[:, None] @ J
    for frames in frame_blocks(T):
        block = rows[frames]
        transposed = np.swapaxes(block.reshape(-1, 3 * K, P), -1, -2)
        system.H[frames] += transposed @ (own[frames] @ block).reshape(-1, 3 * K, P)
        system.g[frames] += (transposed @ pull[frames].reshape(-1, 3 * K, 1))[..., 0]
        for ahead, coupled, weight in ((1, system.H1, to_next), (2, system.H2, w)):
            last = min(frames.stop, T - ahead)
            some, later = slice(frames.start, last), slice(frames.start + ahead, last + ahead)
            weighted = (weight[some] @ rows[later]).reshape(-1, 3 * K, P)
            coupled[some] += transposed[: max(last - frames.start, 0)] @ weighted
    system.add_cost("acceleration", residual.reshape(-1, 3 * K), np.repeat(weights[..., 0], 3, axis=1))
    _steady_angular_acceleration(system, chain, local, G, R, both, observations.angular_acceleration_sigma_rad)


def _steady_angular_acceleration(
    system: NormalEquations, chain: KinematicChain, local: np.ndarray, G: np.ndarray, R: np.ndarray, both: np.ndarray, sigma_rad: np.ndarray
) -> None:
    """As ``residuals._angular_acceleration``, in reference axes: the root's own rotation is that against the world."""
    n, D = len(both), G.shape[1]
    inverse_sigma = both / sigma_rad[1:-1]
    steady = local.copy()
    steady[:, 0] = R @ local[:, 0]
    in_parent = matrix_to_rotvec(steady[1:] @ np.swapaxes(steady[:-1], -1, -2))
    parents = R[:, None] @ chain.parent_rotations(G)
    parents[:, 0] = np.eye(3)
    step = np.einsum("tdab,tdb->tda", parents[:-1], in_parent)
    r = (step[1:] - step[:-1]) * inverse_sigma[:, None, None]
    weights = robust_weights(np.linalg.norm(r, axis=-1), 4 * FAST_MOTION_SIGMAS)
    w2 = inverse_sigma[:, None] ** 2 * weights**2
    pull = r * (weights**2 * inverse_sigma[:, None])[..., None]
    index = 3 + np.arange(3 * D)
    # A frame's unknown rotations are in its camera axes. Weights are alike along all axes, so that they turn with a frame only where two
    # frames are coupled.
    next_turn, second_turn = np.swapaxes(R[:-1], -1, -2) @ R[1:], np.swapaxes(R[:-2], -1, -2) @ R[2:]
    for first, factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
        system.H[first : first + n, index, index] += factor**2 * np.repeat(w2, 3, axis=1)
        system.g[first : first + n, 3:] += factor * (pull @ R[first : first + n]).reshape(n, -1)
    for coupled, turn, factor in (
        (system.H1[:-1], next_turn[:-1], -2.0),
        (system.H1[1:], next_turn[1:], -2.0),
        (system.H2, second_turn, 1.0),
    ):
        for d in range(D):
            joint = slice(3 + 3 * d, 6 + 3 * d)
            coupled[:, joint, joint] += factor * w2[:, d, None, None] * turn
    system.add_cost("angular acceleration", r.reshape(n, -1), np.repeat(weights, 3, axis=1))
