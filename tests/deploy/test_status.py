"""How a Space stands, from what the Hub reports: every case written down. And how far a start is, on the page and in the log."""

import pytest

from body4d.core.errors import RunWarning
from body4d.core.progress import Event
from body4d.deploy.status import (
    HEALTHY,
    LOG_EVERY_S,
    UNDER_WAY,
    SpaceReport,
    StartupMarker,
    StartupStatus,
    read_marker,
    space_status,
)

START = StartupMarker("starting", "body4d 0.1.0 looks at the machine.").as_line()
DOWNLOAD = StartupMarker("downloading", "SAM-3, 1200 of 3440 MB").as_line()
LOADING = StartupMarker("loading", "The app is being loaded.").as_line()
RUNNING = StartupMarker("running", "preset sam.").as_line()
GATED = StartupMarker("gated", "facebook/sam3 is behind a gate and there is no Hugging Face token here: ask for access.").as_line()
NO_GPU = StartupMarker("lite", "GPU: none found.").as_line()
NO_APP = StartupMarker("failed", "no app.").as_line()
NO_PORT = StartupMarker("failed", "Port 7860 cannot be used.").as_line()
CUDA_OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
NO_TORCH = ("#6 RUN pip", "\x1b[31mERROR: No matching distribution found for torch==9\x1b[0m", "#6 done")
CAPACITY = "Scheduling failure: not enough hardware capacity"


@pytest.mark.parametrize(
    ("name", "report", "state", "message", "hint"),
    [
        ("nothing pushed", SpaceReport("NO_APP_FILE"), "empty", "empty", "push"),
        ("bad header", SpaceReport("CONFIG_ERROR", "Missing sdk"), "misconfigured", "Missing sdk", "check"),
        ("building", SpaceReport("BUILDING", log=("#5 x", "#6 RUN pip")), "building", "#6 RUN pip", ""),
        ("building without a log", SpaceReport("BUILDING"), "building", "its log is still empty", ""),
        ("building again", SpaceReport("RUNNING_BUILDING"), "building", "previous version goes on running", ""),
        ("build failed", SpaceReport("BUILD_ERROR", log=NO_TORCH), "build_failed", "distribution found for torch==9.", "logs --build"),
        ("build failed without a log", SpaceReport("BUILD_ERROR", "Job failed with exit code: 1"), "build_failed", "code: 1", "logs"),
        (
            "no disk to build",
            SpaceReport("BUILD_ERROR", log=("OSError: No space left on device error",)),
            "build_failed",
            "disk",
            "--factory",
        ),
        ("container starts", SpaceReport("APP_STARTING"), "starting", "container starts", ""),
        ("starting", SpaceReport("RUNNING_APP_STARTING", log=(START,)), "starting", "looks at the machine", ""),
        ("fetching before it counts as running", SpaceReport("APP_STARTING", log=(START, DOWNLOAD)), "downloading", "1200 of 3440 MB", ""),
        ("fetching", SpaceReport("RUNNING", log=(START, DOWNLOAD)), "downloading", "1200 of 3440 MB", ""),
        ("page up", SpaceReport("RUNNING", log=(START,)), "starting", "looks at the machine", ""),
        ("app loading", SpaceReport("RUNNING", log=(START, DOWNLOAD, LOADING)), "starting", "being loaded", ""),
        ("running", SpaceReport("RUNNING", log=(START, DOWNLOAD, LOADING, RUNNING, "GET /")), "running", "preset sam", ""),
        ("running, start no longer in the log", SpaceReport("RUNNING", log=("GET / 200",)), "running", "running", ""),
        ("a gate is closed", SpaceReport("RUNNING", log=(START, DOWNLOAD, LOADING, GATED)), "gated", "facebook/sam3", "restart"),
        ("no GPU", SpaceReport("RUNNING", log=(START, LOADING, NO_GPU)), "lite", "none found", ""),
        ("the gate was closed before the last start", SpaceReport("RUNNING", log=(START, GATED, START, RUNNING)), "running", "sam", ""),
        ("app did not start", SpaceReport("RUNNING", log=(START, NO_APP)), "crashed", "no app", "logs"),
        (
            "GPU memory full",
            SpaceReport("RUNNING", log=(START, RUNNING, CUDA_OOM), hardware="t4-small"),
            "out_of_memory",
            "t4-small",
            "GPU",
        ),
        ("GPU full before the last start", SpaceReport("RUNNING", log=(START, RUNNING, CUDA_OOM, START, RUNNING)), "running", "sam", ""),
        (
            "memory full",
            SpaceReport("RUNTIME_ERROR", "Memory limit exceeded (16Gi)", hardware="cpu-basic"),
            "out_of_memory",
            "cpu-basic",
            "more memory",
        ),
        ("killed", SpaceReport("RUNTIME_ERROR", "Exit code: 137. Reason: OOMKilled"), "out_of_memory", "137", "more memory"),
        ("GPU full at the start", SpaceReport("RUNTIME_ERROR", "Exit code: 1", (START, CUDA_OOM)), "out_of_memory", "GPU's memory", "GPU"),
        ("full and survived", SpaceReport("RUNTIME_ERROR", log=(START, CUDA_OOM, *["x"] * 30, "error y")), "crashed", "error y", "logs"),
        ("crash", SpaceReport("RUNTIME_ERROR", log=("x", "ValueError: error in it", "y")), "crashed", "ValueError: error in it", "logs"),
        ("crash of ours", SpaceReport("RUNTIME_ERROR", "Exit code: 1", (START, NO_PORT)), "crashed", "Port 7860", "logs"),
        ("crash without a word", SpaceReport("RUNTIME_ERROR"), "crashed", "no reason is given", "logs"),
        ("no hardware", SpaceReport("RUNTIME_ERROR", CAPACITY, hardware="l40sx1"), "crashed", "cannot provide l40sx1", "later"),
        ("disk full", SpaceReport("RUNTIME_ERROR", "Workload evicted, storage limit exceeded (50G)"), "crashed", "disk", "--bucket"),
        ("paused", SpaceReport("PAUSED"), "asleep", "paused", "restart"),
        ("asleep", SpaceReport("SLEEPING"), "asleep", "sleeping", "visit"),
        ("stopped", SpaceReport("STOPPED"), "asleep", "stopped", "restart"),
        ("something new", SpaceReport("DREAMING"), "unknown", "DREAMING", "page"),
    ],
)
def test_status(name: str, report: SpaceReport, state: str, message: str, hint: str) -> None:
    found = space_status(report)
    assert (found.state, message in found.message, hint in found.hint) == (state, True, True), f"{name}: {found}"
    assert bool(found.hint) == bool(hint), name
    assert "\x1b" not in found.message
    assert "{" not in found.message, "no row of the table leaves a field open"


