"""Gaps in a track: which are bridged, how far a bridged frame is trusted, and what the clip itself shows of a gap. Pure numpy.

People who walk, row or juggle repeat themselves, and across half a step the path of minimum jerk is no step. For each gap a reference
motion is searched: another stretch of the same track that begins and ends in the same poses. It is time-warped and rotated so that it
joins both ends of the gap. How far reference and track differ where both were observed gives its variance, so that the smoother weighs it
against its own path. Nothing is learned from other clips. (Filling motion from its most similar stretch: Kovar, Gleicher & Pighin,
"Motion Graphs", SIGGRAPH 2002, who compare windows of poses as well.)
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from body4d.core.rig import Rig
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix
from body4d.motion.uncertainty import MIN_ROTATION_SIGMA_DEG, descendant_matrix

CONFIDENCE_HALF_LIFE_S = 0.25
"""The confidence of a bridged frame halves with each such time to the nearest observed frame."""

MIN_REPEAT_GAP_S = 0.12
"""Shorter gaps are left to the path of minimum jerk, which is right over so short a time."""

CONTEXT_S = 0.1
"""Reference and track are compared over this time before and after a gap."""

MAX_TEMPO_RATIO = 1.15
"""A reference may be slower or faster than the gap by at most this factor."""

MAX_DISSIMILARITY = 0.15
"""How unlike the poses beside gap and reference may be: 0 is the same poses, 1 as far apart as any two moments of the clip."""

MIRROR_TOLERANCE_SHARE = 0.03
"""How far a joint may be from the mirrored place of its counterpart in the rest pose, as a share of the height that the joints span."""


def true_runs(flags: Bool[np.ndarray, " t"]) -> list[tuple[int, int]]:
    """First and last row of each run of true ``flags``."""
    rows = np.flatnonzero(flags)
    return [(int(run[0]), int(run[-1])) for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(run)]


def bridged_segments(
    observed_frames: Int[np.ndarray, " s"],
    times_s: Float[np.ndarray, " n"],
    max_gap_s: float,
    stretch_index: Int[np.ndarray, " n"] | None = None,
) -> list[Int[np.ndarray, " _"]]:
    """Runs of clip frames, each from an observed frame to an observed frame, with gaps of up to ``max_gap_s`` inside.

    ``observed_frames`` are rising clip frames, ``times_s`` the times of all frames of the clip. A gap lasts from the last observed frame
    before it to the first one after it, less one ordinary step. No run goes from one stretch to another (``Clip.stretch_index``).
    """
    if len(observed_frames) == 0:
        return []
    step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    gap_s = np.diff(times_s[observed_frames]) - step_s
    breaks = (np.diff(observed_frames) > 1) & (gap_s > max_gap_s)
    if stretch_index is not None:
        breaks |= np.diff(stretch_index[observed_frames]) > 0
    breaks = np.flatnonzero(breaks) + 1
    return [np.arange(run[0], run[-1] + 1) for run in np.split(observed_frames, breaks)]


def bridged_confidence(
    times_s: Float[np.ndarray, " t"], observed: Bool[np.ndarray, " t"], confidence: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """``confidence`` where ``observed``; elsewhere it halves with each ``CONFIDENCE_HALF_LIFE_S`` to the nearest observed row."""
    observed_s = times_s[observed]
    before = np.clip(np.searchsorted(observed_s, times_s, side="right") - 1, 0, len(observed_s) - 1)
    after = np.clip(np.searchsorted(observed_s, times_s), 0, len(observed_s) - 1)
    away_s = np.minimum(np.abs(times_s - observed_s[before]), np.abs(observed_s[after] - times_s))
    return np.interp(times_s, observed_s, confidence[observed]) * 0.5 ** (away_s / CONFIDENCE_HALF_LIFE_S)


@dataclass(frozen=True)
class BodyChannels:
    """What the channels of a series are, where together they are one person.

    ``is_root`` marks channels that say which way the whole body faces: they are not compared, and only their change is taken over.
    ``mirror`` is the channel of each channel's counterpart on the other side, for people do on their left what they do on their right;
    None where a body has no sides.
    """

    is_root: Bool[np.ndarray, " b"]
    mirror: Int[np.ndarray, " b"] | None


@dataclass(frozen=True)
class TrackGap:
    """Rows ``first`` to ``stop`` - 1 of a track were not observed; the rows beside them were."""

    first: int
    stop: int

    @property
    def steps(self) -> int:
        """Steps from the last observed row before the gap to the first one after it."""
        return self.stop - self.first + 1


@dataclass(frozen=True)
class ReferenceMotion:
    """A stretch that stands for a gap: row ``before`` for the last observed row before it, ``after`` for the first one after it.

    ``dissimilarity`` is 0 where the poses beside both are the same, and about 1 for any two moments of the clip.
    """

    before: int
    after: int
    dissimilarity: float


def find_gaps(observed: Bool[np.ndarray, " t"]) -> list[TrackGap]:
    """Gaps between rows that were observed; rows before the first and after the last are none."""
    return [TrackGap(first, last + 1) for first, last in true_runs(~observed) if first > 0 and last < len(observed) - 1]


def fill_from_repeats(
    times_s: Float[np.ndarray, " t"],
    rotations: Float[np.ndarray, "t b 3 3"],
    observed: Bool[np.ndarray, " t"],
    channels: BodyChannels,
    max_dissimilarity: float = MAX_DISSIMILARITY,
) -> tuple[Float[np.ndarray, "t b 3 3"], Float[np.ndarray, "t b"]]:
    """Rotations with their gaps filled by reference motions, and the variance of each axis in rad², infinite where nothing was filled.

    ``rotations`` are smooth and without holes.
    """
    out, variances = rotations.copy(), np.full(rotations.shape[:2], np.inf)
    compared = ~channels.is_root
    if len(times_s) < 3 or not compared.any():
        return out, variances
    step_s = float(np.median(np.diff(times_s)))
    gaps = [gap for gap in find_gaps(observed) if (gap.steps - 1) * step_s >= MIN_REPEAT_GAP_S]
    if not gaps:
        return out, variances
    context = max(2, round(CONTEXT_S / step_s))
    poses = rotations[:, compared]
    sources = [rotations] if channels.mirror is None else [rotations, mirror_rotations(rotations, channels.mirror)]
    source_poses = [source[:, compared] for source in sources]
    for gap in gaps:
        references = [(find_reference(poses, of, observed, gap, context), source) for of, source in zip(source_poses, sources, strict=True)]
        similar = [(reference, source) for reference, source in references if reference and reference.dissimilarity <= max_dissimilarity]
        if not similar:
            continue
        reference, source = min(similar, key=lambda pair: pair[0].dissimilarity)
        alignment = _align(rotations, source, gap, reference)
        rows = np.arange(gap.first, gap.stop)
        out[rows] = _warp(source, gap, reference, alignment)
        error = _context_error(rotations, source, observed, gap, reference, context)
        # Of a root channel it counts how much farther track or reference turned, and at least the error of the other channels.
        error = np.where(channels.is_root, np.maximum((alignment.drift**2).mean(-1), error[compared].mean()), error)
        # A reference that fits badly is off by about as much throughout the gap, not independently in each row.
        variances[rows] = np.maximum(error, np.radians(MIN_ROTATION_SIGMA_DEG) ** 2) * max(1.0, CONTEXT_S / step_s)
    return out, variances


def mirror_rotations(rotations: Float[np.ndarray, "t b 3 3"], mirror: Int[np.ndarray, " b"]) -> Float[np.ndarray, "t b 3 3"]:
    """Rotations as a mirror shows them; ``mirror`` is each channel's counterpart on the other side. Rest axes: x to the side."""
    flip = np.array([-1.0, 1.0, 1.0])
    return rotations[:, mirror] * flip[:, None] * flip


