"""SAM-3's encoder with tokens in window order: the numbers of transformers' own."""

import pytest
import torch
from transformers.models.sam3.configuration_sam3 import Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import Sam3ViTModel

from body4d.models.sam3.window_encoder import WindowEncoder, window_order


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@torch.inference_mode()
def test_it_gives_the_same_hidden_state(device: str) -> None:
    torch.manual_seed(0)
    config = Sam3ViTConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=96, image_size=14 * 8, pretrain_image_size=14 * 4,
        window_size=4, global_attn_indexes=[1, 3],
    )  # fmt: skip
    vit = Sam3ViTModel(config).eval().to(device)
    for parameter in vit.parameters():
        parameter.normal_(std=0.2)
    pixels = torch.randn(2, 3, 112, 112).to(device)
    assert WindowEncoder.serves(vit)
    torch.testing.assert_close(WindowEncoder(vit, torch.float32)(pixels), vit(pixels).last_hidden_state, rtol=1e-4, atol=1e-4)


def test_windows_come_one_after_the_other() -> None:
    assert window_order(2, 4, 2).tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
