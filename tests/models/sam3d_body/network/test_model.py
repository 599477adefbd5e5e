"""The network around random weights: batches, what is computed, and each slip that is put right."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sam3d_helpers as helpers
from body4d.config import Sam3dBodySettings
from body4d.models.sam3d_body.network.hands import (  # fmt: skip
    estimate_with_hands,
    final_view,
    hand_crops,
    hands_to_believe,
    keypoint_prompts,
    local_wrists,
    merge,
    natural_wrist,
    run_hands,
)
from body4d.models.sam3d_body.network.heads import all_vertices_m
from body4d.models.sam3d_body.network.model import body_crops, estimate_bodies

OURS, UPSTREAM = Sam3dBodySettings(), Sam3dBodySettings(upstream_exact=True)
WIDTH, HEIGHT = 200, 160


@pytest.fixture(scope="module")
def scene():
    made = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=made)
    boxes = torch.tensor([[10.0, 5.0, 80.0, 150.0], [90.0, 20.0, 150.0, 140.0], [30.0, 10.0, 120.0, 155.0]])
    K = torch.tensor([[250.0, 0.0, 130.0], [0.0, 240.0, 60.0], [0.0, 0.0, 1.0]])
    K = torch.stack([K, K + torch.diag(torch.tensor([20.0, 30.0, 0.0])), K])
    net = helpers.tiny_net()
    crops = body_crops(boxes, torch.tensor([0, 1, 1]), K, net.sizes, OURS)
    masks = (torch.rand(3, HEIGHT, WIDTH, generator=made) > 0.5).to(torch.uint8) * 255
    return net, helpers.TinyRig(), frames, crops, masks


def full(scene, settings):
    net, rig, frames, crops, masks = scene
    with torch.inference_mode():
        return estimate_with_hands(net, rig, frames, estimate_bodies(net, rig, frames, crops, masks), settings)


def numbers(decoded):
    return [decoded.pose.mhr_params, decoded.pose.keypoints_m, decoded.view.keypoints_px, decoded.view.translation_m, decoded.pose.hand]


def test_results_do_not_depend_on_the_batch(scene):
    net, rig, frames, crops, masks = scene
    together = full(scene, OURS)
    for i in range(3):
        row = torch.tensor([i])
        alone = full((net, rig, frames, crops.rows(row), masks[row]), OURS)
        for a, b in zip(numbers(together.decoded), numbers(alone.decoded), strict=True):
            torch.testing.assert_close(a[row], b, atol=2e-4, rtol=1e-4)


def test_no_vertex_is_made_until_asked_for(scene):
    net, _, frames, crops, masks = scene
    rig = helpers.TinyRig()
    answer = full((net, rig, frames, crops, masks), OURS)
    assert rig.full_calls == 0
    assert all_vertices_m(rig, answer.decoded.pose).shape == (3, helpers.VERTICES, 3)
    assert rig.full_calls == 1


def test_small_hands_are_not_looked_at(scene):
    net = scene[0]
    seen = []
    hook = net.backbone.register_forward_hook(lambda _m, given, _o: seen.append(len(given[0])))
    sides = torch.cat([c.side_px for c in full(scene, OURS).hands.crops])
    seen.clear()
    answer = full(scene, Sam3dBodySettings(hand_box_least_px=float(sides.median())))
    hook.remove()
    assert seen == [3, int((sides > sides.median()).sum())]
    assert 0 < seen[1] < 6
    assert not answer.hand_valid[~answer.hands.done].any()


def test_wrists_are_measured_by_their_own_box_unless_exact(scene):
    net, rig, frames, crops, masks = scene
    with torch.inference_mode():
        first = estimate_bodies(net, rig, frames, crops, masks)
        hands = run_hands(net, rig, frames, hand_crops(net, first, WIDTH, UPSTREAM), UPSTREAM)
    big = replace(hands.crops[0], side_px=torch.full((3,), 1000.0))
    small = replace(hands.crops[1], side_px=torch.full((3,), 70.0))
    # Both wrists 100 px from where the body has them: a tenth of the left box, more than the right one.
    wrists = [d.view.keypoints_px.clone() for d in hands.decoded]
    body = first.decoded.view.keypoints_px.clone()
    body[:, 62], body[:, 41] = torch.tensor([50.0, 50.0]), torch.tensor([90.0, 50.0])
    wrists[0][:, 41] = torch.tensor([WIDTH - 1 - 150.0, 50.0])
    wrists[1][:, 41] = torch.tensor([190.0, 50.0])
    decoded = tuple(
        replace(d, view=replace(d.view, keypoints_px=w, keypoints_crop=torch.zeros(3, 70, 2)))
        for d, w in zip(hands.decoded, wrists, strict=True)
    )
    hands = replace(hands, crops=(big, small), decoded=decoded)
    first_body = replace(first.decoded, view=replace(first.decoded.view, keypoints_px=body))
    angle = torch.zeros(3, 2)
    assert hands_to_believe(hands, first_body, angle, WIDTH, OURS).tolist() == [[True, False]] * 3
    assert hands_to_believe(hands, first_body, angle, WIDTH, UPSTREAM).tolist() == [[False, True]] * 3


def test_last_projection_is_about_the_principal_point_unless_exact(scene):
    net, _, _, crops, _ = scene
    decoded = full(scene, OURS).decoded
    ours = final_view(net, decoded.pose, decoded.view, crops, (WIDTH, HEIGHT), OURS)
    exact = final_view(net, decoded.pose, decoded.view, crops, (WIDTH, HEIGHT), UPSTREAM)
    K, points = crops.intrinsics_px, decoded.pose.keypoints_m + decoded.view.translation_m[:, None]
    expected = (points[..., :2] / points[..., 2:]) * K[:, None, (0, 1), (0, 1)] + K[:, None, :2, 2]
    torch.testing.assert_close(ours.keypoints_px, expected, atol=1e-2, rtol=1e-4)
    slipped = (points[..., :2] / points[..., 2:]) * K[:, None, 0, 0:1] + torch.tensor([WIDTH / 2, HEIGHT / 2])
    torch.testing.assert_close(exact.keypoints_px, slipped, atol=1e-2, rtol=1e-4)
    assert (ours.keypoints_px - exact.keypoints_px).abs().max() > 10


def test_rotations_are_those_of_the_merged_body_unless_exact(scene):
    net, rig, *_ = scene
    answer = full(scene, OURS)
    body, hands = answer.body.decoded, answer.hands
    with torch.inference_mode():
        wrists = local_wrists(net, body.pose.joint_rotations, hands)
        every = torch.ones(3, 2, dtype=torch.bool)
        ours, _, taken = merge(net, rig, body, wrists, hands, every, Sam3dBodySettings(wrist_angle_most_rad=4))
        exact, _, _ = merge(net, rig, body, wrists, hands, every, Sam3dBodySettings(wrist_angle_most_rad=4, upstream_exact=True))
    assert taken.all()
    assert torch.equal(exact.joint_rotations, body.pose.joint_rotations)
    torch.testing.assert_close(ours.mhr_params, exact.mhr_params)
    assert (ours.joint_rotations - exact.joint_rotations).abs().max() > 0.01


def test_prompts_of_one_person_are_left_out_only_when_exact(scene):
    answer = full(scene, OURS)
    crops, hands, body = answer.body.seen.crops, answer.hands, answer.body.decoded
    row = torch.tensor([0])
    one = replace(hands, decoded=tuple(_rows(d, row) for d in hands.decoded))
    valid = torch.tensor([[False, False]])
    args = (crops.rows(row), one, _rows(body, row), valid, WIDTH, 512)
    assert keypoint_prompts(*args, OURS).shape == (1, 4, 3)
    assert (keypoint_prompts(*args, OURS)[..., 2] == -2).all()
    assert keypoint_prompts(*args, UPSTREAM).shape == (1, 0, 3)


def test_natural_wrist_takes_the_triple_within_reach():
    near = torch.tensor([[0.3, -0.4, 0.2]])
    far = torch.tensor([[0.3 - torch.pi, torch.pi + 0.4 - torch.pi * 2, 0.2 - torch.pi]])
    assert torch.equal(natural_wrist(near, OURS), near)
    torch.testing.assert_close(natural_wrist(far, OURS), near, atol=1e-5, rtol=0)


def test_vit_backbone_sees_three_quarters_of_the_width(scene):
    _, rig, frames, crops, masks = scene
    net = helpers.tiny_net(helpers.TINY_VIT)
    answer = full((net, rig, frames, crops, masks), OURS)
    assert answer.body.seen.features.shape == (3, 64, 32, 24)
    assert all(torch.isfinite(n).all() for n in numbers(answer.decoded))


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


def _rows(decoded, index):
    def cut(part):
        return type(part)(*(getattr(part, f)[index] for f in part.__dataclass_fields__))

    return type(decoded)(cut(decoded.pose), cut(decoded.view), decoded.hand_tokens[index])
