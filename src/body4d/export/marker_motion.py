"""Markers at even steps in time, empty where nobody was followed; shared by TRC and C3D."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.bodies.registry import rig_of
from body4d.core.types import BodyTrack, Scene
from body4d.export.frame_grid import followed_at, frame_grid, rows_between
from body4d.export.markers import marker_set
from body4d.export.options import ExportOptions
from body4d.export.skeleton import CHUNK_FRAMES

_MM_PER_M = 1000.0


@dataclass(frozen=True)
class MarkerMotion:
    """One person's markers: names, how many frames, the step between them, and the places stretch by stretch."""

    names: tuple[str, ...]
    num_frames: int
    step_s: float
    stretches: Iterator[Float[np.ndarray, "n markers 3"]]
    """Millimetres, x where the person faces at the start, y up, z to their right; NaN in frames without the person."""


def marker_motion(scene: Scene, track: BodyTrack, options: ExportOptions) -> MarkerMotion:
    """The markers of one person at the frames of ``frame_grid``, between which they go along lines."""
    rig = rig_of(track)
    markers = marker_set(rig, options.markers)
    at_s, step_s = frame_grid(scene.clip, options.fps)
    times_s = scene.clip.times_s[track.frame_index]

    def stretches() -> Iterator[np.ndarray]:
        turn = facing_x(track, scene)
        for first in range(0, len(at_s), CHUNK_FRAMES):
            wanted = at_s[first : first + CHUNK_FRAMES]
            left, right, share = rows_between(times_s, wanted)
            points = markers.points_m(rig, track, scene, slice(left[0], right[-1] + 1)) @ turn.T * _MM_PER_M
            a, b = points[left - left[0]], points[right - left[0]]
            out = a + share[:, None, None] * (b - a)
            out[~followed_at(track, scene.clip, wanted, step_s)] = np.nan
            yield out

    return MarkerMotion(markers.names, len(at_s), step_s, stretches())


def facing_x(track: BodyTrack, scene: Scene) -> Float[np.ndarray, "3 3"]:
    """The turn about the upright axis after which the person faces +x in their first frame, as OpenSim's models do."""
    sides = [track.joint(f"left_{joint}")[0] - track.joint(f"right_{joint}")[0] for joint in ("hip", "shoulder")]
    left = scene.T_world_camera_at(track.frame_index[:1])[0, :3, :3] @ np.sum(sides, axis=0)
    forward = np.array([left[2], 0.0, -left[0]]) * -1.0  # left × up
    length = np.linalg.norm(forward)
    cos, sin = forward[[0, 2]] / length if length > 1e-6 else (1.0, 0.0)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
