"""A folder in which every file lies that is looked for before a run of preset sam begins, none of which holds a network."""

from pathlib import Path

import torch
from safetensors.torch import save_file


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
