"""The whole network: crops of any people in any frames in, bodies out, all at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.config import Sam3dBodySettings
from body4d.models.sam3d_body.network.backbone import make_backbone, normalise
from body4d.models.sam3d_body.network.branch import Branch, Decoded, Seen
from body4d.models.sam3d_body.network.config import NetworkSizes
from body4d.models.sam3d_body.network.crops import Crops, make_crops, ray_ramps, warp
from body4d.models.sam3d_body.network.heads import Mhr
from body4d.models.sam3d_body.network.prompts import NO_PROMPT, FourierPosition, PromptEncoder
from body4d.runtime.torch_utils import set_compile_cache


@dataclass(frozen=True)
class BodyPass:
    """The body decoder's answer and what a second decoding of the same crops needs."""

    decoded: Decoded
    seen: Seen


Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def own_precision(method: Callable[Concatenate["Sam3dBody", Given], Answer]) -> Callable[Concatenate["Sam3dBody", Given], Answer]:
    """The network picks its precisions itself: a caller's autocast would reach angles and cameras."""

    @wraps(method)
    def run(self: "Sam3dBody", *given: Given.args, **named: Given.kwargs) -> Answer:
        with torch.autocast(self.hand_box_embedding.device.type, enabled=False):
            return method(self, *given, **named)

    return run


