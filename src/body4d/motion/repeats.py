"""What a person did while nobody was seen, as far as the same clip shows them doing it once more. Pure numpy.

People who walk, row or juggle repeat themselves, and a path of least jerk across half a step is none. For each absence another stretch
of the track is looked for that begins and ends in the same poses; what happened there is put between, drawn to both ends. How far the
two differ where both were seen says how far to trust it: the smoother weighs it against its own path. Nothing is learned from elsewhere.
(Filling motion from the most alike stretch: Kovar, Gleicher & Pighin, "Motion Graphs", SIGGRAPH 2002, who compare windows of poses.)
"""

from dataclasses import dataclass

import numpy as np

from body4d.config import MotionSettings
from body4d.core.rig import Rig
from body4d.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix
from body4d.motion.gaps import true_runs
from body4d.motion.uncertainty import descendant_matrix

_ALIKE_SHARE = 0.03  # of the height: how far a joint may be from where a mirror shows its counterpart


@dataclass(frozen=True)
class BodyChannels:
    """Channels that are one person: ``free`` (B,) ones, such as the way the whole body faces, are not compared, and taken over as turns;
    ``mirror`` (B,) is each channel's other side, for people do on their left what they do on their right, None where a body has no
    sides."""

    free: np.ndarray
    mirror: np.ndarray | None


@dataclass(frozen=True)
class TrackGap:
    """Rows ``first`` to ``stop`` - 1 of a track were not seen; the rows beside them were."""

    first: int
    stop: int

    @property
    def steps(self) -> int:
        """From the last row seen before to the first one after."""
        return self.stop - self.first + 1


@dataclass(frozen=True)
class ReferenceMotion:
    """Row ``before`` stands for the last row seen before an absence, ``after`` for the first after it. ``unlike``: 0 where the poses beside
    are the same, about 1 for any two moments of the clip."""

    before: int
    after: int
    unlike: float


def find_gaps(seen: np.ndarray) -> list[TrackGap]:
    """Absences between rows ``seen`` (T,) bool."""
    return [TrackGap(first, last + 1) for first, last in true_runs(~seen) if first > 0 and last < len(seen) - 1]


def fill_from_repeats(
    times_s: np.ndarray, rotations: np.ndarray, seen: np.ndarray, body: BodyChannels, settings: MotionSettings
) -> tuple[np.ndarray, np.ndarray]:
    """What the clip shows elsewhere, put into its absences: rotations (T, B, 3, 3) and variances (T, B) of each axis in rad², infinite
    where nothing was put. ``rotations`` (T, B, 3, 3) are smooth and without holes; rows ``seen`` (T,) were measured."""
    out, variances = rotations.copy(), np.full(rotations.shape[:2], np.inf)
    compared = ~body.free
    if len(times_s) < 3 or not compared.any() or settings.repeat_most_unlike == 0:
        return out, variances
    step_s = float(np.median(np.diff(times_s)))
    gaps = [gap for gap in find_gaps(seen) if (gap.steps - 1) * step_s >= settings.repeat_least_s]
    if not gaps:
        return out, variances
    context = max(2, round(settings.repeat_context_s / step_s))
    poses = rotations[:, compared]
    sources = [rotations] if body.mirror is None else [rotations, mirror_rotations(rotations, body.mirror)]
    shown = [source[:, compared] for source in sources]
    for gap in gaps:
        found = [(find_reference(poses, of, seen, gap, context, settings), source) for of, source in zip(shown, sources, strict=True)]
        some = [(donor, source) for donor, source in found if donor and donor.unlike <= settings.repeat_most_unlike]
        if not some:
            continue
        donor, source = min(some, key=lambda one: one[0].unlike)
        drawing = _drawing(rotations, source, gap, donor)
        rows = np.arange(gap.first, gap.stop)
        out[rows] = _taken_over(source, gap, donor, drawing)
        off = _mismatch(rotations, source, seen, gap, donor, context)
        # Of free channels, how much farther one turned than the other counts, and no less than the others differ.
        off = np.where(body.free, np.maximum((drawing.further**2).mean(-1), off[compared].mean()), off)
        # What repeats badly is off by about as much throughout, not anew in each row.
        variances[rows] = np.maximum(off, np.radians(settings.least_noise_deg) ** 2) * max(1.0, settings.repeat_context_s / step_s)
    return out, variances


