"""Reading a Dockerfile as far as ours goes: instructions in order, ARG and ENV known, no heredocs. Pure.

Packages that read Dockerfiles are either bindings to Docker's own parser in Go or long unmaintained, and forty lines do.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Instruction:
    """One instruction: its ``word`` in capitals, the ``text`` after it on one line, and the line of the file it begins on."""

    word: str
    text: str
    line: int


def instructions(text: str) -> tuple[Instruction, ...]:
    """The instructions of a Dockerfile. Comments are left out, those between the lines of one instruction as well."""
    found: list[Instruction] = []
    parts: list[str] = []
    begun = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not parts):
            continue
        begun = begun if parts else number
        goes_on = line.rstrip().endswith("\\")
        parts.append(line.rstrip().removesuffix("\\").strip())
        if not goes_on:
            word, _, rest = " ".join(part for part in parts if part).partition(" ")
            found.append(Instruction(word.upper(), rest.strip(), begun))
            parts = []
    return tuple(found)


def pairs(text: str) -> dict[str, str]:
    """``A=1 B="two words"`` of ENV and LABEL, or the one ``A=1`` (or ``A``) of ARG."""
    return {name: value for name, _, value in (part.partition("=") for part in shlex.split(text))}


def filled(text: str, values: Mapping[str, str]) -> str:
    """``text`` with ``$NAME`` and ``${NAME}`` of ``values`` filled in; others stay, for the shell knows them."""
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], match[0]), text)


def command(text: str) -> list[str]:
    """The words of CMD or ENTRYPOINT, in either of its two forms."""
    if text.startswith("["):
        try:
            return [str(word) for word in json.loads(text)]
        except ValueError:
            return []
    return shlex.split(text)


def last(found: tuple[Instruction, ...], word: str) -> str:
    """The text of the last instruction ``word``; "" where there is none."""
    return next((one.text for one in reversed(found) if one.word == word), "")
