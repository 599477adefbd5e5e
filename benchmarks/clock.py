"""Where the seconds of a benchmark go: by part, each waited for."""

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from ceiling import wait


class Clock:
    """Seconds by part; what runs inside another part counts for the inner one alone."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._inner: list[float] = []

    def run(self, part: str, work: Callable[[], Any]) -> Any:
        wait(self._device)
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            out = work()
            wait(self._device)
        finally:
            taken = time.perf_counter() - start
            self.seconds[part] += taken - self._inner.pop()
            if self._inner:
                self._inner[-1] += taken
        return out

    def timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def run(*args: Any, **more: Any) -> Any:
            return self.run(part, lambda: method(*args, **more))

        return run
