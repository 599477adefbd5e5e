"""The heads: from a pose token to body parameters, joints, keypoints, and the body's position before the camera."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from body4d.bodies.mhr.rotations import euler_xyz_to_matrix, matrix_to_euler_xyz, quat_to_matrix, rot6d_to_euler_xyz, rot6d_to_matrix
from body4d.core.joints import Mhr70
from body4d.models.sam3d_body.network.crops import Crops, to_crop_coordinates
from body4d.models.sam3d_body.network.layers import Mlp, constant
from body4d.models.sam3d_body.network.prompts import NUM_KEYPOINTS
from body4d.runtime.cuda_graphs import CudaGraphRecorder
from body4d.runtime.torch_utils import float32_matmul

GRAPH_ROW_STEP = 32
"""Batches are filled up to a multiple of this, so that a handful of CUDA graphs serves them all."""

MAX_GRAPHS = 8
"""CUDA graphs kept for one head; each takes a few megabytes of the device."""

NUM_JOINTS = 127
METRES_PER_CM = 0.01

OUTPUT_SIZES = {"rotation": 6, "pose": 260, "shape": 45, "scale": 28, "hand": 108, "face": 72}
"""The 519 numbers that the pose head predicts, in order."""
NUM_OUTPUTS = sum(OUTPUT_SIZES.values())

# Which of the 133 body angles each run of the 260 continuous numbers stands for (published index lists).
TRIPLES = (
    (0, 2, 4), (6, 8, 10), (12, 13, 14), (15, 16, 17), (18, 19, 20), (21, 22, 23), (24, 25, 26), (27, 28, 29), (34, 35, 36), (37, 38, 39),
    (44, 45, 46), (53, 54, 55), (64, 65, 66), (85, 69, 73), (86, 70, 79), (87, 71, 82), (88, 72, 76), (91, 92, 93), (112, 96, 100),
    (113, 97, 106), (114, 98, 109), (115, 99, 103), (130, 131, 132),
)  # fmt: skip
"""Joints of three angles, each six continuous numbers."""
TRANSLATIONS = (124, 125, 126, 127, 128, 129)
"""Translations inside the skeleton, one number each."""
SINGLES = tuple(sorted(set(range(130)) - {i for t in TRIPLES for i in t} - set(TRANSLATIONS)))
"""Single angles, each a sine and a cosine."""
HAND_ANGLES = slice(62, 116)
JAW_ANGLES = slice(130, 133)
"""Angles of the 133 that stay 0: the hands have outputs of their own, and the jaw none."""
FINGER_JOINT_DOFS = (3, 1, 1, 3, 1, 1, 3, 1, 1, 3, 1, 1, 2, 3, 1, 1)
"""Degrees of freedom of a hand's 16 joints."""

HAND_KEYPOINTS = slice(Mhr70.RIGHT_THUMB_TIP, Mhr70.RIGHT_WRIST + 1)
"""The right hand with its wrist: the only keypoints that the hand model predicts."""


class MhrModel(Protocol):
    """The MHR body as the network poses it; ``body4d.bodies.mhr.module.MhrBody`` is one."""

    def at_vertices(
        self,
        shape: Float[Tensor, "b 45"],
        parameters: Float[Tensor, "b 204"],
        face: Float[Tensor, "b 72"],
        vertex: Int[Tensor, " n"],
        /,
    ) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b 127 8"]]:
        """Vertices by index, in cm, and the state of each joint: position in cm, quaternion x y z w, scale; y up."""
        ...


@dataclass(frozen=True)
class PosePrediction:
    """B bodies as pose tokens predict them. Positions are in metres and camera axes, relative to the body's own root."""

    pose_raw: Float[Tensor, "b 266"]
    """What is fed back to the decoder; zero once hands are merged in."""
    global_rot: Float[Tensor, "b 3"]
    """The MHR parameters 3 to 5."""
    body_pose: Float[Tensor, "b 133"]
    """Angles and translations of the body's joints."""
    shape: Float[Tensor, "b 45"]
    scale: Float[Tensor, "b 28"]
    """Principal components of the bone scales."""
    hand: Float[Tensor, "b 108"]
    """Left hand, then right hand."""
    face: Float[Tensor, "b 72"]
    """Zero: the published network does not use them."""
    mhr_params: Float[Tensor, "b 204"]
    """MHR's model parameters, in its own y-up axes."""
    keypoints_m: Float[Tensor, "b 70 3"]
    joints_m: Float[Tensor, "b 127 3"]
    joint_rotations: Float[Tensor, "b 127 3 3"]
    """Global rotations in MHR's own axes."""


