"""What a user's prompts ask for: people named by a text, people pointed at by clicks and boxes, and which track a prompt is for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Real

from body4d.core.errors import InputError
from body4d.core.types import Clip, MaskTrack, Prompt
from body4d.tracking.main_subject import require_prompt_in_clip, select_prompted_mask
from body4d.tracking.masks import mask_box

_BOX_CORNER_LABELS = (2, 3)
"""Labels by which SAM's prompt encoder takes two points for a box's corners."""


@dataclass(frozen=True)
class FramePrompt:
    """Clicks and a box for one person on one frame. ``labels`` are 1 on the person and 0 beside them."""

    points_px: Real[np.ndarray, "p 2"] = field(default_factory=lambda: np.zeros((0, 2)))
    labels: Real[np.ndarray, " p"] = field(default_factory=lambda: np.zeros(0, np.int64))
    box_px: Real[np.ndarray, "4"] | None = None

    @property
    def locates_person(self) -> bool:
        """Whether this alone says where the person is: a box, or a click on them."""
        return self.box_px is not None or bool(np.any(self.labels > 0))

    def point_inputs(self) -> tuple[Real[np.ndarray, "n 2"], Real[np.ndarray, " n"]]:
        """Points and labels as SAM's prompt encoder takes them: the box's corners first."""
        points, labels = self.points_px.reshape(-1, 2), np.where(self.labels > 0, 1, 0)
        if self.box_px is not None:
            points = np.concatenate([self.box_px.reshape(2, 2), points])
            labels = np.concatenate([_BOX_CORNER_LABELS, labels])
        return points, labels


@dataclass
class ObjectPrompt:
    """Everything that asks for one person: clicks and boxes by frame, in the order given, and texts. ``person_id`` None: any free id."""

    person_id: int | None
    frame_prompts: dict[int, FramePrompt] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    @property
    def start_frame(self) -> int | None:
        """The first frame, in the order given, whose prompt alone says where the person is."""
        return next((frame for frame, prompt in self.frame_prompts.items() if prompt.locates_person), None)


def parse_prompts(prompts: Sequence[Prompt], clip: Clip) -> tuple[list[ObjectPrompt], list[str]]:
    """The people who are asked for one by one, and the texts that stand for everybody whom they fit.

    Prompts that share a ``person_id`` are one person's. Raises InputError for a frame that is not in the clip and for a place outside the
    frame.
    """
    people: list[ObjectPrompt] = []
    open_texts: list[str] = []
    for prompt in prompts:
        require_prompt_in_clip(prompt, len(clip))
        _require_inside(prompt, clip.width_px, clip.height_px)
        has_place = prompt.points_px is not None or prompt.box_px is not None
        if prompt.text and prompt.person_id is None and not has_place:
            open_texts.append(prompt.text)
            continue
        person = next((p for p in people if p.person_id == prompt.person_id), None) if prompt.person_id is not None else None
        if person is None:
            person = ObjectPrompt(prompt.person_id)
            people.append(person)
        if prompt.text:
            person.texts.append(prompt.text)
        if has_place:
            person.frame_prompts[prompt.frame] = _merge(person.frame_prompts.get(prompt.frame, FramePrompt()), prompt)
    return people, list(dict.fromkeys(open_texts))


def _require_inside(prompt: Prompt, width_px: int, height_px: int) -> None:
    """Raise InputError for a click outside the frame, or a box that lies outside it altogether."""
    size = np.array([width_px, height_px])
    for point in () if prompt.points_px is None else prompt.points_px:
        if (point < 0).any() or (point > size).any():
            message = f"A click on frame {prompt.frame} is at {point[0]:g},{point[1]:g}, outside the picture of {width_px}x{height_px}."
            raise InputError(message, code="prompt_outside_frame", frame=prompt.frame)
    if prompt.box_px is not None and ((prompt.box_px[:2] >= size).any() or (prompt.box_px[2:] <= 0).any()):
        sides = ",".join(f"{side:g}" for side in prompt.box_px)
        message = f"The box {sides} on frame {prompt.frame} lies outside the picture of {width_px}x{height_px}."
        raise InputError(message, code="prompt_outside_frame", frame=prompt.frame)


def _merge(before: FramePrompt, prompt: Prompt) -> FramePrompt:
    """Clicks are added to those before; a new box replaces the one before."""
    points, labels = prompt.points_px, prompt.labels
    if points is None or labels is None:
        points, labels = np.zeros((0, 2)), np.zeros(0, np.int64)
    box = prompt.box_px if prompt.box_px is not None else before.box_px
    return FramePrompt(np.concatenate([before.points_px, points]), np.concatenate([before.labels, labels]), box)


def match_prompt_to_track(prompt: ObjectPrompt, tracks: Sequence[MaskTrack]) -> int | None:
    """Index of the track, among those found by text, best first, that clicks or boxes correct; None where they ask for somebody else.

    It is the track that is pointed at. Where nobody is, it is the one with the prompt's number (``tracks`` are numbered from 1), provided
    that the prompt alone does not say where the person is, or that this track has no mask on that frame, which is then the correction.
    """
    for frame, frame_prompt in prompt.frame_prompts.items():
        rows = [(i, row) for i, track in enumerate(tracks) if (row := track.row(frame)) is not None]
        if not rows or not frame_prompt.locates_person:
            continue
        masks = [tracks[i].mask(row) for i, row in rows]
        boxes = np.array([mask_box(mask) for mask in masks])
        chosen = select_prompted_mask(masks, boxes, frame_prompt.points_px, frame_prompt.labels, frame_prompt.box_px)
        if chosen is not None:
            return rows[chosen][0]
    if prompt.person_id is not None and 1 <= prompt.person_id <= len(tracks):
        track = tracks[prompt.person_id - 1]
        if prompt.start_frame is None or prompt.start_frame not in track.frame_index:
            return prompt.person_id - 1
    return None
