"""Files in a checkpoint's folder: the record of their download, what their own format shows, and their sums.

Nothing here uses a network or torch, and only hashing reads whole files.
"""

import hashlib
import json
import struct
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from body4d.core.errors import Cancelled
from body4d.core.files import atomic_file
from body4d.core.progress import EventListener, Meter

OWN_FOLDER = ".body4d"
"""In a checkpoint's folder: the record of its download, a lock, and the parts of files that are still coming."""
RECORD_NAME = "download.json"

BLOCK_BYTES = 1 << 20
"""Read, written and hashed at a time: small enough to stop at once, large enough to cost nothing."""
MB = 1_000_000
"""The unit of progress."""

MAX_SAFETENSORS_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format."""
_ZIP_MAGIC = b"PK\x03\x04"


class FileRecord(BaseModel):
    """One file as it was downloaded: its size and the SHA-256 of its bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    size_bytes: int
    sha256: str


class DownloadRecord(BaseModel):
    """Where a folder's files come from: repository, commit, licence, and every file by its path."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    repo: str
    commit: str
    licence: str
    files: Mapping[str, FileRecord]


def read_record(path: Path) -> DownloadRecord | None:
    """The record beside a checkpoint's files; None where body4d did not download them or the record cannot be read."""
    folder = path.parent if path.is_file() else path
    try:
        return DownloadRecord.model_validate_json((folder / OWN_FOLDER / RECORD_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def write_record(folder: Path, record: DownloadRecord) -> None:
    """Write ``record`` into a checkpoint's folder, whole or not at all. Raises OutputError."""
    with atomic_file(folder / OWN_FOLDER / RECORD_NAME) as file:
        file.write(json.dumps(record.model_dump(mode="json"), indent=1).encode())


def files_in(path: Path) -> dict[str, Path]:
    """Files of a checkpoint's folder by their path in it, without those that begin with a dot; a single file by its name."""
    if path.is_file():
        return {path.name: path}
    files = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    return {name: file for name, file in files.items() if not any(part.startswith(".") for part in name.split("/"))}


FileState = Literal["verified", "unverified", "truncated", "altered", "missing", "unreadable"]
"""``verified``: size and SHA-256 are the published ones. ``unverified``: nothing is published to compare with, and the file's own format is
in order."""


@dataclass(frozen=True)
class FileCheck:
    """What was found of one file of a checkpoint. ``message`` says what is wrong, empty where nothing is; ``sha256`` where it was made."""

    path: Path
    state: FileState
    message: str = ""
    sha256: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return self.state in ("verified", "unverified")


def file_faults(path: Path, record: DownloadRecord | None) -> Iterator[FileCheck]:
    """Files of a checkpoint that are missing, of another size than recorded, or cut short by their own format. Nothing is hashed."""
    files = files_in(path)
    for name, recorded in (record.files if record else {}).items():
        if name not in files:
            yield FileCheck(path / name, "missing", f"{path / name} is missing.")
        elif fault := size_fault(files[name], recorded.size_bytes):
            yield fault
    for name, file in files.items():
        if (record is None or name not in record.files) and (fault := format_fault(file)):
            yield fault


def format_fault(path: Path) -> FileCheck | None:
    """What is wrong with a weights file by its own format, or None; files of other kinds are not judged.

    safetensors say in their header how long they are, and PyTorch's files are ZIP archives whose table of contents comes last, so a file
    whose end is missing is recognised without a sum and with next to nothing read.
    """
    try:
        size = path.stat().st_size
        if path.suffix == ".safetensors":
            expected = _safetensors_bytes(path, size)
            return size_fault(path, expected) if expected else FileCheck(path, "altered", f"{path} is no safetensors file.")
        if path.suffix in (".ckpt", ".pt", ".pth"):
            if not size:
                return FileCheck(path, "truncated", f"{path} is empty.")
            with path.open("rb") as file:
                is_archive = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
            # Files of PyTorch before 1.6 are plain pickles, which do not tell their length.
            if is_archive and not zipfile.is_zipfile(path):
                message = f"{path} is cut short ({size:,} bytes, and the end of the archive is missing)."
                return FileCheck(path, "truncated", message)
    except OSError as error:
        return FileCheck(path, "unreadable", f"{path} cannot be read ({error.strerror}).")
    return None


def hash_files(paths: Iterable[Path], stage: str, listener: EventListener) -> dict[Path, str]:
    """SHA-256 of files; ``listener`` hears of the progress in megabytes under the name ``stage``."""
    paths = list(paths)
    meter, total, done = Meter(stage, listener), sum(path.stat().st_size for path in paths), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        meter(-(-done // MB), -(-total // MB))

    sums = {path: sha256_of(path, advance).hexdigest() for path in paths}
    if paths:
        meter.send("done")
    return sums


def sha256_of(path: Path, on_bytes: Callable[[int], None] = lambda count: None, stop: threading.Event | None = None) -> "hashlib._Hash":
    """The running SHA-256 of a file. ``on_bytes`` hears of each block; raises Cancelled once ``stop`` is set."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            if stop and stop.is_set():
                raise Cancelled("Stopped while files were summed.", hint="The same command begins that anew.")
            digest.update(block)
            on_bytes(len(block))
    return digest


def git_sha1_of(path: Path) -> str:
    """The name git gives a file's contents, which is all that the Hub states of small files."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def size_fault(path: Path, expected_bytes: int) -> FileCheck | None:
    """What is wrong with a file's size, or None."""
    size = path.stat().st_size
    if size < expected_bytes:
        return FileCheck(path, "truncated", f"{path} is cut short ({size:,} of {expected_bytes:,} bytes).")
    if size > expected_bytes:
        return FileCheck(path, "altered", f"{path} is longer than it should be ({size:,} instead of {expected_bytes:,} bytes).")
    return None


def _safetensors_bytes(path: Path, size: int) -> int | None:
    """The length that a safetensors file's header states, at least that of a header which is cut short itself; None where the file does
    not begin with such a header."""
    with path.open("rb") as file:
        start = file.read(8)
        header_bytes = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if len(start) == 8 and not 0 < header_bytes <= MAX_SAFETENSORS_HEADER_BYTES:
            return None
        if size < 8 + header_bytes or not header_bytes:
            return 8 + header_bytes
        try:
            header = json.loads(file.read(header_bytes))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            return None
    return 8 + header_bytes + max(ends, default=0)
