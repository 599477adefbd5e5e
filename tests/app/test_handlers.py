"""What the page's buttons do, without a browser and with a stub for the computing process."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from body4d.app.forms import RunOptions
from body4d.app.preview import FramePeople, Preview, PreviewPerson
from body4d.app.prompts import ClickPrompt
from body4d.app.queue import TaskQueue
from body4d.app.service import AppService
from body4d.app.sessions import SessionStore, UserSession
from body4d.app.tasks import PreviewTask, RunTask, Task
from body4d.config import AppSettings, Settings
from body4d.core.errors import InputError, RunWarning
from body4d.core.progress import EventListener
from body4d.core.types import MaskTrack

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="the app's extra is not installed")

WIDTH, HEIGHT = 40, 20
ON_ANNA, ON_BEN, ON_NOBODY = [0.2, 0.5], [0.7, 0.5], [0.02, 0.5]
"""Clicks as shares of the picture."""


def mask_code(columns: slice) -> bytes:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, columns] = True
    return MaskTrack.encode(mask)


PEOPLE = (PreviewPerson(1, False, mask_code(slice(4, 12))), PreviewPerson(2, False, mask_code(slice(24, 32))))


@dataclass
class StubWorker:
    """Finds Anna and Ben on every frame, rejects clicks left of them, and takes its time."""

    seconds: float = 0.0
    error: Exception | None = None
    tasks: list[Task] = field(default_factory=list)

    def run(self, task: Task, listener: EventListener) -> Preview | None:
        self.tasks.append(task)
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        if not isinstance(task, PreviewTask):
            return None
        task.picture.touch()
        rejected = tuple(p for p in task.prompts if p.point_px is not None and p.point_px[0] < 2)
        warnings = tuple(RunWarning("prompt_points_at_nobody", "There is nobody here.", "Use --other.") for _ in rejected)
        return Preview(task.frame, 30, 30.0, 1.0, WIDTH, HEIGHT, FramePeople(PEOPLE, warnings, rejected))

    def end(self) -> None:
        pass


@pytest.fixture
def worker() -> StubWorker:
    return StubWorker()


@pytest.fixture
def service(tmp_path: Path, worker: StubWorker) -> Iterator[AppService]:
    settings = Settings(preset="lite", app=AppSettings(folder=str(tmp_path / "root")))
    previews, runs = (TaskQueue(worker, 5, 0.1) for _ in range(2))  # type: ignore[arg-type]
    service = AppService(settings, "lite", "", SessionStore(settings.app), previews, runs)
    yield service
    service.close()


@pytest.fixture
def handlers(service: AppService) -> Any:
    import gradio as gr

    from body4d.app.handlers import Handlers
    from body4d.app.page import build_page

    with gr.Blocks():
        return Handlers(service, build_page(service))


def upload(tmp_path: Path) -> Path:
    clip = tmp_path / "swing.mp4"
    clip.write_bytes(b"video")
    return clip


async def last(stream: Any) -> dict[Any, Any]:
    """Everything that a handler changed on the page."""
    return {component: value async for updates in stream for component, value in updates.items()}


async def opened(handlers: Any, service: AppService, tmp_path: Path) -> tuple[UserSession, Any]:
    """A visitor's session and the page's state after an upload."""
    updates = await last(handlers.on_upload(str(upload(tmp_path))))
    state = updates[handlers._page.state]
    return service.session(state.token), state


def click(handlers: Any, state: Any, shares: list[float], mode: str = "Choose") -> Any:
    guarded = handlers._guarded(handlers.on_click)
    return last(guarded(state, mode, "Whoever is clicked", "", SimpleNamespace(position=shares)))


def test_quick_clicks_all_count(handlers: Any, service: AppService, worker: StubWorker, tmp_path: Path) -> None:
    async def visit() -> None:
        session, state = await opened(handlers, service, tmp_path)
        worker.seconds = 0.2
        # All from the page as it was before the first was answered; the one that meets nobody is taken back, the others stay.
        answers = await asyncio.gather(*(click(handlers, state, at) for at in (ON_ANNA, ON_NOBODY, ON_BEN, ON_ANNA)))
        prompts = service.session(session.token).info.prompts
        assert [(prompt.person_id, prompt.point_px) for prompt in prompts] == [(1, (8.0, 10.0)), (3, (28.0, 10.0)), (1, (8.0, 10.0))]
        assert handlers._page.run in answers[-1]
        assert answers[-1][handlers._page.run]["value"] == "Make these 2 people 3D"
        assert len(worker.tasks) < 5  # previews that nobody waits for any more are left out

    asyncio.run(visit())


def test_a_choice_outlives_the_page(handlers: Any, service: AppService, tmp_path: Path) -> None:
    async def visit() -> None:
        session, state = await opened(handlers, service, tmp_path)
        await click(handlers, state, ON_BEN)
        request = SimpleNamespace(query_params={"run": session.token})
        reopened = await last(handlers.on_load(request))
        assert reopened[handlers._page.run]["value"] == "Make this person 3D"
        queued = service.start_run(service.session(session.token), RunOptions())
        assert isinstance(queued.task, RunTask)
        assert queued.task.prompts == (ClickPrompt(0, 1, point_px=(28.0, 10.0)),)
        await last(handlers.on_clear(state, 0))
        assert service.session(session.token).info.prompts == ()

    asyncio.run(visit())


def test_a_click_on_nobody_is_a_sentence_and_nothing_more(handlers: Any, service: AppService, tmp_path: Path) -> None:
    async def visit() -> None:
        session, state = await opened(handlers, service, tmp_path)
        answer = await click(handlers, state, ON_NOBODY)
        assert "There is nobody here." in answer[handlers._page.message]
        assert service.session(session.token).info.prompts == ()
        refused = await click(handlers, state, ON_ANNA, "Not this")
        assert "Choose a person first" in refused[handlers._page.message]

    asyncio.run(visit())


def test_errors_are_one_sentence_with_the_visitors_name_for_the_clip(
    handlers: Any, service: AppService, worker: StubWorker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def visit() -> None:
        session, state = await opened(handlers, service, tmp_path)
        worker.error = InputError(f"{session.video} is not a video.", code="not_a_video", hint="Use --other.")
        answer = await click(handlers, state, ON_ANNA)
        assert "swing.mp4 is not a video. Choose an MP4 or MOV file.</div>" in answer[handlers._page.message]
        assert "--other" not in answer[handlers._page.message]
        assert service.session(session.token).info.prompts == ()
        worker.error = RuntimeError("Traceback /secret")
        answer = await click(handlers, state, ON_ANNA)
        assert "Something went wrong on our side" in answer[handlers._page.message]
        assert "secret" not in answer[handlers._page.message]

    asyncio.run(visit())
    assert "Traceback /secret" in caplog.text


def test_an_upload_that_is_refused_leaves_nothing(handlers: Any, service: AppService, worker: StubWorker, tmp_path: Path) -> None:
    async def visit() -> None:
        worker.error = InputError("Not a video.", code="not_a_video")
        with pytest.raises(InputError) as caught:
            await service.open_upload(upload(tmp_path))
        assert caught.value.code == "not_a_video"
        assert not list(service.sessions.root.glob("runs/*"))

    asyncio.run(visit())


def test_waiting_is_bounded(
    handlers: Any, service: AppService, worker: StubWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("body4d.app.service.MAX_PREVIEW_S", 0.1)
    worker.seconds = 1.0
    with pytest.raises(InputError) as caught:
        asyncio.run(service.open_upload(upload(tmp_path)))
    assert caught.value.code == "preview_too_slow"


def test_a_program_gets_code_message_and_hint(handlers: Any, service: AppService, worker: StubWorker, tmp_path: Path) -> None:
    import gradio as gr

    from body4d.app.api import add_api

    uploads = tmp_path / "uploads"
    folder = uploads / ("0" * 64)
    folder.mkdir(parents=True)
    with gr.Blocks() as blocks:
        add_api(service, uploads)
    (event,) = blocks.fns.values()
    run: Any = event.fn

    async def collect(video: Any, options: dict[str, Any], into: list[dict[str, Any]]) -> None:
        async for answer in run(video, **options):
            into.append(answer)

    def refusal(video: Any, **options: Any) -> dict[str, Any]:
        answers: list[dict[str, Any]] = []
        with pytest.raises(gr.Error) as caught:
            asyncio.run(collect(video, options, answers))
        assert answers[-1]["state"] == "refused"
        assert answers[-1]["error"]["message"] in caught.value.message
        return answers[-1]["error"]

    video = SimpleNamespace(path=str(upload(folder)))
    worker.error = InputError(f"{folder}/clip.mp4 is no video.", code="not_a_video", hint="Convert it.", path=f"{folder}/clip.mp4")
    expected = {"code": "not_a_video", "message": "swing.mp4 is no video.", "hint": "Convert it.", "facts": {"path": "swing.mp4"}}
    assert refusal(video) == expected
    assert refusal("nothing")["code"] == "not_an_upload"
    assert refusal(video, prompts=[{"frame": 0}])["code"] == "prompt_invalid"
