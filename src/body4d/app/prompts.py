"""Clicks and boxes of a visitor: which person each is for, and the prompts that a run makes of them. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from body4d.core.errors import InputError, SettingsError
from body4d.core.types import Prompt
from body4d.tracking.main_subject import select_prompted_mask
from body4d.tracking.masks import mask_box

INSIDE, OUTSIDE = 1, 0
"""Labels of a click, as SAM has them: on the person, or on what does not belong to them."""


@dataclass(frozen=True)
class ClickPrompt:
    """One click or one box for person ``person_id`` (from 1 on), on a frame of the file (from 0), in pixels.

    A click has ``point_px`` and ``label``; a box has ``box_px``: left, top, right, bottom. Raises ValueError for anything else.
    """

    frame: int
    person_id: int = 1
    point_px: tuple[float, float] | None = None
    label: Literal[0, 1] = INSIDE
    box_px: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if (self.point_px is None) == (self.box_px is None):
            raise ValueError("a click prompt has either a point or a box")
        length = 2 if self.box_px is None else 4
        if len(self.position_px) != length or not np.all(np.isfinite(self.position_px)):
            raise ValueError(f"a click prompt needs {length} finite numbers, found {self.position_px}")
        if self.frame < 0 or self.person_id < 1 or self.label not in (INSIDE, OUTSIDE):
            raise ValueError("a click prompt needs a frame from 0 on, a person from 1 on, and the label 0 or 1")

    @property
    def position_px(self) -> tuple[float, ...]:
        """The point or the box."""
        return self.point_px or self.box_px or ()

    @property
    def locates_person(self) -> bool:
        """Whether this alone says where the person is: a box, or a click on them."""
        return self.box_px is not None or self.label == INSIDE


def turned_prompt(prompt: ClickPrompt, clockwise_deg: int, width_px: int, height_px: int) -> ClickPrompt:
    """The same click or box after a picture of this size was turned clockwise by a multiple of 90 degrees."""
    for _ in range(clockwise_deg // 90 % 4):
        if prompt.point_px is not None:
            x, y = prompt.point_px
            prompt = replace(prompt, point_px=(height_px - y, x))
        elif prompt.box_px is not None:
            left, top, right, bottom = prompt.box_px
            prompt = replace(prompt, box_px=(height_px - bottom, left, height_px - top, right))
        width_px, height_px = height_px, width_px
    return prompt


def prompted_people(prompts: Iterable[ClickPrompt]) -> list[int]:
    """Ids of the people whom the prompts choose, in order."""
    return sorted({prompt.person_id for prompt in prompts if prompt.locates_person})


def person_prompts(prompts: Iterable[ClickPrompt], frame: int) -> dict[int, tuple[ClickPrompt, ...]]:
    """The prompts on one frame for each person, in the order in which they were given."""
    people: dict[int, tuple[ClickPrompt, ...]] = {}
    for prompt in prompts:
        if prompt.frame == frame:
            people[prompt.person_id] = (*people.get(prompt.person_id, ()), prompt)
    return people


def match_mask(prompts: Sequence[ClickPrompt], masks: Sequence[Bool[np.ndarray, "h w"]], *, exactly: bool = False) -> int | None:
    """Index of the mask that one person's prompts on one frame mean, as preset lite decides it for a run; None where they mean none.

    With ``exactly``, a mask is meant only if it holds every click on the person and none of those beside them: a segmenter that
    draws masks by clicks would draw another one.
    """
    if not masks or not any(prompt.locates_person for prompt in prompts):
        return None
    boxes_px = np.array([mask_box(mask) for mask in masks])
    chosen: list[int] = []
    for prompt in run_prompts(prompts, "", np.array([prompts[0].frame])):
        index = select_prompted_mask(masks, boxes_px, prompt.points_px, prompt.labels, prompt.box_px)
        if index is None or (exactly and not all(_agrees(masks[index], click) for click in prompts)):
            return None
        chosen.append(index)
    return chosen[0]


def _agrees(mask: np.ndarray, prompt: ClickPrompt) -> bool:
    if prompt.point_px is None:
        return True
    x, y = int(prompt.point_px[0]), int(prompt.point_px[1])
    inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])
    return inside == (prompt.label == INSIDE)


def person_of_click(new: ClickPrompt, masks: Sequence[Bool[np.ndarray, "h w"]], prompts: Sequence[ClickPrompt]) -> int:
    """The person whom a new click or box is for, when the visitor does not say: whoever is chosen already and is what it hits; else the
    next free number or, for a click that takes something away, the person chosen last.

    ``masks`` are everybody's on its frame, ``prompts`` those before it. Raises SettingsError where nobody is chosen and something is to be
    taken away.
    """
    hit = _mask_under(new, masks)
    if hit is not None:
        for person_id, own_prompts in person_prompts(prompts, new.frame).items():
            if match_mask(own_prompts, masks) == hit:
                return person_id
    people = prompted_people(prompts)
    if not new.locates_person:
        if not people:
            raise SettingsError("Choose a person first; then click on what does not belong to them.", code="nobody_chosen")
        return [prompt.person_id for prompt in prompts if prompt.locates_person][-1]
    return next(number for number in range(1, len(people) + 2) if number not in people)


def _mask_under(new: ClickPrompt, masks: Sequence[np.ndarray]) -> int | None:
    if new.box_px is not None:
        return match_mask([new], masks)
    on = ClickPrompt(new.frame, new.person_id, new.point_px)
    return next((index for index, mask in enumerate(masks) if _agrees(mask, on)), None)


def run_prompts(prompts: Sequence[ClickPrompt], text: str, source_frames: Int[np.ndarray, " n"]) -> tuple[Prompt, ...]:
    """Prompts for a run that reads the frames ``source_frames`` of the file; for a frame that is left out, the nearest one is taken.

    Clicks of one person on one frame become one prompt. Raises InputError where a person is chosen outside the range only.
    """
    inside = [prompt for prompt in prompts if source_frames[0] <= prompt.frame <= source_frames[-1]]
    lost = set(prompted_people(prompts)) - {prompt.person_id for prompt in inside}
    if lost:
        raise InputError(
            f"Person {min(lost)} was chosen on a frame outside the range of this run.",
            code="prompt_outside_range",
            hint="Choose them on a frame inside it.",
            person=min(lost),
        )
    rows = [(int(np.argmin(np.abs(source_frames - prompt.frame))), prompt) for prompt in inside]
    out = [Prompt(text=text.strip())] if text.strip() else []
    out += [Prompt(frame=row, person_id=p.person_id, box_px=np.array(p.box_px)) for row, p in rows if p.box_px is not None]
    for row, person_id in sorted({(row, p.person_id) for row, p in rows if p.point_px is not None}):
        clicks = [p for other, p in rows if (other, p.person_id) == (row, person_id) and p.point_px is not None]
        points_px, labels = np.array([click.point_px for click in clicks], float), np.array([click.label for click in clicks])
        out.append(Prompt(frame=row, person_id=person_id, points_px=points_px, labels=labels))
    return tuple(out)


MIN_SAME_PERSON_IOU = 0.5
"""Two masks of one frame that overlap this far are of one person; different people in front of each other stay far below."""


def is_same_mask(one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> bool:
    """Whether two masks of one frame show the same person."""
    return bool((one & other).sum() >= MIN_SAME_PERSON_IOU * max((one | other).sum(), 1))
