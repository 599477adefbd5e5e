"""Checkpoints from the Hub into their folders: the first source that may be fetched, what is there already kept, the rest mended.

A run of it that is stopped, cut off or runs out of disk goes on with the same call. Nothing is under its own name before it is whole and
its sum is right, and what was put there by hand is never thrown away.
"""

import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from body4d.checkpoints.gated_access import explain, judge
from body4d.checkpoints.hub_client import Hub
from body4d.checkpoints.local import look_at
from body4d.checkpoints.plan import MB, Plan, make_plan, require_room, size_of
from body4d.checkpoints.record import OWN_FOLDER, FileRecord, Record, read_record, write_record
from body4d.checkpoints.sources import Checkpoint, Source
from body4d.checkpoints.transfer import Altered, BrokeOff, Refused, Wanted, fetch
from body4d.config import WeightsSettings
from body4d.core.errors import RunWarning, WeightsError
from body4d.core.files import output_error
from body4d.core.progress import Event, EventListener, Meter, ignore_events

TRIES = 2
"""A file whose sum is wrong is fetched once more: a proxy's cache may be stale. After that it is the source."""

KEPT = ".altered"
"""Added to the name of a file that was put there by hand and is not the published one, when that takes its place."""


@dataclass(frozen=True)
class Fetched:
    """What was done for a checkpoint: where it lies, whence (None: it was there already), and how much came over the line."""

    model: Checkpoint
    place: Path
    source: Source | None
    commit: str
    fetched_bytes: int


def download(
    models: Sequence[Checkpoint],
    settings: WeightsSettings,
    hub: Hub,
    listener: EventListener = ignore_events,
    *,
    source: str | None = None,
    latest: bool = False,
    check: bool = False,
) -> tuple[Fetched, ...]:
    """Bring ``models`` onto the disk. What is whole is left alone and the Hub is not asked about it.

    ``source``: this repository alone, whatever comes first. ``latest``: the newest revision instead of the pinned one. ``check``: sum
    what is there and replace what is not as published. Raises WeightsError for what cannot be had, after everything else was fetched;
    OutputError for the disk, Cancelled where ``listener`` stops it; what came so far is kept.
    """
    done: list[Fetched] = []
    plans: list[Plan] = []
    refusals: list[str] = []
    for model in models:
        found = look_at(model, settings)
        if found.ready and found.place and not (source or latest or check):
            listener(Event(model.key, "skipped"))
            done.append(Fetched(model, found.place, None, found.record.commit if found.record else "", 0))
            continue
        try:
            plans.append(make_plan(model, settings, hub, listener, repo=source, latest=latest, check=check))
        except WeightsError as error:
            refusals.append(str(error))
            listener(Event(model.key, "failed", detail=str(error)))
    require_room(plans, settings)
    for plan in plans:
        done.append(_carry_out(plan, settings, hub, listener))
    if refusals:
        raise WeightsError(" ".join(refusals))
    return tuple(done)


def _carry_out(plan: Plan, settings: WeightsSettings, hub: Hub, listener: EventListener) -> Fetched:
    """Fetch a plan's files and write the record."""
    listing, meter = plan.listing, Meter(plan.model.key, listener)
    left = plan.left_bytes
    with _held(plan.folder):
        meter.send("started")
        meter.warn(RunWarning("download_plan", _announced(plan)))
        sums = {**plan.sums, **_fetch_all(plan, settings, hub, listener, meter)}
        files = {file.path: FileRecord(size_bytes=file.size_bytes, sha256=sums[file.path]) for file in listing.files}
        record = Record(repo=listing.source.repo, commit=listing.commit, licence=listing.source.licence.name, files=files)
        write_record(plan.folder, record)
        shutil.rmtree(plan.folder / OWN_FOLDER / "parts", ignore_errors=True)
    meter.send("done")
    return Fetched(plan.model, plan.folder, listing.source, listing.commit, left)


