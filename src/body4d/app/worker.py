"""The process that computes. It can be ended at any moment, which is how a task is cancelled and its GPU memory freed."""

import logging
import multiprocessing
import os
import threading
import traceback
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from body4d.app.tasks import Answer, Sight, Task, do
from body4d.config import Settings
from body4d.core.errors import Body4DError
from body4d.core.progress import EventListener

END_WITHIN_S = 1.0
"""A process that was asked to end and has not after this is killed: a visitor waits two seconds at most."""


class WorkerDied(Exception):
    """The process ended before it answered: killed from outside, out of memory, or a crash in native code."""


class Worker:
    """One computing process, begun by its first task. Used by one thread; :meth:`end` may be called from any."""

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

    def do(self, task: Task, listener: EventListener) -> Sight | None:
        """Have a task done. Raises Body4DError with the sentence of a refusal, WorkerDied where the process ended, RuntimeError for a
        fault, with what to log."""
        pipe = self._started()
        try:
            pipe.send(task)
            while True:
                kind, what = pipe.recv()
                if kind == "event":
                    listener(what)
                elif kind == "refused":
                    raise Body4DError(what)
                elif kind == "fault":
                    raise RuntimeError(what)
                else:
                    return what
        except (EOFError, OSError) as error:
            self.end()
            raise WorkerDied(f"the process {self._name} ended in the middle of its work") from error

    def end(self) -> None:
        """End the process, whatever it does. What it held on the GPU is free when this returns."""
        with self._ending:  # Who comes second waits until the first has ended it.
            process, self._process = self._process, None
            if process is None:
                return
            process.terminate()
            process.join(END_WITHIN_S)
            if process.is_alive():
                process.kill()
                process.join()

    def _started(self) -> Connection:
        if self._process is None or self._pipe is None or not self._process.is_alive():
            # Spawned, never forked: a copy of a process with threads and an event loop may hang.
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, self._settings), name=self._name, daemon=True)
            process.start()
            self._process = process
            theirs.close()
        return self._pipe


def work(pipe: Connection, settings: Settings) -> None:
    """The loop of the process: a task in, events and an answer out, until the other end closes."""
    import signal

    threading.Thread(target=_end_with_the_server, name="end-with-the-server", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, and the server ends us.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(level=logging.ERROR)
    try:
        while True:
            task = pipe.recv()
            pipe.send(_answer(task, settings, lambda event: pipe.send(("event", event))))
    except (EOFError, OSError):  # The other end has closed: nobody listens any more.
        return


def _end_with_the_server() -> None:
    """End at once when the server has gone, however it went: a task may say nothing for minutes, and only saying something would tell.

    A run that is cut off here is gone on with like any that was killed.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _answer(task: Task, settings: Settings, listener: EventListener) -> Answer:
    try:
        return "done", do(task, settings, listener)
    except Body4DError as error:
        return "refused", str(error)
    except Exception:
        return "fault", traceback.format_exc()
