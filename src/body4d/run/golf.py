"""The golf analysis of a finished run: tables, report, the club's path, and the comparison with another run."""

from dataclasses import dataclass, replace
from pathlib import Path

from body4d.config import Settings
from body4d.config.loading import load_settings
from body4d.core.errors import Body4DError, RunWarning
from body4d.core.progress import EventListener, Meter, ignore_events
from body4d.core.scene_io import load_scene
from body4d.core.stages import FrameSource
from body4d.core.types import BodyTrack, Camera
from body4d.golf.clip_analysis import FindClub, analyze_clip
from body4d.golf.file_names import TRACE_NAME
from body4d.golf.report.write import GolfRun, write_report
from body4d.golf.tables import write_tables
from body4d.golf.trace import write_club_trace
from body4d.golf.types import ClubShaft, GolfAnalysis, GolfOptions
from body4d.run.pipeline import open_clip
from body4d.run.record import RunRecord, finished_scene, read_run
from body4d.run.run_folder import lock_run_folder, make_folder


@dataclass(frozen=True)
class GolfFiles:
    """What was found, and the files that tell it."""

    analysis: GolfAnalysis
    files: tuple[Path, ...]


def golf_of_run(
    run: Path,
    out: Path | None = None,
    options: GolfOptions = GolfOptions(),  # noqa: B008 - frozen
    *,
    compare: Path | None = None,
    video: Path | None = None,
    clip_name: str = "",
    listener: EventListener = ignore_events,
) -> GolfFiles:
    """Analyse the swing of a finished run, and write golf.json, golf.csv, golf.html, golf.pdf and, where the club was seen, golf_trace.mp4
    into ``out``, the run folder where it is None. With ``compare``, another finished run, golf_comparison.html as well.

    ``video`` is where the clip lies now, where it was moved; without it the body alone is told and drawn. ``clip_name`` is what the report
    calls the clip, the name of its file where it is "". Raises NoSwingError, InputError,
    OutputError.
    """
    out = out or run
    meter = Meter("golf", listener)
    meter.send("started")
    mine = _golf_run(run, options, video, clip_name)
    other = None if compare is None else _golf_run(compare, GolfOptions(), None)
    make_folder(out)
    with lock_run_folder(run):
        files = write_tables(mine.analysis, out)
        files += write_report(mine.analysis, mine.scene, mine.frames, out, other)
        club, frames = mine.analysis.club, mine.frames
        if club is not None and frames is not None:
            first, last = int(club.frames[0]), int(club.frames[-1]) + 1
            if write_club_trace(frames, club, out / TRACE_NAME, first, last, Meter("club", listener)):
                files.append(out / TRACE_NAME)
    meter.send("done")
    return GolfFiles(mine.analysis, tuple(files))


def _golf_run(run: Path, options: GolfOptions, video: Path | None, clip_name: str = "") -> GolfRun:
    record = read_run(run)
    path = video or Path(record.input.get("path", ""))
    settings = load_settings(None, {f"video.{name}": value for name, value in record.settings.get("video", {}).items()}, {})
    frames, warnings = _clip(path, settings)
    scene = load_scene(finished_scene(run), path)
    if frames is not None and len(frames.clip) != len(scene.clip):
        frames, warnings = None, (_clip_gone(path),)
    analysis = analyze_clip(scene, frames, options, _club_by_name(record) if record.preset == "sam" else None)
    name = clip_name or analysis.clip_name
    return GolfRun(replace(analysis, clip_name=name, warnings=(*analysis.warnings, *warnings)), scene, frames)


def _clip(path: Path, settings: Settings) -> tuple[FrameSource | None, tuple[RunWarning, ...]]:
    """The clip's pictures, or None and why."""
    if not path.is_file():
        return None, (_clip_gone(path),)
    try:
        return open_clip(path, settings.video), ()
    except Body4DError as error:
        return None, (RunWarning("golf_clip_unreadable", f"The pictures of the clip are left out: {error.message}"),)


def _clip_gone(path: Path) -> RunWarning:
    return RunWarning(
        "golf_clip_gone",
        f"The clip is no longer at {path}, so the club and the sound are left out, and no picture of the clip is shown.",
        "--video says where it lies now.",
    )


def _club_by_name(record: RunRecord) -> FindClub:
    """Asks SAM-3 for "golf club"; None where its checkpoint or a GPU is not there, or it finds none."""

    def find(frames: FrameSource, track: BodyTrack, camera: Camera, first: int, last: int) -> ClubShaft | None:
        from body4d.golf.club.masks import club_from_masks, club_masks
        from body4d.run.presets import sam_components

        try:
            masks = club_masks(sam_components(Settings.model_validate(record.settings)).segmenter, frames.clip, first, last)
        except Body4DError:
            return None  # ``ClubShaft.source`` says that a line was looked for instead.
        return None if masks is None else club_from_masks(masks, track, camera)

    return find
