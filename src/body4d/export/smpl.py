"""SMPL and SMPL-X: a person's motion as parameters of the user's own model file, one shape for the clip, by AMASS's keys, z up.

An MHR body is fitted by its surface, which MHR's published maps carry over to SMPL's vertices (Ferguson et al. 2025,
``tools/mhr_smpl_conversion``; Apache-2.0). Any other body is fitted by its joints: their places, and how the parts of the body are turned.
How far the fit is off is in the file, frame by frame.
"""

import os
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import csr_matrix

from body4d.bodies.registry import rig_of
from body4d.bodies.smpl.fit import PointFit
from body4d.bodies.smpl.model import SkinnedPoints, SmplModel, find_model, load_model
from body4d.core.errors import WeightsError
from body4d.core.rig import Rig
from body4d.core.scene_io import write_npz
from body4d.core.types import BodyTrack, Scene
from body4d.export.camera_motion import CameraMotion
from body4d.export.frame_grid import followed_at, frame_grid
from body4d.export.options import ExportOptions
from body4d.export.retarget import require_parts, t_pose_turns
from body4d.export.rigs import part_joints
from body4d.export.skeleton import REST_TO_Y_UP, Y_UP_TO_Z_UP, Skeleton, build_skeleton, skeletons_at
from body4d.geometry.rotations import matrix_to_rotvec

MODELS_VARIABLE = "BODY4D_BODY_MODELS"
"""Environment variable that names the folder of the user's body models."""

_MAPS_COMMIT = "5deda6a69f30019915ded6299c7aab74acaca57f"
_MAPS_URL = f"https://raw.githubusercontent.com/facebookresearch/MHR/{_MAPS_COMMIT}/tools/mhr_smpl_conversion/assets"
_MAPS = {
    "smpl": ("mhr2smpl_mapping.npz", "4bfe2fd6abb598f38ba3a3aa5506ac45b4efb3cdaed7fe4757cfbbf20bbe6ac7"),
    "smplx": ("mhr2smplx_mapping.npz", "d6d023f9f483be73cd4491d0ddf217450627263405c9bc6bf43795dfff809af1"),
}
"""Names and SHA-256 of MHR's maps. The licence lets everybody pass them on, so that their place is certain."""

_SHAPE_FRAMES = 16
"""Frames, spread over the clip, from which the shape is fitted."""
_SURFACE_PRIOR_M, _JOINTS_PRIOR_M = 0.0005, 0.005
"""What a unit of a shape parameter costs: joints say less of a shape than a surface, and are elsewhere in another body model."""
_FITTED_VERTICES = 1200
"""About as many take part in the fit, as many of each joint; the error is measured on all."""
_CHUNK_FRAMES = 64
"""Frames whose surfaces are in memory at once: 64 of MHR are 14 MB, and their likes in SMPL-X twice that."""

_STIFF_HAND_WEIGHT = 0.02
"""SMPL's hands have no fingers: a fist must bend neither its wrists nor its shape."""

_LIMB_JOINTS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_OTHER_JOINT_WEIGHT = 0.1
"""Joints of trunk and hands lie in other places in other body models; those of the limbs turn about bones that are alike."""
_TURN_ARM_M, _TURN_WEIGHT = 0.1, 0.02
"""Three points this far from a joint say how its part is turned; they count little where joints say it too."""

_PARTS = {
    **{"pelvis": "hips", "spine1": "spine_2", "spine2": "spine_3", "spine3": "spine_5", "neck": "neck", "head": "head"},
    **{
        f"{side}_{smpl}": f"{side}_{part}"
        for side in ("left", "right")
        for smpl, part in (
            *(("hip", "upper_leg"), ("knee", "lower_leg"), ("ankle", "foot"), ("foot", "toe"), ("collar", "shoulder")),
            *(("shoulder", "upper_arm"), ("elbow", "lower_arm"), ("wrist", "hand")),
            *((f"{f}{k}", f"{f}_{k}") for f in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)),
        )
    },
}
"""The part of the body that each of SMPL's joints moves, by ``rigs.BODY_PARTS``."""

