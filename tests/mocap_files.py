"""Motion files made for tests: a BVH skeleton in centimetres, DeepMimic's text, golf markers as C3D."""

import json
from pathlib import Path

import numpy as np

# Joint: parent, offset. A T pose that faces +z, y up, left at +x.
SKELETON: dict[str, tuple[str | None, tuple[float, float, float]]] = {
    "Hips": (None, (0, 92, 0)),
    "Spine": ("Hips", (0, 12, 0)),
    "Chest": ("Spine", (0, 30, 0)),
    "Neck": ("Chest", (0, 12, 0)),
    "Head": ("Neck", (0, 9, 0)),
    "LeftShoulder": ("Chest", (3, 8, 0)),
    "LeftArm": ("LeftShoulder", (14, 0, 0)),
    "LeftForeArm": ("LeftArm", (27, 0, 0)),
    "LeftHand": ("LeftForeArm", (25, 0, 0)),
    "RightShoulder": ("Chest", (-3, 8, 0)),
    "RightArm": ("RightShoulder", (-14, 0, 0)),
    "RightForeArm": ("RightArm", (-27, 0, 0)),
    "RightHand": ("RightForeArm", (-25, 0, 0)),
    "LeftUpLeg": ("Hips", (9, -2, 0)),
    "LeftLeg": ("LeftUpLeg", (0, -42, 0)),
    "LeftFoot": ("LeftLeg", (0, -40, 0)),
    "RightUpLeg": ("Hips", (-9, -2, 0)),
    "RightLeg": ("RightUpLeg", (0, -42, 0)),
    "RightFoot": ("RightLeg", (0, -40, 0)),
}

STEP_DEG = {"LeftUpLeg": -40.0, "LeftLeg": 60.0, "LeftFoot": -20.0}
"""Angles about x that lift the left foot."""


def write_bvh(path: Path, angles_deg: dict[str, np.ndarray], frames: int, *, rate: float = 60, root_cm=None, z_up: bool = False) -> Path:
    """``angles_deg[joint]`` is (frames, 3) about z, x and y in this order; joints that are not named keep their zero pose."""
    children: dict[str | None, list[str]] = {}
    for name, (parent, _) in SKELETON.items():
        children.setdefault(parent, []).append(name)
    lines, columns = ["HIERARCHY"], []

    def turned(v):
        x, y, z = v
        return (x, -z, y) if z_up else (x, y, z)

    def put(name: str, depth: int) -> None:
        pad, parent = "  " * depth, SKELETON[name][0]
        offset = (0.0, 0.0, 0.0) if parent is None else turned(SKELETON[name][1])
        channels = "Zrotation Xrotation Yrotation" if not z_up else "Yrotation Xrotation Zrotation"
        columns.append(name)
        lines.extend(
            [f"{pad}{'ROOT' if parent is None else 'JOINT'} {name}", f"{pad}{{", f"{pad}  OFFSET {offset[0]} {offset[1]} {offset[2]}"]
        )
        places = "6 Xposition Yposition Zposition " if parent is None else "3 "
        lines.append(f"{pad}  CHANNELS {places}{channels}")
        for child in children.get(name, []):
            put(child, depth + 1)
        if name not in children:
            lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 0 1", f"{pad}  }}"])
        lines.append(f"{pad}}}")

    put("Hips", 0)
    root = np.tile(SKELETON["Hips"][1], (frames, 1)).astype(float) if root_cm is None else root_cm
    rows = []
    for t in range(frames):
        row = list(turned(root[t]))
        for name in columns:
            z, x, y = angles_deg.get(name, np.zeros((frames, 3)))[t]
            row += [-z, x, y] if z_up else [z, x, y]  # z forward has become −y
        rows.append(" ".join(f"{v:.6f}" for v in row))
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {1 / rate:.8f}", *rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def arms_down_and_a_step(frames: int) -> dict[str, np.ndarray]:
    """A person who stands, turns the trunk, swings the arms down and lifts the left foot in the middle."""
    phase = np.linspace(0, 1, frames)
    lift = np.sin(np.pi * phase) ** 2
    zero = np.zeros(frames)
    angles = {name: np.stack([zero, lift * deg, zero], -1) for name, deg in STEP_DEG.items()}
    angles["Chest"] = np.stack([zero, 10 * lift, 40 * phase], -1)
    angles["LeftArm"] = np.stack([zero - 70, zero, 30 * lift], -1)
    angles["RightArm"] = np.stack([zero + 70, zero, -20 * phase], -1)
    angles["LeftForeArm"] = np.stack([zero, zero, -40 * phase - 5], -1)
    angles["RightForeArm"] = np.stack([zero, zero, 25 + zero], -1)
    return angles


def write_deepmimic(path: Path, frames: int, knee_rad: float = 0.0) -> Path:
    """A humanoid that stands; ``knee_rad`` bends its right knee."""
    one = [1.0, 0.0, 0.0, 0.0]
    row = [1 / 30, 0.0, 0.84, 0.0, *one, *one, *one, *one, knee_rad, *one, *one, 0.0, *one, 0.0, *one, *one, 0.0]
    path.write_text(json.dumps({"Loop": "none", "Frames": [row] * frames}))
    return path


def golfer_markers_m(frames: int) -> dict[str, np.ndarray]:
    """Markers of a person who stands and faces +z, y up, their left at +x, at first still and then moving to +x."""
    at = {
        "WaistLeft": (0.17, 1.0, 0.05), "WaistRight": (-0.17, 1.0, 0.05), "WaistLBack": (0.05, 1.0, -0.1), "WaistRBack": (-0.05, 1.0, -0.1),
        "BackTop": (0, 1.5, -0.08), "BackLeft": (0.08, 1.35, -0.105), "BackRight": (-0.08, 1.35, -0.105),
        "HeadTop": (0, 1.8, 0), "HeadFront": (0, 1.78, 0.12), "HeadSide": (0.1, 1.76, 0.01),
        "LShoulderTop": (0.2, 1.5, 0), "LShoulderBack": (0.17, 1.46, -0.07), "RShoulderBack": (-0.17, 1.46, -0.07),
        "LElbowOut": (0.28, 1.18, 0), "RElbowOut": (-0.28, 1.18, 0), "LWristTop": (0.3, 0.93, 0.05), "RWristTop": (-0.3, 0.93, 0.05),
        "LKneeOut": (0.16, 0.52, 0), "RKneeOut": (-0.16, 0.52, 0), "LAnkleOut": (0.15, 0.1, 0), "RAnkleOut": (-0.15, 0.1, 0),
        "LToeIn": (0.08, 0.05, 0.16), "LToeOut": (0.17, 0.05, 0.16), "RToeIn": (-0.08, 0.05, 0.16), "RToeOut": (-0.17, 0.05, 0.16),
        "Marker_2:2:1": (0.0, 0.05, 0.8), "Marker_2:2:2": (0.04, 0.05, 0.8),
    }  # fmt: skip
    way = np.linspace(0, 0.2, frames)[:, None] * [1.0, 0.0, 0.0]
    return {name: np.array(place) + way for name, place in at.items()}
