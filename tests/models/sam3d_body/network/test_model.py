"""The network around random weights: batches, what is computed, and each slip that is put right."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sam3d_helpers as helpers
from body4d.core.joints import Mhr70
from body4d.models.sam3d_body.network import hands as hands_module
from body4d.models.sam3d_body.network.hands import (
    estimate_with_hands,
    hand_crops,
    keypoint_prompts,
    local_wrist_rotations,
    merge_hands,
    merged_camera,
    nearest_wrist_euler,
    run_hands,
    valid_hands,
)
from body4d.models.sam3d_body.network.heads import SINGLES, TRANSLATIONS, TRIPLES
from body4d.models.sam3d_body.network.model import body_crops, estimate_bodies

WIDTH, HEIGHT = 200, 160


@pytest.fixture(scope="module")
def scene():
    made = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=made)
    boxes = torch.tensor([[10.0, 5.0, 80.0, 150.0], [90.0, 20.0, 150.0, 140.0], [30.0, 10.0, 120.0, 155.0]])
    K = torch.tensor([[250.0, 0.0, 130.0], [0.0, 240.0, 60.0], [0.0, 0.0, 1.0]])
    K = torch.stack([K, K + torch.diag(torch.tensor([20.0, 30.0, 0.0])), K])
    net = helpers.tiny_net()
    crops = body_crops(boxes, torch.tensor([0, 1, 1]), K, net.sizes)
    masks = (torch.rand(3, HEIGHT, WIDTH, generator=made) > 0.5).to(torch.uint8) * 255
    return net, helpers.TinyRig(), frames, crops, masks


def full(scene):
    net, rig, frames, crops, masks = scene
    with torch.inference_mode():
        return estimate_with_hands(net, rig, frames, estimate_bodies(net, rig, frames, crops, masks))


def numbers(output):
    return [output.pose.mhr_params, output.pose.keypoints_m, output.camera.keypoints_px, output.camera.translation_m, output.pose.hand]


def test_results_do_not_depend_on_the_batch(scene):
    net, rig, frames, crops, masks = scene
    together = full(scene)
    for i in range(3):
        row = torch.tensor([i])
        alone = full((net, rig, frames, crops.select(row), masks[row]))
        for a, b in zip(numbers(together.output), numbers(alone.output), strict=True):
            torch.testing.assert_close(a[row], b, atol=2e-4, rtol=1e-4)


def test_small_hands_do_not_go_through_the_network(scene, monkeypatch):
    net = scene[0]
    batches = []
    hook = net.backbone.register_forward_hook(lambda _m, given, _o: batches.append(len(given[0])))
    sides = torch.cat([c.side_px for c in full(scene).hands.crops])
    batches.clear()
    monkeypatch.setattr(hands_module, "HAND_MIN_SIDE_PX", float(sides.median()))
    answer = full(scene)
    hook.remove()
    assert batches == [3, int((sides > sides.median()).sum())]
    assert 0 < batches[1] < 6
    assert not answer.hand_used[~answer.hands.processed].any()


def test_wrists_are_measured_by_their_own_box_unless_exact(scene):
    net, rig, frames, crops, masks = scene
    with torch.inference_mode():
        first = estimate_bodies(net, rig, frames, crops, masks)
        hands = run_hands(net, rig, frames, hand_crops(net, first, WIDTH), upstream_exact=True)
    big = replace(hands.crops[0], side_px=torch.full((3,), 1000.0))
    small = replace(hands.crops[1], side_px=torch.full((3,), 70.0))
    # Both wrists 100 px from where the body has them: a tenth of the left box, more than the right one.
    wrists = [output.camera.keypoints_px.clone() for output in hands.outputs]
    body = first.output.camera.keypoints_px.clone()
    body[:, Mhr70.LEFT_WRIST], body[:, Mhr70.RIGHT_WRIST] = torch.tensor([50.0, 50.0]), torch.tensor([90.0, 50.0])
    wrists[0][:, Mhr70.RIGHT_WRIST] = torch.tensor([WIDTH - 1 - 150.0, 50.0])
    wrists[1][:, Mhr70.RIGHT_WRIST] = torch.tensor([190.0, 50.0])
    outputs = tuple(
        replace(output, camera=replace(output.camera, keypoints_px=wrist, keypoints_crop=torch.zeros(3, 70, 2)))
        for output, wrist in zip(hands.outputs, wrists, strict=True)
    )
    hands = replace(hands, crops=(big, small), outputs=outputs)
    first_body = replace(first.output, camera=replace(first.output.camera, keypoints_px=body))
    angle = torch.zeros(3, 2)
    assert valid_hands(hands, first_body, angle, WIDTH).tolist() == [[True, False]] * 3
    assert valid_hands(hands, first_body, angle, WIDTH, upstream_exact=True).tolist() == [[False, True]] * 3


def test_last_projection_is_about_the_principal_point_unless_exact(scene):
    net, _, _, crops, _ = scene
    output = full(scene).output
    ours = merged_camera(net, output.pose, output.camera, crops, (WIDTH, HEIGHT))
    exact = merged_camera(net, output.pose, output.camera, crops, (WIDTH, HEIGHT), upstream_exact=True)
    K, points = crops.intrinsics_px, output.pose.keypoints_m + output.camera.translation_m[:, None]
    expected = (points[..., :2] / points[..., 2:]) * K[:, None, (0, 1), (0, 1)] + K[:, None, :2, 2]
    torch.testing.assert_close(ours.keypoints_px, expected, atol=1e-2, rtol=1e-4)
    slipped = (points[..., :2] / points[..., 2:]) * K[:, None, 0, 0:1] + torch.tensor([WIDTH / 2, HEIGHT / 2])
    torch.testing.assert_close(exact.keypoints_px, slipped, atol=1e-2, rtol=1e-4)
    assert (ours.keypoints_px - exact.keypoints_px).abs().max() > 10


def test_rotations_are_those_of_the_merged_body_unless_exact(scene, monkeypatch):
    net, rig, *_ = scene
    answer = full(scene)
    body, hands = answer.body.output, answer.hands
    monkeypatch.setattr(hands_module, "WRIST_MAX_ANGLE_RAD", 4.0)
    with torch.inference_mode():
        wrists = local_wrist_rotations(net, body.pose.joint_rotations, hands)
        every = torch.ones(3, 2, dtype=torch.bool)
        ours, _, used = merge_hands(net, rig, body, wrists, hands, every)
        exact, _, _ = merge_hands(net, rig, body, wrists, hands, every, upstream_exact=True)
    assert used.all()
    assert torch.equal(exact.joint_rotations, body.pose.joint_rotations)
    torch.testing.assert_close(ours.mhr_params, exact.mhr_params)
    assert (ours.joint_rotations - exact.joint_rotations).abs().max() > 0.01


def test_prompts_of_one_person_are_left_out_only_when_exact(scene):
    answer = full(scene)
    crops, hands, body = answer.body.context.crops, answer.hands, answer.body.output
    row = torch.tensor([0])
    one = replace(hands, outputs=tuple(_rows(output, row) for output in hands.outputs))
    args = (crops.select(row), one, _rows(body, row), torch.tensor([[False, False]]), WIDTH, 512)
    assert keypoint_prompts(*args).shape == (1, 4, 3)
    assert (keypoint_prompts(*args)[..., 2] == -2).all()
    assert keypoint_prompts(*args, upstream_exact=True).shape == (1, 0, 3)


def test_every_body_angle_has_one_output():
    slots = sorted([i for t in TRIPLES for i in t] + list(SINGLES) + list(TRANSLATIONS))
    assert slots == list(range(133))
    assert len(SINGLES) == 58


def test_of_two_wrist_triples_the_one_within_the_limits_is_taken():
    near = torch.tensor([[0.3, -0.4, 0.2]])
    far = torch.tensor([[0.3 - torch.pi, torch.pi + 0.4 - torch.pi * 2, 0.2 - torch.pi]])
    assert torch.equal(nearest_wrist_euler(near), near)
    torch.testing.assert_close(nearest_wrist_euler(far), near, atol=1e-5, rtol=0)


def test_vit_backbone_sees_three_quarters_of_the_width(scene):
    _, rig, frames, crops, masks = scene
    net = helpers.tiny_net(helpers.TINY_VIT)
    answer = full((net, rig, frames, crops, masks))
    assert answer.body.context.features.shape == (3, 64, 32, 24)
    assert all(torch.isfinite(n).all() for n in numbers(answer.output))


def test_equal_to_the_published_code(shared):
    benchmarks = Path(__file__).parents[4] / "benchmarks"
    sys.path[:0] = [str(benchmarks), str(shared / "goldens")]
    try:
        import parity_sam3d_body

        rows = list(parity_sam3d_body.rows(shared / "goldens" / "sam3dbody_small_invalid_A.npz", shared / "goldens", "", None))
    finally:
        del sys.path[:2]
    assert len(rows) > 60
    assert [r for r in rows if not r.relative <= r.limit] == []


def _rows(output, index):
    def cut(part):
        return type(part)(*(getattr(part, f)[index] for f in part.__dataclass_fields__))

    return type(output)(cut(output.pose), cut(output.camera), output.hand_tokens[index])