_STILL = ("jaw", "left_eye", "right_eye")
"""Joints that nothing we follow shows."""


def check_smpl(options: ExportOptions) -> None:
    """Raise WeightsError where there is no SMPL file to fit."""
    find_model("smpl", _models_folder(options))


def check_smplx(options: ExportOptions) -> None:
    """Raise WeightsError where there is no SMPL-X file to fit."""
    find_model("smplx", _models_folder(options))


def write_smpl(scene: Scene, track: BodyTrack, path: Path, options: ExportOptions) -> None:
    """Write one person as SMPL, (T, 72) poses. Raises WeightsError for a model file or a map that is missing or bad, OutputError."""
    _write(scene, track, path, options, "smpl")


def write_smplx(scene: Scene, track: BodyTrack, path: Path, options: ExportOptions) -> None:
    """Write one person as SMPL-X, (T, 165) poses. Raises as ``write_smpl``."""
    _write(scene, track, path, options, "smplx")


def _write(scene: Scene, track: BodyTrack, path: Path, options: ExportOptions, kind: str) -> None:
    folder = _models_folder(options)
    model = load_model(kind, folder)
    source: _Source = _Surface(rig_of(track), model, folder) if track.body == "mhr" else _Joints(rig_of(track), track, scene, model)
    at_s, step_s = frame_grid(scene.clip, options.fps)
    fit = PointFit(source.fitted, source.weights, source.free)
    picks = np.unique(np.linspace(0, len(track) - 1, _SHAPE_FRAMES).round().astype(int))
    stills = [build_skeleton(rig_of(track), track, scene, slice(k, k + 1)) for k in picks]
    betas = fit.shape(np.concatenate([source.targets(still)[0] for still in stills]), source.prior_m)
    poses, roots, means, worsts, done = [], [], [], [], 0
    for stretch in skeletons_at(rig_of(track), track, scene, at_s):
        for first in range(0, len(stretch.root_m), _CHUNK_FRAMES):
            fitted, judged = source.targets(_some_rows(stretch, slice(first, first + _CHUNK_FRAMES)))
            part = fit.poses(fitted, betas)
            miss = np.linalg.norm(source.judged.posed(betas, part.rotations, part.root_m) - judged, axis=-1)
            poses.append(matrix_to_rotvec(part.rotations).reshape(len(miss), -1))
            roots.append(part.root_m)
            means.append(miss.mean(1))
            worsts.append(miss.max(1))
            done += len(miss)
            options.on_progress(done, len(at_s))
    trans = np.concatenate(roots) - model.vertices.rest_joints(betas)[0]
    arrays = _arrays(scene, track, model, np.concatenate(poses), trans, betas, 1 / step_s)
    mean_mm, worst_mm = (1000 * np.concatenate(values) for values in (means, worsts))
    arrays |= {
        **_camera(scene, at_s),
        "times_s": at_s,
        "followed": followed_at(track, scene.clip, at_s, step_s),
        "fit_by": source.name,
        "fit_error_mm": mean_mm.astype(np.float32),
        "fit_error_worst_mm": worst_mm.astype(np.float32),
        "fit_error_mean_mm": mean_mm.mean(),
        "fit_error_max_mm": worst_mm.max(),
    }
    write_npz(path, "smpl", arrays)


def _arrays(
    scene: Scene, track: BodyTrack, model: SmplModel, poses: np.ndarray, trans: np.ndarray, betas: np.ndarray, rate: float
) -> dict[str, Any]:
    """AMASS's keys (those of its SMPL-X edition too), then ours."""
    arrays: dict[str, Any] = {
        "poses": poses,
        "trans": trans,
        "betas": betas,
        "num_betas": len(betas),
        "gender": model.gender,
        "surface_model_type": model.kind,
        "mocap_framerate": rate,
        "mocap_frame_rate": rate,
        "mocap_time_length": len(poses) / rate,
        "root_orient": poses[:, :3],
        "pose_body": poses[:, 3:66],
    }
    if model.kind == "smplx":
        arrays |= {"pose_jaw": poses[:, 66:69], "pose_eye": poses[:, 69:75], "pose_hand": poses[:, 75:]}
    return arrays | {
        "person_id": track.person_id,
        "body": track.body,
        "model_file": model.path.name,
    }


