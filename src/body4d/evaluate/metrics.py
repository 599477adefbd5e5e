"""How far a motion is from the truth. Pure numpy and scipy; metres, seconds; definitions and sources also in docs/evaluation.md.

Arrays are ``joints_m`` (T, K, 3) in camera axes and ``times_s`` (T,). Times may be uneven: derivatives are divided differences over
the true times, so that one movement filmed at 30, 60 or 240 frames/s, or at a variable rate, has the same speed and acceleration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MIN_MATCH_IOU = 0.3
"""Two masks of less overlap than this are not the same person. Lower than the 0.5 usual for boxes: a person mostly hidden by another keeps
a ragged mask, whose overlap with the exact one is low though the person is right."""

MAX_CONTACT_SPEED_M_S = 0.10
"""A foot point that truly moves slower than this stands on the floor. WHAM counts 1 cm between frames; this does not depend on the rate."""


def pelvis_aligned(joints_m: np.ndarray, left: int, right: int) -> np.ndarray:
    """Joints relative to the pelvis, the middle of the two hip joints with indices ``left`` and ``right``."""
    return joints_m - joints_m[:, [left, right]].mean(1, keepdims=True)


def mpjpe_m(joints_m: np.ndarray, truth_m: np.ndarray) -> float:
    """Mean per joint position error: mean distance over frames and joints (Ionescu et al., "Human3.6M", TPAMI 2014, sec. 4).

    Give both :func:`centred` for the usual root-aligned error, as they are for the absolute one.
    """
    return float(np.linalg.norm(joints_m - truth_m, axis=-1).mean())


def procrustes_aligned(joints_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """``joints_m`` moved, turned and scaled, each frame by itself, to lie nearest to ``truth_m`` in least squares.

    Closed form by SVD without reflection: Umeyama, "Least-squares estimation of transformation parameters", TPAMI 1991, eqs. 40–42.
    """
    mean, mean_truth = joints_m.mean(1, keepdims=True), truth_m.mean(1, keepdims=True)
    a, b = joints_m - mean, truth_m - mean_truth
    u, d, vt = np.linalg.svd(np.swapaxes(b, 1, 2) @ a)
    sign = np.ones_like(d)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None]) @ vt
    size = np.sum(a**2, axis=(1, 2))
    scale = np.sum(d * sign, -1) / np.where(size > 0, size, 1.0)
    return scale[:, None, None] * a @ np.swapaxes(rotation, 1, 2) + mean_truth


def pa_mpjpe_m(joints_m: np.ndarray, truth_m: np.ndarray) -> float:
    """MPJPE after :func:`similarity_aligned` per frame: what remains is the error of the pose alone (Zhou et al., "Sparseness meets
    deepness", CVPR 2016; the "reconstruction error" of Kanazawa et al., HMR, CVPR 2018)."""
    return mpjpe_m(procrustes_aligned(joints_m, truth_m), truth_m)


def lateral_and_depth_error_m(joints_m: np.ndarray, truth_m: np.ndarray) -> tuple[float, float]:
    """Mean error across the picture (norm of x and y) and mean error along the view (|z|). A single camera sees the first well and
    the second badly, and MPJPE hides which one it is."""
    gap = joints_m - truth_m
    return float(np.linalg.norm(gap[..., :2], axis=-1).mean()), float(np.abs(gap[..., 2]).mean())


def derivative(values: np.ndarray, times_s: np.ndarray, order: int) -> np.ndarray:
    """Derivatives (T - order, ...) of ``values`` (T, ...) from ``order + 1`` neighbouring samples: ``order!`` times the divided
    difference, exact for polynomials of that degree at any spacing of ``times_s``."""
    t = times_s.reshape((-1,) + (1,) * (values.ndim - 1))
    out = np.asarray(values, np.float64)
    for k in range(1, order + 1):
        out = k * np.diff(out, axis=0) / (t[k:] - t[:-k])
    return out


def contiguous_rows(frame_index: np.ndarray) -> list[slice]:
    """Stretches of rows with no frame missing between them. Derivatives are taken within a stretch, never across a gap."""
    cuts = np.flatnonzero(np.diff(frame_index) != 1) + 1
    bounds = [0, *cuts.tolist(), len(frame_index)]
    return [slice(a, b) for a, b in pairwise(bounds)]


def _mean_norm(values: np.ndarray, times_s: np.ndarray, frame_index: np.ndarray, order: int) -> float:
    parts = [
        np.linalg.norm(derivative(values[s], times_s[s], order), axis=-1).ravel()
        for s in contiguous_rows(frame_index)
        if s.stop - s.start > order
    ]
    return float(np.concatenate(parts).mean()) if parts else float("nan")


def acceleration_error_m_s2(joints_m: np.ndarray, truth_m: np.ndarray, times_s: np.ndarray, frame_index: np.ndarray) -> float:
    """Mean norm of the difference of accelerations (Kanazawa et al., "Learning 3D human dynamics from video", CVPR 2019, sec. 5).

    NaN where no three frames follow each other. The derivative is linear, so the difference is taken first.
    """
    return _mean_norm(joints_m - truth_m, times_s, frame_index, 2)


def jitter_m_s3(joints_m: np.ndarray, times_s: np.ndarray, frame_index: np.ndarray) -> float:
    """Mean norm of the jerk, the third derivative (Flash & Hogan, J Neurosci 1985; as "jitter": Yi et al., TransPose, SIGGRAPH 2021,
    and Shin et al., WHAM, CVPR 2024). It needs no truth; compare with the truth's own, since a swing has honest jerk. It grows with
    the cube of the frame rate for the same noise: compare at one rate only. NaN where no four frames follow each other."""
    return _mean_norm(joints_m, times_s, frame_index, 3)


def foot_sliding_m_s(feet_m: np.ndarray, truth_feet_m: np.ndarray, times_s: np.ndarray, frame_index: np.ndarray) -> float:
    """Mean speed of foot points (T, F, 3) while the true ones stand still (WHAM, sec. 4, per second instead of per frame so that the
    rate does not matter). NaN where no foot stands."""
    parts = []
    for s in contiguous_rows(frame_index):
        if s.stop - s.start > 1:
            true_speed = np.linalg.norm(derivative(truth_feet_m[s], times_s[s], 1), axis=-1)
            speed = np.linalg.norm(derivative(feet_m[s], times_s[s], 1), axis=-1)
            parts.append(speed[true_speed < MAX_CONTACT_SPEED_M_S])
    standing = np.concatenate(parts) if parts else np.zeros(0)
    return float(standing.mean()) if len(standing) else float("nan")


def peak_speed_m_s(point_m: np.ndarray, times_s: np.ndarray, frame_index: np.ndarray) -> float:
    """Greatest speed of one point (T, 3) between neighbouring frames. NaN where no two frames follow each other."""
    speeds = [np.linalg.norm(derivative(point_m[s], times_s[s], 1), axis=-1) for s in contiguous_rows(frame_index) if s.stop - s.start > 1]
    return float(np.concatenate(speeds).max()) if speeds else float("nan")


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks (H, W) (Jaccard 1912; Everingham et al., PASCAL VOC, IJCV 2010). NaN where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else float("nan")


@dataclass(frozen=True)
class ClearMotCounts:
    """Counts of CLEAR MOT (Bernardin & Stiefelhagen, "Evaluating multiple object tracking performance", EURASIP JIVP 2008).

    ``matches``, ``misses`` (a true person without a match), ``extra`` (a follower without a true person) and ``switches`` (a true
    person taken over by another follower than the last one) over all frames. ``overlap_sum[(truth_id, id)]`` is the IoU summed over
    the frames where the two are matched.
    """

    matches: int
    misses: int
    extra: int
    switches: int
    overlap_sum: Mapping[tuple[int, int], float]

    @property
    def mota(self) -> float:
        """Multiple object tracking accuracy: 1 − (misses + extra + switches) / true appearances. NaN without any."""
        true = self.matches + self.misses
        return 1 - (self.misses + self.extra + self.switches) / true if true else float("nan")


def clear_mot(overlaps: list[tuple[list[int], list[int], np.ndarray]]) -> ClearMotCounts:
    """Match followers to true people frame by frame and count.

    ``overlaps``: per frame the true ids (M,), the followers' ids (N,) and their IoU (M, N). As CLEAR MOT says, a pair of the frame
    before stays a pair while it still overlaps by :data:`MIN_MATCH_IOU`; the rest is assigned at the greatest sum of IoU (Hungarian).
    """
    last: dict[int, int] = {}
    current: dict[int, int] = {}
    matches = misses = extra = switches = 0
    overlap_sum: dict[tuple[int, int], float] = {}
    for truth_ids, ids, iou in overlaps:
        pairs = _match(truth_ids, ids, iou, current)
        for truth_id, follower in pairs.items():
            switches += truth_id in last and last[truth_id] != follower
            last[truth_id] = follower
            key = (truth_id, follower)
            overlap_sum[key] = overlap_sum.get(key, 0.0) + float(iou[truth_ids.index(truth_id), ids.index(follower)])
        matches += len(pairs)
        misses += len(truth_ids) - len(pairs)
        extra += len(ids) - len(pairs)
        current = pairs
    return ClearMotCounts(matches, misses, extra, switches, overlap_sum)


def _match(truth_ids: list[int], ids: list[int], iou: np.ndarray, before: Mapping[int, int]) -> dict[int, int]:
    """Pairs {true id: follower} of one frame."""
    from scipy.optimize import linear_sum_assignment

    kept = {t: f for t, f in before.items() if t in truth_ids and f in ids and iou[truth_ids.index(t), ids.index(f)] >= MIN_MATCH_IOU}
    free_t = [i for i, t in enumerate(truth_ids) if t not in kept]
    free_f = [j for j, f in enumerate(ids) if f not in kept.values()]
    if free_t and free_f:
        worth = np.where(iou[np.ix_(free_t, free_f)] >= MIN_MATCH_IOU, iou[np.ix_(free_t, free_f)], 0.0)
        for i, j in zip(*linear_sum_assignment(-worth), strict=True):
            if worth[i, j] > 0:
                kept[truth_ids[free_t[i]]] = ids[free_f[j]]
    return kept


def match_identities(overlap_sum: Mapping[tuple[int, int], float]) -> dict[int, int]:
    """One follower for each true person over the whole clip, {true id: follower}, at the greatest total overlap (the global matching of
    Ristani et al., "Performance measures and a data set for multi-target, multi-camera tracking", ECCVW 2016)."""
    from scipy.optimize import linear_sum_assignment

    truth_ids = sorted({t for t, _ in overlap_sum})
    ids = sorted({f for _, f in overlap_sum})
    worth = np.array([[overlap_sum.get((t, f), 0.0) for f in ids] for t in truth_ids]).reshape(len(truth_ids), len(ids))
    rows, columns = linear_sum_assignment(-worth)
    return {truth_ids[i]: ids[j] for i, j in zip(rows, columns, strict=True) if worth[i, j] > 0}
