"""What the waiting page shows and the log tells: how far a starting Space is. Written by one thread, read by others."""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from body4d.core.progress import Event
from body4d.deploy.log_markers import Mark, Word

LOG_EVERY_S = 10.0
"""Progress goes to the log this often: `body4d space status` reads the log's end."""


@dataclass(frozen=True)
class Row:
    """A checkpoint being fetched. ``done`` and ``total`` in megabytes; ``left_s`` where it can be told."""

    key: str
    name: str
    state: Literal["waiting", "fetching", "here", "refused"] = "waiting"
    done: int = 0
    total: int = 0
    rate_per_s: float | None = None
    left_s: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Shown:
    """``word`` as in the log, ``said`` the headline, ``rows`` what is fetched, ``notes`` what a visitor should know."""

    word: Word = "starting"
    said: str = "The Space is starting."
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


class Board:
    """The one place where a starting Space keeps how it stands."""

    def __init__(self, log: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock, self.log, self._clock = threading.Lock(), log, clock
        self._shown, self._logged = Shown(), -float("inf")

    @property
    def shown(self) -> Shown:
        """How it stands now."""
        with self._lock:
            return self._shown

    def tell(self, word: Word, said: str) -> None:
        """A new state: on the page and in the log."""
        with self._lock:
            self._shown = replace(self._shown, word=word, said=said)
        self.log(str(Mark(word, said)))

    def note(self, said: str) -> None:
        """Something to know, on the page and in the log."""
        with self._lock:
            if said in self._shown.notes:
                return
            self._shown = replace(self._shown, notes=(*self._shown.notes, said))
        self.log(f"body4d: {said}")

    def rows(self, rows: tuple[Row, ...]) -> None:
        """What will be fetched."""
        with self._lock:
            self._shown = replace(self._shown, rows=rows)

    def row(self, key: str, **changes: Any) -> None:
        """Change one row."""
        with self._lock:
            rows = tuple(replace(row, **changes) if row.key == key else row for row in self._shown.rows)
            self._shown = replace(self._shown, rows=rows)

    def hear(self, event: Event) -> None:
        """A :data:`body4d.core.progress.EventListener` for downloads, whose stages are named by the checkpoints' keys and count megabytes."""
        if event.state == "note":
            self.note(event.note)
            return
        if event.state in ("done", "skipped"):
            self.row(event.stage, state="here", left_s=None, rate_per_s=None)
        elif event.state == "failed":
            self.row(event.stage, state="refused", note=event.note)
        elif event.state == "started":
            self.row(event.stage, state="fetching", note=event.note)
        elif event.state == "working":
            self.row(event.stage, state="fetching", done=event.done, total=event.total, rate_per_s=event.rate_per_s, left_s=event.left_s)
            self._log_progress(event)

    def _log_progress(self, event: Event) -> None:
        now = self._clock()
        if now - self._logged < LOG_EVERY_S:
            return
        self._logged = now
        name = next((row.name for row in self.shown.rows if row.key == event.stage), event.stage)
        self.log(str(Mark("downloading", f"{name}, {event.done} of {event.total} MB")))
