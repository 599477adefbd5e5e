"""The eight events of a swing by one dynamic programme: their order, GolfDB's shares of time as prior, and cues of body, club and sound.

The cost of a frame as an event is half a squared number of standard deviations: a negative log likelihood. For each pair of address and
impact the shares are known, and the events between and after them are the cheapest ones in order. Frames before and after the clip
stand for events that it cuts off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from body4d.golf.angles import elevation_deg
from body4d.golf.body_motion import BodyMotion
from body4d.golf.candidates import Candidate, hand_angle_deg
from body4d.golf.club import club_at_rest, club_returns
from body4d.golf.types import EVENTS, ClubShaft, Hand, SwingEvent

# Place of each event between address (0) and impact (1): 5th, 25th, 50th, 75th and 95th percentile of 758 real-time swings of GolfDB
# (McNally et al. 2019, golfDB.mat), counted for shared/GOLF_METRICS.md.
SHARES: dict[str, tuple[float, float, float, float, float]] = {
    "toe_up": (0.32, 0.36, 0.40, 0.44, 0.52),
    "mid_backswing": (0.45, 0.50, 0.54, 0.59, 0.66),
    "top": (0.72, 0.75, 0.77, 0.81, 0.84),
    "mid_downswing": (0.86, 0.89, 0.90, 0.92, 0.94),
    "mid_follow_through": (1.04, 1.05, 1.06, 1.07, 1.10),
    "finish": (1.38, 1.49, 1.57, 1.69, 1.90),
}
_NORMAL = (-1.645, -0.674, 0.0, 0.674, 1.645)
"""The same percentiles of the normal distribution."""

# Where the club is unseen, toe-up is placed between address and mid-backswing, and mid-follow-through by the length of the downswing:
# medians of the same table, by which slow backswings and downswings keep their proportions; spreads as far as independent shares tell.
TOE_UP_OF_BACKSWING = (0.40 / 0.54, 0.10)
FOLLOW_THROUGH_OF_DOWNSWING = (0.06 / 0.23, 0.08)

TAIL_FREEDOM = 4.0
"""Degrees of freedom of the prior: tour players are alike, others swing otherwise, and clips are slowed down in parts."""

BEFORE_IMPACT, AFTER_IMPACT = EVENTS[1:5], EVENTS[6:]

STILL_SHARE = 0.05
"""Hands below this share of their peak speed are still (GOLF_METRICS)."""

MAX_STILL_SHARE = 0.2
STILL_OVER_NOISE = 1.5
"""In slow motion the hands' noise may be more than 5 % of their peak: still is then what is this much above that of the calmest stretch."""

STILL_PER_DOWNSWING = 0.4
"""The 0.1 s for which the hands are still, as a share of a usual downswing of 0.25 s: clips may be slowed down."""

EDGE_COST = 8.0
"""Of a stretch that is not still where it ought to be, or still where it ought not."""

MAX_STILL_AFTER = 4.0
"""Stillness between address and backswing counts up to so many of these stretches."""

OUTSIDE_COST = 5.0
"""Of an event outside the clip: a little more than three standard deviations, so that what is in the clip is preferred."""

LEVEL_SIGMA_DEG = 6.0
TOP_SIGMA_DEG, TOP_SIGMA_SPEED_SHARE = 6.0, 0.06
PASSING_SIGMA_PER_HEIGHT = 0.1
RETURN_SIGMA_PER_HEIGHT = 0.04
"""Only the difference from the nearest moment counts, as hands do not come back to the very same place."""

HANDS_AHEAD_PER_DOWNSWING = 0.06
"""The club meets the ball this part of a downswing after the hands were nearest to their address place, since they are ahead of it by then.
In a recorded driver swing with its club 0.04; in two films of tour players in which the strike is seen, 0.10 and 0.11 (benchmarks/golf.py
and docs/golf.md)."""

SOUND_SIGMA_FRAMES = 0.7
MAX_SOUND_OFF_PER_DOWNSWING = 0.4
"""A sound farther than this from where the hands are back is not this swing's strike."""

MAX_SOUND_OFF_CLUB_FRAMES = 2.0
"""Where the club is seen to come back to the ball, a sound farther from that is another one, or not in time with the pictures."""

CLUB_SIGMA_FRAMES = 1.0

SHAFT_SIGMA = 0.2
"""Sine of the shaft's angle to the horizontal in the picture."""

