"""From all checks to one report: which preset can run, and what is in the way, blocking checks first. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from body4d.doctor.checks import PRESETS, CheckResult, run_checks
from body4d.doctor.facts import MachineFacts, Preset

Level = Literal["ok", "warning", "failure"]

_ORDER: dict[Level, int] = {"failure": 0, "warning": 1, "ok": 2}


@dataclass(frozen=True)
class DoctorReport:
    """Every check with its level, the blocking ones first. ``preset`` is the one that would be taken, "" where ``requested`` cannot run."""

    requested: Preset
    preset: str
    checks: tuple[tuple[Level, CheckResult], ...]

    @property
    def ready(self) -> bool:
        """Whether the main job, a video in and bodies out, can run."""
        return bool(self.preset)

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that are in the way."""
        return tuple(result for level, result in self.checks if level == "failure")

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        checks = [{"level": level, "check": one.name, "message": one.message, "hint": one.hint} for level, one in self.checks]
        return {"event": "doctor", "ready": self.ready, "requested": self.requested, "preset": self.preset, "checks": checks}


def diagnose_machine(facts: MachineFacts, preset: Preset) -> DoctorReport:
    """Run all checks on ``facts``."""
    return report_of(run_checks(facts, preset), preset)


def report_of(results: Iterable[CheckResult], requested: Preset) -> DoctorReport:
    """The report on ``results``. What blocks only a preset that was not requested is a warning; ``auto`` takes sam before lite."""
    results = tuple(results)
    able = PRESETS - frozenset().union(*(result.blocks for result in results))
    candidates = ("sam", "lite") if requested == "auto" else (requested,)
    preset = next((name for name in candidates if name in able), "")
    checks: list[tuple[Level, CheckResult]] = [(_level(result, requested, bool(preset)), result) for result in results]
    return DoctorReport(requested, preset, tuple(sorted(checks, key=lambda check: _ORDER[check[0]])))


def _level(result: CheckResult, requested: Preset, something_runs: bool) -> Level:
    """``auto`` fails only where no preset is left to take."""
    if not result.hint:
        return "ok"
    blocked = bool(result.blocks) and not something_runs if requested == "auto" else requested in result.blocks
    return "failure" if blocked else "warning"
