"""Prompts as users write them, on the command line and in tables of many clips: whom to follow, in words and pixels."""

import re
from collections.abc import Sequence

import numpy as np

from body4d.core.errors import SettingsError
from body4d.core.types import Prompt

_NUMBER = r"-?\d+(?:\.\d+)?"
_CLICK = re.compile(rf"(\d+):({_NUMBER}),({_NUMBER})(?::(\d+))?")
_TEXT = re.compile(r"(.*?)(?::(\d+))?", re.DOTALL)
_BOX = re.compile(rf"(\d+):({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})(?::(\d+))?")


def parse_prompts(
    texts: Sequence[str] | None, clicks: Sequence[str] | None, unclicks: Sequence[str] | None, boxes: Sequence[str] | None
) -> tuple[Prompt, ...]:
    """Prompts of these options. Clicks of one frame and person are one prompt; who is not numbered gets the next free number.

    Raises SettingsError where one is empty or cannot be read, or an --unclick does not name the person whom it corrects.
    """
    positive = [(_fields("--click", _CLICK, text), 1) for text in clicks or ()]
    boxed = [_fields("--box", _BOX, text) for text in boxes or ()]
    negative = [(_fields("--unclick", _CLICK, text), 0) for text in unclicks or ()]
    words = [_words(text) for text in texts or ()]
    named = [fields[-1] for fields, _ in positive] + [fields[-1] for fields in boxed]
    text_owners = [who for _, who in words if who is not None]
    numbers = _numbered([*named, *map(str, text_owners)])
    people = sorted(set(numbers))
    points: dict[tuple[int, int], list[tuple[float, float, int]]] = {}
    for (fields, label), who in zip(positive, numbers, strict=False):
        points.setdefault((int(fields[0] or 0), who), []).append((float(fields[1] or 0), float(fields[2] or 0), label))
    for fields, label in negative:
        if fields[-1] is None and len(people) != 1:
            raise SettingsError(
                "--unclick must name the person whom it corrects, unless exactly one person was clicked.",
                code="bad_prompt",
                hint="--unclick 12:640,360:2",
            )
        who = people[0] if fields[-1] is None else int(fields[-1])
        points.setdefault((int(fields[0] or 0), who), []).append((float(fields[1] or 0), float(fields[2] or 0), label))
    out = [Prompt(text=text, person_id=who) for text, who in words]
    for fields, who in zip(boxed, numbers[len(positive) :], strict=False):
        out.append(Prompt(frame=int(fields[0] or 0), person_id=who, box_px=_box([float(f or 0) for f in fields[1:5]])))
    for (frame, who), rows in sorted(points.items()):
        table = np.array(rows)
        out.append(Prompt(frame=frame, person_id=who, points_px=table[:, :2], labels=table[:, 2].astype(np.int64)))
    return tuple(out)


def _numbered(named: Sequence[str | None]) -> list[int]:
    """A number from 1 on for each; those without one get the smallest that is free."""
    used = {int(who) for who in named if who is not None}
    out = []
    for who in named:
        number = int(who) if who is not None else next(n for n in range(1, len(named) + len(used) + 2) if n not in used)
        used.add(number)
        out.append(number)
    return out


def _words(text: str) -> tuple[str, int | None]:
    """Words, and whose they are alone."""
    match = _TEXT.fullmatch(text.strip())
    words, who = match.groups() if match else (text, None)
    if not words.strip():
        raise SettingsError(f"--text {text!r} is empty.", code="bad_prompt", hint='Name whom to follow: --text "the golfer in yellow".')
    _require_number("--text", text, who)
    return words.strip(), None if who is None else int(who)


def _require_number(option: str, text: str, who: str | None) -> None:
    if who is not None and int(who) == 0:
        raise SettingsError(f"{option} {text!r} is for person 0: people are numbered from 1 on.", code="bad_prompt")


def _box(sides: list[float]) -> np.ndarray:
    x0, y0, x1, y1 = sides
    if x1 <= x0 or y1 <= y0:
        raise SettingsError(f"--box takes left, top, right, bottom, found {x0:g},{y0:g},{x1:g},{y1:g}: it is empty.", code="bad_prompt")
    return np.array(sides)


def _fields(option: str, pattern: re.Pattern[str], text: str) -> tuple[str | None, ...]:
    match = pattern.fullmatch(text.replace(" ", ""))
    if not match:
        example = "0:120,40,380,700 or 0:120,40,380,700:2" if option == "--box" else "12:640,360 or 12:640,360:2"
        raise SettingsError(
            f"{option} cannot be read: {text!r}.",
            code="bad_prompt",
            hint=f"It takes a frame, coordinates in pixels and, if needed, a person: {option} {example}.",
        )
    _require_number(option, text, match.groups()[-1])
    return match.groups()
