"""A SMPL or SMPL-X model: its file, and its points posed by linear blend skinning. Metres, y up, the rest pose faces +z with arms out."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from body4d.bodies.smpl.safe_pickle import read_pickled_arrays
from body4d.core.errors import WeightsError

NUM_JOINTS = {"smpl": 24, "smplx": 55}
"""By which the kinds are told apart."""

NUM_BETAS = 10
"""Shape parameters that are fitted: what other programs read without being told."""

_SIDES = ("left", "right")
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_BODY = (
    *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle", "spine3"),
    *("left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist"),
)
JOINT_NAMES = {
    "smpl": (*_BODY, "left_hand", "right_hand"),
    "smplx": (*_BODY, "jaw", "left_eye", "right_eye", *(f"{s}_{f}{k}" for s in _SIDES for f in _FINGERS for k in (1, 2, 3))),
}

_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_GENDERS = {"NEUTRAL": "neutral", "MALE": "male", "FEMALE": "female", "_M_": "male", "_F_": "female"}


@dataclass(frozen=True)
class SkinnedPoints:
    """Points that a body's joints move: vertices, or others fastened to it. Positions are linear in the shape."""

    parents: Int[np.ndarray, " joints"]
    """-1 at the root, joint 0; a parent comes before its children."""
    joints_m: Float[np.ndarray, "joints 3"]
    joint_shapes_m: Float[np.ndarray, "joints 3 betas"]
    rest_m: Float[np.ndarray, "points 3"]
    shapes_m: Float[np.ndarray, "points 3 betas"]
    weights: Float[np.ndarray, "points joints"]
    """Rows sum to 1."""
    pose_dirs: Float[np.ndarray, "features points3"] | None = None
    """How points at rest change with each element of the joints' rotation matrices less the identity; None where they do not."""

    def rest_joints(self, betas: Float[np.ndarray, " betas"]) -> Float[np.ndarray, "joints 3"]:
        return self.joints_m + self.joint_shapes_m @ betas

    def rest_points(
        self, betas: Float[np.ndarray, " betas"], rotations: Float[np.ndarray, "t joints 3 3"]
    ) -> Float[np.ndarray, "t points 3"]:
        """The points before skinning, as the shape and the pose change them."""
        rest = self.rest_m + self.shapes_m @ betas
        if self.pose_dirs is None:
            return np.broadcast_to(rest, (len(rotations), *rest.shape))
        features = (rotations[:, 1:] - np.eye(3)).reshape(len(rotations), -1)
        return rest + (features.astype(self.pose_dirs.dtype) @ self.pose_dirs).reshape(len(rotations), *rest.shape)

    def forward(
        self, rest_joints_m: Float[np.ndarray, "joints 3"], rotations: Float[np.ndarray, "t joints 3 3"], root_m: Float[np.ndarray, "t 3"]
    ) -> tuple[Float[np.ndarray, "t joints 3 3"], Float[np.ndarray, "t joints 3"]]:
        """Rotations and places of the joints in the world, of rotations relative to the parent; ``root_m`` is joint 0."""
        G, p = np.empty_like(rotations), np.empty(rotations.shape[:3])
        for j, parent in enumerate(self.parents):
            if parent < 0:
                G[:, j], p[:, j] = rotations[:, j], root_m
                continue
            G[:, j] = G[:, parent] @ rotations[:, j]
            p[:, j] = p[:, parent] + G[:, parent] @ (rest_joints_m[j] - rest_joints_m[parent])
        return G, p

    def posed(
        self, betas: Float[np.ndarray, " betas"], rotations: Float[np.ndarray, "t joints 3 3"], root_m: Float[np.ndarray, "t 3"]
    ) -> Float[np.ndarray, "t points 3"]:
        """The points in the world."""
        joints = self.rest_joints(betas)
        G, p = self.forward(joints, rotations, root_m)
        places = p - np.einsum("tjab,jb->tja", G, joints)
        blended = (self.weights @ G.reshape(len(G), len(joints), 9)).reshape(len(G), -1, 3, 3)
        return np.einsum("tpab,tpb->tpa", blended, self.rest_points(betas, rotations)) + self.weights @ places

    def some(self, chosen: Int[np.ndarray, " points"]) -> "SkinnedPoints":
        """The points of these indices alone."""
        dirs = self.pose_dirs
        if dirs is not None:
            dirs = dirs.reshape(len(dirs), -1, 3)[:, chosen].reshape(len(dirs), -1)
        return replace(self, rest_m=self.rest_m[chosen], shapes_m=self.shapes_m[chosen], weights=self.weights[chosen], pose_dirs=dirs)


