"""The addresses that the page asks: its own HTML, and JSON for each thing that a visitor does."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from body4d.app.handlers import MODES, PageHandlers
from body4d.app.page import page_html
from body4d.app.run_routes import http_status
from body4d.core.errors import Cancelled, InputError

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_BODY_BYTES = 20_000
"""The largest request of the page is a box and a few words."""

_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "private, no-store"}

Action = Callable[[PageHandlers, str, dict[str, Any]], Awaitable[dict[str, Any]]]

ACTIONS: dict[str, Action] = {
    "open": lambda page, _, body: page.open_upload(body.get("path"), body.get("name")),
    "example": lambda page, _, __: page.open_example(),
    "choice": lambda page, token, body: page.choice(token, None if body.get("frame") is None else _number(body, "frame")),
    "click": lambda page, token, body: page.click(token, _number(body, "frame"), _shares(body), _mode(body), _number(body, "person")),
    "undo": lambda page, token, _: page.undo(token),
    "clear": lambda page, token, _: page.clear(token),
    "drop": lambda page, token, body: page.drop(token, _number(body, "person")),
    "describe": lambda page, token, body: page.describe(token, str(body.get("text") or "")),
    "options": lambda page, token, body: page.set_options(token, body.get("options") or {}),
    "run": lambda page, token, _: page.run(token),
    "cancel": lambda page, token, _: page.cancel(token),
    "progress": lambda page, token, _: page.progress(token),
}
"""What the page may ask, at ``POST /page/<name>`` with JSON that holds the token: an address would show it to a proxy's log."""


def add_page_routes(app: "FastAPI", page: PageHandlers) -> None:
    """Add ``/``, ``/page/<action>`` and ``/runs/<token>/strip``."""

    async def index() -> Response:
        return HTMLResponse(await asyncio.to_thread(page_html, page.service), headers=_HEADERS)

    async def act(action: str, request: Request) -> Response:
        async def answer() -> Response:
            body = await _json(request)
            return JSONResponse(await ACTIONS[action](page, str(body.get("token") or ""), body), headers=_HEADERS)

        if action not in ACTIONS:
            return JSONResponse({"message": "There is nothing at this address."}, 404, headers=_HEADERS)
        return await _answered(page, answer)

    async def strip(token: str) -> Response:
        async def answer() -> Response:
            path = await page.service.film_strip(await page.session(token))
            return FileResponse(path, media_type="image/jpeg", headers=_HEADERS)

        return await _answered(page, answer)

    app.get("/", include_in_schema=False)(index)
    app.post("/page/{action}", include_in_schema=False)(act)
    app.get("/runs/{token}/strip", include_in_schema=False)(strip)


async def _answered(page: PageHandlers, answer: Callable[[], Awaitable[Response]]) -> Response:
    """The answer, or its error in the page's words: 409 where a newer request took its place."""
    try:
        return await answer()
    except Cancelled:
        return JSONResponse({"code": "replaced", "message": ""}, 409, headers=_HEADERS)
    except Exception as error:
        return JSONResponse(page.problem(error), http_status(error), headers=_HEADERS)


async def _json(request: Request) -> dict[str, Any]:
    """The body of a request. It must call itself JSON, which no form of a foreign page can."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY_BYTES:
            raise InputError("This request is too large.", code="request_invalid")
    try:
        body = json.loads(received)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not request.headers.get("content-type", "").startswith("application/json"):
        raise InputError("This is no JSON.", code="request_invalid")
    return body


def _number(body: dict[str, Any], name: str) -> int:
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise InputError(f"{name} must be a number.", code="request_invalid")
    return int(value)


def _shares(body: dict[str, Any]) -> list[float]:
    values = body.get("at")
    if not isinstance(values, list) or len(values) not in (2, 4) or not all(isinstance(v, int | float) and 0 <= v <= 1 for v in values):
        raise InputError("A click has two numbers, a box four, all between 0 and 1.", code="request_invalid")
    return [float(value) for value in values]


def _mode(body: dict[str, Any]) -> str:
    if body.get("mode") not in MODES:
        raise InputError("A click chooses, excludes or draws a box.", code="request_invalid")
    return str(body["mode"])
