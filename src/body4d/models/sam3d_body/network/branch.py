"""A branch of the network, one for the body and one for the hand: rays, tokens, decoder and heads, with weights of its own."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from body4d.core.joints import Mhr70
from body4d.models.sam3d_body.network.config import NetworkSizes
from body4d.models.sam3d_body.network.crops import Crops, box_condition, viewing_rays
from body4d.models.sam3d_body.network.decoder import Decoder, ImageContext, RayCondition
from body4d.models.sam3d_body.network.heads import NUM_OUTPUTS, CameraHead, CameraPrediction, MhrModel, PoseHead, PosePrediction
from body4d.models.sam3d_body.network.layers import Mlp, constant
from body4d.models.sam3d_body.network.prompts import NUM_KEYPOINTS

HIPS = slice(Mhr70.LEFT_HIP, Mhr70.RIGHT_HIP + 1)
"""3D keypoints are given to the tokens relative to the middle of these."""

MIN_KEYPOINT_DEPTH_M = 1e-5
"""A keypoint closer to the camera's plane counts as behind it."""

NUM_HAND_BOX_TOKENS = 2

HAND_CAMERA_FACTOR = 10.0
"""The hand camera's scale counts ten times: a hand is about a tenth of a body."""


@dataclass(frozen=True)
class BranchContext:
    """What a branch keeps of B crops while it decodes them, once or twice."""

    features: Float[Tensor, "b image rows columns"]
    """With the mask and the rays mixed in."""
    image: ImageContext
    crops: Crops


@dataclass(frozen=True)
class BranchOutput:
    """The result of decoding B crops once."""

    pose: PosePrediction
    camera: CameraPrediction
    hand_tokens: Float[Tensor, "b 2 width"]
    """Final tokens that locate the left and the right hand."""


