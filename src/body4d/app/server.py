"""Puts the app together and serves it: Gradio's page, results by their token, the 3D player, our style."""

import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from body4d.app.names import download_name
from body4d.app.service import AppService, start_sweeper
from body4d.app.sessions import SessionStore
from body4d.app.tasks import PEOPLE_PICTURE
from body4d.config import Settings
from body4d.core.errors import MissingDependencyError, OutputError
from body4d.core.progress import EventListener, ignore_events

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp

STATIC = Path(__file__).parent / "static"

_CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".glb": "model/gltf-binary",
    ".bvh": "text/plain; charset=us-ascii",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".npz": "application/octet-stream",
    ".zip": "application/zip",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "private, no-cache"}
_HTML_POLICY = "sandbox allow-scripts allow-downloads"
"""A page among the results runs its own scripts, apart from the app: it reads neither our cookies nor other results."""


def chosen_preset(settings: Settings, listener: EventListener = ignore_events) -> tuple[str, str]:
    """The preset that works here, and a sentence that says why. ``listener`` hears of model files that are fetched. Raises what loading its
    models would."""
    from body4d.run.presets import load_components

    components = load_components(settings, listener)
    reason = " ".join(warning.message for warning in components.warnings)
    return components.preset, reason or f"Preset {components.preset} was asked for."


def build(
    settings: Settings,
    environment: Mapping[str, str] = os.environ,
    *,
    preset_reason: str = "",
    listener: EventListener = ignore_events,
) -> tuple["ASGIApp", AppService]:
    """The whole app as ASGI, and its service, whose processes run until ``close``. Raises Body4DError.

    The page shows ``preset_reason`` instead of what loading the preset says: a starting Space knows which gate was shut.
    """
    _require_gradio()
    from body4d.app.auth import PasswordGuard, credentials

    login = credentials(environment)
    preset, reason = chosen_preset(settings, listener)
    service = AppService.open(settings, preset, preset_reason or reason)
    uploads = service.sessions.uploads
    # Gradio reads these where it makes components: uploads beside our own folders, nothing reported to anybody.
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app: ASGIApp = _mounted(service, uploads)
    if login:
        app = PasswordGuard(app, *login, (STATIC / "login.html").read_text(encoding="utf-8"))
    return app, service


def _mounted(service: AppService, uploads: Path) -> Any:
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware import Middleware

    from body4d.app.api import add_api
    from body4d.app.file_references import UploadsOnlyMiddleware
    from body4d.app.handlers import Handlers
    from body4d.app.page import build_page

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        start_sweeper(service, stop)
        yield
        stop.set()
        service.close()

    player = player_folder()
    # Gradio deletes what it holds for its own sessions; uploads are swept with the runs.
    keep_s = int(service.settings.app.keep_hours * 3600)
    with gr.Blocks(title="body4d", analytics_enabled=False, delete_cache=(3600, keep_s), fill_width=False) as blocks:
        page = build_page(service)
        Handlers(service, page).connect(blocks)
        add_api(service, uploads)
    server = FastAPI(lifespan=lifespan, openapi_url=None)
    add_routes(server, service.sessions, player)
    max_bytes = int(service.settings.app.max_megabytes * 1e6)
    gr.mount_gradio_app(
        server,
        blocks,
        path="/",
        app_kwargs={"middleware": [Middleware(UploadsOnlyMiddleware, uploads=uploads, max_bytes=max_bytes)]},
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=max_bytes,
        theme=_theme(),
        css_paths=STATIC / "style.css",
        head='<script src="body4d-static/app.js" defer></script>',
        favicon_path=str(STATIC / "icon.svg"),
        ssr_mode=False,
    )
    # A second lock behind the middleware. Gradio checks paths itself once blocks are launched, and does not know of mounting.
    blocks.has_launched = True
    return server


def player_folder() -> Path | None:
    """The 3D player's page, None where this installation has none."""
    spec = find_spec("body4d.player")
    return Path(spec.origin).parent if spec and spec.origin else None


def add_routes(app: "FastAPI", sessions: SessionStore, player: Path | None) -> None:
    """Add ``/runs/<token>/<file>``, ``/player``, ``/body4d-static`` and ``/health``."""
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.staticfiles import StaticFiles

    from body4d.app.result_routes import add_result_routes

    # A plain function, which runs in a thread: it reads the disk. FileResponse answers Range requests, as videos ask.
    def result_file(token: str, name: str, download: bool = False) -> Response:
        session = sessions.find(token)
        path = session.served_file(name) if session else None
        if session is None or path is None:
            return JSONResponse({"detail": "There is no such file, or it was deleted because it is old."}, 404, headers=_HEADERS)
        filename = download_name(session.info.name, name) if download and name != PEOPLE_PICTURE else None
        media_type = _CONTENT_TYPES.get(path.suffix, "application/octet-stream")
        headers = {**_HEADERS, "Content-Security-Policy": _HTML_POLICY} if path.suffix == ".html" else _HEADERS
        return FileResponse(path, media_type=media_type, filename=filename, headers=headers)

    def health() -> dict[str, str]:
        return {"state": "running"}

    add_result_routes(app, sessions)
    app.get("/runs/{token}/{name}", include_in_schema=False)(result_file)
    app.get("/health", include_in_schema=False)(health)
    app.mount("/body4d-static", StaticFiles(directory=STATIC), name="body4d-static")
    if player is not None:
        app.mount("/player", StaticFiles(directory=player, html=True), name="player")


def _theme() -> Any:
    """System fonts: a page that fetched fonts from elsewhere would tell others of its visitors."""
    from gradio.themes import Default, colors, sizes

    system = ["ui-sans-serif", "system-ui", "sans-serif"]
    return Default(
        primary_hue=colors.sky,
        neutral_hue=colors.slate,
        radius_size=sizes.radius_lg,
        font=system,
        font_mono=["ui-monospace", "monospace"],
    )


def serve(settings: Settings, host: str, port: int, listener: EventListener = ignore_events) -> None:
    """Serve until stopped. ``listener`` hears of model files that are fetched first. Raises Body4DError, OutputError where the port is
    taken."""
    import socket

    import uvicorn

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            message = f"The app cannot listen on {host}:{port} ({(error.strerror or '').lower()})."
            raise OutputError(message, code="app_port_unusable", hint="Choose another --port.", host=host, port=port) from error
    app, service = build(settings, listener=listener)
    try:
        # No access log: addresses of runs are secrets. Proxies tell whether the visitor's connection is https.
        uvicorn.run(
            app,
            host=host,
            port=port,
            access_log=False,
            log_level="warning",
            proxy_headers=True,
            forwarded_allow_ips="*",
            timeout_graceful_shutdown=2,
        )
    finally:
        service.close()


def _require_gradio() -> None:
    if find_spec("gradio") is None:
        raise MissingDependencyError("The app needs gradio, not found here.", code="gradio_missing", hint="pip install 'body4d[app]'.")
