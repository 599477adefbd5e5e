"""Checkpoints on this machine: where they are searched for, what state they are in, and whether their files are the published ones.

Nothing here uses a network or torch. ``verify_checkpoints`` reads whole files; everything else reads names, sizes and file headers.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from body4d.checkpoints.files import (
    DownloadRecord,
    FileCheck,
    file_faults,
    files_in,
    format_fault,
    git_sha1_of,
    hash_files,
    read_record,
    size_fault,
)
from body4d.checkpoints.registry import (
    CHECKPOINTS,
    REPACK_PATTERNS,
    SAM3D_BODY,
    Checkpoint,
    CheckpointSource,
    Licence,
    PackageSource,
    PublishedFile,
)
from body4d.config import WeightsSettings
from body4d.core.caches import cache_folder, temporary_cache, user_cache
from body4d.core.errors import WeightsError
from body4d.core.progress import EventListener, ignore_events

FOLDER_VARIABLE = "BODY4D_WEIGHTS"
RIG_VARIABLE = "BODY4D_MHR"
SPACE_DISK = Path("/data")
"""Where a Space's persistent storage is mounted."""

RIG_FILES = ("mhr.safetensors", "assets/mhr_model.pt", "mhr_model.pt")
"""Names of a rig file beside SAM-3D-Body's checkpoint, best first."""


def checkpoint_roots(settings: WeightsSettings) -> tuple[Path, ...]:
    """Folders that may hold checkpoints: the configured one, else $BODY4D_WEIGHTS, else a Space's disk and the user's cache, and a
    temporary one where that cannot be written."""
    if configured := settings.folder or os.environ.get(FOLDER_VARIABLE):
        return (Path(configured).expanduser(),)
    # What lies in a home that cannot be written is still found; what is fetched then goes into a temporary folder.
    caches = dict.fromkeys(cache for cache in (user_cache(), cache_folder()) if cache is not None)
    return SPACE_DISK / "checkpoints", *(cache / "body4d" / "weights" for cache in caches)


