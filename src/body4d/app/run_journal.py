"""What is asked for, on the disk: each run that waits or works, so that the next server goes on with it, and how the last one ended."""

import logging
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from body4d.app.forms import RunOptions
from body4d.app.prompts import ClickPrompt
from body4d.core.errors import Body4DError, SettingsError
from body4d.core.files import atomic_file

log = logging.getLogger(__name__)

_JOURNAL = "asked.json"

MAX_STARTS = 3
"""A run at which the server died this often is given up: it may be what kills the server. An orderly end of the server does not count."""


class RunEntry(BaseModel):
    """``asked.json`` of a session: the newest run that was asked for, and how it stands.

    ``starts`` counts how often it was begun; ``error`` is why it was refused or failed, as ``Body4DError.as_json`` gives it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)
    state: Literal["waiting", "working", "done", "refused", "failed", "cancelled"] = "waiting"
    options: RunOptions = RunOptions()
    prompts: tuple[ClickPrompt, ...] = ()
    text: str = ""
    asked_s: float = 0.0
    starts: int = 0
    error: dict[str, Any] | None = None

    @property
    def live(self) -> bool:
        """Whether it is still to be done."""
        return self.state in ("waiting", "working")


def read_entry(folder: Path) -> RunEntry | None:
    """The entry of a session's folder, None where no run was asked for, or what is there cannot be read."""
    try:
        return RunEntry.model_validate_json((folder / _JOURNAL).read_bytes())
    except (OSError, ValidationError):
        return None


def write_entry(folder: Path, entry: RunEntry) -> None:
    """Keep an entry, unless the session was deleted. Raises OutputError."""
    if folder.is_dir():
        with atomic_file(folder / _JOURNAL) as file:
            file.write(entry.model_dump_json().encode())


def new_entry(options: RunOptions, prompts: tuple[ClickPrompt, ...], text: str) -> RunEntry:
    """A run that is asked for now. Raises SettingsError where it could not be read back: now, and not when the next server starts."""
    entry = RunEntry(options=options, prompts=prompts, text=text, asked_s=time.time())
    try:
        return RunEntry.model_validate_json(entry.model_dump_json(warnings=False))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        message = f"What is given for {name} is not understood: {first['msg'][0].lower()}{first['msg'][1:]}."
        raise SettingsError(message, code="option_not_understood", hint="docs/app.md says what each is.", option=name) from None


def after_change(entry: RunEntry, state: str, error: Body4DError | None) -> RunEntry:
    """The entry once its task is in ``state``, a state of ``body4d.app.queue.QueuedTask``. Pure.

    An interrupted run waits again, and being begun does not count: the server ended in good order.
    """
    if state == "working":
        return entry.model_copy(update={"state": "working", "starts": entry.starts + 1, "error": None})
    if state == "interrupted":
        begun = entry.state == "working"
        return entry.model_copy(update={"state": "waiting", "starts": max(entry.starts - begun, 0)})
    return entry.model_copy(update={"state": state, "error": error.as_json() if error else None})


def given_up(entry: RunEntry) -> Body4DError | None:
    """Why a run that was left over is not begun again, None where it is. Pure."""
    if entry.starts < MAX_STARTS:
        return None
    message = f"This run was begun {entry.starts} times, and the server ended unexpectedly each time."
    return Body4DError(message, code="run_given_up", hint="Try a shorter or smaller clip.", starts=entry.starts)


def left_over(runs: Path) -> list[tuple[Path, RunEntry]]:
    """Folders of sessions whose run the server before this one did not finish, in the order in which they were asked for."""
    entries = [(folder, entry) for folder in runs.iterdir() if (entry := read_entry(folder)) is not None and entry.live]
    return sorted(entries, key=lambda pair: pair[1].asked_s)
