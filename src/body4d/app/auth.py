"""The optional password: one guard before everything that is served, Gradio's own routes included."""

import hmac
import re
import secrets
from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from body4d.core.errors import SettingsError

VARIABLE = "BODY4D_AUTH"
COOKIE = "body4d_visitor"
_MOST_FORM_BYTES = 4096
_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def credentials(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password of ``BODY4D_AUTH=user:password``, None where it is not set. Raises SettingsError, without showing it."""
    text = environment.get(VARIABLE, "")
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not (colon and user and password):
        raise SettingsError(f"{VARIABLE} must be user:password; what it holds has no colon, or nothing on one side of it.")
    return user, password


class Guard:
    """ASGI middleware: lets in who carries the cookie of ``/login``, or a Basic authorisation header. The cookie dies with the server."""

    def __init__(self, app: ASGIApp, user: str, password: str, page: str) -> None:
        self._app, self._user, self._password, self._page = app, user, password, page
        self._cookie = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] == "/health"):
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] == "/login":
            await (await self._login(Request(scope, receive)))(scope, receive, send)
        elif self._known(Headers(scope=scope), Request(scope).cookies):
            await self._app(scope, receive, send)
        else:
            await self._stranger(Request(scope))(scope, receive, send)

    def _known(self, headers: Headers, cookies: Mapping[str, str]) -> bool:
        if hmac.compare_digest(cookies.get(COOKIE, "").encode(), self._cookie.encode()):
            return True
        kind, _, coded = headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return False
        try:
            user, _, password = b64decode(coded, validate=True).decode().partition(":")
        except ValueError:
            return False
        return self._right(user, password)

    def _right(self, user: str, password: str) -> bool:
        # Both are compared, so that time does not tell which was wrong.
        same = [hmac.compare_digest(given.encode(), wanted.encode()) for given, wanted in ((user, self._user), (password, self._password))]
        return all(same)

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return self._form("", request.query_params.get("run", ""))
        if int(request.headers.get("content-length") or _MOST_FORM_BYTES + 1) > _MOST_FORM_BYTES:
            return JSONResponse({"detail": "This is no login."}, 413)
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        if not self._right(form.get("username", [""])[0], form.get("password", [""])[0]):
            return self._form("This name and password do not belong together. Try again.", form.get("run", [""])[0], 401)
        # Back to our own page alone: an address from a form could lead anywhere.
        answer = RedirectResponse(f"./{_query(form.get('run', [''])[0])}", 303)
        secure = request.url.scheme == "https"
        # A Space is shown inside a page of another site, where only such cookies are kept.
        answer.set_cookie(COOKIE, self._cookie, httponly=True, secure=secure, samesite="none" if secure else "lax")
        return answer

    def _form(self, problem: str, run: str, status: int = 200) -> Response:
        return HTMLResponse(self._page.replace("@problem", problem).replace("@run", _query(run).removeprefix("?run=")), status)

    def _stranger(self, request: Request) -> Response:
        if request.method == "GET" and "text/html" in request.headers.get("accept", "") and request.url.path == "/":
            return RedirectResponse(f"./login{_query(request.query_params.get('run', ''))}", 303)
        return JSONResponse({"detail": "A password is needed."}, 401, headers={"WWW-Authenticate": 'Basic realm="body4d"'})


def _query(run: str) -> str:
    """The query that opens a run, "" for what is no token."""
    return f"?run={run}" if _RUN.fullmatch(run) else ""
