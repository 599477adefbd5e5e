"""Stable Video Diffusion's UNet (Blattmann et al. 2023) as Diffusion-VAS changed it: three pictures' latents in, a look at each frame."""

from typing import Any

import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from torch import Tensor, nn


class VasUnet(UNetSpatioTemporalConditionModel):
    """diffusers' network with 12 input channels, whose attention looks at an embedding of every frame instead of one for the video."""

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, added_time_ids: Tensor, **_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Prediction (B, T, 4, h, w) for ``sample`` (B, T, 12, h, w); ``encoder_hidden_states`` (B, T, D), ``added_time_ids`` (B, 3)."""
        batch, frames = sample.shape[:2]
        context = encoder_hidden_states.flatten(0, 1)[:, None]
        still = torch.zeros(batch, frames, dtype=sample.dtype, device=sample.device)
        emb = self._moment(timestep, added_time_ids, batch, sample.dtype).repeat_interleave(frames, dim=0)
        x = self.conv_in(sample.flatten(0, 1))
        kept = [x]
        for block in self.down_blocks:
            x, more = block(hidden_states=x, temb=emb, image_only_indicator=still, **_seeing(block, context))
            kept += more
        x = self.mid_block(hidden_states=x, temb=emb, encoder_hidden_states=context, image_only_indicator=still)
        for block in self.up_blocks:
            count = len(block.resnets)  # pyright: ignore[reportArgumentType]
            kept, skipped = kept[:-count], tuple(kept[-count:])
            # Sizes that halve with a remainder are grown back to what they were on the way down.
            size = kept[-1].shape[2:] if kept else None
            x = block(
                hidden_states=x,
                temb=emb,
                res_hidden_states_tuple=skipped,
                upsample_size=size,
                image_only_indicator=still,
                **_seeing(block, context),
            )
        return self.conv_out(self.conv_act(self.conv_norm_out(x))).unflatten(0, (batch, frames))

    def _moment(self, timestep: Tensor, added_time_ids: Tensor, batch: int, dtype: torch.dtype) -> Tensor:
        """Embedding (B, C) of the noise level and of frame rate, motion and noise of the video."""
        level = self.time_embedding(self.time_proj(timestep.reshape(-1).expand(batch)).to(dtype))
        video = self.add_time_proj(added_time_ids.flatten()).reshape(batch, -1).to(dtype)
        return level + self.add_embedding(video)


def _seeing(block: nn.Module, context: Tensor) -> dict[str, Tensor]:
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}
