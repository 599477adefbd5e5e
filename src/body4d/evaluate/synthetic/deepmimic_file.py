"""DeepMimic's motions, read: its humanoid of 15 joints as JSON text (Peng et al., "DeepMimic", SIGGRAPH 2018).

A frame is its duration, the root's position and 11 rotations: quaternions, scalar first, or the angle of a hinge. The humanoid faces +x
with y up and its right hand at +z; its lengths are those of DeepMimic's ``data/characters/humanoid3d.txt``, in metres.
"""

import json
from pathlib import Path

import numpy as np

from body4d.evaluate.synthetic.bvh_file import rest_palm
from body4d.evaluate.synthetic.limb_poser import axis_rotation, orthonormal_frame
from body4d.evaluate.synthetic.motion_capture import SIDES, MotionCapture
from body4d.geometry.rotations import quat_to_rotvec, rotvec_to_matrix

# Joint: its parent, its place in the parent, and how many numbers turn it (4: a quaternion, 1: a hinge about z), in the file's order.
_JOINTS: dict[str, tuple[str, tuple[float, float, float], int]] = {
    "root": ("", (0.0, 0.0, 0.0), 4),
    "chest": ("root", (0.0, 0.236151, 0.0), 4),
    "neck": ("chest", (0.0, 0.223894, 0.0), 4),
    "right_hip": ("root", (0.0, 0.0, 0.084887), 4),
    "right_knee": ("right_hip", (0.0, -0.421546, 0.0), 1),
    "right_ankle": ("right_knee", (0.0, -0.409870, 0.0), 4),
    "right_shoulder": ("chest", (-0.02405, 0.24350, 0.18311), 4),
    "right_elbow": ("right_shoulder", (0.0, -0.274788, 0.0), 1),
    "right_wrist": ("right_elbow", (0.0, -0.258947, 0.0), 0),
    "left_hip": ("root", (0.0, 0.0, -0.084887), 4),
    "left_knee": ("left_hip", (0.0, -0.421546, 0.0), 1),
    "left_ankle": ("left_knee", (0.0, -0.409870, 0.0), 4),
    "left_shoulder": ("chest", (-0.02405, 0.24350, -0.18311), 4),
    "left_elbow": ("left_shoulder", (0.0, -0.274788, 0.0), 1),
    "left_wrist": ("left_elbow", (0.0, -0.258947, 0.0), 0),
}
_TO_STAGE = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])


def read_deepmimic_motion(path: Path) -> MotionCapture:
    """The motion in a DeepMimic file. Raises ValueError or LookupError where it is damaged."""
    frames = np.array(json.loads(path.read_text(encoding="utf-8"))["Frames"], np.float64)
    width = 4 + sum(numbers for _, _, numbers in _JOINTS.values())
    if frames.ndim != 2 or frames.shape[1] != width or len(frames) < 2:
        raise ValueError(f"frames of {width} numbers are needed, found an array of {frames.shape}")
    rotations, positions, column = {}, {}, 4
    for name, (parent, offset, numbers) in _JOINTS.items():
        turn = np.broadcast_to(np.eye(3), (len(frames), 3, 3))
        if numbers == 4:
            quat = frames[:, column : column + 4]
            turn = rotvec_to_matrix(quat_to_rotvec(quat / np.linalg.norm(quat, axis=-1, keepdims=True)))
        elif numbers == 1:
            turn = axis_rotation(2, frames[:, column])
        column += numbers
        rotations[name] = rotations[parent] @ turn if parent else turn
        positions[name] = positions[parent] + rotations[parent] @ np.array(offset) if parent else frames[:, 1:4]
    turned = {name: _TO_STAGE @ turn @ _TO_STAGE.T for name, turn in rotations.items()}
    segments = {"pelvis": turned["root"], "thorax": turned["chest"], "head": turned["neck"]}
    hang = np.array([0.0, 1.0, 0.0])
    for side in SIDES:
        segments[f"{side}_foot"] = turned[f"{side}_ankle"]
        segments[f"{side}_hand"] = turned[f"{side}_wrist"] @ orthonormal_frame(hang, rest_palm(hang, side))
    joints = {name: positions[name] @ _TO_STAGE.T for name in _JOINTS if "_" in name}
    durations = frames[:, 0]
    times_s = np.concatenate([[0.0], np.cumsum(durations[:-1])])
    return MotionCapture(times_s, joints, segments)
