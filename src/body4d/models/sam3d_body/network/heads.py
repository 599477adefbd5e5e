"""From a pose token to body parameters, joints, keypoints and where the body stands before the camera."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from body4d.bodies.mhr.rotations import euler_xyz_to_matrix, matrix_to_euler_xyz, quat_to_matrix, rot6d_to_euler_xyz, rot6d_to_matrix
from body4d.models.sam3d_body.network.crops import Crops, to_crop
from body4d.models.sam3d_body.network.layers import Mlp, constant
from body4d.models.sam3d_body.network.prompts import KEYPOINTS
from body4d.runtime.cuda_graphs import CudaGraphRecorder
from body4d.runtime.torch_utils import float32_matmul

GRAPH_ROW_STEP = 32
"""People are filled up to a multiple of this, so that a handful of CUDA graphs serves every batch."""
MAX_GRAPHS = 8
"""CUDA graphs kept of one head; each holds a few megabytes of the device."""
JOINTS = 127
CM = 0.01
PARTS = {"rotation": 6, "pose": 260, "shape": 45, "scale": 28, "hand": 108, "face": 72}
"""The 519 numbers the head predicts, in order."""
OUTPUTS = sum(PARTS.values())
RAW_POSE = PARTS["rotation"] + PARTS["pose"]

# Which of the 133 body angles each run of the 260 continuous numbers stands for (published index lists).
TRIPLES = (
    (0, 2, 4), (6, 8, 10), (12, 13, 14), (15, 16, 17), (18, 19, 20), (21, 22, 23), (24, 25, 26), (27, 28, 29), (34, 35, 36), (37, 38, 39),
    (44, 45, 46), (53, 54, 55), (64, 65, 66), (85, 69, 73), (86, 70, 79), (87, 71, 82), (88, 72, 76), (91, 92, 93), (112, 96, 100),
    (113, 97, 106), (114, 98, 109), (115, 99, 103), (130, 131, 132),
)  # fmt: skip
SHIFTS = (124, 125, 126, 127, 128, 129)
HAND_ANGLES = slice(62, 116)
JAW_ANGLES = slice(130, 133)
HAND_DOFS = (3, 1, 1, 3, 1, 1, 3, 1, 1, 3, 1, 1, 2, 3, 1, 1)
HAND_KEYPOINTS = slice(21, 42)
"""Right hand and wrist: all the hand model can tell."""
SINGLES = tuple(sorted(set(range(130)) - {i for t in TRIPLES for i in t} - set(SHIFTS)))


@runtime_checkable
class Mhr(Protocol):
    """The MHR body. Called with shape (B, 45), model parameters (B, 204) and face (B, 72) it gives vertices in cm (B, 18439, 3) and the
    skeleton's state (B, 127, 8): centimetres, quaternion x y z w, scale; y up."""

    def __call__(self, shape: Tensor, params: Tensor, face: Tensor, /) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class MhrAtVertices(Protocol):
    """An MHR body that can be asked for some vertices alone."""

    def at_vertices(self, shape: Tensor, params: Tensor, face: Tensor, vertex: Tensor, /) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Pose:
    """What one pose token says, B people. Places in metres, camera axes (x right, y down, z forward) about the body's own root."""

    pose_raw: Tensor
    """(B, 266) what is fed back to the decoder; zeros once hands were merged in."""
    global_rot: Tensor
    """(B, 3) the MHR parameters 3 to 5."""
    body_pose: Tensor
    """(B, 133) angles of the body."""
    shape: Tensor
    """(B, 45)."""
    scale: Tensor
    """(B, 28) principal components of the skeleton's scales."""
    hand: Tensor
    """(B, 108) left hand, right hand."""
    face: Tensor
    """(B, 72) zeros: the published network does not use them."""
    mhr_params: Tensor
    """(B, 204) as MHR takes them, in its own y-up axes."""
    keypoints_m: Tensor
    """(B, 70, 3)."""
    joints_m: Tensor
    """(B, 127, 3)."""
    joint_rotations: Tensor
    """(B, 127, 3, 3) in MHR's own axes."""


@dataclass(frozen=True)
class View:
    """Where B bodies stand and where their keypoints fall."""

    camera: Tensor
    """(B, 3) scale and shift within the crop, as the head gives them."""
    translation_m: Tensor
    """(B, 3) of the body's root in the camera's axes."""
    keypoints_px: Tensor
    """(B, 70, 2) in frame pixels."""
    depth_m: Tensor
    """(B, 70)."""
    keypoints_crop: Tensor
    """(B, 70, 2), from -0.5 to 0.5 inside the crop."""


