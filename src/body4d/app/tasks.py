"""What the computing process is asked, what it answers, and how each is done. Picklable, so that it crosses a pipe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from body4d.app.limits import examine, whole
from body4d.app.prompts import Mark, Person, prompts_of
from body4d.config import Settings
from body4d.core.errors import InputError, NoPersonError, RunWarning
from body4d.core.progress import Event, EventListener, Meter
from body4d.core.stages import Segmenter, ignore_progress
from body4d.core.types import Clip, MaskTrack
from body4d.run.record import GLB, OVERLAY, SHEET, VIEWS

PICTURE = "people.jpg"
EVERYTHING = "everything.zip"
TABLE, NUMBERS = "joints.csv", "body.npz"


@dataclass(frozen=True)
class Warm:
    """Load what every task needs, so that the first visitor does not wait for it."""


@dataclass(frozen=True)
class Example:
    """Film the built-in example, a synthetic golf swing, into ``folder``, once."""

    folder: Path


@dataclass(frozen=True)
class Look:
    """Examine a clip, find the people on one of its frames, and paint them into ``picture``."""

    video: Path
    picture: Path
    frame: int = 0
    marks: tuple[Mark, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Sight:
    """What a :class:`Look` saw. ``note`` is a sentence for the visitor, "" where all is well."""

    frame: int
    frames: int
    fps: float
    seconds: float
    width_px: int
    height_px: int
    people: tuple[Person, ...]
    note: str = ""


@dataclass(frozen=True)
class Make:
    """Run the pipeline on a clip into ``out``, and write every download."""

    video: Path
    out: Path
    settings: Settings
    marks: tuple[Mark, ...] = ()
    text: str = ""


Task = Warm | Example | Look | Make


def do(task: Task, settings: Settings, listener: EventListener) -> Sight | None:
    """Do a task with the app's ``settings``. Raises Body4DError."""
    if isinstance(task, Look):
        return look(task, settings)
    if isinstance(task, Make):
        make(task, listener)
    elif isinstance(task, Example):
        film_example(task.folder)
    else:
        _segmenter(_for_choosing(settings).model_dump_json())
    return None


def make(task: Make, listener: EventListener) -> None:
    """The whole run. Marks are for frames of the file, and are moved to the range that is looked at."""
    from body4d.run.pipeline import Pipeline
    from body4d.video import probe

    settings = task.settings
    clip = probe(task.video, settings.video)
    prompts = prompts_of(task.marks, task.text, clip.source_frames)
    scene = Pipeline.load(settings).run(task.video, task.out, prompts=prompts, listener=listener)
    meter = Meter("downloads", listener)
    meter.send("started")
    from body4d.export import export_scene

    written = [path for fmt in ("bvh", "csv", "npz") for path in export_scene(scene, fmt, task.out)]
    write_zip(task.out, [OVERLAY, VIEWS, SHEET, GLB, *(path.name for path in written)])
    meter(1, 1)
    meter.send("done")


def example_clip(folder: Path) -> Path | None:
    """The example's video, None where it was not filmed yet. The truth beside it is written last."""
    return folder / "swing.mp4" if (folder / "truth.npz").is_file() else None


def film_example(folder: Path) -> None:
    """Film the swing of ``body4d demo``."""
    if example_clip(folder) is None:
        from body4d.evaluate.synthetic.clip import make_clip

        make_clip("swing", folder)


def write_zip(folder: Path, names: Sequence[str]) -> None:
    """Everything in one file, uncompressed: videos do not shrink. Appears whole or not at all."""
    from body4d.core.files import atomic_file

    with atomic_file(folder / EVERYTHING) as file, ZipFile(file, "w", ZIP_STORED) as archive:
        for name in names:
            if (folder / name).is_file():
                archive.write(folder / name, name)


