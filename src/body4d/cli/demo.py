"""``body4d demo``: the whole thing on one clip, with scores where the truth is known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors

if TYPE_CHECKING:
    from body4d.cli.progress_display import ProgressDisplay
    from body4d.evaluate.synthetic.motions import CameraView


@handle_errors
def demo(
    video: Annotated[Path | None, typer.Option(help="A clip of your own instead of the synthetic golf swing.", metavar="VIDEO")] = None,
    view: Annotated[str, typer.Option(help="From where the swing is filmed: face-on, down-the-line (hardest) or oblique.")] = "face-on",
    landmarks: options.Landmarks = None,
    out: options.Out = None,
    config: options.Config = None,
    assignments: options.Set = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Make a synthetic golf swing, recover the golfer, and print how far from the truth it came; or run on --video.

    The swing is a slow one: its wrists are a third slower than a tour player's.
    """
    from body4d.cli.evaluate import score_as_json, score_run
    from body4d.cli.output import print_json, print_result
    from body4d.cli.progress_display import choose_display
    from body4d.cli.run import run_clip
    from body4d.core.errors import SettingsError
    from body4d.evaluate.score import score_table
    from body4d.evaluate.synthetic.motions import CAMERA_VIEWS, CameraView

    settings = options.settings_from(config, assignments, {"blazepose.landmarks": landmarks})
    display = choose_display(quiet=quiet, as_json=as_json)
    if view not in CAMERA_VIEWS["swing"]:
        raise SettingsError(
            f"A swing cannot be filmed from {view!r}.", code="bad_value", hint=f"--view takes one of: {', '.join(CAMERA_VIEWS['swing'])}."
        )
    truth = Path("runs") / f"demo-clip-{view}"
    clip = video or make_swing(truth, cast(CameraView, view), display)
    folder = run_clip(clip, out or (None if video else Path("runs") / f"demo-{view}"), settings, display, fresh=fresh)
    score = None if video else score_run(folder, truth)[0]
    print_result(folder, quiet=quiet, as_json=as_json)
    if score and as_json:
        print_json({"event": "score", **score_as_json(score)})
    elif score and not quiet:
        typer.echo(f"\n{score_table(score)}")


def make_swing(folder: Path, view: "CameraView", display: "ProgressDisplay") -> Path:
    """The synthetic golf swing of the demo, made once: the video's path. The truth is beside it and is written last."""
    from body4d.core.progress import Meter
    from body4d.evaluate.synthetic.clip import make_clip

    meter = Meter("clip", display)
    if (folder / "truth.npz").is_file():
        meter.send("skipped")
        return folder / "swing.mp4"
    clip = make_clip("swing", folder, view=view)
    meter.send("done")
    return clip.video
