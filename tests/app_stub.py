"""The whole app with a stand-in for the process that computes: what HTTP answers, without models.

``python app_stub.py FOLDER PORT [SETTINGS]`` serves it; SETTINGS is JSON of the section ``app``.

A run ends when a file ``finish`` lies beside the app's folder. ``crash`` there ends the server as a kill would.
"""

import asyncio
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app_served import free_port
from body4d.app import server, service
from body4d.app.forms import RunOptions
from body4d.app.preview import FramePeople, Preview
from body4d.app.tasks import ARCHIVE, ExampleTask, FilmStripTask, PreviewTask, RunTask, Task
from body4d.app.worker import WorkerDied
from body4d.config import AppSettings, Settings
from body4d.core.progress import Event, EventListener
from body4d.run.record import RUN, RunRecord, StageRecord

FRAMES = 30
WAIT_S = 20.0
"""For what takes a fraction of a second, on a machine that does much else."""

RESULT = b"a film that is done" * 100


class StubWorker:
    """Finds nobody on a frame, and writes a few bytes for a result."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._ended = False

    def run(self, task: Task, listener: EventListener) -> Preview | None:
        self._ended = False
        if isinstance(task, PreviewTask):
            task.picture.write_bytes(b"picture")
            return Preview(task.frame, FRAMES, 30.0, 1.0, 40, 20, FramePeople(()))
        if isinstance(task, FilmStripTask):
            task.picture.write_bytes(b"strip")
        if isinstance(task, ExampleTask):
            task.folder.mkdir(parents=True, exist_ok=True)
            for name in ("swing.mp4", "truth.npz"):
                (task.folder / name).write_bytes(b"example")
        if isinstance(task, RunTask):
            self._run(task, listener)
        return None

    def _run(self, task: RunTask, listener: EventListener) -> None:
        beside = task.out.parents[2].parent
        listener(Event("masks", "working", 3, FRAMES))
        while not (beside / "finish").exists():
            if (beside / "crash").exists():
                os._exit(9)
            if self._ended:
                raise WorkerDied("ended")
            time.sleep(0.01)
        task.out.mkdir(exist_ok=True)
        again = (task.out / "masks.npz").exists()
        for name in ("masks.npz", "overlay.mp4", ARCHIVE):
            part = task.out / f"{name}.part"
            part.write_bytes(RESULT if name != "overlay.mp4" else RESULT + task.text.encode())
            part.replace(task.out / name)
        stage = StageRecord(state="done", fingerprint="reused" if again else "made", files={"masks.npz": len(RESULT)})
        (task.out / RUN).write_text(RunRecord(body4d="0", input={"sha256": "a"}, stages={"masks": stage}).model_dump_json())

    def end(self) -> None:
        self._ended = True


def stub_settings(folder: Path, **more: Any) -> Settings:
    return Settings(preset="lite", app=AppSettings(folder=str(folder / "root"), **more))


def put_stub_in_place(patch: Any = setattr) -> None:
    """Have the app take the stand-in; ``patch`` is setattr or a test's monkeypatch."""
    patch(service, "Worker", StubWorker)
    patch(server, "chosen_preset", lambda settings, listener: ("lite", "A stand-in."))


def ask(client: Any, action: str, token: str = "", **fields: Any) -> dict[str, Any]:
    """What the page's script asks, by bare HTTP. ``client`` is httpx's."""
    answer = client.post(f"page/{action}", json={"token": token, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


@dataclass
class Served:
    """The app in a thread of this process, its service, and a client."""

    url: str
    folder: Path
    service: service.AppService
    thread: int
    client: Any

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def upload(self, content: bytes = b"video", name: str = "swing.mp4") -> str:
        answer = self.client.post("gradio_api/upload", files={"files": (name, content)})
        assert answer.status_code == 200, answer.text
        return answer.json()[0]

    def ask(self, action: str, token: str = "", **fields: Any) -> dict[str, Any]:
        return ask(self.client, action, token, **fields)

    def wait_until_done(self, token: str) -> None:
        """Let a run end, and follow it as the page does until it has."""
        (self.folder / "finish").touch()
        until = time.monotonic() + WAIT_S
        while self.ask("progress", token)["state"] != "done":
            assert time.monotonic() < until
            time.sleep(0.02)

    def session(self, content: bytes = b"video") -> str:
        """The token of a clip that was just uploaded."""
        session, _ = asyncio.run(self.service.open_upload(Path(self.upload(content))))
        return session.token

    def run(self, token: str, text: str = "", finish: bool = True) -> str:
        """The token of a run that was asked for, and that is done if ``finish``."""
        session, queued = asyncio.run(self.service.start_run(self.service.session(token), RunOptions(), text))
        if finish:
            (self.folder / "finish").touch()
            assert queued.ended.wait(WAIT_S)
        return session.token


@contextmanager
def serving(folder: Path, port: int | None = None, **settings: Any) -> Iterator[Served]:
    """The app in a thread of this process."""
    import httpx
    import uvicorn

    with pytest.MonkeyPatch.context() as patch:
        put_stub_in_place(patch.setattr)
        for variable in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
            patch.setenv(variable, os.environ.get(variable, ""))  # build sets them: back as they were afterwards
        app, parts = server.build(stub_settings(folder, **settings), {})
        port = port or free_port()
        runner = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=runner.run)
        thread.start()
        try:
            until = time.monotonic() + WAIT_S
            while not runner.started and time.monotonic() < until:
                time.sleep(0.02)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/", timeout=WAIT_S) as client:
                yield Served(f"http://127.0.0.1:{port}/", folder, parts, thread.ident or 0, client)
        finally:
            runner.should_exit = True
            thread.join(WAIT_S)
            parts.close()


if __name__ == "__main__":
    put_stub_in_place()
    more = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    server.serve(stub_settings(Path(sys.argv[1]), **more), "127.0.0.1", int(sys.argv[2]))
    gc.freeze()  # as `body4d app` does
