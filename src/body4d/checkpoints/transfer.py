"""One file from the Hub onto the disk: resumed where it broke off, summed as it comes, and never under its own name before it is whole.

huggingface_hub's own download begins anew after every interruption (its issue 4196), which on a slow line means that a file of three
gigabytes never arrives; so its session, headers and addresses are used here, and the loop is ours.
"""

import errno
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from body4d.checkpoints.hub_client import Answer, Hub, quiet, scrubbed, transport_errors
from body4d.config import WeightsSettings
from body4d.core.errors import Cancelled, OutputError
from body4d.core.files import output_error

BLOCK_BYTES = 1 << 20
"""Read, written and summed at a time: small enough to stop at once, large enough to cost nothing."""

BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that ask to come again."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Wanted:
    """A file of a repository as the Hub lists it: ``sha256`` of large files, ``git_sha1`` (of git's blob) of small ones; None: not told."""

    path: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


class Refused(Exception):
    """The Hub will not serve a file; ``answer`` is what it said."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"refused with {answer.status}")
        self.answer = answer


class BrokeOff(Exception):
    """A file stopped coming, time after time; what came is kept."""


class Altered(Exception):
    """A file came whole and is not the one asked for."""

    def __init__(self, path: str, wanted: str, found: str) -> None:
        super().__init__(f"{path} should sum to {wanted} and sums to {found}")
        self.path, self.wanted, self.found = path, wanted, found


class _Busy(Exception):
    """Come again; ``wait_s`` where the Hub says when."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class Part:
    """What is on the disk of a file so far, and its sum. ``gained`` hears of every byte that comes (negative: is thrown away)."""

    def __init__(self, path: Path, wanted: Wanted, gained: Callable[[int], None], stop: threading.Event) -> None:
        self.path, self.wanted = path, wanted
        self._gained, self._stop = gained, stop
        path.parent.mkdir(parents=True, exist_ok=True)
        self.size = path.stat().st_size if path.exists() else 0
        self.sum = hashlib.sha256()
        if self.size > wanted.size_bytes:
            self.restart()
        elif self.size:
            self.sum = sha256_of(path, stop=stop)

    def write(self, file: Any, block: bytes) -> None:
        """Append ``block``. Raises Cancelled where somebody wants to stop, OutputError where the disk is full."""
        if self._stop.is_set():
            raise Cancelled("The download was stopped; what is there is kept, and the same command goes on.")
        file.write(block)
        self.sum.update(block)
        self.size += len(block)
        self._gained(len(block))

    def restart(self) -> None:
        """Throw away what is there."""
        self._gained(-self.size)
        self.path.unlink(missing_ok=True)
        self.size, self.sum = 0, hashlib.sha256()


