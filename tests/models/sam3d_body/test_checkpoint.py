"""Checkpoints of every layout give the same network, and what does not fit is named in one sentence."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from body4d.core.errors import WeightsError
from body4d.models.sam3d_body.checkpoint import UNUSED_KEYS, find_checkpoint, load_sam3d_body, network_key, read_checkpoint
from body4d.models.sam3d_body.network.model import Sam3dBody
from mhr_files import make_rig, save_repack, save_script
from sam3d_files import FULL, NEVER_RELEASED, TINY, TINY_VIT, as_repack, official_shapes, official_state, save_official

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def official() -> State:
    return official_state(TINY)


@pytest.fixture(scope="module")
def folder(official: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_official(official, tmp_path_factory.mktemp("official")).parent


@pytest.fixture(scope="module")
def net(folder: Path) -> Sam3dBody:
    return load_sam3d_body(folder)


def same(a: Sam3dBody, b: Sam3dBody) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k].to(left[k].dtype)) for k in left)


@pytest.mark.parametrize("size", ["small", "full"])
def test_made_checkpoints_have_the_published_keys(shared: Path, size: str) -> None:
    lines = (shared / "goldens" / f"state_dict_keys_{size}.txt").read_text().splitlines()
    listed = {key: tuple(int(n) for n in re.findall(r"\d+", shape)) for key, shape, _ in (line.split("\t") for line in lines)}
    made = official_shapes(FULL)
    if size == "full":
        assert made == listed
    assert {re.sub(r"\d+", "0", key) for key in listed} == {re.sub(r"\d+", "0", key) for key in made}


def test_the_released_file_has_1127_tensors_and_lacks_three_of_upstreams_network() -> None:
    released = [key for key in official_shapes(FULL) if key not in NEVER_RELEASED]
    assert len(released) == 1127
    assert sum(key.startswith("backbone.") for key in released) == 551


def test_official_folder_and_file_as_released(folder: Path, official: State, net: Sam3dBody) -> None:
    assert (folder / "model_config.yaml").exists()
    assert same(net, load_sam3d_body(folder / "model.ckpt"))
    assert net.backbone.state_dict()["vit.norm.weight"].dtype == torch.bfloat16
    given = official["decoder.layers.1.cross_attn.k_proj.weight"]
    assert torch.equal(net.body.decoder.layers[1].cross_attn.k_proj.weight, given)
    mapping = official["head_pose.keypoint_mapping"][:70]
    head = net.body.head_pose
    assert torch.equal(head.keypoint_from_vertex, mapping[:, head.keypoint_vertex])
    assert 100 < len(head.keypoint_vertex) <= 210


def test_upstreams_own_state_dict_with_all_its_keys_and_nested_loads_too(official: State, net: Sam3dBody, tmp_path: Path) -> None:
    shapes = official_shapes(TINY)
    whole = official | {key: torch.zeros(shapes[key]) for key in NEVER_RELEASED} | {"image_mean": torch.zeros(3, 1, 1)}
    torch.save({"state_dict": whole, "epoch": 3}, tmp_path / "model.ckpt")
    assert same(net, load_sam3d_body(tmp_path))


def test_vit_h_folder(tmp_path: Path) -> None:
    state = official_state(TINY_VIT)
    net = load_sam3d_body(save_official(state, tmp_path, "vit_hmr_512_384").parent)
    assert net.sizes == TINY_VIT
    assert torch.equal(net.backbone.state_dict()["pos_embed"], state["backbone.pos_embed"])


def test_repack_is_the_same_network_and_brings_its_rig(official: State, net: Sam3dBody, tmp_path: Path) -> None:
    from body4d.bodies.mhr.module import load_mhr

    rig = save_repack(make_rig(), tmp_path / "rig.safetensors")
    state = as_repack(official)
    assert sum(key.startswith("backbone.layer.1.") for key in state) == 19
    rig_tensors = {key: tensor for key, tensor in read_checkpoint(rig).items() if key.startswith("mhr.")}
    # The rig here is smaller than the network's keypoints; the network takes no notice of it.
    path = tmp_path / "sam_3d_body_dinov3_bf16.safetensors"
    save_file(state | rig_tensors, path)
    assert same(net, load_sam3d_body(path))
    rig.unlink()
    assert find_checkpoint(tmp_path) == path
    assert load_mhr(save_repack(make_rig(), tmp_path / "whole.safetensors")).name == "mhr"


def test_every_key_of_the_repack_is_taken_or_known_as_unused(official: State) -> None:
    known = {key for key in as_repack(official) if not key.startswith("backbone.")} | {
        f"mhr.{name}" for name in ("base_shape", "skel_pmi_buffer_sizes", "pose_corr_sparse_shape", "lbs_skin_weights")
    }
    unused = {key for key in known if UNUSED_KEYS.match(key)}
    assert {re.sub(r"\..*", "", key) for key in unused} == {"mhr", "face_landmarker", "head_pose", "head_pose_hand"}
    assert {key for key in unused if key.startswith("head_pose")} == {
        "head_pose.face_region_rgb",
        "head_pose.faces",
        "head_pose_hand.faces",
    }
    assert network_key("hand_cls_embed.weight") == "hand_cls_embed.weight"


def test_the_official_file_goes_before_the_repack(official: State, tmp_path: Path) -> None:
    save_official(official, tmp_path)
    save_file(as_repack(official), tmp_path / "sam_3d_body_dinov3_bf16.safetensors")
    (tmp_path / "assets").mkdir()
    save_script(make_rig(), tmp_path / "assets" / "mhr_model.pt")
    assert find_checkpoint(tmp_path).name == "model.ckpt"
    assert find_checkpoint(tmp_path / "model.ckpt").name == "model.ckpt"


@pytest.mark.parametrize(
    "key",
    ["decoder.layers.1.ffn.layers.0.0.bias", "prompt_encoder.point_embeddings.33.weight", "init_pose.weight", "backbone.encoder.cls_token"],
)
def test_missing_key_is_named(official: State, tmp_path: Path, key: str) -> None:
    torch.save({k: v for k, v in official.items() if k != key}, tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match=r"lacks|missing") as error:
        load_sam3d_body(tmp_path)
    assert "model.ckpt" in str(error.value)


def test_unknown_keys_and_wrong_shapes_are_named(official: State, tmp_path: Path) -> None:
    torch.save(official | {"decoder.layers.0.surprise": torch.zeros(1)}, tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match="surprise"):
        load_sam3d_body(tmp_path)
    torch.save(official | {"backbone.encoder.blocks.0.attn.surprise.weight": torch.zeros(1)}, tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match="surprise"):
        load_sam3d_body(tmp_path)
    torch.save(official | {"prompt_to_token.bias": torch.zeros(5)}, tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match=r"prompt_to_token\.bias has shape \(5,\), expected \(64,\)"):
        load_sam3d_body(tmp_path)


def test_another_model_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(10)}, tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match="no complete SAM-3D-Body checkpoint"):
        load_sam3d_body(tmp_path)
    torch.save([1, 2], tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_sam3d_body(tmp_path)
    save_file({"backbone.embeddings.cls_token": torch.zeros(1)}, tmp_path / "another.safetensors")
    with pytest.raises(WeightsError, match="no complete SAM-3D-Body checkpoint"):
        load_sam3d_body(tmp_path / "another.safetensors")


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.ckpt"):
        load_sam3d_body(tmp_path)
    with pytest.raises(WeightsError, match="nowhere"):
        load_sam3d_body(tmp_path / "nowhere")
