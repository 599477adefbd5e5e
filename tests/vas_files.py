"""Writes tiny Diffusion-VAS and Depth-Anything-V2 checkpoints in the official folders' layouts: made-up weights, half precision.

Random weights paint noise: no outline is credible, and nobody is ever found hidden with them. With ``white=True`` the decoder's last layer
paints everything white: every outline is as large as what the networks look at.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

UNET: dict[str, Any] = {
    "_class_name": "UNetSpatioTemporalConditionModel",
    "sample_size": 8,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "block_out_channels": [32, 32],
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "num_attention_heads": [2, 2],
    "num_frames": 25,
}
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKLTemporalDecoder",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "block_out_channels": [32, 32, 32, 32],
    "layers_per_block": 1,
    "latent_channels": 4,
    "sample_size": 64,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
CLIP: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "projection_dim": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 224,
    "patch_size": 56,
}
SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
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


def write_tiny_diffusion_vas(folder: Path, seed: int = 0, *, white: bool = False) -> Path:
    """A pipeline's folder: model_index.json, unet/, vae/, image_encoder/, scheduler/, feature_extractor/."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
    from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel.from_config(UNET)
        vae = AutoencoderKLTemporalDecoder.from_config(VAE)
        clip = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(CLIP))
    width = UNET["block_out_channels"][0]
    # The layer in use stands beside the one it was trained from.
    shapes = {"conv_in2.weight": (width, 12, 3, 3), "conv_in2.bias": (width,)}
    _write(folder / "unet", UNET, made_up(_shapes(unet) | shapes, seed), "diffusion_pytorch_model.safetensors")
    decoded = made_up(_shapes(vae), seed + 1)
    if white:
        decoded["decoder.time_conv_out.weight"].zero_()
        decoded["decoder.time_conv_out.bias"].fill_(1.5)
    _write(folder / "vae", VAE, decoded, "diffusion_pytorch_model.safetensors")
    _write(folder / "image_encoder", CLIP, made_up(_shapes(clip), seed + 2), "model.safetensors")
    _json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    _json(folder / "feature_extractor" / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor"})
    _json(folder / "model_index.json", {"_class_name": "DiffusionVASPipeline"})
    return folder


def write_tiny_depth_anything(folder: Path, seed: int = 0) -> Path:
    """config.json and model.safetensors of Depth-Anything-V2-Large-hf, very small."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    config = DepthAnythingConfig(
        backbone_config={
            "model_type": "dinov2",
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "image_size": 518,
            "patch_size": 14,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
            "reshape_hidden_states": False,
            "apply_layernorm": True,
        },
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    with torch.device("meta"):
        net = DepthAnythingForDepthEstimation(config)
    _write(folder, config.to_dict(), made_up(_shapes(net), seed), "model.safetensors")
    return folder


def made_up(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Weights that keep the size of what goes through: norms about one, others by their fan-in."""
    made = torch.Generator().manual_seed(seed)
    out = {}
    for key, shape in shapes.items():
        noise = torch.randn(shape, generator=made)
        if len(shape) >= 2:
            out[key] = noise / torch.tensor(shape[1:]).prod().sqrt()
        else:
            out[key] = 0.02 * noise + (1.0 if key.endswith(("norm.weight", "norm1.weight", "norm2.weight", "norm3.weight")) else 0.0)
    return {key: value.half() for key, value in out.items()}


def _shapes(net: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}


def _write(folder: Path, config: Mapping[str, Any], state: dict[str, Tensor], name: str) -> None:
    _json(folder / "config.json", config)
    save_file(state, folder / name)


def _json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