MIN_SHAFT_CONFIDENCE = 0.5
SMOOTH_PER_DOWNSWING = 0.04
"""Hands are smoothed by this share of the downswing (10 ms in real time), which takes no edge off a swing and noise off slow motion."""

REACH_PER_DOWNSWING = 0.12
"""A cue's own level or lowest point is sought this near to where the prior and the order of events put it."""

WINDOW_BEFORE, WINDOW_AFTER = 10.0, 7.0
"""Downswings before the top and after impact in which the events are sought: twice what 95 of 100 swings take."""

NEGLIGIBLE_COST = 4.0
"""Paths this much dearer than the cheapest one weigh under 2 % of it."""

MAX_ADDRESSES, MAX_IMPACTS, NUM_OUTSIDE = 40, 16, 12


@dataclass(frozen=True)
class FoundEvents:
    """The events of one swing; rows are those of the ``BodyMotion``."""

    events: tuple[SwingEvent, ...]
    """Those inside the clip."""
    cut_off: tuple[str, ...]
    rows: Mapping[str, float]
    """Row of each event inside the clip, between rows too."""
    address_rows: np.ndarray
    """The still stretch before the takeaway, over which address is averaged."""
    cost: float
    """Mean cost of the eight events."""
    sound_used: bool


def find_events(
    motion: BodyMotion,
    candidate: Candidate,
    limits: tuple[int, int],
    hand: Hand,
    *,
    club: ClubShaft | None = None,
    sounds_clip_s: Sequence[float] = (),
) -> FoundEvents:
    """The eight events of the swing around ``candidate``, between the rows ``limits``; ``sounds_clip_s`` are strikes, at the club."""
    cues = _Cues(motion, candidate, limits, hand, club, sounds_clip_s)
    best = _best_path(cues)
    return _described(cues, best)


