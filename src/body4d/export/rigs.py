"""Whose names and bones a skeleton gets: one table for both body models and every rig that exporters know.

Sources: Mixamo's, Unreal's (Manny), VRM 1.0's and LAFAN1's published skeletons (Harvey et al. 2020). LAFAN1's bones have axes of their
own; general motion retargeting (Araújo et al. 2025) turns robots by them, so that names alone do not do.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

RIG_NAMES = ("native", "mixamo", "unreal", "vrm", "lafan")
"""``native`` are the joints of the body model itself."""


@dataclass(frozen=True)
class BodyPart:
    """One row of the table: which joint of each body model moves a part, and what each rig calls its bone; "" where there is none."""

    part: str
    parent: str
    anny: str
    mhr: str
    mixamo: str = ""
    unreal: str = ""
    vrm: str = ""
    lafan: str = ""


def _side(side: str) -> list[BodyPart]:
    """The rows of one side: the arm with its fingers, or rather both limbs."""
    S, s, big = ("L", "l", "Left") if side == "left" else ("R", "r", "Right")

    def row(part: str, parent: str, anny: str, mhr: str, mixamo: str, unreal: str, vrm: str, lafan: str) -> BodyPart:
        parent = parent if parent in ("hips", "spine_5") else f"{side}_{parent}"
        mixamo, lafan = (f"{big}{name}" if name else "" for name in (mixamo, lafan))
        return BodyPart(f"{side}_{part}", parent, f"{anny}.{S}", f"{s}_{mhr}", mixamo, f"{unreal}_{s}", f"{side}{vrm}", lafan)

    rows = [
        row("upper_leg", "hips", "upperleg01", "upleg", "UpLeg", "thigh", "UpperLeg", "UpLeg"),
        row("lower_leg", "upper_leg", "lowerleg01", "lowleg", "Leg", "calf", "LowerLeg", "Leg"),
        row("foot", "lower_leg", "foot", "foot", "Foot", "foot", "Foot", "Foot"),
        row("toe", "foot", "toe2-1", "ball", "ToeBase", "ball", "Toes", "Toe"),
        row("shoulder", "spine_5", "clavicle", "clavicle", "Shoulder", "clavicle", "Shoulder", "Shoulder"),
        row("upper_arm", "shoulder", "upperarm01", "uparm", "Arm", "upperarm", "UpperArm", "Arm"),
        row("lower_arm", "upper_arm", "lowerarm01", "lowarm", "ForeArm", "lowerarm", "LowerArm", "ForeArm"),
        row("hand", "lower_arm", "wrist", "wrist", "Hand", "hand", "Hand", "Hand"),
    ]
    for number, (finger, vrm) in enumerate(
        (("thumb", "Thumb"), ("index", "Index"), ("middle", "Middle"), ("ring", "Ring"), ("pinky", "Little")), 1
    ):
        joints = ("Metacarpal", "Proximal", "Distal") if finger == "thumb" else ("Proximal", "Intermediate", "Distal")
        for k, joint in enumerate(joints, 1):
            parent = f"{finger}_{k - 1}" if k > 1 else "hand"
            names = (f"Hand{finger.title()}{k}", f"{finger}_{k:02d}", f"{vrm}{joint}")
            rows.append(row(f"{finger}_{k}", parent, f"finger{number}-{k}", f"{finger}{k}", *names, ""))
    return rows


def _table() -> tuple[BodyPart, ...]:
    """All rows, parents first. Legs come before the trunk, as in LAFAN1's files, whose readers count joints."""
    left, right = _side("left"), _side("right")
    legs = [row for side in (left, right) for row in side[:4]]
    arms = [row for side in (left, right) for row in side[4:]]
    trunk = [
        BodyPart("spine_1", "hips", "spine05", "c_spine0", unreal="spine_01"),
        BodyPart("spine_2", "spine_1", "spine04", "c_spine1", "Spine", "spine_02", "spine", "Spine"),
        BodyPart("spine_3", "spine_2", "spine03", "c_spine2", "Spine1", "spine_03", "chest", "Spine1"),
        BodyPart("spine_4", "spine_3", "spine02", "", unreal="spine_04"),
        BodyPart("spine_5", "spine_4", "spine01", "c_spine3", "Spine2", "spine_05", "upperChest", "Spine2"),
        BodyPart("neck", "spine_5", "neck01", "c_neck", "Neck", "neck_01", "neck", "Neck"),
        BodyPart("neck_2", "neck", "neck02", "", unreal="neck_02"),
        BodyPart("head", "neck_2", "head", "c_head", "Head", "head", "head", "Head"),
    ]
    return (BodyPart("hips", "", "root", "root", "Hips", "pelvis", "hips", "Hips"), *legs, *trunk, *arms)


