"""What surrounds each answer: headers that tell browsers what a page may do, and the card that chats show for a link to the page."""

import asyncio
from collections.abc import Callable
from html import escape

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CARD_PICTURE = "body4d-static/card.jpg"
CARD_SIZE_PX = (1200, 630)
CARD_TITLE = "body4d: your movement in 3D"
CARD_DESCRIPTION = "Upload a video of somebody moving, and see them in 3D."

_FRAMES = "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
"""Who may show the app inside a page: a Space is shown inside HuggingFace's."""

PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    f"connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; {_FRAMES}"
)
"""Pages of ours: the first page, the player, the login. None has a script in its text."""


def card_html(title: str, page_url: str, picture_url: str) -> str:
    """The ``meta`` elements of a link's card. Pure."""
    width_px, height_px = CARD_SIZE_PX
    properties = {
        "og:title": title,
        "og:description": CARD_DESCRIPTION,
        "og:type": "website",
        "og:site_name": "body4d",
        "og:url": page_url,
        "og:image": picture_url,
        "og:image:width": str(width_px),
        "og:image:height": str(height_px),
        "og:image:alt": "A golfer, and the body found in 3D",
    }
    names = {"twitter:card": "summary_large_image", "description": CARD_DESCRIPTION}
    rows = [f'<meta property="{key}" content="{escape(value)}" />' for key, value in properties.items()]
    return "".join([*rows, *(f'<meta name="{key}" content="{escape(value)}" />' for key, value in names.items())])


def with_card(page: str, card: str) -> str:
    """The page with a card in its head. Pure."""
    return page.replace("</head>", f"{card}</head>", 1)


class HeadersMiddleware:
    """ASGI middleware: ``nosniff`` on every answer, a policy on every page, the card on the first page.

    ``title_of_run`` names a run by its token for the card, "" where there is none; it runs in a thread.
    """

    def __init__(self, app: ASGIApp, title_of_run: Callable[[str], str]) -> None:
        self._app, self._title_of_run = app, title_of_run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].removeprefix(scope.get("root_path", "")) in ("/", "") and scope["method"] == "GET":
            await self._first_page(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send, PAGE_POLICY))

    async def _first_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Uncompressed, since we write into it; what goes out is compressed afterwards.
        plain = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}
        body, start = bytearray(), {}

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                headers = MutableHeaders(raw=start["headers"])
                text = bytes(body)
                if start["status"] == 200 and headers.get("content-type", "").startswith("text/html"):
                    text = (await self._written(Request(scope), text.decode())).encode()
                    headers["content-length"] = str(len(text))
                    headers["cache-control"] = "no-store"
                await send(start)
                await send({"type": "http.response.body", "body": text})

        await self._app(plain, receive, _with_headers(collect, PAGE_POLICY))

    async def _written(self, request: Request, page: str) -> str:
        token = request.query_params.get("run", "")
        name = await asyncio.to_thread(self._title_of_run, token) if token else ""
        base = str(request.base_url)
        card = card_html(f"{name} in 3D" if name else CARD_TITLE, str(request.url) if name else base, base + CARD_PICTURE)
        return with_card(page, card)


def _with_headers(send: Send, policy: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message.setdefault("headers", [])
            headers = MutableHeaders(raw=message["headers"])
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Referrer-Policy", "same-origin")
            if headers.get("content-type", "").startswith("text/html"):
                headers.setdefault("Content-Security-Policy", policy)
        await send(message)

    return sending
