"""The waiting page and what it becomes: over HTTP, and in a real browser, where text stays text, it fits a phone, and it reloads itself."""

import asyncio
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from body4d.core.errors import Cancelled
from body4d.core.progress import Event
from body4d.deploy.startup_proxy import PROGRESS_PATH, StartupProxy
from body4d.deploy.status import StartupStatus
from chromium import FLAGS, chromium
from serving import serve_app

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

CHROMIUM = chromium()


@pytest.fixture
def proxy() -> Iterator[tuple[StartupProxy, str, StartupStatus]]:
    """A proxy served by uvicorn on a free port."""
    status = StartupStatus(lambda _: None)
    proxy = StartupProxy(status)
    with serve_app(proxy) as url:
        yield proxy, url, status


def get(url: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


def test_the_page_is_there_at_once_and_becomes_the_app(proxy: tuple[StartupProxy, str, StartupStatus]) -> None:
    server, url, status = proxy
    status.set_state("downloading", "Fetching <b>SAM-3</b>.")
    code, kind, page = get(f"{url}/")
    assert (code, kind) == (200, "text/html; charset=utf-8")
    assert "body4d is starting" in page
    assert "SAM-3" not in page, "the page inserts messages as text, never as HTML"
    assert json.loads(get(f"{url}{PROGRESS_PATH}")[2])["message"] == "Fetching <b>SAM-3</b>."
    assert get(f"{url}/run/abc")[0] == 503

    life: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        life.append("started")
        yield
        life.append("ended")

    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("the app"))], lifespan=lifespan)
    server.hand_over(app, 20)
    assert life == ["started"]
    assert get(f"{url}/")[2] == "the app"
    assert get(f"{url}{PROGRESS_PATH}")[0] == 404, "which tells the page to reload"


def test_an_app_that_does_not_start_leaves_the_page(proxy: tuple[StartupProxy, str, StartupStatus]) -> None:
    server, url, _ = proxy

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        raise RuntimeError("no")
        yield

    with pytest.raises(RuntimeError, match="the app did not start"):
        server.hand_over(Starlette(lifespan=lifespan), 20)
    assert "body4d is starting" in get(f"{url}/")[2]


def test_an_app_that_is_ready_after_the_end_is_not_started() -> None:
    """The server was stopped while the app was being built: neither a fault nor five minutes of waiting."""
    server = StartupProxy(StartupStatus(lambda _: None))
    with serve_app(server):
        pass
    with pytest.raises(Cancelled):
        server.hand_over(Starlette(), 20)


def test_an_app_that_is_just_being_started_is_ended_in_good_order() -> None:
    """The server is stopped meanwhile: the start is awaited, then the end."""
    life: list[str] = []
    starting = threading.Event()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        starting.set()
        await asyncio.sleep(0.5)
        life.append("started")
        yield
        life.append("ended")

    proxy = StartupProxy(StartupStatus(lambda _: None))
    with serve_app(proxy):
        thread = threading.Thread(target=proxy.hand_over, args=(Starlette(lifespan=lifespan), 20))
        thread.start()
        assert starting.wait(20)
    thread.join(20)
    assert life == ["started", "ended"]


def test_a_websocket_is_asked_to_come_later() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(StartupProxy(StartupStatus(lambda _: None))({"type": "websocket", "path": "/"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1013}]


def test_an_app_without_a_lifespan_is_served_as_it_is(proxy: tuple[StartupProxy, str, StartupStatus]) -> None:
    server, url, _ = proxy

    async def plain(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await PlainTextResponse("plain")(scope, receive, send)

    server.hand_over(Wrapped(plain), 20)
    assert get(f"{url}/")[2] == "plain"


class Wrapped:
    """An app inside something that is no Starlette, and returns at once from a lifespan."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)


in_browser = pytest.mark.skipif(
    sync_playwright is None or CHROMIUM is None, reason="playwright or Chromium is not on this machine (Debian: apt install chromium)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def downloading_status() -> StartupStatus:
    status = StartupStatus(lambda _: None)
    status.set_state("downloading", "Fetching SAM-3, 2 of 3 checkpoints.")
    status.set_checkpoints({"sam3d-body": "SAM-3D-Body", "sam3": "SAM-3", "moge": "MoGe-2"})
    status.on_event(Event("sam3d-body", "done", 2831, 2831))
    status.on_event(Event("sam3", "working", 1204, 3441, rate_per_s=85.2, left_s=26.0))
    status.add_note("SAM-3D-Body is taken from Comfy-Org/sam-3d-body instead; the same licence holds: SAM License.")
    status.add_note("No disk is mounted at /data, so checkpoints are fetched again after every restart.")
    return status


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1100, 760), ("phone", 390, 844)])
def test_what_the_page_shows(browser: Any, tmp_path: Path, name: str, width: int, height: int) -> None:
    """With KEEP_PICTURES a picture of it is kept in that folder."""
    with serve_app(StartupProxy(downloading_status())) as url:
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


@in_browser
@pytest.mark.slow
def test_it_turns_into_the_app_and_html_stays_text(browser: Any) -> None:
    status = downloading_status()
    status.add_note("<img src=x onerror='document.title=1'>")
    proxy = StartupProxy(status)
    with serve_app(proxy) as url:
        page = browser.new_page()
        page.goto(url)
        page.get_by_text("<img src=x").wait_for(timeout=15_000)
        assert page.title() == "body4d is starting"
        status.set_state("failed", "The app did not come up.")
        page.get_by_text("body4d did not start").wait_for(timeout=15_000)
        proxy.hand_over(Starlette(routes=[Route("/", lambda _: HTMLResponse("<h1>The app itself</h1>"))]), 20)
        page.get_by_text("The app itself").wait_for(timeout=15_000)
        page.close()
