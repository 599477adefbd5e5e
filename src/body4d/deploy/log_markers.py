"""Lines by which a starting Space tells in its log how it stands, written by ``start`` and read by ``condition``."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

Word = Literal["starting", "downloading", "gated", "lite", "failed", "serving"]

_LINE = re.compile(r"body4d-space: (\w+): (.*)")


@dataclass(frozen=True)
class Mark:
    """``word`` is how it stands, ``said`` the sentence for people."""

    word: Word
    said: str

    def __str__(self) -> str:
        return f"body4d-space: {self.word}: {' '.join(self.said.split())}"


def read_marks(lines: list[str] | tuple[str, ...]) -> tuple[Mark, ...]:
    """Marks of a log, in order, since its last start. Lines of others are passed over, whatever stands before a mark as well."""
    found: list[Mark] = []
    for line in lines:
        match = _LINE.search(line.rstrip())
        if match is None or match[1] not in get_args(Word):
            continue
        if match[1] == "starting":
            found.clear()
        found.append(Mark(match[1], match[2]))  # type: ignore[arg-type]
    return tuple(found)
