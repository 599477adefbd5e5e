"""What the page's buttons do: one short handler each. The work is the service's."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from body4d.app import html
from body4d.app.forms import RunOptions
from body4d.app.page import ANYBODY, EXCLUDE, AppPage, PageState
from body4d.app.preview import Preview
from body4d.app.prompts import INSIDE, OUTSIDE, ClickPrompt, person_of_click, prompted_people
from body4d.app.queue import QueuedTask
from body4d.app.service import AppService
from body4d.app.sessions import UserSession
from body4d.core.errors import Body4DError, Cancelled, InputError

CANCELLED_SENTENCE = "Cancelled. What was finished is kept."
FINDING = "Finding people…"

Updates = dict[Any, Any]
UpdateStream = AsyncIterator[Updates]


class Handlers:
    """Handlers of one page; they hold the app's parts and nothing of a visitor."""

    def __init__(self, service: AppService, page: AppPage) -> None:
        self._service, self._page = service, page

    def connect(self, blocks: gr.Blocks) -> None:
        """Connect the page's events. None of them is part of the API."""
        p = self._page
        s, outputs = p.state, self._outputs()

        def on(event: Callable[..., Any], handler: Callable[..., UpdateStream], inputs: list[Any], **options: Any) -> None:
            event(
                self._guarded(handler),
                inputs,
                outputs,
                api_visibility="private",
                show_progress="hidden",
                concurrency_limit=None,
                **options,
            )

        on(p.video.upload, self.on_upload, [p.video])
        on(p.video.stop_recording, self.on_upload, [p.video])
        on(p.example.click, self.on_example, [])
        # Quick clicks all count: Gradio would drop those that come before the first is answered.
        on(p.picture.select, self.on_click, [s, p.mode, p.person, p.text], trigger_mode="multiple")
        on(p.frame.release, self.on_frame, [s, p.frame, p.text])
        on(p.text.submit, self.on_frame, [s, p.frame, p.text])
        on(p.undo.click, self.on_undo, [s, p.frame, p.text])
        on(p.clear.click, self.on_clear, [s, p.frame])
        on(p.run.click, self.on_run, [s, p.text, *p.options])
        on(p.cancel.click, self.on_cancel, [s])
        on(p.again.click, self.on_choose_again, [s])
        on(blocks.load, self.on_load, [])
        for button in (p.other, p.fresh):
            on(button.click, self.on_start_over, [])

    def _outputs(self) -> list[Any]:
        p = self._page
        return [
            p.state, p.message, p.upload_box, p.video, p.choose_box, p.clip, p.picture, p.person, p.frame, p.text,
            p.work_box, p.progress, p.done_box, p.result, p.run, p.mode,
        ]  # fmt: skip

    def _guarded(self, handler: Callable[..., UpdateStream]) -> Callable[..., UpdateStream]:
        """Errors as one sentence on the page, whatever they are."""

        @wraps(handler)
        async def call(*args: Any) -> UpdateStream:
            try:
                async for updates in handler(*args):
                    yield updates
            except Cancelled:
                return  # The newer request that took its place answers.
            except Exception as error:
                sentence = html.problem_text(self._service.public(error))
                yield {self._page.message: html.message(sentence), self._page.video: None}

        return call

    def _show(self, step: str) -> Updates:
        p = self._page
        boxes = {"upload": p.upload_box, "choose": p.choose_box, "work": p.work_box, "done": p.done_box}
        return {box: gr.update(visible=name == step) for name, box in boxes.items()}

    # Step 1

    async def on_upload(self, video: str | None) -> UpdateStream:
        if not video:
            yield {self._page.message: ""}
            return
        yield {self._page.message: html.busy("Reading your video and finding people…")}
        yield await self._opened(Path(video))

    async def on_example(self) -> UpdateStream:
        yield {self._page.message: html.busy("Getting the example and finding people…")}
        yield await self._opened(await self._service.example())

    async def _opened(self, upload: Path) -> Updates:
        session, preview = await self._service.open_upload(upload)
        return {**self._show("choose"), **self._preview_updates(session, preview), self._page.video: None, self._page.text: ""}

    # Step 2

    def _preview_updates(self, session: UserSession, preview: Preview) -> Updates:
        p = self._page
        chosen = prompted_people(session.info.prompts)
        warnings = preview.on_frame.warnings
        sentence = " ".join(html.problem_text(self._service.public(warning, session)) for warning in warnings)
        if not warnings and not chosen and (count := len(preview.on_frame.people)):
            sentence = "One person was found." if count == 1 else f"{count} people were found."
        painted_ns = session.picture.stat().st_mtime_ns
        return {
            p.state: PageState(session.token, preview),
            p.message: html.message(sentence, "problem" if warnings else "good"),
            p.clip: html.clip_line(session.info),
            p.picture: f"runs/{session.token}/{session.picture.name}?{painted_ns}",
            p.frame: gr.update(maximum=max(preview.frames - 1, 1), value=preview.frame),
            p.person: gr.update(choices=[ANYBODY, *(f"Person {number}" for number in chosen)], visible=bool(chosen)),
            p.run: gr.update(value=_run_label(len(chosen))),
        }

    async def on_click(self, state: PageState, mode: str, person: str, text: str, event: gr.EventData) -> UpdateStream:
        """A click or a box on the picture, whose sides count as 1 in the event."""
        session, preview = self._service.session(state.token), state.preview
        if preview is None:
            raise InputError("The people of this frame are not known yet; move the slider once.", code="no_preview")
        prompt = click_prompt(event.position, mode, preview, session.info.prompts)
        if person and person != ANYBODY:
            prompt = replace(prompt, person_id=int(person.removeprefix("Person ")))
        session = self._service.sessions.set_prompts(session, (*session.info.prompts, prompt))
        yield {self._page.message: html.busy(FINDING)}
        try:
            session, new_preview = await self._service.preview(session, preview.frame, text)
        except Cancelled:
            raise
        except Body4DError:
            self._service.remove_prompts(session, [prompt])
            raise
        yield self._preview_updates(session, new_preview)

    async def on_frame(self, state: PageState, frame: float, text: str) -> UpdateStream:
        session = self._service.session(state.token)
        yield {self._page.message: html.busy(FINDING)}
        yield self._preview_updates(*await self._service.preview(session, int(frame or 0), text))

    async def on_undo(self, state: PageState, frame: float, text: str) -> UpdateStream:
        session = self._service.session(state.token)
        self._service.sessions.set_prompts(session, session.info.prompts[:-1])
        async for updates in self.on_frame(state, frame, text):
            yield updates

    async def on_clear(self, state: PageState, frame: float) -> UpdateStream:
        self._service.sessions.set_prompts(self._service.session(state.token), ())
        async for updates in self.on_frame(state, frame, ""):
            yield {**updates, self._page.text: "", self._page.person: gr.update(choices=[ANYBODY], value=ANYBODY)}

    # Step 3

    async def on_run(self, state: PageState, text: str, *options: Any) -> UpdateStream:
        session = self._service.session(state.token)
        queued = self._service.start_run(session, RunOptions(*options), text or "")
        async for updates in self._followed(session, queued, state):
            yield updates

    async def _followed(self, session: UserSession, queued: QueuedTask, state: PageState) -> UpdateStream:
        p = self._page
        first = {**self._show("work"), p.message: ""}
        shown = ""
        async for now in self._service.follow(queued):
            progress = f'<span data-run="{session.token}"></span>{self._progress(now)}'
            if progress != shown and not now.ended.is_set():
                yield {**first, p.progress: progress}
                first, shown = {}, progress
        if queued.state == "done":
            yield {**self._show("done"), p.message: "", p.result: html.result(session)}
            return
        updates = await self._choose_updates(session, state)
        if queued.state == "cancelled" or queued.error is None:
            yield {**updates, p.message: html.message(CANCELLED_SENTENCE, "good")}
        else:
            yield {**updates, p.message: html.message(html.problem_text(self._service.public(queued.error, session)))}

    def _progress(self, queued: QueuedTask) -> str:
        position = self._service.runs.position(queued) if queued.state == "waiting" else None
        elapsed_s = max(time.monotonic() - queued.started_s, 0.0) if queued.started_s else 0.0
        return html.progress(queued.stages, position, elapsed_s)

    async def on_cancel(self, state: PageState) -> UpdateStream:
        """The page that follows the run shows what is next."""
        yield {self._page.message: html.busy("Stopping…")}
        await self._service.cancel(self._service.session(state.token))

    # Step 4

    async def _choose_updates(self, session: UserSession, state: PageState) -> Updates:
        """Step 2 as the visitor left it; on a page opened by its link, the frame on which somebody was chosen last."""
        if state.preview is not None:
            return {**self._show("choose"), **self._preview_updates(self._service.session(session.token), state.preview)}
        frame = session.info.prompts[-1].frame if session.info.prompts else 0
        return {**self._show("choose"), **self._preview_updates(*await self._service.preview(session, frame))}

    async def on_choose_again(self, state: PageState) -> UpdateStream:
        yield {self._page.message: html.busy(FINDING)}
        yield await self._choose_updates(self._service.session(state.token), state)

    async def on_start_over(self) -> UpdateStream:
        p = self._page
        yield {**self._show("upload"), p.state: PageState(), p.message: '<i data-run=""></i>', p.video: None, p.result: "", p.progress: ""}

    async def on_load(self, request: gr.Request) -> UpdateStream:
        """The page was opened: by a link to a run, in the state that this has by now; else at the beginning."""
        token = request.query_params.get("run", "")
        if not token:
            yield {self._page.message: ""}  # A handler that yields nothing would empty every component.
            return
        session = self._service.session(token)
        state, queued = PageState(token), self._service.runs.find(session.key)
        yield {self._page.state: state}
        if queued is not None:
            async for updates in self._followed(session, queued, state):
                yield updates
        elif session.finished:
            yield {**self._show("done"), self._page.result: html.result(session)}
        else:
            async for updates in self.on_choose_again(state):
                yield updates


def click_prompt(shares: list[float], mode: str, preview: Preview, prompts: tuple[ClickPrompt, ...]) -> ClickPrompt:
    """The prompt of a click (x, y) or box (x0, y0, x1, y1) in shares of the picture, for the person whom it hits. Pure.

    Raises SettingsError where something is to be taken away from nobody.
    """
    size_px = (preview.width_px, preview.height_px)
    at_px = [min(max(float(value), 0.0), 1.0) * size_px[i % 2] for i, value in enumerate(shares)]
    if len(at_px) == 4:
        x0, y0, x1, y1 = at_px
        prompt = ClickPrompt(preview.frame, box_px=(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    else:
        x, y = at_px
        prompt = ClickPrompt(preview.frame, point_px=(x, y), label=OUTSIDE if mode == EXCLUDE else INSIDE)
    return replace(prompt, person_id=person_of_click(prompt, preview.masks(), prompts))


def _run_label(people: int) -> str:
    return "Make it 3D" if not people else f"Make {'this person' if people == 1 else f'these {people} people'} 3D"
