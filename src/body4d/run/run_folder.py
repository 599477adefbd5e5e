"""Every path of one run. Atomic writes; what is done, what is stale; one process at a time.

A stage writes into ``.partial/``; when it has finished, its files are flushed to the disk, renamed into the folder, and only then
does ``run.json`` say "done". Killed anywhere in between, the stage is simply done again by the next run, to the same bytes.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel

from body4d.core.errors import Body4DError, Cancelled, InputError, OutputError, RunWarning, distinct_warnings
from body4d.core.files import WRITE_ERRORS, atomic_file, output_error
from body4d.core.progress import Event, EventListener, Meter, ignore_events
from body4d.core.stages import ProgressFn
from body4d.run.record import RUN, RunRecord, StageRecord, read_record_if_any
from body4d.runtime.memory import NO_DEVICE, DeviceMemory, MemoryMonitor

_PARTIAL, _LOCK = ".partial", ".lock"

_FULL_BELOW_BYTES = 1 << 20
"""Some writers (numpy, FFmpeg) lose the error number: a failed write with less than this free is a full disk."""

CacheInput = Any
"""What a stage depends on: JSON values, settings, arrays, dataclasses."""


@dataclass(frozen=True)
class StageResult:
    """What a stage hands back besides its files.

    ``warnings`` for the user, ``result`` a small JSON value that ``run.json`` keeps, ``seconds_before`` the time already spent on the
    stage before it could be announced.
    """

    warnings: Sequence[RunWarning] = ()
    result: Any = None
    seconds_before: float = 0.0


StageFn = Callable[[Path, ProgressFn], StageResult | None]
"""Does a stage: writes its files into the folder, reporting as it goes."""


@dataclass
class RunFolder:
    """One run's folder, held by this process. Made by ``open``."""

    path: Path
    record: RunRecord
    listener: EventListener = ignore_events
    device: DeviceMemory = NO_DEVICE
    _keys: dict[str, str] = field(default_factory=dict)

    @staticmethod
    @contextmanager
    def open(
        video: Path,
        out: Path | None,
        about: Mapping[str, Any],
        *,
        fresh: bool = False,
        listener: EventListener = ignore_events,
        device: DeviceMemory = NO_DEVICE,
    ) -> Iterator["RunFolder"]:
        """Hold the folder for ``video``: ``out``, or ``runs/<clip's stem>/``. ``about`` fills settings, versions and preset of run.json.

        Raises OutputError where the folder cannot be used: no rights, another video's run, or another process at work in it.
        """
        from body4d.video import clip_hash

        digest = clip_hash(video)
        path = out if out is not None else default_folder(video, digest)
        _refuse_strange(path)
        make_folder(path)
        with lock_run_folder(path), output_errors(path):
            old = read_record_if_any(path, any_schema=fresh)
            if old and old.input.get("sha256") != digest:
                raise OutputError(
                    f"The folder {path} holds the run of another video ({old.input.get('name')}).",
                    code="folder_of_another_video",
                    hint="Choose another one with --out.",
                    video=old.input.get("name"),
                )
            shutil.rmtree(path / _PARTIAL, ignore_errors=True)
            about = {"body4d": _version(), "input": {"name": video.name, "path": str(video.resolve()), "sha256": digest}, **about}
            record = RunRecord(**about, pid=os.getpid(), stages=old.stages if old and not fresh else {})
            folder = RunFolder(path, record, listener, device)
            folder._save()
            listener(Event("run", "started", detail=str(path)))
            yield folder
            listener(Event("run", "done", detail=str(path)))

    @property
    def input_sha256(self) -> str:
        return self.record.input["sha256"]

    def file(self, name: str) -> Path:
        return self.path / name

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        """Every warning of the run so far, each once: its own, then stage by stage."""
        of_stages = [warning for name in self._keys for warning in self.record.stages[name].warnings]
        return distinct_warnings([*self.record.warnings, *of_stages])

    def warn(self, warnings: Sequence[RunWarning]) -> None:
        """Send warnings that belong to no stage."""
        for warning in warnings:
            self.listener(Event("run", "warning", warning=warning))

    def stage(
        self,
        name: str,
        files: Sequence[str],
        make: StageFn,
        *,
        cache_inputs: Sequence[CacheInput] = (),
        after: Sequence[str] = (),
    ) -> Any:
        """Run one stage, unless it was done with the same inputs, and return its result.

        ``make(into, progress)`` writes ``files`` into the folder ``into``. The stage is done again when its ``cache_inputs`` (settings,
        hashes) or any stage it comes ``after`` changed, when a file is missing or of another size, or when body4d's version changed.
        """
        key = self._keys[name] = _digest([name, _version(), cache_inputs, [self._keys[stage] for stage in after]])
        meter = Meter(name, self.listener)
        record = self.record.stages.get(name)
        if record and record.state == "done" and record.fingerprint == key and self._sizes(files) == record.files:
            self._send_end(meter, "skipped", record.warnings)
            return record.result
        self.record.stages[name] = StageRecord(state="running", fingerprint=key)
        with self._ending(name, meter), output_errors(self.path):
            self._save()
            meter.send("started")
            into = self.path / _PARTIAL
            into.mkdir(exist_ok=True)
            with MemoryMonitor(self.device) as watch:
                outcome = make(into, meter) or StageResult()
            self._take(into, files)
            done = StageRecord(
                state="done",
                fingerprint=key,
                seconds=round(meter.seconds + outcome.seconds_before, 3),
                warnings=list(outcome.warnings),
                files=self._sizes(files),
                # Through JSON, so that a run that resumes sees the very same value.
                result=json.loads(json.dumps(outcome.result)),
                steps=meter.done,
                cpu_peak_mb=watch.cpu_peak_mb,
                gpu_peak_mb=watch.gpu_peak_mb,
            )
            self.record.stages[name] = done
            self._save()
        self._send_end(meter, "done", done.warnings)
        return done.result

    def _send_end(self, meter: Meter, state: Literal["done", "skipped"], warnings: Sequence[RunWarning]) -> None:
        meter.send(state)
        for warning in warnings:
            meter.warn(warning)

    @contextmanager
    def _ending(self, name: str, meter: Meter) -> Iterator[None]:
        """Records how a stage that does not finish ended."""
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | Cancelled)
            state: Literal["cancelled", "failed"] = "cancelled" if stopped else "failed"
            record = self.record.stages[name]
            record.state, record.seconds = state, round(meter.seconds, 3)
            record.error = error.as_json() if isinstance(error, Body4DError) and not stopped else None
            try:
                shutil.rmtree(self.path / _PARTIAL, ignore_errors=True)
                self._save()
            except (OSError, OutputError):
                pass  # The reason the stage ended may be a full disk; that is what the user has to hear.
            meter.send(state)
            raise

    def _take(self, into: Path, files: Sequence[str]) -> None:
        for name in files:
            if not (into / name).is_file():
                raise OutputError(f"{name} was not written into {self.path}.", code="file_not_written", file=name)
            _flush(into / name)
            os.replace(into / name, self.path / name)
        shutil.rmtree(into)
        _flush(self.path)

    def _sizes(self, files: Sequence[str]) -> dict[str, int]:
        return {name: self.file(name).stat().st_size for name in files if self.file(name).is_file()}

    def _save(self) -> None:
        text = json.dumps(self.record.model_dump(mode="json"), indent=1, ensure_ascii=False)
        with atomic_file(self.path / RUN) as file:
            # A file name that is no UTF-8 has surrogates in it; backslashes make them escapes of JSON, from which the name comes back.
            file.write(text.encode(errors="backslashreplace") + b"\n")


