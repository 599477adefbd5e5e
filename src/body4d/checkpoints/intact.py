"""Whether a weight file is whole, as far as its own form tells: no sum is needed and next to nothing is read.

safetensors say in their head how long they are, and PyTorch's files are ZIP archives whose list of contents comes last, so a file whose
end is missing is known without anybody's word.
"""

import json
import struct
import zipfile
from pathlib import Path

_HEAD_MOST_BYTES = 100_000_000
"""The safetensors format's own limit on its head."""

_ZIP_MAGIC = b"PK\x03\x04"


def cut_short(path: Path) -> str | None:
    """What is wrong with a weight file's form, as the end of a sentence, or None. Other files are taken as they are."""
    try:
        size = path.stat().st_size
        if path.suffix == ".safetensors":
            wanted = _safetensors_bytes(path, size)
            return _is_not(size, wanted) if size != wanted else None
        if path.suffix in (".ckpt", ".pt", ".pth"):
            return _torch_fault(path, size)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _safetensors_bytes(path: Path, size: int) -> int | None:
    """How long a safetensors file says it is; None where its head is no head."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(_HEAD_MOST_BYTES, size):
            return None
        try:
            head = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for key, entry in head.items() if key != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            return None
    return 8 + length + max(ends, default=0)


def _is_not(size: int, wanted: int | None) -> str:
    if wanted is None:
        return "is no safetensors file"
    what = "is only half there" if size < wanted else "has something behind its end"
    return f"{what} ({size:,} of {wanted:,} bytes)"


def _torch_fault(path: Path, size: int) -> str | None:
    with path.open("rb") as file:
        start = file.read(len(_ZIP_MAGIC))
    if not size:
        return "is empty"
    # Files of PyTorch before 1.6 are plain pickles and cannot be told from here.
    if start == _ZIP_MAGIC and not zipfile.is_zipfile(path):
        return f"is only half there ({size:,} bytes, and the end of the archive is missing)"
    return None