def look(task: Look, settings: Settings) -> Sight:
    """Find people on one frame. Raises InputError where the file is refused; nobody found is a note, no error."""
    from body4d.app.preview import paint_people

    clip = examine(task.video, settings.model_copy(update={"video": whole(settings.video)}))
    frame = min(max(task.frame, 0), len(clip) - 1)
    source = OneFrame(clip, frame, _frame_of(clip, frame, settings))
    marks = [mark for mark in task.marks if mark.frame == frame]
    people, note = find(_segmenter(_for_choosing(settings).model_dump_json()), source, marks, task.text)
    paint_people(source.picture, people, marks, task.picture, settings.app.preview_side_px)
    return Sight(frame, len(clip), clip.fps, float(clip.times_s[-1]), clip.width_px, clip.height_px, people, note)


def find(segmenter: Segmenter, source: "OneFrame", marks: Sequence[Mark], text: str) -> tuple[tuple[Person, ...], str]:
    """Everybody on a frame, those chosen by marks or words first, and a sentence where there is something to say."""
    notes = []
    chosen: tuple[MaskTrack, ...] = ()
    prompts = [replace(prompt, frame=0) for prompt in prompts_of(marks, text, np.array([source.frame]))]
    if prompts:
        try:
            chosen = segmenter.track(source, prompts, ignore_progress).value
        except InputError as error:
            notes.append(_of_this_frame(error))
    try:
        others = segmenter.track(source, (), ignore_progress).value
    except NoPersonError:
        others = ()
        if not chosen and not notes:
            notes.append("Nobody was found on this frame. Move the slider to one where somebody is seen from head to foot.")
    people = [Person(track.person_id, True, track.codes[0]) for track in chosen if len(track)]
    taken = [track.mask(0) for track in chosen if len(track)]
    numbers = (number for number in range(1, 100) if number not in {person.number for person in people})
    for track in others:
        if len(track) and not any(same_person(track.mask(0), mask) for mask in taken):
            people.append(Person(next(numbers), False, track.codes[0]))
    return tuple(people), " ".join(notes)


SAME_LEAST_IOU = 0.5
"""Two masks of one frame that cover each other this far are one person; different people who overlap stay far below."""


def same_person(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two masks (H, W) of one frame show the same person. Pure."""
    return bool((one & other).sum() >= SAME_LEAST_IOU * max((one | other).sum(), 1))


@dataclass(frozen=True)
class OneFrame:
    """Frame ``frame`` of the clip ``whole`` as a FrameSource of its own."""

    whole: Clip
    frame: int
    picture: np.ndarray
    warnings: tuple[RunWarning, ...] = ()

    @property
    def clip(self) -> Clip:
        return replace(self.whole, times_s=np.zeros(1), source_frames=self.whole.source_frames[self.frame : self.frame + 1])

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        if first == 0 and (last is None or last > 0):
            yield 0, self.picture


def _frame_of(clip: Clip, frame: int, settings: Settings) -> np.ndarray:
    from body4d.video import VideoReader

    for _, picture in VideoReader(clip).read(frame, frame + 1):
        return picture
    raise InputError(f"Frame {frame} of this clip cannot be read; choose another one.")


def _for_choosing(settings: Settings) -> Settings:
    """Everybody is found for choosing, however small a part they play, by models that stay loaded from click to click."""
    everybody, loaded = settings.people.model_copy(update={"count": "all"}), settings.sam3.model_copy(update={"keep_loaded": True})
    return settings.model_copy(update={"people": everybody, "sam3": loaded})


@lru_cache(maxsize=1)
def _segmenter(settings_json: str) -> Segmenter:
    """The preset's segmenter, kept between looks so that models stay loaded."""
    from body4d.run.presets import load_components

    return load_components(Settings.model_validate_json(settings_json)).segmenter


def _of_this_frame(error: InputError) -> str:
    """A preview knows one frame, which it numbers 0; the visitor's has another number."""
    return str(error).replace(" on frame 0", " on this frame")


Answer = tuple[str, Event | Sight | str | None]
"""("event", Event), ("done", result), ("refused", sentence), ("fault", what to log), or ("ready", None)."""
