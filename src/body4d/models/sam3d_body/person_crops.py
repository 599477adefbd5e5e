"""Who is wanted in which picture: frames are read once, and whoever is hidden gets a picture of their own, completed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from body4d.core.occlusion import OcclusionSegment, completed_frame, segments_of_person, with_amodal_masks
from body4d.core.stages import FrameSource
from body4d.core.types import MaskTrack


@dataclass(frozen=True)
class Wanted:
    """One person in one picture of a batch: number ``picture`` in it, ``person`` of the tracks, ``row`` of theirs."""

    picture: int
    person: int
    row: int
    mask: np.ndarray
    box_px: np.ndarray


def gathered(
    frames: FrameSource, masks: Sequence[MaskTrack], size: Callable[[], int], hidden: Sequence[OcclusionSegment] = ()
) -> Iterator[tuple[list[np.ndarray], list[Wanted]]]:
    """Pictures, and who is wanted in them, ``size()`` people at a time or one frame's; each frame is read once."""
    there: dict[int, list[tuple[int, int]]] = {}
    for person, track in enumerate(masks):
        for row, frame in enumerate(track.frame_index):
            there.setdefault(int(frame), []).append((person, row))
    if not there:
        return
    whole = [with_amodal_masks(track, hidden) for track in masks]
    boxes = [track.boxes_px() for track in whole]
    stretches = [segments_of_person(track.person_id, hidden) for track in masks]
    pictures: list[np.ndarray] = []
    wanted: list[Wanted] = []
    for frame, picture in frames.read(min(there), max(there) + 1):
        people = [(person, row, whole[person].mask(row)) for person, row in there.get(frame, ())]
        people = [one for one in people if one[2].any()]
        if wanted and len(wanted) + len(people) > size():
            yield pictures, wanted
            pictures, wanted = [], []
        as_filmed: int | None = None
        for person, row, mask in people:
            number, own = len(pictures), _completed(picture, frame, masks[person], row, stretches[person])
            if own is not None:
                pictures.append(own)
            elif as_filmed is None:
                as_filmed = number
                pictures.append(picture)
            else:
                number = as_filmed
            wanted.append(Wanted(number, person, row, mask, boxes[person][row]))
    if wanted:
        yield pictures, wanted


def _completed(picture: np.ndarray, frame: int, track: MaskTrack, row: int, stretches: Sequence[OcclusionSegment]) -> np.ndarray | None:
    """The frame with the person completed, None where it lies on none of their ``stretches``."""
    for stretch in stretches:
        at = stretch.row(frame)
        if at is not None:
            return completed_frame(picture, track.mask(row), stretch, at)
    return None
