"""One decoder with all that belongs to it: the body's and the hand's are built alike, with weights of their own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from body4d.models.sam3d_body.network.config import NetworkSizes
from body4d.models.sam3d_body.network.crops import Crops, box_condition, rays
from body4d.models.sam3d_body.network.decoder import Context, Decoder, RayCondition
from body4d.models.sam3d_body.network.heads import OUTPUTS, CameraHead, Mhr, Pose, PoseHead, View
from body4d.models.sam3d_body.network.layers import Mlp, constant
from body4d.models.sam3d_body.network.prompts import KEYPOINTS

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

    def lower(self, dtype: torch.dtype) -> None:
        """Let the decoder's large products run in ``dtype``; the heads stay float32."""
        for layer in self.decoder.layers:
            layer.lower(dtype)  # type: ignore[operator]
        for part in (self.keypoint_feat_linear, self.keypoint_posemb_linear.fc2, self.keypoint3d_posemb_linear.fc2):
            part.to(dtype)

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
        places = crop
        if self.sizes.side_margin_px:
            widen = self.sizes.crop_px / (self.sizes.crop_px - 2 * self.sizes.side_margin_px)
            places = crop * constant((widen, 1.0), crop.device)
        seen = at_places(features, places + 0.5, valid)
        shown = valid[..., None]
        keypoints = pose.keypoints_m
        keypoints = keypoints - keypoints[:, HIPS].mean(1, keepdim=True)
        place_2d = torch.where(shown, self.keypoint_posemb_linear(crop), 0)
        place_3d = self.keypoint3d_posemb_linear(keypoints)
        first = tokens.shape[1] - 2 * KEYPOINTS
        before, in_2d, in_3d = tokens.split([first, KEYPOINTS, KEYPOINTS], 1)
        tokens = torch.cat([before, in_2d + self.keypoint_feat_linear(seen.to(self.keypoint_feat_linear.weight.dtype)), in_3d], 1)
        return tokens, torch.cat([position[:, :first], place_2d, place_3d], 1)


def at_places(features: Tensor, places: Tensor, valid: Tensor) -> Tensor:
    """Maps (B, C, h, w) looked up bilinearly at places (B, n, 2), x and y in [0, 1] of the map, nothing outside it: (B, n, C) float32.

    Zeros where ``valid`` (B, n) is not. Places stay float32 whatever the map is, and whole cells are read, which lie together in memory.
    """
    rows, columns = features.shape[-2:]
    x = torch.where(valid, places[..., 0], -1.0) * columns - 0.5
    y = torch.where(valid, places[..., 1], -1.0) * rows - 0.5
    left, top = x.floor(), y.floor()
    column = torch.stack([left, left + 1, left, left + 1], -1)
    row = torch.stack([top, top, top + 1, top + 1], -1)
    weight = (1 - (x[..., None] - column).abs()) * (1 - (y[..., None] - row).abs())
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    cell = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
    first = torch.arange(len(features), device=features.device)[:, None, None] * (rows * columns)
    taps = features.movedim(1, -1).reshape(-1, features.shape[1])[cell.long() + first]
    return (taps * (weight * inside)[..., None]).sum(2)


def _estimate(previous: Decoded) -> Tensor:
    """An earlier decoding as the previous-estimate token wants it (B, 522)."""
    pose = previous.pose
    return torch.cat([pose.pose_raw, pose.shape, pose.scale, pose.hand, pose.face, previous.view.camera], -1)
