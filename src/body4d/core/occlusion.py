"""People where they are hidden: what a completer found, and how bodies are recovered from it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from body4d.core.errors import RunWarning
from body4d.core.types import MaskTrack

MIN_HIDDEN_CONFIDENCE = 0.15
"""Confidence of a frame on which nothing of a person is visible: the network's guess is near the truth, but a guess."""


@dataclass(frozen=True)
class OcclusionSegment:
    """One person while hidden, completed, with a few frames before and after."""

    person_id: int
    frame_index: Int[np.ndarray, " f"]
    """Frames of the clip, rising."""
    hidden: Bool[np.ndarray, " f"]
    """Whether the person is hidden on the frame; false where it only leads up to that."""
    visible_share: Float[np.ndarray, " f"]
    """Overlap (IoU), in [0, 1], of the visible part with the whole person."""
    codes: tuple[bytes, ...]
    """COCO codes of the amodal masks (the whole person's), at the clip's size."""
    height_px: int
    width_px: int
    box_px: Int[np.ndarray, "4"]
    """The region of the frame that ``pictures`` show."""
    pictures: UInt8[np.ndarray, "f h w 3"]
    """RGB images of the completed person on white."""

    def __post_init__(self) -> None:
        frames = len(self.frame_index)
        if np.any(np.diff(self.frame_index) <= 0) or not frames:
            raise ValueError("frame_index of an occlusion segment must hold frames, and rise")
        if not len(self.hidden) == len(self.visible_share) == len(self.codes) == len(self.pictures) == frames:
            raise ValueError(f"{frames} frames need as many flags, shares, masks and images")
        if self.hidden.dtype != bool or self.pictures.dtype != np.uint8 or self.pictures.ndim != 4 or self.pictures.shape[3] != 3:
            raise ValueError("hidden must be bool, pictures uint8 (F, h, w, 3)")
        x0, y0, x1, y1 = self.box_px.tolist()
        if not (0 <= x0 < x1 <= self.width_px and 0 <= y0 < y1 <= self.height_px):
            raise ValueError(f"the region {self.box_px.tolist()} is outside the {self.width_px}x{self.height_px} frame")

    def row(self, frame: int) -> int | None:
        """Row of a frame of the clip, or None."""
        row = int(np.searchsorted(self.frame_index, frame))
        return row if row < len(self.frame_index) and self.frame_index[row] == frame else None

    def amodal_masks(self) -> MaskTrack:
        """The masks of the whole person."""
        return MaskTrack(self.person_id, self.frame_index, self.codes, self.height_px, self.width_px)


def segments_of_person(person_id: int, segments: Sequence[OcclusionSegment]) -> tuple[OcclusionSegment, ...]:
    """One person's segments."""
    return tuple(segment for segment in segments if segment.person_id == person_id)


def with_amodal_masks(track: MaskTrack, segments: Sequence[OcclusionSegment]) -> MaskTrack:
    """``track`` with the whole person's mask in place of the visible part's, on the frames of this person's segments."""
    amodal = {int(f): code for s in segments if s.person_id == track.person_id for f, code in zip(s.frame_index, s.codes, strict=True)}
    codes = tuple(amodal.get(int(frame), code) for frame, code in zip(track.frame_index, track.codes, strict=True))
    return replace(track, codes=codes)


def completed_frame(
    image: UInt8[np.ndarray, "height width 3"], visible: Bool[np.ndarray, "height width"], segment: OcclusionSegment, row: int
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy of a frame in which nothing hides the person any more.

    What is visible of them, and all around, stays as it was filmed, at its own resolution; where the amodal mask of ``row`` says that they
    are and they are not visible, the completed image is put in.
    """
    x0, y0, x1, y1 = (int(v) for v in segment.box_px)
    missing = segment.amodal_masks().mask(row)[y0:y1, x0:x1] & ~visible[y0:y1, x0:x1]
    out = image.copy()
    ys, xs = np.nonzero(missing)
    out[y0 + ys, x0 + xs] = sample_bilinear(segment.pictures[row], (xs + 0.5) / (x1 - x0), (ys + 0.5) / (y1 - y0))
    return out


def sample_bilinear(image: UInt8[np.ndarray, "h w 3"], x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """Colours of an image at places given in [0, 1] of its sides, linear between its pixels."""
    height, width = image.shape[:2]
    u, v = np.clip(x * width - 0.5, 0, width - 1), np.clip(y * height - 0.5, 0, height - 1)
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    right, low = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (u - left)[:, None], (v - top)[:, None]
    source = image.astype(np.float32)
    upper = (1 - a) * source[top, left] + a * source[top, right]
    lower = (1 - a) * source[low, left] + a * source[low, right]
    return np.clip(np.rint((1 - b) * upper + b * lower), 0, 255).astype(np.uint8)


def occluded_rows(frame_index: Int[np.ndarray, " t"], segments: Sequence[OcclusionSegment]) -> Bool[np.ndarray, " t"]:
    """Which of one person's frames are hidden ones of their segments."""
    frames = [segment.frame_index[segment.hidden] for segment in segments]
    return np.isin(frame_index, np.concatenate(frames)) if frames else np.zeros(len(frame_index), bool)


def occlusion_warnings(segments: Sequence[OcclusionSegment]) -> tuple[RunWarning, ...]:
    """A warning on who was completed, none where nobody was."""
    counts: dict[int, int] = {}
    for segment in segments:
        counts[segment.person_id] = counts.get(segment.person_id, 0) + int(segment.hidden.sum())
    if not counts:
        return ()
    who = ", ".join(f"person {person} on {count} {'frame' if count == 1 else 'frames'}" for person, count in counts.items())
    message = f"Hidden and completed: {who}. What cannot be seen is a likely guess, and counts for less."
    return (RunWarning("completed_people", message, facts={"frames_by_person": {str(person): count for person, count in counts.items()}}),)


def occlusion_confidence(frame_index: Int[np.ndarray, " t"], segments: Sequence[OcclusionSegment]) -> Float[np.ndarray, " t"]:
    """Factor on the confidence of one person's frames: 1 where they are visible, the visible share where they are hidden."""
    factor = np.ones(len(frame_index), np.float32)
    for segment in segments:
        share = np.maximum(segment.visible_share, MIN_HIDDEN_CONFIDENCE)
        for frame, confidence in zip(segment.frame_index[segment.hidden], share[segment.hidden], strict=True):
            factor[frame_index == frame] = confidence
    return factor
