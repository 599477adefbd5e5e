"""Checkpoints of every layout give the same network, and what does not fit is named."""

import re

import pytest
import torch

from body4d.errors import WeightsError
from body4d.weights.sam3d_body import convert, load_sam3d_body


@pytest.fixture(scope="module")
def official(request):
    """A random checkpoint under the official keys, of the small size the goldens list."""
    shared = request.getfixturevalue("shared_folder")
    made = torch.Generator().manual_seed(5)
    state = {}
    for line in (shared / "goldens" / "state_dict_keys_small.txt").read_text().splitlines():
        key, shape, kind = line.split("\t")
        size = [int(n) for n in re.findall(r"\d+", shape)]
        if ".mhr." not in key:
            state[key] = torch.zeros(size, dtype=torch.long) if kind == "int64" else 0.02 * torch.randn(size, generator=made)
    return state


@pytest.fixture(scope="module")
def shared_folder():
    import os
    from pathlib import Path

    folder = os.environ.get("BODY4D_SHARED")
    if not folder:
        pytest.skip("BODY4D_SHARED is not set: the list of official keys is not on this machine")
    return Path(folder)


def same(a, b):
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k].to(left[k].dtype)) for k in left)


@pytest.mark.parametrize("nested", [False, True])
def test_official_and_converted_are_the_same_network(official, tmp_path, nested):
    torch.save({"state_dict": official} if nested else official, tmp_path / "model.ckpt")
    net = load_sam3d_body(tmp_path)
    convert(tmp_path, tmp_path / "converted", torch.float32)
    assert same(net, load_sam3d_body(tmp_path / "converted"))


def test_bfloat16_conversion_keeps_all_but_the_backbone(official, tmp_path):
    torch.save(official, tmp_path / "model.ckpt")
    convert(tmp_path, tmp_path / "half")
    net = load_sam3d_body(tmp_path / "half")
    kinds = {n.split(".")[0]: p.dtype for n, p in net.named_parameters()}
    assert kinds["backbone"] == torch.bfloat16
    assert {d for n, d in kinds.items() if n != "backbone"} == {torch.float32}


def test_repack_is_the_same_network(official, tmp_path):
    from safetensors.torch import save_file

    torch.save(official, tmp_path / "model.ckpt")
    net = load_sam3d_body(tmp_path)
    repack = {k: v.clone() for k, v in official.items() if not k.startswith("backbone.")}
    repack |= {"backbone." + k.removeprefix("backbone.vit."): v.clone() for k, v in net.state_dict().items() if k.startswith("backbone.")}
    repack["mhr.base_shape"] = torch.zeros(3)
    repack["head_pose.face_region_rgb"] = torch.zeros(3)
    folder = tmp_path / "repack"
    folder.mkdir()
    save_file(repack, folder / "sam_3d_body_dinov3_bf16.safetensors")
    assert same(net, load_sam3d_body(folder))


@pytest.mark.parametrize("key", ["decoder.layers.1.ffn.layers.0.0.bias", "prompt_encoder.point_embeddings.33.weight", "init_pose.weight"])
def test_missing_key_is_named(official, tmp_path, key):
    torch.save({k: v for k, v in official.items() if k != key}, tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match=r"lacks|missing"):
        load_sam3d_body(tmp_path)


def test_unknown_key_is_named(official, tmp_path):
    torch.save(official | {"decoder.layers.0.surprise": torch.zeros(1)}, tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match="surprise"):
        load_sam3d_body(tmp_path)


def test_no_checkpoint(tmp_path):
    with pytest.raises(WeightsError, match=r"model\.ckpt"):
        load_sam3d_body(tmp_path)


def test_code_in_a_pickle_is_not_run(tmp_path):
    torch.save({"weights": print}, tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_sam3d_body(tmp_path)
