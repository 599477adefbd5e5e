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
    # Costs of the cheapest way to a pair of frames, each as seen (0) or exchanged (1).
    step = np.array([[0.0, ENTER_COST + FRAME_COST], [0.0, FRAME_COST]])
    cost = step[0, :, None] + step
    before = np.zeros((T, 2, 2), int)
    for frame in range(2, T):
        ways = cost[:, :, None] + bend[frame - 2] + step
        before[frame], cost = ways.argmin(0), ways.min(0)
    out = np.zeros(T, bool)
    middle, last = np.unravel_index(int(cost.argmin()), cost.shape)
    for frame in range(T - 1, 0, -1):
        out[frame - 1], out[frame] = middle, last
        middle, last = before[frame, middle, last], middle
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
