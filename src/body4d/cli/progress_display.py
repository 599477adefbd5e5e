"""What a run looks like on a terminal, in a log, and to a machine. Progress goes to standard error, results to standard output."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from body4d.core.progress import Event, EventListener

LINE_EVERY_S = 10.0
"""Without a terminal a working stage says so this often: enough to see that it lives, few enough for a log."""


class ProgressDisplay(AbstractContextManager["ProgressDisplay"]):
    """An event listener that remembers the run folder. The plain one shows nothing (``--quiet``)."""

    def __init__(self) -> None:
        self.folder: Path | None = None

    def __call__(self, event: Event) -> None:
        if event.stage == "run" and event.state == "started":
            self.folder = Path(event.detail)
        else:
            self.show(event)

    def show(self, event: Event) -> None:
        """Show an event of a stage."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class JsonProgress(ProgressDisplay):
    """One JSON object a line."""

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        typer.echo(json.dumps(event.as_json(), ensure_ascii=False))


class LogProgress(ProgressDisplay):
    """Sparse lines for logs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._last = clock, clock()

    def show(self, event: Event) -> None:
        if event.state == "working" and (self._clock() - self._last < LINE_EVERY_S or event.done >= event.total):
            return
        line = format_event(event)
        if line:
            self._last = self._clock()
            typer.echo(line, err=True)


class ProgressBars(ProgressDisplay):
    """A bar for the stage at work, a line for each that is done."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description:9}"), BarColumn(32), TextColumn("{task.completed:.0f}/{task.total:.0f}"), _Rate())
        self._bars = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True)
        self._task: TaskID | None = None
        self._bars.start()

    def show(self, event: Event) -> None:
        if event.state == "working":
            if self._task is None:
                self._task = self._bars.add_task(event.stage, total=event.total or None)
            rate, left = event.rate_per_s, event.left_s
            self._bars.update(self._task, completed=event.done, total=event.total, rate_per_s=rate, left_s=left)
            return
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        line = format_event(event)
        if line:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(format_rate(task.fields.get("rate_per_s"), task.fields.get("left_s")))


def choose_display(*, quiet: bool, as_json: bool) -> ProgressDisplay:
    """The display for these flags and this standard error."""
    if as_json:
        return JsonProgress()
    if quiet:
        return ProgressDisplay()
    return ProgressBars() if sys.stderr.isatty() else LogProgress()


def in_megabytes(display: ProgressDisplay) -> EventListener:
    """A display for downloads: the unit of their figures is beside each name, but for machines."""
    return display if isinstance(display, JsonProgress) else lambda event: display(replace(event, stage=f"{event.stage} MB"))


def format_event(event: Event) -> str:
    """An event as a line of a log; empty for what is not worth one."""
    name = f"{event.stage:9}"
    if event.warning:
        return f"  note: {event.warning.text}"
    if event.state == "skipped":
        return f"{name} already done"
    if event.state == "done" and event.stage != "run":
        rate = f", {event.rate_per_s:.1f}/s" if event.rate_per_s and event.total > 1 else ""
        return f"{name} {event.seconds:.1f} s{rate}"
    if event.state == "working":
        return f"{name} {event.done}/{event.total} {format_rate(event.rate_per_s, event.left_s)}"
    if event.state in ("failed", "cancelled"):
        return f"{name} {event.state} after {event.seconds:.1f} s"
    return ""


def format_rate(rate_per_s: float | None, left_s: float | None) -> str:
    """``31.2/s, 0:12 left``; empty where neither is known."""
    parts = [f"{rate_per_s:.1f}/s"] if rate_per_s else []
    if left_s is not None:
        minutes, seconds = divmod(round(left_s), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(parts)