def mirrored_joints(rig: Rig) -> Int[np.ndarray, " j"] | None:
    """Each joint's counterpart on the other side of the body, itself on the midline; None where a body has no such sides.

    It is found from the rest pose, so that it holds for any body: a joint's counterpart hangs from the counterpart of its parent, at the
    mirrored place.
    """
    from scipy.optimize import linear_sum_assignment

    parents, rest_joints_m = rig.parents, rig.rest_joints_m
    J = len(parents)
    # Two thighs may begin in one point. The mean place of all joints below a joint tells them apart.
    below = descendant_matrix(rig)
    mean_below_m = below @ rest_joints_m / below.sum(1, keepdims=True)
    places = np.concatenate([rest_joints_m, mean_below_m], axis=1)
    flipped = places * ([-1.0, 1.0, 1.0] * 2) + [2 * rest_joints_m[0, 0], 0.0, 0.0] * 2
    tolerance_m = MIRROR_TOLERANCE_SHARE * np.ptp(rest_joints_m[:, 1])
    counterpart = np.zeros(J, int)
    for j in range(J):  # Parents come before their children.
        if counterpart[j] < j:
            continue  # Assigned together with its counterpart.
        children, other_children = np.flatnonzero(parents == j), np.flatnonzero(parents == counterpart[j])
        distance_m = np.linalg.norm(flipped[children][:, None] - places[other_children], axis=-1)
        rows, columns = linear_sum_assignment(distance_m)
        if len(children) != len(other_children) or np.any(distance_m[rows, columns] > tolerance_m):
            return None
        counterpart[children[rows]] = other_children[columns]
        counterpart[other_children[columns]] = children[rows]
    return counterpart if np.array_equal(counterpart[counterpart], np.arange(J)) else None


