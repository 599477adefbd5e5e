"""C3D, read through the package ``ezc3d``: golfers in the marker set of Gears Golf, 29 markers on the body and clusters on the club.

Joint centres are estimated from markers on the skin by fixed offsets, good to two or three centimetres. That does not touch the truth of
a film, which is the body that performs the motion.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from body4d.core.errors import MissingDependencyError
from body4d.evaluate.synthetic.limb_poser import axis_rotation, unit
from body4d.evaluate.synthetic.motion_capture import MotionCapture

_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_HEAD_CLUSTER = "Marker_2:"
"""Markers at the head of the club."""

# From the middle of the belt: down to the hip joints and out to each, then from a marker on the outside of a joint to its middle.
_HIP_DOWN_M, _HIP_OUT_M, _KNEE_IN_M, _ANKLE_IN_M, _SHOULDER_DOWN_M = 0.08, 0.09, 0.05, 0.04, 0.05
_UPPER_BACK_DEG = 10.0
"""The plane of the markers on the upper back leans forward by this much while a person stands straight."""

_CAP_DEG = 10.0
"""The line from the marker on top of a cap to the one in front falls by this much while a person looks straight ahead."""


def read_c3d_motion(path: Path) -> MotionCapture:
    """The motion in a C3D file. Raises MissingDependencyError, and LookupError where markers are missing."""
    markers, rate = _read_markers(path)
    marker = {name: points for name, points in markers.items() if not name.startswith("Marker_")}
    lacking = [name for name in _NEEDED if name not in marker]
    if lacking:
        raise LookupError(f"no markers {', '.join(lacking)}; the marker set of Gears Golf is read")
    left = unit(marker["WaistLeft"] - marker["WaistRight"])
    back = (marker["WaistLBack"] + marker["WaistRBack"] - marker["WaistLeft"] - marker["WaistRight"]) / 2
    pelvis = _rest_frame(left, np.cross(back, left))
    belt = np.mean([marker[f"Waist{name}"] for name in ("Left", "Right", "LBack", "RBack")], axis=0)
    back_low = (marker["BackLeft"] + marker["BackRight"]) / 2
    thorax = _rest_frame(marker["BackLeft"] - marker["BackRight"], back_low - marker["BackTop"])
    thorax = thorax @ axis_rotation(0, np.array(-np.radians(_UPPER_BACK_DEG)))
    head = _head(marker)
    segments = {"pelvis": pelvis, "thorax": thorax, "head": head}
    joints: dict[str, np.ndarray] = {}
    down, out = pelvis[..., 1], pelvis[..., 0]
    # The marker on the left shoulder is seen almost always, the right one seldom: both joints come from the ones behind.
    behind = np.einsum("tba,tb->ta", thorax, marker["LShoulderTop"] + _SHOULDER_DOWN_M * thorax[..., 1] - marker["LShoulderBack"]).mean(0)
    for side, letter, sign in (("left", "L", 1.0), ("right", "R", -1.0)):
        joints[f"{side}_hip"] = belt + _HIP_DOWN_M * down + sign * _HIP_OUT_M * out
        joints[f"{side}_knee"] = marker[f"{letter}KneeOut"] - sign * _KNEE_IN_M * out
        ankle, toe_in, toe_out = (marker[f"{letter}{name}"] for name in ("AnkleOut", "ToeIn", "ToeOut"))
        across = unit(toe_out - toe_in)
        joints[f"{side}_ankle"] = ankle - _ANKLE_IN_M * across
        foot = _rest_frame(sign * across, np.cross(joints[f"{side}_ankle"] - (toe_in + toe_out) / 2, sign * across))
        segments[f"{side}_foot"] = foot @ foot[0].T @ _level(foot[0])
        joints[f"{side}_shoulder"] = marker[f"{letter}ShoulderBack"] + thorax @ (behind * [sign, 1.0, 1.0])
        joints[f"{side}_elbow"] = marker[f"{letter}ElbowOut"]
        joints[f"{side}_wrist"] = marker[f"{letter}WristTop"]
    club = [points for name, points in markers.items() if name.startswith(_HEAD_CLUSTER)]
    times_s = np.arange(len(belt)) / rate
    return MotionCapture(times_s, joints, segments, np.mean(club, axis=0) if club else None)


_NEEDED = (
    *("WaistLeft", "WaistRight", "WaistLBack", "WaistRBack", "BackTop", "BackLeft", "BackRight", "HeadTop", "HeadFront", "HeadSide"),
    *("LShoulderTop", "LShoulderBack", "RShoulderBack"),
    *(f"{letter}{name}" for letter in "LR" for name in ("ElbowOut", "WristTop", "KneeOut", "ToeIn", "ToeOut", "AnkleOut")),
)


def _read_markers(path: Path) -> tuple[dict[str, Float[np.ndarray, "t 3"]], float]:
    """Markers by name in metres and stage axes, bridged where they were not seen, and the rate; those that were never seen are left out."""
    try:
        import ezc3d  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError(
            "A C3D file is read by the package 'ezc3d', which is not installed.",
            code="missing_package",
            hint="Install it with: pip install ezc3d",
            packages=["ezc3d"],
        ) from error
    file: Any = ezc3d.c3d(str(path))
    point = file["parameters"]["POINT"]
    unit_m = _METRES[point["UNITS"]["value"][0].strip()]
    rate = float(point["RATE"]["value"][0])
    places = np.moveaxis(file["data"]["points"][:3], 0, -1) * unit_m  # markers, frames, 3
    names = [str(name).strip() for name in point["LABELS"]["value"]]
    found = {name: _bridged(p) for name, p in zip(names, places, strict=True) if np.isfinite(p[:, 0]).any()}
    # The floor is where the lowest markers of the shoes are: its axis is the one on which they hardly move.
    feet = np.stack([points for name, points in found.items() if "Toe" in name or "Ankle" in name] or list(found.values()))
    head = np.mean([points for name, points in found.items() if name.startswith("Head")] or list(found.values()), axis=0)
    rise = (head - feet.mean(0)).mean(0)
    axis = int(np.abs(rise).argmax())
    up = np.eye(3)[axis] * np.sign(rise[axis])
    side = np.eye(3)[(axis + 1) % 3]
    to_stage = np.stack([side, -up, -np.cross(side, up)])
    return {name: points @ to_stage.T for name, points in found.items()}, rate


def _bridged(points: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3"]:
    """``points`` with straight lines where the marker was not seen."""
    seen = np.isfinite(points).all(-1)
    frames = np.arange(len(points))
    return np.stack([np.interp(frames, frames[seen], points[seen, axis]) for axis in range(3)], axis=-1)


def _rest_frame(left: Float[np.ndarray, "t 3"], down: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3 3"]:
    """Rotations from rest axes (x left, y down) whose first column is ``left``."""
    x = unit(left)
    y = unit(down - np.sum(down * x, -1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _level(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The turn about the vertical alone that faces as ``rotation`` does."""
    front = -rotation[:, 2]
    return axis_rotation(1, np.array(-np.arctan2(front[0], -front[2])))


def _head(marker: dict[str, np.ndarray]) -> Float[np.ndarray, "t 3 3"]:
    front = unit(marker["HeadFront"] - marker["HeadTop"])
    left = marker["HeadSide"] - marker["HeadTop"]
    left = unit(left - np.sum(left * front, -1, keepdims=True) * front)
    raw = np.stack([left, np.cross(-front, left), -front], axis=-1)
    # The marker at the side sits lower than the one on top by an unknown amount: at first the head is taken to be level.
    raw = raw @ axis_rotation(2, np.array(np.arctan2(-raw[0, 1, 0], raw[0, 1, 1])))
    return raw @ axis_rotation(0, np.array(-np.radians(_CAP_DEG)))
