"""``body4d demo``: the whole thing on one clip, with scores where the truth is known."""

from pathlib import Path
from typing import Annotated, cast

import typer

from body4d.cli import options
from body4d.cli.guard import guarded


@guarded
def demo(
    video: Annotated[Path | None, typer.Option(help="A clip of your own instead of the synthetic golf swing.", metavar="VIDEO")] = None,
    view: Annotated[str, typer.Option(help="From where the swing is filmed: face-on, down-the-line (hardest) or oblique.")] = "face-on",
    out: options.Out = None,
    config: options.Config = None,
    assignments: options.Set = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Make a synthetic golf swing, recover the golfer, and print how far from the truth it came; or run on --video."""
    from body4d.cli.screen import choose_screen, print_json
    from body4d.cli.work import make_swing, print_result, run_clip, score_as_json, score_run
    from body4d.core.errors import SettingsError
    from body4d.evaluate.score import score_table
    from body4d.evaluate.synthetic.motions import CAMERA_VIEWS, CameraView

    settings = options.settings_from(config, assignments, {})
    screen = choose_screen(quiet=quiet, as_json=as_json)
    if view not in CAMERA_VIEWS["swing"]:
        raise SettingsError(f"A swing cannot be filmed from {view!r}; --view takes one of: {', '.join(CAMERA_VIEWS['swing'])}.")
    truth = Path("runs") / f"demo-clip-{view}"
    clip = video or make_swing(truth, cast(CameraView, view), screen)
    folder = run_clip(clip, out or (None if video else Path("runs") / f"demo-{view}"), settings, screen, fresh=fresh)
    score = None if video else score_run(folder, truth)
    print_result(folder, quiet=quiet, as_json=as_json)
    if score and as_json:
        print_json({"event": "score", **score_as_json(score)})
    elif score and not quiet:
        typer.echo(f"\n{score_table(score)}")
