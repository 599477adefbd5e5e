"""The whole network: crops of any people in any frames in, bodies out, in one batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from body4d.models.sam3d_body.network.backbone import make_backbone, normalise
from body4d.models.sam3d_body.network.branch import Branch, BranchContext, BranchOutput
from body4d.models.sam3d_body.network.config import NetworkSizes
from body4d.models.sam3d_body.network.crops import Crops, make_crops, ray_ramps, warp_crops
from body4d.models.sam3d_body.network.heads import MhrModel
from body4d.models.sam3d_body.network.prompts import NO_PROMPT, FourierPosition, PromptEncoder
from body4d.runtime.torch_utils import set_compile_cache

BODY_BOX_PADDING = 1.25
"""Published: a person's box grows by this factor before it is cut out."""

BOX_ASPECT = 0.75
"""Published: a box grows to this width over height before it becomes a square."""


@dataclass(frozen=True)
class BodyPass:
    """The body decoder's result, and what a second decoding of the same crops needs."""

    output: BranchOutput
    context: BranchContext


P = ParamSpec("P")
Result = TypeVar("Result")


def without_autocast(method: Callable[Concatenate["Sam3dBody", P], Result]) -> Callable[Concatenate["Sam3dBody", P], Result]:
    """The network chooses its precisions itself: a caller's autocast would affect angles and cameras."""

    @wraps(method)
    def run(self: "Sam3dBody", *args: P.args, **kwargs: P.kwargs) -> Result:
        with torch.autocast(self.hand_box_embedding.device.type, enabled=False):
            return method(self, *args, **kwargs)

    return run


