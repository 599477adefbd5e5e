"""What the page and the API ask for: check a clip, find people, run, follow, cancel. Knows nothing of Gradio."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from body4d.app.forms import RunOptions, range_refusal, settings_for
from body4d.app.names import PublicProblem, public_problem
from body4d.app.preview import Preview
from body4d.app.prompts import ClickPrompt
from body4d.app.queue import SECONDS_PER_FRAME, QueuedTask, QueuePosition, TaskQueue, fault
from body4d.app.sessions import SessionStore, UserSession
from body4d.app.tasks import ExampleTask, FilmStripTask, PreviewTask, RunTask, WarmUpTask, example_clip
from body4d.app.worker import Worker
from body4d.config import Settings
from body4d.core.errors import Body4DError, Cancelled, InputError, RunWarning

log = logging.getLogger(__name__)

MAX_PREVIEW_S = 180.0
"""Finding people on one frame is given up after this: the file is to blame. A first one may have to load a model."""

REFRESH_S = 0.3
"""A page that waits learns of progress this often."""

SWEEP_EVERY_S = 600.0
"""How often old work is looked for; short beside the hours that it is kept."""

PREVIEWS_PER_RUN = 4
"""More previews than runs may wait: each takes seconds."""


@dataclass(frozen=True)
class AppService:
    """The app's parts. ``previews`` finds people on single frames, ``runs`` runs whole clips: two processes, so that choosing people does
    not wait for somebody else's run."""

    settings: Settings
    preset: str
    preset_reason: str
    sessions: SessionStore
    previews: TaskQueue
    runs: TaskQueue

    @staticmethod
    def open(settings: Settings, preset: str, preset_reason: str) -> "AppService":
        """Start the queues, and have the first visitor's models loaded. Raises OutputError."""
        settings = settings.model_copy(update={"preset": preset})
        max_waiting, seconds_per_frame = settings.app.max_waiting, SECONDS_PER_FRAME[preset]
        sessions = SessionStore(settings.app)
        previews = TaskQueue(Worker(settings, "body4d-previews"), max_waiting * PREVIEWS_PER_RUN, seconds_per_frame)
        runs = TaskQueue(Worker(settings, "body4d-runs"), max_waiting, seconds_per_frame)
        service = AppService(settings, preset, preset_reason, sessions, previews, runs)
        previews.submit("warm-up", WarmUpTask())
        previews.submit("example", ExampleTask(service.example_folder))
        return service

    @property
    def example_folder(self) -> Path:
        return self.sessions.root / "example"

    def close(self) -> None:
        """End both processes; runs that were at work resume when they are asked for again."""
        self.previews.close()
        self.runs.close()

    def session(self, token: str) -> UserSession:
        """The session of a token as it is now. Raises InputError where there is none."""
        session = self.sessions.find(token)
        if session is None:
            message = "This work is no longer here: it was deleted because it is old, or the link is incomplete."
            raise InputError(message, code="session_gone", hint="Upload the clip again.")
        return session

    async def example(self) -> Path:
        """The example's video, filmed now if it must be."""
        clip = example_clip(self.example_folder)
        if clip is None:
            await self._wait(self.previews.find("example") or self.previews.submit("example", ExampleTask(self.example_folder)))
            clip = example_clip(self.example_folder)
        if clip is None:
            raise fault()
        return clip

    async def open_upload(self, upload: Path) -> tuple[UserSession, Preview]:
        """A new session for an uploaded clip or the example, and the people on its first frame. Raises what
        ``preview`` raises; nothing is kept then."""
        session = self.sessions.create(upload, upload.name)
        try:
            return await self.preview(session)
        except Body4DError:
            self.sessions.delete(session)
            raise

    async def preview(self, session: UserSession, frame: int = 0, text: str = "") -> tuple[UserSession, Preview]:
        """The people on a frame, painted into the session's picture, and the session without the prompts that mean nobody there.

        Raises Cancelled where a newer preview of this session came before it, else the error of the task in
        which the clip has its visitor's name.
        """
        task = PreviewTask(session.video, session.picture, frame, session.info.prompts, text)
        queued = self.previews.submit(session.key, task, end_older=False)
        await self._wait(queued)
        if queued.state == "cancelled":
            raise Cancelled("A newer request came before this one.", code="preview_replaced")
        preview = queued.preview
        if preview is None:
            error = queued.error or fault()
            problem = self.public(error, session)  # The page does not know which clip an error is about.
            raise type(error)(problem.message, code=problem.code, hint=problem.hint, **problem.facts) from error
        if not session.info.frames:
            session = self.sessions.set_preview(session, preview, self.preset)
        return self.remove_prompts(session, preview.on_frame.rejected), preview

    def remove_prompts(self, session: UserSession, prompts: Iterable[ClickPrompt]) -> UserSession:
        """The session as it is now, without these prompts."""
        removed = set(prompts)
        return self.sessions.change(session, lambda info: {"prompts": tuple(prompt for prompt in info.prompts if prompt not in removed)})

    async def film_strip(self, session: UserSession) -> Path:
        """A JPEG with pictures of the clip side by side, made now if it must be. Raises what made it fail."""
        if not session.strip.is_file():
            key = f"{session.key}-strip"
            queued = self.previews.find(key) or self.previews.submit(key, FilmStripTask(session.video, session.strip))
            await self._wait(queued)
            if queued.state != "done":
                raise queued.error or fault()
        return session.strip

    async def _wait(self, queued: QueuedTask) -> None:
        waited_s = 0.0
        while not queued.ended.is_set():
            await asyncio.sleep(0.05)
            waited_s = waited_s + 0.05 if queued.state == "working" else 0.0
            if waited_s > MAX_PREVIEW_S:
                await asyncio.to_thread(self.previews.cancel, queued.key)
                hint = "Save it as an ordinary MP4 and try again."
                raise InputError("Reading this clip took too long.", code="preview_too_slow", hint=hint, limit_s=MAX_PREVIEW_S)

    def start_run(self, session: UserSession, options: RunOptions, text: str = "") -> QueuedTask:
        """Put the run of a session in the queue, unless it is there. Raises SettingsError."""
        running = self.runs.find(session.key)
        if running is not None:
            return running
        settings = settings_for(self.settings, options, session.info.prompts)
        start_s, end_s = options.range_s(session.info.seconds)
        if refusal := range_refusal(end_s - start_s, frames_to_run(session, options), self.settings.app):
            raise refusal
        task = RunTask(session.video, session.run, settings, session.info.prompts, text)
        return self.runs.submit(session.key, task, frames_to_run(session, options))

    def estimate(self, session: UserSession, options: RunOptions) -> QueuePosition:
        """How long a run with these options would wait and take, if it were asked for now."""
        return self.runs.estimate(frames_to_run(session, options))

    async def follow(self, queued: QueuedTask) -> AsyncIterator[QueuedTask]:
        """The task, again and again until it has ended."""
        while not queued.ended.is_set():
            yield queued
            await asyncio.sleep(REFRESH_S)
        yield queued

    async def cancel(self, session: UserSession) -> bool:
        """Stop the run of a session; its process, and what that held on the GPU, is gone when this returns."""
        return await asyncio.to_thread(self.runs.cancel, session.key)

    def public(self, problem: Exception | RunWarning, session: UserSession | None = None) -> PublicProblem:
        """A problem for the page or a program. What is not ours goes to the log and is called a fault."""
        if not isinstance(problem, Body4DError | RunWarning):
            log.error("a fault in the app", exc_info=problem)
            problem = fault()
        return public_problem(problem, session.video, session.info.name) if session else public_problem(problem)

    def sweep(self) -> list[str]:
        """Delete old work."""
        return self.sessions.sweep(self.runs.live() | self.previews.live())


def frames_to_run(session: UserSession, options: RunOptions) -> int:
    """How many frames of a clip a run with these options looks at. Pure."""
    info = session.info
    if not info.frames or info.seconds <= 0:
        return info.frames
    start_s, end_s = options.range_s(info.seconds)
    share = min(max(end_s - start_s, 0.0) / info.seconds, 1.0)
    thinned = min((options.fps or info.fps) / info.fps, 1.0) if info.fps else 1.0
    return max(round(info.frames * share * thinned), 1)


def start_sweeper(service: AppService, stop: threading.Event) -> threading.Thread:
    """A thread that deletes old work at once and then every ``SWEEP_EVERY_S``, until ``stop`` is set."""

    def loop() -> None:
        while True:
            started = time.monotonic()
            try:
                service.sweep()
            except OSError as error:
                log.error("old work could not be deleted: %s", error)
            if stop.wait(max(SWEEP_EVERY_S - (time.monotonic() - started), 1.0)):
                return

    thread = threading.Thread(target=loop, name="sweep", daemon=True)
    thread.start()
    return thread
