"""``body4d golf`` on a finished run, on a clip and on what is no swing: table, files, sentences, exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from body4d.cli.entry import app
from body4d.config import Settings
from body4d.core.scene_io import save_scene
from body4d.run.pipeline import Pipeline
from body4d.run.record import SCENE
from fakes import fake_pipeline
from golf_scenes import make_scene, swing_poses, walk_poses


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def video(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A clip for fakes to be run on, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Pipeline, "load", staticmethod(lambda settings, listener: fake_pipeline(settings)))
    (tmp_path / "clip.mp4").write_bytes(b"fake")
    return tmp_path / "clip.mp4"


def finished_run(video: Path, name: str, scene: Any) -> Path:
    """A run folder whose scene is ``scene``."""
    run = video.with_name(name)
    assert call("run", video, "--out", run, "--quiet").exit_code == 0
    save_scene(scene, run / SCENE)
    return run


@pytest.mark.slow  # Anny is set up
def test_a_run_gives_a_table_and_files(video: Path) -> None:
    run = finished_run(video, "swing", make_scene(swing_poses(), 2.6))
    shown = call("golf", run)
    assert shown.exit_code == 0, shown.output
    assert "one swing" in shown.stdout
    assert "face-on" in shown.stdout
    assert "Pelvis turn" in shown.stdout
    first = json.loads((run / "golf.json").read_text())
    assert first["events"]["impact"]["frame"] in (41, 42)
    elsewhere = video.with_name("elsewhere")
    told = call("golf", run, "--out", elsewhere, "--json", "--capture-fps", "60", "--hand", "right", "--target", "away")
    result = json.loads(told.stdout.splitlines()[-1])
    assert (result["event"], result["capture_fps"], result["frame"]["target_source"]) == ("result", 60.0, "user")
    assert (elsewhere / "golf.csv").is_file()
    walk = call("golf", finished_run(video, "walk", make_scene(walk_poses(), 3.0)))
    assert walk.exit_code == 11
    assert "No golf swing was found" in walk.stderr
    assert not (video.with_name("walk") / "golf.json").exists()


def test_a_clip_is_run_first_into_its_folder(video: Path) -> None:
    call("golf", video, "--quiet")  # what comes of it is not asked: the fakes' body is a stick
    assert (Path("runs") / "clip" / SCENE).is_file()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--view", "above"), 2),
        (("--hand", "both"), 2),
        (("--target", "north"), 2),
        (("--target", "nan"), 2),
    ],
)
def test_wrong_words_are_answered_in_a_sentence(video: Path, flags: tuple[str, str], code: int) -> None:
    shown = call("golf", video, *flags)
    assert shown.exit_code == code
    assert flags[0] in shown.stderr
    assert not Path("runs").exists()


def test_settings_of_a_finished_run_are_fixed(video: Path) -> None:
    assert call("run", video, "--out", "done", "--quiet").exit_code == 0
    shown = call("golf", "done", "--person-height", "1.8")
    assert shown.exit_code == 2
    assert "fixed" in shown.stderr


def test_settings_reach_the_run(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Settings] = []

    def load(settings: Settings, listener: object) -> Pipeline:
        used.append(settings)
        return fake_pipeline(settings)

    monkeypatch.setattr(Pipeline, "load", staticmethod(load))
    call("golf", video, "--person-height", "1.83", "--preset", "lite", "--quiet")
    assert (used[0].camera.person_height_m, used[0].preset) == (1.83, "lite")
