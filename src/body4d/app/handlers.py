"""What the page's buttons do: thin, one each. The work is the desk's."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from body4d.app import html as words
from body4d.app.forms import Choices, Session
from body4d.app.page import ANYBODY, MODES, Page
from body4d.app.prompts import Mark, meant, people_of
from body4d.app.queue import Job
from body4d.app.routes import player_folder
from body4d.app.service import Desk, sentence_of
from body4d.app.sessions import Visit
from body4d.app.tasks import Sight
from body4d.core.errors import InputError
from body4d.core.types import MaskTrack
from body4d.run.record import distinct_warnings, read_run, summary

CANCELLED = "Cancelled. What was finished is kept."

Updates = dict[Any, Any]
Step = AsyncIterator[Updates]


class Handlers:
    """Handlers of one page; they hold the app's parts and nothing of a visitor."""

    def __init__(self, desk: Desk, page: Page) -> None:
        self._desk, self._page = desk, page
        self._player = player_folder() is not None

    def connect(self, blocks: gr.Blocks) -> None:
        """Wire the page's events. None of them is part of the API."""
        p = self._page
        s, everything = p.session, self._outputs()

        def on(event: Callable[..., Any], handler: Callable[..., Step], inputs: list[Any]) -> None:
            event(
                self._guarded(handler), inputs, everything, api_visibility="private", show_progress="hidden", concurrency_limit=None
            )  # fmt: skip

        on(p.video.upload, self.uploaded, [p.video])
        on(p.video.stop_recording, self.uploaded, [p.video])
        on(p.example.click, self.example, [])
        on(p.picker.select, self.pointed, [s, p.mode, p.who, p.frame, p.text])
        on(p.frame.release, self.looked, [s, p.frame, p.text])
        on(p.text.submit, self.looked, [s, p.frame, p.text])
        on(p.undo.click, self.undone, [s, p.frame, p.text])
        on(p.clear.click, self.cleared, [s, p.frame])
        on(p.run.click, self.started, [s, p.text, *p.choices])
        on(p.cancel.click, self.cancelled, [s])
        on(p.again.click, self.chosen_again, [s])
        on(blocks.load, self.opened, [])
        for button in (p.other, p.fresh):
            on(button.click, self.started_over, [])

    def _outputs(self) -> list[Any]:
        p = self._page
        return [
            p.session, p.message, p.upload_box, p.video, p.choose_box, p.clip, p.picker, p.who, p.frame, p.text,
            p.work_box, p.progress, p.done_box, p.result, p.run, p.mode,
        ]  # fmt: skip

    def _guarded(self, handler: Callable[..., Step]) -> Callable[..., Step]:
        """Errors as one sentence on the page, whatever they are."""

        @wraps(handler)
        async def call(*args: Any) -> Step:
            try:
                async for updates in handler(*args):
                    yield updates
            except Exception as error:
                yield {self._page.message: words.message(sentence_of(error)), self._page.video: None}

        return call

    def _show(self, step: str) -> Updates:
        p = self._page
        boxes = {"upload": p.upload_box, "choose": p.choose_box, "work": p.work_box, "done": p.done_box}
        return {box: gr.update(visible=name == step) for name, box in boxes.items()}

    # Step 1

    async def uploaded(self, video: str | None) -> Step:
        if not video:
            yield {self._page.message: ""}
            return
        yield {self._page.message: words.busy("Looking at your video and finding people…")}
        async for updates in self._taken(self._desk.take(Path(video))):
            yield updates

    async def example(self) -> Step:
        yield {self._page.message: words.busy("Getting the example and finding people…")}
        clip = await self._desk.example()
        async for updates in self._taken(self._desk.take(clip)):
            yield updates

    async def _taken(self, visit: Visit) -> Step:
        try:
            sight = await self._desk.look(visit)
        except InputError:
            self._desk.visits.drop(visit)
            raise
        visit = self._desk.visit(visit.token)
        yield {**self._show("choose"), **self._seen(Session(visit.token), visit, sight), self._page.video: None, self._page.text: ""}

    # Step 2

    def _seen(self, session: Session, visit: Visit, sight: Sight) -> Updates:
        p = self._page
        session = replace(session, sight=sight)
        people = people_of(session.marks)
        note = sight.note
        if not note and not people and sight.people:
            count = len(sight.people)
            note = "One person was found." if count == 1 else f"{count} people were found."
        kind = "problem" if sight.note else "good"
        changed = visit.picture.stat().st_mtime_ns
        return {
            p.session: session,
            p.message: words.message(note, kind),
            p.clip: words.clip_line(visit.about),
            p.picker: f"runs/{visit.token}/{visit.picture.name}?{changed}",
            p.frame: gr.update(maximum=max(sight.frames - 1, 1), value=sight.frame),
            p.who: gr.update(choices=[ANYBODY, *(f"Person {number}" for number in people)], visible=bool(people)),
            p.run: gr.update(value=_run_label(len(people))),
        }

    async def pointed(self, session: Session, mode: str, who: str, frame: float, text: str, event: gr.EventData) -> Step:
        visit, sight = self._desk.visit(session.token), session.sight
        if sight is None:
            raise InputError("The people of this frame are not known yet; move the slider once.")
        size = (sight.width_px, sight.height_px)
        place = [min(max(float(value), 0.0), 1.0) * size[i % 2] for i, value in enumerate(event.place)]
        if len(place) == 4:
            place = [min(place[0], place[2]), min(place[1], place[3]), max(place[0], place[2]), max(place[1], place[3])]
        kind = "box" if len(place) == 4 else "out" if mode == MODES[1] else "in"
        wanted = int(who.removeprefix("Person ")) if who and who != ANYBODY else None
        chosen = [(person.number, _mask(person.code, size)) for person in sight.people if person.chosen]
        number = meant(kind, tuple(place), chosen, session.marks, wanted)
        mark = Mark(sight.frame, number, kind, tuple(place))
        yield {self._page.message: words.busy("Looking…")}
        marks = (*session.marks, mark)
        new = await self._desk.look(visit, sight.frame, marks, text)
        if new.note and not any(person.chosen and person.number == number for person in new.people):
            # A click that meets nobody is taken back at once: it would fail the run.
            marks, note = session.marks, new.note
            new = replace(await self._desk.look(visit, sight.frame, marks, text), note=note)
        yield self._seen(replace(session, marks=marks), visit, new)

    async def looked(self, session: Session, frame: float, text: str) -> Step:
        visit = self._desk.visit(session.token)
        yield {self._page.message: words.busy("Looking…")}
        yield self._seen(session, visit, await self._desk.look(visit, int(frame or 0), session.marks, text))

    async def undone(self, session: Session, frame: float, text: str) -> Step:
        async for updates in self.looked(replace(session, marks=session.marks[:-1]), frame, text):
            yield updates

    async def cleared(self, session: Session, frame: float) -> Step:
        async for updates in self.looked(replace(session, marks=()), frame, ""):
            yield {**updates, self._page.text: "", self._page.who: gr.update(choices=[ANYBODY], value=ANYBODY)}

    # Step 3

    async def started(self, session: Session, text: str, *choices: Any) -> Step:
        visit = self._desk.visit(session.token)
        job = self._desk.begin(visit, Choices(*choices), session.marks, text or "")
        async for updates in self._followed(visit, job, session):
            yield updates

    async def _followed(self, visit: Visit, job: Job, session: Session) -> Step:
        p = self._page
        first = {**self._show("work"), p.message: ""}
        shown = ""
        async for now in self._desk.follow(job):
            page = f'<span data-run="{visit.token}"></span>{self.progress(now)}'
            if page != shown and not now.ended.is_set():
                yield {**first, p.progress: page}
                first, shown = {}, page
        if job.state == "done":
            yield {**self._show("done"), p.message: "", p.result: self._result(visit)}
        elif job.state == "cancelled":
            yield {**await self._choosing(visit, session), p.message: words.message(CANCELLED, "good")}
        else:
            yield {**await self._choosing(visit, session), p.message: words.message(self._desk.told(job, visit))}

    def progress(self, job: Job) -> str:
        """A job as it stands, for the page."""
        place = self._desk.runs.place(job) if job.state == "waiting" else None
        return words.progress(job.stages, place, max(time.monotonic() - job.started_s, 0.0) if job.started_s else 0.0)

    async def cancelled(self, session: Session) -> Step:
        """The page that follows the run shows what is next."""
        yield {self._page.message: words.busy("Stopping…")}
        await self._desk.cancel(self._desk.visit(session.token))

    # Step 4

    def _result(self, visit: Visit) -> str:
        record = read_run(visit.run)
        warnings = [warning for stage in record.stages.values() for warning in stage.warnings]
        told = [self._desk.plain(warning.message, visit) for warning in distinct_warnings([*record.warnings, *warnings])]
        return words.result(visit, summary(record)["people"], told, player=self._player)

    async def _choosing(self, visit: Visit, session: Session) -> Updates:
        """Step 2 as the visitor left it; on a page opened by its link, as it begins."""
        frame = session.sight.frame if session.sight else 0
        sight = session.sight or await self._desk.look(visit, frame, session.marks)
        return {**self._show("choose"), **self._seen(session, visit, sight)}

    async def chosen_again(self, session: Session) -> Step:
        yield {self._page.message: words.busy("Looking…")}
        yield await self._choosing(self._desk.visit(session.token), session)

    async def started_over(self) -> Step:
        p = self._page
        yield {**self._show("upload"), p.session: Session(), p.message: '<i data-run=""></i>', p.video: None, p.result: "", p.progress: ""}

    async def opened(self, request: gr.Request) -> Step:
        """The page was opened: by a link to a run, what it is by now; else the beginning."""
        token = request.query_params.get("run", "")
        if not token:
            yield {self._page.message: ""}  # A handler that says nothing would empty every component.
            return
        visit = self._desk.visit(token)
        session, job = Session(token), self._desk.runs.find(visit.key)
        yield {self._page.session: session}
        if job is not None:
            async for updates in self._followed(visit, job, session):
                yield updates
        elif visit.finished:
            yield {**self._show("done"), self._page.result: self._result(visit)}
        else:
            async for updates in self.chosen_again(session):
                yield updates


def _run_label(people: int) -> str:
    return "Make it 3D" if not people else f"Make {'this person' if people == 1 else f'these {people} people'} 3D"


def _mask(code: bytes, size: tuple[int, int]) -> Any:
    return MaskTrack(0, np.zeros(1, np.int64), (code,), size[1], size[0]).mask(0)
