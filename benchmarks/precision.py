"""What do lower precisions cost SAM-3D-Body? Runs a golden's picture in float32 and in other precisions, and prints the differences.

    python benchmarks/precision.py sam3dbody_medium_A.npz [--device cuda] [--goldens FOLDER]

The weights follow the golden's fill rule: they have no meaning, but every part of the network works as in earnest. Differences of real
weights will differ; the comparison shows which part of the network costs how much.
"""

import argparse
import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from body4d.models.sam3d_body.network.branch import BranchOutput
from body4d.models.sam3d_body.network.hands import estimate_with_hands
from body4d.models.sam3d_body.network.model import Sam3dBody, body_crops, estimate_bodies


def backbone_only(dtype: torch.dtype) -> Callable[[Sam3dBody], object]:
    """The backbone in ``dtype`` and the decoders in float32."""

    def set_it(net: Sam3dBody) -> None:
        net.backbone.to(dtype)
        net.backbone.reset_buffers(net.ramp_rows.device)
        features = net.features
        object.__setattr__(net, "features", lambda crops: features(crops).float())

    return set_it


VARIANTS: dict[str, Callable[[Sam3dBody], object]] = {
    "float32 again": lambda net: None,
    "backbone bfloat16": backbone_only(torch.bfloat16),
    "backbone float16": backbone_only(torch.float16),
    "set_precision(bfloat16)": lambda net: net.set_precision(torch.bfloat16),
    "set_precision(float16)": lambda net: net.set_precision(torch.float16),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden", type=Path)
    parser.add_argument("--goldens", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--salt", default="A")
    args = parser.parse_args()
    folder = args.goldens or args.golden.parent
    sys.path.insert(0, str(folder))
    from parity_sam3d_body import StandIn, filled_network

    size = re.search(r"sam3dbody_(small|medium|full)", args.golden.name)
    assert size, f"{args.golden.name}: expected a name like sam3dbody_medium_A.npz"
    data = np.load(args.golden)
    net = filled_network(folder, size.group(1), args.salt)
    case = next(key for key in data.files if key.endswith("/batch.cam_int"))
    K = torch.from_numpy(data[case]).reshape(-1, 3, 3)[:1]

    @torch.inference_mode()
    def run(net: Sam3dBody, device: str) -> tuple[BranchOutput, BranchOutput]:
        mhr = StandIn(args.salt).to(device)
        pictures = torch.from_numpy(data["inputs/image"])[None].to(device)
        boxes = torch.from_numpy(data["inputs/boxes"]).to(device)
        picture = torch.zeros(len(boxes), dtype=torch.long, device=device)
        crops = body_crops(boxes, picture, K.to(device).expand(len(boxes), 3, 3), net.sizes)
        first = estimate_bodies(net, mhr, pictures, crops)
        return first.output, estimate_with_hands(net, mhr, pictures, first).output

    def show(name: str, outputs: tuple[BranchOutput, BranchOutput]) -> None:
        for what, ours, theirs in zip(("body", "full"), outputs, reference, strict=True):
            print(f"{name:26} {what}:", ", ".join(gap(*pair) for pair in pairs(ours, theirs)))

    reference = run(copy.deepcopy(net).to(args.device), args.device)
    print(f"{args.device}, torch {torch.__version__}; largest and root mean square difference from float32 there")
    if args.device != "cpu":
        show("float32 on the CPU", run(net, "cpu"))
    for name, change in VARIANTS.items():
        other = copy.deepcopy(net).to(args.device)
        change(other)
        show(name, run(other, args.device))


def pairs(ours: BranchOutput, theirs: BranchOutput) -> list[tuple[str, Tensor, Tensor, float]]:
    """Name, both sides and factor to the unit named."""
    return [
        ("keypoints px", ours.camera.keypoints_px, theirs.camera.keypoints_px, 1),
        ("keypoints mm", ours.pose.keypoints_m, theirs.pose.keypoints_m, 1e3),
        ("place mm", ours.camera.translation_m, theirs.camera.translation_m, 1e3),
        ("hand components", ours.pose.hand, theirs.pose.hand, 1),
    ]


def gap(name: str, ours: Tensor, theirs: Tensor, factor: float) -> str:
    off = (ours.float().cpu() - theirs.float().cpu()).abs() * factor
    return f"{name} {off.max():.3g} / {off.square().mean().sqrt():.3g}"


if __name__ == "__main__":
    main()
