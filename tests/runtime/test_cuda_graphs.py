"""The recorder of CUDA graphs: its bookkeeping on the CPU, over a stand-in for the capture, and on CUDA the same numbers."""

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from body4d.runtime import cuda_graphs
from body4d.runtime.cuda_graphs import CudaGraphRecorder, Steps


class FakeGraph:
    """Runs the steps again on replay, from and to the same memory, as a graph does."""

    def __init__(self, steps: Steps, inputs: tuple[Tensor, ...]) -> None:
        self._steps, self._inputs, self.outputs = steps, inputs, steps(*inputs)

    def replay(self) -> None:
        for place, made in zip(self.outputs, self._steps(*self._inputs), strict=True):
            place.copy_(made)

    def pool(self) -> None:
        return None


class Capture:
    """Stands for the capture on a machine without CUDA; ``captured`` are the shapes of the first inputs."""

    def __init__(self) -> None:
        self.captured: list[tuple[int, ...]] = []
        self.warmed_up = 0
        self.error: RuntimeError | None = None

    def capture(self, steps: Steps, inputs: tuple[Tensor, ...], pool: Any, priority: int) -> tuple[FakeGraph, tuple[Tensor, ...]]:
        if self.error is not None:
            raise self.error
        self.captured.append(tuple(inputs[0].shape))
        graph = FakeGraph(steps, inputs)
        return graph, graph.outputs

    def warm_up(self, steps: Steps, inputs: tuple[Tensor, ...]) -> None:
        self.warmed_up += 1


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Capture:
    made = Capture()
    monkeypatch.setattr(cuda_graphs, "_can_record", lambda inputs: True)
    monkeypatch.setattr(cuda_graphs, "_capture", made.capture)
    monkeypatch.setattr(cuda_graphs, "_warm_up", made.warm_up)
    return made


def steps(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return a * 2 + b, (a + b).sum(1)


def pair(rows: int, columns: int = 3) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(rows)
    return torch.rand(rows, columns, generator=made), torch.rand(rows, columns, generator=made)


def assert_plain(recorder: CudaGraphRecorder, inputs: tuple[Tensor, ...], **more: Any) -> None:
    for ours, expected in zip(recorder(steps, inputs, **more), steps(*inputs), strict=True):
        assert torch.equal(ours, expected)


def test_without_cuda_the_steps_are_called() -> None:
    recorder = CudaGraphRecorder("steps", max_graphs=2)
    for _ in range(3):
        assert_plain(recorder, pair(4))
    assert len(recorder) == 0


def test_a_shape_is_recorded_when_met_often_enough(capture: Capture) -> None:
    recorder = CudaGraphRecorder("steps", max_graphs=2, record_after=3)
    for _ in range(2):
        assert_plain(recorder, pair(4))
    assert capture.captured == []
    for _ in range(3):
        assert_plain(recorder, pair(4))
    assert capture.captured == [(4, 3)]
    assert capture.warmed_up == 0  # the calls before have done that
    assert_plain(recorder, tuple(t.T.contiguous().T for t in pair(4)))  # other strides are another shape
    assert len(recorder) == 1


def test_results_outlive_the_next_replay(capture: Capture) -> None:
    recorder = CudaGraphRecorder("steps", max_graphs=2)
    first = recorder(steps, pair(4))
    recorder(steps, tuple(t + 1 for t in pair(4)))
    assert torch.equal(first[0], steps(*pair(4))[0])
    assert capture.warmed_up == 1


def test_rows_are_filled_up_to_a_step(capture: Capture) -> None:
    recorder = CudaGraphRecorder("steps", max_graphs=2, row_step=8)
    for rows in (5, 8, 1, 9, 3):
        assert_plain(recorder, pair(rows))
    assert capture.captured == [(8, 3), (16, 3)]


def test_keys_and_owners_have_graphs_of_their_own(capture: Capture) -> None:
    recorder = CudaGraphRecorder("steps", max_graphs=8)
    for key, owner in (("a", steps), ("b", steps), ("b", capture), ("b", capture)):
        assert_plain(recorder, pair(2), key=key, owner=owner)
    assert len(recorder) == 3


def test_the_graph_replayed_least_recently_goes_first(capture: Capture) -> None:
    recorder = CudaGraphRecorder("steps", max_graphs=2)
    for rows in (1, 2, 1, 3, 1, 2):
        assert_plain(recorder, pair(rows))
    assert [shape[0] for shape in capture.captured] == [1, 2, 3, 2]
    assert len(recorder) == 2
    recorder.clear()
    assert len(recorder) == 0


def test_steps_that_cannot_be_recorded_are_called_from_then_on(capture: Capture, caplog: pytest.LogCaptureFixture) -> None:
    recorder = CudaGraphRecorder("The tracker", max_graphs=2)
    assert_plain(recorder, pair(1))
    capture.error = RuntimeError("operation not permitted\nwhen a stream is capturing")
    with caplog.at_level(logging.WARNING):
        assert_plain(recorder, pair(2))
    assert "The tracker runs without CUDA graphs, and slower: operation not permitted" in caplog.text
    assert (recorder.enabled, len(recorder)) == (False, 0)
    capture.error = None
    assert_plain(recorder, pair(1))
    assert len(recorder) == 0


def test_running_out_of_memory_is_for_the_caller(capture: Capture) -> None:
    recorder = CudaGraphRecorder("steps", max_graphs=2)
    capture.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        recorder(steps, pair(2))
    assert recorder.enabled


@pytest.mark.cuda
@pytest.mark.parametrize("options", [{"record_after": 3}, {"row_step": 8}])
def test_recorded_steps_are_the_plain_ones(options: dict[str, int]) -> None:
    recorder = CudaGraphRecorder("steps", max_graphs=2, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for rows in (4, 4, 4, 4, 11, 11, 11, 11, 20, 4, 20):
            assert_plain(recorder, tuple(t.cuda() for t in pair(rows)))
    assert 0 < len(recorder) <= 2
    recorder.clear()
    with torch.no_grad():
        assert_plain(recorder, tuple(t.cuda() for t in pair(4)))
