"""People where they are hidden: what a completer found, and how bodies are to be recovered from it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from body4d.core.errors import RunWarning
from body4d.core.types import MaskTrack


@dataclass(frozen=True)
class OcclusionSegment:
    """One person while hidden, completed, a few frames before and after included.

    ``frame_index`` (F,) clip frames, rising. ``hidden`` (F,) bool: whether the person is hidden there, or that frame only leads up to it.
    ``visible_share`` (F,) in [0, 1]: overlap (IoU) of the part that is seen with the whole. ``codes`` are the COCO codes of the whole
    outlines, masks ``height_px`` x ``width_px`` of the clip. ``pictures`` (F, h, w, 3) RGB uint8 show the completed person on white, all
    of them for the region ``box_px`` (4,) of the frame, in whole pixels.
    """

    person_id: int
    frame_index: np.ndarray
    hidden: np.ndarray
    visible_share: np.ndarray
    codes: tuple[bytes, ...]
    height_px: int
    width_px: int
    box_px: np.ndarray
    pictures: np.ndarray

    def __post_init__(self) -> None:
        frames = len(self.frame_index)
        if np.any(np.diff(self.frame_index) <= 0) or not frames:
            raise ValueError("frame_index of a hidden stretch must hold frames, and rise")
        if not len(self.hidden) == len(self.visible_share) == len(self.codes) == len(self.pictures) == frames:
            raise ValueError(f"{frames} frames need as many flags, shares, outlines and pictures")
        if self.hidden.dtype != bool or self.pictures.dtype != np.uint8 or self.pictures.ndim != 4 or self.pictures.shape[3] != 3:
            raise ValueError("hidden must be bool, pictures uint8 (F, h, w, 3)")
        x0, y0, x1, y1 = self.box_px.tolist()
        if not (0 <= x0 < x1 <= self.width_px and 0 <= y0 < y1 <= self.height_px):
            raise ValueError(f"the region {self.box_px.tolist()} lies outside the {self.width_px}x{self.height_px} frame")

    def row(self, frame: int) -> int | None:
        """Row of clip frame ``frame``, or None."""
        row = int(np.searchsorted(self.frame_index, frame))
        return row if row < len(self.frame_index) and self.frame_index[row] == frame else None

    def outline(self) -> MaskTrack:
        """The whole outlines as masks."""
        return MaskTrack(self.person_id, self.frame_index, self.codes, self.height_px, self.width_px)


def segments_of_person(person_id: int, stretches: Sequence[OcclusionSegment]) -> tuple[OcclusionSegment, ...]:
    """One person's stretches."""
    return tuple(stretch for stretch in stretches if stretch.person_id == person_id)


def with_amodal_masks(track: MaskTrack, stretches: Sequence[OcclusionSegment]) -> MaskTrack:
    """``track`` with the whole outline in place of the part that is seen, on the frames of this person's ``stretches``."""
    whole = {int(f): code for s in stretches if s.person_id == track.person_id for f, code in zip(s.frame_index, s.codes, strict=True)}
    codes = tuple(whole.get(int(frame), code) for frame, code in zip(track.frame_index, track.codes, strict=True))
    return replace(track, codes=codes)


def completed_frame(picture: np.ndarray, seen: np.ndarray, stretch: OcclusionSegment, row: int) -> np.ndarray:
    """A copy of the frame ``picture`` (H, W, 3) in which nothing hides the person any more.

    What is seen of them, ``seen`` (H, W) bool, and all around stays as it was filmed, at its own resolution; where the outline says that
    they are and they are not seen, the completed picture is put in.
    """
    x0, y0, x1, y1 = (int(v) for v in stretch.box_px)
    missing = stretch.outline().mask(row)[y0:y1, x0:x1] & ~seen[y0:y1, x0:x1]
    out = picture.copy()
    ys, xs = np.nonzero(missing)
    out[y0 + ys, x0 + xs] = sample_bilinear(stretch.pictures[row], (xs + 0.5) / (x1 - x0), (ys + 0.5) / (y1 - y0))
    return out


def sample_bilinear(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colours (N, 3) uint8 of ``picture`` (h, w, 3) at places ``x``, ``y`` (N,) in [0, 1] of its sides, between its pixels linearly."""
    height, width = picture.shape[:2]
    u, v = np.clip(x * width - 0.5, 0, width - 1), np.clip(y * height - 0.5, 0, height - 1)
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    right, low = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (u - left)[:, None], (v - top)[:, None]
    source = picture.astype(np.float32)
    upper = (1 - a) * source[top, left] + a * source[top, right]
    lower = (1 - a) * source[low, left] + a * source[low, right]
    return np.clip(np.rint((1 - b) * upper + b * lower), 0, 255).astype(np.uint8)


def occluded_rows(frame_index: np.ndarray, stretches: Sequence[OcclusionSegment]) -> np.ndarray:
    """Which of one person's frames (T,) are hidden ones of their ``stretches``, bool."""
    frames = [stretch.frame_index[stretch.hidden] for stretch in stretches]
    return np.isin(frame_index, np.concatenate(frames)) if frames else np.zeros(len(frame_index), bool)


def occlusion_warnings(stretches: Sequence[OcclusionSegment]) -> tuple[RunWarning, ...]:
    """A warning on who was completed, none where nobody was."""
    counts: dict[int, int] = {}
    for stretch in stretches:
        counts[stretch.person_id] = counts.get(stretch.person_id, 0) + int(stretch.hidden.sum())
    if not counts:
        return ()
    who = ", ".join(f"person {person} on {count} {'frame' if count == 1 else 'frames'}" for person, count in counts.items())
    message = f"Hidden and completed: {who}. What cannot be seen is a likely guess, and counts for less."
    return (RunWarning("completed_people", message, facts={"frames_by_person": counts}),)


def occlusion_confidence(frame_index: np.ndarray, stretches: Sequence[OcclusionSegment], min_confidence: float) -> np.ndarray:
    """Factor (T,) on the confidence of one person's frames: 1 where they are seen, the share that is seen where they are hidden."""
    factor = np.ones(len(frame_index), np.float32)
    for stretch in stretches:
        share = np.maximum(stretch.visible_share, min_confidence)
        for frame, least in zip(stretch.frame_index[stretch.hidden], share[stretch.hidden], strict=True):
            factor[frame_index == frame] = least
    return factor
