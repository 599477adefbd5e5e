"""The golf analysis of a finished run: what it calls the clip."""

import json
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest

from body4d.core.scene_io import save_scene
from body4d.golf.file_names import JSON_NAME, PAGE_NAME, PDF_NAME
from body4d.run import golf
from body4d.run.record import RUN, SCENE, RunRecord, StageRecord
from fakes import stick_rig
from made_swing import make_analysis
from scenes import make_scene


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run whose clip is gone, with a made swing."""
    folder = tmp_path / "run"
    folder.mkdir()
    scene = make_scene(frames=125, body="stick")
    save_scene(replace(scene, people=tuple(replace(track, rig=stick_rig()) for track in scene.people)), folder / SCENE)
    stage = StageRecord(state="done", fingerprint="x", files={SCENE: 1})
    (folder / RUN).write_text(RunRecord(body4d="0", input={"path": "/gone/clip.mp4"}, stages={"motion": stage}).model_dump_json())
    monkeypatch.setattr(golf, "analyze_clip", lambda *_: make_analysis(clip_name="clip.mp4"))
    return folder


# Two dollar signs would make a formula in a drawing, and this one is none.
@pytest.mark.parametrize(("given", "shown"), [("Driver, $1\\x & $2 <b>.mp4", "Driver, $1\\x & $2 <b>.mp4"), ("", "clip.mp4")])
def test_the_report_calls_the_clip_as_it_was_asked_to(run: Path, given: str, shown: str) -> None:
    files = golf.golf_of_run(run, clip_name=given)
    assert files.analysis.clip_name == shown
    assert json.loads((run / JSON_NAME).read_text(encoding="utf-8"))["clip"] == shown
    assert f"Golf swing: {escape(shown)}</title>" in (run / PAGE_NAME).read_text(encoding="utf-8")
    assert (run / PDF_NAME).stat().st_size > 0