def share_cost(name: str, share: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Negative log likelihood of a share of the time from address to impact, by GolfDB's percentiles, with the tails of Student's t."""
    points = np.array(SHARES[name])
    z = np.interp(share, points, _NORMAL)
    for end, inner in ((0, 1), (-1, -2)):
        slope = (_NORMAL[end] - _NORMAL[inner]) / (points[end] - points[inner])
        beyond = share < points[0] if end == 0 else share > points[-1]
        z = np.where(beyond, _NORMAL[end] + slope * (share - points[end]), z)
    return 0.5 * (TAIL_FREEDOM + 1) * np.log1p(z**2 / TAIL_FREEDOM)


class _Cues:
    """Costs of the rows of one swing's window, with rows outside the clip at both ends."""

    def __init__(
        self,
        motion: BodyMotion,
        candidate: Candidate,
        limits: tuple[int, int],
        hand: Hand,
        club: ClubShaft | None,
        sounds_clip_s: Sequence[float],
    ) -> None:
        down = max(candidate.downswing_rows, 2)
        first = max(limits[0], candidate.top - round(WINDOW_BEFORE * down), 0)
        last = min(limits[1], candidate.through + round(WINDOW_AFTER * down), len(motion) - 1)
        self.motion, self.candidate, self.first, self.count = motion, candidate, first, last - first + 1
        self.down, self.hand = down, hand
        self.rows = slice(first, last + 1)
        self.seconds = motion.real_s[self.rows]
        self.step = float(np.median(np.diff(self.seconds)))
        self.top = candidate.top - first
        self.ahead = HANDS_AHEAD_PER_DOWNSWING * down
        self.through = candidate.through - first
        lead, trail = ("left", "right") if hand == "right" else ("right", "left")
        sigma = SMOOTH_PER_DOWNSWING * down
        joints = {name: _smooth(motion.joints[name], sigma)[self.rows] for name in _JOINTS}
        self.hands = joints["mid_wrist"]
        self.velocity = np.gradient(self.hands, self.seconds, axis=0)
        self.speed = np.linalg.norm(self.velocity, axis=-1)
        self.peak_speed = float(self.speed[self.top : max(self.through, self.top) + 2].max())
        self.elevation = elevation_deg(joints[f"{lead}_shoulder"], joints[f"{lead}_wrist"])
        axis = np.mean(joints[f"{lead}_ankle"] - joints[f"{trail}_ankle"], axis=0) * [1.0, 0.0, 1.0]
        self.along = axis / max(float(np.linalg.norm(axis)), 1e-9)
        left = self.along if lead == "left" else -self.along
        angle = _smooth(hand_angle_deg(motion, left), sigma)[self.rows] * (1.0 if lead == "left" else -1.0)
        self.angle = angle - 360.0 * np.round(angle[min(self.through, self.count - 1)] / 360.0)
        self.past_trail = (self.hands - joints[f"{trail}_hip"]) @ self.along
        self.past_lead = (self.hands - joints[f"{lead}_hip"]) @ self.along
        self.shaft = _shaft_sine(club, motion.frames[self.rows]) if club is not None else np.full(self.count, np.nan)
        self.rest, self.returned = self._club_at_the_ball(club)
        self.sound = self._strike(sounds_clip_s)
        if self.sound is not None and self.returned is not None and abs(self.sound - self.returned) > MAX_SOUND_OFF_CLUB_FRAMES:
            self.sound = None
        self._still_stretches()

    def _still_stretches(self) -> None:
        """What still means before and after this swing, and the edges of stillness."""
        self.still_rows = max(round(STILL_PER_DOWNSWING * self.down), 2)
        mean = uniform_filter1d(self.velocity, self.still_rows, axis=0, mode="nearest")
        square = np.maximum(uniform_filter1d(self.speed**2, self.still_rows, mode="nearest"), 0.0)  # running sums round below 0
        # Trembling has no direction, a slow takeaway has one. A golfer who sways in the finish is at rest all the same.
        noise = np.sqrt(np.maximum(square - np.sum(mean**2, -1), 0.0))
        before, after = noise[: max(self.top, 1)], np.sqrt(square)[min(self.through, self.count - 1) :]
        low, high = STILL_SHARE * self.peak_speed, MAX_STILL_SHARE * self.peak_speed
        self.still_before = float(np.clip(STILL_OVER_NOISE * before.min(), low, high))
        self.still_after = float(np.clip(STILL_OVER_NOISE * after.min(), low, high))

    def _strike(self, sounds_clip_s: Sequence[float]) -> float | None:
        """Row of the strike that belongs to this swing, between rows too."""
        if not len(sounds_clip_s) or self.through >= self.count:
            return None
        rows = np.interp(sounds_clip_s, self.motion.clip_s, np.arange(len(self.motion)), left=np.nan, right=np.nan) - self.first
        off = np.abs(rows - self.through)
        if np.isnan(off).all() or np.nanmin(off) > max(MAX_SOUND_OFF_PER_DOWNSWING * self.down, 2.0):
            return None
        return float(rows[np.nanargmin(off)])

    def _club_at_the_ball(self, club: ClubShaft | None) -> tuple[float | None, float | None]:
        """Rows of the last frame at which the club was seen at rest before this swing, and of its return to that place; None: not seen."""
        if club is None:
            return None, None
        frames = self.motion.frames[self.rows]
        fps = 1.0 / float(np.median(np.diff(self.motion.clip_s)))
        rest = club_at_rest(club, int(frames[self.top]), fps)
        if rest is None or rest.frame < frames[0]:
            return None, None
        back = club_returns(club, rest, int(frames[self.top]) + 1, int(frames[-1]))
        row = None if back is None else back - float(frames[0])
        if row is None or abs(row - self.through) > max(MAX_SOUND_OFF_PER_DOWNSWING * self.down, 2.0):
            row = None
        return float(rest.frame - frames[0]), row

    @property
    def strike(self) -> float | None:
        """Row of the strike where sound or club tell it."""
        return self.sound if self.sound is not None else self.returned

    def address(self) -> np.ndarray:
        """Cost of each row as the last still one before the hands are halfway up."""
        if self.rest is not None:
            cost = 0.5 * ((np.arange(self.count) - self.rest) / CLUB_SIGMA_FRAMES) ** 2
            cost[self.top :] = np.inf
            return cost
        moving = (self.speed > self.still_before).astype(float)
        up = np.flatnonzero(self.angle[: self.top + 1] > 0.5 * self.angle[self.top])
        halfway = int(up[-1]) if len(up) else 0
        still = np.where(np.arange(self.count) <= halfway, 1.0 - moving, 0.0)
        still_after = np.append(np.cumsum(still[::-1])[::-1][1:], 0.0) / self.still_rows
        cost = EDGE_COST * (_mean_before(moving, self.still_rows) + np.minimum(still_after, MAX_STILL_AFTER))
        cost[halfway + 1 :] = np.inf
        return cost

    def finish(self) -> np.ndarray:
        """Cost of each row as the first one at rest."""
        moving = (self.speed > self.still_after).astype(float)
        cost = EDGE_COST * (1.0 - _mean_before(moving, self.still_rows, own=False) + _mean_after(moving, self.still_rows, own=True))
        cost[-1] = min(cost[-1], 0.5 * EDGE_COST)  # the clip's end stands for the finish
        return cost

    def impact(self, address_row: int) -> np.ndarray:
        """Cost of each row as the one where the hands are back where they were at ``address_row``."""
        if self.strike is not None:
            return 0.5 * ((np.arange(self.count) - self.strike) / SOUND_SIGMA_FRAMES) ** 2
        rows = np.arange(self.count)
        distance = np.interp(rows - self.ahead, rows, self.distance(address_row))
        swing = distance[self.top : min(self.candidate.end - self.first + 1, self.count)]
        sigma = RETURN_SIGMA_PER_HEIGHT * self.motion.height_m
        # Where the clip ends before the hands are back, their nearest place is not near.
        nearest = swing.min() if self.through < self.count else 0.0
        cost = 0.5 * ((distance - nearest) / sigma) ** 2
        cost[: self.top + 1] = np.inf
        cost[self.candidate.end - self.first + 1 :] = np.inf
        return cost

    def distance(self, address_row: int) -> np.ndarray:
        """Of the hands from their address place."""
        rows = self.still_run(address_row)
        return np.linalg.norm(self.hands - self.hands[rows].mean(0), axis=-1)

    def still_run(self, address_row: int) -> np.ndarray:
        """The still rows up to ``address_row``; at least one, at most as many as 0.3 s are of a real swing."""
        row = int(np.clip(address_row, 0, self.count - 1))
        start = row
        while start > 0 and row - start < 3 * self.still_rows and self.speed[start - 1] <= self.still_before:
            start -= 1
        return np.arange(start, row + 1)

    def between(self) -> dict[str, np.ndarray]:
        """Costs of the rows as the events other than address, impact and finish."""
        height = self.motion.height_m
        rising = np.gradient(self.elevation) > 0
        level = 0.5 * (self.elevation / LEVEL_SIGMA_DEG) ** 2
        top_angle = self.angle[max(self.top - self.down // 2, 0) : self.top + self.down // 2 + 1].min()
        passing = PASSING_SIGMA_PER_HEIGHT * height
        costs = {
            "toe_up": 0.5 * (self.past_trail / passing) ** 2,
            "mid_backswing": level + np.where(rising, 0.0, EDGE_COST),
            "top": 0.5 * ((self.angle - top_angle) / TOP_SIGMA_DEG) ** 2
            + 0.5 * (self.speed / (TOP_SIGMA_SPEED_SHARE * self.peak_speed)) ** 2,
            "mid_downswing": level + np.where(rising, EDGE_COST, 0.0),
            "mid_follow_through": 0.5 * (self.past_lead / passing) ** 2,
        }
        if np.isfinite(self.shaft).any():
            lifting = np.gradient(self.shaft) < 0
            seen = 0.5 * (self.shaft / SHAFT_SIGMA) ** 2 + np.where(lifting, 0.0, EDGE_COST)
            for name in ("toe_up", "mid_follow_through"):
                costs[name] = np.where(np.isfinite(self.shaft), seen, costs[name])
        return costs


_JOINTS = ("mid_wrist", *(f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "wrist", "ankle", "hip")))


@dataclass(frozen=True)
class _Path:
    """The cheapest path: window rows (below 0 and from the window's length on: outside the clip), and how sure each row is."""

    rows: dict[str, int]
    confidence: dict[str, float]
    cost: float


def _best_path(cues: _Cues) -> _Path:
    n = cues.count
    addresses, address_costs = _address_hypotheses(cues)
    between, finish = cues.between(), cues.finish()
    after_rows = np.arange(n, n + round(WINDOW_AFTER * cues.down), max(cues.down // 4, 1))
    all_rows = np.concatenate([np.arange(n), after_rows])
    before_rows = np.arange(-round(WINDOW_BEFORE * cues.down), 0, max(cues.down // 4, 1))
    wide = np.concatenate([before_rows, all_rows])
    outside = np.full(len(before_rows), OUTSIDE_COST), np.full(len(after_rows), OUTSIDE_COST)
    unary = {name: np.concatenate([outside[0], cost, outside[1]]) for name, cost in {**between, "finish": finish}.items()}
    pairs: list[tuple[float, int, int]] = []
    for a, a_cost in zip(addresses, address_costs, strict=True):
        impact = np.concatenate([cues.impact(int(a)), np.full(len(after_rows), OUTSIDE_COST)])
        near = np.argsort(impact, kind="stable")[:MAX_IMPACTS]
        pairs += [(float(a_cost + impact[k]), int(a), int(all_rows[k])) for k in near if np.isfinite(impact[k])]
    totals: list[tuple[float, int, int, dict[str, int]]] = []
    cheapest = np.inf
    for ends, a, i in sorted(pairs):
        if ends > cheapest + NEGLIGIBLE_COST:
            break  # the events between only add to it
        if i - a < len(BEFORE_IMPACT) + 1:
            continue
        inner, path = _inner(wide, unary, a, i)
        totals.append((ends + inner, a, i, path))
        cheapest = min(cheapest, ends + inner)
    if not totals:
        raise ValueError("a candidate swing has no path")
    cost, a, i, path = min(totals, key=lambda item: item[0])
    tolerance = max(1.0, (i - a) / 30.0)  # GolfDB's own
    weights = np.exp(cost - np.array([t[0] for t in totals]))
    confidence = _confidence(wide, unary, a, i, path, tolerance)
    for name, off in (("address", [t[1] - a for t in totals]), ("impact", [t[2] - i for t in totals])):
        confidence[name] = float(weights[np.abs(off) <= tolerance].sum() / weights.sum())
    rows = {"address": a, "impact": i, **path}
    _place_stand_ins(wide, unary, rows, confidence, tolerance, cues)
    return _Path(rows, confidence, cost / len(EVENTS))


def _place_stand_ins(
    wide: np.ndarray, unary: Mapping[str, np.ndarray], rows: dict[str, int], confidence: dict[str, float], tolerance: float, cues: _Cues
) -> None:
    """Put toe-up and mid-follow-through, where the club was not seen, in proportion to the backswing and the downswing."""
    a, mid, top, i = (rows[name] for name in ("address", "mid_backswing", "top", "impact"))
    for name, start, length, after, before, (middle, spread) in (
        ("toe_up", a, mid - a, a, mid, TOE_UP_OF_BACKSWING),
        ("mid_follow_through", i, i - top, i, rows["finish"], FOLLOW_THROUGH_OF_DOWNSWING),
    ):
        at = np.flatnonzero((wide > after) & (wide < before))
        row = rows[name]
        if len(at) == 0 or (0 <= row < cues.count and np.isfinite(cues.shaft[row])):
            continue
        cost = unary[name][at] + 0.5 * (((wide[at] - start) / length - middle) / spread) ** 2
        rows[name] = int(wide[at[np.argmin(cost)]])
        weight = np.exp(cost.min() - cost)
        confidence[name] = float(weight[np.abs(wide[at] - rows[name]) <= tolerance].sum() / weight.sum())


def _address_hypotheses(cues: _Cues) -> tuple[np.ndarray, np.ndarray]:
    """Rows that may be the address, with their costs; some before the clip where it may begin too late."""
    cost = cues.address()[: max(cues.top - 1, 1)]
    rows = np.argsort(cost, kind="stable")[:MAX_ADDRESSES]
    rows = rows[np.isfinite(cost[rows])]
    outside = -np.linspace(1, 4 * cues.down, NUM_OUTSIDE).round().astype(int)
    if cues.first > 0 or (len(rows) and cost[rows[0]] < 0.5 * EDGE_COST):
        return rows, cost[rows]  # a clip that shows the golfer still does not cut the address off
    return np.concatenate([rows, outside]), np.concatenate([cost[rows], np.full(len(outside), OUTSIDE_COST)])


def _inner(wide: np.ndarray, unary: Mapping[str, np.ndarray], a: int, i: int) -> tuple[float, dict[str, int]]:
    """The cheapest rows of the events between address ``a`` and impact ``i``, and after it, in order; and their cost."""
    total, path = 0.0, {}
    for names, keep in ((BEFORE_IMPACT, (wide > a) & (wide < i)), (AFTER_IMPACT, wide > i)):
        at = np.flatnonzero(keep)
        if len(at) < len(names):
            return np.inf, {}
        share = (wide[at] - a) / (i - a)
        best, backs = np.zeros(len(at)), []
        for k, name in enumerate(names):
            if k:
                lowest = np.minimum.accumulate(best)
                source = np.maximum.accumulate(np.where(best <= lowest, np.arange(len(at)), 0))
                best, back = np.append(np.inf, lowest[:-1]), np.append(0, source[:-1])
                backs.append(back)
            best = best + unary[name][at] + share_cost(name, share)
        row = int(np.argmin(best))
        total += float(best[row])
        for k in range(len(names) - 1, -1, -1):
            path[names[k]] = int(wide[at[row]])
            if k:
                row = int(backs[k - 1][row])
    return total, path


def _confidence(
    wide: np.ndarray, unary: Mapping[str, np.ndarray], a: int, i: int, path: Mapping[str, int], tolerance: float
) -> dict[str, float]:
    """Probability that each event between is within ``tolerance`` rows of where it was put: sums over all paths in order."""
    out: dict[str, float] = {}
    for names, keep in ((BEFORE_IMPACT, (wide > a) & (wide < i)), (AFTER_IMPACT, wide > i)):
        at = np.flatnonzero(keep)
        share = (wide[at] - a) / (i - a)
        costs = [unary[name][at] + share_cost(name, share) for name in names]
        ahead = [-costs[0]]
        for cost in costs[1:]:
            ahead.append(np.append(-np.inf, np.logaddexp.accumulate(ahead[-1])[:-1]) - cost)
        behind = [np.zeros(len(at))]
        for cost in costs[:0:-1]:
            behind.append(np.append(np.logaddexp.accumulate((behind[-1] - cost)[::-1])[::-1][1:], -np.inf))
        for name, forward, backward in zip(names, ahead, behind[::-1], strict=True):
            log = forward + backward
            weight = np.exp(log - log.max())
            out[name] = float(weight[np.abs(wide[at] - path[name]) <= tolerance].sum() / weight.sum())
    return out


def _described(cues: _Cues, path: _Path) -> FoundEvents:
    motion, n = cues.motion, cues.count
    inside = {name: row for name, row in path.rows.items() if 0 <= row < n}
    exact = {name: float(np.clip(_refined(cues, name, row, path.rows["address"]), 0, n - 1)) for name, row in inside.items()}
    for name, limit, keep in (("toe_up", "mid_backswing", min), ("mid_follow_through", "impact", max)):
        if name in exact and limit in exact:  # stand-ins to the frame give way to what is known to a part of it
            exact[name] = keep(exact[name], exact[limit])
    events = []
    for name in EVENTS:
        if name not in inside:
            continue
        at = cues.first + exact[name]
        proxy, method = _method(cues, name, inside[name])
        near = motion.trust[max(round(at) - 1, 0) : round(at) + 2]
        events.append(
            SwingEvent(
                name=name,
                frame=int(motion.frames[round(at)]),
                frame_exact=float(np.interp(at, np.arange(len(motion)), motion.frames)),
                time_s=float(np.interp(at, np.arange(len(motion)), motion.clip_s)),
                confidence=float(np.clip(path.confidence[name] * np.mean(near), 0.0, 1.0)),
                proxy=proxy,
                method=method,
            )
        )
    return FoundEvents(
        events=tuple(events),
        cut_off=tuple(name for name in EVENTS if name not in inside),
        rows={name: cues.first + row for name, row in exact.items()},
        address_rows=cues.first + cues.still_run(path.rows["address"]),
        cost=path.cost,
        sound_used=cues.sound is not None and "impact" in inside,
    )


def _refined(cues: _Cues, name: str, row: int, address_row: int) -> float:
    """``row`` to a part of a frame: where a curve crosses its level on a line, or where its lowest point is on a parabola."""
    reach = max(round(REACH_PER_DOWNSWING * cues.down), 1)
    if name == "address":
        if cues.rest is not None:
            return float(row)
        return crossing(cues.speed - cues.still_before, row, reach)
    if name == "finish":
        return crossing(cues.speed - cues.still_after, row, reach)
    if name in ("mid_backswing", "mid_downswing"):
        return crossing(cues.elevation, row, reach)
    if name == "top":
        return lowest(cues.speed, row, reach)
    if name == "impact":
        if cues.strike is not None:
            return cues.strike
        return cues.ahead + lowest(cues.distance(address_row) ** 2, round(row - cues.ahead), reach)
    return crossing(cues.shaft, row, reach) if np.isfinite(cues.shaft[row]) else float(row)


def _method(cues: _Cues, name: str, row: int) -> tuple[bool, str]:
    """Whether the body stands for the club, and in plain words how the event was found."""
    if name in ("toe_up", "mid_follow_through"):
        if np.isfinite(cues.shaft[row]):
            return False, "the club's shaft is level in the picture"
        side = "trail" if name == "toe_up" else "lead"
        return True, f"the hands pass the {side} thigh at about the usual share of the time from address to impact; the club was not seen"
    if name == "impact" and cues.sound is not None:
        return False, "the sound of the strike"
    if name == "impact" and cues.returned is not None:
        return False, "the club is back where it was at address"
    if name == "address" and cues.rest is not None:
        return False, "the club is seen at the ball for the last time before the backswing"
    return {
        "address": (False, "the hands are still for the last time before the backswing"),
        "mid_backswing": (False, "the lead arm is level for the first time"),
        "top": (True, "the hands are slowest between backswing and downswing"),
        "mid_downswing": (False, "the lead arm is level again"),
        "impact": (True, "the hands are just past their place at address"),
        "finish": (False, "the hands come to rest"),
    }[name]


def crossing(values: Float[np.ndarray, " t"], row: int, reach: int = 1) -> float:
    """Where ``values`` cross 0 nearest to ``row``, at most ``reach`` rows away and a part, on a line between two rows; else ``row``."""
    found = []
    for k in range(max(row - reach - 1, 0), min(row + reach + 1, len(values) - 1)):
        a, b = float(values[k]), float(values[k + 1])
        if a == 0.0:
            found.append(float(k))
        elif a * b < 0:
            found.append(k + a / (a - b))
    return min(found, key=lambda at: abs(at - row)) if found else float(row)


def lowest(values: Float[np.ndarray, " t"], row: int, reach: int = 1) -> float:
    """Where the lowest point of ``values`` within ``reach`` rows of ``row`` is, on a parabola through three rows."""
    first = max(row - reach, 0)
    row = first + int(np.argmin(values[first : row + reach + 1]))
    if not 0 < row < len(values) - 1:
        return float(row)
    a, b, c = (float(values[row + k]) for k in (-1, 0, 1))
    bend = a - 2 * b + c
    return row + float(np.clip(0.5 * (a - c) / bend, -1.0, 1.0)) if bend > 0 else float(row)


def _shaft_sine(club: ClubShaft, frames: np.ndarray) -> np.ndarray:
    """Sine of the shaft's angle below the horizontal of the picture on ``frames``; NaN where it was not surely seen."""
    down = club.head_px - club.grip_px
    sine = down[:, 1] / np.maximum(np.linalg.norm(down, axis=-1), 1e-9)
    out = np.full(len(frames), np.nan)
    row = {int(f): k for k, f in enumerate(club.frames)}
    for k, frame in enumerate(frames.tolist()):
        seen = row.get(frame)
        if seen is not None and club.confidence[seen] >= MIN_SHAFT_CONFIDENCE:
            out[k] = sine[seen]
    return out


def _smooth(values: np.ndarray, sigma_rows: float) -> np.ndarray:
    return gaussian_filter1d(values, sigma_rows, axis=0, mode="nearest") if sigma_rows > 0.3 else values


def _mean_before(values: np.ndarray, width: int, *, own: bool = True) -> np.ndarray:
    """Mean of the ``width`` values up to each one (``own``: itself included); of as many as there are at the beginning."""
    return _mean_after(values[::-1], width, own=own)[::-1]


def _mean_after(values: np.ndarray, width: int, *, own: bool = False) -> np.ndarray:
    total = np.concatenate([[0.0], np.cumsum(values)])
    n = len(values)
    start = np.arange(n) + (0 if own else 1)
    end = np.minimum(start + width, n)
    start = np.minimum(start, n)
    return np.where(end > start, (total[end] - total[start]) / np.maximum(end - start, 1), values)
