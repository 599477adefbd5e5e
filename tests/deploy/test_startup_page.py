"""The waiting page in a real browser: what it shows, that it is text, that it fits a phone, and that it turns into the app by itself."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from body4d.deploy.board import Board, Row
from body4d.deploy.startup_proxy import Front
from serving import served

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is on this machine (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def board() -> Board:
    found = Board(lambda _: None)
    found.tell("downloading", "Fetching SAM-3, 2 of 3 checkpoints.")
    found.rows(
        (
            Row("sam3d-body", "SAM-3D-Body", "here", 2831, 2831),
            Row("sam3", "SAM-3", "fetching", 1204, 3441, 85.2, 26.0),
            Row("moge", "MoGe-2", total=1323),
        )
    )
    found.note("SAM-3D-Body is taken from Comfy-Org/sam-3d-body instead; the same licence holds: SAM License.")
    found.note("No disk is mounted at /data, so checkpoints are fetched anew after every restart.")
    return found


@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1100, 760), ("phone", 390, 844)])
def test_what_the_page_shows(browser: Any, tmp_path: Path, name: str, width: int, height: int) -> None:
    """With KEEP_PICTURES a picture of it is kept in that folder."""
    with served(Front(board())) as url:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(url)
        page.get_by_text("1.20 GB of 3.44 GB · 85 MB/s · 26 s left").wait_for(timeout=15_000)
        assert page.get_by_text("Fetching SAM-3, 2 of 3 checkpoints.").is_visible()
        assert page.get_by_text("waiting", exact=True).is_visible()
        widths = page.eval_on_selector_all(".fill", "all => all.map(one => one.style.width)")
        assert [round(float(text.removesuffix("%"))) for text in widths] == [100, 35, 0]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing hangs over the edge"
        page.wait_for_timeout(500)
        page.screenshot(path=Path(os.environ.get("KEEP_PICTURES") or tmp_path) / f"space_waiting_{name}.png")
        page.close()


def test_it_turns_into_the_app_and_html_stays_text(browser: Any) -> None:
    shown = board()
    shown.note("<img src=x onerror='document.title=1'>")
    front = Front(shown)
    with served(front) as url:
        page = browser.new_page()
        page.goto(url)
        page.get_by_text("<img src=x").wait_for(timeout=15_000)
        assert page.title() == "body4d is starting"
        shown.tell("failed", "The app did not come up.")
        page.get_by_text("body4d did not start").wait_for(timeout=15_000)
        front.hand_over(Starlette(routes=[Route("/", lambda _: HTMLResponse("<h1>The app itself</h1>"))]), 20)
        page.get_by_text("The app itself").wait_for(timeout=15_000)
        page.close()