class Branch(nn.Module):
    """Rays, tokens, decoder and heads of the body or of the hand."""

    def __init__(self, sizes: NetworkSizes, *, hand: bool) -> None:
        super().__init__()
        width, image = sizes.decoder_width, sizes.backbone.width
        self.sizes = sizes
        self.ray_cond_emb = RayCondition(image)
        self.init_pose = nn.Parameter(torch.zeros(1, NUM_OUTPUTS))
        self.init_camera = nn.Parameter(torch.zeros(1, 3))
        self.init_to_token = nn.Linear(NUM_OUTPUTS + 6, width)
        self.prev_to_token = nn.Linear(NUM_OUTPUTS + 3, width)
        self.keypoint_embedding = nn.Parameter(torch.zeros(NUM_KEYPOINTS, width))
        self.keypoint3d_embedding = nn.Parameter(torch.zeros(NUM_KEYPOINTS, width))
        self.keypoint_posemb_linear = Mlp(2, width, width)
        self.keypoint3d_posemb_linear = Mlp(3, width, width)
        self.keypoint_feat_linear = nn.Linear(image, width)
        self.decoder = Decoder(sizes)
        self.head_pose = PoseHead(width, hand=hand)
        self.head_camera = CameraHead(width, HAND_CAMERA_FACTOR if hand else 1.0)

    def set_precision(self, dtype: torch.dtype) -> None:
        """Run the decoder's large products in ``dtype``; the heads stay float32."""
        for layer in self.decoder.layers:
            layer.set_precision(dtype)  # type: ignore[operator]
        for part in (self.keypoint_feat_linear, self.keypoint_posemb_linear.fc2, self.keypoint3d_posemb_linear.fc2):
            part.to(dtype)

    def build_context(
        self,
        features: Float[Tensor, "b image rows columns"],
        crops: Crops,
        ramps: tuple[Float[Tensor, " columns"], Float[Tensor, " rows"]],
        image_position: Float[Tensor, "cells image"],
    ) -> BranchContext:
        """Mix the viewing rays in and make every layer's keys and values: all of decoding that depends on the image alone."""
        features = self.ray_cond_emb(features, viewing_rays(crops, ramps))
        return BranchContext(features, self.decoder.image_context(features.flatten(2).mT, image_position), crops)

    def forward(
        self,
        context: BranchContext,
        prompt_tokens: Float[Tensor, "b n width"],
        hand_box_tokens: Float[Tensor, "2 width"],
        mhr: MhrModel,
        previous: BranchOutput | None = None,
    ) -> BranchOutput:
        """Decode crops, with ``previous``, an earlier result for the same crops, where there is one."""
        tokens, position = self._tokens(context.crops, prompt_tokens, hand_box_tokens, previous)

        def update(pose_token: Tensor, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
            pose, camera = self.predict(pose_token, context.crops, mhr)
            return self._update_keypoint_tokens(tokens, position, context.features, pose, camera)

        out = self.decoder(tokens, position, context.image, update)
        pose, camera = self.predict(out[:, 0], context.crops, mhr)
        first = 2 + prompt_tokens.shape[1]
        return BranchOutput(pose, camera, out[:, first : first + NUM_HAND_BOX_TOKENS])

    def predict(self, pose_token: Float[Tensor, "b width"], crops: Crops, mhr: MhrModel) -> tuple[PosePrediction, CameraPrediction]:
        """Body and camera of normalised pose tokens."""
        pose = self.head_pose(pose_token, self.init_pose, mhr)
        weak_perspective = self.head_camera(pose_token, self.init_camera)
        return pose, self.head_camera.predict(weak_perspective, pose.keypoints_m, crops, self.sizes.crop_px)

    def _tokens(self, crops: Crops, prompt_tokens: Tensor, hand_box_tokens: Tensor, previous: BranchOutput | None) -> tuple[Tensor, Tensor]:
        """Tokens and positions (B, 4 + n + 140, width): pose, previous estimate, prompts, hands, keypoints in 2D, in 3D."""
        count = len(crops)
        initial = torch.cat([self.init_pose, self.init_camera], -1).expand(count, -1)
        pose = self.init_to_token(torch.cat([box_condition(crops).to(initial), initial], -1))
        previous_token = self.prev_to_token(initial if previous is None else _previous_estimate(previous))
        positioned = torch.cat([previous_token[:, None], prompt_tokens], 1)
        rest = torch.cat([hand_box_tokens, self.keypoint_embedding, self.keypoint3d_embedding]).expand(count, -1, -1)
        tokens = torch.cat([pose[:, None], positioned, rest], 1)
        position = torch.cat([torch.zeros_like(pose[:, None]), positioned, torch.zeros_like(rest)], 1)
        return tokens, position

    def _update_keypoint_tokens(
        self, tokens: Tensor, position: Tensor, features: Tensor, pose: PosePrediction, camera: CameraPrediction
    ) -> tuple[Tensor, Tensor]:
        """Give the keypoint tokens the positions that their keypoints have so far, and the image's features there."""
        crop = camera.keypoints_crop
        valid = ((crop + 0.5 >= 0) & (crop + 0.5 <= 1)).all(-1) & (camera.keypoint_depth_m >= MIN_KEYPOINT_DEPTH_M)
        map_position = crop
        if self.sizes.side_margin_px:
            widening = self.sizes.crop_px / (self.sizes.crop_px - 2 * self.sizes.side_margin_px)
            map_position = crop * constant((widening, 1.0), crop.device)
        sampled = sample_features(features, map_position + 0.5, valid)
        keypoints = pose.keypoints_m
        keypoints = keypoints - keypoints[:, HIPS].mean(1, keepdim=True)
        position_2d = torch.where(valid[..., None], self.keypoint_posemb_linear(crop), 0)
        position_3d = self.keypoint3d_posemb_linear(keypoints)
        first = tokens.shape[1] - 2 * NUM_KEYPOINTS
        others, tokens_2d, tokens_3d = tokens.split([first, NUM_KEYPOINTS, NUM_KEYPOINTS], 1)
        tokens_2d = tokens_2d + self.keypoint_feat_linear(sampled.to(self.keypoint_feat_linear.weight.dtype))
        return torch.cat([others, tokens_2d, tokens_3d], 1), torch.cat([position[:, :first], position_2d, position_3d], 1)


def sample_features(
    features: Float[Tensor, "b c rows columns"], position: Float[Tensor, "b n 2"], valid: Bool[Tensor, "b n"]
) -> Float[Tensor, "b n c"]:
    """Features at positions from 0 to 1 of the map, x then y: bilinear, float32, zero outside the map and where not ``valid``.

    Positions stay float32 whatever the map's precision, and whole cells are read, which are contiguous in memory.
    """
    rows, columns = features.shape[-2:]
    x = torch.where(valid, position[..., 0], -1.0) * columns - 0.5
    y = torch.where(valid, position[..., 1], -1.0) * rows - 0.5
    left, top = x.floor(), y.floor()
    column = torch.stack([left, left + 1, left, left + 1], -1)
    row = torch.stack([top, top, top + 1, top + 1], -1)
    weight = (1 - (x[..., None] - column).abs()) * (1 - (y[..., None] - row).abs())
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    cell = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
    first = torch.arange(len(features), device=features.device)[:, None, None] * (rows * columns)
    taps = features.movedim(1, -1).reshape(-1, features.shape[1])[cell.long() + first]
    return (taps * (weight * inside)[..., None]).sum(2)


def _previous_estimate(previous: BranchOutput) -> Tensor:
    """An earlier result (B, 522) as the previous-estimate token takes it."""
    pose = previous.pose
    return torch.cat([pose.pose_raw, pose.shape, pose.scale, pose.hand, pose.face, previous.camera.weak_perspective], -1)