def hub_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where huggingface_hub keeps the downloads of all programs ($HF_HUB_CACHE, else $HF_HOME/hub), without importing it."""
    if configured := environment.get("HF_HUB_CACHE"):
        return Path(configured).expanduser()
    if home := environment.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return (user_cache(environment) or temporary_cache()) / "huggingface" / "hub"


def configured_path(checkpoint: Checkpoint, settings: WeightsSettings) -> Path | None:
    """The file or folder that the settings name for this one checkpoint."""
    configured = getattr(settings, checkpoint.setting)
    return Path(configured).expanduser() if configured else None


def candidate_paths(checkpoint: Checkpoint, settings: WeightsSettings) -> Iterator[Path]:
    """Paths that may hold a checkpoint, best first, whether or not anything is there.

    A path configured for the checkpoint itself is the only one, and a configured root is the only root. Otherwise the cache that
    huggingface_hub keeps for all programs comes last, the pinned revision first.
    """
    if configured := configured_path(checkpoint, settings):
        yield configured
        return
    for root in checkpoint_roots(settings):
        yield from (root / name for name in checkpoint.folder_names)
    if settings.folder or os.environ.get(FOLDER_VARIABLE):
        return
    for source in checkpoint.hub_sources:
        snapshots = hub_cache() / f"models--{source.repo.replace('/', '--')}" / "snapshots"
        if source.revision:
            yield snapshots / source.revision
        yield from sorted(snapshots.glob("*"))


def find_path(checkpoint: Checkpoint, settings: WeightsSettings) -> Path | None:
    """The path of a checkpoint: the first that is complete with no file cut short, else the first that is complete, else the first that
    holds anything, so that its reader can say what is wrong; None where there is nothing."""
    paths = [path for path in candidate_paths(checkpoint, settings) if path.is_file() or _holds_files(checkpoint, path)]
    complete = [path for path in paths if is_complete(checkpoint, path)]
    patterns = {pattern for layout in checkpoint.layouts for pattern in layout}

    def is_intact(path: Path) -> bool:
        if checkpoint.package_sources:
            return not any(_faults(checkpoint, path, None))
        files = [path] if path.is_file() else [file for pattern in patterns for file in path.glob(pattern)]
        return not any(format_fault(file) for file in files)

    return next((path for path in complete if is_intact(path)), (complete or paths or [None])[0])


def require_path(checkpoint: Checkpoint, settings: WeightsSettings) -> Path:
    """The path of a checkpoint. Raises WeightsError that says where it was searched for."""
    path = find_path(checkpoint, settings)
    if path is None:
        message, hint = _absent(checkpoint, settings)
        raise WeightsError(message, code="checkpoint_absent", hint=hint, checkpoint=checkpoint.key)
    return path


def is_complete(checkpoint: Checkpoint, path: Path) -> bool:
    """Whether ``path`` has all files of one of the layouts that are read. A file is taken to be the checkpoint; sizes are not compared."""
    is_one_file = path.is_file() and not checkpoint.package_sources
    return is_one_file or any(all(_holds(path, pattern) for pattern in layout) for layout in checkpoint.layouts)


def find_file(checkpoint: Checkpoint, file: PublishedFile, settings: WeightsSettings) -> Path | None:
    """A file of a checkpoint from packages, in the first folder that has one of the published size."""
    paths = (folder / file.path for folder in candidate_paths(checkpoint, settings))
    return next((path for path in paths if path.is_file() and path.stat().st_size == file.size_bytes), None)


def has_rig(path: Path) -> bool:
    """Whether a checkpoint of SAM-3D-Body comes with the rig: beside it, or inside as in ComfyUI's file."""
    folder = path.parent if path.is_file() else path
    inside = path.match(REPACK_PATTERNS[0]) if path.is_file() else any(_holds(folder, pattern) for pattern in REPACK_PATTERNS)
    return inside or any((folder / name).is_file() for name in RIG_FILES)


@dataclass(frozen=True)
class LocalCheckpoint:
    """What this machine has of one checkpoint.

    ``state`` is "damaged" where files are missing or cut short, "unsupported" where the model is there in a form that is not read.
    ``path`` is its folder or file, None where nothing is there. ``record`` is what its download wrote, None for files put there by hand;
    ``source`` is the repository they come from, as recorded or, for files put there by hand, as their names and sizes show (None: they do
    not). ``message`` says what is wrong and ``hint`` what to do, both empty when ready.
    """

    checkpoint: Checkpoint
    state: Literal["ready", "damaged", "unsupported", "absent"]
    path: Path | None = None
    size_bytes: int = 0
    source: CheckpointSource | PackageSource | None = None
    record: DownloadRecord | None = None
    message: str = ""
    hint: str = ""

    @property
    def ready(self) -> bool:
        """Whether its reader will take it, as far as names, sizes and file headers tell."""
        return self.state == "ready"

    @property
    def licence(self) -> Licence:
        """The licence of the files, wherever they were copied from."""
        return (self.source or self.checkpoint.sources[0]).licence

    @property
    def origin(self) -> dict[str, str]:
        """Where the files come from and their licence, for the record of a result. What is not known is left out."""
        repo = self.record.repo if self.record else self.source.repo if self.source else ""
        commit = self.record.commit if self.record else ""
        origin = {"checkpoint": self.checkpoint.name, "repository": repo, "commit": commit, "licence": self.licence.name}
        return {name: text for name, text in origin.items() if text}

    @property
    def in_hub_cache(self) -> bool:
        """Whether it is in the cache that huggingface_hub keeps for all programs."""
        return self.path is not None and self.path.is_relative_to(hub_cache())


def inspect_checkpoints(settings: WeightsSettings, checkpoints: tuple[Checkpoint, ...] = CHECKPOINTS) -> tuple[LocalCheckpoint, ...]:
    """What this machine has of each checkpoint, in their order."""
    return tuple(inspect_checkpoint(checkpoint, settings) for checkpoint in checkpoints)


