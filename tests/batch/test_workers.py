"""Workers in processes of their own: killed in the middle of a video, ended with the head, the same bytes as one by one."""

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from body4d.batch.run_many import Schedule
from body4d.batch.videos import find_videos, plan_jobs
from body4d.batch.workers import ProcessWorkers, RayWorkers, WorkerOptions
from body4d.config import Settings
from body4d.core.progress import Event, ignore_events
from body4d.run.record import BODIES, GLB, MASKS, SCENE
from fakes import load_slow_fake

pytestmark = pytest.mark.slow  # processes


def sums(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MASKS, BODIES, SCENE, GLB)]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").is_dir() else True


@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_a_worker_is_killed_and_nothing_is_lost_or_done_twice(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "ray":
        pytest.importorskip("ray", reason="Ray (the extra `batch`) takes 384 MB and is not among the tests' packages")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    for n in range(6):
        (tmp_path / f"{n}.mp4").write_bytes(b"%d" % n)
    out = tmp_path / "out"
    jobs = plan_jobs(find_videos(tmp_path, out), out, Settings())
    told: list[Event] = []
    start = RayWorkers if kind == "ray" else ProcessWorkers
    workers = start(Settings(), WorkerOptions(workers=2, cpus_per_worker=1), told.append, load_slow_fake)
    killed, pids, summaries = 0, set(), []
    try:
        for summary in Schedule(jobs, workers).run():
            summaries.append(summary)
            pids.add(int(summary.worker.rpartition(":")[2]))
            if not killed:
                # The worker that has just ended a video is given another one as soon as we ask for the next summary.
                killed = int(summary.worker.rpartition(":")[2])
                _kill_soon(killed)
    finally:
        workers.close()
    assert [event.warning.code for event in told if event.warning] == ["ray" if kind == "ray" else "process_pool"]
    assert sorted(summary.name for summary in summaries) == sorted(job.name for job in jobs)
    assert {summary.state for summary in summaries} == {"done"}
    assert max(summary.attempts for summary in summaries) == 2
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)
    load_slow_fake(Settings(), ignore_events).run(tmp_path / "0.mp4", tmp_path / "alone")
    assert sums(out / "0") == sums(tmp_path / "alone")


def _kill_soon(pid: int) -> None:
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
