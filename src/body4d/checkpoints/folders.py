"""The folders that downloads go into: which one is taken, one download at a time in each, and how a complete file gets its name."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from body4d.checkpoints.files import OWN_FOLDER
from body4d.checkpoints.local import checkpoint_roots, configured_path
from body4d.checkpoints.registry import Checkpoint, CheckpointSource, PackageSource
from body4d.config import WeightsSettings
from body4d.core.caches import can_write
from body4d.core.errors import OutputError, RunWarning, SettingsError, WeightsError
from body4d.core.files import output_error

MIN_FREE_DISK_GB = 1.0
"""Room that must be left on a disk after a download: a system with a full disk fails in worse ways than this one."""

ALTERED_SUFFIX = ".altered"
"""Added to the name of a file that was put there by hand and is not the published one, when that takes its place."""


def target_folder(checkpoint: Checkpoint, source: CheckpointSource | PackageSource, settings: WeightsSettings) -> Path:
    """Where a source's files go: the configured folder of the checkpoint, else one of the source's name below the first root that can be
    written. Raises SettingsError where a file is configured."""
    if configured := configured_path(checkpoint, settings):
        if configured.is_file():
            message = f"weights.{checkpoint.setting} names the file {configured}, and nothing is fetched over it."
            raise SettingsError(message, code="weights_file_configured", hint="Name a folder.")
        return configured
    folders = [root / source.folder_name for root in checkpoint_roots(settings)]
    return next((folder for folder in folders if is_writable(folder)), folders[-1])


def require_disk_space(downloads: Iterable[tuple[Path, int]]) -> None:
    """Raise OutputError unless every disk has room for the bytes that are to come into its folders, and ``MIN_FREE_DISK_GB`` besides."""
    needs: dict[int, tuple[Path, int]] = {}
    for path, to_come in downloads:
        folder = existing_parent(path)
        device = folder.stat().st_dev
        needs[device] = (folder, needs.get(device, (folder, 0))[1] + to_come)
    for folder, needed in needs.values():
        free = shutil.disk_usage(folder).free
        if needed and free < needed + MIN_FREE_DISK_GB * 1e9:
            raise OutputError(
                f"{needed / 1e9:.1f} GB are to come and {free / 1e9:.1f} GB are free on the disk of {folder} ({MIN_FREE_DISK_GB:g} GB "
                "stay free).",
                code="disk_space", hint="Make room, or choose a folder on another disk with --weights.", needed_bytes=needed,
                free_bytes=free,
            )  # fmt: skip


def move_into_place(part: Path, target: Path, *, keep_larger: bool) -> RunWarning | None:
    """Give the complete file ``part`` its name; a warning where something was there already. ``keep_larger``: what was there is somebody's
    own, so it is kept beside unless it is shorter, as what a copy that was cut off leaves behind is."""
    warning = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and keep_larger and size_of(target) >= size_of(part):
            os.replace(target, target.with_name(target.name + ALTERED_SUFFIX))
            warning = RunWarning("file_kept", f"{target} was not the published file; it is kept as {target.name}{ALTERED_SUFFIX}.")
        elif target.exists():
            warning = RunWarning("file_replaced", f"{target} was not as published and was fetched anew.")
        os.replace(part, target)
    except OSError as error:
        raise output_error(target, error) from error
    return warning


@contextmanager
def lock_folder(folder: Path, wait_s: float = 0) -> Iterator[None]:
    """One download per folder at a time, in whichever process. Raises WeightsError where another is still at work after ``wait_s``,
    OutputError."""
    try:
        (folder / OWN_FOLDER).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / OWN_FOLDER / "lock", timeout=wait_s)
        lock.acquire()
    except Timeout as error:
        message = f"Another download is at work in {folder}."
        raise WeightsError(message, code="folder_locked", hint="Wait for it, or stop it first.", folder=str(folder)) from error
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def size_of(path: Path) -> int:
    """Its size, 0 where there is no file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def existing_parent(path: Path) -> Path:
    """The nearest folder at or above ``path`` that exists."""
    return next(above for above in (path.absolute(), *path.absolute().parents) if above.is_dir())


def is_writable(path: Path) -> bool:
    """Whether ``path`` can be made and written. A Space's disk counts only where it is mounted, that is where its folder exists."""
    return can_write(path)
