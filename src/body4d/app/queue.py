"""The queue: one task at a time for each process, with position and estimate; any of them can be cancelled."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from body4d.app.tasks import Sight, Task
from body4d.app.worker import Worker, WorkerDied
from body4d.core.errors import Body4DError, SettingsError
from body4d.core.progress import Event

log = logging.getLogger(__name__)

State = Literal["waiting", "working", "done", "refused", "failed", "cancelled"]

FAULT = "Something went wrong on our side, and was written to the server's log. Your clip is kept: try again."
DIED = "The computing process ended unexpectedly, mostly for lack of memory. Your clip is kept: try a shorter or smaller one."


@dataclass
class Job:
    """A task on its way. ``frames`` is what its estimate is made of; the newest event of each stage is in ``stages``, in order."""

    key: str
    task: Task
    frames: int = 0
    state: State = "waiting"
    sentence: str = ""
    result: Sight | None = None
    stages: dict[str, Event] = field(default_factory=dict)
    started_s: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def hear(self, event: Event) -> None:
        """A listener of the run's events."""
        if event.state != "warning" and event.stage != "run":
            self.stages[event.stage] = event


@dataclass(frozen=True)
class Place:
    """Where a job stands: ``ahead`` of it so many, its own turn begins in about ``begins_s`` and takes about ``takes_s``."""

    ahead: int
    begins_s: float
    takes_s: float


def wait_s(frames_ahead: list[int], elapsed_s: float, seconds_per_frame: float) -> float:
    """Seconds until the jobs ahead are done; the first of them has run for ``elapsed_s``. Pure."""
    if not frames_ahead:
        return 0.0
    first, *others = (frames * seconds_per_frame for frames in frames_ahead)
    return max(first - elapsed_s, 0.0) + sum(others)


def learned(before: float, measured: float) -> float:
    """Seconds per frame after another run: half of what was believed, half of what was seen. Pure."""
    return 0.5 * before + 0.5 * measured


class Queue:
    """Jobs for one worker, in order of arrival. A key has one live job at a time."""

    def __init__(
        self, worker: Worker, most_waiting: int, seconds_per_frame: float, idle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._worker, self._most, self._idle_s, self._clock = worker, most_waiting, idle_s, clock
        self._seconds_per_frame = seconds_per_frame
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)
        self._thread.start()

    def submit(self, key: str, task: Task, frames: int = 0, *, end_older: bool = True) -> Job:
        """Put a task in the queue; an older one of the same key gives way, unless it is at work already and not to be ended.

        Raises SettingsError where too many wait.
        """
        if end_older:
            self.cancel(key)
        with self._changed:
            for job in [job for job in self._jobs if job.key == key and job.state == "waiting"]:
                job.state = "cancelled"
                self._jobs.remove(job)
                job.ended.set()
            if len(self._jobs) > self._most:
                raise SettingsError(f"{len(self._jobs)} runs are waiting already; come back a little later. Your clip is kept.")
            job = Job(key, task, frames)
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    def find(self, key: str) -> Job | None:
        """The live job of a key."""
        with self._changed:
            return next((job for job in self._jobs if job.key == key), None)

    def live(self) -> set[str]:
        """Keys of all jobs that wait or work."""
        with self._changed:
            return {job.key for job in self._jobs}

    def place(self, job: Job) -> Place:
        """Where a live job stands; all zeros for one that has ended."""
        with self._changed:
            ahead = self._jobs[: self._jobs.index(job)] if job in self._jobs else []
            elapsed = self._clock() - self._jobs[0].started_s if ahead and self._jobs[0].state == "working" else 0.0
            begins = wait_s([other.frames for other in ahead], elapsed, self._seconds_per_frame)
            return Place(len(ahead), begins, job.frames * self._seconds_per_frame)

    def cancel(self, key: str) -> bool:
        """Cancel the job of a key; whether there was one. Its process is ended before this returns."""
        with self._changed:
            job = next((job for job in self._jobs if job.key == key), None)
            if job is None:
                return False
            working = job.state == "working"
            job.state = "cancelled"
            if not working:
                self._jobs.remove(job)
                job.ended.set()
        # Again, as its process may only just be starting; under the lock, so that it is never the next job's process.
        while not job.ended.wait(0 if working else None):
            with self._changed:
                if job in self._jobs:
                    self._worker.end()
            job.ended.wait(0.1)
        return True

    def close(self) -> None:
        """Cancel everything and end the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for key in self.live():
            self.cancel(key)
        self._worker.end()

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closed:
                    if not self._changed.wait(self._idle_s):
                        self._worker.end()
                if self._closed:
                    return
                job = self._jobs[0]
                job.state, job.started_s = "working", self._clock()
            self._do(job)
            with self._changed:
                if job in self._jobs:
                    self._jobs.remove(job)
                job.ended.set()

    def _do(self, job: Job) -> None:
        state, sentence = "done", ""
        try:
            job.result = self._worker.do(job.task, job.hear)
        except Body4DError as error:
            state, sentence = "refused", str(error)
        except WorkerDied as error:
            state, sentence = "failed", DIED
            if job.state != "cancelled":
                log.error("%s", error)
        except Exception as error:
            state, sentence = "failed", FAULT
            log.error("a task failed: %s", error)
        with self._changed:
            if job.state != "cancelled":
                job.state, job.sentence = state, sentence  # type: ignore[assignment]
            if job.state == "done" and job.frames:
                self._seconds_per_frame = learned(self._seconds_per_frame, (self._clock() - job.started_s) / job.frames)
