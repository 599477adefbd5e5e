"""MHR, the Momentum Human Rig (Ferguson et al. 2025, arXiv 2511.15586), as a torch module of our own.

Parameters in, surface and skeleton out: batched, in float32 on any device, differentiable. It computes what the published TorchScript
computes, from the buffers that ``body4d.bodies.mhr.rig_file`` reads. Axes and units are MHR's own: y up, facing +z, centimetres.
``body4d.bodies.mhr.to_rig`` converts to metres, camera axes, and the rigs that renderer and exporters take.
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from body4d.bodies.mhr.correctives import PoseCorrectives, compress
from body4d.bodies.mhr.rig_file import MhrRigFile, find_rig_file, read_rig_file
from body4d.bodies.mhr.rotations import euler_xyz_to_quat, quat_multiply, quat_rotate, quat_to_matrix
from body4d.bodies.mhr.to_rig import build_rig
from body4d.core.rig import Rig

MAX_CACHED_SUBSETS = 4
"""Vertex subsets that a body keeps: those of the body's and the hand's keypoints, and two of a caller's own."""

UNCORRECTED_JOINTS = 2
"""The first two joints, the world and the root, carry no corrective features."""


class MhrBody(nn.Module):
    """The rig of ``file``, ready to be posed: ``forward`` gives all of it, ``skeleton`` and ``at_vertices`` parts.

    The correctives take 18439 x 3 x 3000 multiplications if done densely; ``sparse`` skips the exact zeros where there are enough of
    them. Pass False for devices without sparse products (MPS) and for ``torch.compile``, which breaks its graph at them.
    Buffers are not in the state dict: they are Meta's data, not weights of a network that contains this body.
    """

    name = "mhr"
    shape_vectors: Tensor
    face_vectors: Tensor
    rest_vertices: Tensor
    skin_weights: Tensor
    parameter_transform: Tensor
    joint_offsets: Tensor
    prerotations: Tensor
    inverse_bind: Tensor
    ancestors: Tensor
    identity_state: Tensor

    def __init__(self, file: MhrRigFile, *, sparse: bool = True) -> None:
        super().__init__()
        self.file = file
        self._subsets = _SubsetCache()
        self._set_skeleton(file)
        second_layer = compress(file.correctives_cm) if sparse else file.correctives_cm
        self._set_surface(
            file.rest_vertices_cm, file.shape_vectors_cm, file.face_vectors_cm, _dense_weights(file), _first_layer(file), second_layer
        )

    def _set_skeleton(self, file: MhrRigFile) -> None:
        buffers = {
            "parameter_transform": file.parameter_transform,
            "joint_offsets": file.joint_offsets_cm,
            "prerotations": file.prerotations,
            "inverse_bind": file.inverse_bind,
            "ancestors": _ancestors_by_doubling(file.parents.tolist()),
            "identity_state": torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1]),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def _set_surface(
        self, rest: Tensor, shape_vectors: Tensor, face_vectors: Tensor, weights: Tensor, first_layer: Tensor, second_layer: Tensor
    ) -> None:
        self.register_buffer("rest_vertices", rest, persistent=False)
        self.register_buffer("shape_vectors", shape_vectors.flatten(1), persistent=False)
        self.register_buffer("face_vectors", face_vectors.flatten(1), persistent=False)
        self.register_buffer("skin_weights", weights, persistent=False)
        self.correctives = PoseCorrectives(first_layer, second_layer)

    def forward(
        self,
        shape: Float[Tensor, "#b 45"],
        parameters: Float[Tensor, "b 204"],
        face: Float[Tensor, "#b 72"] | None = None,
        *,
        with_correctives: bool = True,
    ) -> tuple[Float[Tensor, "b vertices 3"], Float[Tensor, "b joints 8"]]:
        """Vertices in cm, and the state of each joint: position in cm, quaternion x y z w, scale.

        ``parameters`` are MHR's model parameters, pose then bone scales. The result is float32 even under autocast: half precision is
        off by millimetres.
        """
        with torch.autocast(parameters.device.type, enabled=False):
            shape, parameters = shape.float(), parameters.float()
            joint_parameters = self._joint_parameters(parameters)
            state = self._forward_kinematics(joint_parameters)
            rest = self.rest_vertices + (shape @ self.shape_vectors).unflatten(-1, (-1, 3))
            if face is not None:
                rest = rest + (face.float() @ self.face_vectors).unflatten(-1, (-1, 3))
            if with_correctives:
                rest = rest + self.correctives(corrective_features(joint_parameters)).unflatten(-1, (-1, 3))
            return self._skin(rest, state), state

    def skeleton(self, parameters: Float[Tensor, "b 204"]) -> Float[Tensor, "b joints 8"]:
        """The state of the joints alone, as ``forward`` gives it; shape and face do not move them."""
        with torch.autocast(parameters.device.type, enabled=False):
            return self._forward_kinematics(self._joint_parameters(parameters.float()))

    def at_vertices(
        self,
        shape: Float[Tensor, "b 45"],
        parameters: Float[Tensor, "b 204"],
        face: Float[Tensor, "b 72"] | None,
        vertex: Int[Tensor, " n"],
    ) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b joints 8"]]:
        """The vertices with the indices ``vertex`` and the state, as ``forward`` gives them, at a fraction of the cost.

        Without vertices this is ``skeleton``. The first call with a set of vertices makes a smaller body of it, which is kept for
        the next calls; pass the same tensor again, and nothing has to be read from the device to recognise it.
        """
        if not vertex.numel():
            state = self.skeleton(parameters)
            return state.new_zeros(len(state), 0, 3), state
        return self._subsets.get(vertex, self.subset)(shape, parameters, face)

    def subset(self, vertex: Int[Tensor, " n"]) -> "MhrBody":
        """The same body with the vertices ``vertex`` alone, in that order."""
        vertex = vertex.cpu()
        part = MhrBody.__new__(MhrBody)
        nn.Module.__init__(part)
        part.file = self.file
        part._subsets = _SubsetCache()
        part._set_skeleton(self.file)
        rows = (vertex[:, None] * 3 + torch.arange(3)).flatten()
        part._set_surface(
            self.file.rest_vertices_cm[vertex],
            self.file.shape_vectors_cm[:, vertex],
            self.file.face_vectors_cm[:, vertex],
            _dense_weights(self.file)[vertex],
            _first_layer(self.file),
            self.file.correctives_cm[rows].contiguous(),
        )
        return part.to(self.rest_vertices.device)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move or convert the body; the subsets are made anew on the new device."""
        self._subsets = _SubsetCache()
        return super()._apply(fn, recurse)

    def rig(self, shape: Float[np.ndarray, "113"]) -> Rig:
        """The rig of one person for renderer and exporters; ``shape`` holds 45 shape parameters, then the 68 bone scales.

        A Rig is skinned linearly and has no pose correctives, nor has a GLB made of it:
        ``lbs_gap_m`` measures the difference.
        """
        return build_rig(self, shape)

    def _joint_parameters(self, parameters: Tensor) -> Tensor:
        """(B, J, 7): tx ty tz in cm, rx ry rz, log2 of the scale."""
        return (parameters @ self.parameter_transform.mT).unflatten(-1, (-1, 7))

    def _forward_kinematics(self, joint_parameters: Tensor) -> Tensor:
        """Global state (B, J, 8) by doubling: after round k each joint stands relative to its 2^(k+1)-th ancestor."""
        batch = joint_parameters.shape[0]
        position = self.joint_offsets + joint_parameters[..., :3]
        rotation = quat_multiply(self.prerotations.expand(batch, -1, -1), euler_xyz_to_quat(joint_parameters[..., 3:6]))
        scale = torch.exp2(joint_parameters[..., 6:7])
        identity = self.identity_state.expand(batch, 1, 8)
        state = torch.cat([position, rotation, scale], -1)
        for ancestor in self.ancestors:
            above = torch.cat([state, identity], 1)[:, ancestor]
            state = torch.cat(
                [
                    above[..., :3] + above[..., 7:] * quat_rotate(above[..., 3:7], state[..., :3]),
                    quat_multiply(above[..., 3:7], state[..., 3:7]),
                    above[..., 7:] * state[..., 7:],
                ],
                -1,
            )
        return state

    def _skin(self, rest: Tensor, state: Tensor) -> Tensor:
        """Linear blend skinning (B, V, 3). Blending matrices in one product is faster than gathering four for each vertex."""
        bind_position, bind_quat, bind_scale = self.inverse_bind.split((3, 4, 1), -1)
        rotation = quat_to_matrix(state[..., 3:7]) * state[..., 7:, None]
        linear = rotation @ (quat_to_matrix(bind_quat) * bind_scale[..., None])
        translation = (rotation * bind_position[..., None, :]).sum(-1) + state[..., :3]
        affine = torch.cat([linear, translation[..., None]], -1).flatten(-2)
        blended = (self.skin_weights @ affine).unflatten(-1, (3, 4))
        return (blended[..., :3] * rest[..., None, :]).sum(-1) + blended[..., 3]


class _SubsetCache:
    """The bodies of the vertex subsets used last, found by the tensor that named the vertices, else by its content."""

    def __init__(self) -> None:
        self._by_tensor: OrderedDict[int, tuple[Tensor, int, MhrBody]] = OrderedDict()
        self._by_content: OrderedDict[tuple[int, ...], MhrBody] = OrderedDict()

    def get(self, vertex: Tensor, make: Callable[[Tensor], MhrBody]) -> MhrBody:
        known, version = self._by_tensor.get(id(vertex)), -1 if vertex.is_inference() else vertex._version
        # The tensor itself is kept, so that its id stays its own; its version shows changes in place.
        if known and known[0] is vertex and known[1] == version:
            return known[2]
        content = tuple(vertex.tolist())  # Waits for the device, once for each tensor.
        with torch.inference_mode(False):  # What is kept must serve callers who want gradients, too.
            body = self._by_content.pop(content, None) or make(vertex)
        _put(self._by_content, content, body)
        if version >= 0:
            _put(self._by_tensor, id(vertex), (vertex, version, body))
        return body


def _put(cache: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > MAX_CACHED_SUBSETS:
        cache.popitem(last=False)


def load_mhr(
    path: str | os.PathLike[str] | None = None, keypoint_mapping: Tensor | None = None, device: str | torch.device = "cpu"
) -> MhrBody:
    """The rig at ``path`` (see ``find_rig_file``) on ``device``. Raises WeightsError.

    Correctives are sparse on the CPU alone: an accelerator hides a dense product in its batches.
    """
    file = read_rig_file(find_rig_file(path), keypoint_mapping)
    return MhrBody(file, sparse=torch.device(device).type == "cpu").to(device)


def mhr_body() -> MhrBody:
    """The MHR of ``$BODY4D_MHR``, loaded once per process and file. Raises WeightsError where there is none."""
    return _loaded(find_rig_file().resolve())


@lru_cache(maxsize=1)
def _loaded(path: Path) -> MhrBody:
    return load_mhr(path)


def corrective_features(joint_parameters: Float[Tensor, "b joints 7"]) -> Float[Tensor, "b features"]:
    """Six numbers for each joint but the first two: the first two columns of its own rotation, less those of the identity."""
    rotation = quat_to_matrix(euler_xyz_to_quat(joint_parameters[..., UNCORRECTED_JOINTS:, 3:6]))
    columns = (rotation - torch.eye(3, device=rotation.device))[..., :2]
    return columns.mT.flatten(-3)


def _ancestors_by_doubling(parents: list[int]) -> Tensor:
    """(R, J): for each round the ancestor to compose with, J (the identity) where there is none. R = 4 for a chain of 16."""
    identity = len(parents)
    ancestor = torch.tensor([identity if parent < 0 else parent for parent in parents] + [identity])
    rounds = []
    while bool((ancestor != identity).any()):
        rounds.append(ancestor[:-1])
        ancestor = ancestor[ancestor]
    return torch.stack(rounds) if rounds else torch.zeros(0, identity, dtype=torch.long)


def _dense_weights(file: MhrRigFile) -> Tensor:
    weights = torch.zeros(len(file.rest_vertices_cm), len(file.parents))
    return weights.index_put_((file.skin_vertices, file.skin_joints), file.skin_weights, accumulate=True)


def _first_layer(file: MhrRigFile) -> Tensor:
    """(H, 6 (J - 2)), dense."""
    shape = (file.correctives_cm.shape[1], 6 * (len(file.parents) - UNCORRECTED_JOINTS))
    rows, columns = file.corrective_indices
    return torch.zeros(shape).index_put_((rows, columns), file.corrective_values, accumulate=True)
