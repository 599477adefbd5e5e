"""The people on one frame: found once, chosen by clicks without asking the segmenter again where their masks say enough."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from body4d.app.prompts import ClickPrompt, is_same_mask, match_mask, person_prompts, run_prompts
from body4d.core.errors import InputError, NoPersonError, RunWarning
from body4d.core.files import atomic_file
from body4d.core.stages import Segmenter, ignore_progress
from body4d.core.types import Clip, MaskTrack, Prompt

MAX_FRAMES_KEPT = 256
"""Frames whose people are remembered, of all visitors; those of a frame take a few kilobytes."""

MAX_ANSWERS_KEPT = 64
"""Answers of the segmenter to prompts that are remembered for each frame."""

PREVIEW_SIDE_PX = 1280
"""Longer side of the picture of a frame: sharp on a laptop, and some 150 kB."""

JPEG_QUALITY = 85

OUTLINE_SIDE_PX = 480
"""Outlines of people are traced on masks of this longer side: finer than a mouse points, and a few kilobytes each."""

OUTLINE_TOLERANCE_PX = 0.6
"""An outline may leave out corners up to this far off, in pixels of the mask on which it is traced: nobody sees them."""


@dataclass(frozen=True)
class PreviewPerson:
    """Somebody on a frame. ``chosen``: prompts or words mean them. ``mask_code`` is the COCO run-length code of the mask."""

    person_id: int
    chosen: bool
    mask_code: bytes


@dataclass(frozen=True)
class FramePeople:
    """The people on a frame, chosen ones first. ``rejected`` are prompts that mean nobody: each would fail the run. ``everybody`` are the
    masks of those whom the segmenter finds unasked, by which most later clicks are decided."""

    people: tuple[PreviewPerson, ...]
    warnings: tuple[RunWarning, ...] = ()
    rejected: tuple[ClickPrompt, ...] = ()
    everybody: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Preview:
    """A frame as the page shows it: the measures of its clip, and its people. ``rotate_deg`` is how far a visitor had it turned."""

    frame: int
    frames: int
    fps: float
    seconds: float
    width_px: int
    height_px: int
    on_frame: FramePeople
    rotate_deg: int = 0

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


class SegmenterNeeded(Exception):
    """The masks that are known do not say whom a prompt means."""


@dataclass
class _FrameCache:
    """What the segmenter found on one frame: everybody, the person of some prompts (None: nobody), and the people of a text."""

    everybody: tuple[bytes, ...]
    prompted: dict[tuple[ClickPrompt, ...], bytes | None] = field(default_factory=dict)
    by_text: dict[str, tuple[bytes, ...]] = field(default_factory=dict)


AskSegmenter = Callable[[Sequence[Prompt]], tuple[bytes, ...]]
"""Gives the masks that the segmenter finds by prompts for the frame, which has the index 0 for it."""


@dataclass(frozen=True)
class _FrameQuestion:
    """Who is on one frame, and whom prompts and words mean there: decided by what is known, else by ``ask``."""

    frame: int
    size_px: tuple[int, int]
    cache: _FrameCache
    draws_by_clicks: bool
    ask: AskSegmenter

    def people(self, prompts: Sequence[ClickPrompt], text: str) -> FramePeople:
        cache, size = self.cache, self.size_px
        known = [decode_mask(code, *size) for code in cache.everybody]
        chosen: dict[int, bytes] = {}
        warnings: list[RunWarning] = []
        rejected: list[ClickPrompt] = []
        taken: set[int] = set()
        for own_prompts in person_prompts(prompts, self.frame).values():
            while own_prompts:
                found = self._person(own_prompts, known, taken)
                if isinstance(found, bytes):
                    chosen[own_prompts[0].person_id] = found
                    break
                warnings.append(found)
                rejected.append(own_prompts[-1])
                own_prompts = own_prompts[:-1]
        if text.strip():
            by_text = self._by_text(text.strip())
            if not by_text:
                message = "Nobody on this frame was found by these words."
                warnings.append(RunWarning("text_found_nobody", message, facts={"text": text.strip(), "frame": self.frame}))
            _add_people(chosen, by_text, size)
        people = [PreviewPerson(person_id, True, code) for person_id, code in chosen.items()]
        with_others = dict(chosen)
        _add_people(with_others, cache.everybody, size)
        people += [PreviewPerson(person_id, False, code) for person_id, code in with_others.items() if person_id not in chosen]
        if not people and not warnings:
            message = "Nobody was found on this frame."
            hint = "Choose a frame on which somebody is seen from head to foot."
            warnings.append(RunWarning("nobody_on_frame", message, hint, {"frame": self.frame}))
        return FramePeople(tuple(people), tuple(warnings), tuple(rejected), cache.everybody)

    def _person(self, prompts: tuple[ClickPrompt, ...], known: Sequence[np.ndarray], taken: set[int]) -> bytes | RunWarning:
        """The mask of the person whom the prompts mean, or why they mean nobody. ``taken``: indices of those ``known`` who are chosen by
        others' prompts; added to."""
        index = None if prompts in self.cache.prompted else match_mask(prompts, known, exactly=self.draws_by_clicks)
        if index is not None and index not in taken:
            taken.add(index)
            return self.cache.everybody[index]
        if index is not None and not self.draws_by_clicks:
            return _same_person_twice(self.frame, prompts[0].person_id)
        code = self._prompted(prompts)
        return _nobody_at_click(self.frame, prompts) if code is None else code

    def _prompted(self, prompts: tuple[ClickPrompt, ...]) -> bytes | None:
        """The mask that the segmenter gives for one person's prompts; None where it finds nobody by them."""
        if prompts not in self.cache.prompted:
            frame_prompts = [replace(prompt, frame=0) for prompt in run_prompts(prompts, "", np.array([self.frame]))]
            codes: tuple[bytes, ...] = ()
            if any(prompt.locates_person for prompt in prompts):
                codes = self.ask(frame_prompts)
            add_bounded(self.cache.prompted, prompts, codes[0] if codes else None, MAX_ANSWERS_KEPT)
        return self.cache.prompted[prompts]

    def _by_text(self, text: str) -> tuple[bytes, ...]:
        if text not in self.cache.by_text:
            add_bounded(self.cache.by_text, text, self.ask([Prompt(text=text)]), MAX_ANSWERS_KEPT)
        return self.cache.by_text[text]