def test_a_very_long_line_is_cut() -> None:
    assert len(space_status(SpaceReport("BUILD_ERROR", log=("error " + "x" * 9000,))).message) < 300


def test_states_that_pass_are_healthy() -> None:
    assert UNDER_WAY < HEALTHY


def test_markers_are_read_as_they_are_written() -> None:
    marker = StartupMarker("downloading", 'SAM-3,\n "é" 1 of 2 MB')
    assert read_marker(f"2026-11-27 {marker.as_line()}\n") == StartupMarker("downloading", 'SAM-3, "é" 1 of 2 MB')


@pytest.mark.parametrize(
    "line",
    ["hello", 'body4d-space: {"state": "dancing", "message": "x"}', 'body4d-space: {"state": []}', "body4d-space: x", "body4d-space: []"],
)
def test_a_line_that_is_not_a_marker_is_passed_over(line: str) -> None:
    assert read_marker(line) is None


def test_progress_on_the_page_and_sparsely_in_the_log() -> None:
    now_s, log = [0.0], list[str]()
    status = StartupStatus(log.append, lambda: now_s[0])
    status.set_checkpoints({"sam3": "SAM-3", "moge": "MoGe-2"})
    for done in range(0, 100, 10):
        status.on_event(Event("sam3", "working", done, 100, rate_per_s=5.0, left_s=4.0))
        now_s[0] += LOG_EVERY_S / 2
    first, second = status.snapshot.as_json()["checkpoints"]
    assert {key: first[key] for key in ("name", "state", "done", "total", "rate_per_s", "left_s")} == {
        "name": "SAM-3", "state": "working", "done": 90, "total": 100, "rate_per_s": 5.0, "left_s": 4.0
    }  # fmt: skip
    assert (second["name"], second["state"]) == ("MoGe-2", "waiting")
    assert [read_marker(line) for line in log] == [StartupMarker("downloading", f"SAM-3, {done} of 100 MB") for done in range(0, 100, 20)]
    status.on_event(Event("sam3", "failed"))
    assert status.snapshot.as_json()["checkpoints"][0]["state"] == "failed"


def test_a_note_is_shown_and_logged_once() -> None:
    log = list[str]()
    status = StartupStatus(log.append)
    for _ in range(2):
        status.on_event(Event("sam3", "warning", warning=RunWarning("download_source", "Taken from elsewhere.")))
    assert (status.snapshot.notes, log) == (("Taken from elsewhere.",), ["body4d: Taken from elsewhere."])
