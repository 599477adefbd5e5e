"""In the Completer's seat where its models are not there: says who may be hidden, and leaves them to the smoother."""

from collections.abc import Sequence

from body4d.config import OcclusionSettings
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import FrameSource, ProgressFn
from body4d.core.types import Clip, MaskTrack
from body4d.models.diffusion_vas.candidates import spans_to_look_at


class NoCompleter:
    """A :class:`~body4d.core.stages.AmodalCompleter` that completes nobody. ``why`` tells why, as half a sentence."""

    def __init__(self, why: str, settings: OcclusionSettings) -> None:
        self._why, self._settings = why, settings
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence where somebody may be hidden, none where nobody is."""
        return self._notes

    def foresee(self, clip: Clip, masks: Sequence[MaskTrack]) -> str:
        """Nothing is going to be done."""
        return ""

    def complete(self, frames: FrameSource, masks: Sequence[MaskTrack], report: ProgressFn) -> tuple[OcclusionSegment, ...]:
        """Nobody."""
        spans = spans_to_look_at(masks, frames.clip.times_s, self._settings)
        people = len({span.person for span in spans})
        who = "1 person" if people == 1 else f"{people} people"
        told = (
            f"{who} may be hidden on {sum(map(len, spans))} frames and cannot be completed: {self._why}. The smoother bridges what it can."
        )
        self._notes = (told,) if spans else ()
        return ()
