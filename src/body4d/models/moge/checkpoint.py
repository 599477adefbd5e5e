"""MoGe-2 checkpoints as published: ``model.pt``, a pickle of ``model_config`` and the state dict ``model``, read strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from body4d.checkpoints.loading import load_strict, read_checkpoint_file
from body4d.core.errors import WeightsError
from body4d.models.moge.network.config import sizes_of
from body4d.models.moge.network.encoder import IMAGE_MEAN, IMAGE_STD
from body4d.models.moge.network.model import Moge

MODEL_NAME = "model.pt"

UNUSED_KEYS = frozenset({"encoder.backbone.mask_token"})
"""Replaces patches that were masked while the backbone was trained; nothing is masked here."""


def find_moge(folder: Path) -> Path:
    """The weights file in a folder; a file is taken as it is. Raises WeightsError where there is none."""
    path = folder if folder.is_file() else folder / MODEL_NAME
    if not path.is_file():
        message = f"No MoGe-2 weights in {folder}: expected {MODEL_NAME} of Ruicheng/moge-2-vitl-normal there."
        raise WeightsError(message, code="moge_not_found", path=str(folder))
    return path


def read_moge(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors of a checkpoint file, without running any code in it. Raises WeightsError."""
    content = read_checkpoint_file(path)
    config, state = (content.get(key) for key in ("model_config", "model")) if isinstance(content, dict) else (None, None)
    if not isinstance(config, dict) or not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        message = f"{path} is no MoGe-2 checkpoint: expected a model_config and the tensors of a model in {MODEL_NAME}."
        raise WeightsError(message, code="moge_other_file", path=str(path))
    return config, state


def load_moge(path: Path, device: torch.device | str = "cpu") -> Moge:
    """The network with a checkpoint's weights, float32, in evaluation mode; every tensor must fit and none may be left over."""
    file = find_moge(path)
    return build_moge(*read_moge(file), str(file), device)


def build_moge(config: Mapping[str, Any], state: Mapping[str, Tensor], source: str, device: torch.device | str = "cpu") -> Moge:
    """The network that a config describes, with the tensors of ``state``. Raises WeightsError that names what is missing, unknown or of
    another shape."""
    try:
        sizes = sizes_of(config, {key: tuple(tensor.shape) for key, tensor in state.items()})
        with torch.device("meta"):
            net = Moge(sizes)
    except KeyError as missing:
        message = f"{source} lacks {missing}; it is no complete MoGe-2 checkpoint."
        raise WeightsError(message, code="moge_incomplete", missing=str(missing.args[0])) from missing
    except (ValueError, TypeError, IndexError, AttributeError) as cause:
        raise WeightsError(f"{source} is no MoGe-2 checkpoint that this version knows: {cause}.", code="moge_unknown_config") from cause
    constants = {"encoder.image_mean": IMAGE_MEAN, "encoder.image_std": IMAGE_STD}
    tensors = {key: torch.tensor(value).view(1, 3, 1, 1) for key, value in constants.items()} | dict(state)
    tensors = {key: tensor.float() for key, tensor in tensors.items() if key not in UNUSED_KEYS}
    load_strict(net, tensors, source, "MoGe-2")
    return net.requires_grad_(False).eval().to(device)
