"""golf.json and golf.csv hold what was analysed, and nothing that JSON does not know."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from body4d.golf.analysis import analyze
from body4d.golf.tables import CSV_COLUMNS, write_tables
from body4d.golf.types import EVENTS
from golf_scenes import cut, make_scene, swing_poses

pytestmark = pytest.mark.slow  # Anny is set up


def test_tables_hold_the_analysis(tmp_path: Path) -> None:
    analysis = analyze(cut(make_scene(swing_poses(), 2.6), 0, 45))  # the finish is cut off
    paths = write_tables(analysis, tmp_path)
    assert [path.name for path in paths] == ["golf.json", "golf.csv"]
    data = json.loads(paths[0].read_text(), parse_constant=lambda name: pytest.fail(name))
    swing = analysis.swings[0]
    assert list(data["events"]) == [name for name in EVENTS if name not in swing.cut_off]
    assert set(data["events"]["top"]) >= {"frame", "time_s", "confidence", "proxy"}
    assert data["cut_off"] == list(swing.cut_off)
    for told, measure in zip(data["measures"], swing.measures, strict=True):
        assert set(told) >= {"name", "value", "bar", "class", "method", "proxy", "unit", "event"}
        assert told["value"] is None if np.isnan(measure.value) else told["value"] == pytest.approx(measure.value, rel=1e-5)
    assert any(told["value"] is None for told in data["measures"])
    assert len(data["swings"]) == 1
    assert len(data["swings"][0]["curves"][0]["values"]) == len(swing.frames)
    rows = list(csv.DictReader(paths[1].open()))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["name"] for row in rows] == [measure.name for measure in swing.measures]
    assert {row["value"] for row, measure in zip(rows, swing.measures, strict=True) if np.isnan(measure.value)} == {""}
