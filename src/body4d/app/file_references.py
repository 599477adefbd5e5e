"""Which files and addresses a request may name: what was uploaded here, and nothing else.

Gradio takes a file as JSON, ``{"path": ..., "url": ..., "meta": {"_type": "gradio.FileData"}}``, wherever a component's value stands, and
copies, hashes or downloads what that names before any code of ours runs. So each request is judged before Gradio sees it: its JSON is read,
and goes on only if every file in it lies in the folder of uploads. Judging compares text first; the disk is asked about nothing that lies
elsewhere, so that neither an answer nor the time it takes tells what is there, and no device or pipe is opened.

Of Gradio's addresses those are open that the page and gradio_client use; docs/app.md lists the others. A Gradio that adds one adds it shut.
"""

import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOREIGN = "This is no file that was uploaded here, or it was deleted because it is old; upload it again."
NO_ADDRESS = "There is nothing at this address."
NO_JSON = "This is no JSON."
TOO_LARGE = "This request is too large."

MOST_JSON_BYTES = 1_000_000
MOST_DEPTH = 20
"""The place of a mark lies five levels deep in a request, a file two."""

_FORM_BYTES = 100_000
"""What a form adds to the file it carries, at most."""

_FILE_KEYS = frozenset({"path", "url", "meta", "_type"})
_FILE_META = {"_type": "gradio.FileData"}
_CONTENT_HASH = re.compile(r"[0-9a-f]{64}")

_FILE, _UPLOAD = "/gradio_api/file=", "/gradio_api/upload"
_PAGE = re.compile(r"/|/config/?|/theme\.css|/robots\.txt|/favicon\.ico|/manifest\.json|/(?:assets|static)/(?!.*\.\.).+")
_ASKED = re.compile(
    r"/gradio_api/(?:info/?|app_id/?|startup-events|theme\.css|upload_progress|queue/data|heartbeat/[^/]+|call/(?:v2/)?[^/]+/[^/]+)"
)
_TOLD = re.compile(r"/gradio_api/(?:queue/join|cancel|reset/?|(?:run|api|call|call/v2)/[^/]+/?)")


class ForeignFileError(Exception):
    """A request names a file or an address that is not an upload's."""


def uploaded_path(text: object, uploads: Path) -> Path | None:
    """The uploaded file that ``text`` names, or None for everything else: ``<uploads>/<hash of the content>/<name>`` as Gradio's upload
    told it, a regular file, reached by no link below ``uploads``. Nothing outside that folder is looked at."""
    if not isinstance(text, str):
        return None
    path = Path(text)
    folder = path.parent
    roots = (uploads, Path(os.path.abspath(uploads)))
    if str(path) != text or path.name == ".." or not _CONTENT_HASH.fullmatch(folder.name) or folder.parent not in roots:
        return None
    try:
        found = stat.S_ISDIR(folder.lstat().st_mode) and stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # ValueError: a NUL, half a surrogate pair
        return None
    return path if found else None


def judged(value: Any, uploads: Path, depth: int = 0) -> Any:
    """The same JSON, without the ``url`` of its files: nobody needs it, so that nobody can follow it.

    Whatever bears a key of Gradio's files must be an uploaded file entirely. Raises ForeignFileError.
    """
    if depth > MOST_DEPTH:
        raise ForeignFileError
    if isinstance(value, list):
        return [judged(item, uploads, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    kept = value
    if _FILE_KEYS & value.keys():
        path = uploaded_path(value.get("path"), uploads)
        if path is None or not _own_url(value.get("url"), path) or value.get("meta", _FILE_META) != _FILE_META:
            raise ForeignFileError
        kept = {key: item for key, item in value.items() if key not in ("url", "meta")}
    again = {key: judged(item, uploads, depth + 1) for key, item in kept.items()}
    return {**again, "meta": _FILE_META} if "meta" in value else again


def _own_url(url: object, path: Path) -> bool:
    """Whether this is the address under which Gradio serves that file, on whatever host a proxy shows us."""
    if url is None:
        return True
    before, mark, rest = url.partition(_FILE) if isinstance(url, str) else ("", "", "")
    rest = rest.partition("?")[0]
    return bool(mark) and "/gradio_api/" not in before and str(path) in (rest, unquote(rest))


class UploadsOnly:
    """ASGI middleware right before Gradio's routes. ``uploads`` is Gradio's own folder of uploads, ``most_bytes`` the largest file."""

    def __init__(self, app: ASGIApp, uploads: Path, most_bytes: int) -> None:
        self._app, self._uploads, self._most_bytes = app, uploads, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
        if method == "POST" and path == _UPLOAD:
            await self._app(scope, _at_most(receive, self._most_bytes + _FORM_BYTES), send)
        elif method == "POST" and _TOLD.fullmatch(path):
            await self._told(scope, receive, send)
        elif method in ("GET", "HEAD") and path.startswith(_FILE):
            known = uploaded_path(path.removeprefix(_FILE), self._uploads) is not None
            await (self._app if known else _answer(403, FOREIGN))(scope, receive, send)
        else:
            known = method in ("GET", "HEAD") and bool(_PAGE.fullmatch(path) or _ASKED.fullmatch(path))
            await (self._app if known else _answer(404, NO_ADDRESS))(scope, receive, send)

    async def _told(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive, Headers(scope=scope))
        if body is None:
            await _answer(413, TOO_LARGE)(scope, receive, send)
            return
        try:
            # Gradio gets what was judged, written anew: it cannot read the visitor's bytes in another way than we did.
            body = json.dumps(judged(json.loads(body), self._uploads)).encode() if body else b""
        except ForeignFileError:
            await _answer(403, FOREIGN)(scope, receive, send)
        except (ValueError, RecursionError):
            await _answer(400, NO_JSON)(scope, receive, send)
        else:
            await self._app({**scope, "headers": _headers(scope["headers"], len(body))}, _again(body, receive), send)


def _answer(status: int, sentence: str) -> ASGIApp:
    return JSONResponse({"detail": sentence}, status)


async def _read(receive: Receive, headers: Headers) -> bytes | None:
    """The body, None once it is larger than ``MOST_JSON_BYTES``, whether its length was told before or it comes in chunks."""
    told = headers.get("content-length", "")
    if told.isdecimal() and int(told) > MOST_JSON_BYTES:
        return None
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)  # also absent from a disconnect
        if len(body) > MOST_JSON_BYTES:
            return None
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A receive that gives a body that was read already, and then what the connection gives."""
    waiting = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": waiting.pop(), "more_body": False} if waiting else await receive()

    return again


def _at_most(receive: Receive, most_bytes: int) -> Receive:
    """A receive that ends a larger body: Gradio bounds each file of a form, but takes a thousand of them, and fields of any size."""
    got = 0

    async def at_most() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most_bytes:
            # Gradio deletes what has arrived, and answers 413 with this.
            raise MultiPartException(f"The upload exceeded the maximum allowed size of {most_bytes} bytes.")
        return message

    return at_most


def _headers(headers: Iterable[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() not in (b"content-length", b"transfer-encoding")]
    return [*kept, (b"content-length", str(length).encode())]