def people_by_known_masks(preview: Preview, prompts: Sequence[ClickPrompt], text: str, draws_by_clicks: bool) -> FramePeople | None:
    """The people of a frame that was previewed before, with other prompts: decided by its masks alone. None where the segmenter must
    look again."""

    def no_segmenter(_: Sequence[Prompt]) -> tuple[bytes, ...]:
        raise SegmenterNeeded

    cache = _FrameCache(preview.on_frame.everybody)
    question = _FrameQuestion(preview.frame, (preview.height_px, preview.width_px), cache, draws_by_clicks, no_segmenter)
    try:
        return question.people(prompts, text)
    except SegmenterNeeded:
        return None


class FramePeopleFinder:
    """Finds the people on frames. The segmenter runs once for a frame, once for each text, and once for each click that the masks do not
    explain; everything else is decided by the masks that it gave.

    ``draws_by_clicks``: the segmenter draws masks by clicks (SAM-3), so that a click beside all people or beside what it
    should take away asks it; BlazePose only chooses among those it found.
    """

    def __init__(self, segmenter: Callable[[], Segmenter], draws_by_clicks: bool) -> None:
        self._segmenter, self._draws_by_clicks = segmenter, draws_by_clicks
        self._frames: dict[tuple[Path, int, int], _FrameCache] = {}

    def find(self, source: SingleFrameSource, prompts: Sequence[ClickPrompt] = (), text: str = "") -> FramePeople:
        """Everybody on a frame. Prompts for other frames are ignored. Nobody found is a warning, not an error."""
        size_px = (source.whole_clip.height_px, source.whole_clip.width_px)

        def ask(frame_prompts: Sequence[Prompt]) -> tuple[bytes, ...]:
            return self._segment(source, frame_prompts)

        return _FrameQuestion(source.frame, size_px, self._frame_cache(source), self._draws_by_clicks, ask).people(prompts, text)

    def _frame_cache(self, source: SingleFrameSource) -> _FrameCache:
        key = (source.whole_clip.path, source.whole_clip.rotation_deg, source.frame)
        if key not in self._frames:
            add_bounded(self._frames, key, _FrameCache(self._segment(source, ())), MAX_FRAMES_KEPT)
        return self._frames[key]

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


def outline_path(mask: Bool[np.ndarray, "h w"]) -> str:
    """The outline of a mask as the path of an SVG in pixels of the mask; holes are cut out under the rule "evenodd"."""
    import cv2

    height, width = mask.shape
    scale = min(1.0, OUTLINE_SIDE_PX / max(width, height))
    small = cv2.resize(mask.astype(np.uint8) * 255, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    contours, _ = cv2.findContours((small > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, OUTLINE_TOLERANCE_PX, True)[:, 0]
        if len(points) >= 3:
            # A contour runs through the middles of pixels.
            corners = np.round((points + 0.5) / scale).astype(int)
            parts.append("M" + "L".join(f"{x} {y}" for x, y in corners) + "Z")
    return "".join(parts)


def inner_point_px(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float]:
    """A pixel's middle well inside a mask that is not empty: of its middle row, the middle of the longest run."""
    ys = np.flatnonzero(mask.any(axis=1))
    y = int(ys[len(ys) // 2])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask[y].astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return float((starts[longest] + ends[longest]) / 2), y + 0.5


def write_jpeg(picture: UInt8[np.ndarray, "h w 3"], path: Path, side_px: int = PREVIEW_SIDE_PX) -> None:
    """Write ``picture`` as JPEG whose longer side has at most ``side_px``. Raises OutputError."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    with atomic_file(path) as file:
        file.write(buffer.getvalue())
