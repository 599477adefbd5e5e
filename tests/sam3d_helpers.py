"""A tiny SAM-3D-Body with random weights and a smooth stand-in for its rig: shapes and logic, no learnt numbers."""

import torch
from torch import Tensor

from body4d.models.sam3d_body.network.config import BackboneSizes, NetworkSizes
from body4d.models.sam3d_body.network.model import Sam3dBody

TINY = NetworkSizes(BackboneSizes("dinov3", 64, 2, 1, 96), decoder_width=64, decoder_depth=2, decoder_attention=64, decoder_hidden=64)
TINY_VIT = NetworkSizes(BackboneSizes("vit", 64, 2, 16, 96), decoder_width=64, decoder_depth=2, decoder_attention=64, decoder_hidden=64)


class TinyRig:
    """Joints that depend smoothly on every parameter; each vertex moves with a joint."""

    def __init__(self) -> None:
        made = torch.Generator().manual_seed(7)
        self.to_joints = 20 * torch.randn(204, 127 * 3, generator=made)
        self.to_turns = 0.2 * torch.randn(204, 127 * 4, generator=made)
        self.rest = 30 * torch.randn(127, 3, generator=made)

    def at_vertices(self, shape: Tensor, params: Tensor, face: Tensor, vertex: Tensor) -> tuple[Tensor, Tensor]:
        joints = self.rest + (params @ self.to_joints).unflatten(1, (127, 3)).tanh() * 10
        turns = (params @ self.to_turns).unflatten(1, (127, 4)) + torch.tensor([0.0, 0.0, 0.0, 1.0])
        state = torch.cat([joints, torch.nn.functional.normalize(turns, dim=-1), torch.ones_like(joints[..., :1])], -1)
        return state[:, vertex % 127, :3] + shape[:, :1, None], state


def tiny_net(sizes: NetworkSizes = TINY, seed: int = 0) -> Sam3dBody:
    """Random weights, small enough that bodies stand before the camera and inside their crops."""
    torch.manual_seed(seed)
    net = Sam3dBody(sizes)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 1 and name.endswith("weight"):
                p.fill_(1.0)
            else:
                p.normal_(std=0.05)
        for branch in (net.body, net.hand):
            head = branch.head_pose
            branch.init_camera.copy_(torch.tensor([[-0.9, 0.0, 0.0]]))
            branch.init_pose.normal_(std=0.3)
            head.joint_rotation.copy_(torch.eye(3).expand(127, 3, 3))
            head.local_to_world_wrist.copy_(torch.eye(3))
            head.hand_pose_comps.copy_(torch.eye(54))
            head.hand_pose_mean.normal_(std=1.0)
            head.scale_comps.copy_(torch.eye(28, 68))
            head.hand_joint_idxs_left.copy_(torch.arange(68, 95))
            head.hand_joint_idxs_right.copy_(torch.arange(95, 122))
            head.nonhand_param_idxs.copy_(torch.cat([torch.arange(6, 95), torch.arange(122, 178)]))
            head.keypoint_vertex = torch.arange(0, 210, 3)
            head.keypoint_from_vertex = torch.eye(70)
    return net.requires_grad_(False).eval()
