"""A starting Space: which preset it will serve, what it fetches, what its page shows, and how the page becomes the app."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import body4d.doctor.probe
from body4d.checkpoints.local import Found, look
from body4d.checkpoints.registry import CHECKPOINTS, MOGE, SAM3, SAM3D_BODY
from body4d.checkpoints.sources import Checkpoint
from body4d.config import DoctorSettings, Settings, WeightsSettings
from body4d.core.errors import Cancelled, InputError
from body4d.core.progress import Event
from body4d.deploy.board import LOG_EVERY_S, Board, Row
from body4d.deploy.log_markers import read_marks
from body4d.deploy.outlook import Outlook, after, first
from body4d.deploy.startup import get_ready
from body4d.deploy.startup_proxy import PROGRESS, Front
from body4d.deploy.status import Facts as SpaceFacts
from body4d.deploy.status import judge
from body4d.doctor.facts import Drawing, Facts, Packages, Place, Space, Weights
from body4d.runtime.hardware import NvidiaDriver, TorchInfo
from hub_standin import Account, HubStandIn, Repo
from serving import served
from weights_fakes import GATED, MODEL, TOKEN, WEIGHTS

L40S = TorchInfo("2.13.0", "13.0", "cuda", "NVIDIA L40S", 48_000_000_000, 47_000_000_000, (8, 9), ("sm_86",))
DRIVER = NvidiaDriver("580.95.05", ("NVIDIA L40S",))
CPU = TorchInfo("2.13.0+cpu")
READY = tuple(Found(model, "ready", Path("/w"), 1) for model in CHECKPOINTS)
ABSENT = tuple(Found(model, "absent", sentence="Not here: fetch it.") for model in CHECKPOINTS)
NEEDED = (SAM3, SAM3D_BODY, MOGE)
NO_SPACE = Space()


@pytest.mark.parametrize(
    ("name", "wanted", "driver", "torch", "found", "preset", "fetched", "why"),
    [
        ("all there", "auto", DRIVER, L40S, READY, "sam", (), ""),
        ("first start", "auto", DRIVER, L40S, ABSENT, "sam", NEEDED, ""),
        ("one lacking", "auto", DRIVER, L40S, (replace(READY[0], state="damaged"), *READY[1:]), "sam", (SAM3,), ""),
        ("no GPU", "auto", None, CPU, ABSENT, "lite", (), "GPU: none found"),
        ("no GPU, sam wished", "sam", None, CPU, READY, "lite", (), "GPU: none found"),
        ("lite wished", "lite", DRIVER, L40S, ABSENT, "lite", (), ""),
        (
            "old driver",
            "auto",
            NvidiaDriver("550.1", ("L40S",)),
            TorchInfo("2.13", "13.0", error="x"),
            READY,
            "lite",
            (),
            "wants driver 580.65",
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
    name: str, wanted: Any, driver: Any, torch: Any, found: Any, preset: str, fetched: tuple[Checkpoint, ...], why: str
) -> None:
    outlook = first(wanted, driver, torch, 60_000_000_000, found, DoctorSettings())
    assert (outlook.preset, outlook.to_fetch, outlook.gated) == (preset, fetched, False), name
    assert why in outlook.why
    assert bool(outlook.why) == bool(why)


@pytest.mark.parametrize(
    ("refused", "preset", "why", "gated"),
    [
        ({}, "sam", "", False),
        ({"moge": ("The disk is full.", False)}, "sam", "", False),  # Only recommended.
        ({"sam3": ("It waits.", True)}, "lite", "It waits.", True),
        ({"sam3": ("The disk is full.", False)}, "lite", "The disk is full.", False),
        ({"sam3": ("The disk is full.", False), "sam3d-body": ("It waits.", True)}, "lite", "It waits.", True),
    ],
)
def test_what_is_left_after_refusals(refused: dict[str, tuple[str, bool]], preset: str, why: str, gated: bool) -> None:
    assert after(Outlook("sam", NEEDED), refused) == Outlook(preset, (), why, gated)


class Taker:
    """Takes what would be handed over."""

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
    space: Space = NO_SPACE,
    make: Callable[[Settings, str], Any] = lambda settings, why: (settings.preset, why),
    stopped: bool = False,
) -> tuple[Any, list[str], Board]:
    """Run a start on a written-down machine that wants one made-up model: what was handed over, the log, the board."""
    settings = Settings(weights=WeightsSettings(folder=str(folder), retries=0))
    models = (replace(MODEL, sources=(GATED,)),)

    def facts(*_: object, **__: object) -> Facts:
        return Facts("auto", Packages((3, 11), frozenset()), DRIVER if torch is L40S else None, torch, 60_000_000_000,
                     Weights(look(settings.weights, models)), {}, Drawing(0.25), Place(folder, 1), Place(folder, 1), space)  # fmt: skip

    monkeypatch.setattr(body4d.doctor.probe, "look", facts)
    log: list[str] = []
    board, taker = Board(log.append), Taker()
    get_ready(settings, board, taker, lambda: stopped, make)  # type: ignore[arg-type]
    return taker.app, log, board


def condition(log: list[str]) -> tuple[str, str]:
    found = judge(SpaceFacts("RUNNING", run_log=tuple(log)))
    return found.state, found.said


def test_a_first_start_fetches_and_serves_sam_and_a_second_asks_for_nothing(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app, log, board = start(monkeypatch, tmp_path)
    assert app == ("sam", "")
    assert (tmp_path / "model" / "model.ckpt").read_bytes() == WEIGHTS
    assert [row.state for row in board.shown.rows] == ["here"]
    assert condition(log)[0] == "running"
    asked = len(hub.log)
    app, log, _ = start(monkeypatch, tmp_path)
    assert app == ("sam", "")
    assert len(hub.log) == asked


def test_a_start_that_was_cut_off_goes_on(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.cut["model.ckpt"] = [2_200_000, 0]
    app, _, _ = start(monkeypatch, tmp_path)
    assert app[0] == "lite"
    app, _, _ = start(monkeypatch, tmp_path)
    assert app == ("sam", "")
    wanted = [ask.headers.get("range") for ask in hub.cdn_log]
    assert wanted[-1] is not None, "the rest alone was asked for"


@pytest.mark.parametrize(
    ("token", "state", "word"),
    [("", "accepted", "no Hugging Face token"), (TOKEN, "pending", "waits"), (TOKEN, "none", "accept the terms")],
)
def test_a_shut_gate_is_told_on_the_page_and_lite_is_served(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str, state: str, word: str
) -> None:
    hub.accounts[TOKEN].access[GATED.repo] = state
    if not token:
        monkeypatch.delenv("HF_TOKEN")
    (preset, why), log, board = start(monkeypatch, tmp_path)
    assert preset == "lite"
    assert word in why
    assert any(word in note for note in board.shown.notes)
    assert condition(log)[0] == "gated"
    assert word in condition(log)[1]
    assert TOKEN not in json.dumps(board.shown.as_json()) + "".join(log)


def test_a_hub_that_breaks_off_is_no_gate(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.cut["model.ckpt"] = [10]
    (preset, why), log, _ = start(monkeypatch, tmp_path)
    assert (preset, condition(log)[0]) == ("lite", "lite")
    assert "broke off" in why


def test_no_gpu_is_told_and_nothing_is_fetched(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (preset, why), log, _ = start(monkeypatch, tmp_path, CPU)
    assert preset == "lite"
    assert "none found" in why
    assert condition(log)[0] == "lite"
    assert not hub.log


def test_a_space_without_a_disk_says_what_that_costs(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, _, board = start(monkeypatch, tmp_path, space=Space("ada/body4d"))
    assert any("after every restart" in note for note in board.shown.notes)
    _, _, board = start(monkeypatch, tmp_path / "other", space=Space("ada/body4d", True, True))
    assert not any("after every restart" in note for note in board.shown.notes)


def test_faults_end_on_the_page_as_sentences(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ours(settings: Settings, why: str) -> Any:
        raise InputError("The app cannot be made: mend it.")

    def other(settings: Settings, why: str) -> Any:
        raise ZeroDivisionError("secret path /x")

    _, log, board = start(monkeypatch, tmp_path, make=ours)
    assert (board.shown.word, board.shown.said) == ("failed", "The app cannot be made: mend it.")
    assert condition(log)[0] == "crashed"
    _, _, board = start(monkeypatch, tmp_path, make=other)
    assert "ZeroDivisionError" in board.shown.said
    assert "/x" not in board.shown.said


def test_being_stopped_is_no_fault(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app, _, board = start(monkeypatch, tmp_path, stopped=True)
    assert app is None
    assert board.shown.word == "downloading"


def test_progress_on_the_board_and_sparsely_in_the_log() -> None:
    now, log = [0.0], list[str]()
    board = Board(log.append, lambda: now[0])
    board.rows((Row("sam3", "SAM-3", total=100),))
    for done in range(0, 100, 10):
        board.hear(Event("sam3", "working", done, 100, rate_per_s=5.0, left_s=4.0))
        now[0] += LOG_EVERY_S / 2
    assert board.shown.rows[0] == Row("sam3", "SAM-3", "fetching", 90, 100, 5.0, 4.0)
    assert log == [f"body4d-space: downloading: SAM-3, {done} of 100 MB" for done in range(0, 100, 20)]
    board.hear(Event("sam3", "failed", note="no"))
    assert board.shown.rows[0].state == "refused"
    board.note("once")
    board.note("once")
    assert board.shown.notes == ("once",)


@pytest.fixture
def front() -> Iterator[tuple[Front, str, Board]]:
    """A front served by uvicorn on a free port."""
    board = Board(lambda _: None)
    front = Front(board)
    with served(front) as url:
        yield front, url, board


def get(url: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


def test_the_page_is_there_at_once_and_becomes_the_app(front: tuple[Front, str, Board]) -> None:
    server, url, board = front
    board.tell("downloading", "Fetching <b>SAM-3</b>.")
    status, kind, page = get(f"{url}/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert "body4d is starting" in page
    assert "SAM-3" not in page, "what is told is drawn by the page as text, never put into it as HTML"
    assert json.loads(get(f"{url}{PROGRESS}")[2])["said"] == "Fetching <b>SAM-3</b>."
    assert get(f"{url}/run/abc")[0] == 503

    lived: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        lived.append("begun")
        yield
        lived.append("ended")

    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("the app"))], lifespan=lifespan)
    server.hand_over(app, 20)
    assert lived == ["begun"]
    assert get(f"{url}/")[2] == "the app"
    assert get(f"{url}{PROGRESS}")[0] == 404, "which tells the page to load anew"


def test_an_app_that_does_not_start_leaves_the_page(front: tuple[Front, str, Board]) -> None:
    server, url, _ = front

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        raise RuntimeError("no")
        yield

    with pytest.raises(RuntimeError, match="no"):
        server.hand_over(Starlette(lifespan=lifespan), 20)
    assert "body4d is starting" in get(f"{url}/")[2]


def test_an_app_that_is_ready_after_the_end_is_told_so() -> None:
    """The server was stopped while the app was being built: neither a fault nor five minutes of waiting."""
    server = Front(Board(lambda _: None))
    with served(server):
        pass
    with pytest.raises(Cancelled):
        server.hand_over(Starlette(), 20)


def test_a_websocket_is_asked_to_come_later() -> None:
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(Front(Board(lambda _: None))({"type": "websocket", "path": "/"}, receive, send))
    assert said == [{"type": "websocket.close", "code": 1013}]


def test_an_app_that_knows_no_beginnings_is_served_as_it_is(front: tuple[Front, str, Board]) -> None:
    server, url, _ = front

    async def plain(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await PlainTextResponse("plain")(scope, receive, send)

    server.hand_over(Wrapped(plain), 20)
    assert get(f"{url}/")[2] == "plain"


class Wrapped:
    """An app inside something that is no Starlette, and returns at once when told of beginnings."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)


def test_the_container_as_it_is_run(tmp_path: Path) -> None:
    """The command in a process of its own: a page at once, a port that is taken, and an end when told."""
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
        page = (0, "", "")
        while page[0] != 200 and time.monotonic() < end:
            try:
                page = get(f"http://127.0.0.1:{port}/")
            except URLError:
                time.sleep(0.1)
        assert page[0] == 200
        second = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert second.returncode == 10
        assert "cannot be taken" in second.stderr
    finally:
        running.terminate()
        said, _ = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert read_marks(tuple(said.splitlines()))[0].word == "starting"
    assert "Traceback" not in said
