"""A skeleton with another rig's bones, names and rest pose, whose joints stay where they are.

Joints that a rig does not have are composed into those that it has: a bone's rotation is its joint's rotation in the world, seen from
the bone above. Where a dropped joint between two bones turns, the lower bone's place in the upper one changes; it is then given frame by
frame (``Skeleton.places_m``), so that no joint moves.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.errors import SettingsError
from body4d.export.rigs import PARENT_PARTS, is_finger, lafan_axes, part_joints, rig_bones
from body4d.export.skeleton import Skeleton

RIGID_M = 1e-7
"""A bone whose place in the one above changes by no more than this is rigid: files are exact to 1e-6 m."""

_MIN_BEND_DEG = 8.0
"""An elbow that is bent less at rest shows no hinge; the arm is then turned into the T-pose on the shortest way."""

_LEFT, _UP, _FORWARD = np.eye(3)


@dataclass(frozen=True)
class RetargetPlan:
    """How a person's joints become a rig's bones: found once, applied to any stretch of the movement."""

    names: tuple[str, ...]
    parents: Int[np.ndarray, " bones"]
    source: Int[np.ndarray, " bones"]
    """The joint that moves each bone."""
    turns: Float[np.ndarray, "bones 3 3"]
    """From a bone's axes to its joint's: the bone's rotation in the world is the joint's times this."""
    rest_m: Float[np.ndarray, "bones 3"]
    """Joints in the rig's rest pose."""
    sliding: Bool[np.ndarray, " bones"]
    """Whose place in the bone above changes."""

    def apply(self, skeleton: Skeleton, *, aim: bool = True) -> Skeleton:
        """The movement of ``skeleton`` by the rig's bones. Without ``aim`` a bone above one that slides turns as its joint does, so that a
        mesh bound to it stays."""
        G, p = skeleton.forward()
        turned, places = G[:, self.source] @ self.turns, p[:, self.source]
        for k in np.flatnonzero(self.sliding):
            parent = self.parents[k]
            if aim and np.count_nonzero(self.parents == parent) == 1:
                # The bone above points at it, so that a reader that takes it for rigid is off by the change of length alone.
                reach = turned[:, parent] @ (self.rest_m[k] - self.rest_m[parent])
                turned[:, parent] = _shortest_each(reach, places[:, k] - places[:, parent]) @ turned[:, parent]
        local = turned.copy()
        local[:, 1:] = np.swapaxes(turned[:, self.parents[1:]], -1, -2) @ turned[:, 1:]
        slides = {
            int(k): np.einsum("tba,tb->ta", turned[:, self.parents[k]], places[:, k] - places[:, self.parents[k]])
            for k in np.flatnonzero(self.sliding)
        }
        return Skeleton(self.names, self.parents, self.rest_m, local, places[:, 0], slides)

    def slides(self, skeleton: Skeleton) -> Bool[np.ndarray, " bones"]:
        """Which bones' places change by more than ``RIGID_M`` in this stretch of the movement."""
        G, p = skeleton.forward()
        turned, places = G[:, self.source] @ self.turns, p[:, self.source]
        up = np.maximum(self.parents, 0)
        now = np.einsum("tkba,tkb->tka", turned[:, up], places - places[:, up])
        offsets = np.where(self.parents[:, None] >= 0, self.rest_m - self.rest_m[up], 0.0)
        return np.abs(now - offsets).max(axis=(0, 2), initial=0.0) > RIGID_M

    def with_leaves(self, skeleton: Skeleton, joints: Int[np.ndarray, " leaves"], names: tuple[str, ...]) -> "RetargetPlan":
        """The same plan with a bone more for each of ``joints``, on the nearest bone above it: what is skinned to the joint keeps its turn,
        and the rig's own bones stay as they are."""
        bones, first = bone_of_joint(skeleton.parents, self.source), len(self.names)
        parents, turns = np.append(self.parents, bones[joints]), np.concatenate([self.turns, self.turns[bones[joints]]])
        source, rest_m = np.append(self.source, joints), np.concatenate([self.rest_m, np.empty((len(joints), 3))])
        for k in range(first, len(source)):
            up = parents[k]
            rest_m[k] = rest_m[up] + turns[up].T @ (skeleton.rest_m[source[k]] - skeleton.rest_m[source[up]])
        return RetargetPlan((*self.names, *names), parents, source, turns, rest_m, np.append(self.sliding, np.zeros(len(joints), bool)))

    def with_sliding(self, sliding: Bool[np.ndarray, " bones"]) -> "RetargetPlan":
        """The same plan with these bones given frame by frame."""
        return replace(self, sliding=sliding)


