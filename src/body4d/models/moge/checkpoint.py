"""MoGe-2 checkpoints as published: ``model.pt``, a pickle of ``model_config`` and the state dict ``model``, read strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from body4d.checkpoints.loading import unreadable
from body4d.core.errors import WeightsError
from body4d.models.moge.network.config import sizes_of
from body4d.models.moge.network.encoder import IMAGE_MEAN, IMAGE_STD
from body4d.models.moge.network.model import Moge

MODEL_NAME = "model.pt"

NOT_WEIGHTS = frozenset({"encoder.backbone.mask_token"})
"""Stands for patches hidden while the backbone was trained; nothing is hidden here."""


def find_moge(place: Path) -> Path:
    """The weights file in a folder; a file is taken as it is. Raises WeightsError where there is none."""
    path = place if place.is_file() else place / MODEL_NAME
    if not path.is_file():
        raise WeightsError(f"No MoGe-2 weights in {place}: expected {MODEL_NAME} of Ruicheng/moge-2-vitl-normal there.")
    return path


def read_moge(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors of a checkpoint file, without running any code in it. Raises WeightsError."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as cause:
        raise unreadable(path, cause) from cause
    config, state = (held.get(key) for key in ("model_config", "model")) if isinstance(held, dict) else (None, None)
    if not isinstance(config, dict) or not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise WeightsError(f"{path} is no MoGe-2 checkpoint: expected a model_config and the tensors of a model in {MODEL_NAME}.")
    return config, state


def load_moge(place: Path, device: torch.device | str = "cpu") -> Moge:
    """The network with a checkpoint's weights, float32, in evaluation mode; every tensor must fit and none may be left over."""
    path = find_moge(place)
    return build_moge(*read_moge(path), str(path), device)


def build_moge(config: Mapping[str, Any], state: Mapping[str, Tensor], source: str, device: torch.device | str = "cpu") -> Moge:
    """The network a config tells, around a state dict. Raises WeightsError naming what is missing, unknown or of another shape."""
    try:
        sizes = sizes_of(config, {key: tuple(tensor.shape) for key, tensor in state.items()})
        with torch.device("meta"):
            net = Moge(sizes)
    except KeyError as missing:
        raise WeightsError(f"{source} lacks {missing}; it is no complete MoGe-2 checkpoint.") from missing
    except (ValueError, TypeError, IndexError, AttributeError) as cause:
        raise WeightsError(f"{source} is no MoGe-2 checkpoint this version knows: {cause}.") from cause
    constants = {"encoder.image_mean": IMAGE_MEAN, "encoder.image_std": IMAGE_STD}
    given = {key: torch.tensor(value).view(1, 3, 1, 1) for key, value in constants.items()} | dict(state)
    given = {key: tensor.float() for key, tensor in given.items() if key not in NOT_WEIGHTS}
    _check(net.state_dict(), given, source)
    net.load_state_dict(given, strict=True, assign=True)
    return net.requires_grad_(False).eval().to(device)


def _check(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    missing, unknown = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or unknown:
        raise WeightsError(f"{source} does not fit MoGe-2: missing {_some(missing)}; unknown {_some(unknown)}.")
    for key, tensor in wanted.items():
        if tensor.shape != given[key].shape:
            raise WeightsError(f"{source}: {key} has shape {tuple(given[key].shape)}, expected {tuple(tensor.shape)}.")


def _some(keys: list[str]) -> str:
    return (", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")) or "nothing"
