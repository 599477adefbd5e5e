"""SAM-3D-Body rewritten once as safetensors, which are mapped into memory instead of unpickled at every start."""

import os
import shutil
from pathlib import Path
from typing import Literal

from body4d.checkpoints.registry import SAM3D_BODY, hub_cache, place
from body4d.config import WeightsSettings
from body4d.core.errors import OutputError, WeightsError
from body4d.core.files import output_error

Precision = Literal["bfloat16", "float32"]

GROWTH = {"bfloat16": 1.0, "float32": 2.0}
"""How large the new file is at most, as a multiple of the old one, whose backbone is bfloat16."""


def convert_body(settings: WeightsSettings, precision: Precision) -> Path:
    """Convert the SAM-3D-Body that ``settings`` lead to, beside itself; gives the new file, which is the one that is read from then on.

    ``precision`` is the backbone's; everything else is float32. Raises WeightsError where there is nothing to convert, OutputError.
    """
    import torch

    from body4d.models.sam3d_body.checkpoint import OFFICIAL_NAME, convert, find_checkpoint

    where = place(SAM3D_BODY, settings)
    folder = where.parent if where.is_file() else where
    source = where if where.is_file() else folder / OFFICIAL_NAME
    if source.suffix == ".safetensors" or not source.is_file():
        raise WeightsError(f"{find_checkpoint(where)} is safetensors already and mapped as it is: there is nothing to convert.")
    if folder.is_relative_to(hub_cache()):
        raise WeightsError(
            f"{folder} is huggingface_hub's cache, where nothing of ours is written: copy or link its files into a folder of your own, and "
            "name that with --set weights.sam3d_body=FOLDER."
        )
    _require_room(source, folder, precision, settings)
    try:
        return convert(source, folder, getattr(torch, precision))
    except OSError as error:
        raise output_error(folder, error) from error
    except Exception as error:
        # safetensors has an error of its own for a disk that is full or read-only.
        if type(error).__name__ != "SafetensorError":
            raise
        raise OutputError(f"{folder} cannot be written ({error}): make room on that disk or check the rights.") from error
    finally:
        for half in folder.glob("sam3d_body_*.partial"):
            half.unlink(missing_ok=True)


def _require_room(source: Path, folder: Path, precision: Precision, settings: WeightsSettings) -> None:
    needed, free = source.stat().st_size * GROWTH[precision], shutil.disk_usage(folder).free
    if free < needed + settings.spare_disk_gb * 1e9:
        raise OutputError(
            f"The {precision} file takes up to {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free on the disk of {folder} "
            f"({settings.spare_disk_gb:g} GB stay free): make room first."
        )
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder} cannot be written for lack of rights: copy the checkpoint into a folder you may write to.")
