"""``body4d app``: the application in a browser."""

import gc
from typing import Annotated

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors


@handle_errors
def app(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    preset: Annotated[str | None, typer.Option(help="auto, lite (CPU) or sam (GPU, official checkpoints).")] = None,
    config: options.Config = None,
    assignments: options.Set = None,
    verbose: options.Verbose = False,
) -> None:
    """Serve the application: upload a clip, choose whom to follow, see the body in 3D.

    BODY4D_AUTH=user:password in the environment asks visitors for a password.
    """
    from body4d.app.server import serve
    from body4d.cli.progress_display import LogProgress, in_megabytes

    settings = options.settings_from(config, assignments, {"preset": preset})
    typer.echo(f"body4d is at http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{port} (Ctrl-C stops it)")
    serve(settings, host, port, in_megabytes(LogProgress()))
    gc.freeze()  # The process ends here: looking through all that Gradio made for what can be freed would take seconds.