def mirror_rotations(rotations: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Rotations (T, B, 3, 3) as a mirror shows them; ``mirror`` (B,) is each channel's other side. Rest axes: x to the side."""
    flip = np.array([-1.0, 1.0, 1.0])
    return rotations[:, mirror] * flip[:, None] * flip


def mirrored_joints(rig: Rig) -> np.ndarray | None:
    """Each joint's (J,) counterpart of the other body side, itself in the middle; None where a body has no such sides.

    From the rest pose, so that it holds for any body: a joint's counterpart hangs from its parent's, at the mirrored place.
    """
    from scipy.optimize import linear_sum_assignment

    parents, rest_joints_m = rig.parents, rig.rest_joints_m
    J = len(parents)
    # Two thighs may begin in one point: where all that hangs from a joint lies tells them apart.
    below = descendant_matrix(rig)
    middles = below @ rest_joints_m / below.sum(1, keepdims=True)
    places = np.concatenate([rest_joints_m, middles], axis=1)
    flipped = places * ([-1.0, 1.0, 1.0] * 2) + [2 * rest_joints_m[0, 0], 0.0, 0.0] * 2
    most_m = _ALIKE_SHARE * np.ptp(rest_joints_m[:, 1])
    other = np.zeros(J, int)
    for j in range(J):  # Parents come before their children.
        if other[j] < j:
            continue  # Settled with the other side.
        here, there = np.flatnonzero(parents == j), np.flatnonzero(parents == other[j])
        away = np.linalg.norm(flipped[here][:, None] - places[there], axis=-1)
        rows, columns = linear_sum_assignment(away)
        if len(here) != len(there) or np.any(away[rows, columns] > most_m):
            return None
        other[here[rows]] = there[columns]
        other[there[columns]] = here[rows]
    return other if np.array_equal(other[other], np.arange(J)) else None


def find_reference(
    rotations: np.ndarray, source: np.ndarray, seen: np.ndarray, gap: TrackGap, context: int, settings: MotionSettings
) -> ReferenceMotion | None:
    """The stretch of ``source`` (T, B, 3, 3) most like ``rotations`` (T, B, 3, 3) before and after ``gap``, seen throughout.

    Compared over ``context`` rows on either side, as far as those beside the gap were seen. None where there is none.
    """
    flat = rotations.reshape(len(rotations), -1)
    other = source.reshape(len(rotations), -1)
    spread = 2 * (3 * rotations.shape[1] - np.sum(flat[seen].mean(0) ** 2))  # mean squared distance of two rows
    if spread <= 2 * rotations.shape[1] * np.radians(settings.least_noise_deg) ** 2:
        return None  # Whoever stands still does the same everywhere.
    begins = _distance(flat, other, seen, gap.first - 1, -1, context)
    ends = _distance(flat, other, seen, gap.stop, 1, context)
    unseen = np.concatenate([[0], np.cumsum(~seen)])
    best: ReferenceMotion | None = None
    for span in range(max(2, int(np.ceil(gap.steps / settings.repeat_tempo))), int(gap.steps * settings.repeat_tempo) + 1):
        both = np.where(unseen[span + 1 :] == unseen[: -span - 1], begins[:-span] + ends[span:], np.inf)
        if len(both) == 0:
            break
        at = int(both.argmin())
        unlike = float(both[at] / (2 * spread))
        if unlike < (best.unlike if best else np.inf):
            best = ReferenceMotion(at, at + span, unlike)
    return best


def _distance(flat: np.ndarray, other: np.ndarray, seen: np.ndarray, anchor: int, direction: int, context: int) -> np.ndarray:
    """Mean squared distance (T,) of ``other`` (T, 9B) around each row to ``flat`` (T, 9B) around ``anchor``, over ``context`` rows in
    one ``direction``; infinite where one of them was not seen."""
    T = len(flat)
    rows = anchor + direction * np.arange(context)
    rows = rows[(rows >= 0) & (rows < T)]
    rows = rows[np.logical_and.accumulate(seen[rows])]
    apart = 2 * (flat.shape[1] // 3 - other @ flat[rows].T)
    apart[~seen] = np.inf
    total = np.zeros(T)
    for k in range(len(rows)):
        at = np.arange(T) + direction * k
        inside = (at >= 0) & (at < T)
        total[inside] += apart[at[inside], k]
        total[~inside] = np.inf
    return total / len(rows)


@dataclass(frozen=True)
class _Drawing:
    """Turns ``first`` (B, 3, 3) that take the donor's first row to the gap's, and vectors ``further`` (B, 3) of what its last row needs."""

    first: np.ndarray
    further: np.ndarray


def _drawing(rotations: np.ndarray, source: np.ndarray, gap: TrackGap, donor: ReferenceMotion) -> _Drawing:
    # Turned from outside: somebody who walks another way does so about the upright, whatever the pose.
    first = rotations[gap.first - 1] @ np.swapaxes(source[donor.before], -1, -2)
    last = rotations[gap.stop] @ np.swapaxes(source[donor.after], -1, -2)
    return _Drawing(first, matrix_to_rotvec(np.swapaxes(first, -1, -2) @ last))


def _taken_over(source: np.ndarray, gap: TrackGap, donor: ReferenceMotion, drawing: _Drawing) -> np.ndarray:
    """The donor's rotations, in the gap's time and drawn to the rows beside it: (n, B, 3, 3)."""
    share = np.arange(1, gap.steps) / gap.steps
    at = donor.before + share * (donor.after - donor.before)
    low = np.minimum(at.astype(int), donor.after - 1)
    turn = matrix_to_rotvec(np.swapaxes(source[low], -1, -2) @ source[low + 1])
    there = source[low] @ rotvec_to_matrix(turn * (at - low)[:, None, None])
    return drawing.first @ rotvec_to_matrix(share[:, None, None] * drawing.further) @ there


def _mismatch(
    rotations: np.ndarray, source: np.ndarray, seen: np.ndarray, gap: TrackGap, donor: ReferenceMotion, context: int
) -> np.ndarray:
    """Mean square (B,) in rad² about one axis of how far gap and donor differ where both were seen."""
    T = len(rotations)
    here = np.concatenate([np.arange(gap.first - context, gap.first), np.arange(gap.stop, gap.stop + context)])
    there = np.concatenate([np.arange(donor.before - context + 1, donor.before + 1), np.arange(donor.after, donor.after + context)])
    both = (here >= 0) & (here < T) & (there >= 0) & (there < T)
    both[both] = seen[here[both]] & seen[there[both]]
    off = matrix_to_rotvec(np.swapaxes(source[there[both]], -1, -2) @ rotations[here[both]])
    return (off**2).mean((0, 2))
