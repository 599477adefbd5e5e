"""Joints as the rows of a table, one for each frame and person; shared by CSV and Parquet. Camera axes, metres.

Where the camera moves, camera axes are those of each frame, so that joints stand there in the world too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from body4d.core.types import BodyTrack, Scene
from body4d.geometry.rotations import matrix_to_quat

_CAMERA = (*(f"camera_{axis}_m" for axis in "xyz"), *(f"camera_q{part}" for part in "wxyz"), "camera_focal_px")
"""Columns of a camera that moves: its place in the world, the quaternion that turns its axes into the world's, its focal length."""


@dataclass(frozen=True)
class JointRows:
    """Some rows in order of frame, then person."""

    frame: Int[np.ndarray, " rows"]
    time_s: Float[np.ndarray, " rows"]
    person: Int[np.ndarray, " rows"]
    values: Float[np.ndarray, "rows columns"]
    """In the order of ``joint_columns``; NaN where a joint is not in the person's joint set, or an error is not known."""


def joint_columns(scene: Scene) -> list[str]:
    """``<joint>_x_m``, ``_y_m``, ``_z_m`` of all joints, then where it is known of anybody ``<joint>_sigma_m`` of all; where the camera
    moves then ``<joint>_world_x_m``, … of all, and the camera itself."""
    names = _joint_names(scene)
    sigmas = [f"{name}_sigma_m" for name in names] if _has_sigma(scene) else []
    columns = [*(f"{name}_{axis}_m" for name in names for axis in "xyz"), *sigmas]
    if scene.camera.has_places:
        columns += [*(f"{name}_world_{axis}_m" for name in names for axis in "xyz"), *_CAMERA]
    return columns


def joint_rows(scene: Scene, frames_per_chunk: int) -> Iterator[JointRows]:
    """All rows, stretch by stretch of the clip. Frames on which a person is not followed have none."""
    names, has_sigma = _joint_names(scene), _has_sigma(scene)
    for first in range(0, len(scene.clip), frames_per_chunk):
        parts = []
        for k, track in enumerate(scene.people):
            rows = slice(*np.searchsorted(track.frame_index, [first, first + frames_per_chunk]))
            parts.append((track.frame_index[rows], np.full(rows.stop - rows.start, k), _values(scene, track, rows, names, has_sigma)))
        frame, person, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.lexsort((person, frame))
        ids = np.array([track.person_id for track in scene.people])
        yield JointRows(frame[order], scene.clip.times_s[frame[order]], ids[person[order]], values[order])


def _joint_names(scene: Scene) -> list[str]:
    return list(dict.fromkeys(name for track in scene.people for name in track.joint_names))


def _has_sigma(scene: Scene) -> bool:
    return any(track.joint_sigma_m is not None for track in scene.people)


def _values(scene: Scene, track: BodyTrack, rows: slice, names: list[str], has_sigma: bool) -> Float[np.ndarray, "rows columns"]:
    at = [names.index(name) for name in track.joint_names]
    count = rows.stop - rows.start
    places, sigma = np.full((count, len(names), 3), np.nan), np.full((count, len(names)), np.nan)
    places[:, at] = track.joints_m[rows]
    if track.joint_sigma_m is not None:
        sigma[:, at] = track.joint_sigma_m[rows]
    columns = [places.reshape(count, -1), sigma] if has_sigma else [places.reshape(count, -1)]
    if scene.camera.has_places:
        frames = track.frame_index[rows]
        T = scene.T_world_camera_at(frames)
        lens = scene.camera.focal_px_at(frames)[:, None]
        columns += [scene.world_points(places, frames).reshape(count, -1), T[:, :3, 3], matrix_to_quat(T[:, :3, :3]), lens]
    return np.concatenate(columns, axis=1)
