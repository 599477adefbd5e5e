"""What is tried again, what is not, and how a batch ends: with workers that are no processes."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from body4d.batch.job import VideoJob, VideoSummary, failed
from body4d.batch.run_many import Schedule, TimeLeft
from body4d.batch.workers import WorkerEvent, WorkerLost, WorkerOptions, WorkerPlan, WorkerReady, plan_workers
from body4d.config import Settings
from body4d.core.errors import Body4DError, DeviceError, WeightsError

Act = Callable[[int, VideoJob, int], WorkerEvent]
"""What a worker makes of a job, the n-th time it is asked for."""


READY = WorkerReady()


class FakeWorkers:
    """Every call ends at once, as ``act`` says; a worker that is lost is ready again afterwards."""

    def __init__(self, count: int, act: Act, ready: WorkerEvent = READY) -> None:
        self.count, self._act, self._ready_event = count, act, ready
        self.calls: list[tuple[int, str]] = []
        self.waited: list[str] = []
        self.restarted: list[int] = []
        self._events: deque[tuple[int, WorkerEvent]] = deque((worker, ready) for worker in range(count))

    def submit(self, worker: int, job: VideoJob, wait: bool) -> None:
        self.calls.append((worker, job.name))
        self.waited += [job.name] * wait
        event = self._act(worker, job, sum(name == job.name for _, name in self.calls))
        self._events.append((worker, event))
        if isinstance(event, WorkerLost):
            self._events.append((worker, self._ready_event))

    def restart(self, worker: int) -> None:
        self.restarted.append(worker)
        self._events.append((worker, self._ready_event))

    def events(self) -> list[tuple[int, WorkerEvent]]:
        if isinstance(self._ready_event, WorkerLost):
            return [(0, self._ready_event)]
        return [self._events.popleft()]

    def close(self) -> None: ...


def jobs(count: int) -> list[VideoJob]:
    return [VideoJob(f"{n}.mp4", Path(f"{n}.mp4"), Path(f"out/{n}"), Settings()) for n in range(count)]


def done(worker: int, job: VideoJob, time: int) -> VideoSummary:
    return VideoSummary(job.name, job.video, job.out, "done", seconds=2.0)


def fails(code: str) -> Act:
    return lambda worker, job, time: failed(job, Body4DError("It failed.", code=code))


def lost_at(name: str, times: int) -> Act:
    return lambda worker, job, time: WorkerLost("worker_died", "killed") if job.name == name and time <= times else done(worker, job, time)


def test_every_video_ends_once() -> None:
    workers = FakeWorkers(3, done)
    summaries = list(Schedule(jobs(20), workers).run())
    assert sorted(summary.name for summary in summaries) == sorted(job.name for job in jobs(20))
    assert len(workers.calls) == 20
    assert {worker for worker, _ in workers.calls} == {0, 1, 2}


def test_a_killed_workers_video_is_tried_once_more_by_another() -> None:
    workers = FakeWorkers(2, lost_at("1.mp4", 1))
    summaries = {summary.name: summary for summary in Schedule(jobs(4), workers).run()}
    assert all(summary.done for summary in summaries.values())
    assert summaries["1.mp4"].attempts == 2
    assert len({worker for worker, name in workers.calls if name == "1.mp4"}) == 2


@pytest.mark.parametrize("count", [1, 3])
def test_the_second_death_is_the_videos_own_failure_and_the_rest_goes_on(count: int) -> None:
    workers = FakeWorkers(count, lost_at("0.mp4", 9))
    summaries = {summary.name: summary for summary in Schedule(jobs(4), workers).run()}
    assert (summaries["0.mp4"].code, summaries["0.mp4"].attempts) == ("worker_died", 2)
    assert sum(summary.done for summary in summaries.values()) == 3


@pytest.mark.parametrize(
    ("code", "attempts", "restarts"), [("out_of_memory", 2, 2), ("fault", 1, 1), ("no_person", 1, 0), ("text_not_video", 1, 0)]
)
def test_what_is_tried_again_and_after_what_a_worker_begins_anew(code: str, attempts: int, restarts: int) -> None:
    workers = FakeWorkers(2, fails(code))
    (summary,) = Schedule(jobs(1), workers).run()
    assert (summary.state, summary.code, summary.attempts) == ("failed", code, attempts)
    assert len(workers.restarted) == restarts


def test_a_locked_video_comes_last_and_is_waited_for() -> None:
    def act(worker: int, job: VideoJob, time: int) -> VideoSummary:
        return VideoSummary(job.name, job.video, job.out, "busy" if job.name == "0.mp4" and time < 3 else "done")

    workers = FakeWorkers(1, act)
    summaries = list(Schedule(jobs(3), workers).run())
    assert [summary.name for summary in summaries] == ["1.mp4", "2.mp4", "0.mp4"]
    assert summaries[-1].attempts == 1
    assert workers.waited == ["0.mp4", "0.mp4"]


def test_fail_fast_begins_nothing_more() -> None:
    workers = FakeWorkers(1, fails("no_person"))
    assert len(list(Schedule(jobs(5), workers, fail_fast=True).run())) == 1
    assert len(workers.calls) == 1


def test_what_no_worker_can_do_ends_the_batch() -> None:
    with pytest.raises(WeightsError):
        list(Schedule(jobs(3), FakeWorkers(2, done, WorkerReady(WeightsError("No checkpoint.")))).run())
    with pytest.raises(DeviceError, match="3 times"):
        list(Schedule(jobs(3), FakeWorkers(1, done, WorkerLost("worker_died", "killed"))).run())


@pytest.mark.parametrize(
    ("machines", "options", "plan"),
    [
        ([(8, 0)], WorkerOptions(), WorkerPlan(4, 2, 0)),
        ([(1, 0)], WorkerOptions(), WorkerPlan(1, 1, 0)),
        ([(16, 0)], WorkerOptions(workers=4), WorkerPlan(4, 4, 0)),
        ([(16, 0)], WorkerOptions(cpus_per_worker=4), WorkerPlan(4, 4, 0)),
        ([(64, 8)], WorkerOptions(), WorkerPlan(8, 8, 1)),
        ([(64, 8)], WorkerOptions(gpus=2), WorkerPlan(2, 8, 1)),
        ([(16, 1)], WorkerOptions(workers=2), WorkerPlan(2, 8, 0.5)),
        ([(16, 2)], WorkerOptions(workers=3), WorkerPlan(3, 5, 0.5)),
        ([(16, 4)], WorkerOptions(workers=2), WorkerPlan(2, 8, 1)),
        ([(1, 0), (1, 0)], WorkerOptions(), WorkerPlan(2, 1, 0)),  # No worker is larger than a machine
        ([(3, 0), (5, 0), (0, 0)], WorkerOptions(), WorkerPlan(3, 2, 0)),
        ([(4, 0), (16, 4), (64, 2)], WorkerOptions(), WorkerPlan(6, 4, 1)),
    ],
)
def test_one_worker_for_each_gpu_or_group_of_cores(machines: list[tuple[int, int]], options: WorkerOptions, plan: WorkerPlan) -> None:
    assert plan_workers(machines, options) == plan


def test_a_worker_larger_than_every_machine_is_refused() -> None:
    with pytest.raises(DeviceError, match="the largest has 4"):
        plan_workers([(4, 0), (2, 0)], WorkerOptions(cpus_per_worker=8))


def test_time_left_follows_what_was_computed() -> None:
    estimate = TimeLeft()
    estimate.workers = 2
    job = jobs(1)[0]
    assert estimate.left_s(10) is None
    estimate.add(VideoSummary(job.name, job.video, job.out, "already done", seconds=0.1))
    assert estimate.left_s(10) is None
    estimate.add(done(0, job, 1))
    assert estimate.left_s(10) == 10
    for _ in range(60):
        estimate.add(VideoSummary(job.name, job.video, job.out, "done", seconds=4.0))
    assert estimate.left_s(10) == 20
    assert estimate.left_s(1) == 4
