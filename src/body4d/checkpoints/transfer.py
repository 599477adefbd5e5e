"""One file from the Hub onto the disk: resumed where it broke off and hashed as it comes.

huggingface_hub's own download begins anew after every interruption (its issue 4196), which on a slow line means that a file of three
gigabytes never arrives; so its session, headers and addresses are used here, and the loop is ours.
"""

import errno
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from body4d.checkpoints.files import BLOCK_BYTES, git_sha1_of, sha256_of
from body4d.checkpoints.gated_access import classify_response, describe_access
from body4d.checkpoints.hub_client import Hub, quiet_http_logs, read_response, transport_errors
from body4d.checkpoints.registry import CheckpointSource
from body4d.core.errors import Cancelled, OutputError, WeightsError
from body4d.core.files import output_error

BUSY_STATUSES = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that ask to come again."""

RETRY_WAIT_S = 1.0
"""Wait before the first retry; each further one waits twice as long."""
MAX_RETRY_WAIT_S = 30.0
"""The longest wait before a retry, unless the Hub asks for a longer one."""

MAX_ATTEMPTS = 2
"""A file whose sum is wrong is fetched once more, since a proxy's cache may be stale. After that the source itself is to blame."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository as the Hub lists it. ``url_path`` is its address below the Hub's endpoint; ``sha256`` is stated of large
    files, ``git_sha1`` (of git's blob) of small ones."""

    path: str
    url_path: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


class _TryAgain(Exception):
    """The connection ended early or the Hub is busy; ``wait_s`` where the Hub says how long to wait."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _PartialFile:
    """What is on the disk of a file so far, and its SHA-256. ``on_bytes`` hears of every byte that comes (negative: is thrown away)."""

    def __init__(self, path: Path, file: RemoteFile, on_bytes: Callable[[int], None], stop: threading.Event) -> None:
        self.path, self.file = path, file
        self._on_bytes, self._stop = on_bytes, stop
        path.parent.mkdir(parents=True, exist_ok=True)
        self.size_bytes = path.stat().st_size if path.exists() else 0
        self.digest = hashlib.sha256()
        if self.size_bytes > file.size_bytes:
            self.restart()
        elif self.size_bytes:
            self.digest = sha256_of(path, stop=stop)

    @property
    def complete(self) -> bool:
        return self.size_bytes >= self.file.size_bytes and self.path.exists()

    def append(self, blocks: Any) -> None:
        """Append ``blocks`` of bytes. Raises Cancelled once the download is stopped."""
        with self.path.open("ab") as file:
            for block in blocks:
                if self._stop.is_set():
                    raise Cancelled("The download was stopped; what came is kept.", hint="The same command goes on.")
                file.write(block)
                self.digest.update(block)
                self.size_bytes += len(block)
                self._on_bytes(len(block))

    def restart(self) -> None:
        """Throw away what is there."""
        self._on_bytes(-self.size_bytes)
        self.path.unlink(missing_ok=True)
        self.size_bytes, self.digest = 0, hashlib.sha256()


def fetch_file(
    hub: Hub,
    source: CheckpointSource,
    file: RemoteFile,
    part: Path,
    *,
    max_retries: int,
    on_bytes: Callable[[int], None] = lambda count: None,
    stop: threading.Event | None = None,
) -> str:
    """Fetch ``file`` into ``part`` and return its SHA-256. What ``part`` holds already is kept.

    Raises WeightsError where the Hub refuses the file, where it breaks off ``max_retries`` + 1 times in a row without a byte gained, or
    where it arrives altered ``MAX_ATTEMPTS`` times; OutputError for the disk; Cancelled once ``stop`` is set.
    """
    stop = stop or threading.Event()
    hub = hub if source.gated else hub.without_token()
    partial = _PartialFile(part, file, on_bytes, stop)
    found = expected = ""
    for _ in range(MAX_ATTEMPTS):
        stated = _complete(hub, source, partial, max_retries, stop)
        # The sum that the Hub states on the way counts where its list of files has none, as for whoever is not let in.
        expected = file.sha256 or stated or file.git_sha1 or ""
        found = git_sha1_of(part) if expected and expected == file.git_sha1 else partial.digest.hexdigest()
        if not expected or found == expected:
            return partial.digest.hexdigest()
        partial.restart()
    raise WeightsError(
        f"{file.path} of {source.repo} came twice with another content than published (its sum is {found[:12]}…, it should be "
        f"{expected[:12]}…), so something between here and the Hub changes it.",
        code="download_altered", hint="Try without the proxy, or from another network.", file=file.path, repository=source.repo,
    )  # fmt: skip


def retry_wait_s(num_failures: int) -> float:
    """How long to wait after this many failures in a row."""
    return min(MAX_RETRY_WAIT_S, RETRY_WAIT_S * 2 ** max(0, num_failures - 1))


def _complete(hub: Hub, source: CheckpointSource, partial: _PartialFile, max_retries: int, stop: threading.Event) -> str | None:
    """Stream until the file is complete; the SHA-256 that the Hub states on the way, if it does."""
    num_failures, stated = 0, None
    while not partial.complete:
        before = partial.size_bytes
        try:
            stated = _stream(hub, source, partial) or stated
            if partial.size_bytes < partial.file.size_bytes:
                raise _TryAgain("the connection ended early")
        except (_TryAgain, *transport_errors()) as error:
            num_failures = 0 if partial.size_bytes > before else num_failures + 1
            if num_failures > max_retries:
                reason = str(error) if isinstance(error, _TryAgain) else type(error).__name__
                raise WeightsError(
                    f"{partial.file.path} of {source.repo} broke off {num_failures} times in a row ({reason}); what came is kept.",
                    code="download_interrupted", hint="The same command goes on from there.", file=partial.file.path,
                    repository=source.repo,
                ) from error  # fmt: skip
            asked = error.wait_s if isinstance(error, _TryAgain) else None
            stop.wait(retry_wait_s(num_failures) if asked is None else asked)
        except OSError as error:
            raise _disk_error(partial, error) from error
        if partial.size_bytes > partial.file.size_bytes:
            partial.restart()
    return stated


def _stream(hub: Hub, source: CheckpointSource, partial: _PartialFile) -> str | None:
    """Append what the Hub serves from the part's end on; the SHA-256 it states on the way, if it does.

    The token goes to the Hub alone: the HTTP library drops it where a redirect leads to another machine.
    """
    from huggingface_hub.utils import build_hf_headers, get_session

    headers = build_hf_headers(token=hub.usable_token or False, library_name="body4d") | {"Accept-Encoding": "identity"}
    if partial.size_bytes:
        headers["Range"] = f"bytes={partial.size_bytes}-"
    url = f"{hub.endpoint}{partial.file.url_path}"
    with quiet_http_logs(), get_session().stream("GET", url, headers=headers, timeout=hub.timeout_s) as response:
        if response.status_code == 416:
            partial.restart()
            return None
        if response.status_code in BUSY_STATUSES:
            wait = response.headers.get("Retry-After", "")  # in seconds; a date is not waited for
            raise _TryAgain(f"status {response.status_code}", float(wait) if wait.isdecimal() else None)
        if response.status_code >= 400:
            refusal = read_response(response, hub)
            raise describe_access(source, classify_response(refusal) or "refused", hub, refusal).error()
        if partial.size_bytes and response.status_code != 206:
            partial.restart()  # the whole file is coming again
        partial.append(response.iter_bytes(BLOCK_BYTES))
        # X-Linked-ETag of a large file is its SHA-256; it stands on the Hub's answer, before the redirect.
        tags = (answer.headers.get("X-Linked-ETag", "").strip('W/"') for answer in (*response.history, response))
        return next((tag for tag in tags if len(tag) == 64), None)


def _disk_error(partial: _PartialFile, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"The disk is full: {partial.size_bytes / 1e9:.2f} of {partial.file.size_bytes / 1e9:.2f} GB of {partial.file.path} are in "
            f"{partial.path.parent} and kept.",
            code="disk_full", hint="Make room, and the same command goes on from there.",
        )  # fmt: skip
    return output_error(partial.path, error)