def inspect_checkpoint(checkpoint: Checkpoint, settings: WeightsSettings, environment: Mapping[str, str] = os.environ) -> LocalCheckpoint:
    """What this machine has of one checkpoint."""
    path = find_path(checkpoint, settings)
    if path is None or not is_complete(checkpoint, path):
        return _inspect_incomplete(checkpoint, path, settings)
    record = read_record(path)
    local = LocalCheckpoint(checkpoint, "ready", path, _total_bytes(checkpoint, path), _source_of(checkpoint, path, record), record)
    repair = f"`{checkpoint.download_command}` repairs it"
    if fault := next(_faults(checkpoint, path, record), None):
        return replace(local, state="damaged", message=fault.message, hint=f"{repair}.")
    if checkpoint.key == SAM3D_BODY.key and not has_rig(path) and not environment.get(RIG_VARIABLE):
        message = f"{path} lacks assets/mhr_model.pt, the rig."
        return replace(local, state="damaged", message=message, hint=f"{repair}, or set ${RIG_VARIABLE} to a rig file.")
    return local


def _inspect_incomplete(checkpoint: Checkpoint, path: Path | None, settings: WeightsSettings) -> LocalCheckpoint:
    command = f"`{checkpoint.download_command}`"
    for pattern, form in checkpoint.unsupported_files.items():
        folders = checkpoint_roots(settings) if pattern.startswith("../") else [path] if path else []
        files = (file for folder in folders if folder.is_dir() for file in sorted(folder.glob(pattern.removeprefix("../"))))
        if file := next(files, None):
            hint = f"{command} fetches the form that is read."
            return LocalCheckpoint(checkpoint, "unsupported", path or file, message=f"{file} is {form}.", hint=hint)
    if path is None:
        message, hint = _absent(checkpoint, settings)
        return LocalCheckpoint(checkpoint, "absent", message=message, hint=hint)
    message = f"{path} holds no complete checkpoint of {checkpoint.name}."
    return LocalCheckpoint(
        checkpoint, "damaged", path, _total_bytes(checkpoint, path), message=message, hint=f"{command} fetches what it lacks."
    )


def _absent(checkpoint: Checkpoint, settings: WeightsSettings) -> tuple[str, str]:
    """Message and hint for a checkpoint of which nothing is here."""
    configured, source = configured_path(checkpoint, settings), checkpoint.sources[0]
    searched = str(configured) if configured else " and ".join(map(str, checkpoint_roots(settings)))
    if checkpoint.package_sources:
        names = " and ".join(file.path for file in checkpoint.package_sources[0].files)
        return (
            f"{checkpoint.name} has no checkpoint here (looked in {searched}).",
            f"`{checkpoint.download_command}` fetches it; or put {names} (of {source.page}) into a folder {source.folder_name} there, or "
            f"name their folder as weights.{checkpoint.setting}.",
        )
    return (
        f"{checkpoint.name} has no checkpoint here (looked in {searched}).",
        f"`body4d weights download {checkpoint.key}` fetches it; or put the files of {source.page} into a folder {source.folder_name} "
        "there, or name the folder above it with --weights.",
    )


def _source_of(checkpoint: Checkpoint, path: Path, record: DownloadRecord | None) -> CheckpointSource | PackageSource | None:
    """The repository that files come from: the recorded one, else the one whose published sizes they have, else None."""
    if record is not None:
        return next((source for source in checkpoint.sources if source.repo == record.repo), None)
    files = files_in(path)
    for source in checkpoint.sources:
        sizes = {file.path: file.size_bytes for file in source.files if file.size_bytes}
        if sizes and all(name in files and files[name].stat().st_size == size for name, size in sizes.items()):
            return source
    return None


