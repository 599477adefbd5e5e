"""What the computing process is asked to do, and how it does each. Picklable, so that a task crosses a pipe."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from jaxtyping import Float

from body4d.app.forms import check_upload, whole_turned
from body4d.app.preview import FramePeopleFinder, Preview, SingleFrameSource, add_bounded, write_jpeg
from body4d.app.prompts import ClickPrompt, run_prompts
from body4d.config import Settings
from body4d.core.errors import Body4DError, Cancelled, InputError
from body4d.core.progress import EventListener, Meter
from body4d.core.stages import Segmenter
from body4d.golf.file_names import RUN_FILES
from body4d.run.record import GLB, OVERLAY, SHEET, VIEWS

log = logging.getLogger(__name__)

FRAME_PICTURE, FILM_STRIP = "frame.jpg", "strip.jpg"
ARCHIVE, BODY_HTML = "everything.zip", "body.html"

STRIP_TILES, STRIP_TILE_PX = 12, 160
"""Pictures of a film strip, and the longer side of each: sharp on a phone, and some 60 kB together."""

EXAMPLE_NICENESS = 10
"""The example is filmed while the first visitor may be choosing already, and must not slow them down."""

MAX_PICTURES_KEPT = 4
"""Decoded frames that are kept for the next click; one of 4K takes 25 MB."""


@dataclass(frozen=True)
class WarmUpTask:
    """Load what every task needs, so that the first visitor does not wait for it."""


@dataclass(frozen=True)
class ExampleTask:
    """Film the built-in example, a synthetic golf swing, into ``folder``, unless it is there."""

    folder: Path


@dataclass(frozen=True)
class PreviewTask:
    """Check a clip, find the people on one of its frames, and write that frame into ``picture``."""

    video: Path
    picture: Path
    frame: int = 0
    prompts: tuple[ClickPrompt, ...] = ()
    text: str = ""
    rotate_deg: int = 0


@dataclass(frozen=True)
class FilmStripTask:
    """Write ``STRIP_TILES`` pictures of a clip, evenly spread over its time, side by side into ``picture``."""

    video: Path
    picture: Path
    rotate_deg: int = 0


@dataclass(frozen=True)
class RunTask:
    """Run the pipeline on a clip into ``out``, and write every download. ``prompts`` are for frames of the file.

    ``name`` is what the visitor calls the clip, for the titles of pages: on the disk it bears a name of ours.
    """

    video: Path
    out: Path
    settings: Settings
    prompts: tuple[ClickPrompt, ...] = ()
    text: str = ""
    name: str = "clip"


Task = WarmUpTask | ExampleTask | PreviewTask | FilmStripTask | RunTask


class TaskRunner:
    """Does tasks with the app's ``settings``. Between previews it keeps the segmenter, and what it found, for the next click."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: Segmenter | None = None
        self._finder = FramePeopleFinder(self._segmenter, draws_by_clicks=settings.preset == "sam")
        self._sources: dict[tuple[Path, int, int], SingleFrameSource] = {}

    def run(self, task: Task, listener: EventListener) -> Preview | None:
        """Do a task. Raises Body4DError."""
        if isinstance(task, PreviewTask):
            return self._preview(task)
        if isinstance(task, RunTask):
            run_clip(task, listener)
        elif isinstance(task, FilmStripTask):
            write_film_strip(task.video, task.picture, self._turned(task.rotate_deg))
        elif isinstance(task, ExampleTask):
            os.nice(EXAMPLE_NICENESS)  # Its process does nothing else.
            film_example(task.folder)
        else:
            self._segmenter()
        return None

    def _preview(self, task: PreviewTask) -> Preview:
        """Raises InputError where the file is refused."""
        source = self._source(task.video, task.frame, task.rotate_deg)
        clip, prompts = source.whole_clip, [prompt for prompt in task.prompts if prompt.frame == source.frame]
        on_frame = self._finder.find(source, prompts, task.text)
        write_jpeg(source.picture, task.picture)
        seconds = float(clip.times_s[-1])
        return Preview(source.frame, len(clip), clip.fps, seconds, clip.width_px, clip.height_px, on_frame, task.rotate_deg)

    def _turned(self, rotate_deg: int) -> Settings:
        return self._settings.model_copy(update={"video": whole_turned(self._settings.video, rotate_deg)})

    def _source(self, video: Path, frame: int, rotate_deg: int) -> SingleFrameSource:
        """The frame of a clip that is within the limits, the last one for a frame beyond it."""
        key = (video, frame, rotate_deg)
        if key not in self._sources:
            add_bounded(self._sources, key, _read_frame(video, frame, self._turned(rotate_deg)), MAX_PICTURES_KEPT)
        return self._sources[key]

    def _segmenter(self) -> Segmenter:
        """The preset's segmenter. It finds everybody, however small, and its models stay loaded from click to click."""
        if self._loaded is None:
            from body4d.run.presets import load_components

            people = self._settings.people.model_copy(update={"count": "all"})
            sam3 = self._settings.sam3.model_copy(update={"keep_loaded": True})
            self._loaded = load_components(self._settings.model_copy(update={"people": people, "sam3": sam3})).segmenter
        return self._loaded


