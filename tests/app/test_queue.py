"""The queue and the process that computes, with a stub for each other."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from body4d.app.preview import Preview
from body4d.app.queue import QueuedTask, TaskQueue, waiting_time_s
from body4d.app.run_time import RunTime
from body4d.app.tasks import PreviewTask, Task, WarmUpTask
from body4d.app.worker import Worker, WorkerDied
from body4d.config import Settings
from body4d.core.errors import Body4DError, InputError, SettingsError
from body4d.core.progress import Event, EventListener

TASK = WarmUpTask()


@pytest.mark.parametrize(
    ("ahead", "elapsed", "wait"),
    [([], 0, 0), ([100], 0, 50), ([100], 30, 20), ([100], 90, 0), ([100, 10, 20], 90, 15), ([100, 10], 20, 35)],
)
def test_how_long_a_visitor_waits(ahead: list[int], elapsed: float, wait: float) -> None:
    assert waiting_time_s(ahead, elapsed, RunTime(0, 0.5)) == pytest.approx(wait)


class StubWorker:
    """A worker that does what a test says, until it is ended."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.ended = threading.Event()
        self.ends = 0
        self.error: Exception | None = None
        self.deaths = 0

    def run(self, task: Task, listener: EventListener) -> Preview | None:
        self.ended.clear()
        listener(Event("bodies", "working", 1, 2))
        while not self.gate.wait(0.01):
            if self.ended.is_set():
                raise WorkerDied("ended")
        if self.deaths:
            self.deaths -= 1
            raise WorkerDied("died")
        if self.error:
            raise self.error
        return None

    def end(self) -> None:
        self.ends += 1
        self.ended.set()


def queue_of(worker: StubWorker, max_waiting: int = 5) -> TaskQueue:
    return TaskQueue(worker, max_waiting, RunTime(0, 0.5))  # type: ignore[arg-type]


def until_working(queued: QueuedTask) -> None:
    while queued.state == "waiting":
        time.sleep(0.005)


def test_tasks_wait_in_order_with_position_and_estimate() -> None:
    worker = StubWorker()
    queue = queue_of(worker)
    first, second, third = (queue.submit(name, TASK, frames) for name, frames in (("a", 100), ("b", 20), ("c", 10)))
    until_working(first)
    assert (queue.position(second).ahead, queue.position(third).ahead) == (1, 2)
    assert queue.position(third).starts_in_s == pytest.approx(60, abs=5)
    assert queue.position(third).duration_s == pytest.approx(5)
    assert queue.live() == {"a", "b", "c"}
    worker.gate.set()
    assert third.ended.wait(10)
    assert [queued.state for queued in (first, second, third)] == ["done"] * 3
    assert first.stages["bodies"].done == 1
    queue.close()


def test_cancelling_ends_the_process_of_the_one_at_work_only() -> None:
    worker = StubWorker()
    queue = queue_of(worker)
    first, second, third = (queue.submit(name, TASK) for name in "abc")
    until_working(first)
    assert queue.cancel("b")
    assert (second.state, worker.ends) == ("cancelled", 0)
    assert queue.cancel("a")
    assert first.state == "cancelled"
    assert worker.ends >= 1
    worker.gate.set()
    assert third.ended.wait(10)
    assert third.state == "done"
    assert not queue.cancel("nobody")
    queue.close()


def test_nobody_waits_while_a_process_is_ended() -> None:
    worker = StubWorker()
    queue = queue_of(worker)
    first, second = queue.submit("a", TASK), queue.submit("b", TASK)
    until_working(first)
    ending, end = threading.Event(), threading.Event()

    def slow_end() -> None:
        ending.set()
        assert end.wait(10)
        worker.ended.set()

    worker.end = slow_end  # type: ignore[method-assign]
    cancelling = threading.Thread(target=queue.cancel, args=("a",))
    cancelling.start()
    assert ending.wait(10)
    # What the event loop asks for: it would wait here until the process has ended.
    assert (queue.position(second).ahead, queue.live(), queue.find("b")) == (1, {"a", "b"}, second)
    queue.submit("c", TASK)
    end.set()
    cancelling.join()
    del worker.end
    until_working(second)
    queue.close()


