"""BVH, read: hierarchy and channels (Meredith & Maddock, "Motion capture file formats explained", 2001), then joints by their usual names.

The zero pose of the file, all channels nil, must stand upright, as it does in CMU's, Mixamo's and body4d's own files.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from body4d.evaluate.synthetic.limb_poser import axis_rotation, orthonormal_frame, unit
from body4d.evaluate.synthetic.motion_capture import SIDES, MotionCapture
from body4d.geometry.rotations import rotation_between

# Names of joints without sign, space and prefix, in lower case; the first that a file has is taken. {side} is left, {s} is l.
_NAMES = {
    "hip": ("{side}upleg", "{s}thigh", "{side}thigh", "upperleg01{s}", "{side}hip", "{s}hip"),
    "knee": ("{side}leg", "{s}shin", "{side}knee", "{side}shin", "{side}lowleg", "lowerleg01{s}", "{s}knee"),
    "ankle": ("{side}foot", "{s}foot", "{side}ankle", "foot{s}", "{s}ankle"),
    "clavicle": ("{side}collar", "{s}collar", "{side}clavicle", "clavicle{s}", "{side}shoulder"),
    "shoulder": ("{side}arm", "{side}uparm", "{side}upperarm", "upperarm01{s}", "{side}shoulder", "{s}shldr"),
    "elbow": ("{side}forearm", "{s}forearm", "{side}lowarm", "{side}elbow", "lowerarm01{s}", "{s}elbow"),
    "wrist": ("{side}hand", "{s}hand", "{side}wrist", "wrist{s}", "{s}wrist"),
}
_HEAD_NAMES = ("head", "neck1", "neck")


@dataclass(frozen=True)
class BvhFile:
    """Joints in the file's order, a parent (−1: none) before its children; ``channels`` name the columns of ``values`` joint by joint."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Float[np.ndarray, "joints 3"]
    channels: tuple[tuple[str, ...], ...]
    values: Float[np.ndarray, "t channels"]
    frame_s: float

    def pose(self) -> tuple[Float[np.ndarray, "t joints 3 3"], Float[np.ndarray, "t joints 3"]]:
        """Rotations from the zero pose, and positions, in the file's axes and unit."""
        rotations, positions, column = [], [], 0
        for joint, channels in enumerate(self.channels):
            parent = self.parents[joint]
            turn = np.broadcast_to(np.eye(3), (len(self.values), 3, 3))
            offset = np.broadcast_to(self.offsets[joint], (len(self.values), 3)).copy()
            for channel in channels:
                value, axis = self.values[:, column], "XYZ".index(channel[0].upper())
                column += 1
                if channel[1:].lower() == "position":
                    offset[:, axis] = value  # it replaces the offset
                else:
                    turn = turn @ axis_rotation(axis, np.radians(value))
            rotations.append(turn if parent < 0 else rotations[parent] @ turn)
            positions.append(offset if parent < 0 else positions[parent] + np.einsum("tab,tb->ta", rotations[parent], offset))
        return np.stack(rotations, 1), np.stack(positions, 1)

    def zero_pose(self) -> Float[np.ndarray, "joints 3"]:
        """Positions with every channel nil, the root at its offset."""
        no_root = replace(self, values=np.zeros((1, self.values.shape[1])))
        return no_root.pose()[1][0]


def read_bvh(path: Path) -> BvhFile:
    """Parse a BVH file. Raises ValueError or LookupError where it is damaged."""
    hierarchy, found, motion = path.read_text(encoding="utf-8", errors="replace").partition("MOTION")
    if not found or "HIERARCHY" not in hierarchy:
        raise ValueError("it has no HIERARCHY or no MOTION")
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    open_joints: list[int] = []
    for line in hierarchy.splitlines():
        words = line.split()
        if not words:
            continue
        match words[0]:
            case "ROOT" | "JOINT" | "End":
                names.append(" ".join(words[1:]) if words[0] != "End" else f"{names[open_joints[-1]]} end")
                parents.append(open_joints[-1] if open_joints else -1)
                offsets.append([0.0, 0.0, 0.0])
                channels.append(())
            case "{":
                open_joints.append(len(names) - 1)
            case "}":
                open_joints.pop()
            case "OFFSET":
                offsets[-1] = [float(w) for w in words[1:4]]
            case "CHANNELS":
                channels[-1] = tuple(words[2 : 2 + int(words[1])])
    numbers = re.match(r"\s*Frames:\s*(\d+)\s*Frame Time:\s*(\S+)", motion)
    if numbers is None:
        raise ValueError("it does not say how many frames there are and how long each is")
    count, width = int(numbers[1]), sum(map(len, channels))
    values = np.array(motion[numbers.end() :].split(), np.float64)
    if values.size != count * width or count == 0:
        raise ValueError(f"{count} frames of {width} channels need {count * width} numbers, found {values.size}")
    return BvhFile(tuple(names), tuple(parents), np.array(offsets), tuple(channels), values.reshape(count, width), float(numbers[2]))


