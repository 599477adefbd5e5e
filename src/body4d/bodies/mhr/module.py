"""MHR, the Momentum Human Rig (Ferguson et al. 2025, arXiv 2511.15586), as a torch module of our own.

Parameters in, surface and skeleton out: batched, in float32 on any device, differentiable. What the published TorchScript computes,
its buffers read by :mod:`body4d.bodies.mhr.rig_file`. In its own axes and units: y up, facing +z, centimetres. Metres, camera axes
and rigs for renderer and exporters: :mod:`body4d.bodies.mhr.to_rig`.
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from body4d.bodies.mhr.correctives import PoseCorrectives, compressed, some_rows
from body4d.bodies.mhr.float32 import full_float32, product
from body4d.bodies.mhr.rig_file import FACE_SIZE, SHAPE_SIZE, MhrRigFile, find_rig_file, read_rig_file
from body4d.bodies.mhr.rotations import euler_to_quat, quat_product, quat_to_matrix, quat_turn
from body4d.bodies.mhr.to_rig import rig_of
from body4d.core.errors import WeightsError
from body4d.core.rig import Rig

_PARTS_KEPT = 4  # Vertex sets of the body's and the hand's keypoints, and room for a caller's own.
_UNCORRECTED = 2  # The first two joints, the world and the root, carry no corrective features.


class MhrBody(nn.Module):
    """The rig ``file``, ready to run. Call it as :meth:`forward`; :meth:`skeleton` and :meth:`only` spare what is not asked for.

    The correctives are 18439 x 3 x 3000 multiplications if done densely; ``sparse`` leaves out those with exact zeros where there are
    enough of them. False for devices without sparse products (MPS) and for ``torch.compile``, which breaks its graph at them.
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
    still: Tensor

    def __init__(self, file: MhrRigFile, *, sparse: bool = True) -> None:
        super().__init__()
        self.file = file
        self._parts = _Parts()
        self._set_skeleton(file)
        rest, weights = file.rest_vertices_cm, _dense_weights(file)
        second = compressed(file.correctives_cm) if sparse else file.correctives_cm.to_dense()
        self._set_surface(rest, file.shape_vectors_cm, file.face_vectors_cm, weights, _first_layer(file), second)

    def _set_skeleton(self, file: MhrRigFile) -> None:
        constants = {
            "parameter_transform": file.parameter_transform,
            "joint_offsets": file.joint_offsets_cm,
            "prerotations": file.prerotations,
            "inverse_bind": file.inverse_bind,
            "ancestors": _doubling(file.parents.tolist()),
            "still": torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1]),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def _set_surface(self, rest: Tensor, shapes: Tensor, faces: Tensor, weights: Tensor, first: Tensor, second: Tensor) -> None:
        self.register_buffer("rest_vertices", rest, persistent=False)
        self.register_buffer("shape_vectors", shapes.flatten(1), persistent=False)
        self.register_buffer("face_vectors", faces.flatten(1), persistent=False)
        self.register_buffer("skin_weights", weights, persistent=False)
        self.correctives = PoseCorrectives(first, second)

    @classmethod
    def load(cls, place: str | os.PathLike[str] | None = None, keypoint_mapping: Tensor | None = None) -> "MhrBody":
        """The rig at ``place`` (see :func:`find_rig_file`). Raises WeightsError, also where the file can only be called as it is."""
        path = find_rig_file(place)
        file = read_rig_file(path, keypoint_mapping)
        if file is None:
            raise WeightsError(f"{path} holds no MHR buffers to take apart: it can pose a body (MhrScript), but gives no rig to export.")
        return cls(file)

    def forward(self, shape: Tensor, parameters: Tensor, face: Tensor | None = None, *, correct: bool = True) -> tuple[Tensor, Tensor]:
        """Vertices (B, V, 3) in cm and the skeleton's state (B, J, 8): place in cm, quaternion x y z w, scale.

        ``shape`` (B, 45), ``parameters`` (B, 204) pose and scales, ``face`` (B, 72) or None. ``correct`` False leaves out
        the pose correctives. Always float32, whatever autocast says: a millimetre is 1/2000 of a body.
        """
        with torch.autocast(parameters.device.type, enabled=False):
            shape, parameters = shape.float(), parameters.float()
            joint_parameters = self._joint_parameters(parameters)
            state = self._kinematics(joint_parameters)
            rest = self.rest_vertices + product(shape, self.shape_vectors).unflatten(-1, (-1, 3))
            if face is not None:
                rest = rest + product(face.float(), self.face_vectors).unflatten(-1, (-1, 3))
            if correct:
                rest = rest + self.correctives(corrective_features(joint_parameters)).unflatten(-1, (-1, 3))
            return self._skin(rest, state), state

    def skeleton(self, parameters: Tensor) -> Tensor:
        """State (B, J, 8) of the joints alone, as in :meth:`forward`; shape and face do not move them."""
        with torch.autocast(parameters.device.type, enabled=False):
            return self._kinematics(self._joint_parameters(parameters.float()))

    def at_vertices(self, shape: Tensor, parameters: Tensor, face: Tensor | None, vertex: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices ``vertex`` (n,) alone, (B, n, 3) in cm, and the state (B, J, 8): as :meth:`forward`, at a fraction of the cost.

        With no vertices this is :meth:`skeleton`. The first call with a set of vertices cuts the body down to it and keeps that
        for the next calls; hand the same tensor again and nothing has to be read off the device to know it.
        """
        if not vertex.numel():
            state = self.skeleton(parameters)
            return state.new_zeros(len(state), 0, 3), state
        return self._parts.find(vertex, self.only)(shape, parameters, face)

    def only(self, vertices: Tensor) -> "MhrBody":
        """The same body with no more than the vertices ``vertices`` (R,): what keypoints need."""
        vertices = vertices.cpu()
        part = MhrBody.__new__(MhrBody)
        nn.Module.__init__(part)
        part.file = self.file
        part._parts = _Parts()
        part._set_skeleton(self.file)
        rows = (vertices[:, None] * 3 + torch.arange(3)).flatten()
        part._set_surface(
            self.file.rest_vertices_cm[vertices],
            self.file.shape_vectors_cm[:, vertices],
            self.file.face_vectors_cm[:, vertices],
            _dense_weights(self.file)[vertices],
            _first_layer(self.file),
            some_rows(self.file.correctives_cm, rows),
        )
        return part.to(self.rest_vertices.device)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Moved to another device, the body is cut down anew there."""
        self._parts = _Parts()
        return super()._apply(fn, recurse)

    def rig(self, shape: NDArray[np.floating]) -> Rig:
        """The rig of one person for renderer and exporters; ``shape`` (113,): 45 of the shape, then the 68 scales of the bones.

        Linear blend skinning only: pose correctives cannot go into a Rig (nor a GLB); ``mhr_rig.lbs_gap_m`` tells what they amount to.
        """
        return rig_of(self, shape)

    def _joint_parameters(self, parameters: Tensor) -> Tensor:
        """(B, J, 7): tx ty tz in cm, rx ry rz, log2 of the scale."""
        return product(parameters, self.parameter_transform.mT).unflatten(-1, (-1, 7))

    def _kinematics(self, joint_parameters: Tensor) -> Tensor:
        """Global state (B, J, 8) by doubling: after round k each joint stands relative to its 2^(k+1)-th ancestor."""
        batch = joint_parameters.shape[0]
        place = self.joint_offsets + joint_parameters[..., :3]
        turn = quat_product(self.prerotations.expand(batch, -1, -1), euler_to_quat(joint_parameters[..., 3:6]))
        scale = torch.exp2(joint_parameters[..., 6:7])
        still = self.still.expand(batch, 1, 8)
        state = torch.cat([place, turn, scale], -1)
        for up in self.ancestors:
            above = torch.cat([state, still], 1)[:, up]
            state = torch.cat(
                [
                    above[..., :3] + above[..., 7:] * quat_turn(above[..., 3:7], state[..., :3]),
                    quat_product(above[..., 3:7], state[..., 3:7]),
                    above[..., 7:] * state[..., 7:],
                ],
                -1,
            )
        return state

    def _skin(self, rest: Tensor, state: Tensor) -> Tensor:
        """Linear blend skinning (B, V, 3). Blending matrices by one product is quicker than gathering four for each vertex."""
        bind_place, bind_turn, bind_scale = self.inverse_bind.split((3, 4, 1), -1)
        turn = quat_to_matrix(state[..., 3:7]) * state[..., 7:, None]
        linear = product(turn, quat_to_matrix(bind_turn) * bind_scale[..., None])
        place = (turn * bind_place[..., None, :]).sum(-1) + state[..., :3]
        affine = torch.cat([linear, place[..., None]], -1).flatten(-2)
        blended = product(self.skin_weights, affine).unflatten(-1, (3, 4))
        return (blended[..., :3] * rest[..., None, :]).sum(-1) + blended[..., 3]


class MhrScript(nn.Module):
    """A rig file that cannot be taken apart, called as TorchScript; the same call as :class:`MhrBody`, always with correctives."""

    name = "mhr"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._script = torch.jit.load(str(path), map_location="cpu").eval()

    def forward(self, shape: Tensor, parameters: Tensor, face: Tensor | None = None) -> tuple[Tensor, Tensor]:
        face = parameters.new_zeros(len(parameters), FACE_SIZE) if face is None else face
        with torch.autocast(parameters.device.type, enabled=False), full_float32():
            return self._script(shape.float(), parameters.float(), face.float())

    def at_vertices(self, shape: Tensor, parameters: Tensor, face: Tensor | None, vertex: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices ``vertex`` (n,) alone, (B, n, 3) in cm, and the state (B, J, 8). The file can only make all of them."""
        vertices, state = self(shape, parameters, face)
        return vertices[:, vertex], state

    def skeleton(self, parameters: Tensor) -> Tensor:
        return self(parameters.new_zeros(len(parameters), SHAPE_SIZE), parameters)[1]


class _Parts:
    """Bodies cut down to some vertices, the last few used. Known by the tensor that asked for them, else by its content."""

    def __init__(self) -> None:
        self._asked: OrderedDict[int, tuple[Tensor, int, MhrBody]] = OrderedDict()
        self._made: OrderedDict[tuple[int, ...], MhrBody] = OrderedDict()

    def find(self, vertex: Tensor, make: Callable[[Tensor], MhrBody]) -> MhrBody:
        asked, version = self._asked.get(id(vertex)), -1 if vertex.is_inference() else vertex._version
        # The tensor itself is kept, so that its id stays its own; its version tells of changes in place.
        if asked and asked[0] is vertex and asked[1] == version:
            return asked[2]
        content = tuple(vertex.tolist())  # Waits for the device: once for each tensor.
        with torch.inference_mode(False):  # What is kept must serve callers who want gradients, too.
            part = self._made.pop(content, None) or make(vertex)
        _put(self._made, content, part)
        if version >= 0:
            _put(self._asked, id(vertex), (vertex, version, part))
        return part


def _put(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _PARTS_KEPT:
        kept.popitem(last=False)


def load_mhr(
    place: str | os.PathLike[str] | None = None, keypoint_mapping: Tensor | None = None, device: str | torch.device = "cpu"
) -> MhrBody | MhrScript:
    """The rig at ``place`` on ``device``: ours where the file can be taken apart, else the file itself, called. Raises WeightsError.

    Correctives are sparse on the CPU alone: an accelerator hides a dense product in its batches.
    """
    path = find_rig_file(place)
    file = read_rig_file(path, keypoint_mapping)
    body = MhrScript(path) if file is None else MhrBody(file, sparse=torch.device(device).type == "cpu")
    return body.to(device)


def mhr_body() -> MhrBody:
    """The MHR of ``$BODY4D_MHR``, loaded once per process and file. Raises WeightsError where there is none."""
    return _loaded(find_rig_file().resolve())


@lru_cache(maxsize=1)
def _loaded(path: Path) -> MhrBody:
    return MhrBody.load(path)


def corrective_features(joint_parameters: Tensor) -> Tensor:
    """(B, 6 (J - 2)): the first two columns of each joint's own rotation, less those of the identity."""
    turn = quat_to_matrix(euler_to_quat(joint_parameters[..., _UNCORRECTED:, 3:6]))
    columns = (turn - torch.eye(3, device=turn.device))[..., :2]
    return columns.mT.flatten(-3)


def _doubling(parents: list[int]) -> Tensor:
    """(R, J): for each round the joint to stand on, J (nothing) where there is none. R = 4 for a chain of 16."""
    nothing = len(parents)
    up = torch.tensor([nothing if parent < 0 else parent for parent in parents] + [nothing])
    rounds = []
    while bool((up != nothing).any()):
        rounds.append(up[:-1])
        up = up[up]
    return torch.stack(rounds) if rounds else torch.zeros(0, nothing, dtype=torch.long)


def _dense_weights(file: MhrRigFile) -> Tensor:
    weights = torch.zeros(len(file.rest_vertices_cm), len(file.parents))
    return weights.index_put_((file.skin_vertices, file.skin_joints), file.skin_weights, accumulate=True)


def _first_layer(file: MhrRigFile) -> Tensor:
    """(H, 6 (J - 2)), dense."""
    shape = (file.correctives_cm.shape[1], 6 * (len(file.parents) - _UNCORRECTED))
    rows, columns = file.corrective_places
    return torch.zeros(shape).index_put_((rows, columns), file.corrective_values, accumulate=True)
