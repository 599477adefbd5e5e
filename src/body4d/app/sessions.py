"""Each visitor's folder: a secret token opens it, nothing else does; old ones are swept."""

import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from body4d.app.names import shown_name, stored_name
from body4d.app.tasks import EVERYTHING, NUMBERS, PICTURE, TABLE, Sight
from body4d.config import AppSettings
from body4d.core.errors import OutputError
from body4d.core.files import atomic_file
from body4d.run.record import GLB, OVERLAY, SHEET, VIEWS

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
_VISIT, _RUN = "visit.json", "run"
_BVH = re.compile(r"person_\d{1,3}\.bvh")
SERVED = frozenset({OVERLAY, VIEWS, SHEET, GLB, TABLE, NUMBERS, EVERYTHING})
"""Files of a run folder that are served, besides a BVH for each person; everything else is not."""

UPLOADS_KEEP_S = 3600.0
"""Uploads are taken over within seconds; what is older than this was left behind."""


class About(BaseModel):
    """``visit.json``: what is known of a visitor's clip before it is run. ``name`` is shown, ``stored`` lies on the disk."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    stored: str
    frames: int = 0
    fps: float = 0.0
    seconds: float = 0.0
    width_px: int = 0
    height_px: int = 0
    preset: str = ""


@dataclass(frozen=True)
class Visit:
    """One clip of one visitor. ``token`` is known to them alone; the folder's name is its hash, so that no listing tells it."""

    token: str
    folder: Path
    about: About

    @property
    def key(self) -> str:
        """What the visit is called in queues and logs."""
        return self.folder.name

    @property
    def video(self) -> Path:
        return self.folder / self.about.stored

    @property
    def run(self) -> Path:
        return self.folder / _RUN

    @property
    def picture(self) -> Path:
        return self.folder / PICTURE

    @property
    def finished(self) -> bool:
        """The archive of everything is written last."""
        return (self.run / EVERYTHING).is_file()

    def files(self) -> list[str]:
        """Names of what can be downloaded, in the order of the page."""
        bvh = sorted(path.name for path in self.run.glob("person_*.bvh") if _BVH.fullmatch(path.name))
        return [name for name in (OVERLAY, VIEWS, GLB, *bvh, NUMBERS, TABLE, SHEET, EVERYTHING) if (self.run / name).is_file()]

    def served(self, name: str) -> Path | None:
        """The file of this visit that may be served under ``name``, or None."""
        if name == PICTURE:
            path = self.picture
        elif name in SERVED or _BVH.fullmatch(name):
            path = self.run / name
        else:
            return None
        return path if path.is_file() and not path.is_symlink() else None


class Visits:
    """All visitors' folders, under one root. Holds nothing in memory."""

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self.root = root_folder(settings)
        self._runs = self.root / "runs"
        try:
            self._runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(f"The folder {self.root} for visitors' work cannot be made; choose another with app.folder.") from error

    @property
    def uploads(self) -> Path:
        """Where uploads arrive, one folder for each content."""
        return self.root / "uploads"

    def take(self, upload: Path, name: str) -> Visit:
        """A new visit with the uploaded file. That stays where it is until it is swept: two visitors who send the same file share it."""
        token = secrets.token_urlsafe(24)
        about = About(name=shown_name(name), stored=stored_name(name))
        visit = Visit(token, self._runs / _hashed(token), about)
        visit.folder.mkdir(mode=0o700)
        try:
            os.link(upload, visit.video)
        except OSError:
            shutil.copyfile(upload, visit.video)  # another disk, or one without links
        _write(visit)
        return visit

    def saw(self, visit: Visit, sight: Sight, preset: str) -> Visit:
        """The same visit, with the measures of its clip kept."""
        facts = {name: getattr(sight, name) for name in ("frames", "fps", "seconds", "width_px", "height_px")}
        visit = Visit(visit.token, visit.folder, visit.about.model_copy(update={**facts, "preset": preset}))
        _write(visit)
        return visit

    def find(self, token: str) -> Visit | None:
        """The visit of a token, None where there is none (any more). Opening it counts as use."""
        if not _TOKEN.fullmatch(token):
            return None
        folder = self._runs / _hashed(token)
        try:
            about = About.model_validate_json((folder / _VISIT).read_bytes())
            os.utime(folder)
        except (OSError, ValidationError):
            return None
        return Visit(token, folder, about)

    def drop(self, visit: Visit) -> None:
        """Delete a visit: its clip was refused."""
        shutil.rmtree(visit.folder, ignore_errors=True)

    def sweep(self, live: Collection[str], now_s: float | None = None) -> list[str]:
        """Delete what is old or too much, never what is being worked on; the names deleted."""
        folders = [path for path in self._runs.iterdir() if path.is_dir()]
        kept = [Kept(path.name, path.stat().st_mtime, _bytes_in(path)) for path in folders]
        keep_s, keep_bytes = self._settings.keep_hours * 3600, self._settings.keep_gigabytes * 1e9
        now = now_s if now_s is not None else time.time()
        gone = to_delete(kept, now, keep_s, keep_bytes, live)
        for name in gone:
            shutil.rmtree(self._runs / name, ignore_errors=True)
        for path in self.uploads.rglob("*"):
            if path.is_file() and now - path.stat().st_mtime > UPLOADS_KEEP_S:
                path.unlink(missing_ok=True)
        if gone:
            log.info("swept %d old runs", len(gone))
        return gone


@dataclass(frozen=True)
class Kept:
    """A folder as the sweep sees it."""

    name: str
    used_s: float
    size_bytes: int


def to_delete(kept: Iterable[Kept], now_s: float, keep_s: float, keep_bytes: float, live: Collection[str]) -> list[str]:
    """Names of folders to delete: those not used for ``keep_s``, then the longest unused until the rest takes no more than
    ``keep_bytes``. Those in ``live`` stay, whatever they take. Pure."""
    folders = sorted(kept, key=lambda folder: folder.used_s)
    left_bytes = sum(folder.size_bytes for folder in folders)
    gone = []
    for folder in folders:
        if folder.name in live:
            continue
        if now_s - folder.used_s > keep_s or left_bytes > keep_bytes:
            gone.append(folder.name)
            left_bytes -= folder.size_bytes
    return gone


def root_folder(settings: AppSettings) -> Path:
    """Where visitors' work is kept: the setting, else the disk a Space keeps, else the temporary folder."""
    if settings.folder:
        return Path(settings.folder)
    lasting = Path("/data")
    return lasting / "body4d" if lasting.is_dir() and os.access(lasting, os.W_OK) else Path(tempfile.gettempdir()) / "body4d"


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def _write(visit: Visit) -> None:
    with atomic_file(visit.folder / _VISIT) as file:
        file.write(visit.about.model_dump_json().encode())


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # Gone meanwhile: a run at work replaces its files.
    return total
