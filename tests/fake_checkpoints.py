"""A folder in which every file lies that is looked for before a run begins, none of which holds a network; and whether the real files of
preset lite are on this machine."""

from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file

from body4d.checkpoints.registry import BLAZEPOSE, BLAZEPOSE_HEAVY, HAND_LANDMARKS
from body4d.config import WeightsSettings
from body4d.core.errors import WeightsError
from body4d.models.blazepose.model_files import find_models
from body4d.run.presets import LITE_PACKAGES


def why_no_lite() -> str:
    """Why preset lite cannot run on this machine, "" where it can."""
    if missing := [name for name in LITE_PACKAGES if find_spec(name) is None]:
        return f"the extra lite is not installed ({' and '.join(missing)})"
    try:
        find_models("auto", WeightsSettings())
    except WeightsError as error:
        return str(error)
    return ""


def write_fake_blazepose(folder: Path, *, heavy: bool = True, hands: bool = True) -> Path:
    """BlazePose's model files as their names and sizes show them: all holes, so that they take no room."""
    (folder / "blazepose").mkdir(parents=True, exist_ok=True)
    models = (BLAZEPOSE, *((BLAZEPOSE_HEAVY,) if heavy else ()), *((HAND_LANDMARKS,) if hands else ()))
    for file in (file for model in models for file in model.package_sources[0].files):
        with (folder / "blazepose" / file.path).open("wb") as made:
            made.truncate(file.size_bytes)
    return folder


def write_fake_checkpoints(folder: Path, *, moge: bool = False) -> Path:
    """SAM-3 and SAM-3D-Body, as their repositories lay them out, and MoGe-2 where asked for."""
    sam3, body = folder / "sam3", folder / "facebook" / "sam-3d-body-vith"
    sam3.mkdir()
    (sam3 / "config.json").write_text('{"model_type": "sam3_video"}')
    (sam3 / "tokenizer.json").touch()
    save_file({"a": torch.zeros(1)}, sam3 / "model.safetensors")
    (body / "assets").mkdir(parents=True)
    for path in (body / "model.ckpt", body / "assets" / "mhr_model.pt"):
        torch.save({}, path)
    if moge:
        (folder / "moge-2-vitl-normal").mkdir()
        torch.save({}, folder / "moge-2-vitl-normal" / "model.pt")
    return folder
