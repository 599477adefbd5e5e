"""What a user's prompts mean: who is asked for by words, who by clicks and boxes, and who of those found is meant. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from body4d.core.errors import InputError
from body4d.core.types import Clip, MaskTrack, Prompt
from body4d.models.sam3.object_tracker import Asked
from body4d.tracking.main_subject import select_prompted_mask
from body4d.tracking.masks import mask_box


@dataclass
class Wish:
    """One person asked for: ``asked`` by frame in the order given, ``texts`` that name them. ``person_id`` None: the next free number."""

    person_id: int | None
    asked: dict[int, Asked] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    @property
    def start(self) -> int | None:
        """The first frame, as given, on which the person can be found without knowing them."""
        return next((frame for frame, asked in self.asked.items() if asked.says_where), None)


def wishes(prompts: Sequence[Prompt], clip: Clip) -> tuple[list[Wish], list[str]]:
    """People asked for one by one, and texts that stand for everybody they fit. Prompts with one ``person_id`` are one person's.

    Raises InputError for a frame that the clip has not, and for a place beside its picture.
    """
    frames = len(clip)
    people: list[Wish] = []
    open_texts: list[str] = []
    for prompt in prompts:
        if not 0 <= prompt.frame < frames:
            raise InputError(f"A prompt is for frame {prompt.frame}, and the clip has frames 0 to {frames - 1}.")
        _require_inside(prompt, clip.width_px, clip.height_px)
        points = prompt.points_px is not None or prompt.box_px is not None
        if prompt.text and prompt.person_id is None and not points:
            open_texts.append(prompt.text)
            continue
        wish = next((w for w in people if w.person_id == prompt.person_id), None) if prompt.person_id is not None else None
        if wish is None:
            wish = Wish(prompt.person_id)
            people.append(wish)
        if prompt.text:
            wish.texts.append(prompt.text)
        if points:
            wish.asked[prompt.frame] = _added(wish.asked.get(prompt.frame, Asked()), prompt)
    return people, list(dict.fromkeys(open_texts))


def _require_inside(prompt: Prompt, width_px: int, height_px: int) -> None:
    """Raise InputError for a click outside the picture, or a box of which nothing is inside."""
    size = np.array([width_px, height_px])
    for point in () if prompt.points_px is None else prompt.points_px:
        if (point < 0).any() or (point > size).any():
            raise InputError(
                f"A click on frame {prompt.frame} is at {point[0]:g},{point[1]:g}, outside the picture of {width_px}x{height_px}."
            )
    if prompt.box_px is not None and ((prompt.box_px[:2] >= size).any() or (prompt.box_px[2:] <= 0).any()):
        sides = ",".join(f"{side:g}" for side in prompt.box_px)
        raise InputError(f"The box {sides} on frame {prompt.frame} lies outside the picture of {width_px}x{height_px}.")


def _added(asked: Asked, prompt: Prompt) -> Asked:
    points, labels = prompt.points_px, prompt.labels
    if points is None or labels is None:
        points, labels = np.zeros((0, 2)), np.zeros(0, np.int64)
    box = prompt.box_px if prompt.box_px is not None else asked.box_px
    return Asked(np.concatenate([asked.points_px, points]), np.concatenate([asked.labels, labels]), box)


def meant(wish: Wish, found: Sequence[MaskTrack]) -> int | None:
    """Which of the people found by text, best first, a wish with clicks or boxes corrects; None where it asks for somebody else.

    The one pointed at; else the one of that number (``found`` are numbered from 1) where the wish alone cannot tell whom, or where that
    person is not seen on the frame: that is what is being corrected.
    """
    for frame, asked in wish.asked.items():
        rows = [(i, int(np.searchsorted(track.frame_index, frame))) for i, track in enumerate(found) if frame in track.frame_index]
        if not rows or not asked.says_where:
            continue
        masks = [found[i].mask(row) for i, row in rows]
        boxes = np.array([mask_box(mask) for mask in masks])
        chosen = select_prompted_mask(masks, boxes, asked.points_px, asked.labels, asked.box_px)
        if chosen is not None:
            return rows[chosen][0]
    numbered = wish.person_id is not None and 1 <= wish.person_id <= len(found)
    if numbered and wish.person_id is not None:
        track = found[wish.person_id - 1]
        if wish.start is None or wish.start not in track.frame_index:
            return wish.person_id - 1
    return None


def same_person(a: MaskTrack, b: MaskTrack, least_iou: float, looks: int = 16) -> bool:
    """Whether two tracks show one body: on frames spread over those they share, their masks mostly overlap by ``least_iou``."""
    shared = np.intersect1d(a.frame_index, b.frame_index)
    if len(shared) == 0:
        return False
    ious = []
    for frame in shared[np.unique(np.linspace(0, len(shared) - 1, looks).astype(int))]:
        one, other = (t.mask(int(np.searchsorted(t.frame_index, frame))) for t in (a, b))
        ious.append(np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1))
    return bool(np.median(ious) >= least_iou)
