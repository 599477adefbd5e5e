"""Pose a rig by where its hands and feet are: two-bone inverse kinematics in closed form, and fingers that close. Pure numpy.

A ``LimbPoser`` takes rotations in stage axes (x to the person's left at rest, y down, z towards the person's back, floor at y = 0),
from the pelvis outwards, and gives local rotations. All arrays have one row per moment.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from body4d.core.rig import Rig
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix

SIDES = (("L", 1.0), ("R", -1.0))
"""Letter of a side in the rig's joint names, and the sign of its x at rest."""

MAX_REACH_SHARE = 0.998
"""Share of its length that a limb reaches at most: a straighter one has no plane to bend in, and people do not lock their joints."""

REACH_MARGIN_M = 0.004
"""Bodies differ in proportion. A motion is moved by this much more than its targets are out of reach."""

MAX_REACH_TRIES = 12


def fit_to_reach(overreach_m: Callable[[float, float], dict[str, float]]) -> tuple[float, float]:
    """How far to lower the body and to draw in the hands, in metres, so that no target is out of reach.

    ``overreach_m(lower_m, draw_in_m)`` gives by how much feet and hands fall short. Raises ValueError where no such shift is found.
    """
    lower, draw_in, short = 0.0, 0.0, {}
    for _ in range(MAX_REACH_TRIES):
        short = overreach_m(lower, draw_in)
        if max(short.values()) <= 0.0:
            return lower, draw_in
        lower += short["foot"] + (REACH_MARGIN_M if short["foot"] > 0 else 0.0)
        draw_in += short["wrist"] + (REACH_MARGIN_M if short["wrist"] > 0 else 0.0)
    raise ValueError(f"this motion is out of the body's reach by {max(short.values()):.3f} m; choose a body of usual proportions")


