"""The benchmark of SAM-3D-Body: that it does the work it says, and that its operations are those torch counts."""

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
    found = json.loads(capsys.readouterr().out)
    assert found["dtype"] == "float32"
    assert found["person_frames_per_s"] > 0
    assert found["hand_crops"] == found["hand_crops_wanted"] == (8 if mode == "full" else 0)
    assert sum(found["share"].values()) == pytest.approx(1)
    assert {"upload", "crop", "backbone", "decoder", "MHR"} <= set(found["share"])
    assert ("hands: backbone" in found["share"]) == (mode == "full")
    assert found["of_ceiling"] == pytest.approx(found["tflop_per_s"] / found["ceiling_tflop_per_s"])


def test_operations_are_those_torch_counts():
    from ceiling import backbone_flops, decoder_flops
    from made_body import SIZES, made_rig, made_work, random_net

    from body4d.config import Sam3dBodySettings
    from body4d.models.sam3d_body.network.model import body_crops, estimate_bodies

    sizes, cpu = SIZES["tiny"], torch.device("cpu")
    net, work = random_net(sizes, cpu), made_work(1, 1, 320, 240)
    with torch.no_grad():
        crops = body_crops(work.boxes_px, torch.zeros(1, dtype=torch.long), work.intrinsics_px[None], sizes, Sam3dBodySettings())
        with FlopCounterMode(display=False) as whole:
            estimate_bodies(net, made_rig(False, cpu), work.frames, crops)
        with FlopCounterMode(display=False) as alone:
            net.features(torch.zeros(1, 3, 512, 512, dtype=torch.uint8))
    attention = sizes.backbone.depth * 4 * 1029**2 * sizes.backbone.width
    # torch's counter may not know the CPU's fused attention.
    assert alone.get_total_flops() in (backbone_flops(sizes), backbone_flops(sizes) - attention)
    rest = whole.get_total_flops() - alone.get_total_flops()
    inside = 4 * sizes.decoder_depth * 145 * (145 + 1024) * sizes.decoder_attention
    assert min(abs(rest - n) for n in (decoder_flops(sizes), decoder_flops(sizes) - inside)) < 0.03 * decoder_flops(sizes)
