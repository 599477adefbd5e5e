"""Where what is kept between runs goes: the user's cache folder, or a temporary one where there is no home that can be written."""

import getpass
import os
import stat
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path


def user_cache(environment: Mapping[str, str] = os.environ) -> Path | None:
    """``$XDG_CACHE_HOME``, else ``~/.cache``; None where nobody's home is known, as in a container without an entry for its user."""
    if configured := environment.get("XDG_CACHE_HOME"):
        return Path(configured)
    try:
        return Path(environment["HOME"] if environment.get("HOME") else Path.home()) / ".cache"
    except (RuntimeError, KeyError):
        return None


def cache_folder() -> Path:
    """The folder that caches are made in: ``user_cache`` where it can be written, else ``temporary_cache``.

    It stays the same for the process: another program may make the home meanwhile.
    """
    return _writable_or_temporary(user_cache())


@lru_cache
def _writable_or_temporary(cache: Path | None) -> Path:
    return cache if cache is not None and can_write(cache) else temporary_cache()


def can_write(folder: Path) -> bool:
    """Whether ``folder`` can be made and written. It is tried, because rights say yes to root in places that take no file."""
    above = next(above for above in (folder.absolute(), *folder.absolute().parents) if above.exists())
    if above == Path(above.anchor) or not above.is_dir():
        return False
    try:
        with tempfile.TemporaryFile(dir=above):
            return True
    except OSError:
        return False


@lru_cache(maxsize=1)
def temporary_cache() -> Path:
    """A folder of this user's alone in the temporary folder. Raises OSError where not even that can be written."""
    path = Path(tempfile.gettempdir()) / f"body4d-cache-{_user()}"
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        # The name can be guessed: a folder or a link that somebody else put there is not used.
        if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022)):
            return Path(tempfile.mkdtemp(prefix="body4d-cache-"))
    return path


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
