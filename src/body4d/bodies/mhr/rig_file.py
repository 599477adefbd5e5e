"""The MHR rig on disk: the published TorchScript, ComfyUI's repack, or our own conversion, read into plain tensors.

MHR is the Momentum Human Rig of Meta (Ferguson et al. 2025, arXiv 2511.15586; Apache-2.0). The published ``mhr_model.pt`` is a
TorchScript module; its buffers hold the whole rig under names that are listed here once, in :data:`_SCRIPT` and :data:`_REPACK`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from body4d.core.errors import WeightsError
from body4d.core.files import atomic_file

PLACE_VARIABLE = "BODY4D_MHR"
"""Environment variable that names the rig file, or a folder that holds it."""

POSE_SIZE, SCALE_SIZE, SHAPE_SIZE, FACE_SIZE = 136, 68, 45, 72
"""How many numbers tell the pose (global place included), the bones' scales, the shape and the face."""

PARAMETER_SIZE = POSE_SIZE + SCALE_SIZE
"""Model parameters: pose, then scales."""

_FORMAT = "body4d-mhr-1"
_PER_JOINT = 7  # tx ty tz rx ry rz log2-scale

# Our name: the published one, in the TorchScript's state dict and in ComfyUI's repack.
_SCRIPT = {
    "rest_vertices_cm": "character_torch.blend_shape.base_shape",
    "shape_vectors_cm": "character_torch.blend_shape.shape_vectors",
    "face_vectors_cm": "face_expressions_model.shape_vectors",
    "faces": "character_torch.mesh.faces",
    "parents": "character_torch.skeleton.joint_parents",
    "joint_offsets_cm": "character_torch.skeleton.joint_translation_offsets",
    "prerotations": "character_torch.skeleton.joint_prerotations",
    "parameter_transform": "character_torch.parameter_transform.parameter_transform",
    "inverse_bind": "character_torch.linear_blend_skinning.inverse_bind_pose",
    "skin_joints": "character_torch.linear_blend_skinning.skin_indices_flattened",
    "skin_weights": "character_torch.linear_blend_skinning.skin_weights_flattened",
    "skin_vertices": "character_torch.linear_blend_skinning.vert_indices_flattened",
    "corrective_places": "pose_correctives_model.pose_dirs_predictor.0.sparse_indices",
    "corrective_values": "pose_correctives_model.pose_dirs_predictor.0.sparse_weight",
    "correctives_cm": "pose_correctives_model.pose_dirs_predictor.2.weight",
}
_REPACK = {
    "rest_vertices_cm": "mhr.base_shape",
    "shape_vectors_cm": "mhr.identity_basis",
    "face_vectors_cm": "mhr.expr_basis",
    "faces": "head_pose.faces",
    "parents": "mhr.skel_joint_parents",
    "joint_offsets_cm": "mhr.skel_joint_translation_offsets",
    "prerotations": "mhr.skel_joint_prerotations",
    "parameter_transform": "mhr.param_transform",
    "inverse_bind": "mhr.lbs_inverse_bind_pose",
    "skin_joints": "mhr.lbs_skin_indices",
    "skin_weights": "mhr.lbs_skin_weights",
    "skin_vertices": "mhr.lbs_vert_indices",
    "corrective_places": "mhr.pose_corr_sparse_indices",
    "corrective_values": "mhr.pose_corr_sparse_weight",
    "correctives_cm": "mhr.pose_corr_weight",
}
_KEYPOINT_KEY = "head_pose.keypoint_mapping"
_NAMED_KEYPOINTS = 70  # of the mapping's 308; the rest are dense landmarks nobody asks for

_KNOWN_NAMES = ("mhr.safetensors", "mhr_model.pt", "assets/mhr_model.pt")


