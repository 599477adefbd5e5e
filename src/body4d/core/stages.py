"""The seats a preset fills, and what each passes on. Pictures in, nouns of :mod:`body4d.core.types` out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from body4d.core.occlusion import OcclusionSegment
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Prompt

ProgressFn = Callable[[int, int], None]
"""Called with (done, total) now and then while a stage works; may raise :class:`body4d.core.errors.Cancelled` to stop it."""


class FrameSource(Protocol):
    """A clip's frames, streamed in order as often as wanted; memory does not grow with length."""

    @property
    def clip(self) -> Clip: ...

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (clip frame index, RGB uint8 (H, W, 3)) for frames first, first+step, ... below ``last``."""
        ...


class Segmenter(Protocol):
    """Finds people and follows them: one MaskTrack each, main person first."""

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], report: ProgressFn) -> tuple[MaskTrack, ...]: ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about what the last ``track`` could not follow."""
        ...


class CameraEstimator(Protocol):
    """One camera for the clip."""

    def estimate(self, frames: FrameSource, report: ProgressFn) -> Camera: ...


class AmodalCompleter(Protocol):
    """Finds who is hidden, and completes them: stretches by person, then in time; none where nobody is."""

    def foresee(self, clip: Clip, masks: Sequence[MaskTrack]) -> str:
        """A sentence on what ``complete`` will look at and what that is expected to take, "" where nothing. Loads no network."""
        ...

    def complete(self, frames: FrameSource, masks: Sequence[MaskTrack], report: ProgressFn) -> tuple[OcclusionSegment, ...]: ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about the last ``complete``."""
        ...


class BodyEstimator(Protocol):
    """Bodies of followed people, before smoothing: one BodyTrack per MaskTrack, same order and frames.

    ``hidden`` are the stretches on which a :class:`AmodalCompleter` found somebody hidden and completed them.
    """

    def estimate(
        self,
        frames: FrameSource,
        masks: Sequence[MaskTrack],
        camera: Camera,
        report: ProgressFn,
        hidden: Sequence[OcclusionSegment] = (),
    ) -> tuple[BodyTrack, ...]: ...


def ignore_progress(done: int, total: int) -> None:
    """A :data:`ProgressFn` that says nothing."""