def plan_retarget(
    skeleton: Skeleton,
    rig: str,
    rest: str = "",
    kept: Bool[np.ndarray, " joints"] | None = None,
    moves: Bool[np.ndarray, " joints"] | None = None,
) -> RetargetPlan:
    """The plan for ``rig``, a name of ``rigs.RIG_NAMES``, with the rest pose "a" (the body model's own), "t", or "" (what the rig has).

    ``kept`` says which joints ``native`` writes, and which fingers the others do; ``moves`` which turn in the whole movement, where
    ``skeleton`` is a part of it. Raises SettingsError where the skeleton lacks a part
    without which a rig is none.
    """
    kept = np.ones(len(skeleton.names), bool) if kept is None else kept
    moves = skeleton.moving_joints() if moves is None else moves
    at = part_joints(skeleton.names)
    rest = rest or ("a" if rig == "native" else "t")
    if rig == "lafan" and rest == "a":
        raise SettingsError("LAFAN1's skeleton has a rest pose of its own, in which all bones lie along one line.", code="rest_of_rig",
                            hint="Leave the rest pose out, or take another rig.")  # fmt: skip
    straighten = t_pose_turns(skeleton, at) if rest == "t" else np.broadcast_to(np.eye(3), (len(kept), 3, 3))
    if rig == "native":
        source = np.flatnonzero(kept)
        index = np.cumsum(kept) - 1
        parents = np.where(skeleton.parents[source] >= 0, index[np.maximum(skeleton.parents[source], 0)], -1)
        names = tuple(skeleton.names[j] for j in source)
        turns = np.swapaxes(straighten[source], -1, -2)
    else:
        require_parts(at, f"a {rig} skeleton")
        bones = rig_bones(rig, [part for part, j in at.items() if kept[j] or not is_finger(part)])
        order = {part: k for k, (part, _, _) in enumerate(bones)}
        parents = np.array([order[up] if up else -1 for _, _, up in bones])
        source = np.array([_turning_joint(at, moves, part, up) for part, _, up in bones])
        names = tuple(name for _, name, _ in bones)
        turns = np.swapaxes(straighten[source], -1, -2)
        if rig == "lafan":
            turns = turns @ np.stack([lafan_axes(part, _foot_direction(skeleton, at, straighten, part)) for part, _, _ in bones])
    up = np.maximum(parents, 0)
    offsets = np.einsum("kba,kb->ka", turns[up], skeleton.rest_m[source] - skeleton.rest_m[source[up]])
    rest_m = np.empty((len(source), 3))
    for k, parent in enumerate(parents):
        rest_m[k] = skeleton.rest_m[source[0]] if parent < 0 else rest_m[parent] + offsets[k]
    return RetargetPlan(names, parents, source, turns, rest_m, np.zeros(len(source), bool))


def retarget(skeleton: Skeleton, rig: str, rest: str = "", kept: Bool[np.ndarray, " joints"] | None = None) -> Skeleton:
    """The whole movement at once; long clips go through a plan in stretches. Raises as ``plan_retarget``."""
    plan = plan_retarget(skeleton, rig, rest, kept)
    return plan.with_sliding(plan.slides(skeleton)).apply(skeleton)


def bone_of_joint(parents: Int[np.ndarray, " joints"], source: Int[np.ndarray, " bones"]) -> Int[np.ndarray, " joints"]:
    """The bone that each joint moves with: its own, or that of the nearest joint above that has one; above the root bone, the root bone."""
    bone = np.full(len(parents), -1)
    bone[source] = np.arange(len(source))
    for j, parent in enumerate(parents):
        if bone[j] < 0 and parent >= 0:
            bone[j] = bone[parent]
    return np.maximum(bone, 0)


def _turning_joint(at: dict[str, int], moves: Bool[np.ndarray, " joints"], part: str, bone_above: str) -> int:
    """The joint of ``part``, or where it is still, the one that turns between it and the bone above: then that bone stays rigid."""
    joint, between = at[part], PARENT_PARTS[part]
    while not moves[joint] and between and between != bone_above:
        if between in at and moves[at[between]]:
            return at[between]
        between = PARENT_PARTS[between]
    return joint