@contextmanager
def lock_run_folder(path: Path) -> Iterator[None]:
    """Hold an existing run folder for this process alone. Raises OutputError where another one works in it."""
    lock = FileLock(path / _LOCK)
    try:
        # The kernel drops this lock when its process dies, however it dies: there are no stale ones to judge.
        with output_errors(path):
            lock.acquire(blocking=False)
    except Timeout:
        raise _locked_error(path) from None
    try:
        yield
    finally:
        lock.release()


def default_folder(video: Path, digest: str, root: Path = Path("runs")) -> Path:
    """``runs/<stem>``, or ``runs/<stem>-<hash>`` where that holds the run of a different video of the same name."""
    plain = root / video.stem
    try:
        record = read_record_if_any(plain, any_schema=True)
    except InputError:
        record = None
    if record is None or record.input.get("sha256") == digest:
        return plain
    return root / f"{video.stem}-{digest[:8]}"


def _refuse_strange(path: Path) -> None:
    """Refuse to write among files that are not ours."""
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file, not a folder.", code="not_a_folder", hint="--out takes a folder.")
    if path.is_dir() and not (path / RUN).exists() and any(not entry.name.startswith(".") for entry in path.iterdir()):
        raise OutputError(
            f"The folder {path} is not empty and holds no run.", code="folder_not_empty", hint="Choose a new or empty one with --out."
        )


def _locked_error(path: Path) -> OutputError:
    try:
        record = read_record_if_any(path)
    except Body4DError:
        record = None
    pid = record.pid if record else 0
    who = f" (process {pid})" if pid else ""
    return OutputError(
        f"Another body4d{who} is working in {path}.",
        code="folder_locked",
        hint="Wait for it, or choose another folder with --out.",
        pid=pid,
    )


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises OutputError, whatever the reason."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"The folder {path} cannot be made ({reason}).", code="folder_not_made", hint="Choose another with --out."
        ) from error


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Say in one sentence what the operating system refused; what is no matter of writing goes through."""
    try:
        yield
    except OSError as error:
        full = error.errno is None and shutil.disk_usage(path).free < _FULL_BELOW_BYTES
        if full:
            error.errno = errno.ENOSPC
        if error.errno in WRITE_ERRORS:
            raise output_error(path, error) from error
        raise


def _flush(path: Path) -> None:
    """Force a file's bytes, or a folder's names, onto the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(parts: CacheInput) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        if hasattr(value, "tolist"):
            return value.tolist()
        if hasattr(value, "__dataclass_fields__"):
            return {name: getattr(value, name) for name in value.__dataclass_fields__}
        return str(value)

    return hashlib.sha256(json.dumps(parts, default=plain, sort_keys=True).encode()).hexdigest()


def _version() -> str:
    from body4d.core.version import __version__

    return __version__
