"""Error bars of the measures, as filmed motions with exact truth gave them: benchmarks/golf.py makes the table bars.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from body4d.golf.types import View

TABLE = Path(__file__).with_name("bars.json")

RATE_BANDS: tuple[tuple[str, float], ...] = (("120 and more", 120.0), ("50 to 119", 50.0), ("below 50", 0.0))
"""Bands of real frames per second, by their lowest rate: measured at 240, 60 and 30."""

MIN_CASES = 6
"""Fewer cases than this give no bar."""

COVERAGE = 0.68
"""Share of the absolute errors that lie within a bar."""


@dataclass(frozen=True)
class BarTable:
    """Half widths within which 68 of 100 errors lay, by preset, view, rate band and ``key``; see ``provenance``."""

    bars: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]]
    provenance: Mapping[str, Any]

    def bar(self, name: str, event: str | None, *, preset: str, view: View, fps: float) -> float:
        """The bar of a measure; NaN where too few cases were measured. A scene of exact truth has bars of 0.

        Where too few were filmed at such a rate, the bar is that of the next lower one, where more is missed between frames.
        """
        if preset == "truth":
            return 0.0
        by_band = self.bars.get(preset, {}).get(view, {})
        bands = [band for band, _ in RATE_BANDS]
        for band in bands[bands.index(rate_band(fps)) :]:
            found = by_band.get(band, {}).get(key(name, event))
            if found is not None and found["cases"] >= MIN_CASES:
                return float(found["bar"])
        return float("nan")


def key(name: str, event: str | None) -> str:
    """A measure at an event, as the table names it: ``pelvis_turn_deg@top``."""
    return name if event is None else f"{name}@{event}"


def rate_band(fps: float) -> str:
    """The band of a rate in real frames per second."""
    return next(name for name, lowest in RATE_BANDS if fps >= lowest)


@cache
def bar_table(path: Path = TABLE) -> BarTable:
    """The table that comes with the package, or one of the same form."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return BarTable(data["bars"], data["provenance"])
