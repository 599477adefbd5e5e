"""Results that SAM-3D-Body stored (one npz for each person of a picture), as a scene to look at and export."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from body4d.config import MotionSettings
from body4d.core.errors import InputError
from body4d.core.joints import Mhr70
from body4d.core.types import BodyTrack, Camera, Clip, Scene
from body4d.motion.ground_plane import floor_transform

_LEVEL_DEG = 1e-3  # as good as none

_SHAPES = {
    "pred_keypoints_3d": (len(Mhr70), 3),
    "pred_keypoints_2d": (len(Mhr70), 2),
    "pred_vertices": (None, 3),
    "pred_cam_t": (3,),
    "shape_params": (45,),
    "mhr_model_params": (204,),
}


@dataclass(frozen=True)
class StoredResult:
    """One person as SAM-3D-Body stored them: metres, camera axes; points are relative to ``translation_m`` (3,).

    ``keypoints_m`` (70, 3), ``keypoints_px`` (70, 2), ``vertices_m`` (V, 3), ``shape`` (45,), ``parameters`` (204,).
    """

    keypoints_m: np.ndarray
    keypoints_px: np.ndarray
    vertices_m: np.ndarray
    translation_m: np.ndarray
    shape: np.ndarray
    parameters: np.ndarray


def read_result(path: str | os.PathLike[str]) -> StoredResult:
    """Read one npz. Raises InputError where it is none or lacks what a person needs."""
    try:
        with np.load(path, allow_pickle=False) as data:
            found = {name: np.asarray(data[name]) for name in _SHAPES}
    except KeyError as error:
        raise InputError(f"{path} is no SAM-3D-Body result, it lacks {error}: store the whole output of a person.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as npz ({error}).") from error
    for name, wanted in _SHAPES.items():
        shape = found[name].shape
        if len(shape) != len(wanted) or any(w is not None and w != s for w, s in zip(wanted, shape, strict=True)):
            raise InputError(f"{name} of {path} should have shape {wanted} and has {shape}: it is another model's result.")
    return StoredResult(
        keypoints_m=found["pred_keypoints_3d"],
        keypoints_px=found["pred_keypoints_2d"],
        vertices_m=found["pred_vertices"],
        translation_m=found["pred_cam_t"],
        shape=found["shape_params"],
        parameters=found["mhr_model_params"],
    )


def load_results(paths: Sequence[str | os.PathLike[str]], camera: Camera, mesh: str | os.PathLike[str] | None = None) -> Scene:
    """The people of one picture as a scene of a single frame; ``camera`` is the one they were found with.

    With ``mesh``, a file with MHR's triangles (mhr_template.ply), people are the stored surfaces: right to the last vertex, but rigid.
    Without it they are MHR bodies posed by their parameters, which needs the rig file (WeightsError says which) and gives a skeleton.
    """
    results = [read_result(path) for path in paths]
    people = tuple(_surface(i, r, Path(mesh)) if mesh else _body(i, r) for i, r in enumerate(results, start=1))
    clip = Clip(Path("picture"), camera.width_px, camera.height_px, Fraction(1), np.zeros(1), np.zeros(1, np.int64))
    # One picture does not tell how the floor is tilted: people may be in mid-jump. So the camera is taken to be level.
    level = MotionSettings.model_validate({"floor_level_deg": _LEVEL_DEG})
    return Scene(clip, camera, people, floor_transform(people, camera, level), preset="sam")


def _surface(person_id: int, result: StoredResult, mesh: Path) -> BodyTrack:
    shape = np.concatenate([result.vertices_m, result.keypoints_m]).ravel()
    rotations = np.zeros((1, 1, 3), np.float32)
    return _track(person_id, result, f"surface:{mesh.resolve()}", shape, rotations, result.translation_m[None])


def _body(person_id: int, result: StoredResult) -> BodyTrack:
    from body4d.bodies.mhr.module import mhr_body
    from body4d.bodies.mhr.to_rig import motion_of, shape_of

    shape = shape_of(result.shape, result.parameters)
    rotations, root = motion_of(mhr_body(), shape, result.parameters[None], result.translation_m[None])
    return _track(person_id, result, "mhr", shape, rotations, root)


def _track(
    person_id: int, result: StoredResult, body: str, shape: np.ndarray, rotations: np.ndarray, translation_m: np.ndarray
) -> BodyTrack:
    return BodyTrack(
        person_id=person_id,
        body=body,
        frame_index=np.zeros(1, np.int64),
        shape=shape.astype(np.float32),
        rotations=rotations,
        translation_m=translation_m.astype(np.float32),
        joints_m=(result.keypoints_m + result.translation_m)[None].astype(np.float32),
        keypoints_px=result.keypoints_px[None].astype(np.float32),
        visibility=np.ones((1, len(Mhr70)), np.float32),
        confidence=np.ones(1, np.float32),
        observed=np.ones(1, bool),
        joint_set="mhr70",
        parameters=result.parameters[None].astype(np.float32),
    )
