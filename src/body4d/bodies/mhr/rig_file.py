"""The MHR rig on disk, read into plain tensors: the published TorchScript, or ComfyUI's repack.

MHR is the Momentum Human Rig of Meta (Ferguson et al. 2025, arXiv 2511.15586; Apache-2.0). The published ``mhr_model.pt`` is a
TorchScript module; its buffers hold the whole rig under the names in ``SCRIPT_KEYS``. The repack has those in ``REPACK_KEYS``.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from body4d.core.errors import WeightsError

RIG_VARIABLE = "BODY4D_MHR"
"""Environment variable that names the rig file, or a folder that holds it."""

POSE_SIZE, SCALE_SIZE, SHAPE_SIZE, FACE_SIZE = 136, 68, 45, 72
"""Number of parameters for the pose (with the global translation), the bone scales, the shape and the face."""

PARAMETER_SIZE = POSE_SIZE + SCALE_SIZE
"""Model parameters: pose, then scales."""

FETCH_RIG_AGAIN = "Download mhr_model.pt again; it comes with facebook/sam-3d-body-dinov3."

NUM_KEYPOINTS = 70
"""Keypoints kept of the 308 that the published mapping has; the rest are dense landmarks that nothing uses."""

PARAMETERS_PER_JOINT = 7
"""tx ty tz rx ry rz log2-scale."""

# Each maps a field of MhrRigFile to its name in the file.
SCRIPT_KEYS = {
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
    "corrective_indices": "pose_correctives_model.pose_dirs_predictor.0.sparse_indices",
    "corrective_values": "pose_correctives_model.pose_dirs_predictor.0.sparse_weight",
    "correctives_cm": "pose_correctives_model.pose_dirs_predictor.2.weight",
}
REPACK_KEYS = {
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
    "corrective_indices": "mhr.pose_corr_sparse_indices",
    "corrective_values": "mhr.pose_corr_sparse_weight",
    "correctives_cm": "mhr.pose_corr_weight",
}
KEYPOINT_MAPPING_KEY = "head_pose.keypoint_mapping"

KNOWN_NAMES = ("mhr.safetensors", "mhr_model.pt", "assets/mhr_model.pt")


@dataclass(frozen=True)
class MhrRigFile:
    """The rig as it is stored, in centimetres, y up, facing +z. Quaternions are x y z w."""

    rest_vertices_cm: Float[Tensor, "vertices 3"]
    shape_vectors_cm: Float[Tensor, "45 vertices 3"]
    face_vectors_cm: Float[Tensor, "72 vertices 3"]
    faces: Int[Tensor, "faces 3"]
    parents: Int[Tensor, " joints"]
    """-1 at the root. A parent comes before its children."""
    joint_offsets_cm: Float[Tensor, "joints 3"]
    prerotations: Float[Tensor, "joints 4"]
    parameter_transform: Float[Tensor, "joint_parameters 204"]
    """From model parameters to ``PARAMETERS_PER_JOINT`` numbers for each joint."""
    inverse_bind: Float[Tensor, "joints 8"]
    """Translation, quaternion, scale."""
    skin_joints: Int[Tensor, " influences"]
    skin_weights: Float[Tensor, " influences"]
    skin_vertices: Int[Tensor, " influences"]
    corrective_indices: Int[Tensor, "2 entries"]
    """Rows and columns of the first corrective layer's entries; its matrix is (hidden, 6 (joints - 2))."""
    corrective_values: Float[Tensor, " entries"]
    correctives_cm: Float[Tensor, "offsets hidden"]
    """The second corrective layer, with three offsets for each vertex."""
    joint_names: tuple[str, ...]
    keypoint_mapping: Float[Tensor, "70 vertices_and_joints"] | None = None
    """Keypoints as blends of vertices, then joints. It comes with SAM-3D-Body's checkpoint and not with the rig."""

    def __post_init__(self) -> None:
        v, j, h = len(self.rest_vertices_cm), len(self.parents), self.correctives_cm.shape[1]
        expected: dict[str, tuple[int | None, ...]] = {
            "rest_vertices_cm": (v, 3),
            "shape_vectors_cm": (SHAPE_SIZE, v, 3),
            "face_vectors_cm": (FACE_SIZE, v, 3),
            "faces": (None, 3),
            "joint_offsets_cm": (j, 3),
            "prerotations": (j, 4),
            "parameter_transform": (PARAMETERS_PER_JOINT * j, PARAMETER_SIZE),
            "inverse_bind": (j, 8),
            "skin_joints": (len(self.skin_weights),),
            "skin_vertices": (len(self.skin_weights),),
            "corrective_indices": (2, len(self.corrective_values)),
            "correctives_cm": (3 * v, h),
        }
        for name, shape in expected.items():
            found = tuple(getattr(self, name).shape)
            if len(found) != len(shape) or any(want is not None and want != got for want, got in zip(shape, found, strict=True)):
                message = f"The MHR rig's {name} should have shape {shape} and has {found}: the file is damaged or of another model."
                raise WeightsError(message, code="rig_wrong_shape", hint=FETCH_RIG_AGAIN, tensor=name, expected=shape, found=found)
        if any(int(parent) >= child for child, parent in enumerate(self.parents)):
            message = "The MHR rig's joints do not come after their parents: the file is damaged or of another model."
            raise WeightsError(message, code="rig_joint_order", hint=FETCH_RIG_AGAIN)
        if self.keypoint_mapping is not None and self.keypoint_mapping.shape[1] != v + j:
            columns = self.keypoint_mapping.shape[1]
            raise WeightsError(
                f"The keypoint mapping has {columns} columns, and this rig needs {v + j}: it belongs to another rig.",
                code="rig_wrong_keypoint_mapping",
                hint="Use the rig that comes with the SAM-3D-Body checkpoint.",
                expected=v + j,
                found=columns,
            )


