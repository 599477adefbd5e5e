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
    from transformers.models.clip.tokenization_clip import CLIPTokenizer
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

MODEL_TYPE = "sam3_video"
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Sets of files, each of which is a tokenizer."""

COMPUTED_KEYS = re.compile(r"(position_ids|rope_embeddings(_cos|_sin)?|inv_freq)$")
"""Tables that are computed, which some versions of transformers save and others do not."""

_DOUBLED_PREFIX, _PREFIX = "tracker_model.tracker_model.", "tracker_model."
"""transformers 5.23 doubles the tracker's name when it saves the model, and reads both."""

_SILENT = 50
"""A level above all of transformers' log levels."""

_HINT = "Download config.json, model.safetensors and the tokenizer's files of facebook/sam3 into one folder."


@dataclass(frozen=True)
class Sam3Weights:
    """The video model (detector, encoder and tracker in one) and the tokenizer of its texts."""

    model: "Sam3VideoModel"
    tokenizer: "CLIPTokenizer"


def find_sam3(folder: Path) -> Path:
    """The folder of a SAM-3 checkpoint: ``folder`` or, in it, ``sam3``. Raises WeightsError that says what is there instead."""
    place = next((p for p in (folder, folder / "sam3") if (p / "config.json").is_file() or any(p.glob("*.pt"))), folder)
    if not place.is_dir():
        raise _sam3_error(place, "sam3_not_found", "is no folder with a SAM-3 checkpoint")
    if not any((place / name).is_file() for name in WEIGHT_FILES):
        raise _wrong_folder_error(place)
    config = _config(place / "config.json")
    if config.get("model_type") != MODEL_TYPE:
        found = f"holds a model of type {config.get('model_type')!r} and not SAM-3 ({MODEL_TYPE})"
        raise _sam3_error(place, "sam3_other_model", found, model_type=config.get("model_type"))
    if not any(all((place / name).is_file() for name in names) for names in TOKENIZER_FILES):
        raise _sam3_error(place, "sam3_no_tokenizer", "lacks the tokenizer (tokenizer.json, or vocab.json and merges.txt)")
    return place


def load_sam3(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Sam3Weights:
    """SAM-3 from a folder of ``find_sam3``, ready to work on ``device``.

    ``dtype`` is that of the weights; less than float32 loses detections, use autocast instead (transformers issue 46493). Raises
    WeightsError that names tensors which are missing, unknown or of another shape, and MissingDependencyError for another version of
    transformers.
    """
    from body4d.models.sam3.transformers_compat import require_supported_transformers

    require_supported_transformers()
    from transformers.models.clip.tokenization_clip import CLIPTokenizer
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

    folder = find_sam3(folder)
    with _quiet():
        try:
            loaded: Any = Sam3VideoModel.from_pretrained(
                folder,
                local_files_only=True,
                dtype=dtype,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
            )
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise _load_failure(folder, error) from error
        except Exception as error:
            # safetensors has an error of its own, a child of Exception alone.
            if type(error).__name__ != "SafetensorError":
                raise
            raise load_error(_damaged(folder), error) from error
        tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    model, info = loaded
    _require_match(model, info, folder)
    return Sam3Weights(model.to(device).eval().requires_grad_(False), tokenizer)


def _sam3_error(folder: Path, code: str, found: str, **facts: Any) -> WeightsError:
    return WeightsError(f"{folder} {found}.", code=code, hint=_HINT, path=str(folder), **facts)


def _wrong_folder_error(folder: Path) -> WeightsError:
    """The error for a folder without weights in the right form: what it holds instead."""
    files = sorted(path.name for path in folder.iterdir() if path.suffix in (".pt", ".pth", ".safetensors"))
    newer = next((name for name in files if "3.1" in name or "multiplex" in name), None)
    if newer or "3.1" in folder.name:
        reason = "whose memory is built differently and which transformers cannot load yet"
        return _sam3_error(folder, "sam31_not_supported", f"holds SAM-3.1 ({newer or 'by its name'}), {reason}")
    if files:
        return _sam3_error(folder, "sam3_other_form", f"holds {files[0]} and no model.safetensors, the form that is read here")
    return _sam3_error(folder, "sam3_not_found", "holds no SAM-3 checkpoint")


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise _sam3_error(path.parent, "sam3_no_config", "lacks config.json")
    return read_config(path)


def _load_failure(folder: Path, error: Exception) -> WeightsError:
    """The error for one of transformers' long reports: its first line."""
    summary = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    message = f"{folder} does not fit SAM-3: {summary[:300].rstrip('.')}."
    return WeightsError(message, code="sam3_not_loadable", hint="Download it again.", path=str(folder))


def _damaged(folder: Path) -> Path:
    """The first weight file of a folder that safetensors cannot open."""
    from safetensors import safe_open

    files = sorted(folder.glob("model*.safetensors"))
    for path in files:
        try:
            with safe_open(path, "pt"):
                pass
        except Exception:
            return path
    return files[0]


def _require_match(model: torch.nn.Module, info: dict[str, Any], folder: Path) -> None:
    """transformers ignores whatever else stands under its parts' names, so unknown tensors are looked for in the files."""
    expected = set(model.state_dict())
    stored = {key.replace(_DOUBLED_PREFIX, _PREFIX) for key in _tensor_names(folder)}
    require_keys(
        str(folder),
        "SAM-3",
        missing=map(str, info["missing_keys"]),
        unknown=(key for key in stored - expected if not COMPUTED_KEYS.search(key)),
        mismatched=(str(entry[0] if isinstance(entry, tuple) else entry) for entry in info["mismatched_keys"]),
    )


def _tensor_names(folder: Path) -> set[str]:
    """Names of all tensors in a folder's weight files."""
    from safetensors import safe_open

    keys: set[str] = set()
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            keys |= set(file.keys())
    return keys


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences transformers' own report, a table of what the errors here say in a sentence."""
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
