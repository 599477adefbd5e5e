"""What commands do between parsing and printing; what several of them share."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from body4d.cli.screen import Screen, print_json
from body4d.cli.tables import print_people, print_stages
from body4d.config import PictureSettings, Settings
from body4d.core.errors import InputError
from body4d.core.progress import Meter
from body4d.run.record import FILES, MASKS, OVERLAY, SHEET, VIEWS, finished_scene, read_run, summary

if TYPE_CHECKING:
    from body4d.core.types import Prompt
    from body4d.evaluate.score import RunScore
    from body4d.evaluate.synthetic.motions import CameraView


def run_clip(video: Path, out: Path | None, settings: Settings, screen: Screen, *, prompts: "Sequence[Prompt]" = (), fresh: bool) -> Path:
    """Run the pipeline on a clip and return the run folder."""
    from body4d.run.pipeline import Pipeline

    with screen:
        Pipeline.load(settings).run(video, out, prompts=prompts, fresh=fresh, listener=screen)
    if screen.folder is None:
        raise AssertionError("a run that ends well has named its folder")
    return screen.folder


def print_result(folder: Path, *, quiet: bool, as_json: bool, profile: bool = False) -> None:
    """What came out: the table of ``info`` and where the files lie; with ``--json`` the event ``result``."""
    found = summary(read_run(folder))
    files = [name for name in FILES if (folder / name).is_file()]
    if as_json:
        print_json({"event": "result", "run": str(folder), "files": files, **found})
        return
    if quiet:
        return
    print_people(found["people"])
    if profile:
        typer.echo()
        print_stages(found["stages"])
    typer.echo(f"\n{folder}/")
    for name in files:
        typer.echo(f"  {name:18} {FILES[name]}")


def render_run(run: Path, out: Path, video: Path | None, settings: PictureSettings, screen: Screen) -> list[Path]:
    """Draw a finished run's pictures into ``out``."""
    from body4d.config.loading import load_settings
    from body4d.core.scene_io import load_scene
    from body4d.run.pipeline import draw, open_clip
    from body4d.run.run_folder import lock_run_folder, make_folder

    scene_path, record = finished_scene(run), read_run(run)
    video = video or Path(record.input["path"])
    if not video.is_file():
        raise InputError(f"The clip of this run is no longer at {video}; say where it lies with --video.")
    make_folder(out)
    looked_at = load_settings(None, {f"video.{name}": value for name, value in record.settings["video"].items()}, {}).video
    meter = Meter("pictures", screen)
    with lock_run_folder(run):
        draw(load_scene(scene_path, video), open_clip(video, looked_at), out, settings, meter)
    meter.send("done")
    return [out / OVERLAY, out / VIEWS, out / SHEET]


def score_run(run: Path, truth: Path) -> "RunScore":
    """Score a finished run against ``truth``: a true scene's file, with its masks beside it, or the folder that holds both."""
    from body4d.core.scene_io import load_masks, load_scene
    from body4d.evaluate.score import score_scene

    scene, masks = load_scene(finished_scene(run)), load_masks(run / MASKS)
    true_scene = truth / "truth.npz" if truth.is_dir() else truth
    true_masks = true_scene.with_name(f"{true_scene.stem}_masks.npz")
    return score_scene(scene, masks, load_scene(true_scene), load_masks(true_masks))


def score_as_json(score: "RunScore") -> dict[str, Any]:
    """A score for machines; what could not be judged is null."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: known(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [known(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return known(asdict(score))


def make_swing(folder: Path, view: "CameraView", screen: Screen) -> Path:
    """The synthetic golf swing of the demo, made once: the video's path. The truth lies beside it and is written last."""
    from body4d.evaluate.synthetic.clip import make_clip

    meter = Meter("clip", screen)
    if (folder / "truth.npz").is_file():
        meter.send("skipped")
        return folder / "swing.mp4"
    clip = make_clip("swing", folder, view=view)
    meter.send("done")
    return clip.video
