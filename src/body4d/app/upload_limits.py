"""How much visitors may upload: all together, each of them, and for how long one upload may take."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from body4d.app.visitors import visitor_address
from body4d.config import AppSettings

HOUR_S = 3600.0
MAX_AT_ONCE = 4
"""Uploads of one visitor at the same time."""

MAX_VISITORS = 10_000
"""How many visitors are remembered; the one who has not come for longest is forgotten first."""

MAX_IDLE_S = 60.0
"""An upload that brings nothing for so long has been given up by its visitor."""

MAX_UPLOAD_S = 1800.0
"""Whole upload: 200 MB over a line of 1 Mbit/s take 27 minutes."""

MAX_SMALL_BODY_BYTES = 100_000
"""Of requests to our own addresses, which name a few tokens or a name."""

_UPLOAD = "/gradio_api/upload"


@dataclass(frozen=True)
class Refusal:
    """Why an upload is not taken: HTTP status, code for programs, sentence, and when to try again."""

    status: int
    code: str
    sentence: str
    retry_s: float


NO_ROOM = Refusal(507, "no_room", "There is no room for more clips just now. Come back in a few minutes.", 300.0)


@dataclass
class _Visitor:
    begun: deque[tuple[float, float]] = field(default_factory=deque)
    at_once: int = 0


class UploadBudget:
    """What was uploaded in the last hour, by visitor, and what is on its way. Used by the event loop alone."""

    def __init__(self, settings: AppSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._visitors: OrderedDict[str, _Visitor] = OrderedDict()
        self.incoming_bytes = 0.0

    def begin(self, address: str, size_bytes: float) -> Refusal | None:
        """Count an upload in, unless it is refused. Each that was counted in must ``end``."""
        now, visitor = self._clock(), self._visitors.setdefault(address, _Visitor())
        self._visitors.move_to_end(address)
        while visitor.begun and now - visitor.begun[0][0] > HOUR_S:
            visitor.begun.popleft()
        if refusal := self._refusal(visitor, size_bytes, now):
            return refusal
        visitor.begun.append((now, size_bytes))
        visitor.at_once += 1
        self.incoming_bytes += size_bytes
        self._forget()
        return None

    def end(self, address: str, size_bytes: float) -> None:
        """An upload has arrived or was broken off."""
        self.incoming_bytes -= size_bytes
        if visitor := self._visitors.get(address):
            visitor.at_once -= 1

    def _refusal(self, visitor: _Visitor, size_bytes: float, now: float) -> Refusal | None:
        settings = self._settings
        if visitor.at_once >= MAX_AT_ONCE:
            sentence = f"{MAX_AT_ONCE} of your clips are being uploaded already; wait for one of them."
            return Refusal(429, "too_many_uploads_at_once", sentence, 10.0)
        taken_bytes = sum(size for _, size in visitor.begun)
        too_many = len(visitor.begun) >= settings.max_uploads_per_hour
        if too_many or (taken_bytes + size_bytes > settings.max_upload_gigabytes_per_hour * 1e9 and visitor.begun):
            retry_s = HOUR_S - (now - visitor.begun[0][0])
            sentence = f"You have uploaded as much as one visitor may in an hour. Come back in {max(round(retry_s / 60), 1)} minutes."
            return Refusal(429, "too_many_uploads", sentence, retry_s)
        return None

    def _forget(self) -> None:
        while len(self._visitors) > MAX_VISITORS:
            address = next((name for name, visitor in self._visitors.items() if not visitor.at_once), None)
            if address is None:
                return
            del self._visitors[address]


class UploadLimitsMiddleware:
    """ASGI middleware: refuses uploads beyond the limits before they travel, and breaks off those that stand still.

    ``make_room`` says whether so many bytes fit on the disk; it runs in a thread.
    """

    def __init__(self, app: ASGIApp, settings: AppSettings, make_room: Callable[[float], bool]) -> None:
        self._app, self._make_room = app, make_room
        self._max_bytes = settings.max_megabytes * 1e6
        self._budget = UploadBudget(settings)
        self._room = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        length = Headers(scope=scope).get("content-length", "")
        if path == _UPLOAD and scope["method"] == "POST":
            await self._upload(scope, receive, send, float(length) if length.isdecimal() else self._max_bytes)
        elif not path.startswith("/gradio_api/") and not ((length.isdecimal() and int(length) <= MAX_SMALL_BODY_BYTES) or length == ""):
            await _answer(Refusal(413, "too_large", "This request is too large.", 0))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send, size_bytes: float) -> None:
        size_bytes = min(size_bytes, self._max_bytes)  # A larger one is broken off there.
        address = visitor_address(scope)
        if refusal := self._budget.begin(address, size_bytes):
            await _answer(refusal)(scope, receive, send)
            return
        try:
            async with self._room:  # One after the other: two at once would take the same room.
                fits = await asyncio.to_thread(self._make_room, self._budget.incoming_bytes)
            await (self._app(scope, _timed(receive), send) if fits else _answer(NO_ROOM)(scope, receive, send))
        finally:
            self._budget.end(address, size_bytes)


def _timed(receive: Receive) -> Receive:
    """A receive that ends an upload that stands still or takes for ever; Gradio deletes what has arrived, and answers 400 with this."""
    begun, arriving = time.monotonic(), True

    async def timed() -> Message:
        nonlocal arriving
        if not arriving:
            return await receive()
        left_s = min(MAX_IDLE_S, begun + MAX_UPLOAD_S - time.monotonic())
        try:
            message = await asyncio.wait_for(receive(), max(left_s, 0.0))
            arriving = message.get("more_body", False)
            return message
        except TimeoutError:
            raise MultiPartException("The upload took too long.") from None

    return timed


def _answer(refusal: Refusal) -> JSONResponse:
    headers = {"Retry-After": str(max(round(refusal.retry_s), 1))} if refusal.retry_s else {}
    return JSONResponse({"detail": refusal.sentence, "code": refusal.code}, refusal.status, headers=headers)