class Sam3dBody(nn.Module):
    """The weights of SAM-3D-Body; the MHR body is passed to each call."""

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
        # In every checkpoint, but the published inference does not use it.
        self.hand_cls_embed = nn.Linear(width, 2)
        self.bbox_embed = nn.ModuleList(nn.Linear(width, out) for out in (width, width, 4))
        self.hand_position = FourierPosition(image)
        self.body = Branch(sizes, hand=False)
        self.hand = Branch(sizes, hand=True)
        self._set_ray_ramps("cpu")

    def _set_ray_ramps(self, device: torch.device | str) -> None:
        columns, rows = ray_ramps(self.sizes.grid, self.sizes.crop_px, self.sizes.side_margin_px, device)
        self.register_buffer("ramp_columns", columns, persistent=False)
        self.register_buffer("ramp_rows", rows, persistent=False)

    def reset_buffers(self, device: torch.device | str) -> None:
        """Make the tensors that no checkpoint holds, after the module was built on the meta device."""
        self._set_ray_ramps(device)
        self.backbone.reset_buffers(device)
        self.body.head_pose.reset_buffers(device)
        self.hand.head_pose.reset_buffers(device)

    def set_precision(self, dtype: torch.dtype) -> "Sam3dBody":
        """Run the large products in ``dtype``: float32 (the reference), bfloat16 or float16. Call this before ``compile_backbone``.

        These are the backbone, and of the decoders what grows with the image or the number of tokens. The sums of tokens, heads, angles,
        MHR, cameras and crops stay float32. Weights that were rounded stay rounded when float32 is set again; load them anew for that.
        """
        self.backbone.to(dtype)
        self.backbone.reset_buffers(self.ramp_rows.device)  # Positions are float32 in every precision.
        for branch in (self.body, self.hand):
            branch.set_precision(dtype)
        return self

    def compile_backbone(self, cache_folder: Path | None = None) -> "Sam3dBody":
        """Compile the backbone's block at its next call; see ``set_compile_cache``.

        One version serves all blocks and all batches; a single crop runs uncompiled. Set the precision first.
        """
        set_compile_cache(cache_folder)
        self.backbone.compile_blocks()
        return self

    def features(self, crops_rgb: UInt8[Tensor, "b 3 crop crop"]) -> Float[Tensor, "b image rows columns"]:
        """Feature maps of RGB crops, in the backbone's precision and channels last in memory."""
        return self.backbone(normalise(crops_rgb, self.sizes.side_margin_px))

    @without_autocast
    def forward(
        self,
        crops_rgb: UInt8[Tensor, "b 3 crop crop"],
        crops: Crops,
        mhr: MhrModel,
        masks: UInt8[Tensor, "b 1 crop crop"] | None = None,
        mask_score: Float[Tensor, " b"] | None = None,
    ) -> BodyPass:
        """Bodies in crops. ``masks`` have values from 0 to 255; ``mask_score`` is 0 where a crop has no mask."""
        features = self.prompt_encoder.add_mask(self.features(crops_rgb), masks, mask_score, self.sizes.side_margin_px)
        position = self.prompt_encoder.position.of_grid(self.sizes.grid)
        context = self.body.build_context(features, crops, (self.ramp_columns, self.ramp_rows), position)
        return BodyPass(self.body(context, self.empty_prompt_tokens(len(crops)), self.hand_box_embedding, mhr), context)

    @without_autocast
    def decode_with_prompts(self, first: BodyPass, prompts: Float[Tensor, "b n 3"], mhr: MhrModel) -> BranchOutput:
        """Decode the same crops again, from the first result and keypoint prompts; the image is not encoded again."""
        tokens = self.prompt_to_token(self.prompt_encoder.embed_keypoints(prompts))
        return self.body(first.context, tokens, self.hand_box_embedding, mhr, previous=first.output)

    @without_autocast
    def decode_hands(self, crops_rgb: UInt8[Tensor, "b 3 crop crop"], crops: Crops, mhr: MhrModel) -> BranchOutput:
        """Hands in crops of right hands, and of left hands in mirrored frames."""
        features = self.prompt_encoder.add_mask(self.features(crops_rgb), None, None, self.sizes.side_margin_px)
        position = self.hand_position.of_grid(self.sizes.grid)
        context = self.hand.build_context(features, crops, (self.ramp_columns, self.ramp_rows), position)
        return self.hand(context, self.empty_prompt_tokens(len(crops)), self.hand_box_embedding, mhr)

    def empty_prompt_tokens(self, count: int) -> Float[Tensor, "count 1 width"]:
        """Tokens of an empty prompt: the published decoding always has at least one."""
        empty = torch.zeros(1, 1, 3, device=self.hand_box_embedding.device)
        empty[..., 2] = NO_PROMPT
        return self.prompt_to_token(self.prompt_encoder.embed_keypoints(empty)).expand(count, -1, -1)

    @without_autocast
    def hand_boxes(self, hand_tokens: Float[Tensor, "b 2 width"]) -> Float[Tensor, "b 2 4"]:
        """Boxes of the left and the right hand: centre and size, from 0 to 1 of the crop."""
        x = F.relu(self.bbox_embed[0](hand_tokens))
        return self.bbox_embed[2](F.relu(self.bbox_embed[1](x))).sigmoid()


def body_crops(
    boxes_px: Float[Tensor, "b 4"], frame_index: Int[Tensor, " b"], intrinsics_px: Float[Tensor, "b 3 3"], sizes: NetworkSizes
) -> Crops:
    """Crops around people's boxes x0 y0 x1 y1."""
    return make_crops(boxes_px, frame_index, intrinsics_px, padding=BODY_BOX_PADDING, aspect=BOX_ASPECT, crop_px=sizes.crop_px)


def estimate_bodies(
    net: Sam3dBody,
    mhr: MhrModel,
    frames: UInt8[Tensor, "f h w 3"],
    crops: Crops,
    masks: UInt8[Tensor, "b h w"] | None = None,
    mask_score: Float[Tensor, " b"] | None = None,
) -> BodyPass:
    """Bodies in crops of RGB frames; ``masks`` are 0 or 255, one for each crop."""
    size = net.sizes.crop_px
    crop_masks = None
    if masks is not None:
        own = Crops(torch.arange(len(crops), device=masks.device), *(getattr(crops, n) for n in list(crops.__dataclass_fields__)[1:]))
        crop_masks = warp_crops(masks[..., None], own, size)
        if mask_score is None:
            mask_score = torch.ones(len(crops), device=masks.device)
    return net(warp_crops(frames, crops, size), crops, mhr, crop_masks, mask_score)
