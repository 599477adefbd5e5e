"""Many small steps on few numbers, which a GPU waits for one by one, as one recorded CUDA graph."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

STEP = 32
"""Rows are filled up to a multiple of this, so that a handful of recordings serves every batch."""
MOST_KEPT = 8
"""Recordings kept; each holds a few megabytes of the device."""

Steps = Callable[[Tensor], tuple[Tensor, ...]]


class Replay:
    """Calls ``steps`` on rows (B, n), row by row independent, by recording it once per number of rows and replaying that.

    Only on CUDA and where no gradient is asked for; else ``steps`` is simply called. What ``steps`` reads besides its argument must stay
    where it is in memory: call :meth:`forget` after moving it.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, tuple[Any, Tensor, tuple[Tensor, ...], Any]] = OrderedDict()

    def forget(self) -> None:
        """Drop all recordings."""
        self._kept.clear()

    def __call__(self, steps: Steps, raw: Tensor, owner: object) -> tuple[Tensor, ...]:
        """``steps(raw)``; ``owner`` is what ``steps`` depends on besides ``raw`` and is kept alive with its recordings."""
        if not raw.is_cuda or torch.is_grad_enabled() or torch.cuda.is_current_stream_capturing():
            return steps(raw)
        count = len(raw)
        rows = -(-count // STEP) * STEP
        key = (rows, raw.device, raw.dtype, id(owner))
        if key not in self._kept:
            self._kept[key] = (*_record(steps, raw, rows), owner)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        graph, given, found, _ = self._kept[key]
        given[:count].copy_(raw)
        graph.replay()
        # Copies: the next replay writes over these.
        return tuple(t[:count].clone() for t in found)


def _record(steps: Steps, raw: Tensor, rows: int) -> tuple[Any, Tensor, tuple[Tensor, ...]]:
    given = raw[:1].expand(rows, -1).clone()
    aside = torch.cuda.Stream(raw.device)
    aside.wait_stream(torch.cuda.current_stream(raw.device))
    with torch.cuda.stream(aside):  # Once unrecorded: what is made on the first call is made now.
        steps(given)
    torch.cuda.current_stream(raw.device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        found = steps(given)
    return graph, given, found
