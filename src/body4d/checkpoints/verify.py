"""Whether files on the disk are what was published: every size and every sum that is known, told file by file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from body4d.checkpoints.local import faults, files_of
from body4d.checkpoints.plan import MB
from body4d.checkpoints.record import Record, read_record
from body4d.checkpoints.registry import find
from body4d.checkpoints.sources import Checkpoint, PublishedFile
from body4d.checkpoints.transfer import git_sha1_of, sha256_of
from body4d.config import WeightsSettings
from body4d.core.progress import EventListener, Meter, ignore_events

State = Literal["good", "whole", "short", "altered", "missing"]
"""``good``: size and sum are the published ones. ``whole``: nothing is published to compare with, and the file's own form is in order."""


@dataclass(frozen=True)
class Verdict:
    """What was found of one file of a checkpoint. ``sentence`` says what is wrong, empty where nothing is; ``sha256`` where it was made."""

    model: Checkpoint
    path: Path
    state: State
    sentence: str = ""
    sha256: str = ""

    @property
    def fine(self) -> bool:
        """Whether nothing was found wrong."""
        return self.state in ("good", "whole")


def verify(models: Sequence[Checkpoint], settings: WeightsSettings, listener: EventListener = ignore_events) -> tuple[Verdict, ...]:
    """Read every file of ``models`` that is here and compare. Asks nobody; a model that is not here has no verdicts."""
    out: list[Verdict] = []
    for model in models:
        place = find(model, settings)
        if place is not None:
            out += _verify_place(model, place, listener)
    return tuple(out)


def _verify_place(model: Checkpoint, place: Path, listener: EventListener) -> Iterator[Verdict]:
    record, files = read_record(place), files_of(place)
    meter, total, read = Meter(model.key, listener), sum(path.stat().st_size for path in files.values()), 0

    def gained(count: int) -> None:
        nonlocal read
        read += count
        meter(-(-read // MB), -(-total // MB))

    wrong = dict(faults(place, record))
    for path, fault in wrong.items():
        there = path.exists()
        yield Verdict(model, path, "missing" if not there else "short" if "half" in fault else "altered", f"{path} {fault}.")
    for name, path in files.items():
        if path not in wrong:
            yield _judged(model, path, known_of(model, name, path, record), sha256_of(path, gained).hexdigest())
    meter.send("done")


def known_of(model: Checkpoint, name: str, path: Path, record: Record | None) -> tuple[PublishedFile, ...]:
    """What the file may be: as its download recorded, as huggingface_hub's cache names it, or as any source of the model publishes it."""
    if record and name in record.files:
        return (PublishedFile(name, record.files[name].size_bytes, record.files[name].sha256),)
    blob = path.resolve().name
    if path.is_symlink() and len(blob) in (40, 64):
        return (PublishedFile(name, None, blob),)
    files = (file for source in model.sources for file in source.files if name in (file.path, file.path.rpartition("/")[2]))
    return tuple(dict.fromkeys(files))


def _judged(model: Checkpoint, path: Path, known: tuple[PublishedFile, ...], sha256: str) -> Verdict:
    """The verdict on a file whose form is in order."""
    size = path.stat().st_size
    sums = [file.sha256 for file in known if file.sha256]
    if any(sha256 == text or (len(text) == 40 and git_sha1_of(path) == text) for text in sums):
        return Verdict(model, path, "good", sha256=sha256)
    sizes = [file.size_bytes for file in known if file.size_bytes]
    if not sums and (not sizes or size in sizes):
        return Verdict(model, path, "whole", sha256=sha256)
    if sizes and size < min(sizes):
        return Verdict(model, path, "short", f"{path} is only half there ({size:,} of {min(sizes):,} bytes).", sha256)
    return Verdict(model, path, "altered", f"{path} is not the published file ({size:,} bytes, sum {sha256[:12]}…).", sha256)
