"""A starting Space: which preset it will serve, what it fetches, and what its page and its log say."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

import body4d.doctor.facts
from body4d.checkpoints.local import LocalCheckpoint, inspect_checkpoints
from body4d.checkpoints.registry import CHECKPOINTS, MOGE, SAM3, SAM3D_BODY, Checkpoint
from body4d.config import Settings, WeightsSettings
from body4d.core.errors import Body4DError, InputError, OutputError, WeightsError
from body4d.deploy.startup import PresetChoice, choice_after_fetching, choose_startup_preset, prepare
from body4d.deploy.status import SpaceReport, SpaceStatus, StartupStatus, read_marker, space_status
from body4d.doctor.facts import CheckpointFacts, FolderFacts, MachineFacts, PackageFacts, RendererFacts, SpaceEnvironment
from body4d.runtime.hardware import NvidiaDriver, TorchInfo
from hub_standin import Account, HubStandIn, Repo
from weights_fakes import GATED, MODEL, TOKEN, WEIGHTS

L40S = TorchInfo("2.13.0", "13.0", "cuda", "NVIDIA L40S", 48_000_000_000, 47_000_000_000, (8, 9), ("sm_86",))
DRIVER = NvidiaDriver("580.95.05", ("NVIDIA L40S",))
CPU = TorchInfo("2.13.0+cpu")
READY = tuple(LocalCheckpoint(model, "ready", Path("/w"), 1) for model in CHECKPOINTS)
ABSENT = tuple(LocalCheckpoint(model, "absent", message="Not here.", hint="Fetch it.") for model in CHECKPOINTS)
NEEDED = (SAM3, SAM3D_BODY, MOGE)
NOT_A_SPACE = SpaceEnvironment()


@pytest.mark.parametrize(
    ("name", "requested", "driver", "torch", "found", "preset", "fetched", "reason"),
    [
        ("all there", "auto", DRIVER, L40S, READY, "sam", (), ""),
        ("first start", "auto", DRIVER, L40S, ABSENT, "sam", NEEDED, ""),
        ("one lacking", "auto", DRIVER, L40S, (replace(READY[0], state="damaged"), *READY[1:]), "sam", (SAM3,), ""),
        ("no GPU", "auto", None, CPU, ABSENT, "lite", (), "GPU: none found"),
        ("no GPU, sam requested", "sam", None, CPU, READY, "lite", (), "GPU: none found"),
        ("lite requested", "lite", DRIVER, L40S, ABSENT, "lite", (), ""),
        (
            "old driver",
            "auto",
            NvidiaDriver("550.1", ("L40S",)),
            TorchInfo("2.13", "13.0", error="x"),
            READY,
            "lite",
            (),
            "needs driver 580.65",
        ),
        ("no torch", "auto", DRIVER, None, READY, "lite", (), "not installed"),
        (
            "tiny GPU",
            "auto",
            DRIVER,
            replace(L40S, total_bytes=2_000_000_000, free_bytes=2_000_000_000),
            READY,
            "lite",
            (),
            "2.0 of 2.0 GB of the GPU",
        ),
    ],
)
def test_what_will_be_served(
    name: str, requested: Any, driver: Any, torch: Any, found: Any, preset: str, fetched: tuple[Checkpoint, ...], reason: str
) -> None:
    choice = choose_startup_preset(requested, driver, torch, 60_000_000_000, found)
    assert (choice.preset, choice.to_fetch, choice.gated) == (preset, fetched, False), name
    assert reason in choice.reason
    assert bool(choice.reason) == bool(reason)


FULL, WAITS = OutputError("The disk is full.", code="disk_full"), WeightsError("It waits.", codes=["access_pending", "access_refused"])
SILENT = WeightsError("No answer.", code="access_pending", codes=["access_pending", "access_unreachable"])


@pytest.mark.parametrize(
    ("failures", "left"),
    [
        ({}, PresetChoice("sam")),
        ({"moge": FULL}, PresetChoice("sam")),  # Only recommended.
        ({"sam3": WAITS}, PresetChoice("lite", reason="It waits.", gated=True)),
        ({"sam3": FULL}, PresetChoice("lite", reason="The disk is full.")),
        ({"sam3": SILENT}, PresetChoice("lite", reason="No answer.")),  # Another source has no gate, and does not answer.
        ({"sam3": FULL, "sam3d-body": WAITS}, PresetChoice("lite", reason="It waits.", gated=True)),
    ],
)
def test_what_is_left_after_failures(failures: dict[str, Body4DError], left: PresetChoice) -> None:
    assert choice_after_fetching(PresetChoice("sam", NEEDED), failures) == left


class FakeProxy:
    """Keeps the app that would be served."""

    def __init__(self) -> None:
        self.app: Any = None

    def hand_over(self, app: Any, timeout_s: float) -> None:
        self.app = app


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    with HubStandIn() as standin:
        standin.add(Repo(GATED.repo, {"model.ckpt": WEIGHTS, "config.json": b"{}"}, gated="manual"))
        standin.accounts[TOKEN] = Account("ada", access={GATED.repo: "accepted"})
        monkeypatch.setenv("HF_ENDPOINT", standin.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield standin


def start(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    torch: TorchInfo = L40S,
    space: SpaceEnvironment = NOT_A_SPACE,
    factory: Callable[[Settings, str], Any] = lambda settings, reason: (settings.preset, reason),
    stopped: bool = False,
) -> tuple[Any, list[str], StartupStatus]:
    """Run a start on a written-down machine that needs one made-up model: the app that was handed over, the log, the status."""
    settings = Settings(weights=WeightsSettings(folder=str(folder), max_retries=0))
    models = (replace(MODEL, sources=(GATED,)),)

    def facts(*_: object, **__: object) -> MachineFacts:
        return MachineFacts(PackageFacts((3, 11), frozenset()), DRIVER if torch is L40S else None, torch, 60_000_000_000,
                            CheckpointFacts(inspect_checkpoints(settings.weights, models)), {}, RendererFacts(0.25), FolderFacts(folder, 1),
                            FolderFacts(folder, 1), space)  # fmt: skip

    monkeypatch.setattr(body4d.doctor.facts, "gather_facts", facts)
    log: list[str] = []
    status, proxy = StartupStatus(log.append), FakeProxy()
    prepare(settings, status, proxy, lambda: stopped, factory)  # type: ignore[arg-type]
    return proxy.app, log, status


def status_from(log: list[str]) -> SpaceStatus:
    return space_status(SpaceReport("RUNNING", log=tuple(log)))


def test_a_first_start_fetches_and_serves_sam_and_a_second_fetches_nothing(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app, log, status = start(monkeypatch, tmp_path)
    assert app == ("sam", "")
    assert (tmp_path / "model" / "model.ckpt").read_bytes() == WEIGHTS
    assert [one["state"] for one in status.snapshot.as_json()["checkpoints"]] == ["done"]
    assert status_from(log).state == "running"
    requests = len(hub.log)
    app, log, _ = start(monkeypatch, tmp_path)
    assert app == ("sam", "")
    assert len(hub.log) == requests


def test_a_start_that_was_cut_off_continues(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.cut["model.ckpt"] = [2_200_000, 0]
    app, _, _ = start(monkeypatch, tmp_path)
    assert app[0] == "lite"
    app, _, _ = start(monkeypatch, tmp_path)
    assert app == ("sam", "")
    ranges = [ask.headers.get("range") for ask in hub.cdn_log]
    assert ranges[-1] is not None, "only the rest was fetched"


@pytest.mark.parametrize(
    ("token", "state", "word"),
    [("", "accepted", "no Hugging Face token"), (TOKEN, "pending", "waits"), (TOKEN, "none", "accept the terms")],
)
def test_a_closed_gate_is_explained_on_the_page_and_lite_is_served(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str, state: str, word: str
) -> None:
    hub.accounts[TOKEN].access[GATED.repo] = state
    if not token:
        monkeypatch.delenv("HF_TOKEN")
    (preset, reason), log, status = start(monkeypatch, tmp_path)
    assert preset == "lite"
    assert word in reason
    assert any(word in note for note in status.snapshot.notes)
    assert [one["state"] for one in status.snapshot.as_json()["checkpoints"]] == ["failed"]
    assert status_from(log).state == "gated"
    assert word in status_from(log).message
    assert TOKEN not in json.dumps(status.snapshot.as_json()) + "".join(log)


def test_a_hub_that_breaks_off_is_not_a_gate(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.cut["model.ckpt"] = [10]
    (preset, reason), log, _ = start(monkeypatch, tmp_path)
    assert (preset, status_from(log).state) == ("lite", "lite")
    assert "broke off" in reason


def test_without_a_gpu_lite_is_served_with_the_reason_and_nothing_is_fetched(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (preset, reason), log, _ = start(monkeypatch, tmp_path, CPU)
    assert preset == "lite"
    assert "none found" in reason
    assert status_from(log).state == "lite"
    assert not hub.log


def test_a_space_without_a_disk_says_what_that_costs(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, _, status = start(monkeypatch, tmp_path, space=SpaceEnvironment("ada/body4d"))
    assert any("after every restart" in note for note in status.snapshot.notes)
    _, _, status = start(monkeypatch, tmp_path / "other", space=SpaceEnvironment("ada/body4d", True, True))
    assert not any("after every restart" in note for note in status.snapshot.notes)


def test_faults_end_on_the_page_as_sentences(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ours(settings: Settings, reason: str) -> Any:
        raise InputError("The app cannot be made: mend it.")

    def other(settings: Settings, reason: str) -> Any:
        raise ZeroDivisionError("secret path /x")

    _, log, status = start(monkeypatch, tmp_path, factory=ours)
    assert (status.snapshot.state, status.snapshot.message) == ("failed", "The app cannot be made: mend it.")
    assert status_from(log).state == "crashed"
    _, _, status = start(monkeypatch, tmp_path, factory=other)
    assert "ZeroDivisionError" in status.snapshot.message
    assert "/x" not in status.snapshot.message


def test_being_stopped_is_not_a_fault(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app, _, status = start(monkeypatch, tmp_path, stopped=True)
    assert app is None
    assert status.snapshot.state == "downloading"


@pytest.mark.slow
def test_the_container_as_it_is_run(tmp_path: Path) -> None:
    """The command in a process of its own: a page at once, a port that is in use, and an end on SIGTERM."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BODY4D_PRESET": "lite",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    words = [sys.executable, "-m", "body4d", "space", "start", "--host", "127.0.0.1", "--port", str(port)]
    running = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        end = time.monotonic() + 60
        page = ""
        while not page and time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                    page = answer.read().decode()
            except URLError:
                time.sleep(0.1)
        assert "body4d is starting" in page
        second = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert second.returncode == 10
        assert "cannot be used" in second.stderr
    finally:
        running.terminate()
        output, _ = running.communicate(timeout=60)
    assert running.returncode == 0, output
    first = next(marker for line in output.splitlines() if (marker := read_marker(line)))
    assert first.state == "starting"
    assert "Traceback" not in output
