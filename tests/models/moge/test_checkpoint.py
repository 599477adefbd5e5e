"""The published file is read strictly, and what does not fit is named in one sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch

from body4d.core.errors import WeightsError
from body4d.models.moge.checkpoint import find_moge, load_moge
from moge_files import official_state, tiny_config, write_tiny_moge


def save(folder: Path, config: Any, state: Any) -> Path:
    torch.save({"model_config": config, "model": state}, folder / "model.pt")
    return folder


def test_the_published_file_loads_from_its_folder_and_by_its_name(tmp_path: Path) -> None:
    path = write_tiny_moge(tmp_path)
    assert find_moge(tmp_path) == path
    state = official_state(tiny_config())
    for net in (load_moge(tmp_path), load_moge(path)):
        assert not net.training
        assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())


def test_half_precision_files_load_as_float32(tmp_path: Path) -> None:
    state = {key: tensor.half() for key, tensor in official_state(tiny_config()).items()}
    assert {t.dtype for t in load_moge(save(tmp_path, tiny_config(), state)).state_dict().values()} == {torch.float32}


def test_parts_the_network_is_not_made_of_may_be_missing(tmp_path: Path) -> None:
    state = official_state(tiny_config())
    for key in ("encoder.backbone.mask_token", "encoder.image_mean", "encoder.image_std"):
        del state[key]
    net = load_moge(save(tmp_path, tiny_config(), state))
    assert net.encoder.image_mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_a_checkpoint_without_normals_loads(tmp_path: Path) -> None:
    config = tiny_config()
    state = {key: tensor for key, tensor in official_state(config).items() if not key.startswith("normal_head.")}
    del config["normal_head"]
    assert load_moge(save(tmp_path, config, state)).normal_head is None


def without(key: str) -> Any:
    return lambda config, state: state.pop(key)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("neck.input_blocks.0.bias"), "missing neck.input_blocks.0.bias; unknown nothing"),
        (without("encoder.backbone.pos_embed"), "lacks 'encoder.backbone.pos_embed'"),
        (lambda config, state: state.update(extra=torch.zeros(1)), "missing nothing; unknown extra"),
        (
            lambda config, state: state.update({"scale_head.0.bias": torch.zeros(3)}),
            r"scale_head.0.bias has shape \(3,\), expected \(64,\)",
        ),
        (lambda config, state: config["encoder"].update(backbone="dinov2_vitl14"), "names dinov2_vitl14, 24 blocks 1024 wide.*4 of 64"),
        (lambda config, state: config["encoder"].update(intermediate_layers=[3, 9]), r"maps of blocks \[3, 9\] of 4"),
        (lambda config, state: config.pop("points_head"), "lacks 'points_head'"),
        (lambda config, state: config.pop("neck"), "lacks 'neck'"),
        (lambda config, state: config.update(remap_output="log"), "remap_output 'log'"),
        (lambda config, state: config["neck"].update(dim_res_blocks=[64, 32]), "2 levels"),
        (lambda config, state: config["neck"].update(resamplers=["bilinear"]), "1 values"),
        (lambda config, state: config["neck"].update(res_block_in_norm="batch_norm"), "'batch_norm'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: Any, words: str) -> None:
    config, state = tiny_config(), official_state(tiny_config())
    change(config, state)
    with pytest.raises(WeightsError, match=words):
        load_moge(save(tmp_path, config, state))


def test_other_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No MoGe-2 weights in"):
        load_moge(tmp_path)
    torch.save(official_state(tiny_config()), tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="expected a model_config"):
        load_moge(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"<html>not logged in</html>")
    with pytest.raises(WeightsError, match="web page"):
        load_moge(tmp_path)
    write_tiny_moge(tmp_path)
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        load_moge(tmp_path)
