"""Preset sam from video to pictures through the command line, on tiny checkpoints in the official layouts: all but the numbers is real."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from body4d.core.scene_io import load_scene
from body4d.run.record import BODIES, FILES, GLB, MASKS, SCENE
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


ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "BODY4D_MOGE__NUM_FRAMES": "2", "BODY4D_MOGE__DETAIL": "0"}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "body4d", *map(str, words)]


def body4d(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, check=check, env=ENVIRONMENT)


@pytest.fixture(scope="module")
def finished(weights: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stopped by a kill while bodies were recovered, and finished by the same command."""
    out = tmp_path_factory.mktemp("runs") / "clip"
    words = ("run", clip, "--preset", "sam", "--weights", weights, "--device", "cpu", "--end", "0.1", "--out", out, "--quiet")
    killed_in(command(*words), out, "bodies")
    body4d(*words)
    return out


def killed_in(words: list[str], run: Path, stage: str) -> None:
    """Start a run and kill it as soon as it works on ``stage``."""
    process = subprocess.Popen(words, env=ENVIRONMENT)
    while stage not in (stages := read_stages(run)) or stages[stage]["state"] != "running":
        assert process.poll() is None, f"ended before {stage}: {stages}"
        time.sleep(0.02)
    process.kill()
    process.wait()


def read_stages(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())["stages"] if (run / "run.json").is_file() else {}


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


def test_a_killed_run_ends_with_the_same_bytes(finished: Path, weights: Path, clip: Path, tmp_path: Path) -> None:
    words = ("run", clip, "--preset", "sam", "--weights", weights, "--device", "cpu", "--end", "0.1", "--no-pictures", "--quiet")
    body4d(*words, "--out", tmp_path)
    for name in (MASKS, BODIES, SCENE, GLB):
        assert (finished / name).read_bytes() == (tmp_path / name).read_bytes(), name


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
    words = ("run", clip, "--preset", "sam", "--weights", weights, "--device", "cpu", "--end", "0.1", "--out", finished)
    again = body4d(*words, "--profile")
    assert again.stderr.count("already done") == 8
    assert "frames/s" in again.stdout


def test_a_missing_checkpoint_is_one_sentence(clip: Path, tmp_path: Path) -> None:
    found = body4d("run", clip, "--preset", "sam", "--weights", tmp_path, "--device", "cpu", "--out", tmp_path / "run", check=False)
    assert found.returncode == 7
    assert found.stderr.startswith("body4d: SAM-3 has no checkpoint here")
    assert found.stderr.count("\n") == 1
