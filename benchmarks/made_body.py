"""A SAM-3D-Body of any size with random weights, a made-up rig and made-up work for it: all that timing needs."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from body4d.bodies.mhr.module import MhrBody, load_mhr
from body4d.models.sam3d_body.network.config import BackboneSizes, NetworkSizes
from body4d.models.sam3d_body.network.model import Sam3dBody
from mhr_files import full_rig, make_rig, save_repack

SIZES = {
    "full": NetworkSizes(BackboneSizes("dinov3", 1280, 32, 20, 5120), 1024, 6, 512, 1024),
    "medium": NetworkSizes(BackboneSizes("dinov3", 384, 12, 6, 1536), 1024, 6, 512, 1024),
    "small": NetworkSizes(BackboneSizes("dinov3", 192, 2, 3, 384), 256, 3, 256, 256),
    "tiny": NetworkSizes(BackboneSizes("dinov3", 64, 2, 1, 96), 64, 2, 64, 64),
}
"""Full is the published network; the others have its parts at smaller widths."""

KEYPOINT_VERTICES = 400
"""How many vertices the made-up keypoints hang on; how many the published ones do is not known here."""


def random_net(sizes: NetworkSizes, device: torch.device, seed: int = 0) -> Sam3dBody:
    """Random weights made on the device. Bodies stand before the camera, hand boxes take half of a body's crop."""
    with torch.device("meta"):
        net = Sam3dBody(sizes)
    for branch in (net.body, net.hand):
        head = branch.head_pose
        head.keypoint_vertex = torch.zeros(KEYPOINT_VERTICES, dtype=torch.long, device="meta")
        head.keypoint_from_vertex = torch.zeros(70, KEYPOINT_VERTICES, device="meta")
    net.to_empty(device=device)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in net.named_parameters():
            plain = p.ndim == 1 and (name.endswith(("weight", "lambda1")))
            p.fill_(1.0) if plain else p.normal_(std=0.02)
        for branch in (net.body, net.hand):
            _fill_head(branch.head_pose)
            branch.init_camera.copy_(torch.tensor([[-0.9, 0.0, 0.0]]))
            branch.init_pose.normal_(std=0.3)
    net.reset_buffers(device)
    return net.requires_grad_(False).eval()


def _fill_head(head: torch.nn.Module) -> None:
    constants = {
        "joint_rotation": torch.eye(3).expand(127, 3, 3),
        "local_to_world_wrist": torch.eye(3),
        "hand_pose_comps": torch.eye(54),
        "hand_pose_mean": torch.randn(54),
        "scale_mean": torch.zeros(68),
        "scale_comps": 0.05 * torch.eye(28, 68),
        "right_wrist_coords": torch.tensor([-0.6, 1.4, 0.0]),
        "root_coords": torch.tensor([0.0, 0.9, 0.0]),
        "hand_joint_idxs_left": torch.arange(68, 95),
        "hand_joint_idxs_right": torch.arange(95, 122),
        "nonhand_param_idxs": torch.cat([torch.arange(6, 95), torch.arange(122, 178)]),
        "keypoint_vertex": torch.arange(KEYPOINT_VERTICES),
        "keypoint_from_vertex": torch.rand(70, KEYPOINT_VERTICES).softmax(-1),
        "keypoint_from_joint": torch.zeros(70, 127),
    }
    for name, value in constants.items():
        getattr(head, name).copy_(value)


def made_rig(full: bool, device: torch.device) -> MhrBody:
    """A rig with MHR's 127 joints; with ``full`` of all 18439 vertices as well."""
    with tempfile.TemporaryDirectory() as folder:
        rig = full_rig() if full else make_rig(2 * KEYPOINT_VERTICES, 127, 100)
        return load_mhr(save_repack(rig, Path(folder) / "rig.safetensors"), device=device)


@dataclass(frozen=True)
class Work:
    """``frames`` (F, H, W, 3) RGB uint8 on the host and ``people`` boxes (P, 4) in each, the same in all."""

    frames: Tensor
    boxes_px: Tensor
    intrinsics_px: Tensor


def made_work(frames: int, people: int, width: int, height: int, seed: int = 0) -> Work:
    """Noise for pictures, people from a third to nine tenths of the picture high."""
    made = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=made)
    tall = height * (0.35 + 0.55 * torch.rand(people, generator=made))
    middle = torch.stack([width * (0.15 + 0.7 * torch.rand(people, generator=made)), torch.full((people,), height / 2)], -1)
    half = torch.stack([0.2 * tall, 0.5 * tall], -1)
    focal = float((width**2 + height**2) ** 0.5)
    K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return Work(pictures, torch.cat([middle - half, middle + half], -1), K)
