"""The backbones against those of transformers, which are the same networks written by others."""

import pytest
import torch
from torch import Tensor

import sam3d_helpers as helpers
from body4d.models.sam3d_body.checkpoint import network_key
from body4d.models.sam3d_body.network.backbone import VitBackbone
from sam3d_files import TINY_VIT, official_state


def test_the_dinov3_backbone_is_that_of_transformers() -> None:
    backbone = helpers.tiny_net().backbone
    pixels = torch.randn(2, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = backbone.vit(pixels).last_hidden_state[:, 5:].mT.unflatten(2, (32, 32))
        torch.testing.assert_close(backbone(pixels), expected, atol=2e-5, rtol=1e-5)


def transformers_state(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """An official checkpoint's backbone under transformers' names."""
    out = {
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["last_norm.weight"],
        "layernorm.bias": state["last_norm.bias"],
    }
    names = {
        "norm1": "layernorm_before", "attn.proj": "attention.output.dense", "norm2": "layernorm_after", "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }  # fmt: skip
    for i in range(depth):
        for leaf in ("weight", "bias"):
            parts = state[f"blocks.{i}.attn.qkv.{leaf}"].chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                out[f"encoder.layer.{i}.attention.attention.{name}.{leaf}"] = part
            for old, new in names.items():
                out[f"encoder.layer.{i}.{new}.{leaf}"] = state[f"blocks.{i}.{old}.{leaf}"]
    return out


@pytest.mark.parametrize("seed", [0, 1])
def test_the_vit_backbone_is_vitposes(seed: int) -> None:
    from transformers import VitPoseBackbone, VitPoseBackboneConfig

    sizes = TINY_VIT.backbone
    # Larger than trained weights, so that attention is far from even and every part counts.
    state = {
        network_key(key).removeprefix("backbone."): tensor.float() * (1 if "norm" in key else 8)
        for key, tensor in official_state(TINY_VIT, seed).items()
        if key.startswith("backbone.")
    }
    ours = VitBackbone(sizes, TINY_VIT.grid)
    ours.load_state_dict(state)
    config = VitPoseBackboneConfig(
        image_size=[512, 384], patch_size=[16, 16], hidden_size=sizes.width, num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.heads, mlp_ratio=sizes.hidden // sizes.width, qkv_bias=True, hidden_act="gelu", layer_norm_eps=1e-5,
        out_indices=[sizes.depth],
    )  # fmt: skip
    reference = VitPoseBackbone(config).eval()
    reference.load_state_dict(transformers_state(state, sizes.depth), strict=True)
    pixels = torch.randn(2, 3, 512, 384, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        wanted = reference(pixels).feature_maps[-1]
        found = ours(pixels)
    assert found.shape == (2, sizes.width, 32, 24)
    torch.testing.assert_close(found.flatten(2).mT, wanted, rtol=1e-4, atol=1e-4)
