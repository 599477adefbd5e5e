"""``body4d info``: what a run folder holds and how good it looks."""

from typing import Annotated

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors


@handle_errors
def info(
    run: options.Run,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
    verbose: options.Verbose = False,
) -> None:
    """Say what a run holds: people, errors against what was measured in the picture, stages.

    Without truth these figures say how well the bodies explain the picture, not how right they are in depth: `body4d eval` does that.
    """
    from body4d.cli.output import cell, print_json, print_people
    from body4d.run.record import read_run, summary

    record = read_run(run)
    overview = summary(record)
    if as_json:
        print_json(overview, indent=2)
        return
    typer.echo(f"{record.input.get('name')}: {cell(overview['frames'])} frames at {cell(overview['fps'])} fps, preset {record.preset}")
    print_people(overview["people"])
    for name, stage in record.stages.items():
        typer.echo(f"{name:9} {stage.state:10} {stage.seconds:8.1f} s")
        for warning in stage.warnings:
            typer.echo(f"  note: {warning.text}")
        if stage.error:
            typer.echo(f"  error: {stage.error['message']} {stage.error['hint']}".rstrip())
