"""A golf analysis as JSON and CSV: what programs and spreadsheets read."""

import csv
import io
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from body4d.core.files import atomic_file
from body4d.golf.file_names import CSV_NAME, JSON_NAME
from body4d.golf.types import Curve, GolfAnalysis, Measure, Swing, SwingEvent

SCHEMA = 1
"""Version of golf.json; raised when a reader of the older one would misread the newer."""

CSV_COLUMNS = ("swing", "name", "label", "event", "value", "bar", "class", "unit", "estimate", "proxy", "reason", "method", "group")


def write_tables(analysis: GolfAnalysis, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``golf.json`` and ``golf.csv`` into ``folder``, each whole or not at all. Raises OutputError."""
    folder = Path(folder)
    text = {JSON_NAME: json.dumps(as_json(analysis), indent=1, ensure_ascii=False, allow_nan=False) + "\n", CSV_NAME: as_csv(analysis)}
    paths = []
    for name, content in text.items():
        with atomic_file(folder / name) as file:
            file.write(content.encode())
        paths.append(folder / name)
    return paths


def as_json(analysis: GolfAnalysis) -> dict[str, Any]:
    """The analysis as JSON values: events and measures of the main swing at the top level, all swings in a list; NaN is null."""
    main = _swing(analysis.swings[analysis.main])
    return _finite(
        {
            "schema": SCHEMA,
            "clip": analysis.clip_name,
            "person": analysis.person_id,
            "preset": analysis.preset,
            "capture_fps": analysis.capture_fps,
            "time_scale": analysis.time_scale,
            "time_source": analysis.time_source,
            "main": analysis.main,
            **{name: main[name] for name in ("events", "pelvis_reversal", "measures", "tempo", "sequence", "frame", "cut_off")},
            "swings": [_swing(swing) for swing in analysis.swings],
            "warnings": [warning.as_json() for warning in analysis.warnings],
        }
    )


def as_csv(analysis: GolfAnalysis) -> str:
    """One row for each measure of each swing, counted from 1."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for number, swing in enumerate(analysis.swings, start=1):
        for measure in swing.measures:
            row = {"swing": number, **_measure(measure)}
            writer.writerow({name: _cell(row[name]) for name in CSV_COLUMNS})
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Empty where nothing is known."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _swing(swing: Swing) -> dict[str, Any]:
    return {
        "confidence": swing.confidence,
        "practice": swing.practice,
        "cut_off": list(swing.cut_off),
        "frame": {**asdict(swing.frame), "lead": swing.frame.lead, "trail": swing.frame.trail},
        "events": {event.name: _event(event) for event in swing.events},
        "pelvis_reversal": _event(swing.pelvis_reversal) if swing.pelvis_reversal else None,
        "measures": [_measure(measure) for measure in swing.measures],
        "research": [_measure(measure) for measure in swing.research],
        "tempo": asdict(swing.tempo) if swing.tempo else None,
        "sequence": asdict(swing.sequence) if swing.sequence else None,
        "frames": swing.frames,
        "times_s": swing.times_s,
        "curves": [_curve(curve) for curve in swing.curves],
        "hand_path_m": swing.hand_path_m,
    }


def _event(event: SwingEvent) -> dict[str, Any]:
    return {
        "frame": event.frame,
        "frame_exact": event.frame_exact,
        "time_s": event.time_s,
        "confidence": event.confidence,
        "proxy": event.proxy,
        "method": event.method,
    }


def _measure(measure: Measure) -> dict[str, Any]:
    values = asdict(measure)
    values["class"] = values.pop("class_")
    return {**values, "estimate": measure.is_estimate}


def _curve(curve: Curve) -> dict[str, Any]:
    values = asdict(curve)
    values["class"] = values.pop("class_")
    return values


def _finite(value: Any) -> Any:
    """JSON values: arrays as lists, NaN as null, floats with the digits that mean something."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray):
        return _finite(value.tolist())
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, np.generic):
        return _finite(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
