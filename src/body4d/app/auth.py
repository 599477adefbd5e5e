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

AUTH_VARIABLE = "BODY4D_AUTH"
COOKIE_NAME = "body4d_visitor"
_MAX_FORM_BYTES = 4096
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def credentials(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password of ``BODY4D_AUTH=user:password``, None where it is not set. Raises SettingsError, without showing it."""
    text = environment.get(AUTH_VARIABLE, "")
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not (colon and user and password):
        message = f"{AUTH_VARIABLE} must be user:password; what it holds has no colon, or nothing on one side of it."
        raise SettingsError(message, code="auth_variable_invalid")
    return user, password


class PasswordGuard:
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
        elif self._is_authorized(Headers(scope=scope), Request(scope).cookies):
            await self._app(scope, receive, send)
        else:
            await self._unauthorized(Request(scope))(scope, receive, send)

    def _is_authorized(self, headers: Headers, cookies: Mapping[str, str]) -> bool:
        if hmac.compare_digest(cookies.get(COOKIE_NAME, "").encode(), self._cookie.encode()):
            return True
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, _, password = b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return False
        return self._is_correct(user, password)

    def _is_correct(self, user: str, password: str) -> bool:
        # Both are compared, so that time does not reveal which was wrong.
        same_user = hmac.compare_digest(user.encode(), self._user.encode())
        same_password = hmac.compare_digest(password.encode(), self._password.encode())
        return same_user and same_password

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return self._form("", request.query_params.get("run", ""))
        if int(request.headers.get("content-length") or _MAX_FORM_BYTES + 1) > _MAX_FORM_BYTES:
            return JSONResponse({"detail": "This is no login."}, 413)
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        if not self._is_correct(form.get("username", [""])[0], form.get("password", [""])[0]):
            return self._form("This name and password do not belong together. Try again.", form.get("run", [""])[0], 401)
        # Back to our own page alone: an address from a form could lead anywhere.
        answer = RedirectResponse(f"./{_query(form.get('run', [''])[0])}", 303)
        secure = request.url.scheme == "https"
        # A Space is shown inside a page of another site, where only such cookies are kept.
        answer.set_cookie(COOKIE_NAME, self._cookie, httponly=True, secure=secure, samesite="none" if secure else "lax")
        return answer

    def _form(self, problem: str, run: str, status: int = 200) -> Response:
        return HTMLResponse(self._page.replace("@problem", problem).replace("@run", _query(run).removeprefix("?run=")), status)

    def _unauthorized(self, request: Request) -> Response:
        if request.method == "GET" and "text/html" in request.headers.get("accept", "") and request.url.path == "/":
            return RedirectResponse(f"./login{_query(request.query_params.get('run', ''))}", 303)
        return JSONResponse({"detail": "A password is needed."}, 401, headers={"WWW-Authenticate": 'Basic realm="body4d"'})


def _query(run: str) -> str:
    """The query that opens a run, "" for what is no token."""
    return f"?run={run}" if _TOKEN.fullmatch(run) else ""
