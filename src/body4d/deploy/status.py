"""How far a starting Space is, and how a Space stands.

Inside the container a ``StartupStatus`` holds the state: the waiting page shows it, and each change goes to the log as one JSON line.
Outside, ``body4d space status`` takes the stage that the Hub reports and the end of the log, and ``RULES`` says what they mean.
"""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from body4d.core.progress import Event

StartupState = Literal["starting", "downloading", "loading", "running", "gated", "lite", "failed"]
"""States of a start. ``gated`` and ``lite`` end it with preset lite: because of a closed gate, or for another reason."""

LOG_EVERY_S = 10.0
"""Download progress goes to the log this often: the log stays short, and its end is still current."""

_MARKER = "body4d-space: "


@dataclass(frozen=True)
class StartupMarker:
    """A state of the start as it stands in the log: ``body4d-space: {"state": ..., "message": ...}`` on a line of its own."""

    state: StartupState
    message: str

    def as_line(self) -> str:
        """The marker for the log."""
        return _MARKER + json.dumps({"state": self.state, "message": " ".join(self.message.split())}, ensure_ascii=False)


def read_marker(line: str) -> StartupMarker | None:
    """The marker in a line of a log, whatever precedes it, such as a time; None where the line has none."""
    try:
        fields = json.loads(line.partition(_MARKER)[2])
        return StartupMarker(fields["state"], str(fields["message"])) if fields["state"] in get_args(StartupState) else None
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class StartupSnapshot:
    """What the waiting page shows: the state with its headline, the checkpoints to fetch (names by key), the latest event of each that has
    begun, and notes for visitors."""

    state: StartupState = "starting"
    message: str = "The Space is starting."
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    progress: Mapping[str, Event] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the page. A checkpoint's ``done`` and ``total`` are megabytes, its ``state`` is "waiting" or that of its latest event."""
        waiting = Event("", "started").as_json() | {"state": "waiting"}
        events = {key: self.progress[key].as_json() if key in self.progress else waiting for key in self.checkpoints}
        checkpoints = [{"name": name} | events[key] for key, name in self.checkpoints.items()]
        return {"state": self.state, "message": self.message, "checkpoints": checkpoints, "notes": self.notes}


class StartupStatus:
    """The state of a starting Space. One thread writes it, others read the snapshot, which is replaced as a whole."""

    def __init__(self, log: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic) -> None:
        self.snapshot = StartupSnapshot()
        self.log, self._clock, self._logged_s = log, clock, -float("inf")

    def set_state(self, state: StartupState, message: str) -> None:
        """Enter a state: on the page and in the log."""
        self.snapshot = replace(self.snapshot, state=state, message=message)
        self.log(StartupMarker(state, message).as_line())

    def add_note(self, note: str) -> None:
        """Add a note, on the page and in the log; a note that is already there is not repeated."""
        if note not in self.snapshot.notes:
            self.snapshot = replace(self.snapshot, notes=(*self.snapshot.notes, note))
            self.log(f"body4d: {note}")

    def set_checkpoints(self, names: Mapping[str, str]) -> None:
        """Show what will be fetched, names by key."""
        self.snapshot = replace(self.snapshot, checkpoints=names)

    def on_event(self, event: Event) -> None:
        """An event listener for downloads, whose stages are the checkpoints' keys and which count megabytes."""
        if event.warning:
            self.add_note(event.warning.text)
            return
        self.snapshot = replace(self.snapshot, progress={**self.snapshot.progress, event.stage: event})
        if event.state == "working" and self._clock() - self._logged_s >= LOG_EVERY_S:
            self._logged_s = self._clock()
            name = self.snapshot.checkpoints.get(event.stage, event.stage)
            self.log(StartupMarker("downloading", f"{name}, {event.done} of {event.total} MB").as_line())


SpaceState = Literal[
    "empty", "misconfigured", "building", "build_failed", "starting", "downloading", "out_of_memory", "gated", "lite", "running",
    "crashed", "asleep", "unknown",
]  # fmt: skip

UNDER_WAY: frozenset[SpaceState] = frozenset({"building", "starting", "downloading"})
"""States that pass by themselves."""

HEALTHY: frozenset[SpaceState] = frozenset({*UNDER_WAY, "running", "lite", "gated", "asleep"})
"""States in which a visitor is served, or will be soon; in ``gated`` and ``lite`` with preset lite."""