def read_bvh_motion(path: Path) -> MotionCapture:
    """The motion in a BVH file. Raises ValueError or LookupError where it is damaged or joints are missing."""
    bvh = read_bvh(path)
    index = {re.sub(r"[^a-z0-9]", "", name.split(":")[-1].lower()): j for j, name in reversed(list(enumerate(bvh.names)))}
    at = {f"{side}_{joint}": _find(index, joint, side) for joint in _NAMES for side in SIDES}
    lacking = [name for name, j in at.items() if j is None and "clavicle" not in name]
    if lacking:
        raise LookupError(f"no joint for {', '.join(lacking)} among {', '.join(bvh.names)}")
    known = {name: j for name, j in at.items() if j is not None}
    zero = bvh.zero_pose()
    to_stage = _stage_axes(zero, known)
    rotations, positions = bvh.pose()
    turned, zero = to_stage @ rotations @ to_stage.T, zero @ to_stage.T
    joints = {name: positions[:, j] @ to_stage.T for name, j in known.items() if "clavicle" not in name}
    segments = {"pelvis": turned[:, bvh.parents[known["left_hip"]]]}
    chest = bvh.parents[known.get("left_clavicle", known["left_shoulder"])]
    segments["thorax"] = turned[:, chest]
    head = next((index[name] for name in _HEAD_NAMES if name in index), None)
    if head is not None:
        segments["head"] = turned[:, head]
    for side in SIDES:
        clavicle = known.get(f"{side}_clavicle")
        if clavicle is not None and clavicle != known[f"{side}_shoulder"]:
            segments[f"{side}_clavicle"] = turned[:, clavicle]
        # Where the legs are apart in the zero pose, the feet lean with them.
        shank = unit(zero[known[f"{side}_ankle"]] - zero[known[f"{side}_knee"]])
        segments[f"{side}_foot"] = turned[:, known[f"{side}_ankle"]] @ rotation_between(np.array([0.0, 1.0, 0.0]), shank)
        fore = unit(zero[known[f"{side}_wrist"]] - zero[known[f"{side}_elbow"]])
        segments[f"{side}_hand"] = turned[:, known[f"{side}_wrist"]] @ orthonormal_frame(fore, rest_palm(fore, side))
    return MotionCapture(np.arange(len(bvh.values)) * bvh.frame_s, joints, segments)


def rest_palm(forearm: Float[np.ndarray, "3"], side: str) -> Float[np.ndarray, "3"]:
    """Where a palm faces when the arm rests: down where the arm is held out to the side, else to the body. Stage axes."""
    held_out = abs(forearm[1]) < 0.7
    return np.array([0.0, 1.0, 0.0]) if held_out else np.array([-1.0 if side == "left" else 1.0, 0.0, 0.0])


def _find(index: dict[str, int], joint: str, side: str) -> int | None:
    names = [name.format(side=side, s=side[0]) for name in _NAMES[joint]]
    return next((index[name] for name in names if name in index), None)


def _stage_axes(zero: Float[np.ndarray, "joints 3"], at: dict[str, int]) -> Float[np.ndarray, "3 3"]:
    """The rotation from the file's axes to stage axes in which the zero pose, which stands upright, faces −z."""
    hips, shoulders = ((zero[at[f"left_{j}"]] + zero[at[f"right_{j}"]]) / 2 for j in ("hip", "shoulder"))
    trunk = shoulders - hips
    axis = int(np.abs(trunk).argmax())
    up = np.eye(3)[axis] * np.sign(trunk[axis])
    left = zero[at["left_hip"]] - zero[at["right_hip"]]
    left = unit(left - left @ up * up)
    return np.stack([left, -up, -np.cross(left, up)])
