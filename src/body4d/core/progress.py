"""Events of a run at work, and the meter that makes them of a stage's (done, total)."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from body4d.core.errors import RunWarning

State = Literal["started", "working", "done", "skipped", "failed", "cancelled", "warning"]

PROGRESS_EVERY_S = 0.1
"""A listener hears of progress at most this often, whatever the stage does; a terminal shows no more."""


@dataclass(frozen=True)
class Event:
    """Something happened in a stage.

    ``done`` of ``total`` in the stage's own unit (mostly frames; ``total`` 0: not known). ``seconds`` since the stage began,
    ``rate_per_s`` and ``left_s`` where they are known. ``detail`` is what belongs to the event: the run's folder, the reason of a
    failure. An event of state "warning" carries its ``warning``.
    """

    stage: str
    state: State
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    rate_per_s: float | None = None
    left_s: float | None = None
    detail: str = ""
    warning: RunWarning | None = None

    def as_json(self) -> dict[str, Any]:
        """The event for machines: numbers rounded to milliseconds, what is not known left out."""
        fields = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items() if k != "warning"}
        warning = {"warning": self.warning.as_json()} if self.warning else {}
        return {"event": "stage", **{k: v for k, v in fields.items() if v is not None and v != ""}, **warning}


EventListener = Callable[[Event], None]
"""Hears every event. May raise ``body4d.core.errors.Cancelled`` to stop the run."""


def ignore_events(event: Event) -> None:
    """An ``EventListener`` that does not listen."""


class Meter:
    """One stage's clock. Call it with (done, total); it is a ``body4d.core.stages.ProgressFn``."""

    def __init__(self, stage: str, listener: EventListener, clock: Callable[[], float] = time.monotonic) -> None:
        self.stage = stage
        self._listener = listener
        self._clock = clock
        self._start = clock()
        self._last = -float("inf")
        self._done = self._total = 0

    @property
    def done(self) -> int:
        """Steps done, in the stage's own unit."""
        return self._done

    @property
    def seconds(self) -> float:
        return self._clock() - self._start

    def __call__(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        now = self._clock()
        if now - self._last < PROGRESS_EVERY_S and done < total:
            return
        self._last = now
        self.send("working")

    def send(self, state: State, detail: str = "") -> None:
        """Send an event with the stage's figures as they stand."""
        self._listener(self._event(state, detail))

    def warn(self, warning: RunWarning) -> None:
        """Send a warning with the stage's figures as they stand."""
        self._listener(self._event("warning", "", warning))

    def _event(self, state: State, detail: str, warning: RunWarning | None = None) -> Event:
        seconds = self.seconds
        rate = self._done / seconds if self._done and seconds > 0 else None
        left = (self._total - self._done) / rate if rate and self._total >= self._done else None
        if state not in ("working", "started"):
            left = None
        return Event(self.stage, state, self._done, self._total, seconds, rate, left, detail, warning)
