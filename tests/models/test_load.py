"""Which preset is taken, and what is said where one cannot be."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from body4d.config import ComputeSettings, Settings, WeightsSettings
from body4d.errors import DeviceError, MissingDependencyError, WeightsError
from body4d.models.load import choose_preset, load_seats, require_lite, require_sam, why_not_sam


@pytest.mark.parametrize(
    ("wanted", "missing", "preset", "words"),
    [
        ("auto", "no GPU", "lite", "no GPU"),
        ("auto", None, "sam", "checkpoints"),
        ("lite", "no GPU", "lite", ""),
        ("lite", None, "lite", ""),
        ("sam", None, "sam", ""),
    ],
)
def test_preset(wanted: str, missing: str | None, preset: str, words: str) -> None:
    got, note = choose_preset(wanted, missing)
    assert got == preset
    assert words in note
    assert bool(note) == (wanted == "auto")


def test_sam_says_which_package_is_missing() -> None:
    with pytest.raises(MissingDependencyError, match=r"needs transformers.*body4d\[sam\]"):
        require_sam(lambda name: name != "transformers")


def test_sam_says_which_checkpoint_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(preset="sam", weights=WeightsSettings(folder=str(tmp_path)))
    with pytest.raises(WeightsError, match=rf"SAM-3 has no checkpoint here \(looked in {tmp_path}\).*facebook/sam3.*--weights"):
        load_seats(settings)
    assert why_not_sam(settings) == "SAM-3 and SAM-3D-Body have no checkpoints here"
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "sam3").mkdir(exist_ok=True)
        (tmp_path / "sam3" / name).touch()
    save_file({"a": torch.zeros(1)}, tmp_path / "sam3" / "model.safetensors")
    assert why_not_sam(settings) == "SAM-3D-Body has no checkpoint here"
    body = tmp_path / "facebook" / "sam-3d-body-vith"
    (body / "assets").mkdir(parents=True)
    (body / "model.ckpt").touch()
    # What ends early is no reason to begin a run that cannot end.
    assert re.search("model.ckpt is empty: `body4d weights download sam3d-body` mends it$", why_not_sam(settings) or "")
    torch.save({}, body / "model.ckpt")
    assert "lacks assets/mhr_model.pt, the rig" in (why_not_sam(settings) or "")
    torch.save({}, body / "assets" / "mhr_model.pt")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert "no GPU" in (why_not_sam(settings) or "")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert why_not_sam(settings) is None


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cuda"):
        load_seats(Settings(preset="sam", compute=ComputeSettings(device="cuda"), weights=WeightsSettings(folder=str(tmp_path))))


@pytest.mark.parametrize("python", [(3, 13), (3, 14)])
def test_new_python_is_told_which_to_use(python: tuple[int, int]) -> None:
    with pytest.raises(MissingDependencyError, match=rf"cannot be installed on Python 3\.{python[1]}.*Use Python 3\.11 or 3\.12"):
        require_lite(python, lambda name: name != "mediapipe")


def test_missing_packages_are_named() -> None:
    with pytest.raises(MissingDependencyError, match=r"needs mediapipe and anny.*body4d\[lite\]"):
        require_lite((3, 12), lambda name: name == "torch")


def test_nothing_missing() -> None:
    require_lite((3, 13), lambda name: True)
