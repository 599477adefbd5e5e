"""NPZ for users of numpy without body4d: rows for each frame and person, and the rigs to pose and skin them with."""

from pathlib import Path

import numpy as np

from body4d.bodies.registry import rig_of
from body4d.core.errors import InputError
from body4d.core.scene_io import write_npz
from body4d.core.types import Scene
from body4d.export.options import ExportOptions

_ROWS = ("joints_m", "keypoints_px", "visibility", "confidence", "observed", "rotations", "translation_m")


def write_body_npz(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write flat arrays, camera axes, metres: R rows (frame, then person) and P rigs. Keys: docs/files.md. Raises OutputError."""
    models = {(track.body, track.joint_set) for track in scene.people}
    if len(models) > 1:
        raise InputError(
            f"An npz holds people of one body model and joint set; found are {sorted(models)}.",
            code="mixed_body_models",
            hint="Export to csv or glb instead.",
        )
    rigs = [rig_of(track) for track in scene.people]
    frame = np.concatenate([track.frame_index for track in scene.people])
    person_index = np.repeat(np.arange(len(rigs)), [len(track) for track in scene.people])
    rows = np.lexsort((person_index, frame))
    person_ids = np.array([track.person_id for track in scene.people])
    clip = scene.clip
    arrays = {
        "frame": frame[rows],
        "time_s": clip.times_s[frame[rows]],
        "person": person_ids[person_index[rows]],
        "person_index": person_index[rows],
        **{name: np.concatenate([getattr(track, name) for track in scene.people])[rows] for name in _ROWS},
        **_sigma(scene, rows),
        "joint_names": np.array(scene.people[0].joint_names),
        "person_ids": person_ids,
        "shape": np.stack([track.shape for track in scene.people]),
        "rig_joint_names": np.array(rigs[0].joint_names),
        "rig_parents": rigs[0].parents,
        "rig_rest_joints_m": np.stack([rig.rest_joints_m for rig in rigs]),
        "rig_rest_vertices_m": np.stack([rig.rest_vertices_m for rig in rigs]).astype(np.float32),
        "rig_skin_indices": rigs[0].skin_indices.astype(np.int16),
        "rig_skin_weights": rigs[0].skin_weights.astype(np.float32),
        "rig_faces": rigs[0].faces,
        "camera_K": scene.camera.K,
        "size_px": np.array([clip.width_px, clip.height_px]),
        "T_world_camera": scene.T_world_camera,
        **_path(scene),
        "frame_rate": np.array([clip.rate.numerator, clip.rate.denominator]),
        "times_s": clip.times_s,
    }
    write_npz(path, "export", arrays)


def _path(scene: Scene) -> dict[str, np.ndarray]:
    """The camera on each of the clip's frames, where it moves."""
    if scene.camera.path is None:
        return {}
    frames = np.arange(len(scene.clip))
    return {
        "T_world_camera_at": scene.T_world_camera_at(frames),
        "camera_K_at": np.stack([scene.camera.at(int(frame)).K for frame in frames]),
    }


def _sigma(scene: Scene, rows: np.ndarray) -> dict[str, np.ndarray]:
    """``joint_sigma_m`` (R, K) in the order ``rows``, NaN for people of whom it is unknown; no key where it is known of nobody."""
    if all(track.joint_sigma_m is None for track in scene.people):
        return {}
    known = [track.joint_sigma_m for track in scene.people]
    filled = [np.full(t.joints_m.shape[:2], np.nan) if s is None else s for t, s in zip(scene.people, known, strict=True)]
    return {"joint_sigma_m": np.concatenate(filled)[rows]}
