"""How sure each part of a body is, as its colour: the smoother's own account at the joints, carried to the skin. Pure numpy."""

import numpy as np
from scipy.spatial import KDTree

from body4d.config import PictureSettings
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack
from body4d.motion.uncertainty import uncertainty_share
from body4d.render.style import Rgb

UNCERTAIN_COLOUR: Rgb = (224, 0, 96)
"""Magenta: no person's own colour, and neither skin, grass nor cloth."""

_NEAREST = 3  # joints that a point of the skin takes its colour from, so that the colour goes over from one to the next


def vertex_uncertainty(rig: Rig, track: BodyTrack, rows: slice, settings: PictureSettings) -> np.ndarray | None:
    """How unsure each vertex is, (T, V) float32 from 0 to 1, in ``rows``; None where it is not asked for or the track does not tell."""
    if not settings.show_uncertainty or track.joint_sigma_m is None:
        return None
    sigma_m = np.nan_to_num(track.joint_sigma_m[rows], nan=np.inf)
    joints = uncertainty_share(sigma_m, settings.sure_m, settings.unsure_m).astype(np.float32)
    nearest, weights = nearest_joints(rig)
    return np.clip(np.einsum("tvk,vk->tv", joints[:, nearest], weights), 0, 1)


def nearest_joints(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """The named joints nearest to each vertex in the rest pose (V, 3), and their shares (V, 3) by the inverse square of distance."""
    joints = rig.keypoint_anchors_m.sum(1)
    # Every joint set has more joints than that.
    apart, nearest = KDTree(joints).query(rig.rest_vertices_m, k=_NEAREST)
    weights = 1 / np.maximum(apart, 1e-3) ** 2
    return np.asarray(nearest), (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def tint_by_uncertainty(colour: Rgb, doubts: np.ndarray | None) -> np.ndarray:
    """sRGB in [0, 1] of a body of ``colour``: (3,), or (V, 3) going over to :data:`UNCERTAIN_COLOUR` by ``doubts`` (V,)."""
    own = np.array(colour) / 255
    return own if doubts is None else own + doubts[:, None] * (np.array(UNCERTAIN_COLOUR) / 255 - own)
