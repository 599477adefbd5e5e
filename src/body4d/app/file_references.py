"""Which files and addresses a request may name: what was uploaded here, and nothing else.

Gradio takes a file as JSON, ``{"path": ..., "url": ..., "meta": {"_type": "gradio.FileData"}}``, wherever a component's value stands, and
copies, hashes or downloads what that names before any code of ours runs. So each request is checked before Gradio sees it: its JSON is
read, and goes on only if every file in it lies in the folder of uploads. The check compares text first; the disk is asked about nothing
that lies elsewhere, so that neither an answer nor the time it takes reveals what is there, and no device or pipe is opened.

Of Gradio's addresses those are open that the page and gradio_client use; docs/app.md lists the others. A Gradio that adds one adds it shut.
"""

import asyncio
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

NOT_AN_UPLOAD = "This is no file that was uploaded here, or it was deleted because it is old; upload it again."
NO_ADDRESS = "There is nothing at this address."
NO_JSON = "This is no JSON."
TOO_LARGE = "This request is too large."

MAX_JSON_BYTES = 1_000_000
MAX_DEPTH = 20
"""The position of a prompt lies five levels deep in a request, a file two."""

MAX_FORM_OVERHEAD_BYTES = 100_000
"""What a form may add to the file that it carries."""

_FILE_KEYS = frozenset({"path", "url", "meta", "_type"})
_FILE_MARKER = {"_type": "gradio.FileData"}
_CONTENT_HASH = re.compile(r"[0-9a-f]{64}")

_FILE_PREFIX, _UPLOAD_PATH = "/gradio_api/file=", "/gradio_api/upload"
_PAGE_GET = re.compile(r"/|/config/?|/theme\.css|/robots\.txt|/favicon\.ico|/manifest\.json|/(?:assets|static)/(?!.*\.\.).+")
_GRADIO_GET = re.compile(
    r"/gradio_api/(?:info/?|app_id/?|startup-events|theme\.css|upload_progress|queue/data|heartbeat/[^/]+|call/(?:v2/)?[^/]+/[^/]+)"
)
_GRADIO_POST = re.compile(r"/gradio_api/(?:queue/join|cancel|reset/?|(?:run|api|call|call/v2)/[^/]+/?)")


class ForeignFileError(Exception):
    """A request names a file or an address that is not an upload's."""


def uploaded_path(text: object, uploads: Path) -> Path | None:
    """The uploaded file that ``text`` names, or None for everything else: ``<uploads>/<hash of the content>/<name>`` as Gradio's upload
    returned it, a regular file, reached by no link below ``uploads``. Nothing outside that folder is examined."""
    if not isinstance(text, str):
        return None
    path = Path(text)
    folder = path.parent
    roots = (uploads, Path(os.path.abspath(uploads)))
    if str(path) != text or path.name == ".." or not _CONTENT_HASH.fullmatch(folder.name) or folder.parent not in roots:
        return None
    try:
        is_regular = stat.S_ISDIR(folder.lstat().st_mode) and stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # ValueError: a NUL, half a surrogate pair
        return None
    return path if is_regular else None