@dataclass(frozen=True)
class MhrRigFile:
    """The rig as it is stored: V vertices, J joints, P = 204 parameters, H hidden corrective units; centimetres, y up, facing +z.

    ``rest_vertices_cm`` (V, 3), ``shape_vectors_cm`` (45, V, 3), ``face_vectors_cm`` (72, V, 3), ``faces`` (F, 3);
    ``parents`` (J,) with -1 at the root, a parent before its children; ``joint_offsets_cm`` (J, 3), ``prerotations`` (J, 4)
    quaternions x y z w; ``parameter_transform`` (7 J, P) from parameters to tx ty tz rx ry rz log2-scale of each joint;
    ``inverse_bind`` (J, 8) translation, quaternion, scale; ``skin_vertices``, ``skin_joints``, ``skin_weights`` (N,) one row
    for each influence. ``corrective_places`` (2, M) rows and columns and ``corrective_values`` (M,) of the first layer (H, 6 (J - 2));
    ``correctives_cm`` (3 V, H) the second layer, dense, or sparse CSR where that is the smaller.
    ``keypoint_mapping`` (70, V + J), which comes with SAM-3D-Body's checkpoint and not with the rig, or None. ``joint_names`` (J,).
    """

    rest_vertices_cm: Tensor
    shape_vectors_cm: Tensor
    face_vectors_cm: Tensor
    faces: Tensor
    parents: Tensor
    joint_offsets_cm: Tensor
    prerotations: Tensor
    parameter_transform: Tensor
    inverse_bind: Tensor
    skin_joints: Tensor
    skin_weights: Tensor
    skin_vertices: Tensor
    corrective_places: Tensor
    corrective_values: Tensor
    correctives_cm: Tensor
    joint_names: tuple[str, ...]
    keypoint_mapping: Tensor | None = None

    def __post_init__(self) -> None:
        v, j, h = len(self.rest_vertices_cm), len(self.parents), self.correctives_cm.shape[1]
        wanted: dict[str, tuple[int | None, ...]] = {
            "rest_vertices_cm": (v, 3),
            "shape_vectors_cm": (SHAPE_SIZE, v, 3),
            "face_vectors_cm": (FACE_SIZE, v, 3),
            "faces": (None, 3),
            "joint_offsets_cm": (j, 3),
            "prerotations": (j, 4),
            "parameter_transform": (_PER_JOINT * j, PARAMETER_SIZE),
            "inverse_bind": (j, 8),
            "skin_joints": (len(self.skin_weights),),
            "skin_vertices": (len(self.skin_weights),),
            "corrective_places": (2, len(self.corrective_values)),
            "correctives_cm": (3 * v, h),
        }
        for name, shape in wanted.items():
            found = tuple(getattr(self, name).shape)
            if len(found) != len(shape) or any(want is not None and want != got for want, got in zip(shape, found, strict=True)):
                raise WeightsError(f"The MHR rig's {name} should have shape {shape} and has {found}: the file is damaged or another model.")
        if any(int(parent) >= child for child, parent in enumerate(self.parents)):
            raise WeightsError("The MHR rig's joints are not ordered from the root on: the file is damaged or another model.")
        if self.keypoint_mapping is not None and self.keypoint_mapping.shape[1] != v + j:
            raise WeightsError(f"The keypoint mapping has {self.keypoint_mapping.shape[1]} columns; this rig needs {v + j}.")


def find_rig_file(place: str | os.PathLike[str] | None = None) -> Path:
    """The rig file at ``place``, a file or a folder, else where ``$BODY4D_MHR`` says. Raises WeightsError that tells what to do."""
    told = place or os.environ.get(PLACE_VARIABLE)
    if not told:
        raise WeightsError(
            f"The MHR body needs its rig file, and none is given: set {PLACE_VARIABLE} to mhr_model.pt (it comes with the checkpoint "
            "facebook/sam-3d-body-dinov3, in assets/) or to the folder that holds it."
        )
    path = Path(told).expanduser()
    if path.is_file():
        return path
    for name in _KNOWN_NAMES:
        if (path / name).is_file():
            return path / name
    repacks = [file for file in sorted(path.glob("*.safetensors")) if _holds_rig(file)] if path.is_dir() else []
    if repacks:
        return repacks[0]
    what = f"holds none of {', '.join(_KNOWN_NAMES)}" if path.is_dir() else "does not exist"
    raise WeightsError(f"The MHR body needs its rig file, but {path} {what}: give the path of mhr_model.pt or of its folder.")


