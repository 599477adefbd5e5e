"""How a Space stands, told from what the Hub says: every case written down."""

import pytest

from body4d.deploy.log_markers import Mark, read_marks
from body4d.deploy.status import HEALTHY, UNDER_WAY, Facts, judge

START = "body4d-space: starting: body4d 0.1.0 looks at the machine."
DOWN = "body4d-space: downloading: SAM-3, 1200 of 3440 MB"
SERVING = "body4d-space: serving: preset sam."
SHUT = "body4d-space: gated: facebook/sam3 is behind a gate and there is no Hugging Face token here: ask for access."
NO_GPU = "body4d-space: lite: GPU: none found."
CUDA_OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize(
    ("name", "facts", "state", "said", "remedy"),
    [
        ("nothing pushed", Facts("NO_APP_FILE"), "empty", "nothing in it", "push"),
        ("bad head", Facts("CONFIG_ERROR", "Missing sdk"), "misconfigured", "Missing sdk", "check"),
        ("building", Facts("BUILDING", build_log=("#5 x", "#6 RUN pip")), "building", "#6 RUN pip", ""),
        ("building with nothing to tell", Facts("BUILDING"), "building", "no line in its log yet", ""),
        ("building anew", Facts("RUNNING_BUILDING"), "building", "before goes on running", ""),
        (
            "build failed",
            Facts("BUILD_ERROR", build_log=("#6 RUN pip", "\x1b[31mERROR: No matching distribution found for torch==9\x1b[0m", "#6 done")),
            "build_failed",
            "No matching distribution found for torch==9.",
            "logs --build",
        ),
        ("build failed without a log", Facts("BUILD_ERROR", "Job failed with exit code: 1"), "build_failed", "exit code: 1", "logs"),
        (
            "no disk to build",
            Facts("BUILD_ERROR", build_log=("OSError: No space left on device error",)),
            "build_failed",
            "disk",
            "--factory",
        ),
        ("container starts", Facts("APP_STARTING"), "starting", "container starts", ""),
        ("starting", Facts("RUNNING_APP_STARTING", run_log=(START,)), "starting", "looks at the machine", ""),
        ("fetching before it counts as running", Facts("APP_STARTING", run_log=(START, DOWN)), "downloading", "1200 of 3440 MB", ""),
        ("fetching", Facts("RUNNING", run_log=(START, DOWN)), "downloading", "1200 of 3440 MB", ""),
        ("page up", Facts("RUNNING", run_log=(START,)), "starting", "looks at the machine", ""),
        ("running", Facts("RUNNING", run_log=(START, DOWN, SERVING)), "running", "preset sam", ""),
        ("running, log out of reach", Facts("RUNNING", run_log=("GET / 200",)), "running", "running", ""),
        (
            "a gate is shut",
            Facts("RUNNING", run_log=(START, DOWN, SHUT, "body4d-space: serving: preset lite.")),
            "gated",
            "facebook/sam3",
            "restart",
        ),
        ("no GPU", Facts("RUNNING", run_log=(START, NO_GPU, "body4d-space: serving: preset lite.")), "lite", "none found", ""),
        (
            "the gate was shut before the last start",
            Facts("RUNNING", run_log=(START, SHUT, "body4d-space: serving: preset lite.", START, SERVING)),
            "running",
            "preset sam",
            "",
        ),
        ("app did not come up", Facts("RUNNING", run_log=(START, "body4d-space: failed: no app.")), "crashed", "no app", "logs"),
        (
            "GPU full while running",
            Facts("RUNNING", run_log=(START, SERVING, CUDA_OOM), hardware="t4-small"),
            "out_of_memory",
            "t4-small",
            "GPU",
        ),
        ("GPU full before the last start", Facts("RUNNING", run_log=(START, SERVING, CUDA_OOM, START, SERVING)), "running", "sam", ""),
        (
            "memory full",
            Facts("RUNTIME_ERROR", "Memory limit exceeded (16Gi)", hardware="cpu-basic"),
            "out_of_memory",
            "cpu-basic",
            "more memory",
        ),
        ("killed", Facts("RUNTIME_ERROR", "Exit code: 137. Reason: OOMKilled"), "out_of_memory", "137", "more memory"),
        (
            "GPU full at the start",
            Facts("RUNTIME_ERROR", "Exit code: 1", run_log=(START, CUDA_OOM)),
            "out_of_memory",
            "GPU's memory",
            "GPU",
        ),
        ("crash", Facts("RUNTIME_ERROR", run_log=("x", "ValueError: error in it", "y")), "crashed", "ValueError: error in it", "logs"),
        (
            "crash of ours",
            Facts("RUNTIME_ERROR", "Exit code: 1", run_log=(START, "body4d-space: failed: Port 7860 cannot be taken.")),
            "crashed",
            "Port 7860",
            "logs",
        ),
        ("crash without a word", Facts("RUNTIME_ERROR"), "crashed", "the log says nothing", "logs"),
        ("no hardware", Facts("RUNTIME_ERROR", "Scheduling failure: not enough hardware capacity"), "crashed", "free just now", "later"),
        ("disk full", Facts("RUNTIME_ERROR", "Workload evicted, storage limit exceeded (50G)"), "crashed", "disk is full", "--bucket"),
        ("paused", Facts("PAUSED"), "asleep", "paused", "restart"),
        ("asleep", Facts("SLEEPING"), "asleep", "sleeping", "visit"),
        ("stopped", Facts("STOPPED"), "asleep", "stopped", "restart"),
        ("something new", Facts("DREAMING"), "unknown", "DREAMING", "page"),
    ],
)
def test_condition(name: str, facts: Facts, state: str, said: str, remedy: str) -> None:
    found = judge(facts)
    assert (found.state, said in found.said, remedy in found.remedy) == (state, True, True), f"{name}: {found}"
    assert bool(found.remedy) == bool(remedy), name
    assert "\x1b" not in found.said


def test_a_line_of_a_kilometre_is_cut() -> None:
    assert len(judge(Facts("BUILD_ERROR", build_log=("error " + "x" * 9000,))).said) < 300


def test_marks_are_read_as_they_are_written() -> None:
    mark = Mark("downloading", "SAM-3,\n 1 of 2 MB")
    assert read_marks((f"2026-11-27 {mark}\n",)) == (Mark("downloading", "SAM-3, 1 of 2 MB"),)
    assert read_marks(("body4d-space: dancing: x", "hello")) == ()


def test_who_is_under_way_is_healthy() -> None:
    assert UNDER_WAY < HEALTHY
