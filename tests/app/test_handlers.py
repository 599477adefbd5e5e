"""What the page asks for, without a browser and with a stub for the computing process."""

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
from body4d.app.handlers import CANCELLED_SENTENCE, RESTART_SENTENCE, PageHandlers
from body4d.app.preview import FramePeople, Preview, PreviewPerson
from body4d.app.prompts import ClickPrompt
from body4d.app.queue import TaskQueue
from body4d.app.run_journal import after_change, new_entry, write_entry
from body4d.app.run_time import RunTime
from body4d.app.service import AppService, note_run
from body4d.app.sessions import SessionStore
from body4d.app.tasks import FilmStripTask, PreviewTask, RunTask, Task
from body4d.config import AppSettings, Settings
from body4d.core.errors import Body4DError, InputError, RunWarning, SettingsError
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
        if isinstance(task, FilmStripTask):
            task.picture.write_bytes(b"strip")
        if not isinstance(task, PreviewTask):
            return None
        task.picture.touch()
        rejected = tuple(p for p in task.prompts if p.point_px is not None and p.point_px[0] < 2)
        warnings = tuple(RunWarning("prompt_points_at_nobody", "There is nobody here.", "Use --other.") for _ in rejected)
        return Preview(
            task.frame,
            30,
            30.0,
            1.0,
            WIDTH,
            HEIGHT,
            FramePeople(PEOPLE, warnings, rejected, tuple(person.mask_code for person in PEOPLE)),
            task.rotate_deg,
        )

    def end(self) -> None:
        pass


@pytest.fixture
def worker() -> StubWorker:
    return StubWorker()


@pytest.fixture
def service(tmp_path: Path, worker: StubWorker) -> Iterator[AppService]:
    settings = Settings(preset="lite", app=AppSettings(folder=str(tmp_path / "root")))
    sessions = SessionStore(settings.app)
    previews, examples = (TaskQueue(worker, 5, RunTime(0, 0.1)) for _ in range(2))  # type: ignore[arg-type]
    runs = TaskQueue(worker, 5, RunTime(0, 0.1), on_change=lambda queued: note_run(sessions, queued))  # type: ignore[arg-type]
    service = AppService(settings, "lite", "", sessions, previews, runs, examples)
    yield service
    service.close()


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def page(service: AppService, uploads: Path) -> PageHandlers:
    return PageHandlers(service, uploads)


def upload(folder: Path) -> Path:
    folder = folder / ("0" * 64)
    folder.mkdir(parents=True, exist_ok=True)
    clip = folder / "swing.mp4"
    clip.write_bytes(b"video")
    return clip


async def opened(page: PageHandlers, uploads: Path) -> str:
    """The token of a visit in which the people on the first frame were found."""
    token = (await page.open_upload(str(upload(uploads)), "swing.mp4"))["token"]
    await page.choice(token)
    return token


def test_a_token_is_there_before_anybody_looks_into_the_file(page: PageHandlers, worker: StubWorker, uploads: Path) -> None:
    async def visit() -> None:
        token = (await page.open_upload(str(upload(uploads)), "../mein <b> Schwung.mp4"))["token"]
        assert not worker.tasks
        answer = await page.choice(token)
        assert (answer["clip"]["name"], answer["found"], answer["chosen"]) == ("mein <b> Schwung.mp4", "2 people were found.", [])
        assert [person["id"] for person in answer["people"]] == [0, 0]
        assert answer["estimate"].startswith("Takes about ")
        for path in ("/etc/passwd", None, 3, str(uploads), {"path": "x"}):
            with pytest.raises(InputError, match="no file that was uploaded"):
                await page.open_upload(path, "x.mp4")

    asyncio.run(visit())


