"""What the background says of the camera: whether and how it moves, and which way is down."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from body4d.camera.lens import sample_frames
from body4d.camera.motion import NUM_FRAMES, ClipMotion, camera_motion, motion_warnings, people_mask
from body4d.camera.path import PathEstimate, estimate_path, path_warnings, with_path
from body4d.camera.scale import scale_from_depth
from body4d.camera.verticals import gravity_from_segments, upright_segments, witness_weights
from body4d.config import CameraSettings
from body4d.core.errors import RunWarning
from body4d.core.stages import DepthSource, FrameSource, ProgressFn, StageOutput, ignore_progress
from body4d.core.types import Camera, Clip, MaskTrack

EVERY_FRAME_READ = 4
"""Of the frames that are read for the camera's motion, each fourth is searched for verticals: three of nine. More show the same lines
again, fewer leave those behind people unseen."""


def read_background(
    frames: FrameSource,
    camera: Camera,
    settings: CameraSettings,
    masks: Sequence[MaskTrack] = (),
    progress: ProgressFn = ignore_progress,
    depth: DepthSource | None = None,
) -> StageOutput[Camera]:
    """The camera with its path where it moves, the direction of gravity where either is known, and warnings. It is not static where it
    moves, or where there are several.

    The whole clip is read once more where the setting ``motion`` asks for a path, or is "auto" and a few frames say that the camera moves.
    ``depth`` is asked only where the camera changes its place. Raises MissingDependencyError without OpenCV.
    """
    reading = _SegmentReading(frames, masks)
    motion = camera_motion(reading, masks)
    estimate = PathEstimate("unknown")
    if settings.motion != "static" and _may_have_path(motion, settings, frames.clip):
        estimate = estimate_path(frames, camera, masks, settings.motion, progress, depth.frames if depth else ())
        camera = with_path(camera, estimate)
    scaled = _with_depth_scale(camera, estimate, depth, progress)
    camera = scaled.value
    moves = motion.kind == "moving" and estimate.kind != "still"
    if motion.has_other_cameras or (moves and settings.motion == "auto"):
        camera = replace(camera, static=False)
    if camera.path is not None or (camera.static and not moves):
        camera = reading.with_gravity(camera)
    warnings = path_warnings(camera, estimate) if estimate.kind != "unknown" else motion_warnings(motion, settings, estimate.reason)
    return StageOutput(camera, (*warnings, *scaled.warnings))


def _with_depth_scale(camera: Camera, estimate: PathEstimate, depth: DepthSource | None, progress: ProgressFn) -> StageOutput[Camera]:
    """The camera, with what a network's metric depth says of its path's length where it changes its place."""
    if depth is None or estimate.corners is None or camera.path is None:
        return StageOutput(camera)
    maps = depth.measure(camera, progress)
    scale = scale_from_depth(estimate.corners, maps.value)
    if scale is None:
        return StageOutput(camera, maps.warnings)
    path = replace(camera.path, depth_scale=(scale.metres_per_unit, scale.sigma_share))
    return StageOutput(replace(camera, path=path), maps.warnings)


def _may_have_path(motion: ClipMotion, settings: CameraSettings, clip: Clip) -> bool:
    """Whether the whole clip is read for the camera's path: it is one shot of more than one frame, and the camera does not stand still."""
    if motion.has_other_cameras or len(clip) < 2 or clip.shot_index[-1] > 0:
        return False
    return settings.motion != "auto" or motion.kind == "moving" or motion.is_lost


class _SegmentReading:
    """A FrameSource that looks for verticals in some of the frames that pass through it."""

    def __init__(self, frames: FrameSource, masks: Sequence[MaskTrack]) -> None:
        self._frames, self._masks = frames, masks
        self._searched = frozenset(list(sample_frames(len(frames.clip), NUM_FRAMES))[::EVERY_FRAME_READ])
        self._segments: list[tuple[int, np.ndarray]] = []

    @property
    def clip(self) -> Clip:
        return self._frames.clip

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        return self._frames.warnings

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for frame, rgb in self._frames.read(first, last, step):
            if frame in self._searched:
                self._segments.append((frame, upright_segments(rgb, people_mask(self._masks, frame, rgb.shape[:2]))))
            yield frame, rgb

    def with_gravity(self, camera: Camera) -> Camera:
        """The camera with the direction of gravity, as far as the segments show it."""
        segments = np.concatenate([np.zeros((0, 4)), *(segments for _, segments in self._segments)])
        frames = np.repeat([frame for frame, _ in self._segments], [len(segments) for _, segments in self._segments]).astype(int)
        # The frames of one clip show the same lines: each counts as a share of a witness.
        weights = witness_weights(segments, max(self.clip.width_px, self.clip.height_px)) / max(len(self._segments), 1)
        gravity = gravity_from_segments(segments, weights, camera, frames)
        return replace(camera, gravity=gravity.down, gravity_sigma_deg=gravity.sigma_deg)
