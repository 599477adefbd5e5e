"""What a Space's container runs: a page within a second, checkpoints with their progress on it, then the app on the same port.

Everything slow happens in one thread beside the server. Killed at any moment, the next start goes on: downloads resume, and what is whole
is not asked about again.
"""

import os
import socket
import threading
from collections.abc import Callable

from body4d import __version__
from body4d.config import Settings
from body4d.core.errors import Body4DError, Cancelled, MissingDependencyError, SpaceError
from body4d.deploy.board import Board
from body4d.deploy.fetching import fetch
from body4d.deploy.outlook import Outlook, after, first
from body4d.deploy.startup_proxy import App, Front

APP_START_MOST_S = 300.0
"""Building the page and its server takes seconds; on a disk that wakes slowly, perhaps a minute."""

STOP_MOST_S = 3.0
"""A download hears within a fraction of a second that it shall stop."""

MakeApp = Callable[[Settings, str], App]
"""Builds the app for settings; the second is why the preset is lite, "" where nobody need be told."""


def make_app(settings: Settings, why: str) -> App:
    """The Gradio app, ready to be served; it ends its own processes when the server ends. Raises MissingDependencyError."""
    from body4d.app.server import build

    app, _ = build(settings, why=why)
    return app


def serve(settings: Settings, host: str, port: int, make: MakeApp = make_app) -> bool:
    """Show the page, get ready, serve the app; until the process is told to stop. Raises SpaceError, MissingDependencyError.

    False where getting ready has not ended by then: it is in the middle of what cannot be stopped, such as loading torch.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingDependencyError("The app needs uvicorn, not found here: pip install 'body4d[app]'.") from error
    try:
        place = socket.create_server((host, port))
    except OSError as error:
        raise SpaceError(
            f"Port {port} of {host} cannot be taken ({os.strerror(error.errno or 0).lower()}): end what holds it, or choose another --port."
        ) from error
    board = Board(log=lambda line: print(line, flush=True))
    front, stop = Front(board), threading.Event()
    # A Space's visitors come through HuggingFace's proxy, which alone can reach the container.
    server = uvicorn.Server(
        uvicorn.Config(
            front, log_level="warning", access_log=False, proxy_headers=True, forwarded_allow_ips="*", timeout_graceful_shutdown=5
        )
    )
    worker = threading.Thread(target=get_ready, args=(settings, board, front, stop.is_set, make), name="body4d-start", daemon=True)
    worker.start()
    try:
        server.run(sockets=[place])
    except KeyboardInterrupt:
        pass  # uvicorn has ended in good order and passes the signal on.
    finally:
        stop.set()
    worker.join(STOP_MOST_S)
    return not worker.is_alive()


def get_ready(settings: Settings, board: Board, front: Front, stopped: Callable[[], bool], make: MakeApp) -> None:
    """Everything between the page and the app. A fault ends on the page and in the log, as a sentence."""
    try:
        outlook = _prepare(settings, board, stopped)
        board.tell("starting" if not outlook.why else "gated" if outlook.gated else "lite", outlook.why or "The app is being loaded.")
        front.hand_over(make(settings.model_copy(update={"preset": outlook.preset}), outlook.why), APP_START_MOST_S)
        board.tell("serving", f"preset {outlook.preset}.")
    except Cancelled:
        return
    except Body4DError as error:
        board.tell("failed", str(error))
    except Exception as error:
        # The page must say something whatever happened; the log gets the whole of it.
        import traceback

        traceback.print_exc()
        board.tell("failed", f"A fault in body4d itself ({type(error).__name__}); the Space's log shows where.")


def _prepare(settings: Settings, board: Board, stopped: Callable[[], bool]) -> Outlook:
    """Look at the machine, decide, fetch what is lacking, decide again."""
    from body4d.doctor.probe import look
    from body4d.doctor.report import check

    board.tell("starting", f"body4d {__version__} looks at the machine.")
    facts = look(settings, settings.preset, ask_hub=False)
    for line in check(facts, settings.weights.spare_disk_gb).lines:
        if line.level != "ok":
            board.log(f"doctor: {line.level}: {line.name}: {line.found}; {line.remedy}")
    outlook = first(settings.preset, facts.driver, facts.torch, facts.memory_bytes, facts.weights.found, settings.doctor)
    if not outlook.to_fetch:
        return outlook
    if facts.space.space_id and not facts.space.data_writable:
        board.note("No disk is mounted at /data, so checkpoints are fetched anew after every restart.")
    return after(outlook, fetch(outlook.to_fetch, settings, board, stopped))
