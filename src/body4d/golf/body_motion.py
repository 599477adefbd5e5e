"""One person's movement as the golf analysis reads it: joints and two trunk bones in the world, on every frame, in real seconds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from body4d.bodies.registry import rig_of
from body4d.core.errors import InputError
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Scene
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix

# Names of the bones in Anny's rig and in MHR's.
UPPER_LEGS = {"left": ("upperleg01.L", "l_upleg"), "right": ("upperleg01.R", "r_upleg")}
CLAVICLES = {"left": ("clavicle.L", "l_clavicle"), "right": ("clavicle.R", "r_clavicle")}

REST_TO_BODY = np.diag([1.0, -1.0, -1.0])
"""Columns: the body's left, up and front in the rig's rest axes (x left, y down, facing −z)."""


@dataclass(frozen=True)
class BodyMotion:
    """A track on every clip frame from its first to its last; frames without a body are interpolated and have ``trust`` 0."""

    person_id: int
    frames: Int[np.ndarray, " t"]
    clip_s: Float[np.ndarray, " t"]
    """Seconds of the clip's own clock."""
    real_s: Float[np.ndarray, " t"]
    """Real seconds, by the capture rate."""
    joints: Mapping[str, Float[np.ndarray, "t 3"]]
    """Named joints in the world (y up, floor at y = 0), and ``mid_hip``, ``mid_shoulder``, ``mid_wrist``, ``mid_ankle``, ``head``."""
    pelvis: Float[np.ndarray, "t 3 3"]
    """The bone that carries both legs; columns: its left, up and front, in the world."""
    thorax: Float[np.ndarray, "t 3 3"]
    """The bone of the upper spine that carries both clavicles."""
    trust: Float[np.ndarray, " t"]
    """In [0, 1]."""
    height_m: float

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def frame_time_s(self) -> float:
        """Real time between two frames."""
        return float(np.median(np.diff(self.real_s)))


def body_motion(scene: Scene, track: BodyTrack, time_scale: float, rig: Rig | None = None) -> BodyMotion:
    """``track`` in the world of ``scene``; ``rig`` is its own, where the caller has it.

    Raises InputError for a rig without the bones known here.
    """
    rig = rig or rig_of(track)
    frames = np.arange(track.frame_index[0], track.frame_index[-1] + 1)
    to_world = scene.T_world_camera[:3, :3].astype(np.float64)
    points = track.joints_m.astype(np.float64) @ to_world.T + scene.T_world_camera[:3, 3]
    clip_s = scene.clip.times_s[frames]
    points = _on_frames(points, track.frame_index, frames)
    joints = {name: points[:, k] for k, name in enumerate(track.joint_names)}
    for name in ("hip", "shoulder", "wrist", "ankle"):
        joints[f"mid_{name}"] = (joints[f"left_{name}"] + joints[f"right_{name}"]) / 2
    joints["head"] = (joints["nose"] + joints["left_ear"] + joints["right_ear"]) / 3
    bones = _bone_rotations(rig, track, (pelvis_bone(rig), thorax_bone(rig)))
    pelvis, thorax = (_rotations_on_frames(to_world @ bone @ REST_TO_BODY, track.frame_index, frames) for bone in bones)
    trust = np.zeros(len(frames))
    trust[track.frame_index - frames[0]] = np.where(track.observed, track.confidence, 0.0)
    return BodyMotion(track.person_id, frames, clip_s, clip_s * time_scale, joints, pelvis, thorax, trust, rig.height_m)


def pelvis_bone(rig: Rig) -> int:
    """Index of the bone that carries both legs."""
    return _common_ancestor(rig, UPPER_LEGS)


def thorax_bone(rig: Rig) -> int:
    """Index of the bone that carries both clavicles: it does not move with the shoulder blades, as the line of the shoulders does."""
    return _common_ancestor(rig, CLAVICLES)


def _common_ancestor(rig: Rig, names: Mapping[str, tuple[str, ...]]) -> int:
    index = {name: j for j, name in enumerate(rig.joint_names)}
    found = [next((index[name] for name in names[side] if name in index), None) for side in ("left", "right")]
    if found[0] is None or found[1] is None:
        raise InputError(
            "The body of this run has no bones that the golf analysis knows.",
            code="rig_without_bones",
            hint="It reads the bodies Anny and MHR.",
            missing=[*names["left"], *names["right"]],
        )
    above: list[set[int]] = []
    for j in (found[0], found[1]):
        line: list[int] = []
        while j >= 0:
            j = int(rig.parents[j])
            line.append(j)
        above.append(set(line))
    return max(above[0] & above[1])  # parents come before their children


def _bone_rotations(rig: Rig, track: BodyTrack, bones: tuple[int, ...]) -> list[Float[np.ndarray, "t 3 3"]]:
    """Rotations of some bones from rest to camera axes."""
    out = []
    for bone in bones:
        rotation = np.eye(3)[None]
        while bone >= 0:
            rotation = rotvec_to_matrix(track.rotations[:, bone].astype(np.float64)) @ rotation
            bone = int(rig.parents[bone])
        out.append(rotation)
    return out


def _on_frames(values: np.ndarray, known: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """``values`` (T, ...) of the frames ``known`` on all ``frames``, linear between."""
    if len(known) == len(frames):
        return values
    flat = values.reshape(len(values), -1)
    return np.stack([np.interp(frames, known, column) for column in flat.T], -1).reshape(len(frames), *values.shape[1:])


def _rotations_on_frames(rotations: np.ndarray, known: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Rotations of the frames ``known`` on all ``frames``, along the shortest arc between."""
    if len(known) == len(frames):
        return rotations
    left = np.clip(np.searchsorted(known, frames, side="right") - 1, 0, len(known) - 2)
    share = (frames - known[left]) / (known[left + 1] - known[left])
    a, b = rotations[left], rotations[left + 1]
    return a @ rotvec_to_matrix(share[:, None] * matrix_to_rotvec(np.swapaxes(a, -1, -2) @ b))