def sanitize_json(value: Any, uploads: Path, depth: int = 0) -> Any:
    """The same JSON, without the ``url`` of its files: nobody needs it, so that nobody can follow it.

    Whatever bears a key of Gradio's files must be an uploaded file entirely. Raises ForeignFileError.
    """
    if depth > MAX_DEPTH:
        raise ForeignFileError
    if isinstance(value, list):
        return [sanitize_json(item, uploads, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    kept = value
    if _FILE_KEYS & value.keys():
        path = uploaded_path(value.get("path"), uploads)
        if path is None or not _own_url(value.get("url"), path) or value.get("meta", _FILE_MARKER) != _FILE_MARKER:
            raise ForeignFileError
        kept = {key: item for key, item in value.items() if key not in ("url", "meta")}
    sanitized = {key: sanitize_json(item, uploads, depth + 1) for key, item in kept.items()}
    return {**sanitized, "meta": _FILE_MARKER} if "meta" in value else sanitized


def _own_url(url: object, path: Path) -> bool:
    """Whether this is the address under which Gradio serves that file, on whatever host a proxy shows us."""
    if url is None:
        return True
    before, prefix, rest = url.partition(_FILE_PREFIX) if isinstance(url, str) else ("", "", "")
    rest = rest.partition("?")[0]
    return bool(prefix) and "/gradio_api/" not in before and str(path) in (rest, unquote(rest))


class UploadsOnlyMiddleware:
    """ASGI middleware right before Gradio's routes. ``uploads`` is Gradio's own folder of uploads, ``max_bytes`` the largest file."""

    def __init__(self, app: ASGIApp, uploads: Path, max_bytes: int) -> None:
        self._app, self._uploads, self._max_bytes = app, uploads, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
        if method == "POST" and path == _UPLOAD_PATH:
            await self._app(scope, _bounded(receive, self._max_bytes + MAX_FORM_OVERHEAD_BYTES), send)
        elif method == "POST" and _GRADIO_POST.fullmatch(path):
            await self._check_json(scope, receive, send)
        elif method in ("GET", "HEAD") and path.startswith(_FILE_PREFIX):
            # In threads, as below: a slow disk must not hold up everybody else.
            allowed = await asyncio.to_thread(uploaded_path, path.removeprefix(_FILE_PREFIX), self._uploads) is not None
            await (self._app if allowed else _answer(403, NOT_AN_UPLOAD))(scope, receive, send)
        else:
            allowed = method in ("GET", "HEAD") and bool(_PAGE_GET.fullmatch(path) or _GRADIO_GET.fullmatch(path))
            await (self._app if allowed else _answer(404, NO_ADDRESS))(scope, receive, send)

    async def _check_json(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive, Headers(scope=scope))
        if body is None:
            await _answer(413, TOO_LARGE)(scope, receive, send)
            return
        try:
            # Gradio gets what was checked, written anew: it cannot read the visitor's bytes in another way than we did.
            body = await asyncio.to_thread(_sanitized, body, self._uploads) if body else b""
        except ForeignFileError:
            await _answer(403, NOT_AN_UPLOAD)(scope, receive, send)
        except (ValueError, RecursionError):
            await _answer(400, NO_JSON)(scope, receive, send)
        else:
            await self._app({**scope, "headers": _with_length(scope["headers"], len(body))}, _replay(body, receive), send)


def _sanitized(body: bytes, uploads: Path) -> bytes:
    return json.dumps(sanitize_json(json.loads(body), uploads)).encode()


def _answer(status: int, sentence: str) -> ASGIApp:
    return JSONResponse({"detail": sentence}, status)


async def _read(receive: Receive, headers: Headers) -> bytes | None:
    """The body, None once it is larger than ``MAX_JSON_BYTES``, whether its length is in a header or it comes in chunks."""
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_JSON_BYTES:
        return None
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)  # also absent from a disconnect
        if len(body) > MAX_JSON_BYTES:
            return None
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives a body that was read already, and then what the connection gives."""
    unread = [body]

    async def replay() -> Message:
        return {"type": "http.request", "body": unread.pop(), "more_body": False} if unread else await receive()

    return replay


def _bounded(receive: Receive, max_bytes: int) -> Receive:
    """A receive that ends a larger body: Gradio bounds each file of a form, but takes a thousand of them, and fields of any size."""
    received_bytes = 0

    async def bounded() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > max_bytes:
            # Gradio deletes what has arrived, and answers 413 with this.
            raise MultiPartException(f"The upload exceeded the maximum allowed size of {max_bytes} bytes.")
        return message

    return bounded


def _with_length(headers: Iterable[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() not in (b"content-length", b"transfer-encoding")]
    return [*kept, (b"content-length", str(length).encode())]
