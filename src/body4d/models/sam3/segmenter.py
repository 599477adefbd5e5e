"""SAM-3 (Carion et al. 2025) in the seat of the Segmenter: people found by text, clicks or boxes and followed both ways through a clip.

First everybody whom a text finds is followed forwards (sam3_crowd). Then those pointed at are followed from where they were, and those
found late back to where they came from, in sweeps that share each frame's encoding. Frames stream; only run-length codes are kept.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from body4d.config import ComputeSettings, PeopleSettings, Sam3Settings
from body4d.core.errors import InputError
from body4d.core.stages import FrameSource, ProgressFn
from body4d.core.types import MaskTrack, Prompt
from body4d.models.sam3.checkpoint import Sam3Weights, load_sam3
from body4d.models.sam3.multi_tracker import Crowd, Person
from body4d.models.sam3.network import Sam3Network
from body4d.models.sam3.object_tracker import Followed
from body4d.models.sam3.prompts import Wish, meant, same_person, wishes
from body4d.models.sam3.propagation import Passes, Progress, Whom, first_mask
from body4d.models.sam3.streaming import Encoder, Writer
from body4d.runtime.device import AdaptiveBatcher, choose_batch_size, choose_device, choose_dtype, free_memory_bytes, release_memory
from body4d.runtime.torch_utils import should_compile
from body4d.tracking.main_subject import NOT_PROMPTED, SubjectCandidate, choose_subjects, notes
from body4d.tracking.masks import subtract_masks

Load = Callable[[torch.device], Sam3Weights]
Rows = dict[int, bytes]

_MOST = {"cuda": 8, "mps": 2, "cpu": 1}
"""Frames encoded at once at most: more gains no speed, and a CPU is full with one."""
COMPILE_MIN_FRAMES = 2000
"""Shorter clips are not compiled for: 8 ms gained per frame pay back the 17 s that compiling takes (H200, empty cache)."""
FALSE_FIND = "they were found for a moment and not again"


def weights_in(place: Path) -> Load:
    """Loads SAM-3 from a folder in float32; less loses finds."""
    return lambda device: load_sam3(place, device)


class Sam3Segmenter:
    """A :class:`~body4d.core.stages.Segmenter`. Weights are loaded by ``load`` when work begins and let go when it ends,
    unless ``settings.keep_loaded``."""

    def __init__(self, load: Load, settings: Sam3Settings, people: PeopleSettings, compute: ComputeSettings) -> None:
        self._load, self._settings, self._people, self._compute = load, settings, people, compute
        self._kept: Sam3Weights | None = None
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], report: ProgressFn) -> tuple[MaskTrack, ...]:
        """One MaskTrack for each person gone on with, those pointed at first; none where nobody is found.

        Raises InputError for a prompt beside the clip or one that cannot tell whom it means, WeightsError, DeviceError.
        """
        self._notes = ()
        asked, texts = wishes(prompts, frames.clip)
        if not len(frames.clip):
            return ()
        device = choose_device(self._compute)
        weights = self._kept or self._load(device)
        self._kept = weights if self._settings.keep_loaded else None
        try:
            network = Sam3Network(weights, self._settings, device, choose_dtype(self._compute, device))
            if should_compile(len(frames.clip), device.type, self._compute.compile, COMPILE_MIN_FRAMES):
                network.compile_encoder()
            work = Work(network, frames, self._settings, self._people, self._compute, report)
            try:
                return work.tracks(asked, texts if prompts else [self._settings.text])
            finally:
                self._notes = tuple(work.notes)
        finally:
            del weights
            network = work = None
            release_memory()


class Work:
    """One clip's work. ``notes`` are sentences for the user, complete when ``tracks`` has returned."""

    def __init__(
        self,
        network: Sam3Network,
        frames: FrameSource,
        settings: Sam3Settings,
        people: PeopleSettings,
        compute: ComputeSettings,
        report: ProgressFn,
    ) -> None:
        self.notes: list[str] = []
        self._network, self._frames, self._settings, self._people = network, frames, settings, people
        clip, device = frames.clip, network.device
        self._size_px = (clip.width_px, clip.height_px)
        each = network.bytes_each(clip.height_px, clip.width_px, search=True)
        size = choose_batch_size(free_memory_bytes(device), each, compute, _MOST.get(device.type, 1))
        self._batches = AdaptiveBatcher(size, "frames")
        self._encoder = Encoder(network, frames, self._batches, settings)
        self._progress = Progress(report)
        self._passes = Passes(network, frames.clip, self._encoder, settings, self._progress)

    def tracks(self, asked: Sequence[Wish], texts: Sequence[str]) -> tuple[MaskTrack, ...]:
        """Everybody asked for, in the order asked, then those that ``texts`` find, main person first."""
        words = list(dict.fromkeys([*texts, *(text for wish in asked for text in wish.texts)]))
        crowd, found = self._found(words)
        named = {p.number for p in crowd.people if any(p.answers[words.index(t)] for t in texts)}
        chosen, left_out = self._chosen(crowd, found, named) if texts else ([], [])
        left_out += [(number, FALSE_FIND) for number in crowd.false_finds]
        meanings = self._meanings(asked, crowd, found, chosen, words)
        taken = {number for number in meanings if number is not None}
        plain = [number for number in chosen if number not in taken]
        if asked and not texts:
            left_out += [(n, NOT_PROMPTED) for n in found if n not in taken]
        pointed, early = self._followed(asked, meanings, plain, found)
        plain = [n for n in plain if not any(same_person(found[n], track, self._settings.same_person_iou) for track in pointed.values())]
        people = self._settled(asked, pointed, {n: found[n] for n in plain}, early)
        self._tell(people, asked, texts, left_out, crowd)
        return tuple(people)

    def _found(self, words: Sequence[str]) -> tuple[Crowd, dict[int, MaskTrack]]:
        """Everybody any of the texts finds, followed forwards, by number."""
        clip = self._frames.clip
        crowd = Crowd(self._network, clip, self._settings)
        if not words:
            return crowd, {}
        texts = [self._network.text(one) for one in words]
        self._progress.plan(len(clip))
        with Writer(self._size_px, self._settings) as writer:
            dropped = 0
            for batch in self._encoder.stream(0, len(clip), texts=texts):
                for seen in batch:
                    writer.add(seen.frame, crowd.step(seen))
                    self._progress.step()
                writer.flush()
                for number in crowd.false_finds[dropped:]:
                    writer.drop(number)
                dropped = len(crowd.false_finds)
            writer.finish()
        for person in crowd.people:
            person.follow = None
        return crowd, {p.number: self._mask_track(p.number, writer.rows[p.number]) for p in crowd.people if writer.rows.get(p.number)}

    def _chosen(self, crowd: Crowd, found: dict[int, MaskTrack], named: set[int]) -> tuple[list[int], list[tuple[int, str]]]:
        """Numbers of those to go on with, main person first, and why others are left out."""
        people = [p for p in crowd.people if p.number in found and p.number in named]
        candidates = [_candidate(found[p.number], p) for p in people]
        choice = choose_subjects(candidates, self._frames.clip.times_s, self._size_px, self._people)
        return [people[i].number for i in choice.chosen], [(people[i].number, reason) for i, reason in choice.left_out]

    def _meanings(
        self, asked: Sequence[Wish], crowd: Crowd, found: dict[int, MaskTrack], chosen: Sequence[int], words: Sequence[str]
    ) -> list[int | None]:
        """Who of those found each wish is for, each person once; None for somebody else. Raises InputError where it cannot be told."""
        out: list[int | None] = []
        for wish in asked:
            fits = [p for p in crowd.people if p.number in found and any(p.answers[words.index(t)] for t in wish.texts)]
            fits.sort(key=lambda p: (-p.mean_score * len(found[p.number]), p.number))
            pool = [n for n in ([p.number for p in fits] if wish.texts else chosen) if n not in out]
            place = meant(wish, [found[n] for n in pool]) if wish.asked else None
            if place is None and wish.texts and wish.start is None and pool:
                place = 0
            out.append(pool[place] if place is not None else None)
            if out[-1] is None and wish.start is None and wish.asked:
                raise InputError(
                    f"Person {wish.person_id} has only clicks that say where they are not (frame {next(iter(wish.asked))}): "
                    "click on the person once, draw a box, or name them by a text."
                )
        return out

    def _followed(
        self, asked: Sequence[Wish], meanings: Sequence[int | None], plain: Sequence[int], found: dict[int, MaskTrack]
    ) -> tuple[dict[int, MaskTrack], dict[int, Rows]]:
        """Tracks of the wishes by their place, and rows before the first find of those in ``plain``."""
        jobs: dict[int, Whom] = {}
        out: dict[int, MaskTrack] = {}
        for place, (wish, number) in enumerate(zip(asked, meanings, strict=True)):
            if number is not None and not wish.asked:
                out[place] = found[number]
                plain = [*plain, number]
            elif wish.asked:
                jobs[place] = self._asked_for(wish, found[number] if number is not None else None)
        late = {len(asked) + n: n for n in plain if found[n].frame_index[0] > 0}
        rows = self._passes.run(jobs, {key: found[n] for key, n in late.items()})
        out |= {place: self._mask_track(place, rows.get(place, {})) for place in jobs}
        early = {n: rows[key] for key, n in late.items() if rows.get(key)}
        for place, number in enumerate(meanings):
            if number is not None and place in out and place not in jobs:
                out[place] = self._mask_track(number, {**_rows(out[place]), **early.pop(number, {})})
        return out, early

    def _asked_for(self, wish: Wish, known: MaskTrack | None) -> Whom:
        """Somebody to follow by clicks and boxes, from the first mask of ``known`` where they correct a person found."""
        start = first_mask(known) if known is not None else None
        begin = start[0] if start is not None else wish.start
        assert begin is not None  # _meanings has refused what cannot tell whom
        return Whom(Followed(self._network, self._size_px, len(self._frames.clip), wish.asked, start), begin, tuple(wish.asked))

    def _settled(
        self, asked: Sequence[Wish], pointed: dict[int, MaskTrack], found: dict[int, MaskTrack], early: dict[int, Rows]
    ) -> list[MaskTrack]:
        """Final tracks with their numbers. Passes made apart may claim one pixel twice: who was pointed at has it, then who was there."""
        size = (self._size_px[1], self._size_px[0])
        sure = [_rows(track) for track in pointed.values()]
        plain = [_rows(track) for track in found.values()]
        for rows in plain:
            _yield(rows, sure, size)
        for number, rows in early.items():
            if number in found:
                _yield(rows, [*sure, *plain], size)
        numbers = {wish.person_id for wish in asked if wish.person_id is not None}
        free = iter(n for n in range(1, len(asked) + len(found) + len(numbers) + 2) if n not in numbers)
        out = []
        for place, wish in enumerate(asked):
            if place in pointed and len(pointed[place]):
                out.append(self._mask_track(wish.person_id if wish.person_id is not None else next(free), _rows(pointed[place])))
        for number, rows in zip(found, plain, strict=True):
            whole = {**early.get(number, {}), **rows}
            if whole:
                out.append(self._mask_track(next(free), whole))
        return out

    def _mask_track(self, number: int, rows: Rows) -> MaskTrack:
        order = sorted(rows)
        return MaskTrack(number, np.array(order, np.int64), tuple(rows[i] for i in order), self._size_px[1], self._size_px[0])

    def _tell(
        self,
        people: Sequence[MaskTrack],
        asked: Sequence[Wish],
        texts: Sequence[str],
        left_out: Sequence[tuple[int, str]],
        crowd: Crowd,
    ) -> None:
        told = {track.person_id for track in people}
        for wish in asked:
            if wish.person_id is not None and wish.person_id not in told:
                whom = f"found by {wish.texts[0]!r}" if wish.texts else f"followed from frame {wish.start}"
                self.notes.append(f"Person {wish.person_id} could not be {whom}: give another click or a box.")
        if texts and not crowd.people and people:
            self.notes.append(f"Nobody was found by the text {texts[0]!r}.")
        self.notes += notes([(t.person_id, t.frame_index) for t in people], left_out, self._frames.clip.times_s)
        if crowd.crowded:
            self.notes.append(f"More than {self._settings.most_people} people are in the picture; later ones were not followed.")
        if self._batches.note:
            self.notes.append(self._batches.note)


def _candidate(track: MaskTrack, person: Person) -> SubjectCandidate:
    boxes = track.boxes_px()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return SubjectCandidate(track.frame_index, centres, boxes[:, 3] - boxes[:, 1], np.full(len(track), person.mean_score))


def _rows(track: MaskTrack) -> Rows:
    return dict(zip(track.frame_index.tolist(), track.codes, strict=True))


def _yield(rows: Rows, others: Sequence[Rows], size: tuple[int, int]) -> None:
    """Take what others have out of a person's masks; a mask of which nothing is left goes."""
    empty = MaskTrack.encode(np.zeros(size, bool))
    for frame in list(rows):
        there = [other[frame] for other in others if frame in other]
        if there:
            rows[frame] = subtract_masks(rows[frame], there, size)
            if rows[frame] == empty:
                del rows[frame]
