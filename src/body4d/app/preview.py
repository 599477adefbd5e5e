"""The people on one frame: found once, chosen by clicks without asking the segmenter again where their masks say enough, and painted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, UInt8

from body4d.app.prompts import ClickPrompt, is_same_mask, match_mask, person_prompts, run_prompts
from body4d.core.errors import InputError, NoPersonError, RunWarning
from body4d.core.files import atomic_file
from body4d.core.stages import Segmenter, ignore_progress
from body4d.core.types import Clip, MaskTrack, Prompt
from body4d.render.style import person_colour

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

MAX_FRAMES_KEPT = 256
"""Frames whose people are remembered, of all visitors; those of a frame take a few kilobytes."""

MAX_ANSWERS_KEPT = 64
"""Answers of the segmenter to prompts that are remembered for each frame."""

PREVIEW_SIDE_PX = 1280
"""Longer side of the painted picture: sharp on a laptop, and some 150 kB."""

JPEG_QUALITY = 85
CHOSEN_OPACITY, OTHER_OPACITY = 0.6, 0.35
OTHER_COLOUR = (235, 240, 245)
"""Of people who are not chosen, once somebody is."""


@dataclass(frozen=True)
class PreviewPerson:
    """Somebody on a frame. ``chosen``: prompts or words mean them. ``mask_code`` is the COCO run-length code of the mask."""

    person_id: int
    chosen: bool
    mask_code: bytes


@dataclass(frozen=True)
class FramePeople:
    """The people on a frame, chosen ones first. ``rejected`` are prompts that mean nobody: each would fail the run."""

    people: tuple[PreviewPerson, ...]
    warnings: tuple[RunWarning, ...] = ()
    rejected: tuple[ClickPrompt, ...] = ()


@dataclass(frozen=True)
class Preview:
    """A frame as the page shows it: the measures of its clip, and its people."""

    frame: int
    frames: int
    fps: float
    seconds: float
    width_px: int
    height_px: int
    on_frame: FramePeople

    def masks(self) -> list[Bool[np.ndarray, "h w"]]:
        """Everybody's masks, at the clip's size."""
        return [decode_mask(person.mask_code, self.height_px, self.width_px) for person in self.on_frame.people]


def decode_mask(code: bytes, height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
    """The mask of a COCO run-length code."""
    return MaskTrack(0, np.zeros(1, np.int64), (code,), height_px, width_px).mask(0)


@dataclass(frozen=True)
class SingleFrameSource:
    """Frame ``frame`` of the clip ``whole_clip`` as a ``body4d.core.stages.FrameSource`` of its own, in which it has the index 0."""

    whole_clip: Clip
    frame: int
    picture: UInt8[np.ndarray, "h w 3"]
    warnings: tuple[RunWarning, ...] = ()

    @property
    def clip(self) -> Clip:
        source_frames = self.whole_clip.source_frames[self.frame : self.frame + 1]
        return replace(self.whole_clip, times_s=np.zeros(1), source_frames=source_frames)

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        if first == 0 and (last is None or last > 0):
            yield 0, self.picture


@dataclass
class _FrameCache:
    """What the segmenter found on one frame: everybody, the person of some prompts (None: nobody), and the people of a text."""

    everybody: tuple[bytes, ...]
    prompted: dict[tuple[ClickPrompt, ...], bytes | None] = field(default_factory=dict)
    by_text: dict[str, tuple[bytes, ...]] = field(default_factory=dict)


class FramePeopleFinder:
    """Finds the people on frames. The segmenter runs once for a frame, once for each text, and once for each click that the masks do not
    explain; everything else is decided by the masks that it gave.

    ``draws_by_clicks``: the segmenter draws masks by clicks (SAM-3), so that a click beside all people or beside what it
    should take away asks it; BlazePose only chooses among those it found.
    """

    def __init__(self, segmenter: Callable[[], Segmenter], draws_by_clicks: bool) -> None:
        self._segmenter, self._draws_by_clicks = segmenter, draws_by_clicks
        self._frames: dict[tuple[Path, int], _FrameCache] = {}

    def find(self, source: SingleFrameSource, prompts: Sequence[ClickPrompt] = (), text: str = "") -> FramePeople:
        """Everybody on a frame. Prompts for other frames are ignored. Nobody found is a warning, not an error."""
        cache = self._frame_cache(source)
        size = (source.whole_clip.height_px, source.whole_clip.width_px)
        known = [decode_mask(code, *size) for code in cache.everybody]
        chosen: dict[int, bytes] = {}
        warnings: list[RunWarning] = []
        rejected: list[ClickPrompt] = []
        taken: set[int] = set()
        for own_prompts in person_prompts(prompts, source.frame).values():
            while own_prompts:
                found = self._find_person(cache, source, own_prompts, known, taken)
                if isinstance(found, bytes):
                    chosen[own_prompts[0].person_id] = found
                    break
                warnings.append(found)
                rejected.append(own_prompts[-1])
                own_prompts = own_prompts[:-1]
        if text.strip():
            by_text = self._find_by_text(cache, source, text.strip())
            if not by_text:
                message = "Nobody on this frame was found by these words."
                warnings.append(RunWarning("text_found_nobody", message, facts={"text": text.strip(), "frame": source.frame}))
            _add_people(chosen, by_text, size)
        people = [PreviewPerson(person_id, True, code) for person_id, code in chosen.items()]
        with_others = dict(chosen)
        _add_people(with_others, cache.everybody, size)
        people += [PreviewPerson(person_id, False, code) for person_id, code in with_others.items() if person_id not in chosen]
        if not people and not warnings:
            message = "Nobody was found on this frame."
            hint = "Choose a frame on which somebody is seen from head to foot."
            warnings.append(RunWarning("nobody_on_frame", message, hint, {"frame": source.frame}))
        return FramePeople(tuple(people), tuple(warnings), tuple(rejected))

    def _frame_cache(self, source: SingleFrameSource) -> _FrameCache:
        key = (source.whole_clip.path, source.frame)
        if key not in self._frames:
            add_bounded(self._frames, key, _FrameCache(self._segment(source, ())), MAX_FRAMES_KEPT)
        return self._frames[key]

    def _find_person(
        self, cache: _FrameCache, source: SingleFrameSource, prompts: tuple[ClickPrompt, ...], known: Sequence[np.ndarray], taken: set[int]
    ) -> bytes | RunWarning:
        """The mask of the person whom the prompts mean, or why they mean nobody. ``taken``: indices of those ``known`` who are chosen by
        others' prompts; added to."""
        index = None if prompts in cache.prompted else match_mask(prompts, known, exactly=self._draws_by_clicks)
        if index is not None and index not in taken:
            taken.add(index)
            return cache.everybody[index]
        if index is not None and not self._draws_by_clicks:
            return _same_person_twice(source.frame, prompts[0].person_id)
        code = self._ask(cache, source, prompts)
        return _nobody_at_click(source.frame, prompts) if code is None else code

    def _ask(self, cache: _FrameCache, source: SingleFrameSource, prompts: tuple[ClickPrompt, ...]) -> bytes | None:
        """The mask that the segmenter gives for one person's prompts; None where it finds nobody by them."""
        if prompts not in cache.prompted:
            frame_prompts = [replace(prompt, frame=0) for prompt in run_prompts(prompts, "", np.array([source.frame]))]
            codes: tuple[bytes, ...] = ()
            if any(prompt.locates_person for prompt in prompts):
                codes = self._segment(source, frame_prompts)
            add_bounded(cache.prompted, prompts, codes[0] if codes else None, MAX_ANSWERS_KEPT)
        return cache.prompted[prompts]

    def _find_by_text(self, cache: _FrameCache, source: SingleFrameSource, text: str) -> tuple[bytes, ...]:
        if text not in cache.by_text:
            add_bounded(cache.by_text, text, self._segment(source, [Prompt(text=text)]), MAX_ANSWERS_KEPT)
        return cache.by_text[text]

    def _segment(self, source: SingleFrameSource, prompts: Sequence[Prompt]) -> tuple[bytes, ...]:
        try:
            tracks = self._segmenter().track(source, prompts, ignore_progress).value
        except NoPersonError:
            return ()
        except InputError:
            if not prompts:
                raise
            return ()  # The prompt means nobody.
        return tuple(track.codes[0] for track in tracks if len(track))


