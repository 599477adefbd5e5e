"""Which preset is taken, and what is said where one cannot be."""

import re
import shutil
from pathlib import Path

import pytest

from body4d.config import ComputeSettings, Settings, WeightsSettings
from body4d.core.errors import DeviceError, MissingDependencyError, RunWarning, WeightsError
from body4d.run.presets import FIRST_TIME, NO_MOGE, choose_preset, load_components, require_lite, require_sam, why_not_sam
from fake_checkpoints import write_fake_checkpoints


@pytest.mark.parametrize(
    ("wanted", "missing", "preset", "words"),
    [
        ("auto", RunWarning("no_gpu", "no GPU"), "lite", "no GPU"),
        ("auto", None, "sam", "checkpoints"),
        ("lite", RunWarning("no_gpu", "no GPU"), "lite", ""),
        ("lite", None, "lite", ""),
        ("sam", None, "sam", ""),
    ],
)
def test_preset(wanted: str, missing: RunWarning | None, preset: str, words: str) -> None:
    got, warning = choose_preset(wanted, missing)
    assert got == preset
    assert (warning is not None) == (wanted == "auto")
    assert warning is None or words in warning.message


def test_sam_says_which_package_is_missing() -> None:
    with pytest.raises(MissingDependencyError, match=r"needs transformers.*body4d\[sam\]"):
        require_sam(lambda name: name != "transformers")


def test_sam_says_which_checkpoint_is_missing(tmp_path: Path) -> None:
    settings = Settings(preset="sam", weights=WeightsSettings(folder=str(tmp_path)))
    with pytest.raises(WeightsError, match=rf"SAM-3 has no checkpoint here \(looked in {tmp_path}\).*facebook/sam3.*--weights"):
        load_components(settings)
    assert reason(settings) == ("no_checkpoint", "SAM-3 and SAM-3D-Body have no checkpoints here")
    settings = whole(tmp_path)
    body = tmp_path / "facebook" / "sam-3d-body-vith"
    # What ends early is no reason to begin a run that cannot end.
    (body / "model.ckpt").write_bytes(b"")
    incomplete = why_not_sam(settings)
    assert incomplete is not None
    assert re.search("model.ckpt is empty$", incomplete.message)
    assert incomplete.hint == "`body4d weights download sam3d-body` repairs it."
    shutil.rmtree(body)
    assert reason(settings) == ("no_checkpoint", "SAM-3D-Body has no checkpoint here")


def reason(settings: Settings) -> tuple[str, str] | None:
    warning = why_not_sam(settings)
    return warning and (warning.code, warning.message)


def whole(folder: Path) -> Settings:
    """Settings of a folder in which everything that is looked for before work begins lies."""
    return Settings(preset="sam", weights=WeightsSettings(folder=str(write_fake_checkpoints(folder))))


def test_auto_takes_sam_where_all_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = whole(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert reason(settings) == ("no_gpu", "there is no GPU")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert why_not_sam(settings) is None


def test_the_first_run_of_a_machine_says_why_it_takes_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNY_CACHE_DIR", str(tmp_path))
    assert load_components(Settings(preset="lite")).setup_warnings == (FIRST_TIME,)
    (tmp_path / "v14").mkdir()
    (tmp_path / "v14" / "build_compact_model_data_0.safetensors").touch()
    assert load_components(Settings(preset="lite")).setup_warnings == ()


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ("sam3/model.safetensors", "holds no SAM-3 checkpoint"),
        ("sam3/config.json", "lacks config.json"),
        ("sam3/tokenizer.json", "lacks the tokenizer"),
        ("facebook/sam-3d-body-vith/model.ckpt", "holds no SAM-3D-Body weights"),
        ("facebook/sam-3d-body-vith/assets/mhr_model.pt", "lacks assets/mhr_model.pt"),
    ],
)
def test_half_a_download_is_found_out_before_work_begins(absent: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = whole(tmp_path)
    (tmp_path / absent).unlink()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.delenv("BODY4D_MHR", raising=False)
    assert why_not_sam(settings) is not None
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(WeightsError, match=words):
        load_components(settings)


def test_a_missing_lens_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert load_components(whole(tmp_path)).warnings[0] == NO_MOGE


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="device cuda is asked for"):
        load_components(Settings(preset="sam", compute=ComputeSettings(device="cuda"), weights=WeightsSettings(folder=str(tmp_path))))


@pytest.mark.parametrize("python", [(3, 13), (3, 14)])
def test_new_python_is_told_which_to_use(python: tuple[int, int]) -> None:
    with pytest.raises(MissingDependencyError, match=rf"cannot be installed on Python 3\.{python[1]}.*Use Python 3\.11 or 3\.12"):
        require_lite(python, lambda name: name != "mediapipe")


def test_missing_packages_are_named() -> None:
    with pytest.raises(MissingDependencyError, match=r"needs mediapipe and anny.*body4d\[lite\]"):
        require_lite((3, 12), lambda name: name == "torch")


def test_nothing_missing() -> None:
    require_lite((3, 13), lambda name: True)