def t_pose_turns(skeleton: Skeleton, at: dict[str, int]) -> Float[np.ndarray, "joints 3 3"]:
    """How each joint turns from the rest pose into the T-pose: arms level with palms down, legs straight down, feet forward.

    ``at`` are the joints of body parts. Joints between them turn with the nearest part above.
    """
    turns: dict[int, np.ndarray] = {}
    rest = {part: skeleton.rest_m[j] for part, j in at.items()}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turns |= {at[f"{side}_{part}"]: turn for part, turn in _arm(rest, side, sign * _LEFT).items() if f"{side}_{part}" in at}
        for upper, lower in (("upper_leg", "lower_leg"), ("lower_leg", "foot")):
            if f"{side}_{lower}" in rest:
                turns[at[f"{side}_{upper}"]] = _shortest(rest[f"{side}_{lower}"] - rest[f"{side}_{upper}"], -_UP)
        if f"{side}_toe" in rest:
            level = (rest[f"{side}_toe"] - rest[f"{side}_foot"]) * (1, 0, 1)
            turns[at[f"{side}_foot"]] = _shortest(level, _FORWARD)
    trunk = {at[part] for part in at if not part.startswith(("left", "right")) or part.endswith("shoulder")}
    out = np.empty((len(skeleton.names), 3, 3))
    for j, parent in enumerate(skeleton.parents):
        out[j] = turns.get(j, np.eye(3) if parent < 0 or j in trunk else out[parent])
    return out


def _arm(rest: dict[str, np.ndarray], side: str, outwards: np.ndarray) -> dict[str, np.ndarray]:
    """Turns of upper arm, lower arm and hand. The elbow's hinge stands upright, so that the forearm bends forward."""
    if not all(f"{side}_{part}" in rest for part in ("upper_arm", "lower_arm", "hand")):
        return {}
    upper = rest[f"{side}_lower_arm"] - rest[f"{side}_upper_arm"]
    lower = rest[f"{side}_hand"] - rest[f"{side}_lower_arm"]
    hinge = np.cross(upper, lower)
    sine = np.linalg.norm(hinge) / max(np.linalg.norm(upper) * np.linalg.norm(lower), 1e-12)
    if sine > np.sin(np.radians(_MIN_BEND_DEG)):
        upright = np.cross(outwards, _FORWARD)
        out = {"upper_arm": _frame_turn(upper, hinge, outwards, upright), "lower_arm": _frame_turn(lower, hinge, outwards, upright)}
    else:
        out = {"upper_arm": _shortest(upper, outwards), "lower_arm": _shortest(lower, outwards)}
    knuckles = [f"{side}_{finger}_1" for finger in ("middle", "pinky", "index")]
    if all(name in rest for name in knuckles):
        middle, pinky, index = (rest[name] for name in knuckles)
        out["hand"] = _frame_turn(middle - rest[f"{side}_hand"], index - pinky, outwards, _FORWARD)
    else:
        out["hand"] = out["lower_arm"]
    return out


def _foot_direction(skeleton: Skeleton, at: dict[str, int], straighten: np.ndarray, part: str) -> np.ndarray:
    """From ankle to toe in the T-pose, for a part of that side; forward where there is no toe."""
    side = part.partition("_")[0]
    if f"{side}_toe" not in at:
        return _FORWARD
    foot = at[f"{side}_foot"]
    return straighten[foot] @ (skeleton.rest_m[at[f"{side}_toe"]] - skeleton.rest_m[foot])


def require_parts(at: dict[str, int], what: str) -> None:
    """Raise SettingsError where a body with the parts ``at`` has not all that ``what`` needs."""
    lacking = [part for part in ("hips", "head", "left_hand", "right_hand", "left_foot", "right_foot") if part not in at]
    if lacking:
        raise SettingsError(
            f"This body has no joints for {what} (it lacks {', '.join(lacking)}).",
            code="no_such_rig",
            hint="Export it with the names of its own joints: --rig native.",
        )


def _shortest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rotation that turns direction ``a`` into ``b`` on the shortest way."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis, cos = np.cross(a, b), float(a @ b)
    if cos < -1 + 1e-9:
        other = np.cross(a, _LEFT if abs(a[0]) < 0.9 else _UP)
        other /= np.linalg.norm(other)
        return 2 * np.outer(other, other) - np.eye(3)
    K = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + K + K @ K / (1 + cos)


def _shortest_each(a: Float[np.ndarray, "t 3"], b: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3 3"]:
    """The rotations that turn each direction ``a`` into ``b``, which is not opposite, on the shortest way."""
    a, b = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (a, b))
    axis, cos = np.cross(a, b), np.sum(a * b, axis=1)
    K = np.cross(axis[:, None, :], np.eye(3)[None]).swapaxes(-1, -2)
    return np.eye(3) + K + K @ K / np.maximum(1 + cos, 1e-9)[:, None, None]


def _frame_turn(a: np.ndarray, b: np.ndarray, a_to: np.ndarray, b_to: np.ndarray) -> np.ndarray:
    """The rotation that turns ``a`` into ``a_to`` and ``b``, as far as it is square to ``a``, into ``b_to``."""
    return _frame(a_to, b_to) @ _frame(a, b).T


def _frame(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    x = a / np.linalg.norm(a)
    y = b - x * (x @ b)
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)
