"""What the player's tests share: a page in real Chromium, drawn in software."""

import functools
import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


def chromium() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """``folder`` over HTTP on this machine; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def picture(page: Any) -> NDArray[np.uint8]:
    """What the canvas shows, RGB (H, W, 3), without the buttons over it."""
    over = "['top', 'bar'].forEach((id) => document.getElementById(id).style.opacity = {})"
    page.evaluate(over.format("0"))
    shot = page.screenshot()
    page.evaluate(over.format("''"))
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def coloured(shot: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where people are: all else is grey, or nearly."""
    return (shot.max(-1).astype(int) - shot.min(-1)) > 60


def differ(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    """Pixels that clearly differ."""
    return int((np.abs(a.astype(int) - b.astype(int)).max(-1) > 24).sum())