class PoseHead(nn.Module):
    """A pose token as an MHR body. ``hand`` makes it the hand model: its prediction is the right wrist's, all else rests."""

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
        self.replay = CudaGraphRecorder("The MHR body", max_graphs=MAX_GRAPHS, row_step=GRAPH_ROW_STEP)
        self.proj = Mlp(width, width, OUTPUTS)
        for name, shape in (
            ("joint_rotation", (JOINTS, 3, 3)), ("scale_mean", (68,)), ("scale_comps", (28, 68)), ("hand_pose_mean", (54,)),
            ("hand_pose_comps", (54, 54)), ("right_wrist_coords", (3,)), ("root_coords", (3,)), ("local_to_world_wrist", (3, 3)),
        ):  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("hand_joint_idxs_left", torch.zeros(27, dtype=torch.long))
        self.register_buffer("hand_joint_idxs_right", torch.zeros(27, dtype=torch.long))
        self.register_buffer("nonhand_param_idxs", torch.zeros(145, dtype=torch.long))
        # The published keypoint map cut to what is used of it: rows of the 70 keypoints, columns of the vertices they hang on.
        self.register_buffer("keypoint_vertex", torch.zeros(0, dtype=torch.long))
        self.register_buffer("keypoint_from_vertex", torch.zeros(KEYPOINTS, 0))
        self.register_buffer("keypoint_from_joint", torch.zeros(KEYPOINTS, JOINTS))
        for name, index in _index_tables().items():
            self.register_buffer(name, index, persistent=False)

    def reset_buffers(self, device: torch.device | str) -> None:
        """Make the index tables anew after the module was built on the meta device."""
        for name, index in _index_tables().items():
            self.register_buffer(name, index.to(device), persistent=False)

    def forward(self, token: Tensor, start: Tensor, mhr: Mhr) -> Pose:
        """Pose of tokens (B, width); the head predicts the step from ``start`` (1 or B, 519)."""
        raw = (self.proj(token) + start).float()
        return Pose(*self.replay(lambda raw: self._read(raw, mhr), (raw,), owner=mhr))

    def _read(self, raw: Tensor, mhr: Mhr) -> tuple[Tensor, ...]:
        """The fields of the :class:`Pose` that raw numbers (B, 519) stand for."""
        rotation, pose, shape, scale, hand, face = raw.split(list(PARTS.values()), -1)
        # Published: the angles in order z, y, x stand where MHR reads x, y, z; the network learnt around it.
        turn = matrix_to_euler_xyz(rot6d_to_matrix(rotation)).flip(-1)
        found = self.pose(
            mhr,
            global_rot=turn,
            body_pose=self.body_angles(pose),
            shape=shape,
            scale=scale,
            hand=hand,
            face=torch.zeros_like(face),
            pose_raw=torch.cat([rotation, pose], -1),
        )
        return tuple(getattr(found, field.name) for field in fields(found))

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self.replay.clear()  # Graphs know the tables by their places in memory.
        return super()._apply(fn, recurse)

    def pose(self, mhr: Mhr, *, global_rot: Tensor, body_pose: Tensor, shape: Tensor, scale: Tensor, hand: Tensor, face: Tensor, pose_raw: Tensor) -> Pose:  # fmt: skip  # noqa: E501
        """The MHR body of these parameters."""
        params = self.mhr_params(global_rot, body_pose, scale, hand)
        vertices, state = at_vertices(mhr, shape, params, face, self.keypoint_vertex)
        flip = _flip(state)
        joints = state[..., :3] * CM
        keypoints = float32_matmul(self.keypoint_from_vertex, vertices * CM) + float32_matmul(self.keypoint_from_joint, joints)
        if self.is_hand:
            shown = torch.zeros(KEYPOINTS, 1, device=keypoints.device)
            shown[HAND_KEYPOINTS] = 1
            keypoints = keypoints * shown
        return Pose(
            pose_raw, global_rot, body_pose, shape, scale, hand, face, params,
            keypoints * flip, joints * flip, quat_to_matrix(state[..., 3:7]),
        )  # fmt: skip

    def body_angles(self, continuous: Tensor) -> Tensor:
        """Angles and shifts (B, 133) of 260 continuous numbers; those of hands and jaw are 0, the hands come separately."""
        triples, singles, shifts = continuous.split([6 * len(TRIPLES), 2 * len(SINGLES), len(SHIFTS)], -1)
        pairs = singles.unflatten(-1, (-1, 2))
        ordered = torch.cat(
            [rot6d_to_euler_xyz(triples.unflatten(-1, (-1, 6))).flatten(-2), torch.atan2(pairs[..., 0], pairs[..., 1]), shifts], -1
        )
        return ordered[..., self.body_order] * self.body_kept

    def hand_angles(self, components: Tensor) -> Tensor:
        """Angles (..., 27) of one hand's 54 components."""
        continuous = self.hand_pose_mean + float32_matmul(components, self.hand_pose_comps)
        triples = rot6d_to_euler_xyz(continuous[..., self.hand_triples]).flatten(-2)
        pairs = continuous[..., self.hand_pairs]
        return torch.cat([triples, torch.atan2(pairs[..., 0], pairs[..., 1])], -1)[..., self.hand_order]

    def mhr_params(self, global_rot: Tensor, body_pose: Tensor, scale: Tensor, hand: Tensor) -> Tensor:
        """Model parameters (B, 204): translation in dm, rotation, 130 body angles with the hands' put in, 68 scales."""
        shift = torch.zeros_like(global_rot)
        if self.is_hand:
            # The hand model predicts its wrist's rotation; turned into the whole body's, which keeps the wrist where it is.
            global_rot = matrix_to_euler_xyz(float32_matmul(euler_xyz_to_matrix(global_rot), self.local_to_world_wrist))
            arm = self.right_wrist_coords - self.root_coords
            shift = -((euler_xyz_to_matrix(global_rot) * arm).sum(-1) + self.root_coords)
        pose = torch.cat([shift * 10, global_rot, body_pose[..., :130]], -1)
        left, right = self.hand_angles(hand.unflatten(-1, (2, 54))).unbind(-2)
        pose = pose.index_copy(1, self.hand_joint_idxs_left, left).index_copy(1, self.hand_joint_idxs_right, right)
        params = torch.cat([pose, self.scale_mean + float32_matmul(scale, self.scale_comps)], -1)
        return params.index_fill(1, self.nonhand_param_idxs, 0) if self.is_hand else params


