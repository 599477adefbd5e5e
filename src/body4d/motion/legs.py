"""Legs by where their feet are, on any rig: which joints are hip, knee and ankle, and how to bring an ankle to a place. Pure numpy.

Two bones in closed form: the knee's angle follows from the law of cosines, the rest is the smallest turn at the hip. Twist joints between
them keep their own turns, so each bone is taken as it is posed.
"""

from dataclasses import dataclass

import numpy as np

from body4d.core.joints import joint_names
from body4d.core.rig import Rig
from body4d.geometry.rotations import rotation_between, rotvec_to_matrix

_FULLEST = 0.999  # share of its length a leg reaches: a straighter one has no plane to bend in


@dataclass(frozen=True)
class LegJoints:
    """Joints of one leg, by index in the rig: they turn the thigh, the shank and the foot."""

    hip: int
    knee: int
    ankle: int


def find_leg(rig: Rig, side: str) -> LegJoints | None:
    """The leg of ``side`` ("left", "right"): those joints above the big toe that lie nearest to the keypoints of hip, knee and ankle.

    None where the joint set has no such keypoints, or the rig no three joints in this order.
    """
    names = joint_names(rig.joint_set)
    if any(f"{side}_{part}" not in names for part in ("hip", "knee", "ankle", "big_toe")):
        return None
    at = {part: names.index(f"{side}_{part}") for part in ("hip", "knee", "ankle", "big_toe")}
    anchors = rig.keypoint_anchors_m.sum(1)
    chain = [int(np.argmax(np.nan_to_num(rig.keypoint_weights[at["big_toe"]])))]
    while rig.parents[chain[0]] >= 0:
        chain.insert(0, int(rig.parents[chain[0]]))
    apart = np.linalg.norm(rig.rest_joints_m[chain][:, None] - anchors[[at["hip"], at["knee"], at["ankle"]]], axis=-1)
    hip, knee, ankle = (int(i) for i in apart.argmin(0))
    if not (0 < hip < knee < ankle) or not np.isfinite(apart).all():
        return None
    return LegJoints(chain[hip], chain[knee], chain[ankle])


def solve_two_bone_ik(
    rig: Rig, leg: LegJoints, local: np.ndarray, G: np.ndarray, p: np.ndarray, ankle_m: np.ndarray, foot_turn: np.ndarray
) -> None:
    """Turn ``leg`` in ``local`` (T, J, 3, 3) so that its ankle comes to ``ankle_m`` (T, 3) and its foot is turned by ``foot_turn``
    (T, 3, 3), both in the axes of ``G`` (T, J, 3, 3) and ``p`` (T, J, 3), the pose so far. What is out of reach is approached."""
    hip, knee, ankle = p[:, leg.hip], p[:, leg.knee], p[:, leg.ankle]
    first, second = np.linalg.norm(knee - hip, axis=-1), np.linalg.norm(ankle - knee, axis=-1)
    now, wanted = np.linalg.norm(ankle - hip, axis=-1), np.linalg.norm(ankle_m - hip, axis=-1)
    # Neither straighter than a leg can be nor, where it already is that straight, bent by asking.
    wanted = np.clip(wanted, np.abs(first - second) * 1.001, np.maximum((first + second) * _FULLEST, now))
    bend = _knee_angle(first, second, wanted) - _knee_angle(first, second, now)
    at_knee = rotvec_to_matrix(_hinge(G[:, leg.hip], hip, knee, ankle) * bend[:, None])
    bent = knee + np.einsum("tab,tb->ta", at_knee, ankle - knee)
    at_hip = rotation_between(bent - hip, ankle_m - hip)
    below = G[:, rig.parents[leg.ankle]]
    local[:, leg.hip] = np.swapaxes(G[:, rig.parents[leg.hip]], 1, 2) @ at_hip @ G[:, leg.hip]
    local[:, leg.knee] = np.swapaxes(G[:, rig.parents[leg.knee]], 1, 2) @ at_knee @ G[:, leg.knee]
    local[:, leg.ankle] = np.swapaxes(at_hip @ at_knee @ below, 1, 2) @ foot_turn @ G[:, leg.ankle]


def _knee_angle(first: np.ndarray, second: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Angle (T,) between the directions of thigh and shank, 0 of a straight leg."""
    cosine = (apart**2 - first**2 - second**2) / (2 * first * second)
    return np.arccos(np.clip(cosine, -1, 1))


def _hinge(G_hip: np.ndarray, hip: np.ndarray, knee: np.ndarray, ankle: np.ndarray) -> np.ndarray:
    """Unit axes (T, 3) about which a turn of the shank by a positive angle bends the leg further."""
    thigh, shank = knee - hip, ankle - knee
    axis = np.cross(thigh, shank)
    size = np.linalg.norm(axis, axis=-1, keepdims=True)
    # A straight leg bends about the thigh's own x: heels go backwards, and rest axes look along -z.
    own = np.cross(thigh, G_hip[:, :, 2])
    own = own / np.maximum(np.linalg.norm(own, axis=-1, keepdims=True), 1e-9)
    scale = np.linalg.norm(thigh, axis=-1, keepdims=True) * np.linalg.norm(shank, axis=-1, keepdims=True)
    return np.where(size > 1e-3 * scale, axis / np.maximum(size, 1e-12), own)
