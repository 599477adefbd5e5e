"""Preset sam from video to pictures through the command line, on tiny checkpoints in the official layouts: all but the numbers is real."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from body4d.cli.entry import app
from body4d.core.scene_io import load_scene
from body4d.run.record import BODIES, FILES, GLB, MASKS, SCENE
from make_videos import make_video

pytestmark = pytest.mark.slow  # a process that is killed; whole runs on every network
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "BODY4D_MOGE__NUM_FRAMES": "2", "BODY4D_MOGE__DETAIL": "0"}


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def words(tiny_checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three frames of a real clip where this machine has one, else of one of ours."""
    shared = os.environ.get("BODY4D_SHARED")
    clip = Path(shared) / "videos" / "golf_swing.mp4" if shared else make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=12)
    return list(map(str, ("run", clip, "--preset", "sam", "--weights", tiny_checkpoints, "--device", "cpu", "--end", "0.1")))


def call(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def ok(*words: object) -> Result:
    result = call(*words)
    assert result.exit_code == 0, result.output + result.stderr
    return result


@pytest.fixture(scope="module")
def finished(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "clip"
    ok(*words, "--out", out, "--quiet")
    return out


def test_everything_is_there_and_says_what_it_was_made_with(finished: Path) -> None:
    assert all((finished / name).is_file() for name in FILES)
    record = json.loads((finished / "run.json").read_text())
    assert record["preset"] == "sam"
    assert record["weights"] == {
        "masks": "sam3",
        "occlusion": "diffusion-vas-amodal-segmentation + diffusion-vas-content-completion + Depth-Anything-V2-Large-hf",
        "camera": "moge-2-vitl-normal",
        "bodies": "sam-3d-body-dinov3/model.ckpt",
    }
    assert (
        record["sources"].items()
        >= {
            "sam3": {"checkpoint": "SAM-3", "licence": "SAM License"},
            "sam3d-body": {"checkpoint": "SAM-3D-Body", "licence": "SAM License"},
            "moge": {"checkpoint": "MoGe-2", "licence": "MIT"},
        }.items()
    )
    assert len(record["sources"]) == 6
    assert "Checkpoints: SAM-3 from files of your own, SAM License; SAM-3D-Body from files of your own" in record["warnings"][0]["message"]
    assert all(stage["state"] == "done" and stage["cpu_peak_mb"] > 0 for stage in record["stages"].values())
    assert not any("Traceback" in warning["message"] for warning in record["warnings"])


def test_killed_and_run_again_it_ends_with_the_same_bytes(finished: Path, words: list[str], tmp_path: Path) -> None:
    """A process of its own is killed while it recovers bodies; this one finishes what it left."""
    again = [*words, "--out", str(tmp_path), "--no-pictures", "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "body4d", *again])
    while read_stages(tmp_path).get("bodies", {}).get("state") != "running":
        assert process.poll() is None, f"ended too early: {read_stages(tmp_path)}"
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert read_stages(tmp_path)["bodies"]["state"] == "running"
    ok(*again)
    for name in (MASKS, BODIES, SCENE, GLB):
        assert (finished / name).read_bytes() == (tmp_path / name).read_bytes(), name


def read_stages(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())["stages"] if (run / "run.json").is_file() else {}


def test_the_scene_holds_an_mhr_body(finished: Path) -> None:
    scene = load_scene(finished / "scene.npz")
    assert scene.camera.source in ("moge", "default", "metadata")
    person = scene.people[0]
    assert (person.body, person.joint_set) == ("mhr", "mhr70")
    assert person.parameters.shape[1] == 321
    assert person.rig is not None
    assert len(person.rig.rest_vertices_m) == 18439
    assert np.isfinite(person.joints_m).all()


def test_results_are_drawn_and_exported_without_any_checkpoint(finished: Path, tmp_path: Path) -> None:
    for form in ("bvh", "npz"):
        ok("export", finished, "--to", form, "--out", tmp_path / form)
    ok("render", finished, "--out", tmp_path / "pictures", "--quiet")
    assert (tmp_path / "pictures" / "overlay.mp4").stat().st_size > 1000


def test_a_second_run_takes_everything_over(finished: Path, words: list[str]) -> None:
    again = ok(*words, "--out", finished, "--profile")
    assert again.stderr.count("already done") == 8
    assert "frames/s" in again.stdout


def test_a_missing_checkpoint_is_one_sentence(words: list[str], tmp_path: Path) -> None:
    result = call(*words, "--weights", tmp_path, "--out", tmp_path / "run")
    assert result.exit_code == 7
    assert result.stderr.startswith("body4d: SAM-3 has no checkpoint here")
    assert result.stderr.count("\n") == 1
