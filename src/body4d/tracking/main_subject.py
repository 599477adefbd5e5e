"""Whom of all people seen a run goes on with: pure decisions, and the sentences that tell the user about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from body4d.config import PeopleSettings


@dataclass(frozen=True)
class SubjectCandidate:
    """What the choice needs of one person: ``frame_index`` (T,), ``centres_px`` (T, 2), ``heights_px`` (T,), ``visibility`` (T,)."""

    frame_index: np.ndarray
    centres_px: np.ndarray
    heights_px: np.ndarray
    visibility: np.ndarray


@dataclass(frozen=True)
class SubjectChoice:
    """``chosen``: candidates to go on with, main person first. ``left_out``: the others, each with the reason as a clause."""

    chosen: tuple[int, ...]
    left_out: tuple[tuple[int, str], ...]


TOO_SHORT = "they were seen too briefly"
TOO_FAINT = "they were seen in part only"
TOO_SMALL = "they are too small in the picture"
NOT_MAIN = "they are not main subjects (--people all follows them too)"
NOT_COUNTED = "fewer people were asked for"
_LEAST_BOX_OVERLAP = 0.25  # a box drawn by hand around a person overlaps the true one by more than half; a neighbour seldom by a quarter
NOT_PROMPTED = "they were not pointed at"


def subject_score(candidate: SubjectCandidate, times_s: np.ndarray, size_px: tuple[int, int], settings: PeopleSettings) -> float:
    """How much of a main subject someone is: mean share of the picture's shorter side × share of the clip seen × visibility × centrality.

    Centrality is a Gaussian of the distance from the picture's centre (width, height ``size_px``), in half diagonals.
    """
    if len(candidate.frame_index) == 0:
        return 0.0
    half = np.array(size_px) / 2
    away = np.linalg.norm(candidate.centres_px - half, axis=1) / np.linalg.norm(half)
    central = np.exp(-0.5 * (away / settings.centre_spread) ** 2)
    height = np.minimum(candidate.heights_px / min(size_px), 1.0)
    return float(np.sum(height * candidate.visibility * central) / max(len(times_s), 1))


def rejection_reason(candidate: SubjectCandidate, times_s: np.ndarray, size_px: tuple[int, int], settings: PeopleSettings) -> str | None:
    """Why this is nobody to go on with, or None."""
    seen = len(candidate.frame_index)
    step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    least = min(settings.least_seen_s, settings.least_seen_share * step_s * len(times_s)) if step_s else 0.0
    if seen == 0 or (seen * step_s < least):
        return TOO_SHORT
    if float(np.mean(candidate.visibility)) < settings.least_visibility:
        return TOO_FAINT
    if float(np.median(candidate.heights_px)) < settings.least_height_share * min(size_px):
        return TOO_SMALL
    return None


def choose_subjects(
    candidates: Sequence[SubjectCandidate], times_s: np.ndarray, size_px: tuple[int, int], settings: PeopleSettings
) -> SubjectChoice:
    """Main subjects, all, or the first N people by :func:`score`, after dropping ghosts. Ties keep the order of the candidates."""
    left_out: list[tuple[int, str]] = []
    scores: dict[int, float] = {}
    for i, candidate in enumerate(candidates):
        reason = rejection_reason(candidate, times_s, size_px, settings)
        if reason is None:
            scores[i] = subject_score(candidate, times_s, size_px, settings)
        else:
            left_out.append((i, reason))
    ranked = sorted(scores, key=lambda i: (-scores[i], i))
    if settings.count == "all":
        return SubjectChoice(tuple(ranked), tuple(left_out))
    if settings.count == "main":
        kept = [i for i in ranked if scores[i] >= settings.main_share * scores[ranked[0]]]
        return SubjectChoice(tuple(kept), (*left_out, *((i, NOT_MAIN) for i in ranked if i not in kept)))
    kept = ranked[: settings.count]
    return SubjectChoice(tuple(kept), (*left_out, *((i, NOT_COUNTED) for i in ranked[settings.count :])))


def track_gaps(frame_index: np.ndarray, frames: int) -> list[tuple[int, int]]:
    """Stretches (first, last) of frames inside a track where the person was not seen; before the first and after the last do not count."""
    index = np.asarray(frame_index)
    breaks = np.flatnonzero(np.diff(index) > 1)
    return [(int(index[b]) + 1, int(index[b + 1]) - 1) for b in breaks if index[b] + 1 < frames]


def notes(
    people: Sequence[tuple[int, np.ndarray]], left_out: Sequence[tuple[int, str]], times_s: np.ndarray, shortest_s: float = 0.1
) -> tuple[str, ...]:
    """Sentences for the user. ``people`` are (id, frame_index) of those gone on with. Gaps under ``shortest_s`` are not worth a word."""
    sentences = []
    last = len(times_s) - 1
    for person, index in people:
        if len(index) == 0:
            continue
        if times_s[index[0]] - times_s[0] > shortest_s:
            sentences.append(f"Person {person} was first seen at {times_s[index[0]]:.1f} s.")
        for first, final in track_gaps(index, len(times_s)):
            until = times_s[min(final + 1, last)]
            if until - times_s[first] > shortest_s:
                sentences.append(f"Person {person} was lost between {times_s[first]:.1f} s and {until:.1f} s.")
        if times_s[last] - times_s[index[-1]] > shortest_s:
            sentences.append(f"Person {person} was not seen after {times_s[index[-1]]:.1f} s.")
    for reason in dict.fromkeys(reason for _, reason in left_out):
        count = sum(1 for _, r in left_out if r == reason)
        more = "1 more person was" if count == 1 else f"{count} more people were"
        sentences.append(f"{more} seen and left out because {reason}.")
    return tuple(sentences)


def select_prompted_mask(
    masks: Sequence[np.ndarray], boxes_px: np.ndarray, points_px: np.ndarray | None, labels: np.ndarray | None, box_px: np.ndarray | None
) -> int | None:
    """Which of the people seen on a frame a prompt means, or None.

    ``masks`` are bool (H, W), ``boxes_px`` (N, 4). Clicks ``points_px`` (P, 2) with ``labels`` (P,) 1 inside / 0 outside mean the mask with
    most hits less misses; where none is hit, the smallest box that holds all clicks inside. A box (4,) means the person whose box
    overlaps it most, by a quarter of the union at least.
    """
    values = np.zeros(len(masks))
    if points_px is not None and labels is not None:
        values += [_hits(mask, points_px, labels) for mask in masks]
        wanted = points_px[labels > 0]
        if len(masks) and not np.any(values > 0) and len(wanted):
            area = np.prod(boxes_px[:, 2:] - boxes_px[:, :2], axis=1)
            holds = [bool(np.all((wanted >= box[:2]) & (wanted < box[2:]))) for box in boxes_px]
            values += np.where(holds, 1 / (1 + area), 0)
    if box_px is not None:
        low, high = np.maximum(boxes_px[:, :2], box_px[:2]), np.minimum(boxes_px[:, 2:], box_px[2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        union = np.prod(boxes_px[:, 2:] - boxes_px[:, :2], axis=1) + np.prod(box_px[2:] - box_px[:2]) - shared
        overlap = shared / np.maximum(union, 1e-9)
        values = np.where(overlap >= _LEAST_BOX_OVERLAP, values + overlap, -1.0)
    return int(np.argmax(values)) if len(values) and values.max() > 0 else None


def _hits(mask: np.ndarray, points_px: np.ndarray, labels: np.ndarray) -> int:
    height, width = mask.shape
    x, y = np.floor(points_px).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    inside[inside] = mask[y[inside], x[inside]]
    return int(np.sum(inside & (labels > 0))) - int(np.sum(inside & (labels <= 0)))
