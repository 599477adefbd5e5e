"""What a Space's container runs: a page within a second, checkpoints with their progress on it, then the app on the same port.

Everything slow happens in one thread beside the server. Where it is killed at any moment, the next start continues: downloads resume, and
what is complete is not fetched again.
"""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from body4d.checkpoints.download import download
from body4d.checkpoints.gated_access import GATE_CODES
from body4d.checkpoints.hub_client import default_hub
from body4d.checkpoints.local import LocalCheckpoint
from body4d.checkpoints.registry import Checkpoint
from body4d.config import Settings
from body4d.core.errors import Body4DError, Cancelled, MissingDependencyError, SpaceError
from body4d.core.progress import Event
from body4d.core.version import __version__
from body4d.deploy.startup_proxy import AsgiApp, StartupProxy
from body4d.deploy.status import StartupState, StartupStatus
from body4d.doctor.checks import check_cuda, check_gpu, check_memory
from body4d.doctor.facts import Preset
from body4d.runtime.hardware import NvidiaDriver, TorchInfo

MAX_APP_START_S = 300.0
"""Building the page and its server takes seconds; on a disk that wakes slowly, perhaps a minute."""

MAX_STOP_S = 3.0
"""A download notices within a fraction of a second that it has to stop."""

AppFactory = Callable[[Settings, str], AsgiApp]
"""Builds the app for settings; the second argument is why the preset is lite, "" where visitors need no explanation."""


@dataclass(frozen=True)
class PresetChoice:
    """``preset`` will be served once ``to_fetch`` is here. ``reason`` tells visitors why it is not sam (empty where it is, or was not
    requested); ``gated``: because of a closed gate."""

    preset: str
    to_fetch: tuple[Checkpoint, ...] = ()
    reason: str = ""
    gated: bool = False


def choose_startup_preset(
    requested: Preset, driver: NvidiaDriver | None, torch: TorchInfo | None, memory_bytes: int, found: tuple[LocalCheckpoint, ...]
) -> PresetChoice:
    """What to serve on this hardware. A Space without a usable GPU serves lite, even where sam was requested. Pure."""
    if requested == "lite":
        return PresetChoice("lite")
    # "auto" is blocked by everything that keeps sam from running at a bearable speed.
    checks = [check_gpu(driver, torch, "auto"), check_cuda(driver, torch, "auto"), *check_memory(torch, memory_bytes, "auto")]
    blocking = [check for check in checks if "sam" in check.blocks]
    if blocking:
        # Where there is a GPU and CUDA is the cause, the check of CUDA says more than that of the GPU.
        last = blocking[-1]
        return PresetChoice("lite", reason=f"Preset lite was taken, not sam ({last.name}: {last.message}).")
    missing = [one.checkpoint for one in found if one.checkpoint.preset == "sam" and not one.ready]
    return PresetChoice("sam", tuple(model for model in missing if model.need != "optional"))


def choice_after_fetching(choice: PresetChoice, failures: Mapping[str, Body4DError]) -> PresetChoice:
    """What to serve after fetching. ``failures`` by the checkpoint's key; one of a checkpoint that is only recommended does no harm."""
    required = [failures[model.key] for model in choice.to_fetch if model.key in failures and model.need == "required"]
    if not required:
        return PresetChoice(choice.preset)
    # The Space's owner can do something about a gate, so a gate comes first.
    failure = next((error for error in required if _is_gate(error)), required[0])
    return PresetChoice("lite", reason=str(failure), gated=_is_gate(failure))


def _is_gate(error: Body4DError) -> bool:
    """Whether a gate, or the lack of a token for it, closes every source of a checkpoint."""
    return GATE_CODES.issuperset(error.facts.get("codes", (error.code,)))


def make_app(settings: Settings, reason: str) -> AsgiApp:
    """The Gradio app, ready to be served; it ends its own processes when the server ends. Raises MissingDependencyError."""
    from body4d.app.server import build

    app, _ = build(settings, preset_reason=reason)
    return app


