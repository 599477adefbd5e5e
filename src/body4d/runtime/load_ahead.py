"""Networks that are loaded while an earlier stage is at work."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

from body4d.runtime.device import cuda_bytes

Loaded = TypeVar("Loaded")

MIN_GPU_BYTES = 20_000_000_000
"""Of a GPU that holds a second stage's network beside the first one's: a smaller one, such as of 16 GB, needs that room for its batches."""


def has_room_ahead(device: torch.device) -> bool:
    """Whether networks of later stages are loaded on ``device`` while an earlier one works: on large GPUs. A CPU is busy as it is."""
    return device.type == "cuda" and cuda_bytes() >= MIN_GPU_BYTES


class AheadLoader(Generic[Loaded]):
    """``load``, which can be begun in a thread before its result is asked for. Use it from one thread.

    ``warm_up`` gets what was loaded ahead, in the same thread, and works with it once: libraries, kernels and page-locked memory are then
    ready. It is called for the first network that is loaded ahead alone, since they stay ready in the process. Where it fails, the log says
    so; the stage itself then works, or fails with a sentence.
    """

    def __init__(self, load: Callable[..., Loaded]) -> None:
        self._load, self._warm = load, False
        self._arguments: tuple[object, ...] = ()
        self._begun: Future[Loaded] | None = None

    def begin(self, *arguments: object, warm_up: Callable[[Loaded], object] = lambda loaded: None) -> None:
        """Begin ``load(*arguments)`` and return at once; nothing where something was begun already."""
        if self._begun is not None:
            return
        pool = ThreadPoolExecutor(1, "body4d-load")
        self._arguments, self._begun = arguments, pool.submit(self._load_and_warm_up, arguments, warm_up)
        pool.shutdown(wait=False)

    def __call__(self, *arguments: object) -> Loaded:
        """``load(*arguments)``, once it is done where it was begun. Raises what ``load`` raises."""
        if self._begun is None or arguments != self._arguments:
            return self._load(*arguments)
        begun, self._begun = self._begun, None
        return begun.result()

    def drop(self) -> None:
        """Forget what was begun and not asked for. Its memory is free when the thread is done; nobody waits for it."""
        if self._begun is not None:
            self._begun.cancel()
        self._begun = None

    def _load_and_warm_up(self, arguments: tuple[object, ...], warm_up: Callable[[Loaded], object]) -> Loaded:
        loaded = self._load(*arguments)
        if not self._warm:
            try:
                warm_up(loaded)
            except Exception as error:  # Nothing depends on it.
                logging.getLogger(__name__).warning("A first try of a network failed: %s", (str(error).splitlines() or [repr(error)])[0])
            self._warm = True
        return loaded
