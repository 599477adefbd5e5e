"""SAM-3's folder: loaded strictly, without a network, and refused in one sentence where it is something else."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from body4d.core.errors import WeightsError
from body4d.models.sam3.checkpoint import find_sam3, load_sam3
from sam3_files import write_tiny_sam3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam3(tmp_path_factory.mktemp("weights") / "sam3")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(tiny, tmp_path / "sam3"))


def respelt(folder: Path, change) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def test_loads_every_tensor_as_it_lies_in_the_file(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    weights = load_sam3(tiny)
    assert not any(key.startswith("tracker_model.tracker_model") for key in load_file(tiny / "model.safetensors"))
    ours, file = weights.model.state_dict(), load_file(tiny / "model.safetensors")
    assert set(file) <= set(ours)
    assert all(torch.equal(ours[key], tensor) for key, tensor in file.items())
    assert {p.dtype for p in weights.model.parameters()} == {torch.float32}
    assert not weights.model.training
    assert weights.tokenizer("person")["input_ids"][0] == 0


def test_the_tiny_checkpoint_is_small(tiny: Path) -> None:
    assert sum(path.stat().st_size for path in tiny.iterdir()) < 20e6


def test_a_folder_that_holds_the_folder_is_found(tiny: Path) -> None:
    assert find_sam3(tiny.parent) == tiny == find_sam3(tiny)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    respelt(folder, lambda state: state.pop("tracker_model.no_object_pointer"))
    with pytest.raises(WeightsError, match=r"missing tracker_model\.no_object_pointer; unknown nothing"):
        load_sam3(folder)


def test_a_file_saved_again_by_transformers_loads_too(tiny: Path, tmp_path: Path) -> None:
    weights = load_sam3(tiny)
    weights.model.save_pretrained(tmp_path)
    weights.tokenizer.save_pretrained(tmp_path)
    again = load_sam3(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(weights.model.state_dict().values(), again.model.state_dict().values(), strict=True))


def test_an_unknown_tensor_is_named(folder: Path) -> None:
    respelt(folder, lambda state: state.update({"tracker_model.golf_club": torch.zeros(2)}))
    with pytest.raises(WeightsError, match=r"missing nothing; unknown tracker_model\.golf_club"):
        load_sam3(folder)


def test_a_tensor_of_another_shape_is_refused(folder: Path) -> None:
    respelt(folder, lambda state: state.update({"tracker_model.no_object_pointer": torch.zeros(1, 5)}))
    with pytest.raises(WeightsError, match=r"does not fit SAM-3: .*no_object_pointer"):
        load_sam3(folder)


def test_sam31_is_refused_by_its_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "sam3.1_multiplex.pt")
    with pytest.raises(WeightsError, match=r"holds SAM-3\.1 \(sam3\.1_multiplex\.pt\).*transformers cannot load yet\."):
        find_sam3(folder)


def test_the_original_file_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sam3.pt").write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"holds sam3\.pt and no model\.safetensors"):
        find_sam3(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: shutil.rmtree(f), "is no folder with a SAM-3 checkpoint"),
        (lambda f: (f / "model.safetensors").unlink(), "holds no SAM-3 checkpoint"),
        (lambda f: (f / "tokenizer.json").unlink(), "lacks the tokenizer"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read as a checkpoint"),
        (lambda f: (f / "config.json").write_text(json.dumps({"model_type": "sam2"})), "model of type 'sam2' and not SAM-3"),
        (lambda f: (f / "model.safetensors").write_text("<!DOCTYPE html>"), "is a web page"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:9000]), "damaged or cut short"),
    ],
)
def test_what_is_no_checkpoint_is_said_in_one_sentence(folder: Path, spoil, sentence: str) -> None:
    spoil(folder)
    for extra in ("vocab.json", "merges.txt"):
        (folder / extra).unlink(missing_ok=True)
    with pytest.raises(WeightsError, match=sentence) as error:
        load_sam3(folder)
    assert "\n" not in str(error.value)
