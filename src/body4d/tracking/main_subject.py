"""Which of the people in a clip a run continues with, and which of them a prompt points at. Pure decisions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from body4d.config import PeopleSettings
from body4d.core.errors import InputError, RunWarning
from body4d.core.types import Prompt

MIN_MAIN_SHARE = 0.5
"""Somebody who scores this share of the best score is a main subject too."""
CENTRE_SPREAD = 0.7
"""Distance from the picture's centre, in half diagonals, at which centrality falls to 0.6."""
MIN_SEEN_S = 0.5
"""People seen for less are left out: nothing moves plausibly in so short a time, and false detections are short."""
MIN_SEEN_SHARE = 0.1
"""In clips too short for MIN_SEEN_S, the share of the clip in which somebody must be seen."""
MIN_VISIBILITY = 0.45
"""People whose body joints have a lower mean visibility are seen in part only and left out."""
MIN_BOX_IOU = 0.25
"""A box drawn by hand around a person overlaps the true one by more than half, and a neighbour's seldom by a quarter."""


@dataclass(frozen=True)
class ExclusionReason:
    """Why somebody is not tracked further: ``clause`` continues "left out because"; ``hint`` says what follows them all the same."""

    code: str
    clause: str
    hint: str = ""


TOO_SHORT = ExclusionReason("too_short", "they were seen too briefly")
LOW_VISIBILITY = ExclusionReason("low_visibility", "they were seen in part only")
TOO_SMALL = ExclusionReason("too_small", "they are too small in the picture")
NOT_MAIN = ExclusionReason("not_main_subject", "they are not main subjects", "--people all follows them too.")
NOT_COUNTED = ExclusionReason("over_count", "fewer people were asked for")
NOT_PROMPTED = ExclusionReason("not_prompted", "they were not pointed at")


@dataclass(frozen=True)
class SubjectCandidate:
    """A tracked person as far as the choice depends on them, on the frames on which they are seen."""

    frame_index: Int[np.ndarray, " t"]
    centres_px: Real[np.ndarray, "t 2"]
    heights_px: Real[np.ndarray, " t"]
    visibility: Real[np.ndarray, " t"]


@dataclass(frozen=True)
class SubjectChoice:
    """``chosen``: indices of the candidates to continue with, main person first. ``left_out``: the others, each with the reason."""

    chosen: tuple[int, ...]
    left_out: tuple[tuple[int, ExclusionReason], ...]


def subject_score(candidate: SubjectCandidate, times_s: Float[np.ndarray, " n"], size_px: tuple[int, int]) -> float:
    """How much of a main subject somebody is: mean share of the picture's shorter side × share of the clip × visibility × centrality.

    Centrality is a Gaussian of the distance from the centre of the picture, whose (width, height) is ``size_px``, in half diagonals.
    """
    if len(candidate.frame_index) == 0:
        return 0.0
    half = np.array(size_px) / 2
    distance = np.linalg.norm(candidate.centres_px - half, axis=1) / np.linalg.norm(half)
    centrality = np.exp(-0.5 * (distance / CENTRE_SPREAD) ** 2)
    height = np.minimum(candidate.heights_px / min(size_px), 1.0)
    return float(np.sum(height * candidate.visibility * centrality) / max(len(times_s), 1))


def rejection_reason(
    candidate: SubjectCandidate, times_s: Float[np.ndarray, " n"], size_px: tuple[int, int], min_height_share: float
) -> ExclusionReason | None:
    """Why nobody can be fitted to this candidate, or None."""
    num_seen = len(candidate.frame_index)
    step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    min_seen_s = min(MIN_SEEN_S, MIN_SEEN_SHARE * step_s * len(times_s)) if step_s else 0.0
    if num_seen == 0 or (num_seen * step_s < min_seen_s):
        return TOO_SHORT
    if float(np.mean(candidate.visibility)) < MIN_VISIBILITY:
        return LOW_VISIBILITY
    if float(np.median(candidate.heights_px)) < min_height_share * min(size_px):
        return TOO_SMALL
    return None


def _within(candidate: SubjectCandidate, frames: Bool[np.ndarray, " n"]) -> SubjectCandidate:
    """The candidate on some of the clip's frames alone."""
    rows = frames[candidate.frame_index]
    return SubjectCandidate(candidate.frame_index[rows], candidate.centres_px[rows], candidate.heights_px[rows], candidate.visibility[rows])


def choose_subjects(
    candidates: Sequence[SubjectCandidate],
    times_s: np.ndarray,
    size_px: tuple[int, int],
    settings: PeopleSettings,
    shot_index: Int[np.ndarray, " n"] | None = None,
) -> SubjectChoice:
    """Main subjects, all, or the first N people by ``subject_score``, of those without a ``rejection_reason``. Ties keep their order.

    Who is a main subject of a shot (``Clip.shot_index``) is one of the clip, so that no shot is without a body.
    """
    left_out: list[tuple[int, ExclusionReason]] = []
    scores: dict[int, float] = {}
    for i, candidate in enumerate(candidates):
        reason = rejection_reason(candidate, times_s, size_px, settings.min_height_share)
        if reason is None:
            scores[i] = subject_score(candidate, times_s, size_px)
        else:
            left_out.append((i, reason))
    ranked = sorted(scores, key=lambda i: (-scores[i], i))
    if settings.count == "all":
        return SubjectChoice(tuple(ranked), tuple(left_out))
    if settings.count == "main":
        shots = np.zeros(len(times_s), np.int64) if shot_index is None else shot_index
        main: set[int] = set()
        for shot in np.unique(shots):
            own = {i: subject_score(_within(candidates[i], shots == shot), times_s, size_px) for i in ranked}
            main |= {i for i in ranked if own[i] >= MIN_MAIN_SHARE * max(own.values()) > 0}
        kept = [i for i in ranked if i in main]
        return SubjectChoice(tuple(kept), (*left_out, *((i, NOT_MAIN) for i in ranked if i not in kept)))
    kept = ranked[: settings.count]
    return SubjectChoice(tuple(kept), (*left_out, *((i, NOT_COUNTED) for i in ranked[settings.count :])))


