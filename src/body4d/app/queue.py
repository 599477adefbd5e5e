"""The queue: one task at a time for each process, with position and estimate; any of them can be cancelled."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from body4d.app.preview import Preview
from body4d.app.run_time import MAX_MEASURED, RunTime, learnt
from body4d.app.tasks import Task
from body4d.app.worker import Worker, WorkerDied
from body4d.core.errors import Body4DError, SettingsError
from body4d.core.progress import Event

log = logging.getLogger(__name__)

TaskState = Literal["waiting", "working", "done", "refused", "failed", "cancelled", "interrupted"]
"""``interrupted``: the server ended first; the next one goes on with the run."""

MAX_IDLE_S = 900.0
"""A process without work ends after this, and frees the memory of its models; the next task pays for loading them."""

MAX_TRIES = 2
"""How often a task is begun whose process ends without an answer. A run goes on with what is finished; one that needs more memory than
there is ends the second process, too."""

CLOSE_GRACE_S = 1.0
"""How long after the end of its process a task still counts as interrupted by the end of the server: service managers send their signal to
every process of a service."""


def fault() -> Body4DError:
    """Something that is not the visitor's doing; what it was is in the log."""
    return Body4DError("Something went wrong on our side, and was written to the server's log.", code="app_fault", hint="Try again.")


def worker_died() -> Body4DError:
    """The computing process ended before it answered."""
    message = "The computing process ended unexpectedly, mostly for lack of memory."
    return Body4DError(message, code="worker_died", hint="Try a shorter or smaller clip.")


def nothing_to_note(queued: "QueuedTask") -> None:
    """A listener of a queue that does not listen."""


def server_stops() -> Body4DError:
    """The server is being ended or started again."""
    message = "The server is being restarted."
    return Body4DError(message, code="server_stopping", hint="Come back in a minute: your work is kept, and what waited goes on by itself.")


@dataclass
class QueuedTask:
    """A task on its way. ``frames`` is what its estimate is made of; ``stages`` holds the newest event of each stage, in order.

    ``error`` is why it was refused or failed. ``ended`` is set when nothing of it is at work any more.
    """

    key: str
    task: Task
    frames: int = 0
    state: TaskState = "waiting"
    error: Body4DError | None = None
    preview: Preview | None = None
    stages: dict[str, Event] = field(default_factory=dict)
    started_s: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def on_event(self, event: Event) -> None:
        """An ``body4d.core.progress.EventListener`` for the run."""
        if event.state != "warning" and event.stage != "run":
            self.stages[event.stage] = event


@dataclass(frozen=True)
class QueuePosition:
    """``ahead`` tasks come before; this one starts in about ``starts_in_s`` and takes about ``duration_s``."""

    ahead: int
    starts_in_s: float
    duration_s: float


def waiting_time_s(frames_ahead: Sequence[int], elapsed_s: float, run_time: RunTime) -> float:
    """Seconds until the tasks ahead are done; the first of them has run for ``elapsed_s``. Pure."""
    if not frames_ahead:
        return 0.0
    first, *others = map(run_time.seconds, frames_ahead)
    return max(first - elapsed_s, 0.0) + sum(others)


