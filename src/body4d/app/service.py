"""What the page and the API ask for: examine a clip, find people, run, follow, cancel. Knows nothing of Gradio."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from body4d.app.forms import Choices, settings_for
from body4d.app.names import without_paths
from body4d.app.prompts import Mark
from body4d.app.queue import DIED, FAULT, Job, Queue
from body4d.app.sessions import Visit, Visits
from body4d.app.tasks import Example, Look, Make, Sight, Task, Warm, example_clip
from body4d.app.worker import Worker
from body4d.config import Settings
from body4d.core.errors import Body4DError, InputError

log = logging.getLogger(__name__)

GONE = "This work is no longer here: it was deleted because it is old, or the link is incomplete. Upload the clip again."


@dataclass(frozen=True)
class Desk:
    """The app's parts. ``looks`` finds people on single frames, ``runs`` runs whole clips: two processes, so that choosing
    people does not wait for somebody else's run."""

    settings: Settings
    preset: str
    reason: str
    visits: Visits
    looks: Queue
    runs: Queue

    @staticmethod
    def open(settings: Settings, preset: str, reason: str) -> "Desk":
        """Start the queues, and have the first visitor's models loaded. Raises OutputError."""
        app, settings = settings.app, settings.model_copy(update={"preset": preset})
        pace = app.sam_seconds_per_frame if preset == "sam" else app.lite_seconds_per_frame
        looks = Queue(Worker(settings, "body4d-looks"), app.most_waiting * 4, pace, app.idle_s)
        runs = Queue(Worker(settings, "body4d-runs"), app.most_waiting, pace, app.idle_s)
        desk = Desk(settings, preset, reason, Visits(app), looks, runs)
        looks.submit("warm", Warm())
        looks.submit("example", Example(desk.example_folder))
        return desk

    @property
    def example_folder(self) -> Path:
        return self.visits.root / "example"

    def close(self) -> None:
        """End both processes; runs that were at work are gone on with when asked for again."""
        self.looks.close()
        self.runs.close()

    def take(self, upload: Path) -> Visit:
        """A visit for an uploaded file, or the example."""
        return self.visits.take(upload, upload.name)

    def visit(self, token: str) -> Visit:
        """The visit of a token. Raises InputError where there is none."""
        visit = self.visits.find(token)
        if visit is None:
            raise InputError(GONE)
        return visit

    async def example(self) -> Path:
        """The example's video, filmed now if it must be."""
        ready = example_clip(self.example_folder)
        if ready is None:
            job = self.looks.find("example") or self.looks.submit("example", Example(self.example_folder))
            await self._ended(job)
            ready = example_clip(self.example_folder)
        if ready is None:
            raise InputError(FAULT)
        return ready

    async def look(self, visit: Visit, frame: int = 0, marks: tuple[Mark, ...] = (), text: str = "") -> Sight:
        """Find the people on a frame, painted into the visit's picture. Raises InputError with a sentence for the page."""
        task: Task = Look(visit.video, visit.picture, frame, marks, text)
        job = self.looks.submit(visit.key, task, end_older=False)
        await self._ended(job)
        if job.state != "done" or job.result is None:
            raise InputError(self.told(job, visit) or "Stopped.")
        if not visit.about.frames:
            self.visits.saw(visit, job.result, self.preset)
        return replace(job.result, note=without_paths(job.result.note))

    async def _ended(self, job: Job) -> None:
        most_s = self.settings.app.look_most_s
        waited_s = 0.0
        while not job.ended.is_set():
            await asyncio.sleep(0.05)
            waited_s = waited_s + 0.05 if job.state == "working" else 0.0
            if waited_s > most_s:
                await asyncio.to_thread(self.looks.cancel, job.key)
                raise InputError("Reading this clip took too long; save it as an ordinary MP4 and try again.")

    def begin(self, visit: Visit, choices: Choices, marks: tuple[Mark, ...] = (), text: str = "") -> Job:
        """Put the run of a visit in the queue, unless it is there. Raises SettingsError."""
        running = self.runs.find(visit.key)
        if running is not None:
            return running
        settings = settings_for(self.settings, choices, marks)
        return self.runs.submit(visit.key, Make(visit.video, visit.run, settings, marks, text), visit.about.frames)

    async def follow(self, job: Job) -> AsyncIterator[Job]:
        """The job, again and again until it has ended."""
        while not job.ended.is_set():
            yield job
            await asyncio.sleep(self.settings.app.refresh_s)
        yield job

    async def cancel(self, visit: Visit) -> bool:
        """Stop what a visit does; its process, and what that held on the GPU, is gone when this returns."""
        return await asyncio.to_thread(self.runs.cancel, visit.key)

    def told(self, job: Job, visit: Visit) -> str:
        """A job's sentence for the page, "" where there is none."""
        if job.sentence in ("", FAULT, DIED):
            return job.sentence
        return self.plain(job.sentence, visit)

    def plain(self, sentence: str, visit: Visit) -> str:
        """A sentence of the pipeline for the page: the clip by its owner's name, no paths."""
        return without_paths(sentence, str(visit.video), visit.about.name).replace(visit.about.stored, visit.about.name)

    def sweep(self) -> list[str]:
        """Delete old work."""
        return self.visits.sweep(self.runs.live() | self.looks.live())


def sweep_now_and_then(desk: Desk, stop: threading.Event) -> threading.Thread:
    """A thread that sweeps at once and then every ``app.sweep_every_s``, until told to stop."""

    def loop() -> None:
        while True:
            started = time.monotonic()
            try:
                desk.sweep()
            except OSError as error:
                log.error("old work could not be swept: %s", error)
            if stop.wait(max(desk.settings.app.sweep_every_s - (time.monotonic() - started), 1.0)):
                return

    thread = threading.Thread(target=loop, name="sweep", daemon=True)
    thread.start()
    return thread


def sentence_of(error: Exception) -> str:
    """An error for the page: one of ours as it is, without paths; any other is written to the log and called a fault."""
    if isinstance(error, Body4DError):
        return without_paths(str(error))
    log.error("a fault in the app", exc_info=error)
    return FAULT
