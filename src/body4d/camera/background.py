"""What the background says of the camera, in one reading of a few frames: whether it moves, and which way is down."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from body4d.camera.lens import sample_frames
from body4d.camera.motion import NUM_FRAMES, camera_motion, motion_warnings, people_mask
from body4d.camera.verticals import gravity_from_segments, upright_segments, witness_weights
from body4d.config import CameraSettings
from body4d.core.errors import RunWarning
from body4d.core.stages import FrameSource, ProgressFn, StageOutput, ignore_progress
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
) -> StageOutput[Camera]:
    """The camera with the direction of gravity, where it stands still, and warnings where it does not; not static where there are several.

    Raises MissingDependencyError without OpenCV.
    """
    reading = _SegmentReading(frames, masks)
    motion = camera_motion(reading, masks)
    if motion.has_other_cameras:
        camera = replace(camera, static=False)
    elif camera.static and motion.kind != "moving":
        gravity = gravity_from_segments(*reading.segments(), camera)
        camera = replace(camera, gravity=gravity.down, gravity_sigma_deg=gravity.sigma_deg)
    return StageOutput(camera, motion_warnings(motion, settings))


class _SegmentReading:
    """A FrameSource that looks for verticals in some of the frames that pass through it."""

    def __init__(self, frames: FrameSource, masks: Sequence[MaskTrack]) -> None:
        self._frames, self._masks = frames, masks
        self._searched = frozenset(list(sample_frames(len(frames.clip), NUM_FRAMES))[::EVERY_FRAME_READ])
        self._segments = [np.zeros((0, 4))]

    @property
    def clip(self) -> Clip:
        return self._frames.clip

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        return self._frames.warnings

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for frame, rgb in self._frames.read(first, last, step):
            if frame in self._searched:
                self._segments.append(upright_segments(rgb, people_mask(self._masks, frame, rgb.shape[:2])))
            yield frame, rgb

    def segments(self) -> tuple[np.ndarray, np.ndarray]:
        """Every segment (N, 4), and its weight (N,) as a witness: the frames of one clip show the same lines."""
        segments = np.concatenate(self._segments)
        return segments, witness_weights(segments, max(self.clip.width_px, self.clip.height_px)) / max(len(self._segments) - 1, 1)