def fetch(
    hub: Hub,
    address: str,
    wanted: Wanted,
    part: Path,
    settings: WeightsSettings,
    *,
    gained: Callable[[int], None] = lambda count: None,
    stop: threading.Event | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Bring the file at ``address`` into ``part`` and give its SHA-256. What ``part`` holds already is kept.

    Raises Refused, Altered, Cancelled, OutputError, and BrokeOff after ``settings.retries`` failures in a row without a byte gained.
    """
    stop = stop or threading.Event()
    have = Part(part, wanted, gained, stop)
    failures, told = 0, wanted.sha256
    while have.size < wanted.size_bytes or not part.exists():
        before = have.size
        try:
            told = _stream(hub, address, have) or told
            if have.size < wanted.size_bytes:
                raise _Busy("the connection ended early")
        except (_Busy, *transport_errors()) as error:
            failures = 0 if have.size > before else failures + 1
            if failures > settings.retries:
                raise BrokeOff(str(error) if isinstance(error, _Busy) else type(error).__name__) from error
            _wait(_pause_s(error, failures, settings), stop, sleep)
        except OSError as error:
            raise _disk_error(part, have, error) from error
        if have.size > wanted.size_bytes:
            have.restart()
    return _checked(have, told)


def sha256_of(path: Path, gained: Callable[[int], None] = lambda count: None, stop: threading.Event | None = None) -> Any:
    """The running SHA-256 of a file's bytes, read in blocks. ``gained`` hears of each; raises Cancelled once ``stop`` is set."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            if stop and stop.is_set():
                raise Cancelled("Stopped while files were summed; the same command begins that anew.")
            found.update(block)
            gained(len(block))
    return found


def git_sha1_of(path: Path) -> str:
    """The name git gives a file's contents: of small files the Hub tells nothing else."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _stream(hub: Hub, address: str, have: Part) -> str | None:
    """Append what the Hub serves from ``have.size`` on; the SHA-256 it tells by the way, if it does.

    The token goes to the Hub alone: the library drops it where a redirect leads to another machine.
    """
    from huggingface_hub.utils import build_hf_headers, get_session

    headers = build_hf_headers(token=hub.usable_token or False, library_name="body4d") | {"Accept-Encoding": "identity"}
    if have.size:
        headers["Range"] = f"bytes={have.size}-"
    with quiet(), get_session().stream("GET", f"{hub.endpoint}{address}", headers=headers, timeout=hub.answer_most_s) as response:
        if response.status_code == 416:
            have.restart()
            return None
        if response.status_code in BUSY:
            raise _Busy(f"status {response.status_code}", _seconds(response.headers.get("Retry-After")))
        if response.status_code >= 400:
            raise Refused(_answer(response, hub))
        if have.size and response.status_code != 206:
            have.restart()  # the whole file is coming again
        with have.path.open("ab") as file:
            for block in response.iter_bytes(BLOCK_BYTES):
                have.write(file, block)
        return _told_sum(response)


def _answer(response: Any, hub: Hub) -> Answer:
    message = scrubbed(response.headers.get("X-Error-Message", ""), hub)
    return Answer(response.status_code, response.headers.get("X-Error-Code", ""), message)


def _told_sum(response: Any) -> str | None:
    """X-Linked-ETag of a large file is its SHA-256; it stands on the Hub's answer, before the redirect."""
    for answer in (*response.history, response):
        tag = answer.headers.get("X-Linked-ETag", "").strip('W/"')
        if len(tag) == 64:
            return tag
    return None


def _checked(have: Part, told: str | None) -> str:
    """The part's SHA-256. Raises Altered, and throws the part away, where it is not what was asked for."""
    found = have.sum.hexdigest()
    wanted = have.wanted.sha256 or told
    small = have.wanted.git_sha1 if not wanted else None
    shown = git_sha1_of(have.path) if small else found
    if (wanted or small) and shown != (wanted or small):
        have.restart()
        raise Altered(have.wanted.path, str(wanted or small), shown)
    return found


def _pause_s(error: Exception, failures: int, settings: WeightsSettings) -> float:
    """How long to wait before the next try. Pure."""
    if isinstance(error, _Busy) and error.wait_s is not None:
        return error.wait_s
    return min(settings.retry_wait_most_s, settings.retry_wait_s * 2 ** max(0, failures - 1))


def _wait(seconds: float, stop: threading.Event, sleep: Callable[[float], None]) -> None:
    """Wait, but not once somebody wants to stop."""
    end = time.monotonic() + seconds
    while not stop.is_set() and (left := end - time.monotonic()) > 0:
        sleep(min(0.2, left))


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; a date is not waited for."""
    return float(text) if text and text.isdecimal() else None


def _disk_error(part: Path, have: Part, error: OSError) -> OutputError:
    if error.errno in _FULL:
        return OutputError(
            f"The disk is full: {have.size / 1e9:.2f} of {have.wanted.size_bytes / 1e9:.2f} GB of {have.wanted.path} are in "
            f"{part.parent} and kept; make room, and the same command goes on from there."
        )
    return output_error(part, error)
