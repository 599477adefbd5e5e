"""What a visitor pointed at, and how it becomes prompts. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from body4d.core.errors import InputError, SettingsError
from body4d.core.types import Prompt

Kind = Literal["in", "out", "box"]


@dataclass(frozen=True)
class Mark:
    """A click or box on a frame of the file (from 0), for person ``who`` (from 1 on).

    ``place`` is (x, y) in pixels for ``in`` and ``out``, (x0, y0, x1, y1) for a ``box``.
    """

    frame: int
    who: int
    kind: Kind
    place: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.place) != (4 if self.kind == "box" else 2) or not np.all(np.isfinite(self.place)):
            raise SettingsError(f"A mark of kind {self.kind} cannot have the place {self.place}; click again.")


@dataclass(frozen=True)
class Person:
    """Someone on a frame: the ``number`` people see painted, from 1 on; ``chosen`` where marks point at them.

    ``code`` is the COCO run-length code of the mask at the clip's size.
    """

    number: int
    chosen: bool
    code: bytes


def people_of(marks: Sequence[Mark]) -> list[int]:
    """Numbers of the people that marks choose, in order."""
    return sorted({mark.who for mark in marks if mark.kind != "out"})


def meant(kind: Kind, place: tuple[float, ...], masks: Sequence[tuple[int, np.ndarray]], marks: Sequence[Mark], wanted: int | None) -> int:
    """Which person a new mark is about.

    ``wanted`` is the visitor's own word. Without it: whoever is chosen already and lies under a click (``masks``: number and mask (H, W) of
    the chosen on this frame); else the next free number, or for a click that takes away, the last person chosen. Raises SettingsError where
    a click takes away and nobody is chosen.
    """
    if wanted is not None:
        return wanted
    people = people_of(marks)
    if kind != "box":
        for number, mask in masks:
            x, y = int(place[0]), int(place[1])
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]:
                return number
    if kind == "out":
        if not people:
            raise SettingsError("Choose a person first; then click on what does not belong to them.")
        return [mark.who for mark in marks if mark.kind != "out"][-1]
    return next(number for number in range(1, len(people) + 2) if number not in people)


def prompts_of(marks: Sequence[Mark], text: str, looked_at: np.ndarray) -> tuple[Prompt, ...]:
    """Prompts for a run that looks at the frames ``looked_at`` (N,) of the file; of a frame thinned out, the nearest counts.

    Clicks of one person on one frame become one prompt. Raises InputError where a person is pointed at outside the range alone.
    """
    inside = [mark for mark in marks if looked_at[0] <= mark.frame <= looked_at[-1]]
    lost = set(people_of(marks)) - {mark.who for mark in inside}
    if lost:
        raise InputError(f"Person {min(lost)} was chosen on a frame outside the range that is looked at; choose them inside it.")
    rows = [(int(np.argmin(np.abs(looked_at - mark.frame))), mark) for mark in inside]
    out = [Prompt(text=text.strip())] if text.strip() else []
    out += [Prompt(frame=row, person_id=mark.who, box_px=np.array(mark.place)) for row, mark in rows if mark.kind == "box"]
    for row, who in sorted({(row, mark.who) for row, mark in rows if mark.kind != "box"}):
        mine = [mark for at, mark in rows if (at, mark.who) == (row, who) and mark.kind != "box"]
        labels = np.array([int(mark.kind == "in") for mark in mine])
        out.append(Prompt(frame=row, person_id=who, points_px=np.array([mark.place for mark in mine], float), labels=labels))
    return tuple(out)
