"""MHR as a ``Rig``: metres, rest axes, joints whose rest orientation is the identity (docs/conventions.md).

MHR's joints have rest orientations of their own (prerotations) and uniform scales that children inherit. With the person's scales fixed,
both fold away. B_j and Q_j being joint j's global rotation at rest and posed, G_j = Q_j B_j^T; the scaled bones are the rest joints'
offsets, since B_p^T (rest_j - rest_p) = s_p t_j at rest and posed alike. Three things are lost:

* pose correctives, which bend the surface by the pose and have no place in linear blend skinning;
* where joints of different scale share a vertex, MHR blends two sizes; a Rig has one rest vertex, which is exact at rest only;
* translations by pose parameters inside the skeleton (MHR has six, at shoulders and the like), whose bones a Rig keeps rigid.

``lbs_gap_m`` measures all three for given parameters.
"""

from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from body4d.bodies.mhr.rig_file import PARAMETER_SIZE, POSE_SIZE, SCALE_SIZE, SHAPE_SIZE, MhrRigFile
from body4d.core.joints import Mhr70
from body4d.core.rig import Rig
from body4d.geometry.rotations import matrix_to_rotvec

MHR_TO_CAMERA = np.diag([1.0, -1.0, -1.0])
"""MHR's axes (y up, facing +z) to camera and rest axes (y down, facing -z): a half turn about x."""

METRES_PER_CM = 0.01

CHUNK_FRAMES = 64
"""Frames posed at once: 64 surfaces with their blended matrices take 75 MB."""


class PosableMhr(Protocol):
    """What a rig is made from, ``MhrBody``: the file's rest pose, and the functions that pose it."""

    file: MhrRigFile
    rest_vertices: Tensor
    skin_weights: Tensor

    def skeleton(self, parameters: Tensor) -> Tensor:
        """The state of each joint."""
        ...

    __call__: Any
    """Vertices and the state of each joint, of shape and parameters."""


def rig_shape(shape: Float[np.ndarray, "*s 45"], parameters: Float[np.ndarray, "*t 204"]) -> Float[np.ndarray, "113"]:
    """The shape that ``build_rig`` takes, of one person: 45 shape parameters, then the 68 scales, each the median over the frames."""
    rows = np.atleast_2d(parameters)[:, POSE_SIZE:PARAMETER_SIZE]
    return np.concatenate([np.median(np.atleast_2d(shape), axis=0), np.median(rows, axis=0)]).astype(np.float32)


def build_rig(body: PosableMhr, shape: Float[np.ndarray, "113"]) -> Rig:
    """The rig of one person: ``shape`` as ``rig_shape`` makes it. Keypoints are NaN where the file has no keypoint mapping."""
    values = np.asarray(shape, np.float32)
    if values.shape != (SHAPE_SIZE + SCALE_SIZE,):
        raise ValueError(f"an MHR shape has {SHAPE_SIZE} + {SCALE_SIZE} numbers (shape, bone scales), found {values.shape}")
    vertices, state = _pose(body, _at_rest(values), values[None, :SHAPE_SIZE])
    rest_vertices = vertices[0] @ MHR_TO_CAMERA * METRES_PER_CM
    rest_joints = state[0, :, :3] @ MHR_TO_CAMERA * METRES_PER_CM
    indices, weights = _influences(body.skin_weights.cpu().numpy())
    keypoint_weights, anchors = _fold_keypoints(body, rest_vertices, rest_joints)
    return Rig(
        joint_names=body.file.joint_names,
        parents=body.file.parents.numpy().astype(np.int64),
        rest_joints_m=rest_joints,
        rest_vertices_m=rest_vertices,
        faces=body.file.faces.numpy().astype(np.int32),
        skin_indices=indices,
        skin_weights=weights,
        joint_set="mhr70",
        keypoint_weights=keypoint_weights,
        keypoint_anchors_m=anchors,
    )


def rig_motion(
    body: PosableMhr,
    shape: Float[np.ndarray, "113"],
    parameters: Float[np.ndarray, "t 204"],
    camera_translation_m: Float[np.ndarray, "t 3"],
) -> tuple[Float[np.ndarray, "t joints 3"], Float[np.ndarray, "t 3"]]:
    """Local rotation vectors and the root's position in camera axes, for the rig of ``shape``.

    ``camera_translation_m`` is what SAM-3D-Body predicts. MHR's global rotation and translation belong to its second joint; the first,
    by which a Rig is moved, is placed so that the second stands where it should.
    """
    device = body.rest_vertices.device
    with torch.no_grad():
        posed = body.skeleton(torch.as_tensor(parameters, dtype=torch.float32, device=device)).cpu().double().numpy()
        rest = body.skeleton(torch.as_tensor(_at_rest(np.asarray(shape)), device=device)).cpu().double().numpy()
    G = MHR_TO_CAMERA @ _matrices(posed) @ np.swapaxes(_matrices(rest), -1, -2) @ MHR_TO_CAMERA
    parents = body.file.parents.numpy()
    local = G.copy()
    local[:, 1:] = np.swapaxes(G[:, parents[1:]], -1, -2) @ G[:, 1:]
    position = posed[..., :3] @ MHR_TO_CAMERA * METRES_PER_CM
    offset = (rest[0, 1, :3] - rest[0, 0, :3]) @ MHR_TO_CAMERA * METRES_PER_CM
    root = position[:, 1] - G[:, 0] @ offset
    return matrix_to_rotvec(local).astype(np.float32), (root + camera_translation_m).astype(np.float32)


