"""``body4d run``: a video in, a run folder out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from body4d.cli import options, prompts
from body4d.cli.errors import handle_errors
from body4d.config import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from body4d.cli.progress_display import ProgressDisplay
    from body4d.core.types import Prompt


@handle_errors
def run(
    video: Annotated[Path, typer.Argument(help="The clip.", metavar="VIDEO")],
    out: options.Out = None,
    config: options.Config = None,
    preset: Annotated[str | None, typer.Option(help="auto, lite (CPU) or sam (GPU, official checkpoints).")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with the checkpoints.", metavar="FOLDER")] = None,
    landmarks: options.Landmarks = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda, mps or cpu, for the networks of preset sam.")] = None,
    text: prompts.Text = None,
    click: prompts.Click = None,
    unclick: prompts.Unclick = None,
    box: prompts.Box = None,
    people: Annotated[str | None, typer.Option(help="How many to follow: a number, all, or main (default).", metavar="N|all|main")] = None,
    start: options.Start = None,
    end: options.End = None,
    fps: Annotated[float | None, typer.Option(help="Look at no more than this many frames a second.")] = None,
    max_side: Annotated[int | None, typer.Option(help="Shrink frames so that the longer side is at most this, in pixels.")] = None,
    rotate: options.Rotate = None,
    fov: options.Fov = None,
    focal_mm35: options.FocalMm35 = None,
    camera: Annotated[str | None, typer.Option(help="How it moves: auto (default), static, rotating (tripod) or moving.")] = None,
    ground: Annotated[
        str | None, typer.Option(help="auto (default): feet that rest do not slide, where the camera stands still; or off.")
    ] = None,
    person_height: options.PersonHeight = None,
    sex: options.Sex = None,
    age: options.Age = None,
    occlusion: Annotated[
        str | None, typer.Option(help="Complete hidden people (sam): auto (where somebody may be hidden), on (everywhere) or off.")
    ] = None,
    show_uncertainty: options.ShowUncertainty = None,
    pictures: Annotated[bool | None, typer.Option("--pictures/--no-pictures", help="Write the videos and the contact sheet.")] = None,
    audio: Annotated[bool | None, typer.Option("--audio/--no-audio", help="Carry the clip's sound along into overlay.mp4.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print time, speed and memory of each stage at the end.")] = False,
    assignments: options.Set = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Recover the people in a clip as moving 3D bodies.

    Stopped at any moment, the same command goes on from where it was.
    """
    from body4d.cli.output import print_result
    from body4d.cli.progress_display import choose_display
    from body4d.run.prompt_text import parse_prompts

    flags = {
        "preset": preset,
        "weights.folder": None if weights is None else str(weights),
        "blazepose.landmarks": landmarks,
        "compute.device": device,
        "people.count": options.parse_people(people),
        "video.start_s": start,
        "video.end_s": end,
        "video.fps": fps,
        "video.max_side_px": max_side,
        "video.rotate_deg": rotate,
        "camera.fov_deg": fov,
        "camera.focal_mm35": focal_mm35,
        "camera.motion": camera,
        "camera.person_height_m": person_height,
        "fit.sex": sex,
        "fit.age_years": age,
        "occlusion.mode": occlusion,
        "motion.ground": ground,
        "pictures.show_uncertainty": show_uncertainty,
        "pictures.enabled": pictures,
        "pictures.audio": audio,
    }
    settings = options.settings_from(config, assignments, flags)
    parsed = parse_prompts(text, click, unclick, box)
    folder = run_clip(video, out, settings, choose_display(quiet=quiet, as_json=as_json), prompts=parsed, fresh=fresh)
    print_result(folder, quiet=quiet, as_json=as_json, profile=profile)


def run_clip(
    video: Path, out: Path | None, settings: Settings, display: "ProgressDisplay", *, prompts: "Sequence[Prompt]" = (), fresh: bool
) -> Path:
    """Run the pipeline on a clip and return the run folder."""
    from body4d.cli.progress_display import in_megabytes
    from body4d.run.pipeline import Pipeline

    with display:
        Pipeline.load(settings, in_megabytes(display)).run(video, out, prompts=prompts, fresh=fresh, listener=display)
    if display.folder is None:
        raise AssertionError("a run that ends well has named its folder")
    return display.folder
