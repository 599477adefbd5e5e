"""Decisions on who is who, from the masks that a detector and a tracker gave: pure functions and their thresholds.

A *detection* is a mask of the detector with its probability, a *track* the mask of a person who is followed. Thresholds are SAM-3's own
(Carion et al. 2025) unless their comment says otherwise. Colours are compared as in ``body4d.tracking.association``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from body4d.core.types import MaskTrack
from body4d.tracking.association import colour_distance, colour_histogram, linear_assignment

MIN_MATCH_IOU = 0.5
"""A detection whose mask overlaps with a track's by this much confirms it."""

MAX_NEW_TRACK_IOU = 0.1
"""A detection that overlaps with a track by more than this is not a new person."""

SAME_PERSON_IOU = 0.7
"""Two masks that overlap by this much lie on one body."""

TENTATIVE_FRAMES = 16
"""Frames for which a new track is tentative: false detections are not detected again. Published: 15."""

MIN_CONFIRMED_SHARE = 0.5
"""A tentative track that a smaller share of the searches confirms is a false positive. Published: 8 of 15."""

MAX_REID_COLOUR_DISTANCE = 0.35
"""Nobody who left comes back in colours farther off than this; the same value as for BlazePose's tracks."""

REID_REACH_HEIGHTS = 0.5
"""How far from the expected place a person may come back, in body heights ..."""

REID_REACH_HEIGHTS_PER_S = 1.5
"""... and how much farther for each second out of sight: somebody who runs."""

MAX_REID_SIZE_RATIO = 2.5
"""Nobody comes back larger or smaller by more than this factor: the image's border cuts people in half."""

REID_POSITION_WEIGHT = 0.2
"""Cost of a place at the end of the reach, where entirely different colours cost 1: it only breaks ties."""

_MIN_HEIGHT_PX = 1.0


@dataclass(frozen=True)
class Appearance:
    """What a mask shows of a person: its centre, its height, and the ``colour`` histogram under it."""

    centre_px: Float[np.ndarray, "2"]
    height_px: float
    colour: Float[np.ndarray, " c"]


@dataclass(frozen=True)
class LostTrack:
    """A person out of sight: how they looked and moved when they were last seen, and for how long that has been."""

    appearance: Appearance
    velocity_px_per_s: Float[np.ndarray, "2"]
    lost_s: float


@dataclass(frozen=True)
class DetectionMatches:
    """``confirmed``: the detection that confirms a track, by track. ``new``: detections that may be new people, likeliest first."""

    confirmed: dict[int, int]
    new: tuple[int, ...]


