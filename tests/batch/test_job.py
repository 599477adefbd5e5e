"""What a worker does with one video, by fakes in its own process; the report; and the command's exit codes."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import SoftFileLease
from typer.testing import CliRunner

from body4d.batch import job as jobs
from body4d.batch import run_many as batch_run
from body4d.batch.job import EXTRAS, LEASE, LEASE_S, VideoJob, VideoSummary, VideoWorker
from body4d.batch.report import BatchReport
from body4d.batch.workers import WorkerEvent, WorkerReady
from body4d.cli.entry import app
from body4d.config import Settings
from body4d.core.errors import NoPersonError, NoSwingError
from body4d.core.progress import EventListener
from body4d.run.pipeline import Pipeline
from body4d.run.record import GLB, SCENE
from fakes import Calls, FakeSegmenter, fake_pipeline


class PickySegmenter(FakeSegmenter):
    """Finds nobody in clips called ``nobody``, runs out of memory in ``huge``, and meets a fault in ``odd``."""

    def track(self, frames, prompts, progress):
        name = frames.clip.path.stem
        if name == "nobody":
            raise NoPersonError("No person was found.")
        if name == "huge":
            raise MemoryError
        if name == "odd":
            raise ZeroDivisionError("by zero")
        return super().track(frames, prompts, progress)


def load(settings: Settings, listener: EventListener) -> Pipeline:
    return fake_pipeline(settings, segmenter=PickySegmenter(Calls(), cache_inputs=[settings.people.cache_inputs()]))


def job(tmp_path: Path, name: str = "a", **more) -> VideoJob:
    video = tmp_path / "in" / f"{name}.mp4"
    video.parent.mkdir(exist_ok=True)
    video.write_bytes(name.encode())
    return VideoJob(f"{name}.mp4", video, tmp_path / "out" / name, Settings(), **more)


def test_a_video_is_done_once_and_again_when_something_is_missing_or_changed(tmp_path: Path) -> None:
    worker, one = VideoWorker(load), job(tmp_path)
    first = worker.run(one)
    assert (first.state, first.people, first.frames, first.preset) == ("done", 1, 12, "fake")
    assert first.frames_per_s
    assert "fov_assumed" in first.warnings
    assert worker.run(one).state == "already done"
    (one.out / GLB).unlink()
    assert worker.run(one).state == "done"
    with (one.out / SCENE).open("r+b") as file:
        file.truncate(100)
    assert worker.run(one).state == "done"
    other = Settings.model_validate({"people": {"count": 1}})
    assert worker.run(VideoJob(one.name, one.video, one.out, other)).state == "done"
    one.video.write_bytes(b"another clip")
    assert worker.run(one).code == "folder_of_another_video"


@pytest.mark.parametrize(("name", "code"), [("nobody", "no_person"), ("huge", "out_of_memory"), ("odd", "fault")])
def test_every_failure_is_a_summary_with_code_and_sentence(tmp_path: Path, name: str, code: str) -> None:
    summary = VideoWorker(load).run(job(tmp_path, name))
    assert (summary.state, summary.code) == ("failed", code)
    assert summary.message.endswith(".")


def test_a_folder_in_which_another_worker_lives_is_busy_and_a_dead_ones_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LOCK_POLL_S", 0)
    worker, one = VideoWorker(load), job(tmp_path)
    one.out.mkdir(parents=True)
    with SoftFileLease(one.out / LEASE, lease_duration=LEASE_S):
        assert worker.run(one).state == "busy"
        record = (one.out / LEASE).read_text()
    # What a process of this machine leaves that was killed: its record, with the id of no process.
    assert str(os.getpid()) in record
    (one.out / LEASE).write_text(record.replace(str(os.getpid()), "999999", 1))
    assert worker.run(one).state == "done"
    assert not (one.out / LEASE).exists()


def test_exports_and_golf_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_swing(*_: object, **__: object) -> None:
        raise NoSwingError("Nobody swings a club.")

    monkeypatch.setattr("body4d.run.golf.golf_of_run", no_swing)
    worker, one = VideoWorker(load), job(tmp_path, export=("csv", "glb"), golf=True)
    first = worker.run(one)
    assert (first.exports, first.golf) == (("joints.csv",), 0)
    written = (one.out / EXTRAS).stat().st_mtime_ns
    assert worker.run(one).state == "already done"
    assert (one.out / EXTRAS).stat().st_mtime_ns == written
    (one.out / "joints.csv").unlink()
    assert worker.run(one).state == "done"
    assert (one.out / "joints.csv").is_file()
    assert worker.run(replace(one, export=("glb",))).state == "done"
    assert not (one.out / "joints.csv").exists()  # it was of an export that is no longer asked for
    assert (one.out / GLB).is_file()


def test_the_report_tells_failures_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with BatchReport(out) as report:
        for name in ("a", "nobody", "b <&"):
            report.add(VideoWorker(load).run(job(tmp_path, name)))
        assert len(report.rows.read_text().splitlines()) == 3  # as it goes
        with BatchReport(out) as other:  # another machine, the same folder
            assert other.rows != report.rows
    rows = list(csv.DictReader((out / "report.csv").open()))
    assert [row["name"] for row in rows] == ["nobody.mp4", "a.mp4", "b <&.mp4"]
    assert (rows[0]["code"], rows[1]["people"]) == ("no_person", "1")
    assert rows[1]["masks_s"]
    page = (out / "report.html").read_text()
    assert "b &lt;&amp;.mp4" in page
    assert 'src="a/contact_sheet.png"' in page
    assert page.index("nobody.mp4") < page.index("a.mp4</a>")


def test_a_batch_that_cannot_begin_leaves_the_report_before(tmp_path: Path) -> None:
    with BatchReport(tmp_path / "out") as report:
        report.add(VideoWorker(load).run(job(tmp_path)))
    with pytest.raises(NoPersonError), BatchReport(tmp_path / "out"):
        raise NoPersonError("No worker began.")
    assert len(report.rows.read_text().splitlines()) == 1


class SerialWorkers:
    """One worker in this process."""

    count = 1

    def __init__(self, settings: Settings, *_: object) -> None:
        self._worker = VideoWorker(load)
        self._events: list[tuple[int, WorkerEvent]] = [(0, WorkerReady())]

    def submit(self, worker: int, job: VideoJob, wait: bool) -> None:
        self._events.append((0, self._worker.run(job, wait)))

    def restart(self, worker: int) -> None:
        self._events.append((0, WorkerReady()))

    def events(self) -> list[tuple[int, WorkerEvent]]:
        return [self._events.pop(0)]

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("names", "flags", "exit_code", "lines"),
    [
        (["a", "b"], [], 0, 2),
        (["a", "nobody"], [], 12, 2),
        (["nobody", "odd"], [], 13, 2),
        (["a", "nobody", "z"], ["--fail-fast"], 12, 2),
        (["nobody", "z"], ["--fail-fast"], 12, 1),
    ],
)
def test_the_exit_code_tells_all_some_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], flags: list[str], exit_code: int, lines: int
) -> None:
    monkeypatch.setattr(batch_run, "open_workers", SerialWorkers)
    for name in names:
        job(tmp_path, name)
    out = tmp_path / "results"
    done = CliRunner().invoke(app, ["batch", str(tmp_path / "in"), "--out", str(out), "--json", *flags])
    assert done.exit_code == exit_code, done.output
    videos = [json.loads(line) for line in done.stdout.splitlines() if '"event": "video"' in line]
    assert len(videos) == lines
    assert len((out / "report.jsonl").read_text().splitlines()) == lines


def test_run_many_is_an_iterator_of_summaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import body4d

    monkeypatch.setattr(batch_run, "open_workers", SerialWorkers)
    videos = [job(tmp_path, name).video for name in ("a", "b")]
    runs = body4d.run_many(videos, tmp_path / "out", settings=Settings())
    assert len(runs) == 2
    summaries = list(runs)
    assert all(isinstance(summary, VideoSummary) and summary.done for summary in summaries)
    assert [summary.out for summary in summaries] == [tmp_path / "out" / "a", tmp_path / "out" / "b"]


@pytest.mark.parametrize(
    ("given", "gpu_gb", "kept"),
    [({}, 80, True), ({}, 24, False), ({"keep_loaded": False}, 80, False), ({"keep_loaded": True}, 24, True)],
)
def test_networks_stay_on_a_gpu_that_holds_them(given: dict[str, bool], gpu_gb: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "gpu_bytes", lambda: gpu_gb * 10**9)
    settings = Settings.model_validate({"preset": "sam", "compute": given})
    assert jobs.with_models_kept(settings).compute.keep_loaded is kept
    assert not jobs.with_models_kept(Settings(preset="lite")).compute.keep_loaded
