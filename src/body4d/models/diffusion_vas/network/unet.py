"""Stable Video Diffusion's UNet (Blattmann et al. 2023) as Diffusion-VAS changed it."""

from typing import Any

import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from jaxtyping import Float
from torch import Tensor, nn


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
