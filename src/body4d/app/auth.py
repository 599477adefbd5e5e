"""The optional password: one guard before everything that is served, Gradio's own routes included."""

import hashlib
import hmac
import re
import secrets
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from body4d.app.visitors import visitor_address
from body4d.core.errors import SettingsError

AUTH_VARIABLE = "BODY4D_AUTH"
COOKIE_NAME = "body4d_visitor"
_MAX_FORM_BYTES = 4096

FREE_TRIES = 5
"""Wrong passwords in a row before an address has to wait; then twice as long after each, from one second on."""

MAX_LOCK_S = 900.0
FORGET_S = 3600.0
"""An address from which nothing wrong came for so long begins anew."""

MAX_ADDRESSES = 4096
"""How many addresses are remembered; the one that was heard of longest ago is forgotten first."""

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


class LoginThrottle:
    """How long each address has to wait before its next password is looked at. Used by the event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """0 where a password may be tried now."""
        count, last_s = self._wrong.get(address, (0, 0.0))
        lock_s = min(2.0 ** (count - FREE_TRIES), MAX_LOCK_S) if count >= FREE_TRIES else 0.0
        return max(last_s + lock_s - self._clock(), 0.0)

    def wrong(self, address: str) -> None:
        """A wrong password came from there."""
        now = self._clock()
        count, last_s = self._wrong.pop(address, (0, now))
        self._wrong[address] = ((count if now - last_s < FORGET_S else 0) + 1, now)
        if len(self._wrong) > MAX_ADDRESSES:
            self._wrong.popitem(last=False)

    def right(self, address: str) -> None:
        """The password came from there."""
        self._wrong.pop(address, None)


class PasswordGuard:
    """ASGI middleware: lets in who carries the cookie of ``/login``, or a Basic authorisation header. The cookie dies with the server.

    An address from which wrong passwords come has to wait longer each time; until then none is looked at, so that guesses tell nothing.
    """

    def __init__(self, app: ASGIApp, user: str, password: str, page: str) -> None:
        self._app, self._user, self._password, self._page = app, user, password, page
        self._cookie = secrets.token_urlsafe(32)
        self._throttle = LoginThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] == "/health"):
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] == "/login":
            await (await self._login(Request(scope, receive)))(scope, receive, send)
        elif self._has_cookie(Request(scope).cookies):
            await self._app(scope, receive, send)
        else:
            await self._ask(scope, receive, send)

    def _has_cookie(self, cookies: Mapping[str, str]) -> bool:
        return _same(cookies.get(COOKIE_NAME, ""), self._cookie)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = _basic(Headers(scope=scope).get("authorization", ""))
        address = visitor_address(scope)
        if given is None:
            await self._unauthorized(Request(scope))(scope, receive, send)
        elif (wait_s := self._throttle.wait_s(address)) > 0:
            await JSONResponse({"detail": _locked(wait_s)}, 429, headers=_retry(wait_s))(scope, receive, send)
        elif self._is_correct(*given):
            self._throttle.right(address)
            await self._app(scope, receive, send)
        else:
            self._throttle.wrong(address)
            await self._unauthorized(Request(scope))(scope, receive, send)

    def _is_correct(self, user: str, password: str) -> bool:
        # Both are compared, so that time does not reveal which was wrong.
        same_user, same_password = _same(user, self._user), _same(password, self._password)
        return same_user and same_password

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return self._form("", request.query_params.get("run", ""))
        if int(request.headers.get("content-length") or _MAX_FORM_BYTES + 1) > _MAX_FORM_BYTES:
            return JSONResponse({"detail": "This is no login."}, 413)
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        address, run = visitor_address(request.scope), form.get("run", [""])[0]
        if (wait_s := self._throttle.wait_s(address)) > 0:
            answer = self._form(_locked(wait_s), run, 429)
            answer.headers.update(_retry(wait_s))
            return answer
        if not self._is_correct(form.get("username", [""])[0], form.get("password", [""])[0]):
            self._throttle.wrong(address)
            return self._form("This name and password do not belong together. Try again.", run, 401)
        self._throttle.right(address)
        # Back to our own page alone: an address from a form could lead anywhere.
        answer = RedirectResponse(f"./{_query(run)}", 303)
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


def _same(given: str, right: str) -> bool:
    """Whether two texts are the same, in a time that tells neither where they differ nor how long the right one is."""
    return hmac.compare_digest(*(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, right)))


def _basic(header: str) -> tuple[str, str] | None:
    """User and password of a Basic authorisation header, None where there is none; what cannot be read is a wrong password."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password


def _locked(wait_s: float) -> str:
    wait = f"{wait_s:.0f} seconds" if wait_s < 90 else f"{wait_s / 60:.0f} minutes"
    return f"Too many wrong passwords came from your address. Try again in {wait if round(wait_s) > 1 else 'a second'}."


def _retry(wait_s: float) -> dict[str, str]:
    return {"Retry-After": str(int(wait_s) + 1)}


def _query(run: str) -> str:
    """The query that opens a run, "" for what is no token."""
    return f"?run={run}" if _TOKEN.fullmatch(run) else ""