def _nobody_at_click(frame: int, prompts: Sequence[ClickPrompt]) -> RunWarning:
    facts = {"frame": frame, "person": prompts[0].person_id}
    if not any(prompt.locates_person for prompt in prompts):
        message = "On this frame nothing says yet where the person is."
        return RunWarning("only_clicks_outside", message, "Click on the person first, then on what does not belong to them.", facts)
    hint = "Click on the middle of a body, or choose a frame on which the whole body is seen."
    return RunWarning("prompt_points_at_nobody", "There is nobody here who can be followed.", hint, facts)


def _same_person_twice(frame: int, person_id: int) -> RunWarning:
    message = "This is somebody who is chosen already, as another person."
    return RunWarning("prompts_of_one_person", message, "Click on somebody else.", {"frame": frame, "person": person_id})


def _add_people(people: dict[int, bytes], codes: Sequence[bytes], size: tuple[int, int]) -> None:
    """Add those of ``codes`` who are not among ``people`` yet, under free ids."""
    masks = [decode_mask(code, *size) for code in people.values()]
    free_ids = (number for number in range(1, len(people) + len(codes) + 1) if number not in people)
    for code in codes:
        mask = decode_mask(code, *size)
        if not any(is_same_mask(mask, other) for other in masks):
            people[next(free_ids)] = code


