"""Many visitors at once, by the program that measures it."""

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

pytest.importorskip("gradio", reason="the app's extra is not installed")

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from app_stub import serving


def test_many_visitors_each_get_their_own_work_in_turn_and_the_rest_a_sentence(tmp_path: Path) -> None:
    import app_load

    clips = app_load.clips_of(12 + 1, 0.01, "stand-in", tmp_path)
    with serving(tmp_path, max_waiting=12 - app_load.MORE_THAN_MAY_WAIT - 1, max_uploads_per_hour=app_load.UPLOADS_PER_HOUR) as served:
        figures = asyncio.run(app_load.load(served.url, psutil.Process(), served.root, clips, "stand-in"))
    assert figures["wrong"] == []
    assert figures["accepted"] == 12 - app_load.MORE_THAN_MAY_WAIT
    assert [sentence.partition(".")[0] for sentence in figures["turned_away"]] == ["422: 7 runs are waiting already"]
    assert "one visitor may in an hour" in figures["greedy"]
