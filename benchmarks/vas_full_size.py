"""Diffusion-VAS and Depth-Anything at their published sizes: made of random numbers, and what they ask of a device."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from body4d.config import OcclusionSettings
from body4d.models.diffusion_vas.depth import input_size_px
from body4d.models.diffusion_vas.network.sampler import LATENT_CHANNELS, VasNetworks
from body4d.models.diffusion_vas.pipeline import DECODE_FRAMES
from body4d.models.diffusion_vas.windows import split_windows

UNET = {
    "in_channels": 3 * LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",),
    "up_block_types": ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "transformer_layers_per_block": 1,
    "num_attention_heads": (5, 10, 20, 20),
    "num_frames": 25,
}
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": LATENT_CHANNELS,
    "sample_size": 768,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
CLIP = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1024,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu",
}
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}
DEPTH = {
    "backbone_config": {
        "model_type": "dinov2",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 518,
        "patch_size": 14,
        "out_indices": [5, 12, 18, 24],
        "reshape_hidden_states": False,
        "apply_layernorm": True,
    },
    "reassemble_hidden_size": 1024,
    "neck_hidden_sizes": [256, 512, 1024, 1024],
    "fusion_hidden_size": 256,
    "head_hidden_size": 32,
}


def random_networks(device: torch.device, dtype: torch.dtype) -> VasNetworks:
    """One pipeline of the published sizes, as its libraries start weights."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from body4d.models.diffusion_vas.network.fast_layers import use_fast_layers
    from body4d.models.diffusion_vas.network.unet import VasUnet

    return VasNetworks(
        unet=use_fast_layers(made(lambda: VasUnet.from_config(dict(UNET)), device, dtype)),
        vae=use_fast_layers(made(lambda: AutoencoderKLTemporalDecoder.from_config(dict(VAE)), device, dtype)),
        clip=made(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(dict(CLIP))), device, dtype),
        scheduler=lambda: EulerDiscreteScheduler.from_config(dict(SCHEDULER)),
    )


def random_depth(device: torch.device, dtype: torch.dtype) -> nn.Module:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    return made(lambda: DepthAnythingForDepthEstimation(DepthAnythingConfig.from_dict(dict(DEPTH))), device, dtype)


def made(make: Callable[[], Any], device: torch.device, dtype: torch.dtype) -> Any:
    """A network made on the device, in evaluation mode."""
    with torch.device(device):
        net = make()
    return nn.Module.to(net, device=device, dtype=dtype).requires_grad_(False).eval()


class Operations:
    """Counts operations of networks like these, part by part; no number is computed."""

    def __init__(self, nets: VasNetworks, depth: nn.Module) -> None:
        self._unet, self._vae, self._clip, self._depth = (on_meta(net) for net in (nets.unet, nets.vae, nets.clip, depth))
        self._width, self._dtype = nets.unet.config["cross_attention_dim"], nets.dtype
        self._counted: dict[str, float] = {}

    def of(self, settings: OcclusionSettings, videos: Sequence[int], pictures: int, frame_px: tuple[int, int]) -> dict[str, float]:
        """Operations for the frames of each of ``videos`` that go through a pipeline, and ``pictures`` (height, width) ``frame_px`` whose
        depth is found."""
        h, w, chunk = settings.short_side_px // 8, settings.long_side_px // 8, DECODE_FRAMES
        windows = [len(x) for count in videos for x in split_windows(count, settings.window_frames)]
        chunks = [piece for count in videos for piece in [chunk] * (count // chunk) + [count % chunk] if piece]
        return {
            "UNet": sum(2 * settings.num_steps * self._unet_row(length, h, w) for length in windows),
            "VAE encode": sum(videos) * 2 * self._once("encode", lambda: self._vae.encode(self._empty(1, 3, 8 * h, 8 * w))),
            "VAE decode": sum(self._decoded(frames, h, w) for frames in chunks),
            "CLIP": sum(videos) * self._once("clip", lambda: self._clip(self._empty(1, 3, 224, 224))),
            "depth": pictures * self._once("depth", lambda: self._depth(self._empty(1, 3, *input_size_px(*frame_px)))),
        }

    def _unet_row(self, frames: int, h: int, w: int) -> float:
        moment, about = torch.empty((), device="meta"), torch.empty(1, 3, device="meta")
        sample, shown = self._empty(1, frames, 3 * LATENT_CHANNELS, h, w), self._empty(1, frames, self._width)
        return self._once(f"unet {frames}", lambda: self._unet(sample, moment, shown, about))

    def _decoded(self, frames: int, h: int, w: int) -> float:
        latents = self._empty(frames, LATENT_CHANNELS, h, w)
        return self._once(f"decode {frames}", lambda: self._vae.decode(latents, num_frames=frames))

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, device="meta", dtype=self._dtype)

    def _once(self, name: str, run: Callable[[], Any]) -> float:
        if name not in self._counted:
            with FlopCounterMode(display=False) as count:
                run()
            self._counted[name] = float(count.get_total_flops())
        return self._counted[name]


def on_meta(net: Any) -> Any:
    """A copy of a network without its numbers, as it was before it was timed or compiled."""
    from body4d.models.diffusion_vas.network.fast_layers import use_fast_layers

    forward = net.__dict__.pop("forward", None)
    try:
        with torch.device("meta"):
            config = net.config
            copy = type(net).from_config(dict(config)) if hasattr(type(net), "from_config") else type(net)(config)
    finally:
        if forward is not None:
            net.forward = forward
    return use_fast_layers(nn.Module.to(copy, device="meta", dtype=next(net.parameters()).dtype)).eval()
