"""Reading a checkpoint file: what is no checkpoint is named, its code is not run, and what does not fit a network is listed."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from body4d.checkpoints.loading import load_strict, read_checkpoint_file, read_config
from body4d.core.errors import WeightsError


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch code_was_run",)


class _Script(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def write_broken(kind: str, folder: Path) -> Path:
    path = folder / "model.ckpt"
    tensors = {"weights": torch.zeros(20000)}
    if kind == "holds_code":
        torch.save({"weights": _Code()}, path)
    elif kind == "torchscript":
        torch.jit.script(_Script()).save(str(path))
    elif kind == "damaged":
        torch.save(tensors, path)
        path.write_bytes(path.read_bytes()[:-500])
    elif kind == "damaged safetensors":
        path = path.with_suffix(".safetensors")
        save_file(tensors, path)
        path.write_bytes(path.read_bytes()[:-500])
    elif kind != "unreadable":
        texts = {"web_page": "\n<!DOCTYPE html><html>", "lfs_pointer": "version https://git-lfs.github.com/spec/v1\n", "damaged empty": ""}
        path.write_text(texts[kind])
    return path


@pytest.mark.parametrize(
    "kind", ["web_page", "lfs_pointer", "holds_code", "torchscript", "damaged", "damaged safetensors", "damaged empty", "unreadable"]
)
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_broken(kind, tmp_path)
    with pytest.raises(WeightsError) as raised:
        read_checkpoint_file(path)
    assert raised.value.code == f"checkpoint_{kind.split()[0]}"
    assert raised.value.message.startswith(str(path))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "code_was_run").exists()


def test_a_configuration_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for text, code in (("[]", "checkpoint_config_invalid"), ("{", "checkpoint_damaged")):
        path.write_text(text)
        with pytest.raises(WeightsError) as raised:
            read_config(path)
        assert raised.value.code == code


def test_a_state_that_does_not_fit_is_listed() -> None:
    network = torch.nn.Linear(2, 3, device="meta")
    good = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    for state, facts, words in [
        ({"bias": good["bias"]}, {"missing": ["weight"], "unknown": [], "mismatched": []}, "missing weight; unknown nothing"),
        (good | {f"x{i}": torch.ones(1) for i in range(5)}, None, "missing nothing; unknown x0, x1, x2 and 2 more"),
        (good | {"bias": torch.ones(5)}, {"mismatched": ["bias"]}, r"bias has shape \(5,\), expected \(3,\)"),
    ]:
        with pytest.raises(WeightsError, match=words) as raised:
            load_strict(network, state, "model.pt", "Linear")
        assert raised.value.code == "checkpoint_mismatch"
        assert facts in (None, raised.value.facts)
    load_strict(network, good, "model.pt", "Linear")
    assert torch.equal(network(torch.ones(1, 2)), torch.full((1, 3), 3.0))
