"""The club by its masks, where a segmenter has been asked for it."""

import itertools
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from body4d.core.stages import ProgressFn, Segmenter, ignore_progress
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Prompt
from body4d.golf.club.lines import MAX_LENGTH_M, ShaftLine
from body4d.golf.club.shaft import hands_in_picture, shaft_of_lines
from body4d.golf.types import ClubShaft
from body4d.video.reader import VideoReader

CLUB_TEXT = "golf club"
MIN_MASK_PX = 30
MIN_ELONGATION = 4.0
MASK_SLICES = 24
MAX_MASK_GAP_M = 0.35
"""A mask counts as the club where it is this many times as long as wide (standard deviations), and begins this near to the hands."""


def club_masks(
    segmenter: Segmenter, clip: Clip, first: int = 0, last: int | None = None, progress: ProgressFn = ignore_progress
) -> MaskTrack | None:
    """Masks of the golf club on frames ``first`` to below ``last`` of ``clip``, by a segmenter that is asked for it in words; None where
    it finds none.

    A call of its own beside the one that finds people, as the people of a run must not change by it. Of several clubs in the picture it is
    the one seen longest and most surely.
    """
    last = len(clip) if last is None else min(last, len(clip))
    if first >= last:
        return None
    times_s, source = clip.times_s[first:last], clip.source_frames[first:last]
    part = VideoReader(replace(clip, times_s=times_s - times_s[0], source_frames=source, cuts=np.zeros(0, np.int64)))
    tracks = segmenter.track(part, [Prompt(person_id=1, text=CLUB_TEXT)], progress).value
    asked = next((track for track in tracks if track.person_id == 1 and len(track)), None)
    return None if asked is None else replace(asked, frame_index=asked.frame_index + first)


def club_from_masks(masks: MaskTrack, track: BodyTrack, camera: Camera) -> ClubShaft:
    """Shaft and head from masks of the club: the shaft is the masks' long axis, and the grip its end at ``track``'s hands."""
    found: dict[int, ShaftLine] = {}
    for row, frame in enumerate(masks.frame_index.tolist()):
        body_row = track.row(frame)
        if body_row is None:
            continue
        hands_px, px_per_m, _ = hands_in_picture(track, body_row, camera)
        if (line := line_of_mask(masks.mask(row), hands_px, px_per_m)) is not None:
            found[frame] = line
    return shaft_of_lines(found, "mask", masks.width_px, masks.height_px)


def line_of_mask(mask: Bool[np.ndarray, "h w"], hands_px: Float[np.ndarray, " 2"], px_per_m: float) -> ShaftLine | None:
    """The club's line in one mask; None where the mask is not long and thin, or does not begin at the hands."""
    y, x = np.nonzero(mask)
    if len(x) < MIN_MASK_PX or not np.isfinite(hands_px).all():
        return None
    points = np.stack([x, y], -1) + 0.5
    middle = points.mean(0)
    spread, axes = np.linalg.eigh(np.cov((points - middle).T))
    if spread[1] < MIN_ELONGATION**2 * max(spread[0], 1 / 12):
        return None
    along = axes[:, 1] if (hands_px - middle) @ axes[:, 1] <= 0 else -axes[:, 1]
    across = np.array([-along[1], along[0]])
    # The head is a lump at one end that pulls the axis aside: the line runs through the middle of the slices that are as thin as a shaft.
    r, d = (points - middle) @ along, (points - middle) @ across
    edges = np.linspace(r.min(), r.max() + 1e-9, MASK_SLICES + 1)
    slices = [d[(r >= low) & (r < high)] for low, high in itertools.pairwise(edges)]
    at = np.array([(low + high) / 2 for (low, high), part in zip(itertools.pairwise(edges), slices, strict=True) if len(part)])
    centres = np.array([np.median(part) for part in slices if len(part)])
    widths = np.array([np.ptp(part) + 1 for part in slices if len(part)])
    thin = widths <= 1.6 * np.median(widths)
    if thin.sum() < 3:
        return None
    slope, shift = np.polyfit(at[thin], centres[thin], 1)
    ends = [middle + q * along + (shift + slope * q) * across for q in (r.min(), r.max())]
    length_m = float(np.linalg.norm(ends[1] - ends[0])) / px_per_m
    if np.linalg.norm(ends[0] - hands_px) > MAX_MASK_GAP_M * px_per_m or length_m > 1.5 * MAX_LENGTH_M:
        return None
    filled = len(centres) / MASK_SLICES
    return ShaftLine(ends[0], ends[1], filled, length_m, length_m * filled)
