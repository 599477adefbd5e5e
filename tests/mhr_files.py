"""Makes rig files in the structure of the published mhr_model.pt, of any size, and poses them joint by joint in float64.

The bodies are made up: a tree of bones with vertices strewn around them. Names, shapes, units and orders are the published ones.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

FULL_VERTICES, FULL_JOINTS, FULL_FACES = 18439, 127, 36874
_HIDDEN_PER_JOINT = 24
_DEEPEST = 15  # four rounds of prefix products reach 16 joints, which is what the published table has
_POSES, _SCALES, _UNUSED = 136, 68, 45


@dataclass(frozen=True)
class MadeRig:
    """Arrays of a made-up rig under the published names' last parts; ``correctives`` (3 V, H) dense."""

    base_shape: np.ndarray
    shape_vectors: np.ndarray
    face_vectors: np.ndarray
    faces: np.ndarray
    joint_parents: np.ndarray
    joint_translation_offsets: np.ndarray
    joint_prerotations: np.ndarray
    parameter_transform: np.ndarray
    inverse_bind_pose: np.ndarray
    skin_indices: np.ndarray
    skin_weights: np.ndarray
    vert_indices: np.ndarray
    sparse_indices: np.ndarray
    sparse_weight: np.ndarray
    correctives: np.ndarray
    joint_names: tuple[str, ...]


def make_rig(vertices: int = 60, joints: int = 12, faces: int = 80, seed: int = 0, *, hidden_per_joint: int = _HIDDEN_PER_JOINT) -> MadeRig:
    """A rig with ``joints`` joints (127 is MHR's) in a tree at most 16 deep, each parent before its children."""
    rng = np.random.default_rng(seed)
    parents = _tree(joints, rng)
    offsets = rng.normal(0, 8, (joints, 3))
    offsets[0], offsets[1] = 0, (0, 92.4, 0)
    turns = rng.normal(size=(joints, 4))
    turns[0] = 0, 0, 0, 1
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    owner = rng.integers(1, joints, vertices)
    influences = _influences(owner, parents, rng)
    state = plain_skeleton(np.zeros((joints, 7)), parents, offsets, turns)
    base = state[owner, :3] + rng.normal(0, 4, (vertices, 3))
    places, values, hidden = _first_layer(parents, rng, hidden_per_joint)
    return MadeRig(
        base_shape=base.astype(np.float32),
        shape_vectors=rng.normal(0, 0.3, (45, vertices, 3)).astype(np.float32),
        face_vectors=rng.normal(0, 0.1, (72, vertices, 3)).astype(np.float32),
        faces=rng.integers(0, vertices, (faces, 3)),
        joint_parents=parents,
        joint_translation_offsets=offsets.astype(np.float32),
        joint_prerotations=turns.astype(np.float32),
        parameter_transform=_transform(joints, rng).astype(np.float32),
        inverse_bind_pose=_inverse(state).astype(np.float32),
        skin_indices=influences[1].astype(np.int32),
        skin_weights=influences[2].astype(np.float32),
        vert_indices=influences[0].astype(np.int64),
        sparse_indices=places,
        sparse_weight=values,
        correctives=_second_layer(owner, influences, hidden, hidden_per_joint, rng),
        joint_names=("body_world", "root", *(f"bone_{j}" for j in range(2, joints))),
    )


def full_rig(seed: int = 0) -> MadeRig:
    """A rig of the published sizes: 18439 vertices, 127 joints, 3000 hidden units (0.7 GB)."""
    return make_rig(FULL_VERTICES, FULL_JOINTS, FULL_FACES, seed)


def _tree(joints: int, rng: np.random.Generator) -> np.ndarray:
    parents, depth = [-1, 0], [0, 1]
    for j in range(2, joints):
        recent = [p for p in range(max(1, j - 6), j) if depth[p] < _DEEPEST] or [1]
        parents.append(int(rng.choice(recent)))
        depth.append(depth[parents[j]] + 1)
    return np.array(parents)


