"""How far each named joint may be off: the smoother's variances carried through the kinematic chain, and what is alike in all frames and
therefore invisible to any smoother. Pure numpy.

A joint rotated by a small vector e moves a keypoint below it by e × r, where r leads from the joint to the keypoint. Rotation errors of
variance s² about all three axes move the keypoint by 2 s² |r|² mean square. The errors of different joints are taken as independent.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from body4d.core.rig import Rig
from body4d.core.types import BodyTrack

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


SYSTEMATIC_SIGMA_PER_HEIGHT = {
    "hip": 0.011,
    "shoulder": 0.033,
    "elbow": 0.049,
    "wrist": 0.066,
    "knee": 0.041,
    "ankle": 0.066,
    "heel": 0.072,
    "toe": 0.075,
    "nose": 0.036,
    "eye": 0.036,
    "ear": 0.036,
    "thumb": 0.072,
    "index": 0.072,
    "pinky": 0.072,
}
"""Root mean square distance, from the middle of the hips and as a share of body height, by which preset lite misses a joint: measured on
two real people from three views (docs/verified.md). Depth is most of it."""

HEIGHT_SIGMA_SHARE = 0.055
"""Standard deviation of the heights of adults of unknown sex, as a share of their mean: 9 cm of 1.70 m."""


def with_systematic_error(track: BodyTrack, height_m: float) -> BodyTrack:
    """The track with ``joint_sigma_m`` that holds what is alike in all frames as well, where it is known: in preset lite.

    What the networks of preset sam miss alike in all frames is not known; there it stays a lower bound.
    """
    if track.body != "anny" or track.joint_sigma_m is None:
        return track
    systematic = systematic_sigma_m(track.joint_names, track.joints_m, track.visibility, height_m, bool(track.height_assumed))
    return replace(track, joint_sigma_m=np.hypot(track.joint_sigma_m, systematic).astype(track.joint_sigma_m.dtype))


def systematic_sigma_m(
    joint_names: Sequence[str],
    joints_m: Float[np.ndarray, "t k 3"],
    visibility: Float[np.ndarray, "t k"],
    height_m: float,
    height_assumed: bool,
) -> Float[np.ndarray, "t k"]:
    """What preset lite's joints are off by, alike over many frames: more for the ends of limbs, for what is hidden, and where the height of
    the person, and so the scale of everything, is assumed."""
    share = np.array([next((v for part, v in SYSTEMATIC_SIGMA_PER_HEIGHT.items() if part in name), 0.05) for name in joint_names])
    hips = [joint_names.index(f"{side}_hip") for side in ("left", "right")]
    reach = np.linalg.norm(joints_m - joints_m[:, hips].mean(1, keepdims=True), axis=-1)
    hidden = share * height_m * (2 - np.clip(visibility, 0, 1))
    return np.hypot(hidden, HEIGHT_SIGMA_SHARE * reach if height_assumed else 0.0)


def descendant_matrix(rig: Rig) -> Float[np.ndarray, "j j"]:
    """1 where the second joint is the first or hangs below it, 0 elsewhere."""
    below = np.eye(len(rig.parents))
    for j in range(len(rig.parents) - 1, 0, -1):
        below[rig.parents[j]] += below[j]
    return below