def _read_frame(video: Path, frame: int, settings: Settings) -> SingleFrameSource:
    from body4d.video import VideoReader

    clip = check_upload(video, settings)
    frame = min(max(frame, 0), len(clip) - 1)
    for _, picture in VideoReader(clip).read(frame, frame + 1):
        return SingleFrameSource(clip, frame, picture)
    raise InputError(f"Frame {frame} of this clip cannot be read.", code="frame_unreadable", hint="Choose another one.", frame=frame)


def write_film_strip(video: Path, picture: Path, settings: Settings) -> None:
    """The pictures of a film strip in one JPEG; ``settings`` are for the whole clip. Raises InputError, OutputError."""
    from PIL import Image

    from body4d.video import VideoReader

    clip = check_upload(video, settings)
    reader = VideoReader(clip)
    tiles = []
    for frame in strip_frames(clip.times_s, key_times_s(video), STRIP_TILES):
        for _, pixels in reader.read(frame, frame + 1):
            image = Image.fromarray(pixels)
            image.thumbnail((STRIP_TILE_PX, STRIP_TILE_PX))
            tiles.append(np.asarray(image))
    if tiles:
        write_jpeg(np.concatenate(tiles, axis=1), picture, side_px=STRIP_TILE_PX * STRIP_TILES)


def strip_frames(times_s: Float[np.ndarray, " n"], key_s: Float[np.ndarray, " keys"], tiles: int) -> list[int]:
    """Frames for a film strip: the middle of each tile's time, or a key frame inside it, which is decoded alone. Pure."""
    width_s = float(times_s[-1]) / tiles
    frames = []
    for tile in range(tiles):
        middle_s = (tile + 0.5) * width_s
        near = key_s[np.abs(key_s - middle_s) <= width_s / 2]
        at_s = near[np.argmin(np.abs(near - middle_s))] if len(near) else middle_s
        frames.append(int(np.argmin(np.abs(times_s - at_s))))
    return frames


def key_times_s(video: Path) -> Float[np.ndarray, " keys"]:
    """When the frames are shown from which decoding may start, in seconds from the first frame."""
    from body4d.video.timeline import Timeline

    timeline = Timeline.open(video)
    return (np.array(timeline.key_ticks) - timeline.ticks[0]) * float(timeline.time_base)


def run_clip(task: RunTask, listener: EventListener) -> None:
    """The whole run, then the files that only the app's page offers."""
    from body4d.core.files import atomic_file
    from body4d.export import export_scene, page_formats
    from body4d.export.movement import MOVEMENT, movement_json
    from body4d.run.pipeline import Pipeline
    from body4d.video import probe

    settings = task.settings
    clip = probe(task.video, settings.video)
    prompts = run_prompts(task.prompts, task.text, clip.source_frames)
    scene = Pipeline.load(settings, listener).run(task.video, task.out, prompts=prompts, listener=listener)
    golf = find_swing(task.out, task.video, task.name, listener)
    scene = replace(scene, clip=replace(scene.clip, path=scene.clip.path.with_name(task.name)))
    meter = Meter("downloads", listener)
    meter.send("started")
    written = [path for fmt in (*page_formats(), "html") for path in export_scene(scene, fmt, task.out)]
    with atomic_file(task.out / MOVEMENT) as file:
        file.write(movement_json(scene).encode())
    write_archive(task.out, [OVERLAY, VIEWS, SHEET, GLB, *(path.name for path in written), *golf])
    meter(1, 1)
    meter.send("done")


def find_swing(run: Path, video: Path, clip_name: str, listener: EventListener) -> list[str]:
    """Names of the golf files written into a finished run; none where it holds no golf swing, as most clips do.

    Whatever goes wrong here leaves the run as it is: the body is what the visitor asked for.
    """
    from body4d.run.golf import golf_of_run

    # Those of an earlier run, which may have followed somebody else.
    for name in RUN_FILES:
        (run / name).unlink(missing_ok=True)
    meter = Meter("golf", listener)
    meter.send("started")
    try:
        names = [path.name for path in golf_of_run(run, video=video, clip_name=clip_name, listener=listener).files]
    except Cancelled:
        raise
    except Body4DError as error:
        log.info("no golf analysis: %s", error.code)
        names = []
    except Exception:
        log.exception("the golf analysis failed; the run is complete without it")
        names = []
    if not names:
        for name in RUN_FILES:
            (run / name).unlink(missing_ok=True)
        meter.send("done")
    return names


def example_clip(folder: Path) -> Path | None:
    """The example's video, None where it was not filmed yet. The truth beside it is written last."""
    return folder / "swing.mp4" if (folder / "truth.npz").is_file() else None


def film_example(folder: Path) -> None:
    """Film the swing of ``body4d demo``, unless it is there."""
    if example_clip(folder) is None:
        from body4d.evaluate.synthetic.clip import make_clip

        make_clip("swing", folder)


def write_archive(folder: Path, names: Sequence[str]) -> None:
    """All files in one, uncompressed, since videos do not shrink. The archive appears complete or not at all."""
    from body4d.core.files import atomic_file

    with atomic_file(folder / ARCHIVE) as file, ZipFile(file, "w", ZIP_STORED) as archive:
        for name in names:
            if (folder / name).is_file():
                archive.write(folder / name, name)