class TaskQueue:
    """Tasks for one worker, in order of arrival. A key has one live task at a time."""

    def __init__(
        self,
        worker: Worker,
        max_waiting: int,
        run_time: RunTime,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[QueuedTask], None] = nothing_to_note,
    ) -> None:
        """``run_time`` is what tasks take until some were measured. ``on_change`` hears of each task that begins or has ended, on the
        queue's own thread or that of ``close``."""
        self._worker, self._max_waiting, self._clock, self._on_change = worker, max_waiting, clock, on_change
        self._prior, self._run_time = run_time, run_time
        self._measured: deque[tuple[int, float]] = deque(maxlen=MAX_MEASURED)
        self._queued: list[QueuedTask] = []
        self._changed = threading.Condition()
        self._taking = threading.Lock()
        """Held, before ``_changed``, while a task is begun or a process ended; what asks for a position does not wait for that."""
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="tasks", daemon=True)
        self._thread.start()

    def submit(self, key: str, task: Task, frames: int = 0, *, end_older: bool = True) -> QueuedTask:
        """Put a task in the queue; an older one of the same key is cancelled; with ``end_older`` False, only if it still waits.

        Raises SettingsError where too many wait, Body4DError where the queue is closed.
        """
        if end_older:
            self.cancel(key)
        with self._changed:
            if self._closed:
                raise server_stops()
            for older in [older for older in self._queued if older.key == key and older.state == "waiting"]:
                older.state = "cancelled"
                self._queued.remove(older)
                older.ended.set()
            if len(self._queued) > self._max_waiting:
                waiting = len(self._queued)
                raise SettingsError(
                    f"{waiting} runs are waiting already.", code="queue_full", hint="Come back a little later.", waiting=waiting
                )
            queued = QueuedTask(key, task, frames)
            self._queued.append(queued)
            self._changed.notify_all()
        return queued

    def find(self, key: str) -> QueuedTask | None:
        """The live task of a key."""
        with self._changed:
            return next((queued for queued in self._queued if queued.key == key), None)

    def live(self) -> set[str]:
        """Keys of all tasks that wait or work."""
        with self._changed:
            return {queued.key for queued in self._queued}

    def position(self, queued: QueuedTask) -> QueuePosition:
        """Where a live task stands; all zeros for one that has ended."""
        with self._changed:
            ahead = self._queued[: self._queued.index(queued)] if queued in self._queued else []
            starts_in_s = waiting_time_s([other.frames for other in ahead], self._elapsed_s(), self._run_time)
            return QueuePosition(len(ahead), starts_in_s, self._run_time.seconds(queued.frames))

    def estimate(self, frames: int) -> QueuePosition:
        """Where a task of so many frames would stand if it came now."""
        with self._changed:
            starts_in_s = waiting_time_s([other.frames for other in self._queued], self._elapsed_s(), self._run_time)
            return QueuePosition(len(self._queued), starts_in_s, self._run_time.seconds(frames))

    def _elapsed_s(self) -> float:
        """Since the task at work began; 0 where none is."""
        return self._clock() - self._queued[0].started_s if self._queued and self._queued[0].state == "working" else 0.0

    def cancel(self, key: str) -> bool:
        """Cancel the task of a key; whether there was one. Its process is ended before this returns."""
        with self._changed:
            queued = next((queued for queued in self._queued if queued.key == key), None)
            if queued is None:
                return False
            working = queued.state == "working"
            queued.state = "cancelled"
            if not working:
                self._queued.remove(queued)
                queued.ended.set()
        if not working:
            self._note(queued)
        # Again, as its process may only just be starting; no task is begun meanwhile, so that it is never the next one's process.
        while not queued.ended.wait(0 if working else None):
            with self._taking:
                with self._changed:
                    mine = queued in self._queued
                if mine:
                    self._worker.end()
            queued.ended.wait(0.1)
        return True

    def close(self) -> None:
        """End the process. What waits or is at work becomes ``interrupted``; nothing is taken in any more."""
        with self._changed:
            self._closed = True
            interrupted = [queued for queued in self._queued if queued.state in ("waiting", "working")]
            for queued in interrupted:
                waiting = queued.state == "waiting"
                queued.state = "interrupted"
                if waiting:
                    self._queued.remove(queued)
                    queued.ended.set()
            self._changed.notify_all()
        self._worker.end()
        for queued in interrupted:
            while not queued.ended.wait(0.1):  # Again, as its process may only just be starting.
                self._worker.end()
            self._note(queued)

    def _note(self, queued: QueuedTask) -> None:
        try:
            self._on_change(queued)
        except (Body4DError, OSError) as error:  # A full disk must not end the thread on which every later task depends.
            log.error("the state of a run could not be kept: %s", error)

    def _loop(self) -> None:
        while True:
            with self._changed:
                idle = not self._changed.wait_for(lambda: self._queued or self._closed, MAX_IDLE_S)
            if idle:
                self._worker.end()
                continue
            with self._taking, self._changed:
                if self._closed:
                    return
                if not self._queued:
                    continue
                queued = self._queued[0]
                queued.state, queued.started_s = "working", self._clock()
            self._note(queued)
            self._run(queued)
            if queued.state != "interrupted":
                self._note(queued)
            with self._changed:
                if queued in self._queued:
                    self._queued.remove(queued)
                queued.ended.set()

    def _run(self, queued: QueuedTask) -> None:
        state: TaskState = "done"
        failure: Body4DError | None = None
        try:
            queued.preview = self._answer(queued)
        except Body4DError as error:
            state, failure = "refused", error
        except WorkerDied:
            state, failure = "failed", worker_died()
        except Exception as error:
            state, failure = "failed", fault()
            log.error("a task failed: %s", error)
        with self._changed:
            if queued.state == "working":
                queued.state, queued.error = state, failure
            # A run that took over stages of another one tells nothing of a whole one.
            if queued.state == "done" and queued.frames and all(event.state != "skipped" for event in queued.stages.values()):
                self._measured.append((queued.frames, self._clock() - queued.started_s))
                self._run_time = learnt(self._prior, list(self._measured))

    def _answer(self, queued: QueuedTask) -> Preview | None:
        """What the process answers; a process that ends unexpectedly is replaced once. Raises what the task raises, WorkerDied."""
        for attempt in range(1, MAX_TRIES + 1):
            try:
                return self._worker.run(queued.task, queued.on_event)
            except WorkerDied as error:
                with self._changed:  # Where everything is being ended, the process may end a moment before we are told.
                    unasked = not self._changed.wait_for(lambda: queued.state != "working", CLOSE_GRACE_S)
                if unasked:
                    log.error("%s (try %d of %d)", error, attempt, MAX_TRIES)
                if not unasked or attempt == MAX_TRIES:
                    raise
        raise AssertionError("unreachable")