BUILD_LOG_STAGES = frozenset({"BUILDING", "RUNNING_BUILDING", "BUILD_ERROR"})
RUN_LOG_STAGES = frozenset({"APP_STARTING", "RUNNING_APP_STARTING", "RUNNING", "RUNTIME_ERROR"})
"""Stages about which the image's log, or the container's log, says more."""

MAX_EXIT_LINES = 20
"""Only the last lines of a container that ended are searched for the reason: an error further up was survived."""

MAX_DETAIL_LETTERS = 240
"""A quoted line of a log is cut to the length of a long sentence."""


@dataclass(frozen=True)
class SpaceReport:
    """What the Hub reports. ``stage`` is one of huggingface_hub's SpaceStage, ``message`` its error message, ``log`` the last lines of the
    log that says more at this stage."""

    stage: str
    message: str = ""
    log: tuple[str, ...] = ()
    hardware: str = ""


@dataclass(frozen=True)
class SpaceStatus:
    """How a Space stands: a sentence for people, and what to do (empty: nothing)."""

    state: SpaceState
    message: str
    hint: str = ""


@dataclass(frozen=True)
class StatusRule:
    """A row of ``RULES``.

    It applies at one of ``stages`` (names separated by spaces), where the last marker since the start has the state ``marker`` ("none":
    there is no marker) and ``pattern`` occurs in the Hub's message or the log. ``message`` may quote ``{detail}`` (the line that names the
    error), ``{last_line}``, ``{marker}``, ``{match}``, ``{hardware}`` and ``{stage}``.
    """

    stages: str
    state: SpaceState
    message: str
    hint: str = ""
    marker: StartupState | Literal["none"] | None = None
    pattern: re.Pattern[str] | None = None


