"""What a published checkpoint is: where it is published, which files of it are read, under which licence and behind which gate."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

HUB = "https://huggingface.co"
TOKENS_PAGE = f"{HUB}/settings/tokens"
REQUESTS_PAGE = f"{HUB}/settings/gated-repos"

Need = Literal["required", "recommended", "optional"]


@dataclass(frozen=True)
class Licence:
    """A licence by name, where its text stands, and what a user should know of it before using results."""

    name: str
    url: str
    note: str = ""


@dataclass(frozen=True)
class PublishedFile:
    """A file of a repository. ``size_bytes`` and ``sha256`` are what its users report, None where nobody is known to have told."""

    path: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """A repository on the Hub that holds a model in a form that is read here.

    ``revision`` is a commit, or None where none is known: then the newest is taken and its commit recorded. ``files`` are those known by
    name; ``patterns`` (as in a shell) take more. ``gated``: its publisher lets in whom it wants. ``automatic``: tried without being
    asked for by name. ``about`` tells one source of a model from another.
    """

    repo: str
    licence: Licence
    revision: str | None = None
    files: tuple[PublishedFile, ...] = ()
    patterns: tuple[str, ...] = ()
    gated: bool = False
    automatic: bool = True
    about: str = ""

    @property
    def page(self) -> str:
        """The page to open in a browser."""
        return f"{HUB}/{self.repo}"

    @property
    def folder(self) -> str:
        """What its folder below a root is called: the repository's own name."""
        return self.repo.split("/")[1]

    @property
    def size_bytes(self) -> int | None:
        """Its files together, as far as known beforehand (where the weights are, the rest is small), else None."""
        return sum(file.size_bytes or 0 for file in self.files) or None

    def file(self, path: str) -> PublishedFile | None:
        """What is known beforehand of the file at ``path``."""
        return next((file for file in self.files if file.path == path), None)

    def wanted(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Which of a repository's ``paths`` are read here. Pure.

        Of weights in two precisions the reader takes the plain name, so ``x.fp16.safetensors`` is left out beside ``x.safetensors``.
        """
        there = set(paths)
        taken = {path for path in there if self.file(path) or any(fnmatchcase(path, pattern) for pattern in self.patterns)}
        return tuple(sorted(path for path in taken if path.replace(".fp16.", ".") not in taken - {path}))


@dataclass(frozen=True)
class Checkpoint:
    """A model in a seat: its ``sources`` in the order they are tried, and how it is known on a disk.

    ``key`` is its name on the command line, ``seat`` the stage of a run it works in. ``layouts`` are sets of file patterns, any of which
    is a whole checkpoint that the reader takes. ``folders`` are names its folder goes by besides its repositories'. ``foreign`` are files
    (below its folder, or below the root where they start with ``../``) that hold the same model in a form that is not read, each with
    what to say of it.
    """

    key: str
    name: str
    seat: str
    need: Need
    sources: tuple[Source, ...]
    layouts: tuple[tuple[str, ...], ...]
    folders: tuple[str, ...] = ()
    foreign: Mapping[str, str] = field(default_factory=dict)

    @property
    def repo(self) -> str:
        """The first source's repository."""
        return self.sources[0].repo

    @property
    def folder_names(self) -> tuple[str, ...]:
        """Where below a root it may lie, best first: owner/name, name, then what others call it."""
        repos = [source.repo for source in self.sources]
        return tuple(dict.fromkeys([*repos, *(repo.split("/")[1] for repo in repos), *self.folders]))
