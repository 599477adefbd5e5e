"""Chains of small steps, which take a GPU longer to launch than to do, recorded as CUDA graphs and replayed with one launch."""

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Steps = Callable[..., tuple[Tensor, ...]]

_one_at_a_time = threading.Lock()
"""Two threads may replay graphs side by side; recording waits for the device, which another thread's recording does not bear."""


@dataclass(frozen=True)
class _Recording:
    """A graph that reads ``inputs`` and writes ``outputs``, always at the same places in memory. ``owner`` is kept alive with it."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    owner: object


class CudaGraphRecorder:
    """Calls steps on tensors; where their shapes come again, records the steps as a CUDA graph and replays that.

    Only on CUDA and where no gradient is asked for; elsewhere the steps are simply called. What the steps read besides their inputs must
    stay where it is in memory (call ``clear`` after moving it), and they must not wait for the device. Steps that CUDA cannot record
    are called as they are from then on: ``enabled`` is then False, and the log says why.

    ``max_graphs``: graphs kept; the one replayed least recently goes first. ``record_after``: a shape is recorded when it is met this
    often, since recording takes as long as several calls. ``row_step``: inputs are rows (B, ...), each computed independently of the
    others; they are filled up to a multiple of ``row_step``, so that a few graphs serve every B. ``label`` names the steps in the log.
    ``priority``: of the recorded kernels, as torch counts a stream's; with -1 they go before those of other streams.
    """

    def __init__(self, label: str, *, max_graphs: int, record_after: int = 1, row_step: int | None = None, priority: int = 0) -> None:
        self.enabled, self._priority = True, priority
        self._label, self._max_graphs, self._record_after, self._row_step = label, max_graphs, record_after, row_step
        self._calls: Counter[Hashable] = Counter()
        self._recordings: OrderedDict[Hashable, _Recording] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recordings)

    def clear(self) -> None:
        """Drop all graphs."""
        self._calls.clear()
        self._recordings.clear()

    def __call__(self, steps: Steps, inputs: tuple[Tensor, ...], key: Hashable = None, owner: object = None) -> tuple[Tensor, ...]:
        """``steps(*inputs)``. The result must depend on nothing else but ``key`` and ``owner``, which lives as long as its graphs."""
        if not self.enabled or not _can_record(inputs):
            return steps(*inputs)
        shape_key = (key, id(owner), tuple(self._signature(tensor) for tensor in inputs))
        if shape_key not in self._recordings:
            self._calls[shape_key] += 1
            if self._calls[shape_key] < self._record_after or not self._record(shape_key, steps, inputs, owner):
                return steps(*inputs)
        self._recordings.move_to_end(shape_key)
        recording = self._recordings[shape_key]
        for place, tensor in zip(recording.inputs, inputs, strict=True):
            (place if self._row_step is None else place[: len(tensor)]).copy_(tensor)
        recording.graph.replay()
        # Copies, because the next replay writes over these.
        if self._row_step is None:
            return tuple(tensor.clone() for tensor in recording.outputs)
        return tuple(tensor[: len(inputs[0])].clone() for tensor in recording.outputs)

    @property
    def _pool(self) -> Any:
        """Memory that the graphs share: they are never replayed at the same time, and their outputs are copied at once."""
        return next(iter(self._recordings.values())).graph.pool() if self._recordings else None

    def _signature(self, tensor: Tensor) -> Hashable:
        """What tensors must share to be read by one graph."""
        if self._row_step is None:
            return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device
        return (self._num_rows(tensor), *tensor.shape[1:]), tensor.dtype, tensor.device

    def _num_rows(self, tensor: Tensor) -> int:
        """Rows of a tensor, filled up."""
        assert self._row_step is not None
        return -(-len(tensor) // self._row_step) * self._row_step

    def _place(self, tensor: Tensor) -> Tensor:
        """Memory from which a graph is to read such tensors, with plausible numbers in it."""
        if self._row_step is None:
            return tensor.clone()
        return tensor[:1].expand(self._num_rows(tensor), *tensor.shape[1:]).clone()

    def _record(self, shape_key: Hashable, steps: Steps, inputs: tuple[Tensor, ...], owner: object) -> bool:
        """Record the steps. False where CUDA cannot; running out of memory is raised, for the caller to use a smaller batch."""
        places = tuple(self._place(tensor) for tensor in inputs)
        if self._record_after == 1:
            _warm_up(steps, places)
        try:
            with _one_at_a_time:
                graph, outputs = _capture(steps, places, self._pool, self._priority)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self.enabled = False
            self._recordings.clear()
            logging.getLogger(__name__).warning("%s runs without CUDA graphs, and slower: %s", self._label, str(error).splitlines()[0])
            return False
        self._recordings[shape_key] = _Recording(graph, places, outputs, owner)
        while len(self._recordings) > self._max_graphs:
            self._recordings.popitem(last=False)
        return True


def _can_record(inputs: tuple[Tensor, ...]) -> bool:
    return inputs[0].is_cuda and not torch.is_grad_enabled() and not torch.cuda.is_current_stream_capturing()


def _warm_up(steps: Steps, inputs: tuple[Tensor, ...]) -> None:
    """Call the steps once without recording: what libraries make on a first call is made now."""
    device = inputs[0].device
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        steps(*inputs)
    torch.cuda.current_stream(device).wait_stream(stream)


def _capture(steps: Steps, inputs: tuple[Tensor, ...], pool: Any, priority: int) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
    """A graph of the steps, and the tensors it writes, in the memory of ``pool`` or, where it is None, of its own."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(inputs[0].device, priority=priority)
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        outputs = steps(*inputs)
    return graph, outputs
