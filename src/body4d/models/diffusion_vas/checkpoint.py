"""Diffusion-VAS and Depth-Anything-V2 checkpoints: the official folders on the Hub, read strictly and without a network.

A folder of Diffusion-VAS is in diffusers' layout: ``unet/``, ``vae/``, ``image_encoder/`` and ``scheduler/``, each with its config. In the
UNet's file ``conv_in2`` is the layer in use; ``conv_in`` is what it was trained from.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from body4d.checkpoints.loading import load_strict, read_checkpoint_file, read_config
from body4d.core.errors import WeightsError
from body4d.models.diffusion_vas.network.sampler import LATENT_CHANNELS, VasNetworks

if TYPE_CHECKING:
    from body4d.models.diffusion_vas.network.unet import VasUnet

PARTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "image_encoder": "model"}
"""Folders of a pipeline that hold weights, and the names of their weight files."""

_SUFFIXES = (".safetensors", ".fp16.safetensors")
_UNUSED_KEYS = ("conv_in.weight", "conv_in.bias")
_INPUT_LAYER = "conv_in2."
_COMPUTED_TABLE = "position_ids"
"""A table that is computed, which some versions of transformers save."""


def find_vas(folder: Path) -> Path:
    """``folder`` if it is a complete Diffusion-VAS pipeline. Raises WeightsError that names the first file it lacks."""
    required = [folder / part / "config.json" for part in PARTS] + [folder / "scheduler" / "scheduler_config.json"]
    missing = next((path for path in required if not path.is_file()), None)
    if missing is None:
        missing = next((folder / part / f"{name}.safetensors" for part, name in PARTS.items() if _weights_file(folder, part) is None), None)
    if missing is not None:
        name = missing.relative_to(folder).as_posix()
        raise WeightsError(
            f"{folder} is no complete Diffusion-VAS checkpoint: it lacks {name}.",
            code="vas_incomplete",
            hint="Download the whole repository.",
            path=str(folder),
            missing=name,
        )
    return folder


def find_depth_anything(folder: Path) -> Path:
    """``folder`` if it holds Depth-Anything-V2 in transformers' layout. Raises WeightsError."""
    missing = next((name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()), None)
    if missing:
        message = f"{folder} holds no Depth-Anything-V2 checkpoint: it lacks {missing} of depth-anything/Depth-Anything-V2-Large-hf."
        raise WeightsError(message, code="depth_anything_incomplete", path=str(folder), missing=missing)
    return folder


def load_vas(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> VasNetworks:
    """A pipeline's networks in evaluation mode. Raises WeightsError that names tensors which are missing, unknown or of another shape."""
    find_vas(folder)
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    states = {part: read_checkpoint_file(_require_weights_file(folder, part)) for part in PARTS}
    configs = {part: read_config(folder / part / "config.json") for part in PARTS}
    return build_vas(configs, states, scheduler, str(folder), device, dtype)


def build_vas(
    configs: Mapping[str, Mapping[str, Any]],
    states: Mapping[str, Mapping[str, Tensor]],
    scheduler: Mapping[str, Any],
    source: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VasNetworks:
    """The networks that ``configs`` describe, with state dicts under the published names, part by part of ``PARTS``."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
    from transformers.models.clip.configuration_clip import CLIPVisionConfig
    from transformers.models.clip.modeling_clip import CLIPVisionModelWithProjection

    from body4d.models.diffusion_vas.network.fast_layers import use_fast_layers

    def vae() -> Any:
        return AutoencoderKLTemporalDecoder.from_config(dict(configs["vae"]))

    def clip() -> nn.Module:
        return CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(dict(configs["image_encoder"])))

    def build(part: str, make: Callable[[], nn.Module], state: Mapping[str, Tensor]) -> Any:
        return _moved(_build(make, state, f"{source}: {part}"), device, dtype)

    return VasNetworks(
        unet=_moved(build_unet(configs["unet"], states["unet"], f"{source}: unet"), device, dtype),
        vae=use_fast_layers(build("vae", vae, states["vae"])),
        clip=build(
            "image_encoder", clip, {key: value for key, value in states["image_encoder"].items() if not key.endswith(_COMPUTED_TABLE)}
        ),
        scheduler=lambda: EulerDiscreteScheduler.from_config(dict(scheduler)),
    )


def build_unet(config: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> "VasUnet":
    """The UNet that a config describes, with a state dict under the published names."""
    from body4d.models.diffusion_vas.network.fast_layers import use_fast_layers
    from body4d.models.diffusion_vas.network.unet import VasUnet

    def make() -> Any:
        return VasUnet.from_config({**config, "in_channels": 3 * LATENT_CHANNELS})

    net = _build(make, _unet_state(state), source)
    assert isinstance(net, VasUnet)
    return use_fast_layers(net)


def load_depth_anything(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> nn.Module:
    """Depth-Anything-V2 in evaluation mode. Raises WeightsError as ``load_vas``."""
    from transformers.models.depth_anything.configuration_depth_anything import DepthAnythingConfig
    from transformers.models.depth_anything.modeling_depth_anything import DepthAnythingForDepthEstimation

    find_depth_anything(folder)
    config, state = read_config(folder / "config.json"), read_checkpoint_file(folder / "model.safetensors")
    net = _build(lambda: DepthAnythingForDepthEstimation(DepthAnythingConfig.from_dict(config)), state, str(folder))
    return net.to(device, dtype)


def _unet_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict under the names of diffusers' network."""
    if not any(key.startswith(_INPUT_LAYER) for key in state):
        return dict(state)
    return {key.replace(_INPUT_LAYER, "conv_in."): value for key, value in state.items() if key not in _UNUSED_KEYS}


def _build(make: Callable[[], nn.Module], state: Mapping[str, Tensor], source: str) -> nn.Module:
    try:
        with torch.device("meta"):
            net = make()
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as cause:
        raise WeightsError(f"{source} has a config that this version does not know: {cause}.", code="vas_unknown_config") from cause
    load_strict(net, state, source)
    _compute_tables(net)
    return net.requires_grad_(False).eval()


def _moved(net: Any, device: torch.device | str, dtype: torch.dtype) -> Any:
    """The network moved by torch: diffusers' own ``to`` warns of lists that are empty here."""
    return nn.Module.to(net, device=device, dtype=dtype)


def _compute_tables(net: nn.Module) -> None:
    """Compute the tables of positions: they are no weights, so no file holds them, and on the meta device they have no values."""
    for module in net.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                if name != _COMPUTED_TABLE:
                    raise AssertionError(f"{name} of {type(module).__name__} has no values")
                module.register_buffer(name, torch.arange(buffer.shape[-1])[None], persistent=False)


def _weights_file(folder: Path, part: str) -> Path | None:
    return next((path for suffix in _SUFFIXES if (path := folder / part / f"{PARTS[part]}{suffix}").is_file()), None)


def _require_weights_file(folder: Path, part: str) -> Path:
    path = _weights_file(folder, part)
    assert path is not None, "find_vas has found it"
    return path