def test_quick_clicks_all_count_and_known_people_are_found_in_memory(
    page: PageHandlers, service: AppService, worker: StubWorker, uploads: Path
) -> None:
    async def visit() -> None:
        token = await opened(page, uploads)
        worker.seconds = 0.2
        looks = len(worker.tasks)
        answers = await asyncio.gather(*(page.click(token, 0, at, "choose") for at in (ON_ANNA, ON_BEN, ON_ANNA)))
        prompts = service.session(token).info.prompts
        assert sorted(prompt.person_id for prompt in prompts) == [1, 1, 2] or sorted(prompt.person_id for prompt in prompts) == [1, 2, 2]
        newest = max(answers, key=lambda answer: answer["revision"])
        assert [person["id"] > 0 for person in newest["people"]] == [True, True]
        assert len(worker.tasks) == looks
        # One that the masks do not explain is looked at, and taken back.
        with_warning = await page.click(token, 0, ON_NOBODY, "choose")
        assert with_warning["warning"].startswith("There is nobody where you clicked.")
        assert service.session(token).info.prompts == prompts
        assert len(worker.tasks) == looks + 1

    asyncio.run(visit())


def test_more_people_than_can_be_followed_are_refused_when_they_are_chosen(page: PageHandlers, service: AppService, uploads: Path) -> None:
    async def visit() -> None:
        token = await opened(page, uploads)
        for person in (3, 4, 5, 6):
            service.sessions.change(service.session(token), lambda info, p=person: {"prompts": (*info.prompts, ClickPrompt(9, p, (1, 1)))})
        before = service.session(token).info.prompts
        with pytest.raises(SettingsError) as caught:
            await page.click(token, 0, ON_BEN, "choose")
        assert page.problem(caught.value)["message"] == "Up to 4 people can be followed at once. Take one of them back first."
        assert service.session(token).info.prompts == before
        answer = await page.drop(token, 3)
        assert [one["id"] for one in answer["chosen"]] == [4, 5, 6]

    asyncio.run(visit())


def test_a_link_says_why_a_run_came_to_nothing(page: PageHandlers, service: AppService, uploads: Path) -> None:
    async def visit() -> None:
        token = await opened(page, uploads)
        session = service.session(token)
        problem = Body4DError("It was begun 3 times.", code="run_given_up", hint="Try a shorter clip.")
        write_entry(session.folder, after_change(new_entry(RunOptions(), (), ""), "failed", problem))
        now = await page.progress(token)
        assert (now["state"], now["message"]) == ("refused", "It was begun 3 times. Try a shorter clip.")
        await page.click(token, 0, ON_BEN, "choose")  # Another choice: what was said of the last one is no longer to the point.
        assert "message" not in await page.progress(token)

    asyncio.run(visit())


def test_a_run_that_waits_for_the_next_server_can_be_followed_and_cancelled(page: PageHandlers, service: AppService, uploads: Path) -> None:
    async def visit() -> None:
        token = await opened(page, uploads)
        write_entry(service.session(token).folder, new_entry(RunOptions(), (), ""))
        now = await page.progress(token)
        assert (now["state"], now["sentence"]) == ("waiting", RESTART_SENTENCE)
        await page.cancel(token)
        assert (await page.progress(token))["message"] == CANCELLED_SENTENCE

    asyncio.run(visit())


def test_what_was_chosen_and_entered_outlives_the_server(page: PageHandlers, service: AppService, uploads: Path) -> None:
    async def visit() -> None:
        token = await opened(page, uploads)
        await page.choice(token, 7)
        await page.click(token, 7, ON_BEN, "choose")
        await page.set_options(token, {"person_height_m": 1.8, "end_s": 0.9})
        again = PageHandlers(service, uploads)  # as after a restart
        answer = await again.choice(token)
        assert (answer["frame"], answer["chosen"][0]["id"]) == (7, 1)
        assert [person["id"] for person in answer["people"]] == [0, 1] or [person["id"] for person in answer["people"]] == [0, 0]
        assert (answer["options"]["person_height_m"], answer["options"]["end_s"], answer["options"]["fps"]) == (1.8, 0.9, None)
        _, queued = await service.start_run(service.session(token), service.session(token).info.options)
        assert isinstance(queued.task, RunTask)
        assert queued.task.prompts == (ClickPrompt(7, 1, point_px=(28.0, 10.0)),)
        assert (await again.clear(token))["chosen"] == []
        # A part that leaves out the moment of the choice cannot be run.
        await page.click(token, 7, ON_BEN, "choose")
        warned = await page.set_options(token, {"start_s": 0.6})
        assert "cut off" in warned["warning"]
        with pytest.raises(SettingsError, match="cut off"):
            await page.run(token)

    asyncio.run(visit())


