"""One decoder with all that belongs to it: the body's and the hand's are built alike, with weights of their own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.nets.sam3d_body.crop import Crops, box_condition, rays
from body4d.nets.sam3d_body.decoder import Context, Decoder, RayCondition
from body4d.nets.sam3d_body.heads import OUTPUTS, CameraHead, Mhr, Pose, PoseHead, View
from body4d.nets.sam3d_body.layers import Mlp
from body4d.nets.sam3d_body.prompts import KEYPOINTS
from body4d.nets.sam3d_body.sizes import NetworkSizes

HIPS = slice(9, 11)
LEAST_DEPTH_M = 1e-5
"""A keypoint nearer to the camera than this is behind it."""
HAND_BOX_TOKENS = 2
HAND_CAMERA_FACTOR = 10.0
"""The hand camera's scale counts ten times: a hand is about a tenth of a body."""


@dataclass(frozen=True)
class Seen:
    """What a branch holds of B crops while it decodes them, once or twice."""

    features: Tensor
    """(B, C, h, w) with mask and rays mixed in."""
    context: Context
    crops: Crops


@dataclass(frozen=True)
class Decoded:
    """One decoding of B crops."""

    pose: Pose
    view: View
    hand_tokens: Tensor
    """(B, 2, width) final tokens that tell where the hands are: left, right."""


class Branch(nn.Module):
    """Rays, tokens, decoder and heads of the body or of the hand."""

    def __init__(self, sizes: NetworkSizes, *, hand: bool) -> None:
        super().__init__()
        width, image = sizes.decoder_width, sizes.backbone.width
        self.sizes = sizes
        self.ray_cond_emb = RayCondition(image)
        self.init_pose = nn.Parameter(torch.zeros(1, OUTPUTS))
        self.init_camera = nn.Parameter(torch.zeros(1, 3))
        self.init_to_token = nn.Linear(OUTPUTS + 6, width)
        self.prev_to_token = nn.Linear(OUTPUTS + 3, width)
        self.keypoint_embedding = nn.Parameter(torch.zeros(KEYPOINTS, width))
        self.keypoint3d_embedding = nn.Parameter(torch.zeros(KEYPOINTS, width))
        self.keypoint_posemb_linear = Mlp(2, width, width)
        self.keypoint3d_posemb_linear = Mlp(3, width, width)
        self.keypoint_feat_linear = nn.Linear(image, width)
        self.decoder = Decoder(sizes)
        self.head_pose = PoseHead(width, hand=hand)
        self.head_camera = CameraHead(width, HAND_CAMERA_FACTOR if hand else 1.0)

    def look(self, features: Tensor, crops: Crops, ramps: tuple[Tensor, Tensor], image_position: Tensor) -> Seen:
        """Mix the viewing rays in and make every layer's keys and values: all of decoding that hangs on the image alone."""
        features = self.ray_cond_emb(features, rays(crops, ramps))
        return Seen(features, self.decoder.context(features.flatten(2).mT, image_position), crops)

    def forward(self, seen: Seen, prompts: Tensor, hand_box: Tensor, mhr: Mhr, previous: Decoded | None = None) -> Decoded:
        """Decode crops. ``prompts`` (B, n, width) are prompt tokens, ``hand_box`` (2, width) the tokens that look for hands,
        ``previous`` an earlier decoding of the same crops."""
        tokens, position = self._tokens(seen.crops, prompts, hand_box, previous)

        def update(pose_token: Tensor, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
            pose, view = self.predict(pose_token, seen.crops, mhr)
            return self._update(tokens, position, seen.features, pose, view)

        out = self.decoder(tokens, position, seen.context, update)
        pose, view = self.predict(out[:, 0], seen.crops, mhr)
        first = 2 + prompts.shape[1]
        return Decoded(pose, view, out[:, first : first + HAND_BOX_TOKENS])

    def predict(self, token: Tensor, crops: Crops, mhr: Mhr) -> tuple[Pose, View]:
        """Body and place from normed pose tokens (B, width)."""
        pose = self.head_pose(token, self.init_pose, mhr)
        return pose, self.head_camera.view(self.head_camera(token, self.init_camera), pose.keypoints_m, crops, self.sizes.crop_px)

    def _tokens(self, crops: Crops, prompts: Tensor, hand_box: Tensor, previous: Decoded | None) -> tuple[Tensor, Tensor]:
        """Tokens and positions (B, 4 + n + 140, width): pose, previous estimate, prompts, hands, keypoints in 2D, in 3D."""
        count = len(crops)
        start = torch.cat([self.init_pose, self.init_camera], -1).expand(count, -1)
        pose = self.init_to_token(torch.cat([box_condition(crops).to(start), start], -1))
        before = self.prev_to_token(start if previous is None else _estimate(previous))
        placed = torch.cat([before[:, None], prompts], 1)
        rest = torch.cat([hand_box, self.keypoint_embedding, self.keypoint3d_embedding]).expand(count, -1, -1)
        tokens = torch.cat([pose[:, None], placed, rest], 1)
        position = torch.cat([torch.zeros_like(pose[:, None]), placed, torch.zeros_like(rest)], 1)
        return tokens, position

    def _update(self, tokens: Tensor, position: Tensor, features: Tensor, pose: Pose, view: View) -> tuple[Tensor, Tensor]:
        """Tell the keypoint tokens where their keypoints are by now, and what the image shows there."""
        crop = view.keypoints_crop
        valid = ((crop + 0.5 >= 0) & (crop + 0.5 <= 1)).all(-1) & (view.depth_m >= LEAST_DEPTH_M)
        grid = 2 * crop
        if self.sizes.side_margin_px:
            widen = self.sizes.crop_px / (self.sizes.crop_px - 2 * self.sizes.side_margin_px)
            grid = grid * torch.tensor([widen, 1.0], device=grid.device)
        seen = F.grid_sample(features, grid[:, :, None].to(features), mode="bilinear", padding_mode="zeros", align_corners=False)
        seen = seen[..., 0].mT * valid[..., None]
        keypoints = pose.keypoints_m
        keypoints = keypoints - keypoints[:, HIPS].mean(1, keepdim=True)
        place_2d = self.keypoint_posemb_linear(crop) * valid[..., None]
        place_3d = self.keypoint3d_posemb_linear(keypoints)
        first = tokens.shape[1] - 2 * KEYPOINTS
        before, in_2d, in_3d = tokens.split([first, KEYPOINTS, KEYPOINTS], 1)
        tokens = torch.cat([before, in_2d + self.keypoint_feat_linear(seen), in_3d], 1)
        return tokens, torch.cat([position[:, :first], place_2d, place_3d], 1)


def _estimate(previous: Decoded) -> Tensor:
    """An earlier decoding as the previous-estimate token wants it (B, 522)."""
    pose = previous.pose
    return torch.cat([pose.pose_raw, pose.shape, pose.scale, pose.hand, pose.face, previous.view.camera], -1)
