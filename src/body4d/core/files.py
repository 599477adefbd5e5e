"""Files that appear whole or not at all, and one sentence when they cannot be written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from body4d.core.errors import OutputError

WRITE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY}
)
"""Numbers of errors that the disk, its rights or its names are to blame for."""


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` for writing bytes so that a kill or a full disk never leaves half of it.

    What is written goes to ``.<name>.part`` beside it, is flushed to the disk and renamed over ``path`` at the end of the block; an
    exception in the block leaves an older ``path`` as it was. Missing folders are made. Raises OutputError.
    """
    part = path.with_name(f".{path.name}.part")  # a fixed name, so that what a kill leaves behind is replaced by the next run
    with _in_place_of(path, part), part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """As ``atomic_file``, for libraries that open a path themselves: the path to write, which has the ending of ``path``.

    Nothing but OSError tells a full disk from a fault of the library, so what it raises otherwise goes through as it is.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    with _in_place_of(path, part):
        part.touch()
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def _in_place_of(path: Path, part: Path) -> Iterator[None]:
    """Rename ``part``, which the block writes, over ``path``; where the block fails, remove it. Makes missing folders."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
        os.replace(part, path)
    except OSError as error:
        _remove(part)
        raise output_error(path, error) from error
    except BaseException:
        _remove(part)
        raise


def output_error(path: Path, error: OSError) -> OutputError:
    """The sentence for a failure to write ``path``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"There is no room left to write {path}.", code="disk_full", hint="Make room on that disk or choose another output folder."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(
            f"{path} cannot be written for lack of rights.", code="no_rights", hint="Choose an output folder you may write to."
        )
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY):
        return OutputError(
            f"{path} cannot be written because something else has that name.",
            code="name_taken",
            hint="Move it away or choose another output.",
        )
    return OutputError(f"{path} cannot be written ({error.strerror or error}).", code="not_written", hint="Choose another output folder.")


def _remove(part: Path) -> None:
    with suppress(OSError):  # the reason the writing failed is worth more than the reason the clean-up did
        part.unlink(missing_ok=True)
