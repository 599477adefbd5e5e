"""Many videos, each once: what goes to which worker, what is tried again, and what has become of it."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from body4d.batch.job import VideoJob, VideoSummary, failed
from body4d.batch.videos import VideoRow, find_videos, plan_jobs
from body4d.batch.workers import WorkerLost, WorkerOptions, WorkerReady, Workers, open_workers
from body4d.config import Settings
from body4d.core.errors import Body4DError, DeviceError
from body4d.core.progress import EventListener, ignore_events

RETRIED = frozenset({"worker_died", "out_of_memory"})
"""What another worker may do better: it has other neighbours, other memory, maybe another machine. Everything else fails there, too."""

MAX_ATTEMPTS = 2
"""The second failure of that kind is the video's own."""

MAX_DEATHS_BEFORE_READY = 3
"""A worker whose process ends so often in a row before it is ready is given up: it will not begin on this machine."""

RECENT = 50
"""Videos over which the time left is estimated: enough to be calm, few enough to follow a change of length or of load."""


def run_many(
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    rows: Sequence[VideoRow] = (),
    export: Sequence[str] = (),
    golf: bool = False,
    shard: tuple[int, int] = (1, 1),
    address: str | None = None,
    gpus: int | None = None,
    workers: int | None = None,
    cpus_per_worker: int | None = None,
    fail_fast: bool = False,
    listener: EventListener = ignore_events,
) -> "VideoRuns":
    """Run the pipeline on many videos: an iterator of a summary for each, in the order in which they end, and how many there are (``len``).

    ``videos`` is a folder, a list file, a glob or paths, ``out`` the folder of the run folders, ``rows`` what is special to some videos
    (``body4d.batch.videos.read_rows``). What is done already is not done again. With ``fail_fast`` nothing more begins after a failure, and
    the iterator ends. To leave the loop early ends the workers. Raises InputError, SettingsError; when the loop begins,
    MissingDependencyError, DeviceError, WeightsError.
    """
    from body4d.config.loading import load_settings
    from body4d.export import ExportOptions, check_export

    if export:
        check_export(export, Path(out), ExportOptions())
    settings = settings or load_settings()
    jobs = plan_jobs(find_videos(videos, Path(out)), Path(out), settings, rows, export, golf, shard)
    return VideoRuns(jobs, settings, WorkerOptions(address, gpus, workers, cpus_per_worker), fail_fast, listener)


@dataclass
class VideoRuns:
    """What ``run_many`` returns: iterate over it once; ``len`` is the number of videos. The workers begin with the loop."""

    jobs: list[VideoJob]
    settings: Settings
    options: WorkerOptions
    fail_fast: bool
    listener: EventListener
    estimate: "TimeLeft" = field(default_factory=lambda: TimeLeft())

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Generator[VideoSummary, None, None]:
        if not self.jobs:  # A shard of fewer videos than shards.
            return
        workers = open_workers(self.settings, self.options, self.listener)
        self.estimate.workers = workers.count
        try:
            for summary in Schedule(self.jobs, workers, fail_fast=self.fail_fast).run():
                self.estimate.add(summary)
                yield summary
        finally:
            workers.close()

    def left_s(self, ended: int) -> float | None:
        """Seconds that the rest will take, when ``ended`` videos have ended; None as long as none was computed."""
        return self.estimate.left_s(len(self.jobs) - ended)


class TimeLeft:
    """A moving estimate: the mean of the last videos that were computed."""

    def __init__(self) -> None:
        self.workers = 1
        self._seconds: deque[float] = deque(maxlen=RECENT)

    def add(self, summary: VideoSummary) -> None:
        if summary.state != "already done":
            self._seconds.append(summary.seconds)

    def left_s(self, remaining: int) -> float | None:
        if not self._seconds:
            return None
        return remaining * sum(self._seconds) / len(self._seconds) / min(self.workers, max(remaining, 1))