def test_a_newer_look_lets_the_one_at_work_finish() -> None:
    worker = StubWorker()
    queue = queue_of(worker)
    first = queue.submit("a", TASK)
    until_working(first)
    second, third = queue.submit("a", TASK, end_older=False), queue.submit("a", TASK, end_older=False)
    assert second.state == "cancelled"
    worker.gate.set()
    assert third.ended.wait(10)
    assert (first.state, third.state, worker.ends) == ("done", "done", 0)
    queue.close()


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (InputError("No.", code="no"), "refused", "no"),
        (WorkerDied("x"), "failed", "worker_died"),
        (RuntimeError("Traceback /secret"), "failed", "app_fault"),
    ],
)
def test_every_failure_is_an_error_for_the_visitor(error: Exception, state: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("body4d.app.queue.CLOSE_GRACE_S", 0.05)
    worker = StubWorker()
    worker.error = error
    worker.gate.set()
    queue = queue_of(worker)
    queued = queue.submit("a", TASK)
    assert queued.ended.wait(10)
    assert queued.error is not None
    assert (queued.state, queued.error.code) == (state, code)
    assert "secret" not in str(queued.error)
    queue.close()


def test_a_process_that_dies_is_replaced_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("body4d.app.queue.CLOSE_GRACE_S", 0.05)
    worker = StubWorker()
    worker.gate.set()
    queue = queue_of(worker)
    states = []
    for worker.deaths in (1, 2):
        queued = queue.submit("a", TASK)
        assert queued.ended.wait(10)
        states.append(queued.state)
    assert states == ["done", "failed"]
    assert caplog.messages == ["died (try 1 of 2)", "died (try 1 of 2)", "died (try 2 of 2)"]
    queue.close()


def test_closing_interrupts_and_tells() -> None:
    worker = StubWorker()
    told: list[tuple[str, str]] = []
    queue = TaskQueue(worker, 5, 0.5, on_change=lambda queued: told.append((queued.key, queued.state)))  # type: ignore[arg-type]
    first, second, third = (queue.submit(name, TASK) for name in "abc")
    until_working(first)
    queue.cancel("c")
    queue.close()
    assert [queued.state for queued in (first, second, third)] == ["interrupted", "interrupted", "cancelled"]
    assert told == [("a", "working"), ("c", "cancelled"), ("a", "interrupted"), ("b", "interrupted")]
    with pytest.raises(Body4DError, match="being restarted"):
        queue.submit("d", TASK)


def test_a_process_that_ends_just_before_its_server_is_no_crash() -> None:
    worker = StubWorker()
    queue = queue_of(worker)
    first = queue.submit("a", TASK)
    until_working(first)
    worker.ended.set()  # a signal to all processes of the service
    queue.close()
    assert (first.state, first.error) == ("interrupted", None)


def test_the_time_of_a_run_is_known_before_it_is_asked_for() -> None:
    worker = StubWorker()
    queue = queue_of(worker)
    queue.submit("a", TASK, 100)
    expected = queue.estimate(40)
    assert (expected.ahead, expected.duration_s) == (1, 20)
    assert expected.starts_in_s == pytest.approx(50, abs=5)
    queue.close()


def test_a_full_queue_says_so() -> None:
    worker = StubWorker()
    queue = queue_of(worker, max_waiting=1)
    queue.submit("a", TASK)
    queue.submit("b", TASK)
    with pytest.raises(SettingsError, match="2 runs are waiting already"):
        queue.submit("c", TASK)
    queue.close()


@pytest.mark.slow
def test_a_process_answers_is_refused_and_can_be_ended(tmp_path: Path) -> None:
    worker = Worker(Settings(preset="lite"), "test")
    assert worker.pid is None
    clip = tmp_path / "empty.mp4"
    clip.touch()
    # The very error of the task: class, code, hint and facts.
    with pytest.raises(InputError) as caught:
        worker.run(PreviewTask(clip, tmp_path / "frame.jpg"), lambda event: None)
    assert (caught.value.code, caught.value.hint) == ("upload_empty", "Choose the video again.")
    process = worker.pid
    assert process is not None
    # Ended from another thread while it works: the one who waits is told, and nothing of it is left.
    threading.Timer(0.3, worker.end).start()
    with pytest.raises(WorkerDied, match="as it was asked to"):
        worker.run(EndlessTask(), lambda event: None)  # type: ignore[arg-type]
    worker.end()
    assert worker.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.slow
def test_the_log_says_which_signal_ended_a_process() -> None:
    worker = Worker(Settings(preset="lite"), "test")
    threading.Thread(target=kill_when_started, args=(worker, signal.SIGSEGV)).start()
    with pytest.raises(WorkerDied, match=f"by signal {int(signal.SIGSEGV)}"):
        worker.run(EndlessTask(), lambda event: None)  # type: ignore[arg-type]


def kill_when_started(worker: Worker, number: signal.Signals) -> None:
    while worker.pid is None:
        time.sleep(0.01)
    os.kill(worker.pid, number)


class EndlessTask:
    """Keeps the process that receives it busy, without a word."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return time.sleep, (600,)


SERVER_THAT_DIES = """
import os, threading, time
from body4d.app.worker import Worker
from body4d.config import Settings

class Silent:
    "Keeps the process that receives it busy, without a word."
    def __reduce__(self):
        return time.sleep, (600,)

if __name__ == "__main__":
    worker = Worker(Settings(preset="lite"), "test")
    threading.Thread(target=worker.run, args=(Silent(), lambda event: None), daemon=True).start()
    while worker.pid is None:
        time.sleep(0.01)
    time.sleep(3)
    os._exit(1)
"""


@pytest.mark.slow
def test_a_process_ends_with_its_server_however_busy(tmp_path: Path) -> None:
    """It has inherited our pipe, so reading that ends when the last of the two has ended: long before what keeps it busy."""
    server = tmp_path / "server.py"
    server.write_text(SERVER_THAT_DIES, encoding="utf-8")
    done = subprocess.run([sys.executable, server], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "")
