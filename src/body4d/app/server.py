"""Puts the app together and serves it: the page, results by their token, the 3D player, Gradio's endpoint for programs."""

import asyncio
import os
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from body4d.app.service import AppService, start_sweeper
from body4d.config import Settings
from body4d.core.errors import MissingDependencyError, OutputError
from body4d.core.progress import EventListener, ignore_events

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp

STATIC = Path(__file__).parent / "static"

COMPACT = ("application/octet-stream", "font/woff2", "model/gltf-binary")
"""Content types that gain nothing by gzip, beside those that everybody knows: arrays, fonts, bodies."""


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
    from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

    from body4d.app.auth import PasswordGuard, credentials
    from body4d.app.page_head import HeadersMiddleware
    from body4d.app.stopping import StreamsMiddleware
    from body4d.app.upload_limits import UploadLimitsMiddleware

    login = credentials(environment)
    preset, reason = chosen_preset(settings, listener)
    service = AppService.open(settings, preset, preset_reason or reason)
    uploads = service.sessions.uploads
    # Gradio reads these where it makes components: uploads beside our own folders, nothing reported to anybody.
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app = _mounted(service, uploads)
    # Each one stands before those that are added earlier.
    app.add_middleware(UploadLimitsMiddleware, settings=service.settings.app, make_room=service.make_room)
    if login:
        page = (STATIC / "login.html").read_text(encoding="utf-8")
        app.add_middleware(PasswordGuard, user=login[0], password=login[1], page=page)
    app.add_middleware(StreamsMiddleware, stopping=service.stopping)
    app.add_middleware(HeadersMiddleware, title_of_run=lambda token: title_of_run(service, token))
    app.add_middleware(
        GZipMiddleware, minimum_size=1000, compresslevel=6, exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, *COMPACT)
    )
    return app, service


def title_of_run(service: AppService, token: str) -> str:
    """What a finished run is called, "" where there is none. Waits for the disk."""
    session = service.sessions.find(token, is_use=False)
    return session.info.name if session is not None and session.finished else ""


def _mounted(service: AppService, uploads: Path) -> Any:
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware import Middleware

    from body4d.app.api import add_api
    from body4d.app.file_references import UploadsOnlyMiddleware
    from body4d.app.handlers import PageHandlers
    from body4d.app.routes import add_page_routes
    from body4d.app.stopping import on_stop_signal

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        start_sweeper(service, service.stopping)
        on_stop_signal(service.close)
        yield
        await asyncio.to_thread(service.close)

    player = player_folder()
    with gr.Blocks(title="body4d", analytics_enabled=False, fill_width=False) as blocks:
        add_api(service, uploads)
    server = FastAPI(lifespan=lifespan, openapi_url=None)
    add_page_routes(server, PageHandlers(service, uploads))
    add_routes(server, service, player)
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


def add_routes(app: "FastAPI", service: AppService, player: Path | None) -> None:
    """Add ``/runs/…``, ``/my-runs``, ``/player``, ``/body4d-static`` and ``/health``."""
    from starlette.responses import Response
    from starlette.staticfiles import StaticFiles

    from body4d.app.page_head import CARD_PICTURE
    from body4d.app.result_routes import add_result_routes
    from body4d.app.run_routes import add_run_routes

    def health() -> dict[str, str]:
        return {"state": "running"}

    add_result_routes(app, service.sessions)
    add_run_routes(app, service)
    app.get("/health", include_in_schema=False)(health)
    card = b64decode((STATIC / "card.jpg.base64").read_bytes())  # text, as a Space takes no other files

    def card_picture() -> Response:
        return Response(card, media_type="image/jpeg")

    app.get(f"/{CARD_PICTURE}", include_in_schema=False)(card_picture)
    app.mount("/body4d-static", StaticFiles(directory=STATIC), name="body4d-static")
    if player is not None:
        app.mount("/player", StaticFiles(directory=player, html=True), name="player")


def serve(settings: Settings, host: str, port: int, listener: EventListener = ignore_events) -> None:
    """Serve until stopped. ``listener`` hears of model files that are fetched first. Raises Body4DError, OutputError where the port is
    taken."""
    import socket

    import uvicorn

    from body4d.app.visitors import TRUSTED_PROXIES

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
            forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", TRUSTED_PROXIES),
            timeout_graceful_shutdown=3,
        )
    finally:
        service.close()


def _require_gradio() -> None:
    if find_spec("gradio") is None:
        raise MissingDependencyError("The app needs gradio, not found here.", code="gradio_missing", hint="pip install 'body4d[app]'.")