def _influences(owner: np.ndarray, parents: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat (vertex, joint, weight), up to four joints each: the owner and those above it. In no order, as nothing promises one."""
    rows = []
    for v, j in enumerate(owner):
        chain = [int(j)]
        while len(chain) < rng.integers(1, 5) and parents[chain[-1]] > 0:
            chain.append(int(parents[chain[-1]]))
        share = rng.dirichlet(np.ones(len(chain)))
        rows += [(v, joint, weight) for joint, weight in zip(chain, share, strict=True)]
    table = np.array(rows)[rng.permutation(len(rows))]
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2]


def _transform(joints: int, rng: np.random.Generator) -> np.ndarray:
    """(7 J, 249): root translation in decimetres and rotation, single and coupled angles, six sliding joints, scales."""
    out = np.zeros((joints, 7, _POSES + _SCALES + _UNUSED))
    for axis in range(3):
        out[1, axis, axis] = 10
        out[1, 3 + axis, 3 + axis] = 1
    for parameter in range(6, _POSES - 6):
        out[rng.integers(2, joints), rng.integers(3, 6), parameter] = 1
        if rng.random() < 0.1:  # a twist that a neighbour shares
            out[rng.integers(2, joints), rng.integers(3, 6), parameter] = 0.4
    for parameter in range(_POSES - 6, _POSES):
        out[rng.integers(2, joints), rng.integers(0, 3), parameter] = 1
    for parameter in range(_POSES, _POSES + _SCALES):
        joint = rng.integers(1, joints)
        out[joint, 6, parameter] = 1
        if rng.random() < 0.5:
            out[rng.integers(2, joints), rng.integers(0, 3), parameter] = 2
    return out.reshape(7 * joints, -1)


def _first_layer(parents: np.ndarray, rng: np.random.Generator, units_each: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Places (2, M) and values (M,) of the sparse layer: a joint's units see its own rotation, its parent's and one child's."""
    joints = len(parents)
    rows, columns = [], []
    for j in range(2, joints):
        seen = [j] + [p for p in (int(parents[j]),) if p >= 2] + np.flatnonzero(parents == j)[:1].tolist()
        for unit in range(units_each):
            for k in seen:
                rows += [(j - 2) * units_each + unit] * 6
                columns += range((k - 2) * 6, (k - 2) * 6 + 6)
    order = rng.permutation(len(rows))
    places = np.array([rows, columns], dtype=np.int64)[:, order]
    return places, rng.normal(0, 0.4, len(rows)).astype(np.float32), (joints - 2) * units_each


def _second_layer(
    owner: np.ndarray, influences: tuple[np.ndarray, np.ndarray, np.ndarray], hidden: int, units_each: int, rng: np.random.Generator
) -> np.ndarray:
    """(3 V, H): a vertex answers to the units of the joints that move it, and to no other."""
    out = np.zeros((len(owner), 3, hidden), np.float32)
    for vertex, joint in zip(influences[0], influences[1], strict=True):
        if joint >= 2:
            units = slice((joint - 2) * units_each, (joint - 1) * units_each)
            out[vertex, :, units] = rng.normal(0, 0.05, (3, units_each))
    return out.reshape(3 * len(owner), hidden)


def save_script(rig: MadeRig, path: Path) -> Path:
    """Write ``rig`` as a TorchScript file with the published buffers and attributes."""
    torch.jit.script(_Root(rig)).save(str(path))
    return path


class _Holder(nn.Module):
    """A module that holds buffers and children, as the published ones do."""

    def __init__(self, **buffers: np.ndarray) -> None:
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value)))


class _Skeleton(_Holder):
    joint_names: list[str]
    _pmi_buffer_sizes: list[int]

    def __init__(self, rig: MadeRig) -> None:
        pmi, sizes = _prefix_table(rig.joint_parents)
        super().__init__(
            joint_translation_offsets=rig.joint_translation_offsets,
            joint_prerotations=rig.joint_prerotations,
            joint_parents=rig.joint_parents.astype(np.int32),
            pmi=pmi,
        )
        self.joint_names, self._pmi_buffer_sizes = list(rig.joint_names), sizes