def _announced(plan: Plan) -> str:
    """What is taken from where, under which licence."""
    source, licence = plan.listing.source, plan.listing.source.licence
    known = "" if source.revision in (None, plan.listing.commit) else " (the newest, not the one that was checked)"
    return (
        f"{plan.model.name} from {source.page} at {plan.listing.commit[:12]}{known}, {plan.left_bytes / 1e9:.2f} of "
        f"{plan.listing.size_bytes / 1e9:.2f} GB to come, into {plan.folder}. Licence: {licence.name} ({licence.url}). {licence.note}"
    ).strip()


def _fetch_all(plan: Plan, settings: WeightsSettings, hub: Hub, listener: EventListener, meter: Meter) -> dict[str, str]:
    """Fetch a plan's files side by side: SHA-256 by path. The listener is called from this thread alone."""
    stop, lock, total = threading.Event(), threading.Lock(), -(-plan.left_bytes // MB)
    came, notes = 0, deque[str]()

    def gained(count: int) -> None:
        nonlocal came
        with lock:
            came += count

    def one(file: Wanted) -> str:
        found = _fetch_one(plan, file, settings, hub, gained, stop)
        notes.append(_put(plan, file))
        return found

    with ThreadPoolExecutor(settings.connections, thread_name_prefix="body4d-weights") as pool:
        jobs: dict[str, Future[str]] = {file.path: pool.submit(one, file) for file in plan.missing}
        try:
            while True:
                ended, going = wait(jobs.values(), timeout=0.2, return_when=FIRST_EXCEPTION)
                meter(min(total, -(-max(0, came) // MB)), total)
                while notes:
                    if note := notes.popleft():
                        meter.warn(RunWarning("file_replaced", note))
                if failed := next((error for job in ended if (error := job.exception())), None):
                    raise failed
                if not going:
                    return {path: job.result() for path, job in jobs.items()}
        except BaseException:
            stop.set()
            for job in jobs.values():
                job.cancel()
            raise


def _fetch_one(plan: Plan, file: Wanted, settings: WeightsSettings, hub: Hub, gained: Callable[[int], None], stop: threading.Event) -> str:
    """One file into its part, with our sentences for what goes wrong."""
    source, asker = plan.listing.source, hub if plan.listing.source.gated else Hub(hub.endpoint, answer_most_s=hub.answer_most_s)
    for attempt in range(1, TRIES + 1):
        try:
            return fetch(asker, plan.listing.address(file), file, plan.part(file), settings, gained=gained, stop=stop)
        except Altered as error:
            if attempt == TRIES:
                raise WeightsError(
                    f"{file.path} of {source.repo} came twice with another content than published (its sum is {error.found[:12]}…, "
                    f"it should be {error.wanted[:12]}…): something between here and the Hub changes it; "
                    "try without the proxy, or from another network."
                ) from error
        except Refused as error:
            raise WeightsError(explain(source, judge(error.answer, None) or "refused", hub, error.answer).sentence) from error
        except BrokeOff as error:
            raise WeightsError(
                f"{file.path} of {source.repo} broke off {settings.retries + 1} times in a row ({error}): what came is kept, and the same "
                "command goes on from there."
            ) from error
    raise AssertionError("the last try returns or raises")


def _put(plan: Plan, file: Wanted) -> str:
    """Move a whole part to its place; a sentence where something was there already."""
    target, note = plan.folder / file.path, ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        record = read_record(plan.folder)
        if target.exists() and not (record and file.path in record.files) and size_of(target) >= file.size_bytes:
            os.replace(target, target.with_name(target.name + KEPT))
            note = f"{target} was not the published file; it is kept as {target.name}{KEPT}."
        elif target.exists():
            note = f"{target} was not as published and was fetched anew."
        os.replace(plan.part(file), target)
    except OSError as error:
        raise output_error(target, error) from error
    return note


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """One download per folder at a time, whichever process it is in. Raises WeightsError where another is at work, OutputError."""
    try:
        (folder / OWN_FOLDER).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / OWN_FOLDER / "lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise WeightsError(f"Another download is at work in {folder}: wait for it, or stop it first.") from error
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()
