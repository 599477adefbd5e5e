"""From single remarks to a verdict: which preset can run, what is in the way, blocking things first. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "failure"]
Preset = Literal["auto", "lite", "sam"]

PRESETS = frozenset({"lite", "sam"})
_ORDER: dict[Level, int] = {"failure": 0, "warning": 1, "ok": 2}


@dataclass(frozen=True)
class Remark:
    """What one check found. ``remedy`` is what to do (empty: nothing is amiss); ``stops`` the presets that cannot run because of it."""

    name: str
    found: str
    remedy: str = ""
    stops: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.stops and not self.remedy:
            raise ValueError(f"the remark {self.name!r} stops {sorted(self.stops)} and says no remedy")


@dataclass(frozen=True)
class Line:
    """A remark with how bad it is for the preset that is wanted."""

    level: Level
    name: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Verdict:
    """All lines, the blocking ones first, and whether ``wanted`` can run. ``runs`` is the preset that would be taken, "" where none can."""

    wanted: Preset
    runs: str
    lines: tuple[Line, ...]

    @property
    def ready(self) -> bool:
        """Whether the main job, a video in and bodies out, can run."""
        return bool(self.runs)

    @property
    def failures(self) -> tuple[Line, ...]:
        """The lines that are in the way."""
        return tuple(line for line in self.lines if line.level == "failure")

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        lines = [{"level": line.level, "check": line.name, "found": line.found, "remedy": line.remedy} for line in self.lines]
        return {"event": "doctor", "ready": self.ready, "wanted": self.wanted, "runs": self.runs, "checks": lines}


def judge(remarks: Iterable[Remark], wanted: Preset) -> Verdict:
    """The verdict on ``remarks``. What stops only a preset nobody asked for is a warning; ``auto`` takes sam before lite."""
    remarks = tuple(remarks)
    able = PRESETS - frozenset().union(*(remark.stops for remark in remarks))
    runs = ("sam" if "sam" in able else "lite" if "lite" in able else "") if wanted == "auto" else wanted if wanted in able else ""
    lines = [Line(level_of(remark, wanted, bool(runs)), remark.name, remark.found, remark.remedy) for remark in remarks]
    return Verdict(wanted, runs, tuple(sorted(lines, key=lambda line: _ORDER[line.level])))


def level_of(remark: Remark, wanted: Preset, something_runs: bool) -> Level:
    """How bad a remark is: ``auto`` is stopped only where nothing is left to take."""
    if not remark.remedy:
        return "ok"
    stopped = bool(remark.stops) and not something_runs if wanted == "auto" else wanted in remark.stops
    return "failure" if stopped else "warning"
