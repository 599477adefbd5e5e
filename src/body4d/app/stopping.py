"""How the server ends: open streams of programs are cut off, not ended, so that nobody takes the end of the server for that of a run."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LAST_WORD_S = 1.0
"""What handlers have, once the server is to end, for a last sentence on their pages."""

LOOK_EVERY_S = 0.1
MAX_CANCEL_S = 0.5


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Have ``stop`` called in a thread at SIGTERM or SIGINT, before the server does what it does then.

    Does nothing outside the main thread, as Python takes no signals there.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handler(number: int, frame: FrameType | None, before: object = before) -> None:
            threading.Thread(target=stop, name="stop").start()
            if callable(before):
                before(number, frame)

        signal.signal(number, handler)


class StreamsMiddleware:
    """ASGI middleware: cuts off event streams ``LAST_WORD_S`` after ``stopping`` is set.

    Gradio would send an error into them, which its clients take for the end of the run.
    """

    def __init__(self, app: ASGIApp, stopping: threading.Event) -> None:
        self._app, self._stopping = app, stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or "/gradio_api/" not in scope["path"]:
            await self._app(scope, receive, send)
            return
        streams = cut = False

        async def send_unless_cut(message: Message) -> None:
            nonlocal streams
            if message["type"] == "http.response.start":
                streams = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
            if not cut:
                await send(message)

        answer = asyncio.ensure_future(self._app(scope, receive, send_unless_cut))
        try:
            while not answer.done() and not (self._stopping.is_set() and streams):
                await asyncio.wait({answer}, timeout=LOOK_EVERY_S)
            await asyncio.wait({answer}, timeout=LAST_WORD_S)
            if answer.done():
                await answer
                return
            cut = True
            _silence_uvicorn()
        finally:
            if not answer.done():
                answer.cancel()
                await asyncio.wait({answer}, timeout=MAX_CANCEL_S)
        if answer.done() and not answer.cancelled():
            answer.exception()  # Looked at, or asyncio writes into the log that nobody did.


class _NotOurCut(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


def _silence_uvicorn() -> None:
    """uvicorn calls a stream that was cut off a fault; here it is meant."""
    logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(one, _NotOurCut) for one in logger.filters):
        logger.addFilter(_NotOurCut())
