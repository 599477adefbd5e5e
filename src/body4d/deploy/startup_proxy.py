"""One server, two faces: the waiting page until the app is ready, then the app, on the same port and without a gap.

An ASGI application that hands everything over once told to. It knows nothing of checkpoints or presets.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from importlib.resources import files
from typing import Any

from body4d.core.errors import Cancelled
from body4d.deploy.board import Board

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PROGRESS = "/body4d-start"
"""Where the page asks how far things are. Once the app is there, it answers otherwise, and the page loads anew."""


class Front:
    """The ASGI application that uvicorn serves from the first second on."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._page = files("body4d.space").joinpath("page.html").read_bytes()
        self._given: App | None = None
        self._serving: App | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted: asyncio.Event | None = None
        self._up, self._answered = threading.Event(), threading.Event()
        self._fault: BaseException | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._serving is not None:
            await self._serving(scope, receive, send)
        elif scope["type"] == "http":
            await self._wait(scope, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1013})  # Try again later.

    def hand_over(self, app: App, timeout_s: float) -> None:
        """Serve ``app`` from now on. Called from another thread.

        Raises what the app's own start raises, TimeoutError, or Cancelled where the server has ended or is ending.
        """
        if not self._up.wait(timeout_s):
            raise TimeoutError("the server did not start")
        assert self._loop is not None
        assert self._wanted is not None
        self._given = app
        with suppress(RuntimeError):  # The loop may be closed by now, and is if the server has ended: said below.
            self._loop.call_soon_threadsafe(self._wanted.set)
        if not self._answered.wait(timeout_s):
            raise TimeoutError("the app did not start")
        if self._fault is not None:
            raise self._fault

    async def _live(self, receive: Receive, send: Send) -> None:
        """The server's life, and within it the app's."""
        await receive()
        self._loop, self._wanted = asyncio.get_running_loop(), asyncio.Event()
        await send({"type": "lifespan.startup.complete"})
        self._up.set()
        ending = asyncio.create_task(_as_coroutine(receive))
        given = asyncio.create_task(self._wanted.wait())
        await asyncio.wait({ending, given}, return_when=asyncio.FIRST_COMPLETED)
        given.cancel()
        life = None
        if not ending.done() and self._given is not None:
            life = _Life(self._given)
            self._fault = await life.begin()
            self._serving = None if self._fault else self._given
        else:
            self._fault = Cancelled("The server was stopped.")
        self._answered.set()
        await ending
        if life is not None:
            await life.end()
        await send({"type": "lifespan.shutdown.complete"})

    async def _wait(self, scope: Message, send: Send) -> None:
        import json

        if scope["path"] == PROGRESS:
            body, kind, status = json.dumps(self._board.shown.as_json()).encode(), b"application/json", 200
        elif scope["path"] == "/":
            body, kind, status = self._page, b"text/html; charset=utf-8", 200
        else:
            # Links into the app, such as those to finished runs, show the same page and load anew where they lead.
            body, kind, status = self._page, b"text/html; charset=utf-8", 503
        headers = [(b"content-type", kind), (b"cache-control", b"no-store"), (b"content-length", str(len(body)).encode())]
        headers += [(b"retry-after", b"10")] if status == 503 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class _Life:
    """The beginning and the end of an ASGI application, told to it as a server tells them: in one task of its own."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._heard: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> Exception | None:
        """Start it: what went wrong, or None. An application that knows no beginnings is taken as it is."""
        self._task = asyncio.create_task(self._run())
        await self._said.put({"type": "lifespan.startup"})
        answer = await self._heard.get()
        if answer["type"] == "lifespan.startup.failed":
            return answer.get("error") or RuntimeError("the app did not start")
        return None

    async def end(self) -> None:
        """Stop it, and wait until it has."""
        if self._task is not None and not self._task.done():
            await self._said.put({"type": "lifespan.shutdown"})
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        begun = False

        async def send(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"].startswith("lifespan.startup")
            await self._heard.put(message)

        try:
            await self._app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, self._said.get, send)
        except Exception as error:
            if not begun:
                await self._heard.put({"type": "lifespan.startup.failed", "error": error})
            return
        if not begun:
            await self._heard.put({"type": "lifespan.startup.complete"})


async def _as_coroutine(receive: Receive) -> Message:
    return await receive()
