"""Why a file is no checkpoint, in words for whoever downloaded it."""

import pickle
from pathlib import Path

from body4d.core.errors import WeightsError

_HEAD_BYTES = 64


def unreadable(path: Path, cause: Exception) -> WeightsError:
    """The error for a checkpoint file whose reading failed with ``cause``: what the file is instead, and what to do."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).lstrip().lower()
        size = path.stat().st_size
    except OSError as error:
        return WeightsError(f"{path} cannot be read ({error.strerror}): check the file and its rights.")
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return WeightsError(f"{path} is a web page and no checkpoint: accept the model's licence, log in, and download it again.")
    if head.startswith(b"version https://git-lfs"):
        return WeightsError(f"{path} is a Git LFS pointer and no checkpoint: run git lfs pull there, or download the file itself.")
    if isinstance(cause, pickle.UnpicklingError) and head.startswith(b"pk"):
        return WeightsError(f"{path} holds more than tensors, and code in a checkpoint is never run: download it from its publisher again.")
    if "TorchScript" in str(cause):
        return WeightsError(f"{path} is a TorchScript file and no checkpoint: that is the form of mhr_model.pt, which belongs beside it.")
    return WeightsError(f"{path} cannot be read as a checkpoint: its {size:,} bytes are damaged or cut short; download it again.")
