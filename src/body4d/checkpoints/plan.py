"""What is to be done for a checkpoint before a byte is fetched: which source, which folder, which files, and whether there is room."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from body4d.checkpoints.gated_access import diagnose
from body4d.checkpoints.hub_client import Hub
from body4d.checkpoints.listing import Listing, list_source
from body4d.checkpoints.record import OWN_FOLDER, Record, read_record
from body4d.checkpoints.registry import roots, told_place
from body4d.checkpoints.sources import Checkpoint, Source
from body4d.checkpoints.transfer import Wanted, git_sha1_of, sha256_of
from body4d.config import WeightsSettings
from body4d.core.errors import OutputError, RunWarning, SettingsError, WeightsError
from body4d.core.progress import Event, EventListener, Meter

MB = 1_000_000
"""Progress is told in these, for a stage named as the checkpoint."""


@dataclass(frozen=True)
class Plan:
    """What is to be done for a checkpoint: ``missing`` files go into ``folder``, ``sums`` are those of files that are there and right."""

    model: Checkpoint
    folder: Path
    listing: Listing
    missing: tuple[Wanted, ...]
    sums: dict[str, str]

    def part(self, file: Wanted) -> Path:
        """Where ``file`` grows; another version of it grows elsewhere."""
        version = (file.sha256 or file.git_sha1 or self.listing.commit)[:12]
        return self.folder / OWN_FOLDER / "parts" / f"{file.path.replace('/', '__')}.{version}"

    @property
    def left_bytes(self) -> int:
        """What still has to come."""
        return sum(file.size_bytes - min(file.size_bytes, size_of(self.part(file))) for file in self.missing)


def make_plan(
    model: Checkpoint,
    settings: WeightsSettings,
    hub: Hub,
    listener: EventListener,
    *,
    repo: str | None = None,
    latest: bool = False,
    check: bool = False,
) -> Plan:
    """Choose the source and find out what is missing. Raises WeightsError where no source may be fetched."""
    closed: list[str] = []
    for source in _sources(model, repo):
        access = diagnose(source, hub)
        if not access.granted:
            closed.append(access.sentence)
            continue
        try:
            listing = list_source(source, hub, settings, latest=latest)
        except WeightsError as error:
            closed.append(str(error))
            continue
        if closed:
            listener(Event(model.key, "warning", warning=RunWarning("closed_gates", " ".join(closed))))
            said = f"{model.name} is taken from {source.repo} instead ({source.about}); the same licence holds: {source.licence.name}."
            listener(Event(model.key, "warning", warning=RunWarning("download_source", said)))
        folder = target_folder(model, source, settings)
        missing, sums = _there(model, folder, listing, listener, check=check)
        return Plan(model, folder, listing, missing, sums)
    raise WeightsError(f"{model.name}: {' '.join(closed)}")


def target_folder(model: Checkpoint, source: Source, settings: WeightsSettings) -> Path:
    """Where a source's files go: the folder told for the model, else one of the source's name below the first root that can be written."""
    if told := told_place(model, settings):
        if told.is_file():
            raise SettingsError(
                f"weights.{model.key.replace('-', '_')} names the file {told}, and nothing is fetched over it: name a folder."
            )
        return told
    places = [root / source.folder for root in roots(settings)]
    return next((place for place in places if _writable(place)), places[-1])


def require_room(plans: Sequence[Plan], settings: WeightsSettings) -> None:
    """Raise OutputError unless every disk has room for what its plans still need."""
    needs: dict[int, tuple[Path, int]] = {}
    for plan in plans:
        above = _existing(plan.folder)
        device = above.stat().st_dev
        needs[device] = (above, needs.get(device, (above, 0))[1] + plan.left_bytes)
    for above, needed in needs.values():
        free = shutil.disk_usage(above).free
        spare = settings.spare_disk_gb * 1e9
        if needed and free < needed + spare:
            raise OutputError(
                f"{needed / 1e9:.1f} GB are to come and {free / 1e9:.1f} GB are free on the disk of {above} ({settings.spare_disk_gb:g} GB "
                "stay free): make room, or choose a folder on another disk with --weights."
            )


def _sources(model: Checkpoint, repo: str | None) -> tuple[Source, ...]:
    if repo is None:
        return tuple(source for source in model.sources if source.automatic)
    named = tuple(source for source in model.sources if source.repo == repo)
    if not named:
        known = " or ".join(source.repo for source in model.sources)
        raise SettingsError(f"{repo!r} is no source of {model.name}: it is one of {known}.")
    return named


def _there(
    model: Checkpoint, folder: Path, listing: Listing, listener: EventListener, *, check: bool
) -> tuple[tuple[Wanted, ...], dict[str, str]]:
    """Which files are missing or not as listed, and the sums of the others.

    A file of the right size is summed, which takes seconds, unless its download did that already and no ``check`` is wanted.
    """
    record = read_record(folder)
    sums = {} if check else _recorded(listing, record)
    same = [file for file in listing.files if (folder / file.path).is_file() and size_of(folder / file.path) == file.size_bytes]
    sums = {file.path: sums[file.path] for file in same if file.path in sums}
    unsure = [file for file in same if file.path not in sums]
    meter, total, read = Meter(f"{model.key} sums", listener), sum(file.size_bytes for file in unsure), 0

    def gained(count: int) -> None:
        nonlocal read
        read += count
        meter(-(-read // MB), -(-total // MB))

    for file in unsure:
        found = sha256_of(folder / file.path, gained).hexdigest()
        if is_it(file, folder / file.path, found):
            sums[file.path] = found
    if unsure:
        meter.send("done")
    return tuple(file for file in listing.files if file.path not in sums), sums


def _recorded(listing: Listing, record: Record | None) -> dict[str, str]:
    """Sums an earlier download of the same repository made and the listing does not contradict."""
    if record is None or record.repo != listing.source.repo:
        return {}
    known = {path: file.sha256 for path, file in record.files.items()}
    return {file.path: known[file.path] for file in listing.files if file.path in known and file.sha256 in (None, known[file.path])}


def is_it(file: Wanted, path: Path, sha256: str) -> bool:
    """Whether the file at ``path``, of the right size and with this sum, is ``file``; where no sum is known, the size is all there is."""
    if file.sha256:
        return sha256 == file.sha256
    return file.git_sha1 is None or git_sha1_of(path) == file.git_sha1


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _existing(path: Path) -> Path:
    """The nearest folder at or above ``path`` that is there."""
    return next(above for above in (path.absolute(), *path.absolute().parents) if above.is_dir())


def _writable(path: Path) -> bool:
    """Whether ``path`` can be made and written. A Space's disk counts only where it is mounted, which shows in its being there."""
    above = _existing(path)
    return above != Path(above.anchor) and os.access(above, os.W_OK | os.X_OK)
