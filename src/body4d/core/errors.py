"""What can go wrong, and what a user should know, as data: a code, a message, a hint and facts.

``message`` says what is wrong and what was found; it never names a command-line flag. ``hint`` says what to do about it. The command
line prints both, the page prints the message and words its own remedy. A program decides by ``code`` and ``facts``, never by the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Body4DError(Exception):
    """Base of all errors that body4d raises on purpose.

    ``exit_code`` is what the command line exits with. ``code`` names the kind of error for programs, ``facts`` holds what was found as
    JSON values. The text of the error is ``message`` and ``hint`` together; a traceback is for a fault of ours.
    """

    exit_code = 1
    default_code = "fault"

    def __init__(self, message: str, *, code: str = "", hint: str = "", **facts: Any) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message, self.code, self.hint, self.facts = message, code or self.default_code, hint, facts

    def as_json(self) -> dict[str, Any]:
        """The error as a JSON object, as ``run.json`` keeps it."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "facts": self.facts}

    def __reduce__(self) -> tuple[Any, ...]:
        """An error crosses from the computing process to the server whole: code, hint and facts included."""
        return _rebuild, (type(self), self.message, self.code, self.hint, self.facts)


def _rebuild(kind: type[Body4DError], message: str, code: str, hint: str, facts: Mapping[str, Any]) -> Body4DError:
    return kind(message, code=code, hint=hint, **facts)


class InputError(Body4DError):
    """The video, prompt or run folder given cannot be used as it is."""

    exit_code = 3
    default_code = "input"


class SettingsError(Body4DError):
    """A setting is unknown, has the wrong type, or contradicts another."""

    exit_code = 2
    default_code = "settings"


class NoPersonError(InputError):
    """The clip was read to its end and no person was found in it."""

    exit_code = 4
    default_code = "no_person"


class MissingDependencyError(Body4DError):
    """An optional package is needed and is not installed, or cannot be on this Python."""

    exit_code = 5
    default_code = "missing_dependency"


class OutputError(Body4DError):
    """A result could not be written: no rights, no room, or the place is taken."""

    exit_code = 6
    default_code = "output"


class WeightsError(Body4DError):
    """A checkpoint is missing, incomplete, altered, or has other keys than the network."""

    exit_code = 7
    default_code = "weights"


class DeviceError(Body4DError):
    """The device asked for is not there, or has too little memory for even one picture at a time."""

    exit_code = 8
    default_code = "device"


class NotReadyError(Body4DError):
    """The doctor found that the main job cannot run on this machine."""

    exit_code = 9
    default_code = "not_ready"


class SpaceError(Body4DError):
    """The Hub refused something about a Space, or the Space, or what would be sent to it, is not as it must be."""

    exit_code = 10
    default_code = "space"


class NoSwingError(InputError):
    """The golf analysis was asked of a clip or run in which nobody makes a full golf swing."""

    exit_code = 11
    default_code = "no_swing_found"


class SomeFailedError(Body4DError):
    """Of many videos, some are done and some are not."""

    exit_code = 12
    default_code = "some_failed"


class NoneDoneError(Body4DError):
    """Of many videos, not one is done."""

    exit_code = 13
    default_code = "none_done"


class Cancelled(Body4DError):
    """The user stopped the run. What was finished is kept, and the same command goes on from there."""

    exit_code = 130
    default_code = "cancelled"


@dataclass(frozen=True)
class RunWarning:
    """Something a user should know about a result: what was assumed, left out, or could not be seen.

    ``code`` names the kind for programs, ``message`` is one or two sentences without a command-line flag, ``hint`` says what settles it,
    ``facts`` holds the figures of the message as JSON values.
    """

    code: str
    message: str
    hint: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Message and hint together, as the command line prints them."""
        return f"{self.message} {self.hint}".strip()

    def as_json(self) -> dict[str, Any]:
        """The warning as a JSON object, as ``run.json`` and ``scene.npz`` keep it."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "facts": dict(self.facts)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "RunWarning":
        """The warning that ``as_json`` wrote."""
        return RunWarning(value["code"], value["message"], value.get("hint", ""), value.get("facts", {}))


def distinct_warnings(warnings: Sequence[RunWarning]) -> tuple[RunWarning, ...]:
    """Each warning once, in order."""
    return tuple({warning.text: warning for warning in warnings}.values())
