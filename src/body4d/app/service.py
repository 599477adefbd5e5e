"""What the page and the API ask for: check a clip, find people, run, follow, cancel. Knows nothing of Gradio.

What waits for the disk or a process runs in threads: methods that are not ``async`` and say so are for threads alone.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from body4d.app.forms import RunOptions, range_refusal, settings_for
from body4d.app.names import PublicProblem, public_problem
from body4d.app.preview import Preview
from body4d.app.prompts import ClickPrompt
from body4d.app.queue import QueuedTask, QueuePosition, TaskQueue, fault, server_stops
from body4d.app.run_journal import RunEntry, after_change, given_up, left_over, new_entry, read_entry, write_entry
from body4d.app.run_time import MEASURED_RUN_TIMES
from body4d.app.sessions import SessionInfo, SessionStore, UserSession, session_gone
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

MIN_SWEEP_S = 1.0
"""Between two sweeps, however often one is asked for."""

TAKE_OVER_EVERY_S = 1.0
"""How often a server looks whether the one before it has ended."""

TURNS_DEG = (0, 90, 180, 270)
"""How far a visitor may have the picture turned, clockwise."""

PREVIEWS_PER_RUN = 4
"""More previews than runs may wait: each takes seconds."""


@dataclass(frozen=True)
class AppService:
    """The app's parts. ``previews`` finds people on single frames, ``runs`` runs whole clips, ``examples`` films the example: processes of
    their own, so that choosing people waits neither for somebody else's run nor, on a server that has just started, for the example."""

    settings: Settings
    preset: str
    preset_reason: str
    sessions: SessionStore
    previews: TaskQueue
    runs: TaskQueue
    examples: TaskQueue
    stopping: threading.Event = field(default_factory=threading.Event)
    sweep_now: threading.Event = field(default_factory=threading.Event)
    _closed: threading.Event = field(default_factory=threading.Event)
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "choices"))
    _starting: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def open(settings: Settings, preset: str, preset_reason: str) -> "AppService":
        """Start the queues, and have the first visitor's models loaded. Raises OutputError."""
        settings = settings.model_copy(update={"preset": preset})
        max_waiting, run_time = settings.app.max_waiting, MEASURED_RUN_TIMES[preset]
        sessions = SessionStore(settings.app)
        previews = TaskQueue(Worker(settings, "body4d-previews"), max_waiting * PREVIEWS_PER_RUN, run_time)
        sweep_now = threading.Event()

        def on_change(queued: QueuedTask) -> None:
            note_run(sessions, queued)
            if queued.state == "done":  # Results take room.
                sweep_now.set()

        runs = TaskQueue(Worker(settings, "body4d-runs"), max_waiting, run_time, on_change=on_change)
        filming = Worker(settings, "body4d-example")
        # It has one task in its life.
        examples = TaskQueue(filming, 1, run_time, on_change=lambda queued: None if queued.state == "working" else filming.end())
        service = AppService(settings, preset, preset_reason, sessions, previews, runs, examples, sweep_now=sweep_now)
        previews.submit("warm-up", WarmUpTask())
        examples.submit("example", ExampleTask(service.example_folder))
        service.take_over()
        return service

    @property
    def example_folder(self) -> Path:
        return self.sessions.root / "example"

    def close(self) -> None:
        """End both processes. Runs that waited or were at work go on with the next server."""
        self.stopping.set()
        self.sweep_now.set()
        ends = [threading.Thread(target=queue.close, name="end") for queue in (self.previews, self.runs, self.examples)]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
        self._closed.set()

    def take_over(self) -> None:
        """Go on with the runs of the server before this one, now or, where that one still works in this folder, once it has ended."""
        lock = FileLock(self.sessions.root / ".server.lock", thread_local=False)

        def try_once() -> bool:
            try:
                lock.acquire(blocking=False)
            except Timeout:
                return False
            self._resume_runs()
            return True

        def hold() -> None:
            while not lock.is_locked and not self.stopping.wait(TAKE_OVER_EVERY_S):
                try_once()
            self._closed.wait()  # Not before: what is at work is written down as interrupted at the end.
            lock.release()

        try_once()
        threading.Thread(target=hold, name="take-over", daemon=True).start()

    def _resume_runs(self) -> None:
        """Put runs in the queue that the server before this one did not finish, but none at which servers die again and again."""
        for folder, entry in left_over(self.sessions.runs):
            session = self.sessions.taken_up(folder)
            if session is None or self.runs.find(session.key):
                continue
            try:
                if problem := given_up(entry):
                    raise problem
                self._submit(session, entry)
            except Body4DError as error:
                log.error("a run of the last server is not taken up: %s", error)
                write_entry(folder, after_change(entry, "failed", error))

    def session(self, token: str) -> UserSession:
        """The session of a token as it is now. Waits for the disk. Raises InputError where there is none."""
        session = self.sessions.find(token)
        if session is None:
            raise session_gone()
        return session

    async def open_session(self, token: str) -> UserSession:
        """``session`` for the event loop."""
        return await asyncio.to_thread(self.session, token)

    async def change(self, token: str, change: Callable[[SessionInfo], Mapping[str, Any]]) -> UserSession:
        """Change what was chosen or entered, in the order in which this is called: one thread writes all. Raises InputError for no
        session, and what ``change`` raises."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, lambda: self.sessions.change(self.session(token), change))

    async def example(self) -> Path:
        """The example's video, filmed now if it must be."""
        clip = await asyncio.to_thread(example_clip, self.example_folder)
        if clip is None:
            queued = self.examples.find("example") or self.examples.submit("example", ExampleTask(self.example_folder))
            await self._wait(self.examples, queued)
            clip = await asyncio.to_thread(example_clip, self.example_folder)
        if clip is None:
            raise fault()
        return clip

    async def open_upload(self, upload: Path, rotate_deg: int = 0) -> tuple[UserSession, Preview]:
        """A new session for an uploaded clip or the example, turned clockwise, and the people on its first frame. Raises what
        ``preview`` raises; nothing is kept then."""
        session = await asyncio.to_thread(self.sessions.create, upload, upload.name)
        try:
            if rotate_deg:
                session = await self.change(session.token, lambda _: {"options": RunOptions(rotate_deg=rotate_deg)})
            return await self.preview(session)
        except Body4DError as error:
            if error.code != "server_stopping":
                await asyncio.to_thread(self.sessions.delete, session)
            raise

    async def preview(self, session: UserSession, frame: int = 0, text: str = "") -> tuple[UserSession, Preview]:
        """The people on a frame, which is written into the session's picture, and the session without the prompts that mean nobody there.

        Raises Cancelled where a newer preview of this session came before it, else the error of the task in
        which the clip has its visitor's name.
        """
        task = PreviewTask(session.video, session.picture, frame, session.info.prompts, text, session.info.options.rotate_deg)
        queued = self.previews.submit(session.key, task, end_older=False)
        await self._wait(self.previews, queued)
        if queued.state == "interrupted":
            raise server_stops()
        if queued.state == "cancelled":
            raise Cancelled("A newer request came before this one.", code="preview_replaced")
        preview = queued.preview
        if preview is None:
            error = queued.error or fault()
            problem = self.public(error, session)  # The page does not know which clip an error is about.
            raise type(error)(problem.message, code=problem.code, hint=problem.hint, **problem.facts) from error
        if not session.info.frames:
            session = await asyncio.to_thread(self.sessions.set_preview, session, preview, self.preset)
        return await asyncio.to_thread(self.remove_prompts, session, preview.on_frame.rejected), preview

    def remove_prompts(self, session: UserSession, prompts: Iterable[ClickPrompt]) -> UserSession:
        """The session as it is now, without these prompts. Waits for the disk."""
        removed = set(prompts)
        return self.sessions.change(session, lambda info: {"prompts": tuple(prompt for prompt in info.prompts if prompt not in removed)})

    async def film_strip(self, session: UserSession) -> Path:
        """A JPEG with pictures of the clip side by side, made now if it must be. Raises what made it fail."""

        def begin() -> QueuedTask | None:
            turn = session.info.options.rotate_deg
            key = _strip_key(session, turn)
            with self._starting:  # Of two at once the second finds the task of the first or, in this order, what that has made.
                queued = self.previews.find(key)
                if queued is None and not session.strip.is_file():
                    queued = self.previews.submit(key, FilmStripTask(session.video, session.strip, turn))
                return queued

        queued = await asyncio.to_thread(begin)
        if queued is not None:
            await self._wait(self.previews, queued)
            if queued.state != "done":
                raise server_stops() if queued.state == "interrupted" else queued.error or fault()
        return session.strip

    async def _wait(self, queue: TaskQueue, queued: QueuedTask) -> None:
        waited_s = 0.0
        while not queued.ended.is_set():
            await asyncio.sleep(0.05)
            waited_s = waited_s + 0.05 if queued.state == "working" else 0.0
            if waited_s > MAX_PREVIEW_S:
                await asyncio.to_thread(queue.cancel, queued.key)
                hint = "Save it as an ordinary MP4 and try again."
                raise InputError("Reading this clip took too long.", code="preview_too_slow", hint=hint, limit_s=MAX_PREVIEW_S)

    async def start_run(self, session: UserSession, options: RunOptions, text: str = "") -> tuple[UserSession, QueuedTask]:
        """Put the run of a session in the queue, unless it is there; the session it is for. That is another one, with a token and a link of
        its own, where this one has its result: who has the old link goes on seeing that. Raises SettingsError."""

        def start() -> tuple[UserSession, QueuedTask]:
            with self._starting:  # Of two clicks at once the second finds the run of the first.
                return self._start_run(session, options, text)

        return await asyncio.to_thread(start)

    def _start_run(self, session: UserSession, options: RunOptions, text: str) -> tuple[UserSession, QueuedTask]:
        running = self.runs.find(session.key)
        if running is not None:
            return session, running
        prompts = session.info.prompts
        # Refused before anything is made for it.
        settings_for(self.settings, options, prompts)
        start_s, end_s = options.range_s(session.info.seconds)
        if refusal := range_refusal(end_s - start_s, frames_to_run(session, options), self.settings.app):
            raise refusal
        branched = self.sessions.branch(session) if session.finished else session
        entry = new_entry(options, prompts, text)
        try:
            write_entry(branched.folder, entry)
            return branched, self._submit(branched, entry)
        except Body4DError:
            if branched is not session:
                self.sessions.delete(branched)
            else:
                write_entry(session.folder, after_change(entry, "cancelled", None))
            raise

    def _submit(self, session: UserSession, entry: RunEntry) -> QueuedTask:
        settings = settings_for(self.settings, entry.options, entry.prompts)
        task = RunTask(session.video, session.run, settings, entry.prompts, entry.text, session.info.name)
        return self.runs.submit(session.key, task, frames_to_run(session, entry.options))

    def estimate(self, session: UserSession, options: RunOptions) -> QueuePosition:
        """How long a run with these options would wait and take, if it were asked for now."""
        return self.runs.estimate(frames_to_run(session, options))

    async def follow(self, queued: QueuedTask) -> AsyncIterator[QueuedTask]:
        """The task, again and again until it has ended or the server is being ended."""
        while not (queued.ended.is_set() or self.stopping.is_set()):
            yield queued
            await asyncio.sleep(REFRESH_S)
        yield queued

    async def cancel(self, session: UserSession) -> bool:
        """Stop the run of a session; its process, and what that held on the GPU, is gone when this returns."""

        def cancel() -> bool:
            if self.runs.cancel(session.key):
                return True
            entry = read_entry(session.folder)
            if entry is not None and entry.live and not self.stopping.is_set():  # One that no server has taken up yet.
                write_entry(session.folder, after_change(entry, "cancelled", None))
            return False

        return await asyncio.to_thread(cancel)

    def last_run(self, session: UserSession) -> RunEntry | None:
        """The run that was asked for last, None where none was. Waits for the disk."""
        return read_entry(session.folder)

    def delete(self, session: UserSession) -> None:
        """End what works for a session, and delete all that is kept of it. Waits for the disk. Raises OutputError."""
        self.runs.cancel(session.key)
        for key in (session.key, *(_strip_key(session, turn) for turn in TURNS_DEG)):
            self.previews.cancel(key)
        self.sessions.delete(session)

    def make_room(self, incoming_bytes: float) -> bool:
        """Whether an upload of this size fits; what is old or unused is deleted for it. Waits for the disk."""
        return self.sessions.make_room(incoming_bytes, self.live())

    def public(self, problem: Exception | RunWarning, session: UserSession | None = None) -> PublicProblem:
        """A problem for the page or a program. What is not ours goes to the log and is called a fault."""
        if not isinstance(problem, Body4DError | RunWarning):
            log.error("a fault in the app", exc_info=problem)
            problem = fault()
        return public_problem(problem, session.video, session.info.name) if session else public_problem(problem)

    def live(self) -> set[str]:
        """Keys of all sessions for which something waits or works."""
        return self.runs.live() | self.previews.live()

    def sweep(self) -> list[str]:
        """Delete old work. Waits for the disk."""
        return self.sessions.sweep(self.live())


def note_run(sessions: SessionStore, queued: QueuedTask) -> None:
    """Keep how a run stands. Raises OutputError."""
    folder = sessions.runs / queued.key
    entry = read_entry(folder)
    if entry is not None:
        write_entry(folder, after_change(entry, queued.state, queued.error))


def _strip_key(session: UserSession, rotate_deg: int) -> str:
    return f"{session.key}-strip-{rotate_deg}"


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
    """A thread that deletes old work at once, then every ``SWEEP_EVERY_S`` and when ``sweep_now`` is set, until ``stop`` is."""

    def loop() -> None:
        while True:
            started = time.monotonic()
            try:
                service.sweep()
            except OSError as error:
                log.error("old work could not be deleted: %s", error)
            service.sweep_now.wait(max(SWEEP_EVERY_S - (time.monotonic() - started), 1.0))
            if stop.wait(MIN_SWEEP_S):
                return
            service.sweep_now.clear()

    thread = threading.Thread(target=loop, name="sweep", daemon=True)
    thread.start()
    return thread