def serve(settings: Settings, host: str, port: int, factory: AppFactory = make_app) -> bool:
    """Show the page, prepare, serve the app, until the process is told to stop. Raises SpaceError or MissingDependencyError.

    False where the preparation has not ended by then: it is in the middle of something that cannot be stopped, such as loading torch.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingDependencyError(
            "The app needs uvicorn, which is not installed.", code="uvicorn_missing", hint="pip install 'body4d[app]'."
        ) from error
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise SpaceError(
            f"Port {port} of {host} cannot be used ({os.strerror(error.errno or 0).lower()}).",
            code="port_unusable",
            hint="End the program that holds it, or choose another --port.",
            port=port,
        ) from error
    status = StartupStatus(log=lambda line: print(line, flush=True))
    proxy, stop = StartupProxy(status), threading.Event()
    # A Space's visitors come through HuggingFace's proxy, which alone can reach the container.
    server = uvicorn.Server(
        uvicorn.Config(
            proxy, log_level="warning", access_log=False, proxy_headers=True, forwarded_allow_ips="*", timeout_graceful_shutdown=5
        )
    )
    worker = threading.Thread(target=prepare, args=(settings, status, proxy, stop.is_set, factory), name="body4d-start", daemon=True)
    worker.start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # uvicorn has ended in good order and passes the signal on.
    finally:
        stop.set()
    worker.join(MAX_STOP_S)
    return not worker.is_alive()


def prepare(
    settings: Settings, status: StartupStatus, proxy: StartupProxy, stopped: Callable[[], bool], factory: AppFactory = make_app
) -> None:
    """Everything between the page and the app. A fault ends on the page and in the log, as a sentence."""
    try:
        choice = _prepared_choice(settings, status, stopped)
        status.set_state("loading", choice.reason or "The app is being loaded.")
        proxy.hand_over(factory(settings.model_copy(update={"preset": choice.preset}), choice.reason), MAX_APP_START_S)
        final: StartupState = "running" if not choice.reason else "gated" if choice.gated else "lite"
        status.set_state(final, choice.reason or f"preset {choice.preset}.")
    except Cancelled:
        return
    except Body4DError as error:
        status.set_state("failed", str(error))
    except Exception as error:
        # The page must say something whatever happened; the log gets the whole traceback.
        import traceback

        traceback.print_exc()
        status.set_state("failed", f"A fault in body4d itself ({type(error).__name__}); the Space's log shows where.")


def _prepared_choice(settings: Settings, status: StartupStatus, stopped: Callable[[], bool]) -> PresetChoice:
    """Look at the machine, choose, fetch what is missing, choose again."""
    from body4d.doctor.facts import gather_facts
    from body4d.doctor.report import diagnose_machine

    status.set_state("starting", f"body4d {__version__} looks at the machine.")
    facts = gather_facts(settings, ask_hub=False)
    for level, check in diagnose_machine(facts, settings.preset).checks:
        if level != "ok":
            status.log(f"doctor: {level}: {check.name}: {check.message}; {check.hint}")
    choice = choose_startup_preset(settings.preset, facts.driver, facts.torch, facts.memory_bytes, facts.checkpoints.found)
    if not choice.to_fetch:
        return choice
    if facts.space.space_id and not facts.space.data_writable:
        status.add_note("No disk is mounted at /data, so checkpoints are fetched again after every restart.")
    return choice_after_fetching(choice, fetch_checkpoints(choice.to_fetch, settings, status, stopped))


def fetch_checkpoints(
    models: tuple[Checkpoint, ...], settings: Settings, status: StartupStatus, stopped: Callable[[], bool]
) -> dict[str, Body4DError]:
    """Fetch ``models`` one by one, the others as well where one fails; the failures by key. Raises Cancelled once ``stopped``."""

    def on_event(event: Event) -> None:
        if stopped():
            raise Cancelled("The Space is being stopped; what was fetched is kept.", code="space_stopped")
        status.on_event(event)

    hub = default_hub()
    status.set_checkpoints({model.key: model.name for model in models})
    failures: dict[str, Body4DError] = {}
    for number, model in enumerate(models, 1):
        status.set_state("downloading", f"Fetching {model.name}, {number} of {len(models)} checkpoints.")
        try:
            download((model,), settings.weights, hub, on_event)
        except Cancelled:
            raise
        except Body4DError as error:
            failures[model.key] = error
            status.on_event(Event(model.key, "failed"))
            status.add_note(str(error))
    return failures