def find_rig_file(path: str | os.PathLike[str] | None = None) -> Path:
    """The rig file at ``path``, a file or a folder, else where ``$BODY4D_MHR`` says. Raises WeightsError that says what to do."""
    configured = path or os.environ.get(RIG_VARIABLE)
    if not configured:
        raise WeightsError(
            f"The MHR body needs its rig file, and {RIG_VARIABLE} names none.",
            code="rig_not_configured",
            hint=f"Set {RIG_VARIABLE} to mhr_model.pt, which comes with the checkpoint facebook/sam-3d-body-dinov3 in assets/, or to the "
            "folder that holds it.",
        )
    path = Path(configured).expanduser()
    if path.is_file():
        return path
    for name in KNOWN_NAMES:
        if (path / name).is_file():
            return path / name
    repacks = [file for file in sorted(path.glob("*.safetensors")) if _holds_rig(file)] if path.is_dir() else []
    if repacks:
        return repacks[0]
    what = f"holds none of {', '.join(KNOWN_NAMES)}" if path.is_dir() else "does not exist"
    raise WeightsError(
        f"The MHR body needs its rig file, but {path} {what}.",
        code="rig_not_found",
        hint="Give the path of mhr_model.pt or of its folder.",
        path=str(path),
    )


def read_rig_file(path: Path, keypoint_mapping: Float[Tensor, "keypoints vertices_and_joints"] | None = None) -> MhrRigFile:
    """The rig in ``path``, with the ``keypoint_mapping`` of SAM-3D-Body's checkpoint where one is given.

    Raises WeightsError where the file is damaged, of another kind, or lacks tensors.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path, keypoint_mapping)
    try:
        script = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        message = f"{path} is no TorchScript file and so no MHR rig ({str(error).splitlines()[0]})."
        raise WeightsError(message, code="rig_unreadable", hint=FETCH_RIG_AGAIN, path=str(path)) from error
    state = dict(script.state_dict())
    if not any(key in state for key in SCRIPT_KEYS.values()):
        message = f"{path} is a TorchScript file without MHR's buffers."
        raise WeightsError(message, code="rig_without_buffers", hint="Use the published mhr_model.pt.", path=str(path))
    skeleton = script.character_torch.skeleton
    names = tuple(str(name) for name in getattr(skeleton, "joint_names", ()))
    return _assemble(path, state.__getitem__, SCRIPT_KEYS, set(state), names, keypoint_mapping)


def _holds_rig(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            return REPACK_KEYS["rest_vertices_cm"] in set(file.keys())
    except (SafetensorError, OSError):
        return False


def _read_safetensors(path: Path, keypoint_mapping: Tensor | None) -> MhrRigFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            keys = set(file.keys())
            if keypoint_mapping is None and KEYPOINT_MAPPING_KEY in keys:
                keypoint_mapping = file.get_tensor(KEYPOINT_MAPPING_KEY)
            return _assemble(path, file.get_tensor, REPACK_KEYS, keys, (), keypoint_mapping)
    except (SafetensorError, OSError) as error:
        message = f"{path} cannot be read as safetensors ({error})."
        raise WeightsError(message, code="rig_unreadable", hint="Download it again.", path=str(path)) from error


def _assemble(
    path: Path,
    get: Callable[[str], Tensor],
    keys: Mapping[str, str],
    available: set[str],
    joint_names: tuple[str, ...],
    keypoint_mapping: Tensor | None,
) -> MhrRigFile:
    """The rig of the published tensors in our types: float32, int64 indices, and of the parameters those that exist."""
    missing = sorted(key for key in keys.values() if key not in available)
    if missing:
        message = f"{path} is no complete MHR rig: it lacks {', '.join(missing)}."
        raise WeightsError(message, code="rig_incomplete", hint=FETCH_RIG_AGAIN, path=str(path), missing=missing)
    tensors = {name: get(key).detach() for name, key in keys.items()}
    for name, value in tensors.items():
        tensors[name] = value.float() if value.is_floating_point() else value.long()
    transform = tensors["parameter_transform"]
    if torch.count_nonzero(transform[:, PARAMETER_SIZE:]):
        raise WeightsError(
            f"{path} uses parameters beyond the {PARAMETER_SIZE} known ones: the rig is newer than this version of body4d.",
            code="rig_too_new",
            hint="Use the mhr_model.pt that comes with facebook/sam-3d-body-dinov3, or a newer body4d.",
            path=str(path),
        )
    tensors["parameter_transform"] = transform[:, :PARAMETER_SIZE].contiguous()
    parents = tensors["parents"]
    # A root may be written as -1 or as its own parent.
    tensors["parents"] = torch.where(parents == torch.arange(len(parents)), -1, torch.clamp(parents, min=-1))
    if keypoint_mapping is not None:
        tensors["keypoint_mapping"] = keypoint_mapping[:NUM_KEYPOINTS].float()
    count = len(tensors["parents"])
    if len(joint_names) != count:
        joint_names = tuple(f"joint_{j:03d}" for j in range(count))
    return MhrRigFile(joint_names=joint_names, **tensors)
