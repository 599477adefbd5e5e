"""``body4d render``: the pictures of a run once more."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors
from body4d.core.errors import InputError

if TYPE_CHECKING:
    from body4d.cli.progress_display import ProgressDisplay
    from body4d.config import PictureSettings


@handle_errors
def render(
    run: options.Run,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the pictures. Default: the run folder.", metavar="FOLDER")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="Where the clip is, if it was moved.", metavar="VIDEO")] = None,
    audio: Annotated[bool | None, typer.Option("--audio/--no-audio", help="Carry the clip's sound along into overlay.mp4.")] = None,
    show_uncertainty: options.ShowUncertainty = None,
    assignments: options.Set = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Draw overlay, views and contact sheet of a finished run again, with other picture settings (--set pictures.…)."""
    from body4d.cli.output import print_json
    from body4d.cli.progress_display import choose_display

    settings = options.settings_from(None, assignments, {"pictures.audio": audio, "pictures.show_uncertainty": show_uncertainty}).pictures
    with choose_display(quiet=quiet, as_json=as_json) as display:
        paths = render_run(run, out or run, video, settings, display)
    if as_json:
        print_json({"event": "result", "run": str(run), "files": [str(path) for path in paths]})
    elif not quiet:
        typer.echo("\n".join(str(path) for path in paths))


def render_run(run: Path, out: Path, video: Path | None, settings: "PictureSettings", display: "ProgressDisplay") -> list[Path]:
    """Draw a finished run's pictures into ``out``."""
    from body4d.config.loading import load_settings
    from body4d.core.progress import Meter
    from body4d.core.scene_io import load_scene
    from body4d.run.pipeline import draw, open_clip
    from body4d.run.record import OVERLAY, SHEET, VIEWS, finished_scene, read_run
    from body4d.run.run_folder import lock_run_folder, make_folder
    from body4d.video.audio import sound_problem

    scene_path, record = finished_scene(run), read_run(run)
    video = video or Path(record.input["path"])
    if not video.is_file():
        raise InputError(f"The clip of this run is no longer at {video}.", code="clip_moved", hint="Name its new place with --video.")
    make_folder(out)
    video_settings = load_settings(None, {f"video.{name}": value for name, value in record.settings["video"].items()}, {}).video
    meter = Meter("pictures", display)
    scene = load_scene(scene_path, video)
    if settings.audio and (problem := sound_problem(scene.clip)):
        meter.warn(problem)
    with lock_run_folder(run):
        draw(scene, open_clip(video, video_settings), out, settings, meter)
    meter.send("done")
    return [out / OVERLAY, out / VIEWS, out / SHEET]
