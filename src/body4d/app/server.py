"""Puts the app together and serves it."""

import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from body4d.app.auth import Guard, credentials
from body4d.app.routes import STATIC, add_routes, player_folder
from body4d.app.service import Desk, sweep_now_and_then
from body4d.config import Settings
from body4d.core.errors import MissingDependencyError, OutputError

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def chosen_preset(settings: Settings) -> tuple[str, str]:
    """The preset that works here, and a sentence that says why. Raises what loading its models would."""
    from body4d.run.presets import load_components

    seats = load_components(settings)
    given = f"Preset {seats.preset} was asked for."
    return seats.preset, " ".join(warning.message for warning in seats.warnings) or given


def build(settings: Settings, environment: Mapping[str, str] = os.environ, *, why: str = "") -> tuple["ASGIApp", Desk]:
    """The whole app as ASGI, and its desk, whose processes run until ``close``. Raises Body4DError.

    ``why`` is said of the preset instead of what loading it says: a starting Space knows which gate was shut.
    """
    _require_gradio()
    guard = credentials(environment)
    preset, reason = chosen_preset(settings)
    desk = Desk.open(settings, preset, why or reason)
    uploads = desk.visits.uploads
    # Gradio reads these where it makes components: uploads beside our own folders, nothing reported to anybody.
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app: ASGIApp = _mounted(desk, uploads)
    if guard:
        app = Guard(app, *guard, (STATIC / "login.html").read_text(encoding="utf-8"))
    return app, desk


def _mounted(desk: Desk, uploads: Path) -> Any:
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware import Middleware

    from body4d.app.api import add_api
    from body4d.app.file_references import UploadsOnly
    from body4d.app.handlers import Handlers
    from body4d.app.page import lay_out

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        sweep_now_and_then(desk, stop)
        yield
        stop.set()
        desk.close()

    # Gradio deletes what it holds for its own sessions; uploads are swept with the runs.
    keep_s = int(desk.settings.app.keep_hours * 3600)
    with gr.Blocks(title="body4d", analytics_enabled=False, delete_cache=(3600, keep_s), fill_width=False) as blocks:
        page = lay_out(desk)
        Handlers(desk, page).connect(blocks)
        add_api(desk, uploads)
    server = FastAPI(lifespan=lifespan, openapi_url=None)
    add_routes(server, desk.visits, player_folder())
    most_bytes = int(desk.settings.app.most_megabytes * 1e6)
    gr.mount_gradio_app(
        server,
        blocks,
        path="/",
        app_kwargs={"middleware": [Middleware(UploadsOnly, uploads=uploads, most_bytes=most_bytes)]},
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=most_bytes,
        theme=_theme(),
        css_paths=STATIC / "style.css",
        head='<script src="body4d-static/app.js" defer></script>',
        favicon_path=str(STATIC / "icon.svg"),
        ssr_mode=False,
    )
    # A second lock behind UploadsOnly. Gradio's own check of paths asks whether the blocks were launched, which mounting does not tell it.
    blocks.has_launched = True
    return server


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


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until stopped. Raises Body4DError, OutputError where the port is taken."""
    import socket

    import uvicorn

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise OutputError(
                f"The app cannot listen on {host}:{port} ({(error.strerror or '').lower()}); choose another --port."
            ) from error
    app, desk = build(settings)
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
        desk.close()


def _require_gradio() -> None:
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise MissingDependencyError("The app needs gradio, not found here: pip install 'body4d[app]'.")
