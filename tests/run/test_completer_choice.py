"""Which completer preset sam gets, and the warning where its checkpoints are missing."""

from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from body4d.config import OcclusionSettings, Settings, WeightsSettings
from body4d.core.errors import MissingDependencyError, SettingsError, WeightsError
from body4d.core.stages import ignore_progress
from body4d.core.types import Clip, MaskTrack
from body4d.models.diffusion_vas.completer import VasCompleter
from body4d.run import presets as load
from body4d.run.presets import NoCompleter, choose_completer, load_components
from vas_files import write_tiny_depth_anything, write_tiny_diffusion_vas

AMODAL, CONTENT, DEPTH = "diffusion-vas-amodal-segmentation", "diffusion-vas-content-completion", "Depth-Anything-V2-Large-hf"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in (AMODAL, CONTENT):
        write_tiny_diffusion_vas(folder / name)
    write_tiny_depth_anything(folder / DEPTH)
    return folder


def settings(weights: Path, mode: Literal["auto", "on", "off"]) -> Settings:
    return Settings(preset="sam", occlusion=OcclusionSettings(mode=mode), weights=WeightsSettings(folder=str(weights)))


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_with_checkpoints(weights: Path, mode: Literal["auto", "on"]) -> None:
    completer, names = choose_completer(settings(weights, mode))
    assert isinstance(completer, VasCompleter)
    assert names == f"{AMODAL} + {CONTENT} + {DEPTH}"


def test_off_wants_none(tmp_path: Path) -> None:
    assert choose_completer(settings(tmp_path, "off")) == (None, "")


def test_on_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"Diffusion-VAS \(outlines\) has no checkpoint here.*kaihuac/diffusion-vas-amodal"):
        choose_completer(settings(tmp_path, "on"))


def test_an_incomplete_checkpoint_is_an_error_at_once(weights: Path, tmp_path: Path) -> None:
    for name in (AMODAL, CONTENT, DEPTH):
        (tmp_path / name).symlink_to(weights / name)
    (tmp_path / CONTENT).unlink()
    write_tiny_diffusion_vas(tmp_path / CONTENT)
    (tmp_path / CONTENT / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lacks vae/diffusion_pytorch_model\.safetensors"):
        choose_completer(settings(tmp_path, "auto"))


def test_without_diffusers(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_installed", lambda name: name != "diffusers")
    assert isinstance(choose_completer(settings(weights, "auto"))[0], NoCompleter)
    with pytest.raises(MissingDependencyError, match=r"needs diffusers.*body4d\[sam\]"):
        choose_completer(settings(weights, "on"))


def test_lite_completes_nobody() -> None:
    with pytest.raises(SettingsError, match="needs preset sam"):
        load_components(Settings(preset="lite", occlusion=OcclusionSettings(mode="on")))


class Frames:
    clip = Clip(Path("clip.mp4"), 64, 48, Fraction(30), np.arange(20) / 30, np.arange(20))

    def read(self, first: int = 0, last: int | None = None, step: int = 1):
        raise AssertionError("no frame need be read")


def standing(person_id: int, x: int, bottom: int) -> MaskTrack:
    mask = np.zeros((48, 64), bool)
    mask[6:bottom, x : x + 8] = True
    return MaskTrack(person_id, np.arange(20), (MaskTrack.encode(mask),) * 20, 48, 64)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([standing(1, 20, 40)], None),
        ([standing(1, 20, 40), standing(2, 24, 44)], "1 person may be hidden on 20 frames and cannot be completed: Diffusion-VAS"),
    ],
    ids=["alone", "crowded"],
)
def test_auto_says_it_in_one_note_where_it_matters(masks: list[MaskTrack], words: str | None, tmp_path: Path) -> None:
    completer, names = choose_completer(settings(tmp_path, "auto"))
    assert completer is not None
    assert names == ""
    assert completer.estimate_cost(Frames.clip, masks) is None
    output = completer.complete(Frames(), masks, ignore_progress)
    assert output.value == ()
    assert len(output.warnings) == (words is not None)
    if words:
        assert output.warnings[0].message.startswith(words)
        assert "and Depth-Anything-V2 have no checkpoints here" in output.warnings[0].message
