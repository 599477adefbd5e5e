"""``body4d render``: the pictures of a run once more."""

from pathlib import Path
from typing import Annotated

import typer

from body4d.cli import options
from body4d.cli.guard import guarded


@guarded
def render(
    run: options.Run,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the pictures. Default: the run folder.", metavar="FOLDER")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="Where the clip lies, if it was moved.", metavar="VIDEO")] = None,
    audio: Annotated[bool | None, typer.Option("--audio/--no-audio", help="Carry the clip's sound along into overlay.mp4.")] = None,
    show_uncertainty: options.ShowUncertainty = None,
    assignments: options.Set = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Draw overlay, views and contact sheet of a finished run again, with other picture settings (--set pictures.…)."""
    from body4d.cli.screen import choose_screen, print_json
    from body4d.cli.work import render_run

    settings = options.settings_from(None, assignments, {"pictures.audio": audio, "pictures.show_uncertainty": show_uncertainty}).pictures
    with choose_screen(quiet=quiet, as_json=as_json) as screen:
        paths = render_run(run, out or run, video, settings, screen)
    if as_json:
        print_json({"event": "result", "run": str(run), "files": [str(path) for path in paths]})
    elif not quiet:
        typer.echo("\n".join(str(path) for path in paths))