# torch's words for a GPU without memory (torch.OutOfMemoryError, cuBLAS status codes).
_GPU_MEMORY = re.compile(r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
# "Exit code: 137. Reason: ..." is quoted by users of Spaces, "Memory limit exceeded" is remembered; then Kubernetes', Linux's and Python's.
_MEMORY = re.compile(r"memory limit exceeded|OOMKilled|exit code:? 137|Cannot allocate memory|\bMemoryError\b", re.IGNORECASE)
# "Workload evicted, storage limit exceeded" is remembered from Spaces; the other is Linux's ENOSPC.
_DISK = re.compile(r"storage limit exceeded|No space left on device", re.IGNORECASE)
# "Scheduling failure: not enough hardware capacity" is quoted by users of Spaces.
_NO_HARDWARE = re.compile(r"not enough hardware capacity|scheduling failure", re.IGNORECASE)
# Words of pip, BuildKit, apt and Python that mark the line which explains a failure.
_ERROR_LINE = re.compile(r"\berror\b|\bfailed\b|not found|no matching distribution|exit code", re.IGNORECASE)

_STARTING, _ENDED, _UP = "APP_STARTING RUNNING_APP_STARTING", "RUNTIME_ERROR", "RUNNING"
_LOGS = "`body4d space logs` shows what came before."
_MORE_GPU = "A GPU with more memory (`body4d space create --hardware`), or shorter clips and fewer people."
_MORE_MEMORY = "Hardware with more memory (`body4d space create --hardware`), then restart."
_OTHER_HARDWARE = "`body4d space restart` later, or `body4d space create --hardware` with another kind."
_BUCKET = "Mount a bucket at /data (`body4d space create --bucket OWNER/NAME`) and restart."

RULES: tuple[StatusRule, ...] = (
    StatusRule("NO_APP_FILE", "empty", "It is empty.", "`body4d space push` sends the app."),
    StatusRule("CONFIG_ERROR", "misconfigured", "The Hub does not accept its README's header or its Dockerfile: {detail}.",
               "`body4d space check`, then push again."),
    StatusRule("BUILDING", "building", "The image is being built: {last_line}."),
    StatusRule("RUNNING_BUILDING", "building", "The image is being built: {last_line}. The previous version goes on running."),
    StatusRule("BUILD_ERROR", "build_failed", "The image could not be built, because the disk is full: {detail}.",
               "`body4d space restart --factory`.", pattern=_DISK),
    StatusRule("BUILD_ERROR", "build_failed", "The image could not be built: {detail}.",
               "`body4d space logs --build` shows all of it; `body4d space check` looks for mistakes here."),
    StatusRule("PAUSED STOPPED SLEEPING", "asleep", "It is {stage} and costs nothing.",
               "A visit wakes one that sleeps, `body4d space restart` any."),
    StatusRule(f"{_UP} {_ENDED}", "out_of_memory", "The GPU's memory ran out on {hardware} ({match}).", _MORE_GPU, pattern=_GPU_MEMORY),
    StatusRule(f"{_UP} {_ENDED}", "out_of_memory", "Memory ran out on {hardware} ({match}).", _MORE_MEMORY, pattern=_MEMORY),
    StatusRule(_ENDED, "crashed", "HuggingFace cannot provide {hardware} at the moment.", _OTHER_HARDWARE, pattern=_NO_HARDWARE),
    StatusRule(_ENDED, "crashed", "Its disk is full.", _BUCKET, pattern=_DISK),
    StatusRule(_ENDED, "crashed", "It ended: {marker}.", _LOGS, marker="failed"),
    StatusRule(_ENDED, "crashed", "It ended: {detail}.", _LOGS),
    StatusRule(f"{_STARTING} {_UP}", "downloading", "Checkpoints are being fetched: {marker}.", marker="downloading"),
    StatusRule(_STARTING, "starting", "It is starting: the container starts.", marker="none"),
    StatusRule(_STARTING, "starting", "It is starting: {marker}."),
    StatusRule(_UP, "starting", "It is starting: {marker}.", marker="starting"),
    StatusRule(_UP, "starting", "It is starting: {marker}.", marker="loading"),
    StatusRule(_UP, "crashed", "The app did not start: {marker}.", _LOGS, marker="failed"),
    StatusRule(_UP, "gated", "It runs with the preset lite, because a gate is closed: {marker}.", "Then `body4d space restart`.",
               marker="gated"),
    StatusRule(_UP, "lite", "It runs with the preset lite: {marker}.", marker="lite"),
    StatusRule(_UP, "running", "It is running: {marker}.", marker="running"),
    StatusRule(_UP, "running", "It is running.", marker="none"),
)  # fmt: skip
"""What stage, markers and log mean. The first row that applies counts."""


def space_status(report: SpaceReport) -> SpaceStatus:
    """The status of a Space."""
    lines, marker = _since_start(report.log)
    text = "\n".join((report.message, *(lines[-MAX_EXIT_LINES:] if report.stage == _ENDED else lines)))
    for rule in RULES:
        match = rule.pattern.search(text) if rule.pattern else None
        applies = report.stage in rule.stages.split() and rule.marker in (None, marker.state if marker else "none")
        if applies and (match or rule.pattern is None):
            values = {
                "detail": _shortened(_error_line(lines) or report.message or _last_line(lines)) or "no reason is given",
                "last_line": _shortened(_last_line(lines)) or "its log is still empty",
                "marker": _shortened(marker.message) if marker else "",
                "match": match[0] if match else "",
                "hardware": report.hardware or "the requested hardware",
                "stage": report.stage.lower(),
            }
            return SpaceStatus(rule.state, rule.message.format(**values), rule.hint)
    return SpaceStatus(
        "unknown", f"The Hub reports the stage {report.stage!r}, which body4d does not know.", "Open its page, or ask again."
    )


def _since_start(log: Sequence[str]) -> tuple[Sequence[str], StartupMarker | None]:
    """The lines since the last start, or all where none begins in ``log``, and the last marker among them."""
    markers = [(index, marker) for index, line in enumerate(log) if (marker := read_marker(line))]
    start = max((index for index, marker in markers if marker.state == "starting"), default=0)
    return log[start:], markers[-1][1] if markers else None


def _error_line(lines: Sequence[str]) -> str:
    """The last line that names an error. Markers are passed over: a row of the table quotes them where they explain the end."""
    return next((line for line in reversed(lines) if _ERROR_LINE.search(line) and not read_marker(line)), "")


def _last_line(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")


def _shortened(line: str) -> str:
    """A line of a log without colours and full stop, on one line, cut to the length of a sentence."""
    plain = " ".join(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).split()).rstrip(".")
    return plain if len(plain) <= MAX_DETAIL_LETTERS else f"{plain[:MAX_DETAIL_LETTERS]}…"
