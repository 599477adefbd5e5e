"""What a player shows beside a body: the clip's times, joint angles and speeds as curves, and how sure each joint is. Pure."""

import json
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from body4d.core.types import BodyTrack, Scene

MOVEMENT = "movement.json"
SCHEMA = 1
"""Version of movement.json; raised when a reader of the older one would misread the newer."""

_ANGLES = (
    ("elbow", "Elbow", ("shoulder", "elbow", "wrist")),
    ("shoulder", "Arm to trunk", ("hip", "shoulder", "elbow")),
    ("hip", "Hip", ("shoulder", "hip", "knee")),
    ("knee", "Knee", ("hip", "knee", "ankle")),
)
_SPEEDS = (("wrist", "Hand"), ("ankle", "Foot"))
_SIDES = ("left", "right")
_CLOUDS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""Joints whose error is shown, on both sides."""


def movement(scene: Scene) -> dict[str, Any]:
    """``scene`` as JSON values: exact times of all frames, and for each person curves and the places and errors of the main joints.

    Curves have a value for each frame on which the person was followed, null where there is none: angles of three joints (180° is
    straight), the lean of the trunk, speeds in metres in a second of real time, heights above the floor. Places are in millimetres of the
    floor-aligned world of ``body.glb``; errors are ``BodyTrack.joint_sigma_m``, absent where nothing was smoothed.
    """
    clip = scene.clip
    return {
        "schema": SCHEMA,
        "times_s": [round(float(time), 6) for time in clip.times_s],
        "time_scale": clip.time_scale,
        "people": [_person(track, scene) for track in scene.people],
    }


def movement_json(scene: Scene) -> str:
    """``movement`` as text."""
    return json.dumps(movement(scene), separators=(",", ":"), allow_nan=False)


def _person(track: BodyTrack, scene: Scene) -> dict[str, Any]:
    world = {name: scene.world_points(track.joint(name).astype(np.float64), track.frame_index) for name in track.joint_names}
    times_s = scene.clip.times_s[track.frame_index] * scene.clip.time_scale
    return {
        "person_id": track.person_id,
        "frames": track.frame_index.tolist(),
        "curves": _curves(world, track.frame_index, times_s),
        "clouds": _clouds(track, world),
    }


def _curves(world: dict[str, Float[np.ndarray, "t 3"]], frames: Int[np.ndarray, " t"], times_s: Float[np.ndarray, " t"]) -> list[Any]:
    curves = []

    def add(name: str, label: str, unit: str, group: str, values: Float[np.ndarray, " t"], digits: int) -> None:
        rounded = [round(float(value), digits) if np.isfinite(value) else None for value in values]
        curves.append({"name": name, "label": label, "unit": unit, "group": group, "values": rounded})

    for name, label, joints in _ANGLES:
        for side in _SIDES:
            a, b, c = (world[f"{side}_{joint}"] for joint in joints)
            add(f"{side}_{name}_deg", f"{label}, {side}", "°", "Joint angles", joint_angle_deg(a, b, c), 1)
    hips, shoulders = (0.5 * (world[f"left_{joint}"] + world[f"right_{joint}"]) for joint in ("hip", "shoulder"))
    add("trunk_lean_deg", "Trunk from upright", "°", "Trunk", joint_angle_deg(shoulders, hips, hips + np.array([0.0, 1.0, 0.0])), 1)
    for name, label in _SPEEDS:
        for side in _SIDES:
            add(f"{side}_{name}_m_s", f"{label}, {side}", "m/s", "Speeds", speed_m_s(world[f"{side}_{name}"], frames, times_s), 2)
    add("hips_m_s", "Hips", "m/s", "Speeds", speed_m_s(hips, frames, times_s), 2)
    add("hips_height_cm", "Hips", "cm", "Heights above the floor", 100 * hips[:, 1], 1)
    for side in _SIDES:
        add(f"{side}_hand_height_cm", f"Hand, {side}", "cm", "Heights above the floor", 100 * world[f"{side}_wrist"][:, 1], 1)
        add(f"{side}_foot_height_cm", f"Ankle, {side}", "cm", "Heights above the floor", 100 * world[f"{side}_ankle"][:, 1], 1)
    return curves


def speed_m_s(
    places_m: Float[np.ndarray, "t 3"], frames: Int[np.ndarray, " t"], times_s: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """Speed on each frame from the frames before and after it; NaN at the ends and where either was not followed."""
    speed = np.full(len(places_m), np.nan)
    whole = np.flatnonzero(frames[2:] - frames[:-2] == 2) + 1
    step_s = times_s[whole + 1] - times_s[whole - 1]
    speed[whole] = np.linalg.norm(places_m[whole + 1] - places_m[whole - 1], axis=-1) / step_s
    return speed


def joint_angle_deg(a: Float[np.ndarray, "t 3"], at: Float[np.ndarray, "t 3"], b: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, " t"]:
    """Angle at ``at`` between the directions to ``a`` and ``b``; NaN where two of the points are one."""
    u, v = a - at, b - at
    across = np.linalg.norm(np.cross(u, v), axis=-1)
    along = np.sum(u * v, axis=-1)
    return np.where((across == 0) & (along == 0), np.nan, np.degrees(np.arctan2(across, along)))


def _clouds(track: BodyTrack, world: dict[str, Float[np.ndarray, "t 3"]]) -> list[Any]:
    if track.joint_sigma_m is None:
        return []
    clouds = []
    for name in (f"{side}_{joint}" for joint in _CLOUDS for side in _SIDES):
        sigma_mm = np.nan_to_num(1000 * track.joint_sigma_m[:, track.joint_names.index(name)], nan=-1, posinf=-1)
        places_mm = np.round(1000 * world[name]).astype(int)
        clouds.append({"joint": name, "places_mm": places_mm.reshape(-1).tolist(), "error_mm": np.round(sigma_mm).astype(int).tolist()})
    return clouds
