"""Markers on a body, by the names that other programs know them by: Pose2Sim's Halpe26 and OpenCap's anatomical markers.

OpenCap's markers (Uhlrich et al. 2023) lie on the skin over bony landmarks. Each is the vertex next to where the landmark lies from the
joints of a person who stands in the T-pose; it then moves with the skin. Those of thighs and shanks are on plates strapped to the leg, up
to 4 cm off the skin; the centres of the hips are inside. Halpe26's are joints, with the crown and the base of the neck.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Scene
from body4d.export.retarget import require_parts, t_pose_turns
from body4d.export.rigs import part_joints
from body4d.export.skeleton import REST_TO_Y_UP, Skeleton

_HALPE26 = {
    "Shoulder": "shoulder", "Elbow": "elbow", "Wrist": "wrist", "Hip": "hip", "Knee": "knee", "Ankle": "ankle",
    "BigToe": "big_toe", "SmallToe": "small_toe", "Heel": "heel",
}  # fmt: skip

_MODEL_HEIGHT_M = 1.78
"""Standing height of the body for which ``_LANDMARKS`` is in metres; offsets are scaled with the person's."""

_LEG, _ARM = ("upper_leg", "lower_leg", "foot", "toe"), ("upper_arm", "lower_arm", "hand")
_TRUNK = ("hips", "spine_1", "spine_2", "spine_3", "spine_4", "spine_5", "neck", "shoulder", "upper_leg", "upper_arm")


@dataclass(frozen=True)
class Landmark:
    """Where a bony landmark of one side lies in the T-pose."""

    start: str
    end: str
    share: float
    """From joint ``start`` this share of the way to joint ``end``, …"""
    offset_m: tuple[float, float, float]
    """… then outwards, up and forward."""
    parts: tuple[str, ...]
    """On the skin of these parts; none: a point off the skin, fixed to the bone."""


_LANDMARKS = {
    ".ASIS": Landmark("upper_leg", "", 0, (0.016, 0.065, 0.099), _TRUNK),
    ".PSIS": Landmark("upper_leg", "", 0, (-0.062, 0.112, -0.090), _TRUNK),
    "_knee": Landmark("lower_leg", "", 0, (0.060, 0, 0), _LEG),
    "_mknee": Landmark("lower_leg", "", 0, (-0.060, 0, 0), _LEG),
    "_ankle": Landmark("foot", "", 0, (0.050, 0, -0.005), _LEG),
    "_mankle": Landmark("foot", "", 0, (-0.050, 0.008, 0), _LEG),
    "_toe": Landmark("toe", "", 0, (0, 0.03, 0), ("foot", "toe")),
    "_5meta": Landmark("toe", "", 0, (0.060, -0.005, -0.030), ("foot", "toe")),
    "_calc": Landmark("foot", "", 0, (0, -0.045, -0.080), ("foot",)),
    "_thigh1": Landmark("upper_leg", "lower_leg", 0.31, (0.070, 0, 0.090), ()),
    "_thigh2": Landmark("upper_leg", "lower_leg", 0.56, (0.085, 0, 0.055), ()),
    "_thigh3": Landmark("upper_leg", "lower_leg", 0.28, (0.100, 0, -0.020), ()),
    "_sh1": Landmark("lower_leg", "foot", 0.27, (0.070, 0, 0), ()),
    "_sh2": Landmark("lower_leg", "foot", 0.53, (0.080, 0, 0.026), ()),
    "_sh3": Landmark("lower_leg", "foot", 0.51, (0.080, 0, -0.050), ()),
    "HJC": Landmark("upper_leg", "", 0, (-0.033, 0, 0), ()),
    "_shoulder": Landmark("upper_arm", "", 0, (-0.028, 0.060, 0), _TRUNK),
    "_lelbow": Landmark("lower_arm", "", 0, (0, 0.045, 0), _ARM),
    "_melbow": Landmark("lower_arm", "", 0, (0, -0.045, 0), _ARM),
    "_lwrist": Landmark("hand", "", 0, (0, 0, 0.035), _ARM),
    "_mwrist": Landmark("hand", "", 0, (0, 0, -0.035), _ARM),
}


@dataclass(frozen=True)
class MarkerSet:
    """Markers as blends of skinned points, folded per joint as ``Rig.keypoint_anchors_m`` are."""

    names: tuple[str, ...]
    weights: Float[np.ndarray, "markers joints"]
    anchors_m: Float[np.ndarray, "markers joints 3"]
    keypoints: tuple[str, ...]
    """The named joint that a marker is, which the track has itself; "" where it has not."""

    def points_m(self, rig: Rig, track: BodyTrack, scene: Scene, rows: slice) -> Float[np.ndarray, "t markers 3"]:
        """The markers in the world, y up, metres, of some rows of ``track``."""
        bare = replace(rig, keypoint_weights=self.weights, keypoint_anchors_m=self.anchors_m)
        points = bare.keypoints(*rig.forward(track.rotations[rows].astype(np.float64), track.translation_m[rows].astype(np.float64)))
        for k, name in enumerate(self.keypoints):
            if name:
                points[:, k] = track.joint(name)[rows] if name in track.joint_names else np.nan
        return scene.world_points(points, track.frame_index[rows])


def marker_set(rig: Rig, markers: str) -> MarkerSet:
    """The markers "halpe26" (22 of its points, those on the body) or "opencap" (43) of one person. Raises SettingsError."""
    at = part_joints(rig.joint_names)
    require_parts(at, "markers")
    rows = _halpe26(rig, at) if markers == "halpe26" else _opencap(rig, at)
    names, keypoints, weights, anchors = zip(*rows, strict=True)
    return MarkerSet(names, np.stack(weights), np.stack(anchors), keypoints)


