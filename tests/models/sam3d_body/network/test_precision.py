"""What may be lowered in precision and what may not; our own ways of computing against the libraries'."""

import pytest
import torch
from torch.nn import functional as F

import sam3d_helpers as helpers
from body4d.models.sam3d_body.network.branch import sample_features
from body4d.models.sam3d_body.network.hands import estimate_with_hands
from body4d.models.sam3d_body.network.layers import patch_linear
from body4d.models.sam3d_body.network.model import body_crops, estimate_bodies


def scene():
    made = torch.Generator().manual_seed(3)
    frames = torch.randint(0, 256, (1, 160, 200, 3), dtype=torch.uint8, generator=made)
    boxes = torch.tensor([[10.0, 5.0, 80.0, 150.0], [90.0, 20.0, 150.0, 140.0]])
    K = torch.tensor([[250.0, 0.0, 130.0], [0.0, 240.0, 60.0], [0.0, 0.0, 1.0]]).expand(2, 3, 3)
    return frames, boxes, K


def answer(net):
    frames, boxes, K = scene()
    rig = helpers.TinyRig()
    with torch.inference_mode():
        crops = body_crops(boxes, torch.zeros(2, dtype=torch.long), K, net.sizes)
        output = estimate_with_hands(net, rig, frames, estimate_bodies(net, rig, frames, crops)).output
    return {
        "keypoints_px": output.camera.keypoints_px,
        "keypoints_m": output.pose.keypoints_m,
        "params": output.pose.mhr_params,
        "place": output.camera.translation_m,
    }


@pytest.mark.parametrize("size", [1, 2, 16])
def test_patches_are_a_convolution(size):
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(3, 7, kernel_size=size, stride=size)
    x = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(patch_linear(x, conv).movedim(-1, 1), conv(x), atol=1e-5, rtol=1e-5)


def test_features_are_sampled_as_grid_sample_does():
    made = torch.Generator().manual_seed(2)
    features = torch.randn(2, 5, 8, 6, generator=made)
    positions = torch.rand(2, 40, 2, generator=made) * 1.2 - 0.1
    theirs = F.grid_sample(features, (2 * positions - 1)[:, :, None], mode="bilinear", padding_mode="zeros", align_corners=False)
    valid = torch.ones(2, 40, dtype=torch.bool)
    torch.testing.assert_close(sample_features(features, positions, valid), theirs[..., 0].mT, atol=1e-5, rtol=1e-5)
    positions[0, 0] = torch.nan
    valid[0, 0] = False
    assert not sample_features(features, positions, valid)[0, 0].any()


def test_autocast_of_the_caller_changes_nothing():
    net = helpers.tiny_net()
    plain = answer(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = answer(net)
    for name, value in plain.items():
        assert inside[name].dtype == torch.float32
        torch.testing.assert_close(inside[name], value, atol=0, rtol=0)


def test_bfloat16_keeps_geometry_in_float32():
    net = helpers.tiny_net().set_precision(torch.bfloat16)
    assert {p.dtype for p in net.backbone.parameters()} == {torch.bfloat16}
    assert net.backbone.vit.rope_embeddings.inv_freq.dtype == torch.float32
    for branch in (net.body, net.hand):
        kept = [*branch.head_pose.parameters(), *branch.head_pose.buffers(), *branch.head_camera.parameters()]
        assert {t.dtype for t in kept if t.is_floating_point()} == {torch.float32}
    lowered, plain = answer(net), answer(helpers.tiny_net())
    for name, value in plain.items():
        assert lowered[name].dtype == torch.float32
        assert not torch.equal(lowered[name], value)  # else nothing was lowered
    assert (lowered["keypoints_m"] - plain["keypoints_m"]).abs().max() < 0.02 * plain["keypoints_m"].abs().max()


def test_float32_again_is_the_reference():
    net = helpers.tiny_net()
    for name, value in answer(net.set_precision(torch.float32)).items():
        torch.testing.assert_close(value, answer(helpers.tiny_net())[name], atol=0, rtol=0)


def test_memory_of_a_crop_grows_with_what_is_asked():
    sizes = helpers.TINY
    assert sizes.bytes_per_crop(2, hands=True) > 2 * sizes.bytes_per_crop(2, hands=False)
    assert sizes.bytes_per_crop(4, hands=True) >= sizes.bytes_per_crop(2, hands=True)
