"""Networks of later stages, loaded while an earlier stage is at work."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from body4d.core.stages import LoadsAhead, ProgressFn
from body4d.core.types import Clip
from body4d.run.run_folder import StageFn, StageResult

LOADED_AHEAD: dict[str, tuple[str, ...]] = {
    "probe": ("masks",),
    "masks": ("camera", "bodies"),
    "occlusion": ("camera", "bodies"),
    "camera": ("bodies",),
}
"""While a stage is done, the networks of these are loaded: they come soon after it, and are done again whenever it is."""


class NetworksAhead:
    """The models, by their stage, of which some can load their networks ahead."""

    def __init__(self, models: Mapping[str, object]) -> None:
        self._loaders = {stage: model for stage, model in models.items() if isinstance(model, LoadsAhead)}

    def during(self, stage: str, clip: Clip, make: StageFn) -> StageFn:
        """``make``, which does a stage, and networks of later stages are loaded meanwhile."""

        def load_and_make(into: Path, progress: ProgressFn) -> StageResult | None:
            for later in LOADED_AHEAD.get(stage, ()):
                if later in self._loaders:
                    self._loaders[later].load_ahead(clip)
            return make(into, progress)

        return load_and_make

    @contextmanager
    def dropped_in_the_end(self) -> Iterator[None]:
        """When the block ends, what was loaded and not used is forgotten."""
        try:
            yield
        finally:
            for loader in self._loaders.values():
                loader.drop_ahead()
