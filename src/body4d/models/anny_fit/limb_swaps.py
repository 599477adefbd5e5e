"""Frames in which the two feet, hands, knees or elbows are taken for each other for a moment. Pure numpy.

Where a leg passes the other one, an exchange makes neither foot leap faster than feet move, so that speeds do not show it. But both leave
their way and come back, and both stay on it when they are exchanged once more. In the picture, that is: what the network says of depth
stays with its label.
"""

import numpy as np
from jaxtyping import Bool, Float

NOISE_M = 0.05
"""What a landmark leaves the straight way between its neighbours by: noise, and the bend of a quick foot's way at 30 frames a second."""
ROBUST_SCALE = 9.0
"""Squared distance from the way, in those of ``NOISE_M``, from which it counts less: a landmark may be wrong without an exchange."""
ENTER_COST, FRAME_COST = 4.0, 1.0
"""Cost of beginning an exchange, and of each frame of it: a long one is no moment, and is judged by other means (``sides``)."""
MAX_STEP_S = 0.06
"""Between frames farther apart a limb does not stay near a straight way."""

_STATES = ((0, 0), (0, 1), (1, 0), (1, 1))  # whether the frame before and the frame itself are exchanged


def momentary_swaps(
    joints_m: Float[np.ndarray, "t 2 2"], times_s: Float[np.ndarray, " t"], is_cut: Bool[np.ndarray, " t"]
) -> Bool[np.ndarray, " t"]:
    """In which frames left and right (second axis) of one joint are exchanged, by the cheapest way through the clip (Viterbi).

    ``joints_m`` are right and down in camera axes, from the hips; ``is_cut`` marks frames that begin a new shot. A frame costs by how far
    both joints lie from the straight line between the frames beside it.
    """
    T = len(times_s)
    if T < 3:
        return np.zeros(T, bool)
    bend = _bend_costs(joints_m, times_s, is_cut)
    cost = np.array([0.0, ENTER_COST + FRAME_COST, ENTER_COST + FRAME_COST, ENTER_COST + 2 * FRAME_COST])
    before = np.zeros((T, 4), int)
    for frame in range(2, T):
        ways = np.full((4, 4), np.inf)
        for a, (first, middle) in enumerate(_STATES):
            for b in (2 * middle, 2 * middle + 1):
                last = _STATES[b][1]
                ways[a, b] = cost[a] + bend[frame - 2, first, middle, last] + last * FRAME_COST + (last > middle) * ENTER_COST
        before[frame] = ways.argmin(0)
        cost = ways.min(0)
    out = np.zeros(T, bool)
    state = int(cost.argmin())
    for frame in range(T - 1, 0, -1):
        out[frame], out[frame - 1] = _STATES[state][1], _STATES[state][0]
        state = before[frame, state]
    return out


def _bend_costs(joints_m: np.ndarray, times_s: np.ndarray, is_cut: np.ndarray) -> Float[np.ndarray, "_ 2 2 2"]:
    """What three frames in a row cost, each as seen (0) or exchanged (1)."""
    step_s = np.diff(times_s)
    share = (step_s[:-1] / (step_s[:-1] + step_s[1:]))[:, None, None]
    read = (joints_m, joints_m[:, ::-1])
    out = np.zeros((len(times_s) - 2, 2, 2, 2))
    for first, middle, last in np.ndindex(2, 2, 2):
        way = read[first][:-2] * (1 - share) + read[last][2:] * share
        off = ((read[middle][1:-1] - way) ** 2).sum(-1) / NOISE_M**2
        out[:, first, middle, last] = (off / (1 + off / ROBUST_SCALE)).sum(-1)
    tied = (np.maximum(step_s[:-1], step_s[1:]) <= MAX_STEP_S) & ~is_cut[1:-1] & ~is_cut[2:]
    return np.where(tied[:, None, None, None], out, 0.0)
