"""Stable Video Diffusion's UNet (Blattmann et al. 2023) as Diffusion-VAS changed it, and exact shortcuts in diffusers' networks."""

from typing import Any, TypeVar

import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Net = TypeVar("Net", bound=nn.Module)


class VasUnet(UNetSpatioTemporalConditionModel):
    """diffusers' network with 12 input channels, whose frames attend to an embedding of their own instead of one for the video."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        sample: Float[Tensor, "b t 12 h w"],
        timestep: Tensor,
        encoder_hidden_states: Float[Tensor, "b t d"],
        added_time_ids: Float[Tensor, "b 3"],
        **_: Any,
    ) -> Float[Tensor, "b t 4 h w"]:
        batch, frames = sample.shape[:2]
        context = encoder_hidden_states.flatten(0, 1)[:, None]
        image_only = torch.zeros(batch, frames, dtype=sample.dtype, device=sample.device)
        emb = self._time_embedding(timestep, added_time_ids, batch, sample.dtype).repeat_interleave(frames, dim=0)
        x = self.conv_in(sample.flatten(0, 1))
        skips = [x]
        for block in self.down_blocks:
            x, more = block(hidden_states=x, temb=emb, image_only_indicator=image_only, **_context_of(block, context))
            skips += more
        x = self.mid_block(hidden_states=x, temb=emb, encoder_hidden_states=context, image_only_indicator=image_only)
        for block in self.up_blocks:
            count = len(block.resnets)  # pyright: ignore[reportArgumentType]
            skips, skipped = skips[:-count], tuple(skips[-count:])
            # Sizes that halve with a remainder grow back to what they were on the way down.
            size = skips[-1].shape[2:] if skips else None
            x = block(
                hidden_states=x,
                temb=emb,
                res_hidden_states_tuple=skipped,
                upsample_size=size,
                image_only_indicator=image_only,
                **_context_of(block, context),
            )
        return self.conv_out(self.conv_act(self.conv_norm_out(x))).unflatten(0, (batch, frames))

    def _time_embedding(self, timestep: Tensor, added_time_ids: Tensor, batch: int, dtype: torch.dtype) -> Tensor:
        """Embedding (B, C) of the noise level and of frame rate, motion and noise of the video."""
        level = self.time_embedding(self.time_proj(timestep.reshape(-1).expand(batch)).to(dtype))
        video = self.add_time_proj(added_time_ids.flatten()).reshape(batch, -1).to(dtype)
        return level + self.add_embedding(video)


def _context_of(block: nn.Module, context: Tensor) -> dict[str, Tensor]:
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}


class SingleKeyAttention:
    """A processor for ``diffusers``' Attention where there is a single key: a softmax over one is one, so its value answers any query."""

    def __call__(
        self, attn: Any, hidden_states: Float[Tensor, "n l c"], encoder_hidden_states: Float[Tensor, "n 1 d"], attention_mask: None = None
    ) -> Float[Tensor, "n l c"]:
        assert encoder_hidden_states.shape[1] == 1, "attention to more than one embedding"
        value = attn.to_out[0](attn.to_v(encoder_hidden_states))
        return value.expand(-1, hidden_states.shape[1], -1)


class FrameConv(nn.Module):
    """A 3D convolution over frames alone, done as a 2D one, for which libraries are tuned."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias, self.padding = conv.weight, conv.bias, conv.padding

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b out t h w"]:
        out = functional.conv2d(x.flatten(3), self.weight.squeeze(-1), self.bias, padding=(int(self.padding[0]), 0))
        return out.unflatten(3, x.shape[3:])


def use_fast_layers(net: Net) -> Net:
    """``net`` with both shortcuts wherever they apply, exact but for rounding. Its weights stay as they are."""
    for module in list(net.modules()):
        cross_attention = getattr(module, "attn2", None)
        if cross_attention is not None:
            cross_attention.set_processor(SingleKeyAttention())
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv3d and child.kernel_size[1:] == (1, 1) and child.stride == (1, 1, 1) and child.padding[1:] == (0, 0):
                setattr(module, name, FrameConv(child))
    return net