def _camera(scene: Scene, at_s: np.ndarray) -> dict[str, Any]:
    """The camera in the z-up world: that of the first frame, and where it moves that of each row too."""
    to_z_up = np.eye(4)
    to_z_up[:3, :3] = Y_UP_TO_Z_UP
    camera = scene.camera
    arrays: dict[str, Any] = {
        "T_world_camera": to_z_up @ scene.T_world_camera,
        "camera_K": camera.K,
        "size_px": [scene.clip.width_px, scene.clip.height_px],
    }
    if camera.path is not None:
        motion = CameraMotion.at(scene, at_s)
        K = np.tile(camera.K, (len(at_s), 1, 1))
        K[:, 0, 0] = K[:, 1, 1] = motion.focal_px
        arrays |= {"T_world_camera_at": to_z_up @ motion.T_world_camera, "camera_K_at": K}
    return arrays


class _Source(Protocol):
    """What the body says that SMPL's is fitted to."""

    name: str
    prior_m: float
    fitted: SkinnedPoints
    weights: Float[np.ndarray, " fitted"]
    free: Bool[np.ndarray, " joints"]
    judged: SkinnedPoints
    """Points by which the error is told."""

    def targets(self, skeleton: Skeleton) -> tuple[Float[np.ndarray, "t fitted 3"], Float[np.ndarray, "t judged 3"]]:
        """Where the fitted and the judged points are, z up."""
        ...