def find_reference(
    rotations: Float[np.ndarray, "t b 3 3"],
    source: Float[np.ndarray, "t b 3 3"],
    observed: Bool[np.ndarray, " t"],
    gap: TrackGap,
    context: int,
) -> ReferenceMotion | None:
    """The stretch of ``source`` most similar to ``rotations`` before and after ``gap``, observed throughout; None without any.

    Both are compared over ``context`` rows on either side, as far as the rows beside the gap were observed.
    """
    flat = rotations.reshape(len(rotations), -1)
    flat_source = source.reshape(len(rotations), -1)
    spread = 2 * (3 * rotations.shape[1] - np.sum(flat[observed].mean(0) ** 2))  # mean squared distance of two rows
    if spread <= 2 * rotations.shape[1] * np.radians(MIN_ROTATION_SIGMA_DEG) ** 2:
        return None  # Somebody who stands still is alike everywhere.
    begins = _context_distance(flat, flat_source, observed, gap.first - 1, -1, context)
    ends = _context_distance(flat, flat_source, observed, gap.stop, 1, context)
    unobserved = np.concatenate([[0], np.cumsum(~observed)])
    best: ReferenceMotion | None = None
    for span in range(max(2, int(np.ceil(gap.steps / MAX_TEMPO_RATIO))), int(gap.steps * MAX_TEMPO_RATIO) + 1):
        distance = np.where(unobserved[span + 1 :] == unobserved[: -span - 1], begins[:-span] + ends[span:], np.inf)
        if len(distance) == 0:
            break
        before = int(distance.argmin())
        dissimilarity = float(distance[before] / (2 * spread))
        if dissimilarity < (best.dissimilarity if best else np.inf):
            best = ReferenceMotion(before, before + span, dissimilarity)
    return best


def _context_distance(
    flat: np.ndarray, flat_source: np.ndarray, observed: np.ndarray, anchor: int, direction: int, context: int
) -> np.ndarray:
    """Mean squared distance (T,) of ``flat_source`` (T, 9B) around each row to ``flat`` (T, 9B) around ``anchor``.

    It is taken over ``context`` rows in one ``direction``, and infinite where one of the rows of the source was not observed.
    """
    T = len(flat)
    rows = anchor + direction * np.arange(context)
    rows = rows[(rows >= 0) & (rows < T)]
    rows = rows[np.logical_and.accumulate(observed[rows])]
    squared = 2 * (flat.shape[1] // 3 - flat_source @ flat[rows].T)
    squared[~observed] = np.inf
    total = np.zeros(T)
    for k in range(len(rows)):
        at = np.arange(T) + direction * k
        inside = (at >= 0) & (at < T)
        total[inside] += squared[at[inside], k]
        total[~inside] = np.inf
    return total / len(rows)


@dataclass(frozen=True)
class _Alignment:
    """``rotation`` (B, 3, 3) takes the reference's first row to the gap's; ``drift`` (B, 3) is what its last row needs beyond that."""

    rotation: np.ndarray
    drift: np.ndarray


def _align(rotations: np.ndarray, source: np.ndarray, gap: TrackGap, reference: ReferenceMotion) -> _Alignment:
    # Rotated from outside: somebody who walks another way is turned about the vertical, whatever the pose.
    first = rotations[gap.first - 1] @ np.swapaxes(source[reference.before], -1, -2)
    last = rotations[gap.stop] @ np.swapaxes(source[reference.after], -1, -2)
    return _Alignment(first, matrix_to_rotvec(np.swapaxes(first, -1, -2) @ last))


def _warp(source: np.ndarray, gap: TrackGap, reference: ReferenceMotion, alignment: _Alignment) -> np.ndarray:
    """Rotations (n, B, 3, 3) of the reference at the gap's rows, aligned with the rows beside the gap."""
    share = np.arange(1, gap.steps) / gap.steps
    at = reference.before + share * (reference.after - reference.before)
    low = np.minimum(at.astype(int), reference.after - 1)
    turn = matrix_to_rotvec(np.swapaxes(source[low], -1, -2) @ source[low + 1])
    warped = source[low] @ rotvec_to_matrix(turn * (at - low)[:, None, None])
    return alignment.rotation @ rotvec_to_matrix(share[:, None, None] * alignment.drift) @ warped


def _context_error(
    rotations: np.ndarray, source: np.ndarray, observed: np.ndarray, gap: TrackGap, reference: ReferenceMotion, context: int
) -> np.ndarray:
    """Mean square (B,) in rad² about one axis of the difference of track and reference beside the gap, where both were observed."""
    T = len(rotations)
    own = np.concatenate([np.arange(gap.first - context, gap.first), np.arange(gap.stop, gap.stop + context)])
    other = np.concatenate(
        [np.arange(reference.before - context + 1, reference.before + 1), np.arange(reference.after, reference.after + context)]
    )
    both = (own >= 0) & (own < T) & (other >= 0) & (other < T)
    both[both] = observed[own[both]] & observed[other[both]]
    difference = matrix_to_rotvec(np.swapaxes(source[other[both]], -1, -2) @ rotations[own[both]])
    return (difference**2).mean((0, 2))