@dataclass(frozen=True)
class CameraPrediction:
    """Where B bodies are, and where their keypoints are seen."""

    weak_perspective: Float[Tensor, "b 3"]
    """Scale and shift within the crop, as the head predicts them."""
    translation_m: Float[Tensor, "b 3"]
    """Position of the body's root in camera axes."""
    keypoints_px: Float[Tensor, "b 70 2"]
    """In frame pixels."""
    keypoint_depth_m: Float[Tensor, "b 70"]
    keypoints_crop: Float[Tensor, "b 70 2"]
    """From -0.5 to 0.5 within the crop."""


class PoseHead(nn.Module):
    """Turns a pose token into an MHR body. With ``hand`` it is the hand model, which poses the right wrist and leaves the rest."""

    joint_rotation: Tensor
    scale_mean: Tensor
    scale_comps: Tensor
    hand_pose_mean: Tensor
    hand_pose_comps: Tensor
    right_wrist_coords: Tensor
    root_coords: Tensor
    local_to_world_wrist: Tensor
    hand_joint_idxs_left: Tensor
    hand_joint_idxs_right: Tensor
    nonhand_param_idxs: Tensor
    keypoint_vertex: Tensor
    keypoint_from_vertex: Tensor
    keypoint_from_joint: Tensor
    body_order: Tensor
    body_kept: Tensor
    hand_triples: Tensor
    hand_pairs: Tensor
    hand_order: Tensor

    def __init__(self, width: int, *, hand: bool) -> None:
        super().__init__()
        self.is_hand = hand
        self.cuda_graphs = CudaGraphRecorder("The MHR body", max_graphs=MAX_GRAPHS, row_step=GRAPH_ROW_STEP)
        self.proj = Mlp(width, width, NUM_OUTPUTS)
        for name, shape in (
            ("joint_rotation", (NUM_JOINTS, 3, 3)), ("scale_mean", (68,)), ("scale_comps", (28, 68)), ("hand_pose_mean", (54,)),
            ("hand_pose_comps", (54, 54)), ("right_wrist_coords", (3,)), ("root_coords", (3,)), ("local_to_world_wrist", (3, 3)),
        ):  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("hand_joint_idxs_left", torch.zeros(27, dtype=torch.long))
        self.register_buffer("hand_joint_idxs_right", torch.zeros(27, dtype=torch.long))
        self.register_buffer("nonhand_param_idxs", torch.zeros(145, dtype=torch.long))
        # The published keypoint mapping reduced to the 70 keypoints and the vertices that they depend on.
        self.register_buffer("keypoint_vertex", torch.zeros(0, dtype=torch.long))
        self.register_buffer("keypoint_from_vertex", torch.zeros(NUM_KEYPOINTS, 0))
        self.register_buffer("keypoint_from_joint", torch.zeros(NUM_KEYPOINTS, NUM_JOINTS))
        for name, index in _index_tables().items():
            self.register_buffer(name, index, persistent=False)

    def reset_buffers(self, device: torch.device | str) -> None:
        """Make the index tables, after the module was built on the meta device."""
        for name, index in _index_tables().items():
            self.register_buffer(name, index.to(device), persistent=False)

    def forward(self, token: Float[Tensor, "b width"], initial: Float[Tensor, "#b 519"], mhr: MhrModel) -> PosePrediction:
        """The body of each token; the head predicts the difference from ``initial``."""
        raw = (self.proj(token) + initial).float()
        return PosePrediction(*self.cuda_graphs(lambda raw: self._read_outputs(raw, mhr), (raw,), owner=mhr))

    def _read_outputs(self, raw: Tensor, mhr: MhrModel) -> tuple[Tensor, ...]:
        """The fields of the ``PosePrediction`` that the outputs (B, 519) stand for."""
        rotation, pose, shape, scale, hand, face = raw.split(list(OUTPUT_SIZES.values()), -1)
        # Published: the angles in the order z, y, x are given to MHR as x, y, z; the network has learnt to expect it.
        global_rot = matrix_to_euler_xyz(rot6d_to_matrix(rotation)).flip(-1)
        prediction = self.pose(
            mhr,
            global_rot=global_rot,
            body_pose=self.body_angles(pose),
            shape=shape,
            scale=scale,
            hand=hand,
            face=torch.zeros_like(face),
            pose_raw=torch.cat([rotation, pose], -1),
        )
        return tuple(getattr(prediction, field.name) for field in fields(prediction))

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self.cuda_graphs.clear()  # Graphs refer to the tables by their address in memory.
        return super()._apply(fn, recurse)

    def pose(
        self,
        mhr: MhrModel,
        *,
        global_rot: Float[Tensor, "b 3"],
        body_pose: Float[Tensor, "b 133"],
        shape: Float[Tensor, "b 45"],
        scale: Float[Tensor, "b 28"],
        hand: Float[Tensor, "b 108"],
        face: Float[Tensor, "b 72"],
        pose_raw: Float[Tensor, "b 266"],
    ) -> PosePrediction:
        """The MHR body of these parameters."""
        params = self.mhr_params(global_rot, body_pose, scale, hand)
        vertices, state = pose_mhr(mhr, shape, params, face, self.keypoint_vertex)
        to_camera = constant((1.0, -1.0, -1.0), state.device, state.dtype)  # From MHR's axes: y up, z towards the viewer.
        joints = state[..., :3] * METRES_PER_CM
        keypoints = float32_matmul(self.keypoint_from_vertex, vertices * METRES_PER_CM) + float32_matmul(self.keypoint_from_joint, joints)
        if self.is_hand:
            is_predicted = torch.zeros(NUM_KEYPOINTS, 1, device=keypoints.device)
            is_predicted[HAND_KEYPOINTS] = 1
            keypoints = keypoints * is_predicted
        return PosePrediction(
            pose_raw, global_rot, body_pose, shape, scale, hand, face, params,
            keypoints * to_camera, joints * to_camera, quat_to_matrix(state[..., 3:7]),
        )  # fmt: skip

    def body_angles(self, continuous: Float[Tensor, "b 260"]) -> Float[Tensor, "b 133"]:
        """Angles and translations of 260 continuous numbers; those of hands and jaw are 0."""
        triples, singles, translations = continuous.split([6 * len(TRIPLES), 2 * len(SINGLES), len(TRANSLATIONS)], -1)
        pairs = singles.unflatten(-1, (-1, 2))
        ordered = torch.cat(
            [rot6d_to_euler_xyz(triples.unflatten(-1, (-1, 6))).flatten(-2), torch.atan2(pairs[..., 0], pairs[..., 1]), translations], -1
        )
        return ordered[..., self.body_order] * self.body_kept

    def hand_angles(self, components: Float[Tensor, "*batch 54"]) -> Float[Tensor, "*batch 27"]:
        """Angles of one hand's components."""
        continuous = self.hand_pose_mean + float32_matmul(components, self.hand_pose_comps)
        triples = rot6d_to_euler_xyz(continuous[..., self.hand_triples]).flatten(-2)
        pairs = continuous[..., self.hand_pairs]
        return torch.cat([triples, torch.atan2(pairs[..., 0], pairs[..., 1])], -1)[..., self.hand_order]

    def mhr_params(
        self,
        global_rot: Float[Tensor, "b 3"],
        body_pose: Float[Tensor, "b 133"],
        scale: Float[Tensor, "b 28"],
        hand: Float[Tensor, "b 108"],
    ) -> Float[Tensor, "b 204"]:
        """Model parameters: translation in dm, rotation, 130 body angles with those of the hands inserted, 68 scales."""
        translation = torch.zeros_like(global_rot)
        if self.is_hand:
            # The hand model predicts the wrist's rotation; it becomes that of the whole body, which leaves the wrist where it is.
            global_rot = matrix_to_euler_xyz(float32_matmul(euler_xyz_to_matrix(global_rot), self.local_to_world_wrist))
            arm = self.right_wrist_coords - self.root_coords
            translation = -((euler_xyz_to_matrix(global_rot) * arm).sum(-1) + self.root_coords)
        pose = torch.cat([translation * 10, global_rot, body_pose[..., :130]], -1)
        left, right = self.hand_angles(hand.unflatten(-1, (2, 54))).unbind(-2)
        pose = pose.index_copy(1, self.hand_joint_idxs_left, left).index_copy(1, self.hand_joint_idxs_right, right)
        params = torch.cat([pose, self.scale_mean + float32_matmul(scale, self.scale_comps)], -1)
        return params.index_fill(1, self.nonhand_param_idxs, 0) if self.is_hand else params


