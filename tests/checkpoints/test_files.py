"""What a weights file's own format tells of it: cut short, too long, of another kind."""

from pathlib import Path

import pytest

from body4d.checkpoints.files import FileState, format_fault
from checkpoint_files import archive, safetensors, text


def state_of(path: Path) -> FileState | None:
    fault = format_fault(path)
    assert fault is None or (fault.path == path and fault.message.startswith(str(path)))
    return fault.state if fault else None


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_safetensors_file_that_ends_early(tmp_path: Path, keep: int) -> None:
    path = safetensors(tmp_path / "a.safetensors")
    assert state_of(path) is None
    path.write_bytes(path.read_bytes()[:keep])
    assert state_of(path) == "truncated"


def test_a_safetensors_file_with_more_behind_its_end(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes() + b"more")
    assert state_of(path) == "altered"


def test_a_page_instead_of_a_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_text("<!DOCTYPE html>")
    assert state_of(tmp_path / "a.safetensors") == "altered"


@pytest.mark.parametrize("keep", [0, 50, -1])
def test_an_archive_that_ends_early(tmp_path: Path, keep: int) -> None:
    path = archive(tmp_path / "a.ckpt")
    assert state_of(path) is None
    path.write_bytes(path.read_bytes()[:keep])
    assert state_of(path) == "truncated"


def test_other_files_are_not_judged(tmp_path: Path) -> None:
    assert state_of(text(tmp_path / "config.json")) is None
    (tmp_path / "old.pt").write_bytes(b"\x80\x02 a pickle of old")
    assert state_of(tmp_path / "old.pt") is None
    assert state_of(tmp_path / "gone.pt") == "unreadable"