_Row = tuple[str, str, np.ndarray, np.ndarray]


def _halpe26(rig: Rig, at: dict[str, int]) -> list[_Row]:
    none = _joint(rig, [0])
    crown = int(np.argmin(rig.rest_vertices_m[:, 1]))
    hips = [at[f"{side}_upper_leg"] for side in ("left", "right")]
    rows = [("Nose", "nose", *none), ("Head", "", *_vertex(rig, crown)), ("Neck", "", *_joint(rig, [at["neck"]]))]
    rows.append(("Hip", "", *_joint(rig, hips)))
    for side in ("left", "right"):
        rows += [(f"{side[0].upper()}{marker}", f"{side}_{joint}", *none) for marker, joint in _HALPE26.items()]
    return rows


def _opencap(rig: Rig, at: dict[str, int]) -> list[_Row]:
    """OpenCap writes r and L before a name, but R and L before that of a hip joint's centre."""
    skin = _TPoseSkin(rig, at)
    rows: list[_Row] = []
    for name, landmark in _LANDMARKS.items():
        for side, letter in (("right", "R" if name == "HJC" else "r"), ("left", "L")):
            row = _vertex(rig, skin.nearest(landmark, side)) if landmark.parts else skin.fixed_point(rig, landmark, side)
            rows.append((f"{letter}{name}_study", "", *row))
    rows.append(("C7_study", "", *_vertex(rig, skin.nape())))
    return rows


def _joint(rig: Rig, joints: list[int]) -> tuple[np.ndarray, np.ndarray]:
    weights, anchors = np.zeros(len(rig.parents)), np.zeros((len(rig.parents), 3))
    weights[joints] = 1 / len(joints)
    anchors[joints] = rig.rest_joints_m[joints] / len(joints)
    return weights, anchors


def _vertex(rig: Rig, vertex: int) -> tuple[np.ndarray, np.ndarray]:
    weights = np.zeros(len(rig.parents))
    np.add.at(weights, rig.skin_indices[vertex], rig.skin_weights[vertex])
    return weights, weights[:, None] * rig.rest_vertices_m[vertex]


class _TPoseSkin:
    """A person's rest surface in the T-pose, each vertex moved with the joint that moves it most. Axes: x left, y up, z forward."""

    def __init__(self, rig: Rig, at: dict[str, int]) -> None:
        rest = rig.rest_joints_m @ REST_TO_Y_UP
        skeleton = Skeleton(rig.joint_names, rig.parents, rest, np.zeros((0, len(rest), 3, 3)), np.zeros((0, 3)))
        turns = t_pose_turns(skeleton, at)
        joints, part = rest.copy(), np.zeros(len(rest), np.int64)
        self._parts = list(at)
        index = {joint: k for k, joint in enumerate(at.values())}
        for j, parent in enumerate(rig.parents):
            if parent >= 0:
                joints[j] = joints[parent] + turns[parent] @ (rest[j] - rest[parent])
            part[j] = index.get(j, part[max(parent, 0)])
        strongest = np.take_along_axis(rig.skin_indices, np.argmax(rig.skin_weights, axis=1)[:, None], 1)[:, 0]
        reach = rig.rest_vertices_m @ REST_TO_Y_UP - rest[strongest]
        self._vertices = joints[strongest] + np.einsum("vab,vb->va", turns[strongest], reach)
        self._part = part[strongest]
        self._joints = {name: joints[j] for name, j in at.items()}
        self._turns, self._at = turns, at
        self._scale = rig.height_m / _MODEL_HEIGHT_M

    def nearest(self, landmark: Landmark, side: str) -> int:
        """The vertex next to a landmark of one side."""
        return self._closest(self._target(landmark, side), {f"{side}_{part}" for part in landmark.parts} | set(landmark.parts))

    def fixed_point(self, rig: Rig, landmark: Landmark, side: str) -> tuple[np.ndarray, np.ndarray]:
        """A landmark fixed to the bone from its joint, or where it has one joint, to the pelvis: weights and anchors of a marker.

        The body models' hip joints lie 3 cm farther out than the centres of femoral heads, about which thighs turn.
        """
        joint = self._at[f"{side}_{landmark.start}"]
        bone = joint if landmark.end else self._at["hips"]
        reach = self._turns[bone].T @ (self._target(landmark, side) - self._joints[f"{side}_{landmark.start}"])
        weights, anchors = np.zeros(len(rig.parents)), np.zeros((len(rig.parents), 3))
        weights[bone] = 1.0
        anchors[bone] = rig.rest_joints_m[joint] + REST_TO_Y_UP @ reach
        return weights, anchors

    def _target(self, landmark: Landmark, side: str) -> np.ndarray:
        outwards = np.array([1.0 if side == "left" else -1.0, 1, 1])
        start = self._joints[f"{side}_{landmark.start}"]
        end = self._joints[f"{side}_{landmark.end}"] if landmark.end else start
        return start + landmark.share * (end - start) + outwards * landmark.offset_m * self._scale

    def nape(self) -> int:
        """The vertex over the seventh cervical vertebra: behind the line of the shoulders, 9.5 cm above it."""
        middle = (self._joints["left_upper_arm"] + self._joints["right_upper_arm"]) / 2
        return self._closest(middle + np.array([0, 0.095, -0.09]) * self._scale, {"spine_5", "spine_4", "neck", "neck_2"})

    def _closest(self, target: np.ndarray, parts: set[str]) -> int:
        allowed = np.isin(self._part, [k for k, name in enumerate(self._parts) if name in parts])
        return int(np.argmin(np.where(allowed, np.linalg.norm(self._vertices - target, axis=1), np.inf)))