BODY_PARTS = _table()
PARENT_PARTS = {row.part: row.parent for row in BODY_PARTS}
PREFIXES = {"mixamo": "mixamorig:"}
"""What stands before every name of a rig."""

_FINGER = re.compile(r"_(thumb|index|middle|ring|pinky)_\d$")

# MHR's repacked files carry no names; joints then are numbered in the published order.
_MHR_ORDER = {
    **{"root": 1, "c_spine0": 34, "c_spine1": 35, "c_spine2": 36, "c_spine3": 37, "c_neck": 110, "c_head": 113},
    **{"l_upleg": 2, "l_lowleg": 3, "l_foot": 4, "l_ball": 8, "r_upleg": 18, "r_lowleg": 19, "r_foot": 20, "r_ball": 24},
    **{"l_clavicle": 74, "l_uparm": 75, "l_lowarm": 76, "l_wrist": 78, "r_clavicle": 38, "r_uparm": 39, "r_lowarm": 40, "r_wrist": 42},
    **{
        f"r_{finger}{k}": first + k - 1
        for finger, first in {"pinky": 44, "ring": 48, "middle": 52, "index": 56, "thumb": 61}.items()
        for k in (1, 2, 3)
    },
    **{
        f"l_{finger}{k}": first + k - 1
        for finger, first in {"pinky": 80, "ring": 84, "middle": 88, "index": 92, "thumb": 97}.items()
        for k in (1, 2, 3)
    },
}
_MHR_JOINTS = 127


def part_joints(names: tuple[str, ...]) -> dict[str, int]:
    """The index of the joint that moves each part, by the part's name, in a skeleton of either body model with joints ``names``."""
    at = {name: j for j, name in enumerate(names)}
    if "l_upleg" in at or len(names) == _MHR_JOINTS:
        numbered = len(names) == _MHR_JOINTS and "l_upleg" not in at
        at = _MHR_ORDER if numbered else at
        return {row.part: at[row.mhr] for row in BODY_PARTS if row.mhr in at}
    return {row.part: at[row.anny] for row in BODY_PARTS if row.anny in at}


def rig_bones(rig: str, parts: Collection[str]) -> list[tuple[str, str, str]]:
    """Part, name and the parent's part of every bone of ``rig`` that a body with these parts can have, parents first."""
    has = {row.part: getattr(row, rig) if row.part in parts else "" for row in BODY_PARTS}
    bones = []
    for row in BODY_PARTS:
        if not has[row.part]:
            continue
        parent = row.parent
        while parent and not has[parent]:
            parent = PARENT_PARTS[parent]
        bones.append((row.part, PREFIXES.get(rig, "") + has[row.part], parent))
    return bones


_UNREAL_TWISTS = {
    **{"upperarm02": "upperarm_twist_01", "lowerarm02": "lowerarm_twist_01"},
    **{"upperleg02": "thigh_twist_01", "lowerleg02": "calf_twist_01"},
}


def twist_names(joint_names: tuple[str, ...], joints: Int[np.ndarray, " joints"], rig: str) -> tuple[str, ...]:
    """Names of bones for joints that a rig has no bone for: Unreal's twist bones, else the joints' own."""
    out = []
    for j in joints:
        name, dot, side = joint_names[j].partition(".")
        unreal = rig == "unreal" and dot and name in _UNREAL_TWISTS
        out.append(f"{_UNREAL_TWISTS[name]}_{side.lower()}" if unreal else joint_names[j])
    return tuple(out)


def is_finger(part: str) -> bool:
    """Whether a part is a finger's bone."""
    return bool(_FINGER.search(part))


_LEFT, _UP, _FORWARD = np.eye(3)


def lafan_axes(part: str, foot_direction: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """LAFAN1's axes of a bone in the T-pose, as columns, in asset axes (x left, y up, z forward); x runs along the bone.

    ``foot_direction`` points from ankle to toe. The second axes are those by which general motion retargeting turns robots: its table
    gives each link's rotation from the bone's, and a robot's links are aligned with its base when it stands.
    """
    side = 1.0 if part.startswith("left") else -1.0
    if part.endswith(("upper_leg", "lower_leg")):
        x, y = -_UP, _FORWARD
    elif part.endswith("foot"):
        x = foot_direction / np.linalg.norm(foot_direction)
        y = np.cross(-_LEFT, x)
        y = y / np.linalg.norm(y)
        x = np.cross(y, -_LEFT)
    elif part.endswith("toe"):
        x, y = _FORWARD, _UP
    elif part.endswith(("shoulder", "upper_arm", "lower_arm", "hand")):
        x, y = side * _LEFT, -_FORWARD
    else:
        x, y = _UP, _FORWARD
    return np.stack([x, y, np.cross(x, y)], axis=1)
