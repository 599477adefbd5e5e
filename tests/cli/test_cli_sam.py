"""Preset sam from video to pictures through the command line, on tiny checkpoints in the official layouts: all but the numbers is real."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from body4d.run_record import FILES
from body4d.scene_file import load_scene
from make_tiny_checkpoints import write_tiny_checkpoints
from make_videos import make_video


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoints(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real clip where this machine has one, else one of ours."""
    shared = os.environ.get("BODY4D_SHARED")
    if shared:
        return Path(shared) / "videos" / "golf_swing.mp4"
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=12)


def body4d(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "body4d", *map(str, words)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "BODY4D_MOGE__FRAMES": "2", "BODY4D_MOGE__DETAIL": "0"}
    return subprocess.run(command, capture_output=True, text=True, check=check, env=environment)


@pytest.fixture(scope="module")
def finished(weights: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "clip"
    body4d("run", clip, "--preset", "sam", "--weights", weights, "--device", "cpu", "--end", "0.2", "--out", out, "--quiet")
    return out


def test_everything_is_there_and_says_what_it_was_made_with(finished: Path) -> None:
    assert all((finished / name).is_file() for name in FILES)
    record = json.loads((finished / "run.json").read_text())
    assert record["preset"] == "sam"
    assert record["weights"] == {"masks": "sam3", "camera": "moge-2-vitl-normal", "bodies": "sam-3d-body-dinov3/model.ckpt"}
    assert record["sources"] == {
        "sam3": {"checkpoint": "SAM-3", "licence": "SAM License"},
        "sam3d-body": {"checkpoint": "SAM-3D-Body", "licence": "SAM License"},
        "moge": {"checkpoint": "MoGe-2", "licence": "MIT"},
    }
    assert "Checkpoints: SAM-3 from files of your own, SAM License; SAM-3D-Body from files of your own" in record["notes"][0]
    assert all(stage["state"] == "done" and stage["cpu_peak_mb"] > 0 for stage in record["stages"].values())
    assert not any("Traceback" in note for note in record["notes"])


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
        body4d("export", finished, "--to", form, "--out", tmp_path / form)
    body4d("render", finished, "--out", tmp_path / "pictures", "--quiet")
    assert (tmp_path / "pictures" / "overlay.mp4").stat().st_size > 1000


def test_a_second_run_takes_everything_over(finished: Path, weights: Path, clip: Path) -> None:
    words = ("run", clip, "--preset", "sam", "--weights", weights, "--device", "cpu", "--end", "0.2", "--out", finished)
    again = body4d(*words, "--profile")
    assert again.stderr.count("already done") == 7
    assert "frames/s" in again.stdout


def test_a_missing_checkpoint_is_one_sentence(clip: Path, tmp_path: Path) -> None:
    found = body4d("run", clip, "--preset", "sam", "--weights", tmp_path, "--device", "cpu", "--out", tmp_path / "run", check=False)
    assert found.returncode == 7
    assert found.stderr.startswith("body4d: SAM-3 has no checkpoint here")
    assert found.stderr.count("\n") == 1