def verify_checkpoints(
    checkpoints: Sequence[Checkpoint], settings: WeightsSettings, listener: EventListener = ignore_events
) -> dict[str, tuple[FileCheck, ...]]:
    """Hash every file of ``checkpoints`` that is here and compare: checks by the checkpoint's key, without those that are not here."""
    checks: dict[str, tuple[FileCheck, ...]] = {}
    for checkpoint in checkpoints:
        if (path := find_path(checkpoint, settings)) is None:
            continue
        record = read_record(path)
        faults = tuple(_faults(checkpoint, path, record))
        files = {name: file for name, file in _files_of(checkpoint, path).items() if all(file != fault.path for fault in faults)}
        sums = hash_files(files.values(), checkpoint.key, listener)
        compared = (_compare(file, _published_as(checkpoint, name, file, record), sums[file]) for name, file in files.items())
        checks[checkpoint.key] = (*faults, *compared)
    return checks


def _published_as(checkpoint: Checkpoint, name: str, path: Path, record: DownloadRecord | None) -> tuple[PublishedFile, ...]:
    """What a file may be: as its download recorded, as huggingface_hub's cache names it, or as any of its sources publishes it."""
    if record and name in record.files:
        return (PublishedFile(name, record.files[name].size_bytes, record.files[name].sha256),)
    blob = path.resolve().name
    if path.is_symlink() and len(blob) in (40, 64):
        return (PublishedFile(name, None, blob),)
    files = (file for source in checkpoint.sources for file in source.files if name in (file.path, file.path.rpartition("/")[2]))
    return tuple(dict.fromkeys(files))


def _compare(path: Path, published: Sequence[PublishedFile], sha256: str) -> FileCheck:
    """The check of a file whose format is in order."""
    size = path.stat().st_size
    sums = [file.sha256 for file in published if file.sha256]
    sizes = [file.size_bytes for file in published if file.size_bytes]
    if any(sha256 == text or (len(text) == 40 and git_sha1_of(path) == text) for text in sums):
        return FileCheck(path, "verified", sha256=sha256)
    if not sums and (not sizes or size in sizes):
        return FileCheck(path, "unverified", sha256=sha256)
    if sizes and size < min(sizes) and (fault := size_fault(path, min(sizes))):
        return replace(fault, sha256=sha256)
    return FileCheck(path, "altered", f"{path} is not the published file ({size:,} bytes, SHA-256 {sha256[:12]}…).", sha256)


def _files_of(checkpoint: Checkpoint, path: Path) -> dict[str, Path]:
    """``files_in`` of a checkpoint's folder; of one that several checkpoints from packages share, this one's files."""
    own = {file.path for source in checkpoint.package_sources for file in source.files}
    return {name: file for name, file in files_in(path).items() if not own or name in own}


def _faults(checkpoint: Checkpoint, path: Path, record: DownloadRecord | None) -> Iterator[FileCheck]:
    """``file_faults``; of packages one version alone is read, so sizes are compared with the published ones and no record is needed."""
    if not checkpoint.package_sources:
        yield from file_faults(path, record)
        return
    files = _files_of(checkpoint, path)
    for file in checkpoint.package_sources[0].files:
        if file.path not in files:
            yield FileCheck(path / file.path, "missing", f"{path / file.path} is missing.")
        elif fault := size_fault(files[file.path], file.size_bytes or 0):
            yield fault


def _total_bytes(checkpoint: Checkpoint, path: Path) -> int:
    return sum(file.stat().st_size for file in _files_of(checkpoint, path).values())


def _holds(folder: Path, pattern: str) -> bool:
    return any(path.is_file() for path in folder.glob(pattern))


def _holds_files(checkpoint: Checkpoint, folder: Path) -> bool:
    """Whether a folder holds more than what begins with a dot: the beginnings of a download are no checkpoint yet."""
    if checkpoint.package_sources:
        return any((folder / file.path).is_file() for file in checkpoint.package_sources[0].files)
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