def mask_iou(a: Bool[np.ndarray, "n h w"], b: Bool[np.ndarray, "m h w"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of masks, 0 for empty ones."""
    flat_a, flat_b = (m.reshape(len(m), int(np.prod(m.shape[1:]))).astype(np.float32) for m in (a, b))
    shared = flat_a @ flat_b.T
    union = flat_a.sum(1)[:, None] + flat_b.sum(1)[None] - shared
    return shared / np.maximum(union, 1.0)


def non_maximum_suppression(ious: Float[np.ndarray, "n n"], scores: Float[np.ndarray, " n"], max_iou: float) -> list[int]:
    """Detections that stay, likeliest first: each overlaps with no likelier one by more than ``max_iou``."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        if all(ious[i, k] <= max_iou for k in kept):
            kept.append(i)
    return kept


def match_detections(
    ious: Float[np.ndarray, "detections tracks"], scores: Float[np.ndarray, " detections"], min_new_track_score: float
) -> DetectionMatches:
    """Which tracks are confirmed, by the detection that overlaps them most, and which detections may be new people."""
    confirmed: dict[int, int] = {}
    for track in range(ious.shape[1]):
        best = int(np.argmax(ious[:, track])) if len(ious) else -1
        if best >= 0 and ious[best, track] >= MIN_MATCH_IOU:
            confirmed[track] = best
    new = [i for i in range(len(scores)) if scores[i] >= min_new_track_score and not np.any(ious[i] > MAX_NEW_TRACK_IOU)]
    return DetectionMatches(confirmed, tuple(sorted(new, key=lambda i: (-scores[i], i))))


def is_false_positive(age_frames: int, num_searches: int, num_confirmations: int) -> bool | None:
    """Whether a tentative track is a false positive; None while it is too young to tell.

    Both counts begin with the search that detected the person first.
    """
    if age_frames < TENTATIVE_FRAMES:
        return None
    return num_confirmations < MIN_CONFIRMED_SHARE * num_searches


def find_duplicates(same_body: Bool[np.ndarray, "t t"], visible_since: Sequence[int]) -> list[tuple[int, int]]:
    """(duplicate, original) among tracks whose masks lie on one body: the duplicate came into sight later.

    ``visible_since`` is the frame since when each track is in sight without a break; of equals the later one is the duplicate. No track
    is a duplicate of a duplicate.
    """
    order = sorted(range(len(visible_since)), key=lambda i: (visible_since[i], i))
    originals: dict[int, int] = {}
    for place, i in enumerate(order):
        original = next((k for k in order[:place] if k not in originals and same_body[i, k]), None)
        if original is not None:
            originals[i] = original
    return list(originals.items())


def reid_cost(lost: LostTrack, detected: Appearance, memory_s: float) -> float:
    """Cost of taking a detection for a lost person: the difference in colours and, weakly, in place; infinite where it cannot be them."""
    if lost.lost_s > memory_s:
        return np.inf
    height = max(lost.appearance.height_px, detected.height_px, _MIN_HEIGHT_PX)
    if height > MAX_REID_SIZE_RATIO * max(min(lost.appearance.height_px, detected.height_px), _MIN_HEIGHT_PX):
        return np.inf
    reach = REID_REACH_HEIGHTS + REID_REACH_HEIGHTS_PER_S * lost.lost_s
    # They may have stopped at once, so the nearer counts of having gone on and having stayed.
    expected = lost.appearance.centre_px + np.outer([0.0, lost.lost_s], lost.velocity_px_per_s)
    distance = float(np.linalg.norm(expected - detected.centre_px, axis=1).min()) / height
    colour = colour_distance(lost.appearance.colour, detected.colour)
    if distance > reach or colour > MAX_REID_COLOUR_DISTANCE:
        return np.inf
    return colour + REID_POSITION_WEIGHT * distance / reach


def reidentify(lost: Sequence[LostTrack], detected: Sequence[Appearance], memory_s: float) -> dict[int, int]:
    """The lost track that each detection is, by the assignment of least total cost; detections of nobody known are left out."""
    if not lost or not detected:
        return {}
    return linear_assignment(np.array([[reid_cost(track, one, memory_s) for one in detected] for track in lost]))


def describe_appearance(mask: Bool[np.ndarray, "h w"], image: UInt8[np.ndarray, "height width 3"]) -> Appearance | None:
    """The appearance of a person whose mask, of any resolution, lies over the image; None where the mask is empty.

    Colours are taken at the centres of the mask's cells, without its outermost cells, where the background shows; the upper half and the
    lower half have histograms of their own.
    """
    from scipy.ndimage import binary_erosion

    y, x = np.nonzero(mask)
    if len(y) == 0:
        return None
    scale = np.array([image.shape[1] / mask.shape[1], image.shape[0] / mask.shape[0]])
    middle = (y.min() + y.max()) / 2
    centre = np.array([x.mean() + 0.5, y.mean() + 0.5]) * scale
    height = float((y.max() - y.min() + 1) * scale[1])
    inner = binary_erosion(mask)
    if inner.any():
        y, x = np.nonzero(inner)
    rows, columns = ((y + 0.5) * scale[1]).astype(int), ((x + 0.5) * scale[0]).astype(int)
    return Appearance(centre, height, colour_histogram(image[rows, columns], np.ones(len(y), np.float32), y <= middle))


def is_same_person(a: MaskTrack, b: MaskTrack, max_frames: int = 16) -> bool:
    """Whether two tracks show one body: on the median of frames spread over those they share, their masks overlap."""
    shared = np.intersect1d(a.frame_index, b.frame_index)
    if len(shared) == 0:
        return False
    ious = []
    for frame in shared[np.unique(np.linspace(0, len(shared) - 1, max_frames).astype(int))]:
        mask_a, mask_b = (t.mask(int(np.searchsorted(t.frame_index, frame))) for t in (a, b))
        ious.append(np.count_nonzero(mask_a & mask_b) / max(np.count_nonzero(mask_a | mask_b), 1))
    return bool(np.median(ious) >= SAME_PERSON_IOU)
