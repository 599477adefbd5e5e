"""The cheapest order of a swing's eight events: one dynamic programme over their cues and GolfDB's shares of time.

For each pair of address and impact the shares are known, and the events between and after them are the cheapest ones in order. Frames
before and after the clip stand for events that it cuts off.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.golf.event_cues import EDGE_COST, WINDOW_AFTER, WINDOW_BEFORE, Cues
from body4d.golf.types import EVENTS

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

OUTSIDE_COST = 5.0
"""Of an event outside the clip: a little more than three standard deviations, so that what is in the clip is preferred."""

NEGLIGIBLE_COST = 4.0
"""Paths this much dearer than the cheapest one weigh under 2 % of it."""

MAX_ADDRESSES, MAX_IMPACTS, NUM_OUTSIDE = 40, 16, 12


def share_cost(name: str, share: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Negative log likelihood of a share of the time from address to impact, by GolfDB's percentiles, with the tails of Student's t."""
    points = np.array(SHARES[name])
    z = np.interp(share, points, _NORMAL)
    for end, inner in ((0, 1), (-1, -2)):
        slope = (_NORMAL[end] - _NORMAL[inner]) / (points[end] - points[inner])
        beyond = share < points[0] if end == 0 else share > points[-1]
        z = np.where(beyond, _NORMAL[end] + slope * (share - points[end]), z)
    return 0.5 * (TAIL_FREEDOM + 1) * np.log1p(z**2 / TAIL_FREEDOM)


@dataclass(frozen=True)
class Path:
    """The cheapest path: window rows (below 0 and from the window's length on: outside the clip), and how sure each row is."""

    rows: dict[str, int]
    confidence: dict[str, float]
    cost: float


def best_path(cues: Cues) -> Path:
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
    return Path(rows, confidence, cost / len(EVENTS))


def _place_stand_ins(
    wide: np.ndarray, unary: Mapping[str, np.ndarray], rows: dict[str, int], confidence: dict[str, float], tolerance: float, cues: Cues
) -> None:
    """Put toe-up and mid-follow-through, where the club was not seen, in proportion to the backswing and the downswing."""
    a, mid, top, i = (rows[name] for name in ("address", "mid_backswing", "top", "impact"))
    for name, start, length, after, before, (middle, spread) in (
        ("toe_up", a, mid - a, a, mid, TOE_UP_OF_BACKSWING),
        ("mid_follow_through", i, i - top, i, rows["finish"], FOLLOW_THROUGH_OF_DOWNSWING),
    ):
        at = np.flatnonzero((wide > after) & (wide < before))
        row = rows[name]
        if len(at) == 0 or (0 <= row < cues.count and np.isfinite(cues.shaft_height[row])):
            continue
        cost = unary[name][at] + 0.5 * (((wide[at] - start) / length - middle) / spread) ** 2
        rows[name] = int(wide[at[np.argmin(cost)]])
        weight = np.exp(cost.min() - cost)
        confidence[name] = float(weight[np.abs(wide[at] - rows[name]) <= tolerance].sum() / weight.sum())


def _address_hypotheses(cues: Cues) -> tuple[np.ndarray, np.ndarray]:
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
