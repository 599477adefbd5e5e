"""What a download writes down beside its files: where they come from, and what they must weigh and sum to."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from body4d.core.files import atomic_file

OWN_FOLDER = ".body4d"
"""Below a checkpoint's folder: the record, the lock, and parts of files that are still coming."""

RECORD_NAME = "download.json"


class FileRecord(BaseModel):
    """One file as it came: ``size_bytes``, and ``sha256`` of its bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    size_bytes: int
    sha256: str


class Record(BaseModel):
    """Where a folder's files come from: ``repo``, its ``commit``, the ``licence`` they stand under, and every file by its path."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    repo: str
    commit: str
    licence: str
    files: Mapping[str, FileRecord]


def read_record(place: Path) -> Record | None:
    """The record beside a checkpoint's files, None where they were put there by hand or the record cannot be read."""
    try:
        return Record.model_validate_json((_folder(place) / OWN_FOLDER / RECORD_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def write_record(folder: Path, record: Record) -> None:
    """Write ``record`` into a checkpoint's folder, whole or not at all. Raises OutputError."""
    with atomic_file(folder / OWN_FOLDER / RECORD_NAME) as file:
        file.write(json.dumps(record.model_dump(mode="json"), indent=1).encode())


def _folder(place: Path) -> Path:
    return place.parent if place.is_file() else place