@dataclass
class _Try:
    job: VideoJob
    attempts: int = 0
    avoid: int | None = None
    wait: bool = False


class Schedule:
    """The queue of one batch. Where workers run and how they begin again is a matter of ``workers``."""

    def __init__(self, jobs: Iterable[VideoJob], workers: Workers, *, fail_fast: bool = False) -> None:
        self._new, self._workers, self._fail_fast = deque(jobs), workers, fail_fast
        self._again: deque[_Try] = deque()
        self._busy: deque[_Try] = deque()
        self._running: dict[int, _Try] = {}
        self._idle: set[int] = set()
        self._deaths = dict.fromkeys(range(workers.count), 0)

    def run(self) -> Iterator[VideoSummary]:
        """Summaries as videos end. Raises the error for which no worker can run any video."""
        while True:
            for worker in sorted(self._idle):
                if task := self._next(worker):
                    self._idle.discard(worker)
                    self._running[worker] = task
                    self._workers.submit(worker, task.job, task.wait)
            if not (self._running or self._new or self._again or self._busy):
                return
            for worker, event in self._workers.events():
                if isinstance(event, WorkerReady):
                    self._ready(worker, event)
                    continue
                if worker not in self._running:
                    self._died_before_ready(worker, event)
                    continue
                summary = self._ended(worker, self._running.pop(worker), event)
                if summary is None:
                    continue
                yield summary
                if self._fail_fast and not summary.done:
                    return

    def _next(self, worker: int) -> _Try | None:
        """What a worker does next: a second attempt that another worker failed in, then a new video, then one that was locked."""
        others = bool(self._running or self._idle - {worker})
        for task in self._again:
            if task.avoid != worker or not others:
                self._again.remove(task)
                return task
        if self._new:
            return _Try(self._new.popleft())
        return self._busy.popleft() if self._busy else None

    def _ready(self, worker: int, event: WorkerReady) -> None:
        if event.error is not None:
            raise event.error
        self._deaths[worker] = 0
        self._idle.add(worker)

    def _died_before_ready(self, worker: int, event: WorkerLost | VideoSummary) -> None:
        self._deaths[worker] += 1
        if self._deaths[worker] < MAX_DEATHS_BEFORE_READY:
            return
        reason = event.reason if isinstance(event, WorkerLost) else ""
        raise DeviceError(
            f"A worker ended {MAX_DEATHS_BEFORE_READY} times before it was ready ({reason}).",
            code="worker_not_started",
            hint="`body4d run` on one of the videos shows what is wrong; use fewer --workers where memory is short.",
        )

    def _ended(self, worker: int, task: _Try, event: WorkerLost | VideoSummary) -> VideoSummary | None:
        """The final summary of a video, None where it is tried again."""
        task.attempts += 1
        if isinstance(event, WorkerLost):
            summary = failed(task.job, _death(event))
        else:
            summary = event
            if summary.code in RESTARTING:
                self._workers.restart(worker)
            else:
                self._idle.add(worker)
        if summary.state == "busy":
            self._busy.append(_Try(task.job, task.attempts - 1, wait=True))
            return None
        if summary.code in RETRIED and task.attempts < MAX_ATTEMPTS:
            self._again.append(_Try(task.job, task.attempts, avoid=worker))
            return None
        return replace(summary, attempts=task.attempts)


RESTARTING = frozenset({"out_of_memory", "fault"})
"""After these a worker's process begins anew: what an unknown fault has left of memory or of the GPU must not reach the next video."""


def _death(lost: WorkerLost) -> Body4DError:
    if lost.code == "out_of_memory":
        return Body4DError(
            "The worker was ended because the machine ran out of memory.",
            code=lost.code,
            hint="Use fewer workers, or --set video.max_side_px=1280.",
        )
    return Body4DError(
        f"The worker's process ended in the middle of this video ({lost.reason}).",
        code=lost.code,
        hint="Mostly the machine ran out of memory (use fewer workers) or a library crashed; `body4d run` on this video shows which.",
    )