@dataclass(frozen=True)
class SmplModel:
    """One model file: its vertices as ``SkinnedPoints``, and what it is."""

    kind: str
    """ "smpl" or "smplx"."""
    gender: str
    path: Path
    vertices: SkinnedPoints
    faces: Int[np.ndarray, "faces 3"]

    @property
    def joint_names(self) -> tuple[str, ...]:
        return JOINT_NAMES[self.kind]


def find_model(kind: str, where: Path) -> Path:
    """The file of a ``kind`` of model: ``where`` itself, or the best of that folder and its ``smpl`` or ``smplx``: neutral before others.

    Raises WeightsError where there is none.
    """
    if where.is_file():
        return where
    found = sorted(_candidates(kind, where), key=lambda path: (gender_of(path) != "neutral", path.suffix != ".npz", path.name))
    if not found:
        names = {"smpl": "SMPL_NEUTRAL.npz or .pkl", "smplx": "SMPLX_NEUTRAL.npz or .pkl"}[kind]
        raise WeightsError(
            f"There is no {kind.upper().replace('PLX', 'PL-X')} model in {where}.",
            code="no_body_model",
            hint=f"Put {names} there, or name the file itself; docs/formats.md says where to get it.",
            folder=str(where),
        )
    return found[0]


def _candidates(kind: str, where: Path) -> Iterator[Path]:
    for folder in (where, where / kind, where / "models", where / "models" / kind):
        for path in folder.iterdir() if folder.is_dir() else ():
            name = path.stem.lower()
            is_smplx = name.startswith("smplx")
            is_smpl = (name.startswith("smpl_") or name.startswith("basicmodel")) and not is_smplx
            if path.suffix in (".npz", ".pkl") and (is_smplx if kind == "smplx" else is_smpl):
                yield path


def gender_of(path: Path) -> str:
    """neutral, male or female, as the file's name says; neutral where it does not."""
    name = f"{path.stem.upper()}_"
    return next((gender for mark, gender in sorted(_GENDERS.items(), key=lambda item: -len(item[0])) if mark in name), "neutral")


def load_model(kind: str, where: Path) -> SmplModel:
    """The model of ``kind`` from ``find_model``. Raises WeightsError where it is missing, damaged or another model."""
    path = find_model(kind, where)
    arrays = _read(path)
    lacking = [key for key in _KEYS if key not in arrays]
    if lacking:
        raise _damaged(path, f"it lacks {', '.join(lacking)}")
    template = arrays["v_template"].astype(np.float64)
    weights = arrays["weights"].astype(np.float64)
    num_vertices, num_joints = len(template), weights.shape[-1]
    if num_joints != NUM_JOINTS[kind]:
        raise _damaged(path, f"it has {num_joints} joints, and {kind} has {NUM_JOINTS[kind]}")
    betas = min(NUM_BETAS, arrays["shapedirs"].shape[-1])
    features = 9 * (num_joints - 1)
    shapes = {
        "v_template": (num_vertices, 3), "weights": (num_vertices, num_joints), "J_regressor": (num_joints, num_vertices),
        "posedirs": (num_vertices, 3, features),
    }  # fmt: skip
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise _damaged(path, f"{key} has the shape {arrays[key].shape} instead of {shape}")
    parents = arrays["kintree_table"][0].astype(np.int64)
    parents[0] = -1
    if np.any(parents[1:] >= np.arange(1, num_joints)) or np.any(parents[1:] < 0):
        raise _damaged(path, "its joints are in no order")
    shape_dirs = arrays["shapedirs"][..., :betas].astype(np.float64)
    regressor = arrays["J_regressor"].astype(np.float64)
    vertices = SkinnedPoints(
        parents=parents,
        joints_m=regressor @ template,
        joint_shapes_m=np.einsum("jv,vab->jab", regressor, shape_dirs),
        rest_m=template,
        shapes_m=shape_dirs,
        weights=weights,
        pose_dirs=np.ascontiguousarray(arrays["posedirs"].reshape(num_vertices * 3, features).T, np.float32),
    )
    return SmplModel(kind, gender_of(path), path, vertices, arrays["f"].astype(np.int64))


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that a model needs."""
    try:
        if path.suffix == ".pkl":
            return read_pickled_arrays(path.read_bytes(), path.name)
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in _KEYS if key in data}
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error


def _damaged(path: Path, why: str) -> WeightsError:
    return WeightsError(f"{path} cannot be used as a body model: {why}.", code="bad_body_model", hint="Download it again.", path=str(path))
