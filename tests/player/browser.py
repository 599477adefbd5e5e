"""What the player's tests share: a page in real Chromium, drawn in software."""

import functools
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PAN = {"pan_deg": 12, "zoom": 1.2, "aside_m": 0.3}
"""How the camera of /run/pan.glb moves."""


class _Quiet(SimpleHTTPRequestHandler):
    """Files, and parts of them as videos are asked for: without these no browser can seek."""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send_head(self) -> Any:
        path = Path(self.translate_path(self.path))
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part is None or not path.is_file():
            return super().send_head()
        content = path.read_bytes()
        first, last = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
        self.send_response(206)
        for name, value in {
            "Content-Type": self.guess_type(str(path)),
            "Content-Range": f"bytes {first}-{last}/{len(content)}",
            "Content-Length": str(last + 1 - first),
            "Accept-Ranges": "bytes",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        return io.BytesIO(content[first : last + 1])


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
