"""What is served beside Gradio's page: results of a visit by its token, the 3D player, our style."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from body4d.app.names import download_name
from body4d.app.sessions import Visits
from body4d.app.tasks import PICTURE

STATIC = Path(__file__).parent / "static"

_TYPES = {
    ".mp4": "video/mp4",
    ".glb": "model/gltf-binary",
    ".bvh": "text/plain; charset=us-ascii",
    ".csv": "text/csv; charset=utf-8",
    ".npz": "application/octet-stream",
    ".zip": "application/zip",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "private, no-cache"}


def player_folder() -> Path | None:
    """The 3D player's page, None where this installation has none."""
    found = find_spec("body4d.player")
    return Path(found.origin).parent if found and found.origin else None


def add_routes(app: FastAPI, visits: Visits, player: Path | None) -> None:
    """Add ``/runs/<token>/<file>``, ``/player``, ``/body4d-static`` and ``/health``."""

    # A plain function, which runs in a thread: it looks at the disk. FileResponse answers Range requests, as videos ask.
    @app.get("/runs/{token}/{name}", include_in_schema=False)
    def served(token: str, name: str, download: bool = False) -> Response:
        visit = visits.find(token)
        path = visit.served(name) if visit else None
        if visit is None or path is None:
            return JSONResponse({"detail": "There is no such file, or it was deleted because it is old."}, 404, headers=_HEADERS)
        filename = download_name(visit.about.name, name) if download and name != PICTURE else None
        return FileResponse(path, media_type=_TYPES.get(path.suffix, "application/octet-stream"), filename=filename, headers=_HEADERS)

    @app.get("/health", include_in_schema=False)
    def health() -> dict[str, str]:
        return {"state": "running"}

    app.mount("/body4d-static", StaticFiles(directory=STATIC), name="body4d-static")
    if player is not None:
        app.mount("/player", StaticFiles(directory=player, html=True), name="player")
