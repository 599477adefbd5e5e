"""Each visitor's folder: a secret token opens it, nothing else does; old ones are deleted."""

import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from body4d.app.names import shown_name, stored_name
from body4d.app.preview import Preview
from body4d.app.prompts import ClickPrompt
from body4d.app.tasks import ARCHIVE, BODY_HTML, BODY_NPZ, GOLF_FILES, JOINTS_CSV, PEOPLE_PICTURE
from body4d.config import AppSettings
from body4d.core.errors import OutputError
from body4d.core.files import atomic_file
from body4d.export.movement import MOVEMENT
from body4d.run.record import GLB, OVERLAY, SHEET, VIEWS

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
_SESSION, _RUN = "session.json", "run"
_BVH = re.compile(r"person_\d{1,3}\.bvh")
SERVED = frozenset({OVERLAY, VIEWS, SHEET, GLB, JOINTS_CSV, BODY_NPZ, BODY_HTML, MOVEMENT, *GOLF_FILES, ARCHIVE})
"""Files of a run folder that are served, besides a BVH for each person; everything else is not."""

KEEP_UPLOADS_S = 3600.0
"""An upload becomes a session within seconds; what is older than this was left behind."""


class SessionInfo(BaseModel):
    """``session.json``: what is known of a visitor's clip before it is run, and whom they chose.

    The page calls the clip ``name``, the disk ``stored``. ``frames`` is 0 until the clip was examined.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    stored: str
    frames: int = 0
    fps: float = 0.0
    seconds: float = 0.0
    width_px: int = 0
    height_px: int = 0
    preset: str = ""
    prompts: tuple[ClickPrompt, ...] = ()


@dataclass(frozen=True)
class UserSession:
    """One clip of one visitor. Only they know ``token``; the folder's name is its hash, so that no listing of folders reveals it."""

    token: str
    folder: Path
    info: SessionInfo

    @property
    def key(self) -> str:
        """The name of this session in queues and logs."""
        return self.folder.name

    @property
    def video(self) -> Path:
        return self.folder / self.info.stored

    @property
    def run(self) -> Path:
        return self.folder / _RUN

    @property
    def picture(self) -> Path:
        return self.folder / PEOPLE_PICTURE

    @property
    def finished(self) -> bool:
        """The archive of everything is written last."""
        return (self.run / ARCHIVE).is_file()

    def files(self) -> list[str]:
        """Names of what can be downloaded, in the order of the page."""
        bvh = sorted(path.name for path in self.run.glob("person_*.bvh") if _BVH.fullmatch(path.name))
        golf = [name for name in GOLF_FILES if not name.endswith(".json")]
        names = (OVERLAY, BODY_HTML, *golf, VIEWS, SHEET, GLB, *bvh, JOINTS_CSV, BODY_NPZ, ARCHIVE)
        return [name for name in names if (self.run / name).is_file()]

    def served_file(self, name: str) -> Path | None:
        """The file of this session that may be served under ``name``, or None."""
        if name == PEOPLE_PICTURE:
            path = self.picture
        elif name in SERVED or _BVH.fullmatch(name):
            path = self.run / name
        else:
            return None
        return path if path.is_file() and not path.is_symlink() else None


