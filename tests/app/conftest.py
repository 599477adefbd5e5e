"""One running app and one browser for all tests of the page."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_served import RunningApp, start
from chromium import FLAGS, NAMES, chromium


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the running app is slow."""
    for item in items:
        if "running_app" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def running_app(lite_models: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    pytest.importorskip("gradio", reason="the app's extra is not installed")
    process, app = start(tmp_path_factory.mktemp("app"), "--set", "app.max_megabytes=3")
    yield app
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of somebody who walks, small, under a name that is not harmless."""
    from body4d.evaluate.synthetic.clip import make_clip

    folder = tmp_path_factory.mktemp("walk")
    clip = make_clip("walk", folder, seconds=0.6, rate=15, size=(320, 240))
    return Path(shutil.copy(clip.video, folder / "<img src=x onerror=alert(1)>.mp4"))


@pytest.fixture(scope="module")  # not for the session: one Playwright at a time, and no asyncio.run beside it
def browser() -> Iterator[object]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if path is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(NAMES)}); scripts/install_debian_packages.sh installs it")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield opened
        opened.close()