class _Surface:
    """MHR's surface at SMPL's vertices."""

    name, prior_m = "surface", _SURFACE_PRIOR_M

    def __init__(self, rig: Rig, model: SmplModel, folder: Path) -> None:
        self._rig, self.judged = rig, model.vertices
        self._map = _surface_map(model, rig, folder)
        self._chosen, self.weights = _even_vertices(model.vertices.weights)
        self.fitted = model.vertices.some(self._chosen)
        if "left_hand" in model.joint_names:
            hands = [model.joint_names.index(f"{side}_hand") for side in ("left", "right")]
            self.weights = self.weights * np.where(np.isin(self.fitted.weights.argmax(1), hands), _STIFF_HAND_WEIGHT, 1.0)
        self.free = np.array([name not in _STILL for name in model.joint_names])

    def targets(self, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
        G, p = skeleton.forward()
        vertices = self._rig.vertices(Y_UP_TO_Z_UP @ G @ REST_TO_Y_UP, p @ Y_UP_TO_Z_UP.T)
        found = np.stack([self._map @ surface for surface in vertices.astype(np.float64)])
        return found[:, self._chosen], found


class _Joints:
    """Joints of any body whose parts we know, and three points around each that show its turn from the T-pose."""

    name, prior_m = "joints", _JOINTS_PRIOR_M

    def __init__(self, rig: Rig, track: BodyTrack, scene: Scene, model: SmplModel) -> None:
        skeleton = build_skeleton(rig, track, scene, slice(0, 1))
        at = part_joints(skeleton.names)
        require_parts(at, f"a fit of {model.kind.upper()}")
        straight = t_pose_turns(skeleton, at)
        joints = [j for j, name in enumerate(model.joint_names) if _PARTS.get(name) in at]
        self._source = np.array([at[_PARTS[model.joint_names[j]]] for j in joints])
        self._turns = np.swapaxes(straight[self._source], -1, -2)
        limbs = np.array([model.joint_names[j].partition("_")[2] in _LIMB_JOINTS for j in joints])
        self._limbs = np.flatnonzero(limbs)
        self.free = np.isin(np.arange(len(model.joint_names)), joints)
        self.weights = np.concatenate([np.where(limbs, 1.0, _OTHER_JOINT_WEIGHT), np.full(3 * len(joints), _TURN_WEIGHT)])
        self.fitted = _joint_points(model.vertices, joints)
        self.judged = self.fitted.some(self._limbs)

    def targets(self, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
        G, p = skeleton.forward()
        turned, places = Y_UP_TO_Z_UP @ G[:, self._source] @ self._turns, p[:, self._source] @ Y_UP_TO_Z_UP.T
        arms = places[:, :, None] + _TURN_ARM_M * np.swapaxes(turned, -1, -2)
        return np.concatenate([places, arms.reshape(len(places), -1, 3)], axis=1), places[:, self._limbs]


def _joint_points(body: SkinnedPoints, joints: list[int]) -> SkinnedPoints:
    """The joints, then three points off each along the axes, all carried by the joint alone."""
    rest, shapes, own = body.joints_m[joints], body.joint_shapes_m[joints], np.eye(len(body.parents))[joints]
    return SkinnedPoints(
        body.parents,
        body.joints_m,
        body.joint_shapes_m,
        np.concatenate([rest, (rest[:, None] + _TURN_ARM_M * np.eye(3)).reshape(-1, 3)]),
        np.concatenate([shapes, np.repeat(shapes, 3, axis=0)]),
        np.concatenate([own, np.repeat(own, 3, axis=0)]),
    )


def _even_vertices(weights: Float[np.ndarray, "v joints"]) -> tuple[np.ndarray, Float[np.ndarray, " chosen"]]:
    """Some vertices of each joint, spread over its own, and for how many each stands."""
    owner = weights.argmax(1)
    each = max(_FITTED_VERTICES // weights.shape[1], 12)
    chosen, stands_for = [], []
    for joint in range(weights.shape[1]):
        own = np.flatnonzero(owner == joint)
        if len(own):
            some = own[np.unique(np.linspace(0, len(own) - 1, each).round().astype(int))]
            chosen.append(some)
            stands_for.append(np.full(len(some), len(own) / len(some)))
    return np.concatenate(chosen), np.concatenate(stands_for)


def _surface_map(model: SmplModel, rig: Rig, folder: Path) -> csr_matrix:
    """Rows: SMPL's vertices as means of three of MHR's. Raises WeightsError where the map is missing or another file."""
    name, known = _MAPS[model.kind]
    path = (folder.parent if folder.is_file() else folder) / name
    if not path.is_file():
        raise WeightsError(
            f"Fitting {model.kind.upper()} to an MHR body needs MHR's map of its surface, which is not at {path}.",
            code="no_surface_map",
            hint=f"Fetch it (Apache-2.0): curl -L -o {path} {_MAPS_URL}/{name}",
        )
    if sha256(path.read_bytes()).hexdigest() != known:
        raise WeightsError(f"{path} is not the map that MHR publishes.", code="altered_surface_map",
                           hint=f"Fetch it again: curl -L -o {path} {_MAPS_URL}/{name}")  # fmt: skip
    with np.load(path, allow_pickle=False) as data:
        triangles, shares = data["triangle_ids"], data["baryc_coords"]
    if len(triangles) != len(model.vertices.rest_m) or triangles.max() >= len(rig.faces):
        raise WeightsError(
            f"The map of {len(triangles)} vertices does not fit {model.path.name} with {len(model.vertices.rest_m)} or this MHR body.",
            code="other_surface_map",
            hint="Take the published model file.",
        )
    rows = np.repeat(np.arange(len(triangles)), 3)
    return csr_matrix((shares.reshape(-1), (rows, rig.faces[triangles].reshape(-1))), shape=(len(triangles), len(rig.rest_vertices_m)))


def _models_folder(options: ExportOptions) -> Path:
    """Where the user's models are. Raises WeightsError where nothing says it."""
    named = options.body_models or (Path(os.environ[MODELS_VARIABLE]) if os.environ.get(MODELS_VARIABLE) else None)
    if named is None:
        raise WeightsError(
            "SMPL and SMPL-X are fitted with model files of your own, and nothing says where they are.",
            code="no_body_model",
            hint=f"Name their folder with --body-models or in {MODELS_VARIABLE}; docs/formats.md says where to get them.",
        )
    return named


def _some_rows(skeleton: Skeleton, rows: slice) -> Skeleton:
    return Skeleton(skeleton.names, skeleton.parents, skeleton.rest_m, skeleton.rotations[rows], skeleton.root_m[rows])
