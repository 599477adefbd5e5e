"""Reading checkpoint files strictly: no code in them is run, every tensor must fit, and an error says what the file is instead."""

import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from body4d.core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

_HEAD_BYTES = 64
_AGAIN = "Download it from its publisher again."

MAX_NAMED_KEYS = 3
"""Names of tensors that an error lists before it only counts the rest."""


def read_checkpoint_file(path: Path) -> Any:
    """What a weights file holds, mapped into memory on the CPU: a dictionary of tensors from safetensors, any tensors and plain values from
    PyTorch's form, of which no code is run. Raises WeightsError."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as cause:
        raise load_error(path, cause) from cause


def read_config(path: Path) -> dict[str, Any]:
    """A network's configuration from its JSON file. Raises WeightsError."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise load_error(path, cause) from cause
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is no model's configuration.", code="checkpoint_config_invalid", hint=_AGAIN, path=str(path))
    return config


def load_strict(network: "nn.Module", state: "Mapping[str, Tensor]", source: str, name: str = "its network") -> None:
    """Assign ``state`` to ``network``, which may be on the meta device.

    Raises WeightsError that names the tensors that are missing, unknown or of another shape. ``source`` (the file) and ``name`` (the
    network's) are for that error.
    """
    expected = network.state_dict()
    require_keys(source, name, missing=expected.keys() - state.keys(), unknown=state.keys() - expected.keys())
    for key, tensor in expected.items():
        if tensor.shape != state[key].shape:
            message = f"{source}: {key} has shape {tuple(state[key].shape)}, expected {tuple(tensor.shape)}."
            raise WeightsError(message, code="checkpoint_mismatch", mismatched=[key])
    network.load_state_dict(state, strict=True, assign=True)


def require_keys(source: str, name: str, *, missing: Iterable[str], unknown: Iterable[str], mismatched: Iterable[str] = ()) -> None:
    """Raise WeightsError that names tensors of ``source`` that keep it from fitting the network ``name``, unless there are none.

    ``mismatched`` are those of another shape.
    """
    missing, unknown, mismatched = sorted(missing), sorted(unknown), sorted(mismatched)
    if missing or unknown or mismatched:
        shapes = f"; of another shape {_listed(mismatched)}" if mismatched else ""
        message = f"{source} does not fit {name}: missing {_listed(missing)}; unknown {_listed(unknown)}{shapes}."
        raise WeightsError(message, code="checkpoint_mismatch", missing=missing, unknown=unknown, mismatched=mismatched)


def load_error(path: Path, cause: Exception) -> WeightsError:
    """The error for a checkpoint file whose reading failed with ``cause``: what the file is instead, and what to do."""
    code, found, hint = _what_it_is(path, cause)
    return WeightsError(f"{path} {found}.", code=f"checkpoint_{code}", hint=hint, path=str(path))


def _what_it_is(path: Path, cause: Exception) -> tuple[str, str, str]:
    """Code, what was found, and hint for a file that cannot be read as a checkpoint."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).lstrip().lower()
        size = path.stat().st_size
    except OSError as error:
        return "unreadable", f"cannot be read ({error.strerror})", "Check the file and its rights."
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "web_page", "is a web page and no checkpoint", "Accept the model's licence, log in, and download it again."
    if head.startswith(b"version https://git-lfs"):
        return "lfs_pointer", "is a Git LFS pointer and no checkpoint", "Run git lfs pull there, or download the file itself."
    if isinstance(cause, pickle.UnpicklingError) and head.startswith(b"pk"):
        return "holds_code", "holds more than tensors, and code in a checkpoint is never run", _AGAIN
    if _is_torchscript(path):
        hint = "That is the form of mhr_model.pt, which belongs beside the checkpoint."
        return "torchscript", "is a TorchScript file and no checkpoint", hint
    return "damaged", f"cannot be read as a checkpoint: its {size:,} bytes are damaged or cut short", _AGAIN


def _is_torchscript(path: Path) -> bool:
    """Whether a file is an archive with the table of constants that PyTorch writes for scripts alone."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - MAX_NAMED_KEYS} more" if len(keys) > MAX_NAMED_KEYS else ""
    return ", ".join(keys[:MAX_NAMED_KEYS]) + more or "nothing"
