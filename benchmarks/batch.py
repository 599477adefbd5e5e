"""What `body4d batch` costs beside its videos: overhead against a plain loop, memory of the head, seconds until the first video begins.

    python benchmarks/batch.py overhead CLIP... [--copies 4]   the same videos by a loop in one process and by a batch of one worker
    python benchmarks/batch.py head [--videos 10000]                         a batch of videos that fail at once; the head's memory
    python benchmarks/batch.py begin                                         seconds until a worker is ready

Ray runs its workers at niceness 15, so beside other work the loop needs the same: nice -n 15 python benchmarks/batch.py overhead …
With Ray where it is installed (the extra `batch`), with a pool of processes where it is not or with --processes. Models of preset lite.
"""

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from body4d.batch.job import VideoSummary
from body4d.batch.report import BatchReport
from body4d.batch.run_many import Schedule, VideoRuns
from body4d.batch.videos import find_videos, plan_jobs
from body4d.batch.workers import ProcessWorkers, WorkerOptions, WorkerReady, Workers, open_workers
from body4d.config import Settings
from body4d.config.loading import load_settings
from body4d.core.progress import Event
from body4d.run.pipeline import Pipeline


def say(event: Event) -> None:
    if event.warning:
        print(event.warning.message)


@contextmanager
def opened(settings: Settings, options: WorkerOptions, processes: bool) -> Iterator[Workers]:
    workers = ProcessWorkers(settings, options, say) if processes else open_workers(settings, options, say)
    with closing(workers):
        yield workers


def overhead(clips: list[Path], copies: int, options: WorkerOptions, processes: bool) -> None:
    """Seconds of the same videos by a loop and by a batch of one worker, models loaded and everything compiled before; in turns."""
    settings = load_settings(None, {"preset": "lite"}, {})
    pipeline, loops, batches, between = Pipeline.load(settings), [], [], []
    with tempfile.TemporaryDirectory() as name, opened(settings, replace(options, workers=1), processes) as workers:
        root = Path(name)
        for n in range(copies):
            for clip in clips:
                (root / "in" / f"{n}").mkdir(parents=True, exist_ok=True)
                shutil.copy(clip, root / "in" / f"{n}" / f"{clip.parent.name}_{clip.name}")
        warm = plan_jobs(find_videos(clips[:1], root / "warm"), root / "warm", settings)
        _seconds(lambda: list(Schedule(warm, workers).run()))
        pipeline.run(clips[0], root / "warm_loop")
        for turn in range(TURNS):
            jobs = plan_jobs(find_videos(root / "in", root / f"batch{turn}"), root / f"batch{turn}", settings)
            summaries: list[VideoSummary] = []
            batches.append(_seconds(lambda jobs=jobs, found=summaries: found.extend(Schedule(jobs, _ReadyWorkers(workers)).run())))
            between.append(batches[-1] - sum(summary.seconds for summary in summaries))
            loops.append(_seconds(lambda jobs=jobs, turn=turn: [pipeline.run(job.video, root / f"loop{turn}" / job.name) for job in jobs]))
        print(f"{len(jobs)} videos, seconds: loop {[round(s, 2) for s in loops]}, batch {[round(s, 2) for s in batches]}")
        print(f"between the videos of a batch: {[round(s, 3) for s in between]} s, {100 * sum(between) / sum(batches):.2f} %")
        print(f"overhead of the quickest: {100 * (min(batches) / min(loops) - 1):.1f} %")


TURNS = 3
"""Other jobs on the machine disturb every turn; the quickest of each kind is compared."""


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class _ReadyWorkers:
    """Workers that have told that they are ready, for one more schedule."""

    def __init__(self, workers: Workers) -> None:
        self._workers, self._told = workers, False
        self.count, self.submit, self.restart, self.close = workers.count, workers.submit, workers.restart, workers.close

    def events(self) -> list[Any]:
        if self._told:
            return self._workers.events()
        self._told = True
        return [(worker, WorkerReady()) for worker in range(self.count)]


def head(count: int, options: WorkerOptions, processes: bool) -> None:
    """The head's memory while it lists, queues and reports ``count`` videos, each of which fails at once (it is text)."""
    settings = load_settings(None, {"preset": "lite"}, {})
    process, peak, stop = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss)

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for n in range(count):
            folder = root / "in" / f"{n // 100:03}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"clip_{n:05}.mp4").write_bytes(b"text")
        threading.Thread(target=watch, daemon=True).start()
        before = process.memory_info().rss
        start = time.perf_counter()
        jobs = plan_jobs(find_videos(root / "in", root / "out"), root / "out", settings)
        listed, listed_s = process.memory_info().rss, time.perf_counter() - start
        start = time.perf_counter()
        runs = VideoRuns(jobs, settings, options, False, say)
        with BatchReport(root / "out") as report:
            if processes:
                with opened(settings, options, True) as workers:
                    for summary in Schedule(jobs, workers).run():
                        report.add(summary)
            else:
                for summary in runs:
                    report.add(summary)
        done_s = time.perf_counter() - start
        stop.set()
        sizes = {path.name: path.stat().st_size for path in (report.rows, report.table, report.page)}
        assert sum(report.count.values()) == count
    print(json.dumps({"videos": count, "listed_s": round(listed_s, 2), "all_s": round(done_s, 1), "report_bytes": sizes}))
    print(f"head: {before / 1e6:.0f} MB before, {listed / 1e6:.0f} MB when all are listed, {peak[0] / 1e6:.0f} MB at most")


def begin(options: WorkerOptions, processes: bool) -> None:
    """Seconds until the first worker has its models, and until all have."""
    settings = load_settings(None, {"preset": "lite"}, {})
    start = time.perf_counter()
    with opened(settings, options, processes) as workers:
        opened_s = time.perf_counter() - start
        ready: list[float] = []
        while len(ready) < workers.count:
            ready += [time.perf_counter() - start for _, event in workers.events() if isinstance(event, WorkerReady)]
    print(f"opened {opened_s:.1f} s, first worker ready {ready[0]:.1f} s, all {workers.count} ready {ready[-1]:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "head", "begin"))
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--cpus-per-worker", type=int)
    parser.add_argument("--processes", action="store_true")
    given = parser.parse_args()
    options = WorkerOptions(workers=given.workers, cpus_per_worker=given.cpus_per_worker)
    if given.what == "overhead":
        overhead(given.clips, given.copies, options, given.processes)
    elif given.what == "head":
        head(given.videos, options, given.processes)
    else:
        begin(options, given.processes)


if __name__ == "__main__":
    main()
