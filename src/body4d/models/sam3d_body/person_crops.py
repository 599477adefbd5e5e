"""The crops that the network is to see: who is in which image, in batches, with each frame read once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from body4d.core.occlusion import OcclusionSegment, completed_frame, segments_of_person, with_amodal_masks
from body4d.core.stages import FrameSource
from body4d.core.types import MaskTrack


@dataclass(frozen=True)
class PersonCrop:
    """One person in one image of a batch."""

    image_index: int
    person: int
    """Index of their mask track."""
    row: int
    """Row of that track."""
    frame: int
    """The clip frame of that row."""
    edges: Int[np.ndarray, " n"]
    """Their mask's, as ``MaskTrack.edges``. Thousands of masks are not decoded on the host, where other work would wait for it."""
    box_px: np.ndarray


def iter_crop_batches(
    frames: FrameSource, masks: Sequence[MaskTrack], batch_size: Callable[[], int], segments: Sequence[OcclusionSegment] = ()
) -> Iterator[tuple[list[UInt8[np.ndarray, "h w 3"]], list[PersonCrop]]]:
    """Images and the people in them, up to ``batch_size()`` people or those of one frame at a time. Each frame is read once.

    A person in an occlusion segment gets an image of their own, which is completed, and their amodal mask.
    """
    tracks_on: dict[int, list[tuple[int, int]]] = {}
    for person, track in enumerate(masks):
        for row, frame in enumerate(track.frame_index):
            tracks_on.setdefault(int(frame), []).append((person, row))
    if not tracks_on:
        return
    amodal = [with_amodal_masks(track, segments) for track in masks]
    boxes = [track.boxes_px() for track in amodal]
    own_segments = [segments_of_person(track.person_id, segments) for track in masks]
    images: list[np.ndarray] = []
    crops: list[PersonCrop] = []
    for frame, image in frames.read(min(tracks_on), max(tracks_on) + 1):
        people = [(person, row) for person, row in tracks_on.get(frame, ()) if boxes[person][row, 2] > boxes[person][row, 0]]
        if crops and len(crops) + len(people) > batch_size():
            yield images, crops
            images, crops = [], []
        frame_image_index: int | None = None
        for person, row in people:
            index, completed = len(images), _completed_image(image, frame, masks[person], row, own_segments[person])
            if completed is not None:
                images.append(completed)
            elif frame_image_index is None:
                frame_image_index = index
                images.append(image)
            else:
                index = frame_image_index
            crops.append(PersonCrop(index, person, row, frame, amodal[person].edges(row), boxes[person][row]))
    if crops:
        yield images, crops


def _completed_image(image: np.ndarray, frame: int, track: MaskTrack, row: int, segments: Sequence[OcclusionSegment]) -> np.ndarray | None:
    """The frame with the person completed; None where none of their ``segments`` has the frame."""
    for segment in segments:
        segment_row = segment.row(frame)
        if segment_row is not None:
            return completed_frame(image, track.mask(row), segment, segment_row)
    return None
