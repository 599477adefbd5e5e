"""Networks that are loaded while an earlier stage is at work."""

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

    Nothing but reading is done ahead: to try a network too, so that its kernels and libraries are ready, took the stage that was at work
    as long as it saved the next one (``benchmarks/end_to_end.py``).
    """

    def __init__(self, load: Callable[..., Loaded]) -> None:
        self._load = load
        self._arguments: tuple[object, ...] = ()
        self._begun: Future[Loaded] | None = None

    def begin(self, *arguments: object) -> None:
        """Begin ``load(*arguments)`` and return at once; nothing where something was begun already."""
        if self._begun is not None:
            return
        pool = ThreadPoolExecutor(1, "body4d-load")
        self._arguments, self._begun = arguments, pool.submit(self._load, *arguments)
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