def test_settings_are_refused_in_the_pages_words_and_not_kept(page: PageHandlers, service: AppService, uploads: Path) -> None:
    async def visit() -> None:
        token = await opened(page, uploads)
        for fields, name, words in (
            ({"person_height_m": 0.0183}, "person_height_m", "between 41 and 259 cm"),
            ({"age_years": 300}, "age_years", "Age cannot be 300"),
            ({"start_s": 3, "end_s": 2}, "", "must be before"),
        ):
            with pytest.raises(SettingsError) as caught:
                await page.set_options(token, fields)
            problem = page.problem(caught.value)
            assert problem["field"] == name
            assert words in problem["message"]
        assert service.session(token).info.options == RunOptions()

    asyncio.run(visit())


def test_a_picture_that_is_turned_keeps_its_clicks_and_has_its_own_pictures(
    page: PageHandlers, service: AppService, worker: StubWorker, uploads: Path
) -> None:
    async def visit() -> None:
        token = await opened(page, uploads)
        await page.click(token, 0, ON_ANNA, "choose")
        await service.film_strip(service.session(token))
        before = await page.choice(token)
        await page.set_options(token, {"rotate_deg": 90})
        after = await page.choice(token)
        # Clockwise: what was on the left, half way down, is at the top in the middle.
        info = service.session(token).info
        assert (info.width_px, info.height_px) == (HEIGHT, WIDTH)
        assert info.prompts[0].point_px == pytest.approx((HEIGHT * (1 - ON_ANNA[1]), WIDTH * ON_ANNA[0]))
        assert after["picture"] != before["picture"]
        assert after["options"]["rotate_deg"] == 90
        await service.film_strip(service.session(token))
        await page.run(token)
        queued = service.runs.find(service.session(token).key)
        assert queued is not None
        assert isinstance(queued.task, RunTask)
        assert queued.task.settings.video.rotate_deg == 90
        assert [task.rotate_deg for task in worker.tasks if isinstance(task, PreviewTask | FilmStripTask)] == [0, 0, 90, 90]

    asyncio.run(visit())


def test_a_long_clip_starts_cut_and_is_not_run_whole(service: AppService, uploads: Path) -> None:
    session = service.sessions.create(upload(uploads), "a.mp4")
    session = service.sessions.set_preview(session, Preview(0, 9000, 30.0, 300.0, WIDTH, HEIGHT, FramePeople(PEOPLE)), "lite")
    assert session.info.options == RunOptions(end_s=60.0)
    assert asyncio.run(service.start_run(session, session.info.options))[1].frames == 1800
    service.runs.cancel(session.key)
    with pytest.raises(SettingsError, match="5 minutes of video"):
        asyncio.run(service.start_run(session, RunOptions()))
    assert service.estimate(session, RunOptions(end_s=30)).duration_s < service.estimate(session, RunOptions(end_s=60)).duration_s


def test_the_film_strip_is_made_once(page: PageHandlers, service: AppService, worker: StubWorker, uploads: Path) -> None:
    async def visit() -> None:
        session = service.session(await opened(page, uploads))
        strips = await asyncio.gather(service.film_strip(session), service.film_strip(session))
        assert strips == [session.strip, session.strip]
        assert sum(isinstance(task, FilmStripTask) for task in worker.tasks) == 1

    asyncio.run(visit())