class Sam3dBody(nn.Module):
    """Weights of SAM-3D-Body; the MHR body is passed to each call."""

    ramp_columns: Tensor
    ramp_rows: Tensor

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, image = sizes.decoder_width, sizes.backbone.width
        self.backbone = make_backbone(sizes)
        self.prompt_encoder = PromptEncoder(image)
        self.prompt_to_token = nn.Linear(image, width)
        self.hand_box_embedding = nn.Parameter(torch.zeros(2, width))
        self.hand_cls_embed = nn.Linear(width, 2)
        self.bbox_embed = nn.ModuleList(nn.Linear(width, out) for out in (width, width, 4))
        self.hand_position = FourierPosition(image)
        self.body = Branch(sizes, hand=False)
        self.hand = Branch(sizes, hand=True)
        columns, rows = ray_ramps(sizes.grid, sizes.crop_px, sizes.side_margin_px)
        self.register_buffer("ramp_columns", columns, persistent=False)
        self.register_buffer("ramp_rows", rows, persistent=False)

    def reset_buffers(self, device: torch.device | str) -> None:
        """Make anew what no checkpoint holds, after the module was built on the meta device."""
        columns, rows = ray_ramps(self.sizes.grid, self.sizes.crop_px, self.sizes.side_margin_px, device)
        self.register_buffer("ramp_columns", columns, persistent=False)
        self.register_buffer("ramp_rows", rows, persistent=False)
        self.backbone.reset_buffers(device)
        self.body.head_pose.reset_buffers(device)
        self.hand.head_pose.reset_buffers(device)

    def set_precision(self, dtype: torch.dtype) -> "Sam3dBody":
        """Run the large products in ``dtype``, float32 (the reference), bfloat16 or float16: the backbone, and of the decoders what
        grows with the image or with the tokens. What tokens add up to, heads, angles, MHR, cameras and crops stay float32.

        Digits that were cut off do not come back with float32: load the weights anew for that. Before :meth:`compile_backbone`.
        """
        self.backbone.to(dtype)
        self.backbone.reset_buffers(self.ramp_rows.device)  # Positions are float32 in every precision.
        for branch in (self.body, self.hand):
            branch.lower(dtype)
        return self

    def compile_backbone(self, folder: Path | None = None) -> "Sam3dBody":
        """Compile the backbone's block at its next call, after the precision is set; see :mod:`body4d.runtime.torch_utils`.

        One version serves all blocks and all batches; a single crop runs uncompiled.
        """
        set_compile_cache(folder)
        self.backbone.compile_blocks()
        return self

    def features(self, crops_rgb: Tensor) -> Tensor:
        """Feature maps (B, C, h, w) of RGB uint8 crops (B, 3, s, s), in the backbone's precision and channels last in memory."""
        return self.backbone(normalise(crops_rgb, self.sizes.side_margin_px))

    @own_precision
    def forward(self, crops_rgb: Tensor, crops: Crops, mhr: Mhr, masks: Tensor | None = None, mask_score: Tensor | None = None) -> BodyPass:
        """Bodies in crops (B, 3, s, s) uint8. ``masks`` (B, 1, s, s) 0 to 255 with ``mask_score`` (B,), 0 where a crop has no mask."""
        features = self.prompt_encoder.add_mask(self.features(crops_rgb), masks, mask_score, self.sizes.side_margin_px)
        seen = self.body.look(features, crops, (self.ramp_columns, self.ramp_rows), self.prompt_encoder.position.of_grid(self.sizes.grid))
        return BodyPass(self.body(seen, self.no_prompt(len(crops)), self.hand_box_embedding, mhr), seen)

    @own_precision
    def prompted(self, first: BodyPass, prompts: Tensor, mhr: Mhr) -> Decoded:
        """Decode the same crops again from the first answer, with keypoint prompts (B, n, 3); the image is not looked at anew."""
        tokens = self.prompt_to_token(self.prompt_encoder.embed_keypoints(prompts))
        return self.body(first.seen, tokens, self.hand_box_embedding, mhr, previous=first.decoded)

    @own_precision
    def hands(self, crops_rgb: Tensor, crops: Crops, mhr: Mhr) -> Decoded:
        """Right hands, and left ones that were mirrored, in crops (B, 3, s, s) uint8."""
        features = self.prompt_encoder.add_mask(self.features(crops_rgb), None, None, self.sizes.side_margin_px)
        position = self.hand_position.of_grid(self.sizes.grid)
        seen = self.hand.look(features, crops, (self.ramp_columns, self.ramp_rows), position)
        return self.hand(seen, self.no_prompt(len(crops)), self.hand_box_embedding, mhr)

    def no_prompt(self, count: int) -> Tensor:
        """Prompt tokens (count, 1, width) that say nothing: published decoding always has one."""
        dummy = torch.zeros(1, 1, 3, device=self.hand_box_embedding.device)
        dummy[..., 2] = NO_PROMPT
        return self.prompt_to_token(self.prompt_encoder.embed_keypoints(dummy)).expand(count, -1, -1)

    @own_precision
    def hand_boxes(self, hand_tokens: Tensor) -> Tensor:
        """Boxes (B, 2, 4) of left and right hand: centre and size in [0, 1] of the crop."""
        x = F.relu(self.bbox_embed[0](hand_tokens))
        return self.bbox_embed[2](F.relu(self.bbox_embed[1](x))).sigmoid()

    def hand_logits(self, hand_tokens: Tensor) -> Tensor:
        """Two scores (B, 2, 2) for left and right hand. The published inference does not use them."""
        return self.hand_cls_embed(hand_tokens)


def body_crops(boxes_px: Tensor, frame: Tensor, intrinsics_px: Tensor, sizes: NetworkSizes, settings: Sam3dBodySettings) -> Crops:
    """Crops around people's boxes (B, 4) x0 y0 x1 y1."""
    return make_crops(boxes_px, frame, intrinsics_px, padding=settings.body_box_padding, aspect=settings.box_aspect, crop_px=sizes.crop_px)


def estimate_bodies(
    net: Sam3dBody, mhr: Mhr, frames: Tensor, crops: Crops, masks: Tensor | None = None, mask_score: Tensor | None = None
) -> BodyPass:
    """Bodies in crops of frames (F, H, W, 3) RGB uint8; ``masks`` (B, H, W) uint8 0 or 255, one for each crop."""
    size = net.sizes.crop_px
    crop_masks = None
    if masks is not None:
        own = Crops(torch.arange(len(crops), device=masks.device), *(getattr(crops, n) for n in list(crops.__dataclass_fields__)[1:]))
        crop_masks = warp(masks[..., None], own, size)
        if mask_score is None:
            mask_score = torch.ones(len(crops), device=masks.device)
    return net(warp(frames, crops, size), crops, mhr, crop_masks, mask_score)