class CameraHead(nn.Module):
    """Where the body stands: scale and shift within the crop, made metres by the camera's intrinsics."""

    def __init__(self, width: int, factor: float) -> None:
        super().__init__()
        self.proj = Mlp(width, width, 3)
        self.factor = factor

    def forward(self, token: Tensor, start: Tensor) -> Tensor:
        return (self.proj(token) + start).float()

    def view(self, camera: Tensor, keypoints_m: Tensor, crops: Crops, crop_px: int) -> View:
        """Place before the camera, and where the keypoints (B, 70, 3) fall."""
        translation = self.translation_m(camera, crops)
        pixels, depth = project(keypoints_m + translation[:, None], crops.intrinsics_px)
        return View(camera, translation, pixels, depth, to_crop(pixels, crops, crop_px))

    def translation_m(self, camera: Tensor, crops: Crops) -> Tensor:
        """(B, 3): depth from how large the body is in its crop, the rest from where the crop lies."""
        K = crops.intrinsics_px
        size = -crops.side_px * camera[:, 0] * self.factor + 1e-8
        shift = 2 * (crops.centre_px - K[:, :2, 2]) / size[:, None]
        return torch.stack([camera[:, 1] + shift[:, 0], -camera[:, 2] + shift[:, 1], 2 * K[:, 0, 0] / size], -1)


def project(points_m: Tensor, intrinsics_px: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, n, 2) and depths (B, n) of points (B, n, 3) in the camera's axes."""
    depth = points_m[..., 2]
    pixels = float32_matmul(points_m / depth[..., None], intrinsics_px.mT)
    return pixels[..., :2], depth


def at_vertices(mhr: Mhr, shape: Tensor, params: Tensor, face: Tensor, vertex: Tensor) -> tuple[Tensor, Tensor]:
    """Some vertices (B, n, 3) and the skeleton's state: only these are made where the body can do that. Never under autocast."""
    with torch.autocast(params.device.type, enabled=False):
        if isinstance(mhr, MhrAtVertices):
            return mhr.at_vertices(shape, params, face, vertex)
        vertices, state = mhr(shape, params, face)
        return vertices[:, vertex], state


def all_vertices_m(mhr: Mhr, pose: Pose) -> Tensor:
    """Every vertex (B, 18439, 3) in metres, camera axes: asked for when needed, never made on the way."""
    vertices = mhr(pose.shape, pose.mhr_params, pose.face)[0]
    return vertices * CM * _flip(vertices)


def _flip(like: Tensor) -> Tensor:
    """From MHR's axes (y up, z towards the viewer) to the camera's."""
    return constant((1.0, -1.0, -1.0), like.device, like.dtype)


def _index_tables() -> dict[str, Tensor]:
    body_slots = [i for t in TRIPLES for i in t] + list(SINGLES) + list(SHIFTS)
    kept = torch.ones(133)
    kept[HAND_ANGLES] = 0
    kept[JAW_ANGLES] = 0
    triples, pairs, triple_slots, pair_slots = [], [], [], []
    place = slot = 0
    for dofs in HAND_DOFS:
        if dofs == 3:
            triples.append(range(place, place + 6))
            triple_slots += range(slot, slot + 3)
        else:
            pairs += [(place + 2 * k, place + 2 * k + 1) for k in range(dofs)]
            pair_slots += range(slot, slot + dofs)
        place, slot = place + 2 * dofs, slot + dofs
    return {
        "body_order": torch.argsort(torch.tensor(body_slots)),
        "body_kept": kept,
        "hand_triples": torch.tensor([list(t) for t in triples]),
        "hand_pairs": torch.tensor(pairs),
        "hand_order": torch.argsort(torch.tensor(triple_slots + pair_slots)),
    }