def unit(v: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """``v`` scaled to length 1."""
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def axis_rotation(axis: int, angle_rad: Float[np.ndarray, "*b"] | float) -> Float[np.ndarray, "*b 3 3"]:
    """Rotations by ``angle_rad`` about coordinate axis 0, 1 or 2."""
    return rotvec_to_matrix(np.eye(3)[axis] * np.asarray(angle_rad, float)[..., None])


def orthonormal_frame(along: Float[np.ndarray, "*#b 3"], normal: Float[np.ndarray, "*#b 3"]) -> Float[np.ndarray, "*c 3 3"]:
    """Rotations whose columns are ``along``, the part of ``normal`` perpendicular to it, and their cross product."""
    x = unit(along)
    y = unit(normal - np.sum(normal * x, -1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


class LimbPoser:
    """Local rotations of ``rig`` over time, set joint by joint, parents before children; ``root_m`` are the root's positions."""

    def __init__(self, rig: Rig, root_m: Float[np.ndarray, "t 3"]) -> None:
        self.rig = rig
        self.root_m = root_m
        self.local = np.broadcast_to(np.eye(3), (len(root_m), len(rig.parents), 3, 3)).copy()
        self._index = {name: j for j, name in enumerate(rig.joint_names)}
        self._posed: tuple[np.ndarray, np.ndarray] | None = None
        self.overreach_m = {"foot": 0.0, "wrist": 0.0}

    def at_rest(self, name: str) -> np.ndarray:
        """Rest position (3,) of a joint."""
        return self.rig.rest_joints_m[self._index[name]]

    def set_local(self, name: str, rotation: np.ndarray) -> None:
        """Set the rotation (T, 3, 3) of a joint relative to its parent."""
        self.local[:, self._index[name]] = rotation
        self._posed = None

    def set_global(self, name: str, rotation: np.ndarray) -> None:
        """Set the rotation (T, 3, 3) of a joint in stage axes; its ancestors must be set already."""
        self.set_local(name, np.swapaxes(self.parent_global(name), -1, -2) @ rotation)

    def forward(self) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (T, J, 3, 3) and positions (T, J, 3) as set so far."""
        if self._posed is None:
            self._posed = self.rig.forward(self.local, self.root_m)
        return self._posed

    def position(self, name: str) -> np.ndarray:
        """Position (T, 3) of a joint as set so far."""
        return self.forward()[1][:, self._index[name]]

    def rotation(self, name: str) -> np.ndarray:
        """Rotation (T, 3, 3) of a joint in stage axes as set so far."""
        return self.forward()[0][:, self._index[name]]

    def parent_global(self, name: str) -> np.ndarray:
        """Rotation (T, 3, 3) of a joint's parent; the identity for the root."""
        parent = self.rig.parents[self._index[name]]
        return self.forward()[0][:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (len(self.root_m), 3, 3))

    def distribute(self, names: tuple[str, ...], turn: np.ndarray) -> None:
        """Distribute a turn (T, 3, 3) of the last of ``names`` relative to the parent of the first evenly among them."""
        part = rotvec_to_matrix(matrix_to_rotvec(turn) / len(names))
        for name in names:
            self.set_local(name, part)

    def solve_limb(self, upper: str, lower: str, end: str, target_m: np.ndarray, pole: np.ndarray) -> None:
        """Bring joint ``end`` to ``target_m`` (T, 3), with the middle joint out towards ``pole`` (T, 3).

        A target out of reach is approached as far as the limb goes; ``overreach_m`` keeps the largest shortfall of feet and of hands.
        """
        a, b, c = self.at_rest(upper), self.at_rest(lower), self.at_rest(end)
        first, second = np.linalg.norm(b - a), np.linalg.norm(c - b)
        start = self.position(upper)
        reach = target_m - start
        target_distance = np.linalg.norm(reach, axis=-1)
        distance = np.clip(target_distance, abs(first - second) * 1.01, (first + second) * MAX_REACH_SHARE)
        kind = end.split(".")[0]
        self.overreach_m[kind] = max(self.overreach_m[kind], float(np.max(target_distance - distance)))
        along = unit(reach)
        out = unit(pole - np.sum(pole * along, -1, keepdims=True) * along)
        # Law of cosines: the angle at ``upper`` between the reach and the first bone.
        cosine = (first**2 + distance**2 - second**2) / (2 * first * distance)
        sine = np.sqrt(1 - cosine**2)
        middle = start + first * (cosine[:, None] * along + sine[:, None] * out)
        tip = start + distance[:, None] * along
        hinge, rest_hinge = np.cross(middle - start, tip - middle), np.cross(b - a, c - b)
        self.set_global(upper, orthonormal_frame(middle - start, hinge) @ orthonormal_frame(b - a, rest_hinge).T)
        self.set_global(lower, orthonormal_frame(tip - middle, hinge) @ orthonormal_frame(c - b, rest_hinge).T)

    def set_hand(self, side: str, rotation: np.ndarray, roll_share: float = 0.8) -> None:
        """Set the hand's ``rotation`` (T, 3, 3) in stage axes; the forearm's own roll takes ``roll_share`` of the twist."""
        fore = unit(self.at_rest(f"wrist.{side}") - self.at_rest(f"lowerarm01.{side}"))
        turn = np.swapaxes(self.rotation(f"lowerarm01.{side}"), -1, -2) @ rotation
        self.set_local(f"lowerarm02.{side}", rotvec_to_matrix(roll_share * twist_angle(turn, fore)[:, None] * fore))
        self.set_global(f"wrist.{side}", rotation)

    def close_hand(self, side: str, angle_rad: float) -> None:
        """Bend every finger joint by ``angle_rad`` towards the palm, the thumb by a third of it."""
        along, palm = hand_axes(self.rig, side)
        for finger in range(1, 6):
            first = 2 if finger == 1 else 1
            for joint in range(first, 4):
                angle = angle_rad / 3 if finger == 1 else angle_rad
                self.set_local(f"finger{finger}-{joint}.{side}", rotvec_to_matrix(angle * unit(np.cross(along, palm))))

    def pose(self) -> tuple[Float[np.ndarray, "t j 3"], Float[np.ndarray, "t 3"]]:
        """Rotation vectors and root positions."""
        return matrix_to_rotvec(self.local), self.root_m


def twist_angle(turn: Float[np.ndarray, "t 3 3"], axis: Float[np.ndarray, "3"]) -> Float[np.ndarray, " t"]:
    """Angle of the part of ``turn`` about the unit ``axis``: the twist of a swing-twist decomposition."""
    vector = matrix_to_rotvec(turn)
    half = np.linalg.norm(vector, axis=-1) / 2
    along = np.where(half > 1e-9, (vector @ axis) / np.where(half > 1e-9, 2 * half, 1.0), 0.0)
    return 2 * np.arctan2(along * np.sin(half), np.cos(half))


def hand_axes(rig: Rig, side: str) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Unit vectors in rest axes: from the wrist to the middle knuckle, and where the palm faces."""
    at = {name: rig.rest_joints_m[j] for j, name in enumerate(rig.joint_names)}
    wrist, middle = at[f"wrist.{side}"], at[f"finger3-1.{side}"]
    along = unit(middle - wrist)
    across = at[f"finger2-1.{side}"] - at[f"finger5-1.{side}"]
    palm = unit(np.cross(along, across))
    # Fingers hang bent towards the palm, which distinguishes the palm from the back of the hand.
    bent = at[f"finger3-3.{side}"] - middle
    return along, palm if bent @ palm > 0 else -palm
