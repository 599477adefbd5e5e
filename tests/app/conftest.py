"""One running app, one browser and one finished run for all tests of the page."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium"
SLOW_MS = 240_000
"""How long a page is waited for; the tests ask what comes, not how fast."""


@dataclass(frozen=True)
class Served:
    """A running app: its address, its folder, and what it wrote to its log."""

    url: str
    folder: Path
    log: Path
    pid: int


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def start(folder: Path, *extra: str, **environment: str) -> tuple[subprocess.Popen[bytes], Served]:
    """`body4d app` as a user starts it, once it answers."""
    port = free_port()
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
            return process, Served(url, folder / "root", log, process.pid)
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(f"the app does not answer: {log.read_text()}")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("gradio", reason="the app's extra is not installed")
    pytest.importorskip("mediapipe", reason="preset lite is not installed")
    process, app = start(tmp_path_factory.mktemp("app"), "--set", "app.most_megabytes=3")
    yield app
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of somebody who walks, small, under a name that is not harmless."""
    from body4d.evaluate.synthetic import make_clip

    folder = tmp_path_factory.mktemp("walk")
    clip = make_clip("walk", folder, seconds=0.6, rate=15, size=(320, 240))
    return Path(shutil.copy(clip.video, folder / "<img src=x onerror=alert(1)>.mp4"))


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}; scripts/install_debian_packages.sh installs it")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"])
        yield opened
        opened.close()
