"""Each visitor's folder: a secret token opens it, nothing else does; old ones are deleted."""

import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from body4d.app.forms import RunOptions
from body4d.app.names import shown_name, stored_name
from body4d.app.preview import Preview
from body4d.app.prompts import ClickPrompt
from body4d.app.tasks import ARCHIVE, BODY_HTML, FILM_STRIP, FRAME_PICTURE
from body4d.config import AppSettings
from body4d.core.errors import InputError, OutputError
from body4d.core.files import atomic_file
from body4d.export.formats import FORMATS
from body4d.export.movement import MOVEMENT
from body4d.golf.file_names import JSON_NAME, RUN_FILES
from body4d.run.record import GLB, OVERLAY, RUN, SHEET, VIEWS, read_run

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
_SESSION, _RUN = "session.json", "run"
_EXPORTED = [row for row in FORMATS.values() if row.download]
PERSON_FILE = re.compile(rf"person_(\d{{1,3}})\.({'|'.join(row.name for row in _EXPORTED if row.per_person)})")
_WHOLE = tuple(row.file for row in _EXPORTED if not row.per_person)
SERVED = frozenset({OVERLAY, VIEWS, SHEET, GLB, BODY_HTML, MOVEMENT, *RUN_FILES, *_WHOLE, ARCHIVE})
"""Files of a run folder that are served, besides those of each person; everything else is not."""

KEEP_UPLOADS_S = 3600.0
"""An upload becomes a session within seconds; what is older than this was left behind."""

YOUNG_UPLOAD_S = 60.0
"""Where room is needed, uploads older than this go first; a visitor is about to open a younger one."""

RECENT_S = 600.0
"""Where room is needed, a session that was opened within this time stays: its visitor is choosing, or looking at the result."""