class CameraHead(nn.Module):
    """Where the body is: scale and shift within the crop, converted to metres by the camera's intrinsics."""

    def __init__(self, width: int, factor: float) -> None:
        super().__init__()
        self.proj = Mlp(width, width, 3)
        self.factor = factor

    def forward(self, token: Float[Tensor, "b width"], initial: Float[Tensor, "#b 3"]) -> Float[Tensor, "b 3"]:
        """Scale and shift; the head predicts the difference from ``initial``."""
        return (self.proj(token) + initial).float()

    def predict(
        self, weak_perspective: Float[Tensor, "b 3"], keypoints_m: Float[Tensor, "b 70 3"], crops: Crops, crop_px: int
    ) -> CameraPrediction:
        """The body's position, and the projection of its keypoints."""
        translation = self.translation_m(weak_perspective, crops)
        pixels, depth = project(keypoints_m + translation[:, None], crops.intrinsics_px)
        return CameraPrediction(weak_perspective, translation, pixels, depth, to_crop_coordinates(pixels, crops, crop_px))

    def translation_m(self, weak_perspective: Float[Tensor, "b 3"], crops: Crops) -> Float[Tensor, "b 3"]:
        """Position in camera axes: the depth from the body's size in its crop, the rest from the crop's position."""
        K = crops.intrinsics_px
        size = -crops.side_px * weak_perspective[:, 0] * self.factor + 1e-8
        shift = 2 * (crops.centre_px - K[:, :2, 2]) / size[:, None]
        return torch.stack([weak_perspective[:, 1] + shift[:, 0], -weak_perspective[:, 2] + shift[:, 1], 2 * K[:, 0, 0] / size], -1)