def read_rig_file(path: Path, keypoint_mapping: Tensor | None = None) -> MhrRigFile | None:
    """The rig in ``path``; None where it is a TorchScript without the published buffers, which can only be called.

    ``keypoint_mapping`` (at least 70 rows, V + J) from SAM-3D-Body's checkpoint goes along. Raises WeightsError where tensors are missing.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path, keypoint_mapping)
    try:
        script = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{path} is no TorchScript file and so not an MHR rig ({str(error).splitlines()[0]}).") from error
    state = dict(script.state_dict())
    if not any(key in state for key in _SCRIPT.values()):
        return None
    skeleton = script.character_torch.skeleton
    names = tuple(str(name) for name in getattr(skeleton, "joint_names", ()))
    return _assemble(path, state.__getitem__, _SCRIPT, set(state), names, keypoint_mapping)


def save_rig_file(rig: MhrRigFile, path: Path) -> None:
    """Write ``rig`` as safetensors of our own names, which load in a blink because they are mapped, not parsed. Raises OutputError."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    for item in fields(rig):
        value = getattr(rig, item.name)
        if isinstance(value, Tensor) and value.layout == torch.sparse_csr:
            tensors[f"{item.name}.rows"] = value.crow_indices().to(torch.int32)
            tensors[f"{item.name}.columns"] = value.col_indices().to(torch.int32)
            tensors[f"{item.name}.values"] = value.values()
        elif isinstance(value, Tensor):
            tensors[item.name] = value.contiguous()
    hidden = str(rig.correctives_cm.shape[1])
    content = save(tensors, {"format": _FORMAT, "joint_names": "\n".join(rig.joint_names), "hidden": hidden})
    with atomic_file(path) as file:
        file.write(content)


def _holds_rig(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            return (file.metadata() or {}).get("format") == _FORMAT or _REPACK["rest_vertices_cm"] in set(file.keys())
    except (SafetensorError, OSError):
        return False


def _read_safetensors(path: Path, keypoint_mapping: Tensor | None) -> MhrRigFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            keys, about = set(file.keys()), file.metadata() or {}
            if about.get("format") == _FORMAT:
                return _read_own(path, {key: file.get_tensor(key) for key in keys}, about, keypoint_mapping)
            if keypoint_mapping is None and _KEYPOINT_KEY in keys:
                keypoint_mapping = file.get_tensor(_KEYPOINT_KEY)
            return _assemble(path, file.get_tensor, _REPACK, keys, (), keypoint_mapping)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({error}): fetch it again.") from error


def _read_own(path: Path, tensors: dict[str, Tensor], about: Mapping[str, str], keypoint_mapping: Tensor | None) -> MhrRigFile:
    if "correctives_cm.values" in tensors:
        rows, columns, values = (tensors.pop(f"correctives_cm.{part}") for part in ("rows", "columns", "values"))
        tensors["correctives_cm"] = torch.sparse_csr_tensor(rows, columns, values, (len(rows) - 1, int(about["hidden"])))
    if keypoint_mapping is not None:
        tensors["keypoint_mapping"] = keypoint_mapping[:_NAMED_KEYPOINTS].float()
    missing = sorted(set(_SCRIPT) - set(tensors))
    if missing:
        raise WeightsError(f"{path} lacks {', '.join(missing)}: convert the rig again.")
    return MhrRigFile(joint_names=tuple(about["joint_names"].split("\n")), **tensors)


def _assemble(
    path: Path,
    get: Callable[[str], Tensor],
    keys: Mapping[str, str],
    there: set[str],
    names: tuple[str, ...],
    keypoint_mapping: Tensor | None,
) -> MhrRigFile:
    """The rig of published tensors, in our types: float32, int64 indices, the columns of parameters that exist."""
    missing = sorted(key for key in keys.values() if key not in there)
    if missing:
        raise WeightsError(f"{path} is no complete MHR rig, it lacks {', '.join(missing)}: fetch mhr_model.pt again.")
    tensors = {name: get(key).detach() for name, key in keys.items()}
    for name, value in tensors.items():
        tensors[name] = value.float() if value.is_floating_point() else value.long()
    transform = tensors["parameter_transform"]
    if torch.count_nonzero(transform[:, PARAMETER_SIZE:]):
        raise WeightsError(f"{path} uses parameters beyond the {PARAMETER_SIZE} known ones: it is a newer rig than body4d knows.")
    tensors["parameter_transform"] = transform[:, :PARAMETER_SIZE].contiguous()
    parents = tensors["parents"]
    # A root may be written as -1 or as its own parent.
    tensors["parents"] = torch.where(parents == torch.arange(len(parents)), -1, torch.clamp(parents, min=-1))
    if keypoint_mapping is not None:
        tensors["keypoint_mapping"] = keypoint_mapping[:_NAMED_KEYPOINTS].float()
    count = len(tensors["parents"])
    if len(names) != count:
        names = tuple(f"joint_{j:03d}" for j in range(count))
    return MhrRigFile(joint_names=names, **tensors)
