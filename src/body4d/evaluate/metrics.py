"""How far a motion is from the truth. Pure numpy and scipy; metres, seconds; definitions and sources are also in docs/evaluation.md.

Joints are in camera axes, for world errors in the world. Times may be uneven: derivatives are divided differences over the true times, so
that one movement filmed at 30, 60 or 240 frames/s, or at a variable rate, has the same speed and acceleration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, Real

MIN_MATCH_IOU = 0.3
"""Two masks of less overlap than this are not the same person. It is lower than the 0.5 usual for boxes: a person mostly hidden by another
keeps a ragged mask, whose overlap with the exact one is low although the person is right."""

MAX_CONTACT_SPEED_M_S = 0.10
"""A foot point whose true speed is below this stands on the floor. WHAM counts 1 cm between frames; this does not depend on the rate."""

Joints = Float[np.ndarray, "t k 3"]
Points = Float[np.ndarray, "t 3"]
Times = Float[np.ndarray, " t"]
Frames = Int[np.ndarray, " t"]


def pelvis_aligned(joints_m: Joints, left_hip: int, right_hip: int) -> Joints:
    """Joints relative to the pelvis, the middle of the two hip joints of the given indices."""
    return joints_m - joints_m[:, [left_hip, right_hip]].mean(1, keepdims=True)


def mpjpe_m(joints_m: Joints, truth_m: Joints) -> float:
    """Mean per joint position error: the mean distance over frames and joints (Ionescu et al., "Human3.6M", TPAMI 2014, section 4).

    Of ``pelvis_aligned`` joints it is the usual root-aligned error, of joints as they are the absolute one.
    """
    return float(np.linalg.norm(joints_m - truth_m, axis=-1).mean())


def similarity(
    points_m: Float[np.ndarray, "t k 3"], truth_m: Float[np.ndarray, "t k 3"], *, fixed_scale: bool = False
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t 3 3"], Float[np.ndarray, "t 3"]]:
    """Scale s, rotation R and translation t of each frame so that s R x + t is at the least squared distance from the truth.

    In closed form by SVD, without reflection: Umeyama, "Least-squares estimation of transformation parameters", TPAMI 1991, eqs. 40–42.
    """
    mean, mean_truth = points_m.mean(1, keepdims=True), truth_m.mean(1, keepdims=True)
    a, b = points_m - mean, truth_m - mean_truth
    u, d, vt = np.linalg.svd(np.swapaxes(b, 1, 2) @ a)
    sign = np.ones_like(d)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None]) @ vt
    size = np.sum(a**2, axis=(1, 2))
    scale = np.ones(len(d)) if fixed_scale else np.sum(d * sign, -1) / np.where(size > 0, size, 1.0)
    return scale, rotation, (mean_truth - scale[:, None, None] * mean @ np.swapaxes(rotation, 1, 2))[:, 0]


def procrustes_aligned(joints_m: Joints, truth_m: Joints) -> Joints:
    """``joints_m`` translated, rotated and scaled, each frame by itself, to the least squared distance from ``truth_m``."""
    scale, rotation, offset = similarity(joints_m, truth_m)
    return scale[:, None, None] * joints_m @ np.swapaxes(rotation, 1, 2) + offset[:, None]


def pa_mpjpe_m(joints_m: Joints, truth_m: Joints) -> float:
    """MPJPE after ``procrustes_aligned``: what remains is the error of the pose alone.

    Zhou et al., "Sparseness meets deepness", CVPR 2016; the "reconstruction error" of Kanazawa et al., HMR, CVPR 2018.
    """
    return mpjpe_m(procrustes_aligned(joints_m, truth_m), truth_m)


def lateral_and_depth_error_m(joints_m: Joints, truth_m: Joints) -> tuple[float, float]:
    """Mean error across the picture (norm of x and y) and mean error along the view (|z|).

    A single camera measures the first well and the second badly, and MPJPE hides which of the two is off.
    """
    difference = joints_m - truth_m
    return float(np.linalg.norm(difference[..., :2], axis=-1).mean()), float(np.abs(difference[..., 2]).mean())


def derivative(values: Real[np.ndarray, "t ..."], times_s: Times, order: int) -> Float[np.ndarray, "t-{order} ..."]:
    """Derivatives of ``values`` from ``order + 1`` neighbouring samples each.

    They are ``order!`` times the divided difference, which is exact for polynomials of that degree at any spacing of ``times_s``.
    """
    t = times_s.reshape((-1,) + (1,) * (values.ndim - 1))
    out = np.asarray(values, np.float64)
    for k in range(1, order + 1):
        out = k * np.diff(out, axis=0) / (t[k:] - t[:-k])
    return out


def contiguous_rows(frame_index: Frames) -> list[slice]:
    """Runs of rows without a missing frame. Derivatives are taken within a run, never across a gap."""
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


def acceleration_error_m_s2(joints_m: Joints, truth_m: Joints, times_s: Times, frame_index: Frames) -> float:
    """Mean norm of the difference of accelerations (Kanazawa et al., "Learning 3D human dynamics from video", CVPR 2019, section 5).

    NaN where no three frames follow each other. The derivative is linear, so that the difference is taken first.
    """
    return _mean_norm(joints_m - truth_m, times_s, frame_index, 2)


def jitter_m_s3(joints_m: Joints, times_s: Times, frame_index: Frames) -> float:
    """Mean norm of the jerk, the third derivative; NaN where no four frames follow each other.

    Flash & Hogan, J Neurosci 1985; called jitter by Yi et al., TransPose, SIGGRAPH 2021, and Shin et al., WHAM, CVPR 2024. It needs no
    truth, but it should be compared with the truth's own, because a swing has true jerk. For the same noise it grows with the cube of
    the frame rate, so that only figures of one rate compare.
    """
    return _mean_norm(joints_m, times_s, frame_index, 3)


def foot_sliding_m_s(feet_m: Joints, truth_feet_m: Joints, times_s: Times, frame_index: Frames) -> float:
    """Mean speed of foot points while the true ones stand still; NaN where no foot stands.

    As in WHAM, section 4, but per second instead of per frame, so that the frame rate does not matter.
    """
    parts = []
    for s in contiguous_rows(frame_index):
        if s.stop - s.start > 1:
            true_speed = np.linalg.norm(derivative(truth_feet_m[s], times_s[s], 1), axis=-1)
            speed = np.linalg.norm(derivative(feet_m[s], times_s[s], 1), axis=-1)
            parts.append(speed[true_speed < MAX_CONTACT_SPEED_M_S])
    standing = np.concatenate(parts) if parts else np.zeros(0)
    return float(standing.mean()) if len(standing) else float("nan")


WORLD_WINDOW_FRAMES = 100
"""World errors are taken over windows of so many frames, as Ye et al., SLAHMR, CVPR 2023, introduced and WHAM and GVHMR do."""


def world_mpjpe_m(joints_m: Joints, truth_m: Joints) -> tuple[float, float]:
    """W-MPJPE and WA-MPJPE of joints in the world: MPJPE after one similarity for each window of ``WORLD_WINDOW_FRAMES`` frames.

    For the first it is the one that aligns the window's first two frames, so that drift counts; for the second the whole window (Shin et
    al., WHAM, CVPR 2024, section 4; Shen et al., GVHMR, SIGGRAPH Asia 2024, section 4.1). NaN with fewer than two frames.
    """
    if len(joints_m) < 2:
        return float("nan"), float("nan")
    first, whole = [], []
    for start in range(0, len(joints_m), WORLD_WINDOW_FRAMES):
        found, true = joints_m[start : start + WORLD_WINDOW_FRAMES], truth_m[start : start + WORLD_WINDOW_FRAMES]
        for errors, rows in ((first, slice(0, 2)), (whole, slice(None))):
            scale, rotation, offset = similarity(found[rows].reshape(1, -1, 3), true[rows].reshape(1, -1, 3))
            errors.append(np.linalg.norm(scale[0] * found @ rotation[0].T + offset[0] - true, axis=-1).mean(1))
    return float(np.concatenate(first).mean()), float(np.concatenate(whole).mean())


def root_translation_error_share(root_m: Points, truth_m: Points) -> float:
    """RTE: mean distance of the root from the true one after one rigid motion (no scale), as a share of the length of the true way.

    WHAM and GVHMR, as above. NaN where the true root does not move.
    """
    length = float(np.linalg.norm(np.diff(truth_m, axis=0), axis=-1).sum())
    _, rotation, offset = similarity(root_m[None], truth_m[None], fixed_scale=True)
    error = float(np.linalg.norm(root_m @ rotation[0].T + offset[0] - truth_m, axis=-1).mean())
    return error / length if length > 0 else float("nan")


WALK_STEP_S = 1.0


def walked_m(floor_m: Float[np.ndarray, "t 2"], times_s: Times) -> float:
    """Length of a way over the floor, in steps of ``WALK_STEP_S``: what a body sways from side to side within one is no way."""
    steps = max(round(float(times_s[-1] - times_s[0]) / WALK_STEP_S), 1)
    at_s = np.linspace(times_s[0], times_s[-1], steps + 1)
    places = np.stack([np.interp(at_s, times_s, floor_m[:, axis]) for axis in (0, 1)], -1)
    return float(np.linalg.norm(np.diff(places, axis=0), axis=-1).sum())


def peak_speed_m_s(point_m: Points, times_s: Times, frame_index: Frames) -> float:
    """Greatest speed of one point between neighbouring frames; NaN where no two frames follow each other."""
    speeds = [np.linalg.norm(derivative(point_m[s], times_s[s], 1), axis=-1) for s in contiguous_rows(frame_index) if s.stop - s.start > 1]
    return float(np.concatenate(speeds).max()) if speeds else float("nan")


def mask_iou(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union of two masks (Jaccard 1912; Everingham et al., PASCAL VOC, IJCV 2010); NaN where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else float("nan")


@dataclass(frozen=True)
class FrameOverlaps:
    """Masks of one frame: ids of the true people and of the predicted tracks that have one, and the IoU of each pair."""

    truth_ids: list[int]
    track_ids: list[int]
    iou: Float[np.ndarray, "truths tracks"]


@dataclass(frozen=True)
class ClearMotCounts:
    """Counts over all frames (CLEAR MOT: Bernardin & Stiefelhagen, "Evaluating multiple object tracking performance", EURASIP JIVP 2008).

    A miss is a true person without a matching track, a false positive a track without a true person, an identity switch a true person
    matched by another track than last time. ``overlap_sum[truth_id, track_id]`` is the IoU summed over the frames where the two match.
    """

    matches: int
    misses: int
    false_positives: int
    identity_switches: int
    overlap_sum: Mapping[tuple[int, int], float]

    @property
    def mota(self) -> float:
        """Multiple object tracking accuracy: 1 − (misses + false positives + identity switches) / true appearances; NaN without any."""
        true = self.matches + self.misses
        return 1 - (self.misses + self.false_positives + self.identity_switches) / true if true else float("nan")


def clear_mot(frames: Sequence[FrameOverlaps]) -> ClearMotCounts:
    """Match predicted tracks to true people frame by frame, and count.

    As CLEAR MOT says, a pair of the frame before stays a pair while it overlaps by ``MIN_MATCH_IOU``. The others are assigned at the
    greatest sum of IoU (Hungarian method).
    """
    last: dict[int, int] = {}
    current: dict[int, int] = {}
    matches = misses = false_positives = switches = 0
    overlap_sum: dict[tuple[int, int], float] = {}
    for frame in frames:
        pairs = _match_frame(frame, current)
        for truth_id, track_id in pairs.items():
            switches += truth_id in last and last[truth_id] != track_id
            last[truth_id] = track_id
            key = (truth_id, track_id)
            iou = float(frame.iou[frame.truth_ids.index(truth_id), frame.track_ids.index(track_id)])
            overlap_sum[key] = overlap_sum.get(key, 0.0) + iou
        matches += len(pairs)
        misses += len(frame.truth_ids) - len(pairs)
        false_positives += len(frame.track_ids) - len(pairs)
        current = pairs
    return ClearMotCounts(matches, misses, false_positives, switches, overlap_sum)


def _match_frame(frame: FrameOverlaps, before: Mapping[int, int]) -> dict[int, int]:
    """Pairs {true id: track id} of one frame; ``before`` are those of the frame before."""
    from scipy.optimize import linear_sum_assignment

    truth_ids, track_ids, iou = frame.truth_ids, frame.track_ids, frame.iou
    pairs = {
        truth_id: track_id
        for truth_id, track_id in before.items()
        if truth_id in truth_ids and track_id in track_ids and iou[truth_ids.index(truth_id), track_ids.index(track_id)] >= MIN_MATCH_IOU
    }
    free_truths = [i for i, truth_id in enumerate(truth_ids) if truth_id not in pairs]
    free_tracks = [j for j, track_id in enumerate(track_ids) if track_id not in pairs.values()]
    if free_truths and free_tracks:
        free_iou = iou[np.ix_(free_truths, free_tracks)]
        gain = np.where(free_iou >= MIN_MATCH_IOU, free_iou, 0.0)
        for i, j in zip(*linear_sum_assignment(-gain), strict=True):
            if gain[i, j] > 0:
                pairs[truth_ids[free_truths[i]]] = track_ids[free_tracks[j]]
    return pairs


def match_identities(overlap_sum: Mapping[tuple[int, int], float]) -> dict[int, int]:
    """One predicted track for each true person over the whole clip, {true id: track id}, at the greatest total overlap.

    This is the global matching of Ristani et al., "Performance measures and a data set for multi-target, multi-camera tracking",
    ECCVW 2016.
    """
    from scipy.optimize import linear_sum_assignment

    truth_ids = sorted({truth_id for truth_id, _ in overlap_sum})
    track_ids = sorted({track_id for _, track_id in overlap_sum})
    gain = np.array([[overlap_sum.get((truth_id, track_id), 0.0) for track_id in track_ids] for truth_id in truth_ids])
    gain = gain.reshape(len(truth_ids), len(track_ids))
    rows, columns = linear_sum_assignment(-gain)
    return {truth_ids[i]: track_ids[j] for i, j in zip(rows, columns, strict=True) if gain[i, j] > 0}
