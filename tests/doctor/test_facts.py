"""The doctor on this very machine, and on folders made for it."""

import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from body4d.cli.entry import app
from body4d.config import ComputeSettings
from body4d.doctor.facts import folder_facts, space_environment
from body4d.runtime.hardware import query_nvidia_driver, query_torch
from fake_checkpoints import write_fake_blazepose


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No checkpoint, token or Space of the machine reaches a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BODY4D_WEIGHTS", str(tmp_path / "weights"))
    for name in ("HF_TOKEN", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


def test_the_command_prints_what_is_in_the_way_and_exits_with_nine() -> None:
    result = CliRunner().invoke(app, ["doctor", "--preset", "sam", "--offline", "--json"])
    found, error = (json.loads(text) for text in result.stdout.splitlines())
    assert result.exit_code == 9 == error["exit_code"]
    assert (found["ready"], found["preset"], found["requested"]) == (False, "", "sam")
    failures = [check["check"] for check in found["checks"] if check["level"] == "failure"]
    assert {"checkpoint SAM-3", "checkpoint SAM-3D-Body"} <= set(failures)
    assert found["checks"][0]["level"] == "failure"
    named = {check["check"] for check in found["checks"]}
    assert {"GPU", "CUDA", "memory for lite", "gates", "video codecs", "renderer", "run folder", "checkpoint folder", "Space"} <= named
    assert {check["check"]: check["level"] for check in found["checks"]}["renderer"] == "ok", "the picture is really drawn"


def test_the_command_for_people(tmp_path: Path) -> None:
    write_fake_blazepose(tmp_path / "weights")
    result = CliRunner().invoke(app, ["doctor", "--preset", "lite", "--offline"])
    assert result.exit_code == 0, result.output
    assert "Ready: preset lite runs here." in result.stdout
    assert "OK        renderer" in result.stdout
    assert not list(tmp_path.rglob(".body4d-doctor*")), "nothing is left behind"


def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_averysecrettokenindeed")
    monkeypatch.setenv("SPACE_ID", "me/space")
    result = CliRunner().invoke(app, ["doctor", "--preset", "lite", "--offline", "--json"])
    assert "HF_TOKEN is set (not shown)" in result.stdout
    assert "averysecret" not in result.stdout + result.stderr


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("x")
    assert folder_facts(in_the_way / "runs").error
    assert not folder_facts(tmp_path / "new" / "runs").error
    assert not (tmp_path / "new").exists()


def test_a_space_whose_data_is_a_plain_folder_has_no_disk(tmp_path: Path) -> None:
    found = space_environment({"SPACE_ID": "me/space", "HF_TOKEN": "hf_x"}, data=tmp_path)
    assert (found.space_id, found.data_mounted, found.data_writable, found.has_token) == ("me/space", False, False, True)
    if os.path.ismount("/dev/shm"):
        assert space_environment({"SPACE_ID": "me/space"}, data=Path("/dev/shm")).data_writable


@pytest.mark.slow  # a child process
@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("print('NVIDIA T4, 15360, 15000, 535.1.2')", ""),
        ("import sys; print('No devices were found'); sys.exit(6)", "No devices were found"),
        ("import sys; sys.exit(9)", "ended with 9"),
    ],
)
def test_a_driver_is_asked_through_its_own_program(program: str, error: str) -> None:
    found = query_nvidia_driver((sys.executable, "-c", program))
    assert found is not None
    assert error in found.error
    assert found.gpus == (("NVIDIA T4",) if not error else ())


def test_no_driver_is_not_an_error() -> None:
    assert query_nvidia_driver(("there-is-no-such-program",)) is None


def test_torch_is_asked_and_a_device_it_lacks_is_an_error_not_a_crash() -> None:
    import torch

    found = query_torch(ComputeSettings())
    assert found.version == torch.__version__
    assert found.free_bytes > 0
    if not torch.cuda.is_available():
        assert "DeviceError" in query_torch(ComputeSettings(device="cuda")).error
