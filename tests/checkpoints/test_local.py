"""What this machine has: layouts of others, incomplete files, unsupported forms, the cache of huggingface_hub; and verification."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from body4d.checkpoints.local import find_path, hub_cache, inspect_checkpoint, inspect_checkpoints, require_path, verify_checkpoints
from body4d.checkpoints.registry import CHECKPOINTS, MOGE, SAM3D_BODY, Checkpoint, PublishedFile
from body4d.config import WeightsSettings
from body4d.core.errors import WeightsError
from body4d.models.sam3d_body.checkpoint import find_checkpoint
from checkpoint_files import archive, safetensors, text
from weights_fakes import GATED, MODEL, WEIGHTS


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkpoint but those a test makes."""
    for name in ("HF_HUB_CACHE", "BODY4D_WEIGHTS", "BODY4D_MHR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def settings(tmp_path: Path) -> WeightsSettings:
    return WeightsSettings(folder=str(tmp_path / "checkpoints"))


def sam_body4d_layout(root: Path) -> None:
    """What SAM-Body4D's setup script leaves behind."""
    archive(root / "sam3" / "sam3.pt")
    archive(root / "sam-3d-body-dinov3" / "model.ckpt")
    archive(root / "sam-3d-body-dinov3" / "assets" / "mhr_model.pt")
    text(root / "sam-3d-body-dinov3" / "model_config.yaml")
    archive(root / "moge-2-vitl-normal" / "model.pt")
    archive(root / "depth_anything_v2_vitl.pth")
    for name in ("diffusion-vas-amodal-segmentation", "diffusion-vas-content-completion"):
        folder = root / name
        text(folder / "scheduler" / "scheduler_config.json")
        text(folder / ".complete")
        for part, file in (("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("image_encoder", "model")):
            text(folder / part / "config.json")
            safetensors(folder / part / f"{file}.fp16.safetensors")


def test_the_followed_systems_folders_are_recognised(settings: WeightsSettings, tmp_path: Path) -> None:
    sam_body4d_layout(tmp_path / "checkpoints")
    found = {one.checkpoint.key: one for one in inspect_checkpoints(settings)}
    assert {key: one.state for key, one in found.items()} == {
        "sam3": "unsupported",
        "sam3d-body": "ready",
        "moge": "ready",
        "vas-amodal": "ready",
        "vas-content": "ready",
        "depth-anything": "unsupported",
        "blazepose": "absent",
        "blazepose-heavy": "absent",
        "hand-landmarks": "absent",
    }
    assert "sam3.pt is the original form, which is not read." in found["sam3"].message
    assert found["sam3"].hint == "`body4d weights download sam3` fetches the form that is read."
    assert "depth_anything_v2_vitl.pth is the original form, which is not read" in found["depth-anything"].message
    assert all(one.record is None and one.source is None for one in found.values())
    assert all(one.licence.name for one in found.values())


def test_nothing_here_says_where_it_was_looked_for(settings: WeightsSettings, tmp_path: Path) -> None:
    for one in inspect_checkpoints(settings):
        assert (one.state, one.path, one.size_bytes) == ("absent", None, 0)
        assert str(tmp_path / "checkpoints") in one.message
        assert one.checkpoint.download_command in one.hint
        with pytest.raises(WeightsError, match=re.escape(one.checkpoint.sources[0].page)) as raised:
            require_path(one.checkpoint, settings)
        assert (raised.value.code, raised.value.facts) == ("checkpoint_absent", {"checkpoint": one.checkpoint.key})


@pytest.mark.parametrize("model", [one for one in CHECKPOINTS if one.hub_sources], ids=lambda model: model.key)
def test_every_layout_of_the_catalogue_is_complete_and_needs_every_file(
    model: Checkpoint, settings: WeightsSettings, tmp_path: Path
) -> None:
    for number, layout in enumerate(model.layouts):
        folder = tmp_path / str(number)
        made = []
        for pattern in layout:
            path = folder / pattern.replace("*", "x")
            made.append({".safetensors": safetensors, ".ckpt": archive, ".pt": archive}.get(path.suffix, text)(path))
        archive(folder / "assets" / "mhr_model.pt")
        here = settings.model_copy(update={model.setting: str(folder)})
        assert inspect_checkpoint(model, here).ready
        for path in made:
            path.rename(path.with_suffix(".gone"))
            assert inspect_checkpoint(model, here).state == "damaged"
            path.with_suffix(".gone").rename(path)


def test_a_whole_place_goes_before_a_half_one(settings: WeightsSettings, tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    half = archive(root / "sam-3d-body-dinov3" / "model.ckpt")
    half.write_bytes(half.read_bytes()[:-30])
    assert find_path(SAM3D_BODY, settings) == root / "sam-3d-body-dinov3"
    seen = inspect_checkpoint(SAM3D_BODY, settings)
    assert seen.state == "damaged"
    repack = safetensors(root / "sam-3d-body" / "detection" / "sam_3d_body_dinov3_bf16.safetensors")
    assert find_path(SAM3D_BODY, settings) == root / "sam-3d-body"
    assert inspect_checkpoint(SAM3D_BODY, settings).ready  # the rig is inside
    assert find_checkpoint(root / "sam-3d-body") == repack


def test_a_lacking_rig_is_told_unless_one_is_named(settings: WeightsSettings, tmp_path: Path) -> None:
    archive(tmp_path / "checkpoints" / "sam-3d-body-dinov3" / "model.ckpt")
    seen = inspect_checkpoint(SAM3D_BODY, settings)
    assert seen.state == "damaged"
    assert "lacks assets/mhr_model.pt, the rig" in seen.message
    assert inspect_checkpoint(SAM3D_BODY, settings, {"BODY4D_MHR": "/somewhere"}).ready


def test_the_cache_of_huggingface_hub_is_used_where_nothing_is_told(tmp_path: Path) -> None:
    assert hub_cache() == tmp_path / "hf" / "hub"
    folder = hub_cache() / "models--Ruicheng--moge-2-vitl-normal" / "snapshots" / ("a" * 40)
    blob = archive(folder.parents[1] / "blobs" / ("0" * 64))
    folder.mkdir(parents=True)
    (folder / "model.pt").symlink_to(blob)
    seen = inspect_checkpoint(MOGE, WeightsSettings())
    assert (seen.state, seen.path, seen.in_hub_cache) == ("ready", folder, True)
    # The blob's name is the sum of other bytes.
    assert states(WeightsSettings(), MOGE) == {"model.pt": "altered"}
    assert inspect_checkpoint(MOGE, WeightsSettings(folder=str(tmp_path / "elsewhere"))).state == "absent"


def test_a_place_told_for_one_model_is_the_only_one(settings: WeightsSettings, tmp_path: Path) -> None:
    archive(tmp_path / "checkpoints" / "moge-2-vitl-normal" / "model.pt")
    file = archive(tmp_path / "my.pt")
    assert find_path(MOGE, settings) == tmp_path / "checkpoints" / "moge-2-vitl-normal"
    assert find_path(MOGE, settings.model_copy(update={"moge": str(file)})) == file
    gone = settings.model_copy(update={"moge": str(tmp_path / "nothing")})
    assert find_path(MOGE, gone) is None
    with pytest.raises(WeightsError, match=r"looked in .*/nothing\)"):
        require_path(MOGE, gone)


def test_files_put_there_by_hand_are_known_by_their_sizes(settings: WeightsSettings, tmp_path: Path) -> None:
    file = archive(tmp_path / "checkpoints" / "moge" / "model.pt")
    assert inspect_checkpoint(MOGE, settings).origin == {"checkpoint": "MoGe-2", "licence": "MIT"}
    source = replace(MOGE.hub_sources[0], files=(PublishedFile("model.pt", file.stat().st_size),))
    seen = inspect_checkpoint(replace(MOGE, sources=(source,)), settings)
    assert seen.origin == {"checkpoint": "MoGe-2", "repository": "Ruicheng/moge-2-vitl-normal", "licence": "MIT"}


def states(settings: WeightsSettings, model: Checkpoint = MODEL) -> dict[str, str]:
    return {check.path.name: check.state for check in verify_checkpoints([model], settings)[model.key]}


def test_files_put_there_by_hand_are_compared_with_the_catalogue(settings: WeightsSettings) -> None:
    folder = Path(str(settings.folder)) / "model"
    text(folder / "config.json")
    (folder / "model.ckpt").write_bytes(WEIGHTS)
    known = PublishedFile("model.ckpt", len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())

    def state(file: PublishedFile) -> str:
        found = states(settings, replace(MODEL, sources=(replace(GATED, files=(file,)),)))
        assert found["config.json"] == "unverified"
        return found["model.ckpt"]

    assert state(known) == "verified"
    assert state(replace(known, sha256="0" * 64)) == "altered"
    assert state(replace(known, size_bytes=len(WEIGHTS) + 1, sha256="0" * 64)) == "truncated"
    assert state(replace(known, sha256=None)) == "unverified"


def test_what_is_not_here_is_not_verified(settings: WeightsSettings) -> None:
    assert verify_checkpoints([MODEL], settings) == {}