def track_gaps(frame_index: Int[np.ndarray, " t"], num_frames: int) -> list[tuple[int, int]]:
    """Stretches (first, last) of frames inside a track on which the person is not seen; before its start and after its end do not count."""
    index = np.asarray(frame_index)
    breaks = np.flatnonzero(np.diff(index) > 1)
    return [(int(index[b]) + 1, int(index[b + 1]) - 1) for b in breaks if index[b] + 1 < num_frames]


def track_warnings(
    people: Sequence[tuple[int, np.ndarray]], left_out: Sequence[tuple[int, ExclusionReason]], times_s: np.ndarray, min_gap_s: float = 0.1
) -> tuple[RunWarning, ...]:
    """When each tracked person was not seen, and who was left out.

    ``people`` are (id, frame_index); gaps under ``min_gap_s`` are ignored.
    """
    warnings = []
    last = len(times_s) - 1
    for person, index in people:
        if len(index) == 0:
            continue
        if times_s[index[0]] - times_s[0] > min_gap_s:
            at_s = float(times_s[index[0]])
            facts = {"person": person, "at_s": at_s}
            warnings.append(RunWarning("person_first_seen", f"Person {person} was first seen at {at_s:.1f} s.", facts=facts))
        for first, final in track_gaps(index, len(times_s)):
            until = times_s[min(final + 1, last)]
            if until - times_s[first] > min_gap_s:
                since_s, until_s = float(times_s[first]), float(until)
                facts = {"person": person, "since_s": since_s, "until_s": until_s}
                message = f"Person {person} was lost between {since_s:.1f} s and {until_s:.1f} s."
                warnings.append(RunWarning("person_lost", message, facts=facts))
        if times_s[last] - times_s[index[-1]] > min_gap_s:
            at_s = float(times_s[index[-1]])
            facts = {"person": person, "at_s": at_s}
            warnings.append(RunWarning("person_last_seen", f"Person {person} was not seen after {at_s:.1f} s.", facts=facts))
    for reason in dict.fromkeys(reason for _, reason in left_out):
        count = sum(1 for _, r in left_out if r == reason)
        more = "1 more person was" if count == 1 else f"{count} more people were"
        facts = {"people": count, "reason": reason.code}
        warnings.append(RunWarning("people_left_out", f"{more} seen and left out because {reason.clause}.", reason.hint, facts))
    return tuple(warnings)


def require_prompt_in_clip(prompt: Prompt, num_frames: int) -> None:
    """Raise InputError where a prompt is for a frame that the clip does not have."""
    if not 0 <= prompt.frame < num_frames:
        message = f"A prompt is for frame {prompt.frame}, and the clip has frames 0 to {num_frames - 1}."
        raise InputError(message, code="prompt_frame_outside_clip", frame=prompt.frame, num_frames=num_frames)


def select_prompted_mask(
    masks: Sequence[Bool[np.ndarray, "h w"]],
    boxes_px: Real[np.ndarray, "n 4"],
    points_px: Real[np.ndarray, "p 2"] | None,
    labels: Real[np.ndarray, " p"] | None,
    box_px: Real[np.ndarray, " 4"] | None,
) -> int | None:
    """Index of the mask on one frame at which a prompt points, or None.

    Clicks choose the mask with most hits less misses; where none is hit, the smallest box that holds all positive clicks. A box chooses
    the person whose box overlaps it most, with an IoU of at least ``MIN_BOX_IOU``.

    Args:
        masks: Everybody's masks.
        boxes_px: Their boxes.
        points_px: Clicks.
        labels: 1 for a click inside the person, 0 for one outside.
        box_px: Box drawn around the person.
    """
    scores = np.zeros(len(masks))
    if points_px is not None and labels is not None:
        scores += [_hits(mask, points_px, labels) for mask in masks]
        positive = points_px[labels > 0]
        if len(masks) and not np.any(scores > 0) and len(positive):
            area = np.prod(boxes_px[:, 2:] - boxes_px[:, :2], axis=1)
            holds_all = [bool(np.all((positive >= box[:2]) & (positive < box[2:]))) for box in boxes_px]
            scores += np.where(holds_all, 1 / (1 + area), 0)
    if box_px is not None:
        low, high = np.maximum(boxes_px[:, :2], box_px[:2]), np.minimum(boxes_px[:, 2:], box_px[2:])
        intersection = np.prod(np.clip(high - low, 0, None), axis=1)
        union = np.prod(boxes_px[:, 2:] - boxes_px[:, :2], axis=1) + np.prod(box_px[2:] - box_px[:2]) - intersection
        iou = intersection / np.maximum(union, 1e-9)
        scores = np.where(iou >= MIN_BOX_IOU, scores + iou, -1.0)
    return int(np.argmax(scores)) if len(scores) and scores.max() > 0 else None


def _hits(mask: np.ndarray, points_px: np.ndarray, labels: np.ndarray) -> int:
    """Positive clicks inside the mask, less negative ones."""
    height, width = mask.shape
    x, y = np.floor(points_px).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    inside[inside] = mask[y[inside], x[inside]]
    return int(np.sum(inside & (labels > 0))) - int(np.sum(inside & (labels <= 0)))