def test_errors_are_one_sentence_with_the_visitors_name_for_the_clip(
    page: PageHandlers, service: AppService, worker: StubWorker, uploads: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def visit() -> None:
        token = await opened(page, uploads)
        video = service.session(token).video
        worker.error = InputError(f"{video} is not a video.", code="not_a_video", hint="Use --other.")
        with pytest.raises(InputError) as caught:
            await page.click(token, 3, ON_ANNA, "choose")
        assert page.problem(caught.value)["message"] == "swing.mp4 is not a video. Choose an MP4 or MOV file."
        assert service.session(token).info.prompts == ()
        worker.error = RuntimeError("Traceback /secret")
        with pytest.raises(Body4DError) as fault:
            await page.choice(token, 4)
        assert "Something went wrong on our side" in page.problem(fault.value)["message"]
        assert "secret" not in page.problem(fault.value)["message"]

    asyncio.run(visit())
    assert "Traceback /secret" in caplog.text


def test_an_upload_that_is_refused_leaves_nothing(page: PageHandlers, service: AppService, worker: StubWorker, uploads: Path) -> None:
    async def visit() -> None:
        worker.error = InputError("Not a video.", code="not_a_video")
        token = (await page.open_upload(str(upload(uploads)), "a.mp4"))["token"]
        with pytest.raises(InputError):
            await page.choice(token)
        with pytest.raises(InputError) as caught:
            await service.open_upload(upload(uploads))
        assert caught.value.code == "not_a_video"
        assert not list(service.sessions.root.glob("runs/*"))

    asyncio.run(visit())


def test_a_page_that_asks_late_learns_how_a_run_ended(page: PageHandlers, service: AppService, worker: StubWorker, uploads: Path) -> None:
    async def visit() -> None:
        token = await opened(page, uploads)
        worker.seconds = 0.3
        assert (await page.run(token))["token"] == token
        assert (await page.run(token))["token"] == token  # pressed twice: one run
        states = set()
        while (now := await page.progress(token))["state"] in ("waiting", "working"):
            states.add(now["state"])
            await asyncio.sleep(0.02)
        assert states <= {"waiting", "working"}
        assert now["state"] == "choosing"  # the stub writes no result
        worker.seconds, worker.error = 0.0, InputError("No.", code="out_of_memory")
        await page.run(token)
        while (now := await page.progress(token))["state"] in ("waiting", "working"):
            await asyncio.sleep(0.02)
        assert (now["state"], now["message"]) == ("refused", "No. Try a shorter or smaller clip.")
        worker.seconds, worker.error = 0.5, None
        await page.run(token)
        await page.cancel(token)
        assert (await page.progress(token))["message"] == "Cancelled. What was finished is kept."

    asyncio.run(visit())


def test_requests_of_the_page_are_checked(page: PageHandlers, uploads: Path) -> None:
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from body4d.app.routes import add_page_routes

    app = FastAPI()
    add_page_routes(app, page)
    token = asyncio.run(opened(page, uploads))
    with TestClient(app) as client:
        good = client.post("/page/click", json={"token": token, "frame": 0, "at": ON_BEN, "mode": "choose"})
        assert (good.status_code, good.json()["chosen"][0]["id"]) == (200, 1)
        for body in (
            {"frame": 0, "at": [2, 0], "mode": "choose"},
            {"frame": 0, "at": [0.1], "mode": "choose"},
            {"frame": -1, "at": ON_BEN, "mode": "choose"},
            {"frame": 0, "at": ON_BEN, "mode": "x"},
        ):
            assert client.post("/page/click", json={"token": token, **body}).json()["code"] == "request_invalid"
        assert client.post("/page/choice", json={"token": "x"}).json()["code"] == "session_gone"
        assert client.post("/page/choice", content=b"{}", headers={"content-type": "text/plain"}).status_code == 422
        assert client.post("/page/choice", json={"token": "x" * 30_000}).json()["message"] == "This request is too large."
        assert client.post("/page/unknown", json={}).status_code == 404
        assert client.get(f"/runs/{token}/strip").content == b"strip"
        assert "BlazePose" in client.get("/").text
        assert "{{" not in client.get("/").text


def test_waiting_is_bounded(service: AppService, worker: StubWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("body4d.app.service.MAX_PREVIEW_S", 0.1)
    worker.seconds = 1.0
    with pytest.raises(InputError) as caught:
        asyncio.run(service.open_upload(upload(tmp_path)))
    assert caught.value.code == "preview_too_slow"


def test_a_program_gets_code_message_and_hint(service: AppService, worker: StubWorker, tmp_path: Path) -> None:
    import gradio as gr

    from body4d.app.api import add_api

    uploads = tmp_path / "uploads"
    folder = uploads / ("0" * 64)
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

    video = SimpleNamespace(path=str(upload(uploads)))
    worker.error = InputError(f"{folder}/clip.mp4 is no video.", code="not_a_video", hint="Convert it.", path=f"{folder}/clip.mp4")
    expected = {"code": "not_a_video", "message": "swing.mp4 is no video.", "hint": "Convert it.", "facts": {"path": "swing.mp4"}}
    assert refusal(video) == expected
    assert refusal("nothing")["code"] == "not_an_upload"
    assert refusal(video, prompts=[{"frame": 0}])["code"] == "prompt_invalid"