def mhr_vertices_m(
    body: PosableMhr,
    shape: Float[np.ndarray, "45"] | Float[np.ndarray, "t 45"],
    parameters: Float[np.ndarray, "t 204"],
    *,
    with_correctives: bool = True,
) -> Float[np.ndarray, "t vertices 3"]:
    """MHR's own surface, with its correctives, in metres and camera axes, without the camera's translation."""
    chunks = []
    for first in range(0, len(parameters), CHUNK_FRAMES):
        rows = slice(first, first + CHUNK_FRAMES)
        shape_rows = shape[rows] if shape.ndim > 1 else shape[None]
        vertices, _ = _pose(body, parameters[rows], shape_rows, with_correctives=with_correctives)
        chunks.append(vertices @ MHR_TO_CAMERA * METRES_PER_CM)
    return np.concatenate(chunks).astype(np.float32)


def lbs_gap_m(body: PosableMhr, shape: Float[np.ndarray, "113"], parameters: Float[np.ndarray, "t 204"]) -> Float[np.ndarray, "t vertices"]:
    """Distance in metres between the rig's surface, which every export shows, and MHR's own."""
    rig = build_rig(body, shape)
    rotations, root = rig_motion(body, shape, parameters, np.zeros((len(parameters), 3)))
    skinned = rig.vertices(*rig.forward(rotations.astype(np.float64), root.astype(np.float64)))
    return np.linalg.norm(skinned - mhr_vertices_m(body, shape[:SHAPE_SIZE], parameters), axis=-1)


def _at_rest(shape: np.ndarray) -> np.ndarray:
    """Parameters (1, 204) of the rest pose with the scales of ``shape`` (113,)."""
    parameters = np.zeros((1, PARAMETER_SIZE), np.float32)
    parameters[0, POSE_SIZE:] = shape[SHAPE_SIZE:]
    return parameters


def _pose(body: PosableMhr, parameters: np.ndarray, shape: np.ndarray, *, with_correctives: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (T, V, 3) and state (T, J, 8) in MHR's axes and centimetres, float64."""

    def upload(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=body.rest_vertices.device)

    with torch.no_grad():
        vertices, state = body(upload(shape), upload(parameters), with_correctives=with_correctives)
    return vertices.cpu().double().numpy(), state.cpu().double().numpy()


def _matrices(state: np.ndarray) -> np.ndarray:
    """Global rotations (..., J, 3, 3) of a skeleton's state."""
    quat = state[..., 3:7]
    return Rotation.from_quat(quat.reshape(-1, 4)).as_matrix().reshape(*quat.shape[:-1], 3, 3)


def _influences(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joint indices and weights (V, W), strongest first, W being the largest number at any vertex; rows sum to 1."""
    num_influences = max(int((dense > 0).sum(1).max()), 1)
    indices = np.argsort(-dense, axis=1, kind="stable")[:, :num_influences]
    weights = np.take_along_axis(dense, indices, 1).astype(np.float64)
    return np.where(weights > 0, indices, 0).astype(np.int32), weights / weights.sum(1, keepdims=True)


def _fold_keypoints(body: PosableMhr, rest_vertices_m: np.ndarray, rest_joints_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (70, J) and anchors (70, J, 3) of the keypoints; see ``Rig``. NaN without a mapping."""
    count, joints = len(Mhr70), len(rest_joints_m)
    mapping = body.file.keypoint_mapping
    if mapping is None:
        return np.full((count, joints), np.nan), np.full((count, joints, 3), np.nan)
    dense = body.skin_weights.cpu().double().numpy()
    on_vertices, on_joints = np.split(mapping[:count].double().numpy(), [len(rest_vertices_m)], axis=1)
    weights = on_vertices @ dense + on_joints
    anchors = np.stack([on_vertices @ (dense * rest_vertices_m[:, [axis]]) for axis in range(3)], -1)
    return weights, anchors + on_joints[..., None] * rest_joints_m