def project(points_m: Float[Tensor, "b n 3"], intrinsics_px: Float[Tensor, "b 3 3"]) -> tuple[Float[Tensor, "b n 2"], Float[Tensor, "b n"]]:
    """Pixels and depths of points in camera axes."""
    depth = points_m[..., 2]
    pixels = float32_matmul(points_m / depth[..., None], intrinsics_px.mT)
    return pixels[..., :2], depth


def pose_mhr(
    mhr: MhrModel, shape: Tensor, params: Tensor, face: Tensor, vertex: Tensor
) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b 127 8"]]:
    """``MhrModel.at_vertices``, never under autocast."""
    with torch.autocast(params.device.type, enabled=False):
        return mhr.at_vertices(shape, params, face, vertex)


def _index_tables() -> dict[str, Tensor]:
    body_slots = [i for t in TRIPLES for i in t] + list(SINGLES) + list(TRANSLATIONS)
    kept = torch.ones(133)
    kept[HAND_ANGLES] = 0
    kept[JAW_ANGLES] = 0
    triples, pairs, triple_slots, pair_slots = [], [], [], []
    component = slot = 0
    for dofs in FINGER_JOINT_DOFS:
        if dofs == 3:
            triples.append(range(component, component + 6))
            triple_slots += range(slot, slot + 3)
        else:
            pairs += [(component + 2 * k, component + 2 * k + 1) for k in range(dofs)]
            pair_slots += range(slot, slot + dofs)
        component, slot = component + 2 * dofs, slot + dofs
    return {
        "body_order": torch.argsort(torch.tensor(body_slots)),
        "body_kept": kept,
        "hand_triples": torch.tensor([list(t) for t in triples]),
        "hand_pairs": torch.tensor(pairs),
        "hand_order": torch.argsort(torch.tensor(triple_slots + pair_slots)),
    }
