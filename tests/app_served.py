"""A running `body4d app` for the tests of its page, started as a user starts it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOW_MS = 120_000
"""How long a page is waited for; the tests ask what comes, not how fast."""


@dataclass(frozen=True)
class RunningApp:
    """A running app: its address, its folder, and what it wrote to its log."""

    url: str
    folder: Path
    log: Path
    pid: int


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def start(folder: Path, *extra: str, **environment: str) -> tuple[subprocess.Popen[bytes], RunningApp]:
    """`body4d app` as a user starts it, once it answers."""
    port = free_port()
    example = folder / "root" / "example"
    example.mkdir(parents=True, exist_ok=True)
    for name in ("swing.mp4", "truth.npz"):  # Filming it takes a core for a quarter of a minute.
        (example / name).write_bytes(b"example")
    log = folder / "app.log"
    command = [
        sys.executable,
        "-m",
        "body4d",
        "app",
        "--port",
        str(port),
        "--preset",
        "lite",
        "--set",
        f"app.folder={folder / 'root'}",
        *extra,
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    url = f"http://127.0.0.1:{port}/"
    for _ in range(1200):
        try:
            urllib.request.urlopen(f"{url}health", timeout=1)
            return process, RunningApp(url, folder / "root", log, process.pid)
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(f"the app does not answer: {log.read_text()}")


def wait_until(page: Any, condition: str) -> None:
    """Wait until a JavaScript expression is true on a page. Playwright's own ``wait_for_function`` compiles it there, which the page's
    security policy forbids."""
    until = time.monotonic() + SLOW_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < until, condition
        page.wait_for_timeout(50)
