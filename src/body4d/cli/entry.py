"""``body4d``: all commands in one."""

from typing import Annotated

import typer

from body4d.cli import app as app_command
from body4d.cli import batch, config, demo, doctor, evaluate, export, golf, info, opensim, render, run, space, weights

app = typer.Typer(
    name="body4d",
    help="A video in, consistent moving metric 3D human bodies out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("batch")(batch.batch)
app.command("render")(render.render)
app.command("export")(export.export)
app.command("opensim")(opensim.opensim)
app.command("info")(info.info)
app.command("eval")(evaluate.evaluate)
app.command("golf")(golf.golf)
app.command("demo")(demo.demo)
app.command("app")(app_command.app)
app.command("doctor")(doctor.doctor)
app.add_typer(weights.app, name="weights")
app.add_typer(config.app, name="config")
app.add_typer(space.app, name="space")


def _print_version(requested: bool) -> None:
    if requested:
        from body4d.core.version import __version__

        typer.echo(f"body4d {__version__}")
        raise typer.Exit


@app.callback()
def body4d(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")] = False,
) -> None:
    """A video in, consistent moving metric 3D human bodies out."""


def main() -> None:
    """Entry point of the command ``body4d``."""
    app()