def add_bounded(cache: dict[Any, Any], key: Any, value: Any, limit: int) -> None:
    """Add to a cache of at most ``limit`` entries; the oldest ones are dropped."""
    cache[key] = value
    while len(cache) > limit:
        del cache[next(iter(cache))]


def paint_people(
    picture: UInt8[np.ndarray, "h w 3"],
    people: Sequence[PreviewPerson],
    prompts: Sequence[ClickPrompt],
    path: Path,
    side_px: int = PREVIEW_SIDE_PX,
) -> None:
    """Write ``picture`` as JPEG with the prompts drawn in: people in their colours, those chosen numbered and others then pale. Raises
    OutputError."""
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    scale = min(1.0, side_px / max(width, height))
    painted = picture.astype(np.float32)
    labels: list[tuple[float, float, str, tuple[int, int, int]]] = []
    nobody_chosen = not any(person.chosen for person in people)
    for person in people:
        track = MaskTrack(person.person_id, np.zeros(1, np.int64), (person.mask_code,), height, width)
        colour = person_colour(person.person_id - 1) if person.chosen or nobody_chosen else OTHER_COLOUR
        _tint(painted, track.mask(0), colour, CHOSEN_OPACITY if person.chosen else OTHER_OPACITY)
        x0, y0, x1, _ = track.boxes_px()[0]
        if person.chosen:
            labels.append(((x0 + x1) / 2 * scale, y0 * scale, str(person.person_id), colour))
    image = Image.fromarray(painted.round().astype(np.uint8))
    if scale < 1:
        image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    unit_px = max(image.size) / 100
    for prompt in prompts:
        _draw_prompt(draw, prompt, scale, unit_px)
    for x, y, text, colour in labels:
        _draw_number(draw, x, y, text, colour, unit_px)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    with atomic_file(path) as file:
        file.write(buffer.getvalue())


def _tint(painted: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], opacity: float) -> None:
    painted[mask] = (1 - opacity) * painted[mask] + opacity * np.array(colour, np.float32)
    inner = mask.copy()
    outline_px = max(1, round(max(mask.shape) / 640))
    for axis in (0, 1):
        for step in (-outline_px, outline_px):
            inner &= np.roll(mask, step, axis)
    painted[mask & ~inner] = colour


def _draw_prompt(draw: "ImageDraw", prompt: ClickPrompt, scale: float, unit_px: float) -> None:
    colour = person_colour(prompt.person_id - 1)
    position = [value * scale for value in prompt.position_px]
    if prompt.box_px is not None:
        draw.rectangle(position, outline=colour, width=max(2, round(0.3 * unit_px)))
        return
    x, y = position
    r = 0.9 * unit_px
    draw.ellipse((x - r, y - r, x + r, y + r), fill=colour if prompt.locates_person else (200, 40, 40), outline=(255, 255, 255), width=2)
    draw.line((x - r / 2, y, x + r / 2, y), fill=(255, 255, 255), width=2)
    if prompt.locates_person:
        draw.line((x, y - r / 2, x, y + r / 2), fill=(255, 255, 255), width=2)


def _draw_number(draw: "ImageDraw", x: float, y: float, text: str, colour: tuple[int, int, int], unit_px: float) -> None:
    """A disc with a person's number above their head, kept inside the picture."""
    from PIL import ImageFont

    r = 1.9 * unit_px
    y = max(y - 1.4 * r, r + 2)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline=(255, 255, 255), width=2)
    draw.text((x, y), text, fill=(10, 20, 30), anchor="mm", font=ImageFont.load_default(2.4 * unit_px))
