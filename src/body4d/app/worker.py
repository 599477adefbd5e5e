"""The process that computes. It can be ended at any moment: so a task is cancelled and its GPU memory freed."""

import faulthandler
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from body4d.app.preview import Preview
from body4d.app.tasks import Task, TaskRunner
from body4d.config import Settings
from body4d.core.errors import Body4DError
from body4d.core.progress import Event, EventListener


class WorkerDied(Exception):
    """The process ended before it answered: killed from outside, out of memory, or a crash in native code."""


@dataclass(frozen=True)
class TaskDone:
    """The worker's last word about a task that ended well."""

    preview: Preview | None


@dataclass(frozen=True)
class TaskCrashed:
    """The worker's last word about a task that failed by a fault of ours."""

    traceback_text: str


EXIT_WAIT_S = 2.0
"""How long the end of a process is waited for once its pipe has closed, so that the log can say how it ended."""

WorkerReply = Event | TaskDone | TaskCrashed | Body4DError


class Worker:
    """One computing process, started by its first task. One thread uses it; ``end`` may be called from any."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings, self._name = settings, name
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._ending = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process that runs, None where none does."""
        process = self._process
        return process.pid if process is not None and process.is_alive() else None

    def run(self, task: Task, listener: EventListener) -> Preview | None:
        """Have a task done. Raises the Body4DError that the task raised, WorkerDied where the process ended, RuntimeError with the
        traceback of a fault."""
        pipe = self._started_pipe()
        try:
            pipe.send(task)
            while True:
                reply: WorkerReply = pipe.recv()
                if isinstance(reply, Event):
                    listener(reply)
                elif isinstance(reply, Body4DError):
                    raise reply
                elif isinstance(reply, TaskCrashed):
                    raise RuntimeError(reply.traceback_text)
                else:
                    return reply.preview
        except (EOFError, OSError) as error:
            how = self._how_it_ended()
            self.end()
            raise WorkerDied(f"the process {self._name} ended in the middle of its work, {how}") from error

    def end(self) -> None:
        """End the process, whatever it does. What it held on the GPU is free when this returns."""
        with self._ending:  # Who comes second waits until the first has ended it.
            process, self._process = self._process, None
            if process is None:
                return
            # Nothing in it would be tidied up by a gentler signal: a run folder survives this at any moment.
            process.kill()
            process.join()

    def _how_it_ended(self) -> str:
        process = self._process
        if process is None:
            return "as it was asked to"
        process.join(EXIT_WAIT_S)  # Its end of the pipe closes a moment before it is gone.
        code = process.exitcode
        if code is None:
            return "its pipe closed while it still runs"
        return f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with exit code {code}"

    def _started_pipe(self) -> Connection:
        if self._process is None or self._pipe is None or not self._process.is_alive():
            # Spawned, never forked: a copy of a process with threads and an event loop may hang.
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            process = context.Process(target=serve_tasks, args=(theirs, self._settings), name=self._name, daemon=True)
            process.start()
            self._process = process
            theirs.close()
        return self._pipe


def serve_tasks(pipe: Connection, settings: Settings) -> None:
    """The loop of the process: a task in, events and a last word out, until the other end closes."""
    faulthandler.enable()  # A crash in native code leaves its Python lines in the server's log.
    threading.Thread(target=_end_with_the_server, name="end-with-the-server", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, and the server ends us.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(level=logging.ERROR)
    runner = TaskRunner(settings)
    try:
        while True:
            task = pipe.recv()
            pipe.send(_last_word(runner, task, pipe.send))
    except (EOFError, OSError):  # The other end has closed: nobody listens any more.
        return


def _end_with_the_server() -> None:
    """End at once when the server has gone, however it went: a task may send nothing for minutes, and only sending would show it.

    A run that is cut off here resumes like any that was killed.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _last_word(runner: TaskRunner, task: Task, listener: EventListener) -> WorkerReply:
    try:
        return TaskDone(runner.run(task, listener))
    except Body4DError as error:
        return error
    except Exception:
        return TaskCrashed(traceback.format_exc())
