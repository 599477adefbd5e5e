"""SAM-3 checkpoints: the official folder of ``facebook/sam3`` on the Hub, read strictly and without a network.

The folder holds ``config.json``, ``model.safetensors`` (or its shards with an index) and the tokenizer's files. The original ``sam3.pt``
that lies beside them is not used.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from body4d.checkpoints.loading import load_error, read_config, require_keys
from body4d.core.errors import WeightsError

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, Sam3VideoModel

MODEL_TYPE = "sam3_video"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
TOKENIZER = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Sets of files either of which is a tokenizer."""

NOT_WEIGHTS = re.compile(r"(position_ids|rope_embeddings(_cos|_sin)?|inv_freq)$")
"""Tables that are computed, which some versions of transformers save and others do not."""
_SAVED_AGAIN, _TRACKER = "tracker_model.tracker_model.", "tracker_model."
"""transformers 5.23 doubles the tracker's name when it saves the model, and reads both."""

_SILENT = 50
"""Above every level of transformers' log."""

_GET = "download config.json, model.safetensors and the tokenizer's files of facebook/sam3 into one folder"


@dataclass(frozen=True)
class Sam3Weights:
    """The video model (detector, encoder and tracker in one) and the tokenizer of its texts."""

    model: "Sam3VideoModel"
    tokenizer: "CLIPTokenizer"


def find_sam3(folder: Path) -> Path:
    """The folder of a SAM-3 checkpoint: ``folder`` or, in it, ``sam3``. Raises WeightsError that says what is there instead."""
    place = next((p for p in (folder, folder / "sam3") if (p / "config.json").is_file() or any(p.glob("*.pt"))), folder)
    if not place.is_dir():
        raise WeightsError(f"{place} is no folder with a SAM-3 checkpoint: {_GET}.")
    if not any((place / name).is_file() for name in WEIGHTS):
        raise WeightsError(_instead(place))
    config = _config(place / "config.json")
    if config.get("model_type") != MODEL_TYPE:
        raise WeightsError(f"{place} holds a model of type {config.get('model_type')!r} and not SAM-3 ({MODEL_TYPE}): {_GET}.")
    if not any(all((place / name).is_file() for name in names) for names in TOKENIZER):
        raise WeightsError(f"{place} lacks the tokenizer (tokenizer.json, or vocab.json and merges.txt): {_GET}.")
    return place


def load_sam3(place: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Sam3Weights:
    """SAM-3 from a folder of :func:`find_sam3`, ready to work on ``device``.

    ``dtype`` is that of the weights; less than float32 loses finds, use autocast instead (transformers issue 46493). Raises WeightsError
    where tensors are missing, unknown or of another shape, and names them.
    """
    from transformers import CLIPTokenizer, Sam3VideoModel

    place = find_sam3(place)
    with _quiet():
        try:
            loaded: Any = Sam3VideoModel.from_pretrained(
                place,
                local_files_only=True,
                dtype=dtype,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
            )
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise _unloadable(place, error) from error
        except Exception as error:
            # safetensors has an error of its own, a child of Exception alone.
            if type(error).__name__ != "SafetensorError":
                raise
            raise load_error(_damaged(place), error) from error
        tokenizer: Any = CLIPTokenizer.from_pretrained(place, local_files_only=True)
    model, info = loaded
    _check(model, info, place)
    return Sam3Weights(model.to(device).eval().requires_grad_(False), tokenizer)


def _instead(place: Path) -> str:
    """Why a folder without weights in the right form cannot be used."""
    files = sorted(path.name for path in place.iterdir() if path.suffix in (".pt", ".pth", ".safetensors"))
    newer = next((name for name in files if "3.1" in name or "multiplex" in name), None)
    if newer or "3.1" in place.name:
        return (
            f"{place} holds SAM-3.1 ({newer or 'by its name'}), whose memory is built differently and which transformers cannot load yet: "
            f"use SAM-3; {_GET}."
        )
    if files:
        return f"{place} holds {files[0]} and no model.safetensors, the form that is read here: {_GET}."
    return f"{place} holds no SAM-3 checkpoint: {_GET}."


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise WeightsError(f"{path.parent} lacks config.json: {_GET}.")
    return read_config(path)


def _unloadable(place: Path, error: Exception) -> WeightsError:
    """transformers' long reports in one sentence."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return WeightsError(f"{place} does not fit SAM-3: {said[:300].rstrip('.')}; download it again.")


def _damaged(place: Path) -> Path:
    """The first weight file of a folder that safetensors cannot open."""
    from safetensors import safe_open

    files = sorted(place.glob("model*.safetensors"))
    for path in files:
        try:
            with safe_open(path, "pt"):
                pass
        except Exception:
            return path
    return files[0]


def _check(model: torch.nn.Module, info: dict[str, Any], place: Path) -> None:
    """transformers ignores whatever else stands under its parts' names, so unknown tensors are looked for in the files."""
    wanted = set(model.state_dict())
    given = {key.replace(_SAVED_AGAIN, _TRACKER) for key in _keys(place)}
    require_keys(
        str(place),
        "SAM-3",
        missing=map(str, info["missing_keys"]),
        unknown=(key for key in given - wanted if not NOT_WEIGHTS.search(key)),
        mismatched=(str(entry[0] if isinstance(entry, tuple) else entry) for entry in info["mismatched_keys"]),
    )


def _keys(place: Path) -> set[str]:
    """Names of all tensors in a folder's weight files."""
    from safetensors import safe_open

    keys: set[str] = set()
    for path in sorted(place.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            keys |= set(file.keys())
    return keys


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers says in a table what we say in a sentence."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(_SILENT)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
