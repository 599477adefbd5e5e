"""Writes files that are whole by their own format: safetensors, PyTorch's archives, text. What they hold means nothing."""

import json
import struct
import zipfile
from pathlib import Path


def safetensors(path: Path, values: int = 4) -> Path:
    """A whole safetensors file of one tensor."""
    head = json.dumps({"a": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4 * values))
    return path


def archive(path: Path) -> Path:
    """A whole archive, the form of PyTorch's files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", b"\x80\x02}q\x00." * 50)
    return path


def text(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path
