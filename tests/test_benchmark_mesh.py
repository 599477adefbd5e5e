"""The benchmark of SAM-3D-Body: its figures come from the work it claims, and its operations are those that torch counts."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))


@pytest.mark.parametrize("mode", ["body", "full"])
def test_the_figures_of_a_tiny_network(mode, capsys, monkeypatch):
    import mesh

    given = f"mesh.py --size tiny --people 2 --frames 2 --frame-size 640x480 --batch 2 --repeats 1 --mode {mode} --json"
    monkeypatch.setattr(sys, "argv", given.split())
    mesh.main()
    figures = json.loads(capsys.readouterr().out)
    assert figures["dtype"] == "float32"
    assert figures["person_frames_per_s"] > 0
    assert figures["hand_crops"] == figures["hand_crops_total"] == (8 if mode == "full" else 0)
    assert sum(figures["share"].values()) == pytest.approx(1)
    assert {"upload", "crop", "backbone", "decoder", "MHR"} <= set(figures["share"])
    assert ("hands: backbone" in figures["share"]) == (mode == "full")
    assert figures["of_ceiling"] == pytest.approx(figures["tflop_per_s"] / figures["ceiling_tflop_per_s"])


def test_operations_are_those_torch_counts():
    from ceiling import backbone_flops, decoder_flops
    from made_body import SIZES, made_rig, made_work, random_net

    from body4d.models.sam3d_body.network.model import body_crops, estimate_bodies

    sizes, cpu = SIZES["tiny"], torch.device("cpu")
    net, work, mhr = random_net(sizes, cpu), made_work(1, 1, 320, 240), made_rig(False, cpu)
    with torch.no_grad():
        crops = body_crops(work.boxes_px, torch.zeros(1, dtype=torch.long), work.intrinsics_px[None], sizes)
        pose = estimate_bodies(net, mhr, work.frames, crops).output.pose
        counters = {name: FlopCounterMode(display=False) for name in ("network", "backbone", "mhr")}
        with counters["network"]:
            estimate_bodies(net, mhr, work.frames, crops)
        with counters["backbone"]:
            net.features(torch.zeros(1, 3, 512, 512, dtype=torch.uint8))
        with counters["mhr"]:
            mhr.at_vertices(pose.shape, pose.mhr_params, pose.face, net.body.head_pose.keypoint_vertex)
    network, backbone, one_mhr = (counter.get_total_flops() for counter in counters.values())
    attention = sizes.backbone.depth * 4 * 1029**2 * sizes.backbone.width
    # torch's counter may not know the CPU's fused attention.
    assert backbone in (backbone_flops(sizes), backbone_flops(sizes) - attention)
    # MHR, which the figures leave out, runs once after each layer.
    decoder = network - backbone - sizes.decoder_depth * one_mhr
    inside = 4 * sizes.decoder_depth * 145 * (145 + 1024) * sizes.decoder_attention
    assert min(abs(decoder - n) for n in (decoder_flops(sizes), decoder_flops(sizes) - inside)) < 0.03 * decoder_flops(sizes)
