"""When the club leaves the ball at address, and when it is back there."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import median_filter

from body4d.golf.club.lines import wrapped
from body4d.golf.club.shaft import shaft_angles
from body4d.golf.types import ClubShaft

REST_S = 0.3
REST_SHARE = 0.03
"""At address the head keeps for this many seconds of the clip within this share of the shaft's length (some 3 cm) of one place."""

AT_REST = 1.5
"""A head that is no farther from its place than this many times the median at rest has not left it yet: it is seen there within noise."""

BACK_SHARE = 0.15
"""The head is back at the ball where it is within this share of the shaft's length of its place at address."""

MIN_SWEEP = math.radians(20)
MAX_SWEEP = math.radians(120)
"""Two frames between which the shaft turns by this much past its angle at address tell when it had that angle."""


@dataclass(frozen=True)
class ClubAtRest:
    """Where the club is held at address."""

    frame_exact: float
    """When it leaves the ball, between frames."""
    head_px: Float[np.ndarray, " 2"]
    angle: float


def club_at_rest(club: ClubShaft, before: int, fps: float) -> ClubAtRest | None:
    """The club at address, from the frames up to ``before`` (any frame of the backswing); None where it was not seen at rest.

    The head shows a slow takeaway, in which the hands hardly move, earlier than the body does.
    """
    seen = np.ones(len(club.frames), bool) if club.head_seen is None else club.head_seen
    rows = np.flatnonzero(seen & (club.frames <= before))
    count = max(5, round(REST_S * fps))
    if len(rows) < count:
        return None
    heads, frames = club.head_px[rows], club.frames[rows]
    reach_px = REST_SHARE * float(np.median(np.linalg.norm(heads - club.grip_px[rows], axis=1)))
    best: tuple[float, np.ndarray] | None = None
    for start in range(len(rows) - count, -1, -1):
        if frames[start + count - 1] - frames[start] > 1.5 * count:
            continue
        place = np.median(heads[start : start + count], axis=0)
        off = float(np.linalg.norm(heads[start : start + count] - place, axis=1).max())
        if off <= reach_px and (best is None or off < best[0]):
            best = (off, place)
    if best is None:
        return None
    away = np.linalg.norm(heads - best[1], axis=1) / reach_px
    there = np.flatnonzero(away <= 1)
    x, y = np.median((club.head_px - club.grip_px)[rows[there]], axis=0)
    return ClubAtRest(_departure(frames, away, int(there[-1])), best[1], math.atan2(y, x))


def _departure(frames: Int[np.ndarray, " n"], away: Float[np.ndarray, " n"], last: int) -> float:
    """When the head left the ball: after the last frame on which it is in its place within noise.

    ``away`` is its distance in units of the rim, which it leaves for good after row ``last``. A takeaway may pause, so that the rim is
    crossed many frames after it began. Single distances that stick out count by the middle one of three.
    """
    middle = median_filter(away[: last + 2], 3, mode="nearest")
    noise = AT_REST * float(np.median(away[: last + 1][away[: last + 1] <= 1]))
    row = int(np.flatnonzero(middle <= max(noise, float(middle.min())))[-1])
    return (float(frames[row]) + float(frames[min(row + 1, len(frames) - 1)])) / 2


def club_returns(club: ClubShaft, rest: ClubAtRest, first: int, last: int) -> float | None:
    """When, between frames ``first`` and ``last`` (of downswing and follow-through), the club is back where it was at address: the moment
    it meets the ball, between frames; None where the club was not seen around it."""
    rows = np.flatnonzero((club.frames >= first) & (club.frames <= last))
    off = wrapped(shaft_angles(club) - rest.angle)
    for a, b in itertools.pairwise(rows.tolist()):
        sweep = abs(off[a]) + abs(off[b])
        if club.frames[b] - club.frames[a] == 1 and off[a] * off[b] < 0 and MIN_SWEEP <= sweep <= MAX_SWEEP:
            return float(club.frames[a] + abs(off[a]) / sweep)
    if not len(rows):
        return None
    # Filmed along the swing's plane the angle hardly changes: the head's place tells.
    away = np.linalg.norm(club.head_px[rows] - rest.head_px, axis=1)
    length = np.linalg.norm(club.head_px[rows] - club.grip_px[rows], axis=1)
    nearest = int(away.argmin())
    return float(club.frames[rows[nearest]]) if away[nearest] <= BACK_SHARE * length[nearest] else None