class _Sparse(_Holder):
    sparse_shape: tuple[int, int]

    def __init__(self, rig: MadeRig) -> None:
        super().__init__(sparse_indices=rig.sparse_indices, sparse_weight=rig.sparse_weight)
        self.sparse_shape = (rig.correctives.shape[1], 6 * (len(rig.joint_parents) - 2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (torch.sparse_coo_tensor(self.sparse_indices, self.sparse_weight, self.sparse_shape) @ features.mT).mT


class _Second(_Holder):
    def __init__(self, rig: MadeRig) -> None:
        super().__init__(weight=rig.correctives)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.weight.mT


class _Root(nn.Module):
    def __init__(self, rig: MadeRig) -> None:
        super().__init__()
        self.character_torch = nn.Module()
        self.character_torch.blend_shape = _Holder(base_shape=rig.base_shape, shape_vectors=rig.shape_vectors)
        self.character_torch.skeleton = _Skeleton(rig)
        self.character_torch.parameter_transform = _Holder(parameter_transform=rig.parameter_transform)
        self.character_torch.linear_blend_skinning = _Holder(
            inverse_bind_pose=rig.inverse_bind_pose,
            skin_indices_flattened=rig.skin_indices,
            skin_weights_flattened=rig.skin_weights,
            vert_indices_flattened=rig.vert_indices,
        )
        self.character_torch.mesh = _Holder(faces=rig.faces)
        self.character_torch.parameter_limits = _Holder(minmax=np.zeros((4, 2), np.float32))
        self.face_expressions_model = _Holder(shape_vectors=rig.face_vectors)
        self.pose_correctives_model = nn.Module()
        predictor = nn.Sequential(_Sparse(rig), nn.ReLU(), _Second(rig))
        self.pose_correctives_model.pose_dirs_predictor = predictor


def _prefix_table(parents: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """(2, N) joints and the ancestors they are multiplied with, and how many there are in each of the four rounds."""
    depth = np.zeros(len(parents), int)
    for j in range(1, len(parents)):
        depth[j] = depth[parents[j]] + 1
    rounds = []
    for bit in range(4):
        pairs = []
        for j in np.flatnonzero(depth >> bit & 1):
            up = int(j)
            while depth[up] >= depth[j] >> bit << bit:
                up = int(parents[up])
            pairs.append((int(j), up))
        rounds.append(pairs)
    return np.array([pair for pairs in rounds for pair in pairs], np.int64).reshape(-1, 2).T, [len(pairs) for pairs in rounds]


def save_repack(rig: MadeRig, path: Path, keypoint_mapping: np.ndarray | None = None) -> Path:
    """Write ``rig`` under the names of ComfyUI's one-file repack."""
    from safetensors.numpy import save_file

    pmi, sizes = _prefix_table(rig.joint_parents)
    tensors = {
        "mhr.base_shape": rig.base_shape,
        "mhr.identity_basis": rig.shape_vectors,
        "mhr.expr_basis": rig.face_vectors,
        "mhr.param_transform": rig.parameter_transform,
        "mhr.skel_joint_translation_offsets": rig.joint_translation_offsets,
        "mhr.skel_joint_prerotations": rig.joint_prerotations,
        "mhr.skel_joint_parents": rig.joint_parents.astype(np.int32),
        "mhr.skel_pmi": pmi,
        "mhr.skel_pmi_buffer_sizes": np.array(sizes),
        "mhr.lbs_inverse_bind_pose": rig.inverse_bind_pose,
        "mhr.lbs_skin_indices": rig.skin_indices,
        "mhr.lbs_skin_weights": rig.skin_weights,
        "mhr.lbs_vert_indices": rig.vert_indices,
        "mhr.pose_corr_sparse_indices": rig.sparse_indices,
        "mhr.pose_corr_sparse_weight": rig.sparse_weight,
        "mhr.pose_corr_sparse_shape": np.array([rig.correctives.shape[1], 6 * (len(rig.joint_parents) - 2)]),
        "mhr.pose_corr_weight": rig.correctives,
        "head_pose.faces": rig.faces,
    }
    if keypoint_mapping is not None:
        tensors["head_pose.keypoint_mapping"] = keypoint_mapping
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, str(path))
    return path


def random_inputs(people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape (P, 45), parameters (P, 204), face (P, 72), float32, as lively as real ones."""
    rng = np.random.default_rng(seed)
    parameters = np.concatenate([rng.normal(0, 0.5, (people, _POSES)), rng.normal(0, 0.1, (people, _SCALES))], axis=1)
    return (
        rng.normal(size=(people, 45)).astype(np.float32),
        parameters.astype(np.float32),
        rng.normal(size=(people, 72)).astype(np.float32),
    )


def plain_skeleton(joint_parameters: np.ndarray, parents: np.ndarray, offsets: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """State (J, 8) of one person, joint after joint from the root on, in float64 by scipy's rotations."""
    from scipy.spatial.transform import Rotation

    state = np.zeros((len(parents), 8))
    for j, parent in enumerate(parents):
        place, scale = offsets[j] + joint_parameters[j, :3], 2.0 ** joint_parameters[j, 6]
        turn = Rotation.from_quat(turns[j]) * Rotation.from_euler("xyz", joint_parameters[j, 3:6])
        if parent >= 0:
            above = Rotation.from_quat(state[parent, 3:7])
            place = state[parent, :3] + above.apply(state[parent, 7] * place)
            turn, scale = above * turn, state[parent, 7] * scale
        state[j] = [*place, *turn.as_quat(), scale]
    return state


def plain_forward(rig: MadeRig, shape: np.ndarray, parameters: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in cm and state (J, 8) of one person, by the published description, step by step in float64."""
    from scipy.spatial.transform import Rotation

    joint_parameters = (rig.parameter_transform[:, :204].astype(float) @ parameters).reshape(-1, 7)
    state = plain_skeleton(joint_parameters, rig.joint_parents, rig.joint_translation_offsets, rig.joint_prerotations)
    rest = rig.base_shape + np.tensordot(shape, rig.shape_vectors, 1) + np.tensordot(face, rig.face_vectors, 1)
    own = Rotation.from_euler("xyz", joint_parameters[2:, 3:6]).as_matrix() - np.eye(3)
    features = np.concatenate([own[:, :, 0], own[:, :, 1]], axis=1).ravel()
    hidden = np.zeros(rig.correctives.shape[1])
    np.add.at(hidden, rig.sparse_indices[0], rig.sparse_weight * features[rig.sparse_indices[1]])
    rest = rest + (rig.correctives @ np.maximum(hidden, 0)).reshape(-1, 3)
    turn = Rotation.from_quat(state[:, 3:7])
    bind = rig.inverse_bind_pose.astype(float)
    vertices = np.zeros_like(rest)
    for v, j, weight in zip(rig.vert_indices, rig.skin_indices, rig.skin_weights, strict=True):
        local = Rotation.from_quat(bind[j, 3:7]).apply(rest[v]) * bind[j, 7] + bind[j, :3]
        vertices[v] += weight * (turn[j].apply(local) * state[j, 7] + state[j, :3])
    return vertices, state


def _inverse(state: np.ndarray) -> np.ndarray:
    """Inverse (J, 8) of a global state."""
    from scipy.spatial.transform import Rotation

    back = Rotation.from_quat(state[:, 3:7]).inv()
    scale = 1 / state[:, 7:]
    return np.concatenate([-back.apply(state[:, :3]) * scale, back.as_quat(), scale], axis=1)
