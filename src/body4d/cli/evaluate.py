"""``body4d eval``: a run against the truth."""

from pathlib import Path
from typing import Annotated

import typer

from body4d.cli import options
from body4d.cli.guard import guarded


@guarded
def evaluate(
    run: options.Run,
    truth: Annotated[Path, typer.Argument(help="The true scene (.npz) of a synthetic clip, or the folder that holds it.", metavar="TRUTH")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
    verbose: options.Verbose = False,
) -> None:
    """Score a finished run against a clip's exact truth: MPJPE, PA-MPJPE, acceleration error, jitter, mask IoU, identity switches."""
    from body4d.cli.screen import print_json
    from body4d.cli.work import score_as_json, score_run
    from body4d.evaluate.score import score_table

    score = score_run(run, truth)
    if as_json:
        print_json(score_as_json(score), indent=2)
    else:
        typer.echo(score_table(score))
