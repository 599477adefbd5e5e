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
from body4d.models.diffusion_vas.network.fast_layers import quicker
from body4d.models.diffusion_vas.network.sampler import LATENT_CHANNELS, VasNetworks

if TYPE_CHECKING:
    from body4d.models.diffusion_vas.network.unet import VasUnet

PARTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "image_encoder": "model"}
"""Folders of a pipeline that hold weights, and what their files are called."""

_VARIANTS = (".safetensors", ".fp16.safetensors")
_UNUSED = ("conv_in.weight", "conv_in.bias")
_IN_USE = "conv_in2."
_COMPUTED = "position_ids"
"""A table that is computed; some versions of transformers save it."""


def find_vas(folder: Path) -> Path:
    """``folder`` if it is a whole Diffusion-VAS pipeline. Raises WeightsError naming the first file it lacks."""
    wanted = [folder / part / "config.json" for part in PARTS] + [folder / "scheduler" / "scheduler_config.json"]
    lacking = next((path for path in wanted if not path.is_file()), None)
    if lacking is None:
        lacking = next((folder / part / f"{name}.safetensors" for part, name in PARTS.items() if _file(folder, part) is None), None)
    if lacking is not None:
        raise WeightsError(
            f"{folder} is no complete Diffusion-VAS checkpoint: it lacks {lacking.relative_to(folder)}. Download the whole repository."
        )
    return folder


def find_depth_anything(folder: Path) -> Path:
    """``folder`` if it holds Depth-Anything-V2 in transformers' layout. Raises WeightsError."""
    lacking = next((name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()), None)
    if lacking:
        raise WeightsError(
            f"{folder} holds no Depth-Anything-V2 checkpoint: it lacks {lacking} of depth-anything/Depth-Anything-V2-Large-hf."
        )
    return folder


def load_vas(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> VasNetworks:
    """A pipeline's networks in ``dtype``, in evaluation mode. Raises WeightsError naming tensors that are missing, unknown or misshapen."""
    find_vas(folder)
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    states = {part: read_checkpoint_file(_there(folder, part)) for part in PARTS}
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
    """The networks that ``configs`` tell around state dicts under the published names, part by part of :data:`PARTS`."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    def vae() -> Any:
        return AutoencoderKLTemporalDecoder.from_config(dict(configs["vae"]))

    def clip() -> nn.Module:
        return CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(dict(configs["image_encoder"])))

    def filled(part: str, make: Callable[[], nn.Module], state: Mapping[str, Tensor]) -> Any:
        return _moved(_filled(make, state, f"{source}: {part}"), device, dtype)

    return VasNetworks(
        unet=_moved(build_unet(configs["unet"], states["unet"], f"{source}: unet"), device, dtype),
        vae=quicker(filled("vae", vae, states["vae"])),
        clip=filled("image_encoder", clip, {key: value for key, value in states["image_encoder"].items() if not key.endswith(_COMPUTED)}),
        scheduler=lambda: EulerDiscreteScheduler.from_config(dict(scheduler)),
    )


def build_unet(config: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> "VasUnet":
    """The UNet that a config tells around a state dict under the published names."""
    from body4d.models.diffusion_vas.network.unet import VasUnet

    def make() -> Any:
        return VasUnet.from_config({**config, "in_channels": 3 * LATENT_CHANNELS})

    net = _filled(make, _unet_state(state), source)
    assert isinstance(net, VasUnet)
    return quicker(net)


def load_depth_anything(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> nn.Module:
    """Depth-Anything-V2 in evaluation mode. Raises WeightsError as :func:`load_vas`."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    find_depth_anything(folder)
    config, state = read_config(folder / "config.json"), read_checkpoint_file(folder / "model.safetensors")
    net = _filled(lambda: DepthAnythingForDepthEstimation(DepthAnythingConfig.from_dict(config)), state, str(folder))
    return net.to(device, dtype)


def _unet_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published names as diffusers' network has them."""
    if not any(key.startswith(_IN_USE) for key in state):
        return dict(state)
    return {key.replace(_IN_USE, "conv_in."): value for key, value in state.items() if key not in _UNUSED}


def _filled(make: Callable[[], nn.Module], state: Mapping[str, Tensor], source: str) -> nn.Module:
    try:
        with torch.device("meta"):
            net = make()
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as cause:
        raise WeightsError(f"{source} has a config this version does not know: {cause}.") from cause
    load_strict(net, state, source)
    _make_tables(net)
    return net.requires_grad_(False).eval()


def _moved(net: Any, device: torch.device | str, dtype: torch.dtype) -> Any:
    """As torch moves it: diffusers' own ``to`` warns of lists that are empty here."""
    return nn.Module.to(net, device=device, dtype=dtype)


def _make_tables(net: nn.Module) -> None:
    """Tables of positions are no weights: no file holds them, and on the meta device they have no numbers."""
    for module in net.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                if name != _COMPUTED:
                    raise AssertionError(f"{name} of {type(module).__name__} has no values")
                module.register_buffer(name, torch.arange(buffer.shape[-1])[None], persistent=False)


def _file(folder: Path, part: str) -> Path | None:
    return next((path for end in _VARIANTS if (path := folder / part / f"{PARTS[part]}{end}").is_file()), None)


def _there(folder: Path, part: str) -> Path:
    path = _file(folder, part)
    assert path is not None, "find_vas was asked"
    return path
