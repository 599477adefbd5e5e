"""Bodies before a camera that moves: from the camera axes of their own frame to reference axes, which stay, and back. Pure numpy.

Nothing that ties frames together (smoothing, the floor, resting feet) holds in axes that turn with the camera. *Reference axes* are the
camera axes of the clip's first frame (``body4d.core.camera.CameraPath``). Without a path all functions return what they are given.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from body4d.core.camera import Camera
from body4d.core.types import BodyTrack
from body4d.geometry.camera import transform_points
from body4d.geometry.rotations import matrix_to_rotvec, rotation_between, rotvec_to_matrix


def to_reference(people: Sequence[BodyTrack], camera: Camera) -> tuple[BodyTrack, ...]:
    """``people`` from the camera axes of their frames to reference axes; pixels stay."""
    if camera.path is None:
        return tuple(people)
    return tuple(_moved(track, camera.T_reference_camera_at(track.frame_index)) for track in people)


def to_frames(people: Sequence[BodyTrack], camera: Camera) -> tuple[BodyTrack, ...]:
    """``people`` from reference axes to the camera axes of their frames."""
    if camera.path is None:
        return tuple(people)
    return tuple(_moved(track, _inverse(camera.T_reference_camera_at(track.frame_index))) for track in people)


def points_to_frames(points_m: Float[np.ndarray, "n k 3"], frames: Int[np.ndarray, " n"], camera: Camera) -> Float[np.ndarray, "n k 3"]:
    """Points from reference axes to the camera axes of their frames."""
    return points_m if camera.path is None else _points(points_m, _inverse(camera.T_reference_camera_at(frames)))


def eye_path_m(camera: Camera) -> Float[np.ndarray, "n 3"] | None:
    """Where the camera is on each frame of the clip, in reference axes; None where it has no path."""
    return None if camera.path is None else camera.path.T_reference_camera[:, :3, 3]


def path_sigma_m(track: BodyTrack, camera: Camera) -> Float[np.ndarray, "t k"]:
    """What the path's own uncertainty adds to each joint's error in the world, root mean square: it turns and shifts a frame as a whole.

    ``track`` is in the camera axes of its frames. ``BodyTrack.joint_sigma_m`` does not hold it, as it is the error against the camera.
    """
    if camera.path is None:
        return np.zeros(track.joints_m.shape[:2])
    turn = np.radians(camera.path.rotation_sigma_deg[track.frame_index])
    shift = camera.path.position_sigma_m[track.frame_index]
    distance = np.linalg.norm(track.joints_m.astype(np.float64), axis=-1)
    # A turn moves a point across the ray, along two axes; a shift moves it along three.
    return np.sqrt(2 * (turn[:, None] * distance) ** 2 + 3 * shift[:, None] ** 2)


def _moved(track: BodyTrack, T: np.ndarray) -> BodyTrack:
    """A track whose frames are each transformed by its row of ``T`` (t, 4, 4)."""
    rotations = track.rotations.astype(np.float64)
    rotations[:, 0] = matrix_to_rotvec(T[:, :3, :3] @ rotvec_to_matrix(rotations[:, 0]))
    return replace(
        track,
        rotations=rotations.astype(track.rotations.dtype),
        translation_m=_points(track.translation_m[:, None], T)[:, 0],
        joints_m=_points(track.joints_m, T),
        joints_raw_m=None if track.joints_raw_m is None else _points(track.joints_raw_m, T),
    )


def _points(points_m: np.ndarray, T: np.ndarray) -> np.ndarray:
    return transform_points(T, points_m.astype(np.float64)).astype(points_m.dtype)


def _inverse(T: np.ndarray) -> np.ndarray:
    """Inverses (t, 4, 4) of rigid transforms."""
    out = np.tile(np.eye(4), (len(T), 1, 1))
    out[:, :3, :3] = np.swapaxes(T[:, :3, :3], 1, 2)
    out[:, :3, 3] = -np.einsum("tba,tb->ta", T[:, :3, :3], T[:, :3, 3])
    return out


def ray_axes(points_m: Float[np.ndarray, "t 3"], eye_m: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3 3"]:
    """Axes whose third column lies along each frame's ray from the eye to the point, turning no more than the ray does."""
    ray = points_m - eye_m
    ray = ray / np.maximum(np.linalg.norm(ray, axis=-1, keepdims=True), 1e-9)
    steps = rotation_between(ray[:-1], ray[1:])
    axes = np.empty((len(ray), 3, 3))
    axes[0] = rotation_between(np.array([0.0, 0.0, 1.0]), ray[0])
    for t, step in enumerate(steps):
        axes[t + 1] = step @ axes[t]
    return axes


def rolled_out(points_m: Float[np.ndarray, "t 3"], axes: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, "t 3"]:
    """Sums of the steps from point to point, each in the mean of the axes at both its ends.

    In these coordinates across the ray and along it stay apart however the ray turns. Where it does not turn, they are Cartesian.
    """
    steps = np.diff(points_m, axis=0)
    own = (np.einsum("tba,tb->ta", axes[:-1], steps) + np.einsum("tba,tb->ta", axes[1:], steps)) / 2
    return np.concatenate([np.zeros((1, 3)), np.cumsum(own, axis=0)])
