"""Fingers, of which the pictures tell nothing here: relaxed, or closed around what the hands hold."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from body4d.core.rig import Rig

_RELAXED_DEG = (14.0, 22.0, 14.0)
_GRIP_DEG = (62.0, 72.0, 38.0)
"""Flexion of a finger's three joints: resting (Norkin & White) and around a handle some 3 cm thick."""

_THUMB_SHARE = 0.35
_EASE_FRAMES = 4.0
"""Hands close and open over this many frames (standard deviation)."""


def curled_hands(rig: Rig, rotations: np.ndarray, held: np.ndarray) -> np.ndarray:
    """``rotations`` (T, J, 3) with the fingers bent: relaxed where ``held`` (T,) is 0, gripping where it is 1."""
    out = rotations.copy()
    grip = gaussian_filter1d(held.astype(np.float64), _EASE_FRAMES, mode="nearest")[:, None]
    at = {name: j for j, name in enumerate(rig.joint_names)}
    for side in "LR":
        heads = rig.rest_joints_m
        wrist, index, pinky = (heads[at[f"{bone}.{side}"]] for bone in ("wrist", "finger2-1", "finger5-1"))
        normal = np.cross(index - wrist, pinky - wrist)
        # Index, then little finger about the wrist: this turns one way on the left hand and the other way on the right.
        palm = (normal if side == "R" else -normal) / np.linalg.norm(normal)
        for finger in range(1, 6):
            share = _THUMB_SHARE if finger == 1 else 1.0
            for segment in range(3):
                j = at[f"finger{finger}-{segment + 1}.{side}"]
                end = heads[at[f"finger{finger}-{min(segment + 2, 3)}.{side}"]]
                start = heads[at[f"finger{finger}-{min(segment + 1, 2)}.{side}"]]
                axis = np.cross(end - start, palm)
                axis /= np.linalg.norm(axis)
                angle = np.radians(_RELAXED_DEG[segment] + grip * (_GRIP_DEG[segment] - _RELAXED_DEG[segment])) * share
                out[:, j] = angle * axis
    return out