class SessionInfo(BaseModel):
    """``session.json``: what is known of a visitor's clip before it is run, and whom they chose.

    The page calls the clip ``name``, the disk ``stored``. ``frames`` is 0 until the clip was examined. ``upload`` is where it arrived,
    below the folder of uploads, "" for the example; ``created_s`` is in seconds of the system's clock. ``frame`` is the one that the
    visitor looked at last. ``revision`` counts changes, so that a page tells a late answer from a new one.
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
    upload: str = ""
    created_s: float = 0.0
    prompts: tuple[ClickPrompt, ...] = ()
    text: str = ""
    options: RunOptions = RunOptions()
    frame: int = 0
    revision: int = 0


@dataclass(frozen=True)
class UserSession:
    """One clip of one visitor. Only they know ``token``; the folder's name is its hash, so that no listing of folders reveals it.

    ``token`` is "" where the server itself takes up a session.
    """

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
        """The frame that was looked at last."""
        return self.folder / FRAME_PICTURE

    @property
    def strip(self) -> Path:
        """The film strip as the picture is turned now."""
        turn = self.info.options.rotate_deg
        return self.folder / (FILM_STRIP.replace(".", f"_{turn}.") if turn else FILM_STRIP)

    @property
    def finished(self) -> bool:
        """The archive of everything is written last."""
        return (self.run / ARCHIVE).is_file()

    def files(self) -> list[str]:
        """Names of what can be downloaded, in the order of the page."""
        order = list(FORMATS)
        people = [match for path in self.run.glob("person_*") if (match := PERSON_FILE.fullmatch(path.name))]
        people = [match[0] for match in sorted(people, key=lambda match: (order.index(match[2]), int(match[1])))]
        golf = [name for name in RUN_FILES if name != JSON_NAME]
        names = (OVERLAY, BODY_HTML, *golf, VIEWS, SHEET, GLB, *people, *_WHOLE, ARCHIVE)
        return [name for name in names if (self.run / name).is_file()]

    def served_file(self, name: str) -> Path | None:
        """The file of this session that may be served under ``name``, or None."""
        if name == FRAME_PICTURE:
            path = self.picture
        elif name == FILM_STRIP:
            path = self.strip
        elif name in SERVED or PERSON_FILE.fullmatch(name):
            path = self.run / name
        else:
            return None
        return path if path.is_file() and not path.is_symlink() else None


def session_gone() -> InputError:
    """There is no session of this token."""
    message = "This work is no longer here: it was deleted because it is old, or the link is incomplete."
    return InputError(message, code="session_gone", hint="Upload the clip again.")


class SessionStore:
    """All visitors' folders, under one root. Its methods wait for the disk: call them from a thread, not from the event loop."""

    def __init__(self, settings: AppSettings) -> None:
        self._settings = settings
        self.root = root_folder(settings)
        self.runs = self.root / "runs"
        self._changing, self._sweeping = threading.Lock(), threading.Lock()
        try:
            self.runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            message = f"The folder {self.root} for visitors' work cannot be made."
            raise OutputError(message, code="app_folder_unusable", hint="Choose another with app.folder.", folder=str(self.root)) from error

    @property
    def uploads(self) -> Path:
        """Where uploads arrive, one folder for each content."""
        return self.root / "uploads"

    def create(self, upload: Path, name: str) -> UserSession:
        """A new session with the uploaded file. That stays where it is until it is swept: two visitors who send the same file share it."""
        place = upload.absolute()
        uploads = self.uploads.absolute()
        arrived = str(place.relative_to(uploads)) if place.is_relative_to(uploads) else ""
        info = SessionInfo(name=shown_name(name), stored=stored_name(name), upload=arrived, created_s=time.time())
        return self._made(info, upload)

    def _made(self, info: SessionInfo, video: Path) -> UserSession:
        token = secrets.token_urlsafe(24)
        session = UserSession(token, self.runs / _hashed(token), info)
        session.folder.mkdir(mode=0o700)
        _link(video, session.video)
        _write(session)
        return session

    def branch(self, session: UserSession) -> UserSession:
        """A new session for the same clip with the same choice, under a token of its own. What the run of the old one holds is taken over,
        so that stages whose inputs are the same are not done again; the old one stays as it is."""
        branched = self._made(session.info.model_copy(update={"created_s": time.time()}), session.video)
        for name in (FRAME_PICTURE, session.strip.name):
            if (session.folder / name).is_file():
                shutil.copyfile(session.folder / name, branched.folder / name)
        branched.run.mkdir()
        # Files of a stage are replaced and never written into, so that two folders may share them.
        for name in {name for stage in read_run(session.run).stages.values() for name in stage.files}:
            if (session.run / name).is_file():
                _link(session.run / name, branched.run / name)
        shutil.copyfile(session.run / RUN, branched.run / RUN)
        return branched

    def set_preview(self, session: UserSession, preview: Preview, preset: str) -> UserSession:
        """The same session, with the measures of its clip kept. A clip that is too long starts cut to the longest part that may be run."""
        measures = {name: getattr(preview, name) for name in ("frames", "fps", "seconds", "width_px", "height_px")}
        max_s = min(self._settings.max_seconds, self._settings.max_frames / preview.fps if preview.fps else preview.seconds)
        end = {"end_s": round(max_s, 2)} if preview.seconds > max_s else {}
        return self.change(session, lambda info: {**measures, "options": replace(info.options, **end), "preset": preset})

    def set_prompts(self, session: UserSession, prompts: Iterable[ClickPrompt]) -> UserSession:
        """The same session, with these prompts alone."""
        kept = tuple(prompts)
        return self.change(session, lambda _: {"prompts": kept})

    def rename(self, session: UserSession, name: str) -> UserSession:
        """The session under another name, as ``shown_name`` allows it; what is typed holds no folders, so nothing is cut off at a slash."""
        return self.change(session, lambda _: {"name": shown_name(re.sub(r"[/\\]", "-", name))})

    def change(self, session: UserSession, change: Callable[[SessionInfo], Mapping[str, Any]]) -> UserSession:
        """The session with the fields that ``change`` gives for it as it is now: of two clicks at once, each sees the other's. Raises
        InputError where it was deleted meanwhile."""
        with self._changing:
            # What is on the disk counts, not what the caller remembers. What was deleted meanwhile stays so.
            current = self.find(session.token)
            if current is None:
                raise session_gone()
            info = current.info.model_copy(update=dict(change(current.info)))
            if info == current.info:
                return current
            changed = UserSession(session.token, session.folder, info.model_copy(update={"revision": info.revision + 1}))
            _write(changed)
        return changed

    def find(self, token: str, *, is_use: bool = True) -> UserSession | None:
        """The session of a token, None where there is none (any more). Opening it counts as use, unless it is only listed."""
        if not _TOKEN.fullmatch(token):
            return None
        folder = self.runs / _hashed(token)
        info = _read(folder)
        if info is not None and is_use:
            with suppress(OSError):
                os.utime(folder)
        return UserSession(token, folder, info) if info is not None else None

    def taken_up(self, folder: Path) -> UserSession | None:
        """The session in a folder, for the server itself, which does not know its token."""
        info = _read(folder)
        return UserSession("", folder, info) if info is not None else None

    def expires_s(self, session: UserSession) -> float:
        """When the session is deleted unless it is opened before, in seconds of the system's clock; earlier where room is needed."""
        return session.folder.stat().st_mtime + self._settings.keep_hours * 3600

    def delete(self, session: UserSession) -> None:
        """Delete a session, and the upload that it came from unless somebody else's session has the same. Raises OutputError where the
        disk refuses."""
        with self._changing:
            with suppress(OSError):
                (session.folder / _SESSION).unlink()  # From here on nobody finds it.
            shutil.rmtree(session.folder, ignore_errors=True)
            if session.info.upload:
                upload = self.uploads / session.info.upload
                with suppress(OSError):
                    if upload.stat().st_nlink == 1:
                        upload.unlink()
                        upload.parent.rmdir()
        if session.folder.exists():
            raise OutputError("This work could not be deleted.", code="not_deleted", hint="Try again.")

    def make_room(self, incoming_bytes: float, live: Collection[str]) -> bool:
        """Whether so many bytes more fit in ``keep_gigabytes``, after what is old or unused has been deleted for them."""
        for _ in range(2):  # Of a file with two names only half was counted before one of them went.
            self.sweep(live, incoming_bytes=incoming_bytes)
            if self.used_bytes() + incoming_bytes <= self._settings.keep_gigabytes * 1e9:
                return True
        return False

    def used_bytes(self) -> float:
        """What sessions and uploads take together."""
        return _bytes_in(self.runs) + _bytes_in(self.uploads)

    def sweep(self, live: Collection[str], now_s: float | None = None, incoming_bytes: float = 0.0) -> list[str]:
        """Delete what is old or too much, never what is being worked on, and return the names of sessions deleted."""
        with self._sweeping:
            now = now_s if now_s is not None else time.time()
            keep_s, keep_bytes = self._settings.keep_hours * 3600, self._settings.keep_gigabytes * 1e9 - incoming_bytes
            usages = [FolderUsage(path.name, path.stat().st_mtime, _bytes_in(path)) for path in self.runs.iterdir() if path.is_dir()]
            taken_bytes = sum(usage.size_bytes for usage in usages)
            uploads_bytes = self._sweep_uploads(now, keep_bytes - taken_bytes)
            recent = {usage.name for usage in usages if now - usage.used_s < RECENT_S}
            deleted = folders_to_delete(usages, now, keep_s, keep_bytes - uploads_bytes, recent.union(live))
            for name in deleted:
                shutil.rmtree(self.runs / name, ignore_errors=True)
        if deleted:
            log.info("deleted %d old sessions", len(deleted))
        return deleted

    def _sweep_uploads(self, now_s: float, keep_bytes: float) -> float:
        """Delete uploads that were left behind, and older ones where all together are too large. Returns what those left take."""
        files = []
        for path in self.uploads.rglob("*"):
            with suppress(OSError):  # Gone meanwhile: an upload that is done moves out of its temporary file.
                if path.is_file():
                    files.append(FolderUsage(str(path), path.stat().st_mtime, _own_bytes(path)))
        young = {file.name for file in files if now_s - file.used_s < YOUNG_UPLOAD_S}
        deleted = set(folders_to_delete(files, now_s, KEEP_UPLOADS_S, keep_bytes, young))
        for name in deleted:
            Path(name).unlink(missing_ok=True)
        for folder in self.uploads.glob("*/"):
            with suppress(OSError):  # It holds something, or another upload is just making use of it.
                if now_s - folder.stat().st_mtime > YOUNG_UPLOAD_S:
                    folder.rmdir()
        return sum(file.size_bytes for file in files if file.name not in deleted)


@dataclass(frozen=True)
class FolderUsage:
    """How large a session's folder or an upload is, and when it was last used, in seconds of the system's clock."""

    name: str
    used_s: float
    size_bytes: float


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


def _read(folder: Path) -> SessionInfo | None:
    try:
        return SessionInfo.model_validate_json((folder / _SESSION).read_bytes())
    except (OSError, ValidationError):
        return None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)  # another disk, or one without links


def _own_bytes(path: Path) -> float:
    """What a file takes, shared among the names that it has: an upload and its session are one file on the disk."""
    try:
        status = path.lstat()
    except OSError:
        return 0.0  # Gone meanwhile: a run at work replaces its files.
    return status.st_size / max(status.st_nlink, 1)


def _bytes_in(folder: Path) -> float:
    return sum(_own_bytes(path) for path in folder.rglob("*") if not path.is_dir())
