"""The server is ended in the middle of a run: what pages and programs are told, and what the next server does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app_served import free_port
from app_stub import ask, serving

pytest.importorskip("gradio", reason="the app's extra is not installed")
httpx = pytest.importorskip("httpx", reason="the app's extra is not installed")

pytestmark = pytest.mark.slow

WAIT_S = 60.0


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The stand-in's server, in a process group of its own."""
    stub = Path(__file__).parents[1] / "app_stub.py"
    process = subprocess.Popen(
        [sys.executable, str(stub), str(folder), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + WAIT_S
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except httpx.TransportError:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < until
                time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def begin_on_page(client: Any) -> str:
    """The token of a run that was begun on the page and is at work."""
    token = ask(client, "example")["token"]
    ask(client, "choice", token)
    assert ask(client, "run", token)["token"] == token
    while ask(client, "progress", token)["state"] != "working":
        time.sleep(0.02)
    return token


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page in Chromium, None where there is none: what programs are told is tested all the same."""
    try:
        context = request.getfixturevalue("browser").new_context(reduced_motion="reduce")
    except pytest.skip.Exception:
        yield None
        return
    yield context.new_page()
    context.close()


def test_a_run_outlives_its_server(tmp_path: Path, page: Any) -> None:
    from body4d.app.handlers import RESTART_SENTENCE

    port = free_port()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/", timeout=WAIT_S) as client:
        with server(tmp_path, port) as process:
            token = begin_on_page(client)
            if page:
                page.goto(f"http://127.0.0.1:{port}/?run={token}")
                page.wait_for_selector(".b4-progress[data-state=working]")
            path = client.post("gradio_api/upload", files={"files": ("a.mp4", b"video")}).json()[0]
            video = {"path": path, "meta": {"_type": "gradio.FileData"}}
            event = client.post("gradio_api/call/v2/run", json={"video": video}).json()["event_id"]
            with client.stream("GET", f"gradio_api/call/run/{event}") as program:
                lines = program.iter_lines()
                while '"waiting"' not in next(lines):
                    pass
                os.killpg(process.pid, signal.SIGTERM)  # as service managers do: every process of the service
                begun = time.monotonic()
                answers = [line for line in lines if "state" in line]
            # The page is told of no end: until there is no server, its run waits.
            told = set()
            with suppress(httpx.TransportError):
                while True:
                    told.add(ask(client, "progress", token)["sentence"])
            output = process.communicate(timeout=WAIT_S)[0]
            assert time.monotonic() - begun < 10  # 2 s on a quiet machine
        if page:
            page.wait_for_selector("text=What was done is kept; this page goes on by itself.")
            assert page.is_visible("#b4-progress")
        assert "Traceback" not in output
        assert "rror" not in output
        assert told <= {RESTART_SENTENCE}
        # A program gets a last answer that says where to ask.
        last = json.loads(answers[-1].partition("data: ")[2])[0]
        assert (last["state"], last["error"]["code"]) == ("interrupted", "server_stopping")

    with serving(tmp_path, port) as served:
        addresses = [f"runs/{token}/state", last["state_at"]]
        assert {served.client.get(address).json()["state"] for address in addresses} == {"working", "waiting"}
        (tmp_path / "finish").touch()
        until = time.monotonic() + WAIT_S
        while any(served.client.get(address).json()["state"] != "done" for address in addresses):
            assert time.monotonic() < until
            time.sleep(0.05)
        if page:  # Nobody has touched it.
            page.wait_for_selector("#b4-done", state="visible")
            assert not page.inner_text("#b4-work-say")
