"""What checkpoints this machine has, told without a network, without torch and without reading a weight."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from body4d.checkpoints.intact import cut_short
from body4d.checkpoints.record import Record, read_record
from body4d.checkpoints.registry import CHECKPOINTS, RIG_VARIABLE, find, get_it, holds_rig, hub_cache, looked_in, roots, whole
from body4d.checkpoints.sources import Checkpoint, Licence, Source
from body4d.config import WeightsSettings

State = Literal["ready", "damaged", "foreign", "absent"]
"""``damaged``: files are missing or not whole. ``foreign``: the model is there in a form that is not read."""


@dataclass(frozen=True)
class Found:
    """What there is of one checkpoint.

    ``place`` is its folder or file, None where nothing is there. ``record`` is what its download wrote down, None for files put there by
    hand; ``source`` is the repository they come from, as recorded or, for files put there by hand, as their names and sizes tell (None:
    they do not). ``sentence`` says what is wrong and what to do, empty when ready.
    """

    model: Checkpoint
    state: State
    place: Path | None = None
    size_bytes: int = 0
    source: Source | None = None
    record: Record | None = None
    sentence: str = ""

    @property
    def ready(self) -> bool:
        """Whether its reader will take it, as far as names, sizes and the files' own form tell."""
        return self.state == "ready"

    @property
    def licence(self) -> Licence:
        """The licence the files stand under, wherever they were copied from."""
        return (self.source or self.model.sources[0]).licence

    @property
    def origin(self) -> dict[str, str]:
        """Where the files come from and the licence they stand under, for the record of a result. What is not known is left out."""
        repo = self.record.repo if self.record else self.source.repo if self.source else ""
        commit = self.record.commit if self.record else ""
        told = {"checkpoint": self.model.name, "repository": repo, "commit": commit, "licence": self.licence.name}
        return {name: text for name, text in told.items() if text}

    @property
    def in_hub_cache(self) -> bool:
        """Whether it lies in the cache that huggingface_hub keeps for all programs."""
        return self.place is not None and self.place.is_relative_to(hub_cache())


def look(settings: WeightsSettings, models: tuple[Checkpoint, ...] = CHECKPOINTS) -> tuple[Found, ...]:
    """What there is of each of ``models``, in their order. Reads names, sizes and heads of files; asks nobody."""
    return tuple(look_at(model, settings) for model in models)


def look_at(model: Checkpoint, settings: WeightsSettings, environment: Mapping[str, str] = os.environ) -> Found:
    """What there is of one checkpoint."""
    place = find(model, settings)
    other = _foreign(model, place, settings)
    if place is None or not whole(model, place):
        return _lacking(model, place, other, settings)
    record = read_record(place)
    found = Found(model, "ready", place, size_of(place), source_of(model, place, record), record)
    mend = f"`body4d weights download {model.key}` mends it"
    for path, fault in faults(place, record):
        return replace(found, state="damaged", sentence=f"{path} {fault}: {mend}.")
    if model.key == "sam3d-body" and not holds_rig(place) and not environment.get(RIG_VARIABLE):
        said = f"{place} lacks assets/mhr_model.pt, the rig: {mend}, or let ${RIG_VARIABLE} name one."
        return replace(found, state="damaged", sentence=said)
    return found


def size_of(place: Path) -> int:
    """Bytes of all files of a place."""
    return sum(path.stat().st_size for path in files_of(place).values())


def files_of(place: Path) -> dict[str, Path]:
    """Files of a checkpoint's folder by their path in it, those that begin with a dot left out; a file stands for itself."""
    if place.is_file():
        return {place.name: place}
    paths = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
    return {name: path for name, path in paths.items() if not any(part.startswith(".") for part in name.split("/"))}


def source_of(model: Checkpoint, place: Path, record: Record | None) -> Source | None:
    """The repository a place's files come from: as recorded, else the one whose published sizes its known files have, else None."""
    if record is not None:
        return next((source for source in model.sources if source.repo == record.repo), None)
    files = files_of(place)
    for source in model.sources:
        sizes = {file.path: file.size_bytes for file in source.files if file.size_bytes}
        if sizes and all(path in files and files[path].stat().st_size == size for path, size in sizes.items()):
            return source
    return None


def faults(place: Path, record: Record | None) -> Iterator[tuple[Path, str]]:
    """Files of a place that are missing or not whole, each with what is wrong as the end of a sentence; sums are not made."""
    files = files_of(place)
    for name, known in (record.files if record else {}).items():
        if name not in files:
            yield place / name, "is missing"
        elif (size := files[name].stat().st_size) < known.size_bytes:
            yield files[name], f"is only half there ({size:,} of {known.size_bytes:,} bytes)"
        elif size != known.size_bytes:
            yield files[name], f"is not the file that was downloaded ({size:,} bytes instead of {known.size_bytes:,})"
    for name, path in files.items():
        if (record is None or name not in record.files) and (fault := cut_short(path)):
            yield path, fault


def _lacking(model: Checkpoint, place: Path | None, other: tuple[Path, str] | None, settings: WeightsSettings) -> Found:
    """What to say of a model that is not there, or not as it is read."""
    if other:
        fetch = f"`body4d weights download {model.key}` fetches the form that is read"
        return Found(model, "foreign", place or other[0], sentence=f"{other[0]} is {other[1]}: {fetch}.")
    if place is None:
        said = f"{model.name} has no checkpoint here (looked in {looked_in(model, settings)}): {get_it(model)}."
        return Found(model, "absent", sentence=said)
    said = f"{place} holds no complete checkpoint of {model.name}: `body4d weights download {model.key}` fetches what it lacks."
    return Found(model, "damaged", place, size_of(place), sentence=said)


def _foreign(model: Checkpoint, place: Path | None, settings: WeightsSettings) -> tuple[Path, str] | None:
    """A file that holds the model in a form that is not read, and what it is. Those beginning with ``../`` lie below a root."""
    for pattern, what in model.foreign.items():
        below = roots(settings) if pattern.startswith("../") else [place] if place and place.is_dir() else []
        for folder in below:
            for path in sorted(folder.glob(pattern.removeprefix("../"))) if folder.is_dir() else ():
                return path, what
    return None
