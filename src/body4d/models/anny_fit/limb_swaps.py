"""Frames in which the two feet, hands, knees or elbows are taken for each other for a moment. Pure numpy.

Where a leg passes the other one, an exchange makes neither foot leap faster than feet move, so that speeds do not show it. But both leave
their way and come back, and both stay on it when they are exchanged once more. On the way into an exchange and out of it the network may
see each foot anywhere between the two: such a frame tells the place of neither, and is left out.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

NOISE_M = 0.05
"""What a landmark leaves the straight way between its neighbours by, besides the bend of that way."""
BEND_M_S2 = 20.0
"""Acceleration that bends the way: a walker's foot, 0.35 m ahead of the hips and behind them, 0.9 times a second and with its second
harmonic."""
ROBUST_SCALE = 9.0
"""Squared distance from the way, in standard deviations, from which it counts less: a landmark may be wrong without an exchange."""
ENTER_COST, FRAME_COST = 4.0, 1.0
"""Cost of beginning an exchange, and of each frame of it: a long one is no moment, and is judged by other means (``sides``)."""
MAX_STEP_S = 0.06
"""Between frames farther apart a limb does not stay near a straight way."""

_SEEN = 0
_STEP_COST = np.array([[0.0, ENTER_COST + FRAME_COST], [0.0, FRAME_COST]])
"""Cost of going from a frame that is as seen (0) or exchanged (1) to the next."""


def momentary_swaps(
    joints_m: Float[np.ndarray, "t 2 2"], times_s: Float[np.ndarray, " t"], is_cut: Bool[np.ndarray, " t"], max_between: int = 0
) -> tuple[Bool[np.ndarray, " t"], Bool[np.ndarray, " t"]]:
    """In which frames left and right (second axis) of one joint are exchanged, and which lie between, by the cheapest way through the clip
    (Viterbi).

    ``joints_m`` are right and down from the hips, where the picture shows them; ``is_cut`` marks frames that begin a new shot. A frame
    costs by how far both joints lie from the straight line between the frames beside it. Up to ``max_between`` frames in a row may be left
    out instead, which cost by how far each joint lies from the line between where it and where the other one should be.
    """
    T = len(times_s)
    swapped, between = np.zeros(T, bool), np.zeros(T, bool)
    if T < 3:
        return swapped, between
    lags = range(1, min(max_between, T - 3) + 2)
    read = np.stack([joints_m, joints_m[:, ::-1]], axis=1)
    ties = np.concatenate([[0], np.cumsum((np.diff(times_s) > MAX_STEP_S) | is_cut[1:])])
    bends = {(before, after): _bend_costs(read, times_s, ties, before, after) for before in lags for after in lags}
    steps = {lag: _STEP_COST + _between_costs(read, times_s, ties, lag) for lag in lags}
    # Costs of the cheapest way to each frame that is kept, by how far before it the last one was kept, and by the readings of both.
    cost, origin = np.full((T, len(lags), 2, 2), np.inf), np.zeros((T, len(lags), 2, 2), int)
    for last in range(1, T):
        for after in lags[:last]:
            middle = last - after
            if middle == 0:
                cost[last, after - 1] = _STEP_COST[_SEEN][:, None] + steps[after][0]
                continue
            ways = [cost[middle, before - 1][..., None] + bends[before, after][middle - before] for before in lags[:middle]]
            flat = np.concatenate(ways) + steps[after][middle]
            origin[last, after - 1], cost[last, after - 1] = flat.argmin(0), flat.min(0)
    last = T - 1
    lag, first, here = (int(i) for i in np.unravel_index(int(cost[last].argmin()), cost[last].shape))
    while last > 0:
        middle = last - lag - 1
        swapped[last], swapped[middle], between[middle + 1 : last] = here, first, True
        (further, before), here = divmod(int(origin[last, lag, first, here]), 2), first
        last, lag, first = middle, further, before
    return swapped, between


def _bend_costs(
    read: np.ndarray, times_s: np.ndarray, ties: Int[np.ndarray, " t"], before: int, after: int
) -> Float[np.ndarray, "_ 2 2 2"]:
    """What a frame costs between those ``before`` and ``after`` frames away, by the readings of the three (``read``, (T, 2, 2, 2))."""
    span = before + after
    own, tolerance_m2 = _way(read, times_s, np.arange(len(times_s) - span), before, span)
    off = read[before : len(times_s) - after, None, :, None] - own[:, :, None]
    return np.where((ties[span:] == ties[:-span])[:, None, None, None], _robust_cost(off, tolerance_m2), 0.0)


def _between_costs(read: np.ndarray, times_s: np.ndarray, ties: np.ndarray, lag: int) -> Float[np.ndarray, "_ 2 2"]:
    """What it costs to leave out all frames between one and the one ``lag`` frames later, by the readings of these two."""
    out = np.zeros((len(times_s) - lag, 2, 2))
    if lag == 1:
        return out
    firsts = np.arange(len(out))
    for before in range(1, lag):
        own, tolerance_m2 = _way(read, times_s, firsts, before, lag)
        to_other = own[..., ::-1, :] - own
        off = read[before : len(times_s) - lag + before, _SEEN][:, None, None] - own
        along = (off * to_other).sum(-1, keepdims=True) / np.maximum((to_other**2).sum(-1, keepdims=True), 1e-12)
        out += FRAME_COST + _robust_cost(off - np.clip(along, 0, 1) * to_other, tolerance_m2)
    return np.where((ties[lag:] == ties[:-lag])[:, None, None], out + ENTER_COST, np.inf)


def _way(read: np.ndarray, times_s: np.ndarray, firsts: np.ndarray, before: int, span: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 2, 2, 2, 2) on the straight way of both joints from each of ``firsts`` to ``span`` frames later, ``before`` frames on, by
    the readings of both ends; and how far off the way may be, squared (N,)."""
    before_s, after_s = times_s[firsts + before] - times_s[firsts], times_s[firsts + span] - times_s[firsts + before]
    share = (before_s / (before_s + after_s))[:, None, None, None, None]
    own = read[firsts][:, :, None] * (1 - share) + read[firsts + span][:, None] * share
    return own, NOISE_M**2 + (BEND_M_S2 / 2 * before_s * after_s) ** 2


def _robust_cost(off_m: np.ndarray, tolerance_m2: np.ndarray) -> np.ndarray:
    """Cost (N, ...) of distances (N, ..., 2 joints, 2 axes)."""
    squared = (off_m**2).sum(-1) / tolerance_m2.reshape(-1, *[1] * (off_m.ndim - 2))
    return (squared / (1 + squared / ROBUST_SCALE)).sum(-1)
