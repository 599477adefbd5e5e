"""A package index, npm's registry and a publisher's addresses on the loopback, for a checkpoint of two small files.

``server.cut[path] = [1000]`` closes the connection after 1,000 bytes, once for each number; ``server.statuses[path]`` are answered first;
``server.files`` may be changed. ``server.log`` keeps path and Range of every request.
"""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from body4d.checkpoints.registry import APACHE, Checkpoint, PackageSource, PublishedFile

CONTENTS = {"detector.tflite": bytes(range(256)) * 5000, "landmarks.tflite": b"landmarks" * 1000}
FILES = tuple(PublishedFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENTS.items())


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        for name, data in members.items():
            package.writestr(name, data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as package:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            package.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


WHEEL = "demo-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
METADATA = {
    "demo-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
    "demo-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp312-cp312-manylinux_2_28_x86_64\n",
    "demo-1.0.dist-info/RECORD": b"",
}


class PackageServer:
    """The server and the files it serves by path."""

    def __init__(self) -> None:
        self.files = {
            f"/files/{WHEEL}": zipped({f"demo/{name}": data for name, data in CONTENTS.items()} | METADATA),
            "/npm/@demo/pose/-/pose-2.0.tgz": tarred({f"package/{name}": data for name, data in CONTENTS.items()}),
            **{f"/models/{name}": data for name, data in CONTENTS.items()},
        }
        self.files["/simple/demo/"] = json.dumps(
            {
                "meta": {"api-version": "1.0"},
                "name": "demo",
                "files": [{"filename": WHEEL, "url": f"../../files/{WHEEL}", "hashes": {}, "size": len(self.files[f"/files/{WHEEL}"])}],
            }
        ).encode()
        self.cut: dict[str, list[int]] = {}
        self.statuses: dict[str, list[int]] = {}
        self.log: list[tuple[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "PackageServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def checkpoint(self, *kinds: str) -> Checkpoint:
        """A checkpoint with these kinds of sources, in this order, in the folder of BlazePose."""
        made = {
            "pypi": ("demo", "1.0", "demo/"),
            "npm": ("@demo/pose", "2.0", "package/"),
            "address": ("demo.org", None, f"{self.url}/models/"),
        }
        sources = []
        for kind in kinds:
            package, revision, folder = made[kind]
            members = tuple(f"{folder}{name}" for name in CONTENTS)
            sources.append(PackageSource(kind, package, revision, APACHE, "page", FILES, members, 2_000_000, "blazepose"))
        return Checkpoint("blazepose", "Demo", "masks", "required", tuple(sources), (tuple(CONTENTS),), preset="lite")

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, asked = request.path, request.headers.get("Range", "")
        self.log.append((path, asked))
        data, status = self.files.get(path), 200
        if self.statuses.get(path):
            data, status = b"", self.statuses[path].pop(0)
        elif data is None:
            data, status = b"", 404
        start, size = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0, len(data)
        if status == 200 and asked:
            data, status = (data[start:], 206) if start < size else (b"", 416)
        request.send_response(status)
        request.send_header("Content-Length", str(len(data)))
        # pip decides by this header how it reads the index.
        request.send_header("Content-Type", "application/vnd.pypi.simple.v1+json" if path.endswith("/") else "application/octet-stream")
        if status == 416:
            request.send_header("Content-Range", f"bytes */{size}")
        request.end_headers()
        cuts = self.cut.get(path)
        request.wfile.write(data[: cuts.pop(0)] if cuts and status < 300 else data)
