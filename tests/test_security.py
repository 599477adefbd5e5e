"""No file runs code, and no secret is left behind."""

import ast
import json
from pathlib import Path

import pytest

from body4d.cli.entry import app
from body4d.run.pipeline import Pipeline, open_clip
from fakes import fake_pipeline
from make_videos import make_video

SOURCE = Path(__file__).parents[1] / "src" / "body4d"
TOKEN = "hf_PlantedPlantedPlantedPlantedPlanted"
FORBIDDEN = {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "os.system", "marshal.loads", "joblib.load"}


def name_of(node: ast.expr) -> str:
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def unsafe_calls(text: str) -> list[str]:
    """Calls that run what a file says, or hand text to a shell."""
    found = []
    for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
        name, given = name_of(call.func), {word.arg: getattr(word.value, "value", None) for word in call.keywords}
        wrong = {"torch.load": given.get("weights_only") is not True, "np.load": given.get("allow_pickle") is not False}
        if name in FORBIDDEN or wrong.get(name) or given.get("shell") is True or name.endswith((".extractall", ".extract")):
            found.append(f"line {call.lineno}: {name}")
    return found


def test_the_search_finds_what_it_is_for():
    wrong = "torch.load(p)\nnp.load(p, allow_pickle=True)\npickle.loads(b)\nsubprocess.run(c, shell=True)\nzip.extractall(f)\n"
    assert len(unsafe_calls(wrong)) == 5
    assert unsafe_calls("torch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)\n") == []


def test_nothing_is_loaded_that_may_run_code():
    found = {str(path.relative_to(SOURCE)): calls for path in SOURCE.rglob("*.py") if (calls := unsafe_calls(path.read_text()))}
    assert found == {}


def test_a_planted_token_is_found_nowhere(tmp_path, monkeypatch, capsys):
    from typer.testing import CliRunner

    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "BODY4D_AUTH"):
        monkeypatch.setenv(variable, TOKEN)
    monkeypatch.setattr(Pipeline, "load", staticmethod(lambda settings=None, listener=None: fake_pipeline(settings, open_clip=open_clip)))
    video, run = make_video(tmp_path / "clip.mp4", 12), tmp_path / "run"
    outputs = []
    for command in (["run", str(video), "--out", str(run), "--json"], ["info", str(run)], ["config", "show"], ["run", "gone.mp4", "-v"]):
        result = CliRunner().invoke(app, command)
        outputs.append(result.output)
    assert json.loads((run / "run.json").read_text())["stages"]["files"]["state"] == "done"
    assert not any(TOKEN in text for text in (*outputs, *capsys.readouterr()))
    left = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert left == []


@pytest.mark.parametrize("member", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_run_folder_names_no_file_outside(tmp_path, member, monkeypatch):
    """File names in run.json are compared with those that stages declare, never opened."""
    monkeypatch.setattr(Pipeline, "load", staticmethod(lambda settings=None, listener=None: fake_pipeline(settings, open_clip=open_clip)))
    from body4d.run.record import read_run

    video, run = make_video(tmp_path / "clip.mp4", 12), tmp_path / "run"
    fake_pipeline(open_clip=open_clip).run(video, run)
    record = json.loads((run / "run.json").read_text())
    record["stages"]["files"]["files"] = {member: 1}
    (run / "run.json").write_text(json.dumps(record))
    fake_pipeline(open_clip=open_clip).run(video, run)
    assert list(read_run(run).stages["files"].files) == ["body.glb"]
