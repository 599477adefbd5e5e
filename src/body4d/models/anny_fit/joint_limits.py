"""How the human body moves, for Anny's joints: which of them a fit drives, about which anatomical axes, and how far each can turn.

Ranges are textbook active ranges of motion (Norkin & White, "Measurement of Joint Motion", 5th ed., appendix), widened a little
where a sport goes beyond them, and counted from Anny's rest pose.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.core.rig import Rig

_SIDED = ("clavicle", "upperarm01", "lowerarm01", "lowerarm02", "wrist", "upperleg01", "lowerleg01", "foot")
DRIVEN_JOINTS: tuple[str, ...] = (
    "root",
    "spine04",
    "spine03",
    "spine01",
    "neck01",
    "head",
    *(f"{name}.{side}" for side in "LR" for name in _SIDED),
)
"""Joints that the fit moves, parents first. ``lowerarm02`` only turns the forearm about its own axis (pronation)."""


@dataclass(frozen=True)
class JointRange:
    """Range of one joint about three axes, in degrees from rest, and how strongly it prefers the middle.

    The axes are flexion (positive when the joint bends), sideways and twist. ``spread_deg`` is the standard deviation of the preference
    for ``middle_deg``; ``low_deg`` and ``high_deg`` are the ends of the range.
    """

    low_deg: tuple[float, float, float]
    high_deg: tuple[float, float, float]
    spread_deg: tuple[float, float, float]
    middle_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


# The trunk bends about 80 degrees forward, 25 back, 35 sideways, and turns 45 over its whole length: a third for each of three joints.
_TRUNK = JointRange((-10, -13, -17), (28, 13, 17), (14, 8, 9))
RANGES: dict[str, JointRange] = {
    "spine04": _TRUNK,
    "spine03": _TRUNK,
    "spine01": _TRUNK,
    "neck01": JointRange((-30, -20, -40), (30, 20, 40), (15, 10, 20)),
    "head": JointRange((-30, -20, -40), (30, 20, 40), (15, 10, 20)),
    "clavicle": JointRange((-20, -25, -8), (20, 25, 8), (9, 10, 4)),
    # Arms hang: from the A-pose they rest 30 degrees nearer to the trunk and a little forward.
    "upperarm01": JointRange((-140, -140, -110), (140, 140, 110), (35, 30, 30), (20, 30, 0)),
    "lowerarm01": JointRange((0, -4, -6), (0, 4, 6), (70, 2, 3)),
    "lowerarm02": JointRange((-2, -2, -85), (2, 2, 85), (1, 1, 40)),
    "wrist": JointRange((-70, -30, -6), (70, 30, 6), (25, 12, 3)),
    "upperleg01": JointRange((-35, -55, -45), (130, 55, 45), (60, 25, 20)),
    "lowerleg01": JointRange((-5, -4, -15), (150, 4, 15), (60, 2, 7)),
    "foot": JointRange((-55, -25, -20), (25, 25, 20), (20, 9, 8)),
}
ELBOW_FLEXION_DEG = (-3.0, 150.0)
"""Elbow flexion from a straight arm; Anny's rest arm is already bent, which ``joint_limits`` subtracts."""


@dataclass(frozen=True)
class JointLimits:
    """Ranges of all driven joints but the root, in radians, as ``JointRange``; one axis per row of ``axes``."""

    axes: Float[np.ndarray, "joints 3 3"]
    low: Float[np.ndarray, "joints 3"]
    high: Float[np.ndarray, "joints 3"]
    spread: Float[np.ndarray, "joints 3"]
    middle: Float[np.ndarray, "joints 3"]


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def _axes(name: str, rig: Rig) -> np.ndarray:
    """Anatomical axes (3, 3) of driven joint ``name`` at rest: rows flexion, sideways, twist."""
    at = {n: rig.rest_joints_m[j] for j, n in enumerate(rig.joint_names)}
    base, _, side = name.partition(".")
    right, up, forward = np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, -1.0])
    if base in ("spine04", "spine03", "spine01", "neck01", "head"):
        return np.stack([np.cross(up, forward), forward, up])
    if base == "clavicle":
        along = _unit(at[f"upperarm01.{side}"] - at[name])
        return np.stack([up, forward, along])
    if base in ("lowerarm01", "lowerarm02", "wrist"):
        upper = _unit(at[f"lowerarm01.{side}"] - at[f"upperarm01.{side}"])
        fore = _unit(at[f"wrist.{side}"] - at[f"lowerarm01.{side}"])
        flexion = _unit(np.cross(fore, -upper))
        return np.stack([flexion, np.cross(fore, flexion), fore])
    if base == "upperarm01":
        along = _unit(at[f"lowerarm01.{side}"] - at[name])
        flexion = _unit(np.cross(along, forward))
        return np.stack([flexion, np.cross(along, flexion), along])
    below = {"upperleg01": "lowerleg01", "lowerleg01": "foot", "foot": "toe1-1"}[base]
    along = _unit(at[f"{below}.{side}"] - at[name])
    # Hips bend forwards, knees backwards, ankles (dorsiflexion) upwards.
    towards = {"upperleg01": forward, "lowerleg01": -forward, "foot": up}[base]
    flexion = _unit(np.cross(along, towards))
    if abs(flexion @ right) < 0.5:
        raise ValueError(f"{name}: the rest pose has no clear flexion axis")
    return np.stack([flexion, np.cross(along, flexion), along])


def joint_limits(rig: Rig) -> JointLimits:
    """Limits of ``DRIVEN_JOINTS`` (without the root) for one body."""
    rows = []
    at = {n: rig.rest_joints_m[j] for j, n in enumerate(rig.joint_names)}
    for name in DRIVEN_JOINTS[1:]:
        base, _, side = name.partition(".")
        joint_range = RANGES[base]
        low, high, middle = (np.array(v, float) for v in (joint_range.low_deg, joint_range.high_deg, joint_range.middle_deg))
        if base == "lowerarm01":
            upper = _unit(at[name] - at[f"upperarm01.{side}"])
            fore = _unit(at[f"wrist.{side}"] - at[name])
            bent = np.degrees(np.arccos(np.clip(upper @ fore, -1, 1)))
            low[0], high[0] = ELBOW_FLEXION_DEG[0] - bent, ELBOW_FLEXION_DEG[1] - bent
        # A mirrored rotation keeps its part along the mirror's normal and reverses the rest, so that inwards is inwards on both sides.
        mirror = np.array([[1.0], [-1.0], [-1.0]]) if side == "R" else 1.0
        rows.append((_axes(name, rig) * mirror, low, high, np.array(joint_range.spread_deg, float), middle))
    axes, low, high, spread, middle = (np.stack(column) for column in zip(*rows, strict=True))
    return JointLimits(axes, np.radians(low), np.radians(high), np.radians(spread), np.radians(middle))
