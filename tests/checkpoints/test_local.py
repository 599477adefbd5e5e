"""What is here: layouts of others, halves, other forms, the cache of huggingface_hub; and what the catalogue says of itself."""

import json
import re
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from body4d.checkpoints.intact import cut_short
from body4d.checkpoints.local import look, look_at
from body4d.checkpoints.registry import (
    CHECKPOINTS,
    DEPTH_ANYTHING,
    MOGE,
    SAM3,
    SAM3D_BODY,
    VAS_AMODAL,
    VAS_CONTENT,
    find,
    hub_cache,
    place,
)
from body4d.checkpoints.sources import Checkpoint, PublishedFile
from body4d.checkpoints.verify import verify
from body4d.config import WeightsSettings
from body4d.core.errors import WeightsError
from body4d.models.sam3d_body.checkpoint import find_checkpoint


def safetensors(path: Path, values: int = 4) -> Path:
    """A whole safetensors file of one tensor."""
    head = json.dumps({"a": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4 * values))
    return path


def archive(path: Path) -> Path:
    """A whole archive, the form of PyTorch's files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", b"\x80\x02}q\x00." * 50)
    return path


def text(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkpoint but those a test makes."""
    for name in ("HF_HUB_CACHE", "BODY4D_WEIGHTS", "BODY4D_MHR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def told(tmp_path: Path) -> WeightsSettings:
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


def test_the_followed_systems_folders_are_recognised(told: WeightsSettings, tmp_path: Path) -> None:
    sam_body4d_layout(tmp_path / "checkpoints")
    found = {one.model.key: one for one in look(told)}
    assert {key: one.state for key, one in found.items()} == {
        "sam3": "foreign",
        "sam3d-body": "ready",
        "moge": "ready",
        "vas-amodal": "ready",
        "vas-content": "ready",
        "depth-anything": "foreign",
    }
    assert re.search(
        r"sam3\.pt is the original form, which is not read: `body4d weights download sam3` fetches the form that is read",
        found["sam3"].sentence,
    )
    assert "depth_anything_v2_vitl.pth is the original form, which is not read" in found["depth-anything"].sentence
    assert all(one.record is None and one.source is None for one in found.values())
    assert all(one.licence.name for one in found.values())


def test_nothing_here_says_where_it_was_looked_for(told: WeightsSettings, tmp_path: Path) -> None:
    for one in look(told):
        assert (one.state, one.place, one.size_bytes) == ("absent", None, 0)
        assert str(tmp_path / "checkpoints") in one.sentence
        assert f"body4d weights download {one.model.key}" in one.sentence
        with pytest.raises(WeightsError, match=re.escape(one.model.sources[0].page)):
            place(one.model, told)


@pytest.mark.parametrize("model", CHECKPOINTS, ids=lambda model: model.key)
def test_every_layout_of_the_catalogue_counts_as_whole_and_lacks_nothing(model: Checkpoint, told: WeightsSettings, tmp_path: Path) -> None:
    for number, layout in enumerate(model.layouts):
        folder = tmp_path / str(number)
        made = []
        for pattern in layout:
            path = folder / pattern.replace("*", "x")
            made.append({".safetensors": safetensors, ".ckpt": archive, ".pt": archive}.get(path.suffix, text)(path))
        archive(folder / "assets" / "mhr_model.pt")
        settings = told.model_copy(update={model.key.replace("-", "_"): str(folder)})
        assert look_at(model, settings).ready
        for path in made:
            path.rename(path.with_suffix(".gone"))
            assert look_at(model, settings).state == "damaged"
            path.with_suffix(".gone").rename(path)


def test_a_whole_place_goes_before_a_half_one(told: WeightsSettings, tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    half = archive(root / "sam-3d-body-dinov3" / "model.ckpt")
    half.write_bytes(half.read_bytes()[:-30])
    assert find(SAM3D_BODY, told) == root / "sam-3d-body-dinov3"
    seen = look_at(SAM3D_BODY, told)
    assert seen.state == "damaged"
    repack = safetensors(root / "sam-3d-body" / "detection" / "sam_3d_body_dinov3_bf16.safetensors")
    assert find(SAM3D_BODY, told) == root / "sam-3d-body"
    assert look_at(SAM3D_BODY, told).ready  # the rig is inside
    assert find_checkpoint(root / "sam-3d-body") == repack


def test_a_lacking_rig_is_told_unless_one_is_named(told: WeightsSettings, tmp_path: Path) -> None:
    archive(tmp_path / "checkpoints" / "sam-3d-body-dinov3" / "model.ckpt")
    seen = look_at(SAM3D_BODY, told)
    assert seen.state == "damaged"
    assert "lacks assets/mhr_model.pt, the rig" in seen.sentence
    assert look_at(SAM3D_BODY, told, {"BODY4D_MHR": "/somewhere"}).ready


def test_the_cache_of_huggingface_hub_is_used_where_nothing_is_told(tmp_path: Path) -> None:
    assert hub_cache() == tmp_path / "hf" / "hub"
    folder = hub_cache() / "models--Ruicheng--moge-2-vitl-normal" / "snapshots" / ("a" * 40)
    blob = archive(folder.parents[1] / "blobs" / ("0" * 64))
    folder.mkdir(parents=True)
    (folder / "model.pt").symlink_to(blob)
    seen = look_at(MOGE, WeightsSettings())
    assert (seen.state, seen.place, seen.in_hub_cache) == ("ready", folder, True)
    assert [one.state for one in verify([MOGE], WeightsSettings())] == ["altered"]  # its sum is not what the blob's name says
    assert look_at(MOGE, WeightsSettings(folder=str(tmp_path / "elsewhere"))).state == "absent"


def test_a_place_told_for_one_model_is_the_only_one(told: WeightsSettings, tmp_path: Path) -> None:
    archive(tmp_path / "checkpoints" / "moge-2-vitl-normal" / "model.pt")
    file = archive(tmp_path / "my.pt")
    assert find(MOGE, told) == tmp_path / "checkpoints" / "moge-2-vitl-normal"
    assert find(MOGE, told.model_copy(update={"moge": str(file)})) == file
    gone = told.model_copy(update={"moge": str(tmp_path / "nothing")})
    assert find(MOGE, gone) is None
    with pytest.raises(WeightsError, match=r"looked in .*/nothing\)"):
        place(MOGE, gone)


def test_files_put_there_by_hand_are_known_by_their_sizes(told: WeightsSettings, tmp_path: Path) -> None:
    file = archive(tmp_path / "checkpoints" / "moge" / "model.pt")
    assert look_at(MOGE, told).origin == {"checkpoint": "MoGe-2", "licence": "MIT"}
    source = replace(MOGE.sources[0], files=(PublishedFile("model.pt", file.stat().st_size),))
    seen = look_at(replace(MOGE, sources=(source,)), told)
    assert seen.origin == {"checkpoint": "MoGe-2", "repository": "Ruicheng/moge-2-vitl-normal", "licence": "MIT"}


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_safetensors_file_that_ends_early(tmp_path: Path, keep: int) -> None:
    path = safetensors(tmp_path / "a.safetensors")
    assert cut_short(path) is None
    path.write_bytes(path.read_bytes()[:keep])
    assert re.search("half there|no safetensors", cut_short(path) or "")


def test_a_safetensors_file_with_more_behind_its_end(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes() + b"more")
    assert "something behind its end" in (cut_short(path) or "")


@pytest.mark.parametrize(("keep", "said"), [(0, "is empty"), (50, "end of the archive is missing"), (-1, "end of the archive is missing")])
def test_an_archive_that_ends_early(tmp_path: Path, keep: int, said: str) -> None:
    path = archive(tmp_path / "a.ckpt")
    assert cut_short(path) is None
    path.write_bytes(path.read_bytes()[:keep])
    assert said in (cut_short(path) or "")


def test_other_files_are_taken_as_they_are(tmp_path: Path) -> None:
    assert cut_short(text(tmp_path / "config.json")) is None
    (tmp_path / "old.pt").write_bytes(b"\x80\x02 a pickle of old")
    assert cut_short(tmp_path / "old.pt") is None
    assert "cannot be read" in (cut_short(tmp_path / "gone.pt") or "")


def test_the_catalogue_is_consistent() -> None:
    assert len({model.key for model in CHECKPOINTS}) == len(CHECKPOINTS) == 6
    fields = WeightsSettings.model_fields
    for model in CHECKPOINTS:
        assert model.key.replace("-", "_") in fields
        assert model.sources[0].automatic
        for source in model.sources:
            assert source.revision is None or re.fullmatch(r"[0-9a-f]{40}", source.revision)
            assert source.licence.name
            assert source.licence.url.startswith("https://")
            for file in source.files:
                assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
                assert file.sha256 is None or file.size_bytes
            made = [file.path for file in source.files] + [p.replace("*", "x") for p in source.patterns]
            assert set(source.wanted([*made, "README.md", "pytorch_model.bin"])) == set(made)
    assert [source.gated for source in SAM3D_BODY.sources] == [True, False, True]
    assert SAM3.sources[0].gated
    assert not any(model.sources[0].gated for model in (MOGE, VAS_AMODAL, VAS_CONTENT, DEPTH_ANYTHING))


def test_of_two_precisions_the_one_that_is_read_is_fetched() -> None:
    source = VAS_AMODAL.sources[0]
    both = ["unet/a.safetensors", "unet/a.fp16.safetensors", "vae/b.fp16.safetensors", "unet/config.json", "unet/a.bin", "demo/x.mp4"]
    assert source.wanted(both) == ("unet/a.safetensors", "unet/config.json", "vae/b.fp16.safetensors")
