"""What a Space is sent: the content of ``space/`` at the root, and of the package what its Dockerfile copies. Nothing else.

The package goes as source, not as a wheel: a wheel is a binary, and what is text can be read, compared and reviewed on the Hub.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from body4d.core.errors import SpaceError

FOLDER = "space"
"""The folder of a clone that holds the Space's own files."""
TAKEN = ("pyproject.toml", "constraints.txt", "LICENSE", "THIRD_PARTY.md", "src")
"""What of a clone goes along besides; README.md is the Space's own."""

_LEFT_OUT = ("__pycache__", ".egg-info", ".DS_Store")


@dataclass(frozen=True)
class Piece:
    """A file as it is sent: its ``path`` in the Space, its content, and whether anybody may run it or it is a link."""

    path: str
    data: bytes
    link: bool = False


def pack(clone: Path) -> tuple[Piece, ...]:
    """Every piece, by path. ``clone`` is a folder with body4d's sources. Raises SpaceError where it is none, or cannot be read."""
    own = clone / FOLDER
    if not (own / "Dockerfile").is_file() or not (clone / "src" / "body4d").is_dir():
        raise SpaceError(
            f"{clone.absolute()} is no clone of body4d (it lacks {FOLDER}/Dockerfile or src/body4d): clone the repository, and run this "
            "command inside, or name the clone with --source."
        )
    kept = _tracked(clone)
    pieces = {}
    for folder in (*(clone / name for name in TAKEN), own):
        for file in _files(folder):
            base = own if folder == own else clone
            if kept is not None and file.relative_to(clone).as_posix() not in kept:
                continue
            pieces[file.relative_to(base).as_posix()] = _piece(file, file.relative_to(base).as_posix())
    return tuple(pieces[path] for path in sorted(pieces))


def write(pieces: tuple[Piece, ...], folder: Path) -> None:
    """Lay the pieces out in ``folder``, as the Space will have them."""
    for piece in pieces:
        target = folder / PurePosixPath(piece.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(piece.data)


def _files(place: Path) -> list[Path]:
    if place.is_file() or place.is_symlink():
        return [place]
    found = sorted(path for path in place.rglob("*") if path.is_symlink() or path.is_file())
    return [path for path in found if not any(part.endswith(_LEFT_OUT) for part in path.parts)]


def _piece(file: Path, path: str) -> Piece:
    if file.is_symlink():
        # Not followed: it may lead out of the clone.
        return Piece(path, os.readlink(file).encode(), link=True)
    try:
        return Piece(path, file.read_bytes())
    except OSError as error:
        raise SpaceError(f"{file} cannot be read ({error.strerror}), so it cannot be sent: change its rights.") from error


def _tracked(clone: Path) -> frozenset[str] | None:
    """Files that git knows, or would if asked to add all: what .gitignore names is not sent. None where the clone has no git."""
    command = ["git", "-C", str(clone), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        said = subprocess.run(command, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return frozenset(said.stdout.decode(errors="surrogateescape").split("\0")) - {""}
