"""What the pipeline asks of each stage, whichever model does it: protocols over the types of ``body4d.core.types``."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from body4d.core.camera import DepthMap
from body4d.core.errors import RunWarning
from body4d.core.occlusion import OcclusionSegment
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Prompt

T_co = TypeVar("T_co", covariant=True)

ProgressFn = Callable[[int, int], None]
"""Called with (done, total) now and then while a stage works; may raise ``body4d.core.errors.Cancelled`` to stop it."""


def ignore_progress(done: int, total: int) -> None:
    """A ``ProgressFn`` that reports nothing."""


@dataclass(frozen=True)
class StageOutput(Generic[T_co]):
    """What a stage hands on, and what the user should know about it."""

    value: T_co
    warnings: tuple[RunWarning, ...] = ()


@dataclass(frozen=True)
class DepthSource:
    """A network that gives metric depth on some frames of a clip, where it is asked. ``measure`` takes the clip's camera, whose focal
    lengths are known by then; it gives no map of a frame on which the network sees nothing."""

    frames: Sequence[int]
    measure: Callable[[Camera, ProgressFn], StageOutput[tuple[DepthMap, ...]]]


@dataclass(frozen=True)
class CameraOutput(StageOutput[Camera]):
    """The camera, and what can give metric depth where its path needs it."""

    depth: DepthSource | None = None


class Stage(Protocol):
    """What every model in the pipeline declares."""

    @property
    def cache_inputs(self) -> Any:
        """Everything of the settings on which this stage's result depends, as JSON values. A finished stage is done again when this
        changes, and only then; what changes speed alone is left out."""
        ...


@runtime_checkable
class LoadsAhead(Protocol):
    """A stage's model that can load its network while an earlier stage is at work."""

    def load_ahead(self, clip: Clip) -> None:
        """Begin to load what the stage needs for ``clip`` and return at once; nothing where there is no room for it. An error is raised by
        the stage, when it begins."""
        ...

    def drop_ahead(self) -> None:
        """Forget what was loaded ahead and not used."""
        ...


class FrameSource(Protocol):
    """A clip's frames, streamed in order as often as wanted; memory does not grow with length."""

    @property
    def clip(self) -> Clip: ...

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        """What is wrong with the file, as far as it has been read."""
        ...

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
        """Yield (clip frame index, RGB picture) for frames first, first+step, ... below ``last``."""
        ...


class Segmenter(Stage, Protocol):
    """Finds people and tracks them: one MaskTrack each, main person first."""

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], progress: ProgressFn) -> StageOutput[tuple[MaskTrack, ...]]: ...


class CameraEstimator(Stage, Protocol):
    """One camera for the clip."""

    def estimate(self, frames: FrameSource, progress: ProgressFn) -> CameraOutput: ...


class AmodalCompleter(Stage, Protocol):
    """Finds where people are occluded and completes them: segments by person, then in time; none where nobody is."""

    def estimate_cost(self, clip: Clip, masks: Sequence[MaskTrack]) -> RunWarning | None:
        """What ``complete`` examines and how long that is expected to take, None where nothing. Loads no network."""
        ...

    def complete(
        self, frames: FrameSource, masks: Sequence[MaskTrack], progress: ProgressFn
    ) -> StageOutput[tuple[OcclusionSegment, ...]]: ...


class BodyEstimator(Stage, Protocol):
    """Bodies of tracked people, before smoothing: one BodyTrack per MaskTrack, same order and frames.

    ``occlusions`` are the segments in which an ``AmodalCompleter`` found somebody occluded and completed them.
    """

    def estimate(
        self,
        frames: FrameSource,
        masks: Sequence[MaskTrack],
        camera: Camera,
        progress: ProgressFn,
        occlusions: Sequence[OcclusionSegment] = (),
    ) -> StageOutput[tuple[BodyTrack, ...]]: ...
