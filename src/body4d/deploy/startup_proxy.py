"""One server for two applications: the waiting page until the app is ready, then the app, on the same port and without a gap."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import CancelledError
from importlib.resources import files
from typing import Any

from body4d.core.errors import Cancelled
from body4d.deploy.status import StartupStatus

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]

PROGRESS_PATH = "/body4d-start"
"""Where the page asks for the snapshot. Once the app is served, it answers differently, and the page reloads."""

RETRY_AFTER_S = 10
"""A program that follows a link into the app is asked to come back after this long."""


class StartupProxy:
    """The ASGI application that uvicorn serves from the first second on. It knows nothing about checkpoints or presets."""

    def __init__(self, status: StartupStatus) -> None:
        self._status = status
        self._page = files("body4d.deploy").joinpath("page.html").read_bytes()
        self._app: AsgiApp | None = None
        self._app_lifespan: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._ending = False
        self._app_changes = asyncio.Lock()
        """An app that is just being started is started to its end before the server's end stops it."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._waiting_page(scope, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1013})  # Try again later.

    def hand_over(self, app: AsgiApp, timeout_s: float) -> None:
        """Start ``app`` and serve it from now on. Called from another thread.

        Raises RuntimeError where the app's own start fails (uvicorn logs why), TimeoutError, or Cancelled where the server has ended or is
        ending.
        """
        if not self._started.wait(timeout_s):
            raise TimeoutError("the server did not start")
        assert self._loop is not None
        starting = self._start_app(app)
        try:
            future = asyncio.run_coroutine_threadsafe(starting, self._loop)
        except RuntimeError:  # The loop is closed: the server has ended.
            starting.close()
            raise Cancelled("The server was stopped.", code="server_stopped") from None
        try:
            future.result(timeout_s)
        except CancelledError:
            raise Cancelled("The server was stopped.", code="server_stopped") from None

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """The server's life, and within it the app's."""
        await receive()
        self._loop = asyncio.get_running_loop()
        await send({"type": "lifespan.startup.complete"})
        self._started.set()
        await receive()
        async with self._app_changes:
            self._ending = True
            if self._app_lifespan is not None:
                await self._app_lifespan.shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start_app(self, app: AsgiApp) -> None:
        """Run the app's own start as uvicorn does: in one task with its end, and tolerant of an app that knows no lifespan."""
        from uvicorn import Config
        from uvicorn.lifespan.on import LifespanOn

        async with self._app_changes:
            if self._ending:
                raise Cancelled("The server was stopped.", code="server_stopped")
            lifespan = LifespanOn(Config(app, interface="asgi3", lifespan="on", log_config=None))
            await lifespan.startup()
            if lifespan.should_exit:
                raise RuntimeError("the app did not start")
            self._app, self._app_lifespan = app, lifespan

    async def _waiting_page(self, scope: Message, send: Send) -> None:
        body, content_type, status = self._page, b"text/html; charset=utf-8", 200
        if scope["path"] == PROGRESS_PATH:
            body, content_type = json.dumps(self._status.snapshot.as_json()).encode(), b"application/json"
        elif scope["path"] != "/":
            status = 503  # A link into the app, such as to a finished run, shows the same page, which reloads where the link leads.
        headers = [(b"content-type", content_type), (b"cache-control", b"no-store"), (b"content-length", str(len(body)).encode())]
        headers += [(b"retry-after", str(RETRY_AFTER_S).encode())] if status == 503 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