class SessionStore:
    """All visitors' folders, under one root. Holds nothing in memory."""

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self.root = root_folder(settings)
        self._runs = self.root / "runs"
        try:
            self._runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            message = f"The folder {self.root} for visitors' work cannot be made."
            raise OutputError(message, code="app_folder_unusable", hint="Choose another with app.folder.", folder=str(self.root)) from error

    @property
    def uploads(self) -> Path:
        """Where uploads arrive, one folder for each content."""
        return self.root / "uploads"

    def create(self, upload: Path, name: str) -> UserSession:
        """A new session with the uploaded file. That stays where it is until it is swept: two visitors who send the same file share it."""
        token = secrets.token_urlsafe(24)
        info = SessionInfo(name=shown_name(name), stored=stored_name(name))
        session = UserSession(token, self._runs / _hashed(token), info)
        session.folder.mkdir(mode=0o700)
        try:
            os.link(upload, session.video)
        except OSError:
            shutil.copyfile(upload, session.video)  # another disk, or one without links
        _write(session)
        return session

    def set_preview(self, session: UserSession, preview: Preview, preset: str) -> UserSession:
        """The same session, with the measures of its clip kept."""
        measures = {name: getattr(preview, name) for name in ("frames", "fps", "seconds", "width_px", "height_px")}
        return self._update(session, {**measures, "preset": preset})

    def set_prompts(self, session: UserSession, prompts: Sequence[ClickPrompt]) -> UserSession:
        """The same session, with these prompts alone."""
        return self._update(session, {"prompts": tuple(prompts)})

    def _update(self, session: UserSession, changes: Mapping[str, Any]) -> UserSession:
        # What is on the disk counts, not what the caller remembers: somebody may have clicked meanwhile.
        current = self.find(session.token) or session
        changed = UserSession(session.token, session.folder, current.info.model_copy(update=changes))
        _write(changed)
        return changed

    def find(self, token: str) -> UserSession | None:
        """The session of a token, None where there is none (any more). Opening it counts as use."""
        if not _TOKEN.fullmatch(token):
            return None
        folder = self._runs / _hashed(token)
        try:
            info = SessionInfo.model_validate_json((folder / _SESSION).read_bytes())
            os.utime(folder)
        except (OSError, ValidationError):
            return None
        return UserSession(token, folder, info)

    def delete(self, session: UserSession) -> None:
        """Delete a session: its clip was refused."""
        shutil.rmtree(session.folder, ignore_errors=True)

    def sweep(self, live: Collection[str], now_s: float | None = None) -> list[str]:
        """Delete what is old or too much, never what is being worked on, and return its names."""
        usages = [FolderUsage(path.name, path.stat().st_mtime, _bytes_in(path)) for path in self._runs.iterdir() if path.is_dir()]
        keep_s, keep_bytes = self._settings.keep_hours * 3600, self._settings.keep_gigabytes * 1e9
        now = now_s if now_s is not None else time.time()
        deleted = folders_to_delete(usages, now, keep_s, keep_bytes, live)
        for name in deleted:
            shutil.rmtree(self._runs / name, ignore_errors=True)
        for path in self.uploads.rglob("*"):
            if path.is_file() and now - path.stat().st_mtime > KEEP_UPLOADS_S:
                path.unlink(missing_ok=True)
        if deleted:
            log.info("deleted %d old sessions", len(deleted))
        return deleted


@dataclass(frozen=True)
class FolderUsage:
    """How large a session's folder is, and when it was last used, in seconds of the system's clock."""

    name: str
    used_s: float
    size_bytes: int


def folders_to_delete(usages: Iterable[FolderUsage], now_s: float, keep_s: float, keep_bytes: float, live: Collection[str]) -> list[str]:
    """Names of folders to delete: those not used for ``keep_s``, then the longest unused until the rest takes no more than
    ``keep_bytes``. Those in ``live`` stay, whatever they take. Pure."""
    folders = sorted(usages, key=lambda folder: folder.used_s)
    total_bytes = sum(folder.size_bytes for folder in folders)
    deleted = []
    for folder in folders:
        if folder.name in live:
            continue
        if now_s - folder.used_s > keep_s or total_bytes > keep_bytes:
            deleted.append(folder.name)
            total_bytes -= folder.size_bytes
    return deleted


def root_folder(settings: AppSettings) -> Path:
    """Where visitors' work is kept: the setting, else the disk a Space keeps, else the temporary folder."""
    if settings.folder:
        return Path(settings.folder)
    persistent = Path("/data")
    return persistent / "body4d" if persistent.is_dir() and os.access(persistent, os.W_OK) else Path(tempfile.gettempdir()) / "body4d"


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def _write(session: UserSession) -> None:
    with atomic_file(session.folder / _SESSION) as file:
        file.write(session.info.model_dump_json().encode())


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # Gone meanwhile: a run at work replaces its files.
    return total
