"""The examples run as written."""

import ast
import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from body4d.core.scene_io import save_scene
from body4d.export import FORMATS
from body4d.run.pipeline import Pipeline
from fakes import fake_pipeline, stick_rig
from scenes import make_scene

ROOT = Path(__file__).parents[1]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_run_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Pipeline, "load", staticmethod(fake_pipeline))
    (tmp_path / "clip.mp4").write_bytes(b"fake")
    load(ROOT / "examples/01_run_a_clip.py").main(str(tmp_path / "clip.mp4"), str(tmp_path / "run"))
    shown = capsys.readouterr().out
    assert "motion    done" in shown
    assert "person 0: 12 frames" in shown


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("example") / "scene.npz"
    scene = make_scene(body="stick")
    save_scene(dataclasses.replace(scene, people=tuple(dataclasses.replace(person, rig=stick_rig()) for person in scene.people)), path)
    return path


def test_read_a_scene(scene_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(ROOT / "examples/02_read_a_scene.py").main(str(scene_path))
    shown = capsys.readouterr().out
    assert "field of view" in shown
    assert "px (median)" in shown


def test_export(scene_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(ROOT / "examples/03_export.py").main(str(scene_path), str(tmp_path))
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == list(FORMATS)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_a_docstring_and_a_short_main(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert main.end_lineno is not None
    assert main.end_lineno - main.lineno < 20
