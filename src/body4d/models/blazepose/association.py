"""Which detection belongs to which followed person. Pure functions without any model.

Detections of one frame are first grouped by person (``group_duplicates``), then given to the followed people by the assignment of
least total cost, where a pair costs its distance from the predicted pose, counted in body sizes, and the difference of the colours worn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Real

from body4d.core.joints import Blazepose33 as J
from body4d.tracking.association import BODY_JOINTS, colour_distance, linear_assignment

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in whole pixels, the latter two exclusive."""

OKS_SIGMAS = np.array([0.026, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089])
"""Standard deviations of COCO's annotators for BODY_JOINTS, as fractions of sqrt(area) (cocoapi, cocoeval.py: kpt_oks_sigmas)."""

_TORSO = np.array([J.LEFT_SHOULDER, J.RIGHT_SHOULDER, J.LEFT_HIP, J.RIGHT_HIP])

DUPLICATE_OKS = 0.6
"""Two detections whose joints agree better than this are one person."""
DUPLICATE_MASK_IOU = 0.7
"""Two masks with a larger IoU are one person, whatever the joints say."""
DUPLICATE_LOOSE_OKS, DUPLICATE_MASK_OVERLAP = 0.25, 0.75
"""Joints that agree less well than DUPLICATE_OKS suffice where this share of the smaller mask lies within the larger one as well."""
MAX_NEW_COVERED_SHARE = 0.5
"""A new person shares at most this much of their mask with others: half a body found again by another tile is nobody new."""

MAX_DISTANCE_SIZES, MAX_DISTANCE_SIZES_PER_S, MAX_DISTANCE_SIZES_EVER = 0.25, 0.8, 1.5
"""How far the torso may lie from its predicted place, in body sizes: at once, more for each second unseen (a brisk walk), and at most."""
MAX_SIZE_RATIO, MAX_SIZE_RATIO_PER_S, MAX_SIZE_RATIO_EVER = 1.4, 1.0, 2.0
"""By what factor a body's circle may grow or shrink: at once, more for each second unseen (people crouch and rise), and at most."""
MAX_COLOUR_DISTANCE = 0.42
"""Somebody in colours farther off is another person (99% of the distances between two frames of one person are below 0.33)."""
MAX_COLOUR_DISTANCE_AFTER_ABSENCE = 0.35
"""The same after an absence: 1% of other people lie within 0.26, 25% within 0.44."""
SHORT_ABSENCE_S = 0.1
"""Up to this absence a person counts as seen without a break."""
MAX_COMBINED_SHARE = 1.2
"""Place and colours, each as a share of the farthest allowed, add up to this at most: they may not both be poor."""
COLOUR_WEIGHT = 1.0
"""Cost of entirely different colours, in body sizes of distance."""
PLACE_HALVED_AFTER_S = 0.5
"""After this absence the place counts half as much."""
SIMILARITY_COLOUR_WEIGHT = 3.0
"""Weight of the colours against the joints where two detections of one person compete."""
FOREGROUND_WEIGHT = 1.0
"""Weight of standing in front against the mask's own probability where masks overlap."""


@dataclass(frozen=True)
class Detection:
    """What identifies a person on one frame.

    Attributes:
        points_px: Blazepose33 joints.
        visibility: Of each joint, in [0, 1].
        size_px: Diameter of the circle around the whole body.
        colour: Colours worn (``body4d.tracking.association.colour_histogram``).
    """

    points_px: Float[np.ndarray, "33 2"]
    visibility: Float[np.ndarray, " 33"]
    size_px: float
    colour: Float[np.ndarray, " bins"]

    @property
    def centre_px(self) -> Float[np.ndarray, " 2"]:
        """Centre of the torso."""
        return self.points_px[_TORSO].mean(axis=0)

    @property
    def mean_visibility(self) -> float:
        """Mean visibility of the body's joints, in [0, 1]."""
        return float(self.visibility[BODY_JOINTS].mean())


@dataclass(frozen=True)
class TrackPrediction:
    """Where a followed person is expected: the last detection moved by ``shift_px``; ``unseen_s`` has passed since."""

    last: Detection
    shift_px: Float[np.ndarray, " 2"]
    unseen_s: float


def oks(a: Detection, b: Detection) -> float:
    """Object keypoint similarity in [0, 1] (COCO, https://cocodataset.org/#keypoints-eval), weighted by visibility."""
    distance = np.linalg.norm(a.points_px[BODY_JOINTS] - b.points_px[BODY_JOINTS], axis=1)
    weight = np.minimum(a.visibility[BODY_JOINTS], b.visibility[BODY_JOINTS]) + 1e-3
    # An upright body of height s covers about s²/5, so sqrt(area) is about 0.45 s. The smaller of the two sizes is the stricter one.
    spread = 2 * OKS_SIGMAS * 0.45 * max(min(a.size_px, b.size_px), 1e-6)
    return float(np.sum(weight * np.exp(-(distance**2) / (2 * spread**2))) / weight.sum())


def similarity(track: TrackPrediction, detection: Detection) -> float:
    """How well ``detection`` continues ``track``, from 0 up: the similarity of the joints plus that of the colours.

    The colours expose a region that drifts to a neighbour little by little; the joints alone drift with it.
    """
    last = track.last
    moved = Detection(last.points_px + track.shift_px, last.visibility, last.size_px, last.colour)
    colour = 1 - colour_distance(last.colour, detection.colour) / MAX_COLOUR_DISTANCE
    return oks(moved, detection) + SIMILARITY_COLOUR_WEIGHT * max(0.0, colour)


def clothing_points(points_px: Float[np.ndarray, "33 2"]) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Places on a body where its clothes show, and whether each lies on the torso (else on the legs).

    The torso is a grid inside the quadrilateral of shoulders and hips, the legs are lines along thighs and shins. Unlike these, the
    mask would take in parts of neighbours.
    """
    left, right = points_px[[J.LEFT_SHOULDER, J.LEFT_HIP]], points_px[[J.RIGHT_SHOULDER, J.RIGHT_HIP]]
    across, down = (a.ravel()[:, None] for a in np.meshgrid(np.linspace(0.12, 0.88, 12), np.linspace(0.05, 0.95, 20)))
    torso = (1 - down) * ((1 - across) * left[0] + across * right[0]) + down * ((1 - across) * left[1] + across * right[1])
    along = np.linspace(0.1, 0.9, 20)[:, None]
    bones = ((J.LEFT_HIP, J.LEFT_KNEE), (J.RIGHT_HIP, J.RIGHT_KNEE), (J.LEFT_KNEE, J.LEFT_ANKLE), (J.RIGHT_KNEE, J.RIGHT_ANKLE))
    legs = np.concatenate([(1 - along) * points_px[a] + along * points_px[b] for a, b in bones])
    return np.concatenate([torso, legs]), np.arange(len(torso) + len(legs)) < len(torso)


def intersection_px(a: Bool[np.ndarray, "h1 w1"], box_a: Box, b: Bool[np.ndarray, "h2 w2"], box_b: Box) -> int:
    """Pixels that two masks, lying in boxes of one picture, have in common."""
    x0, y0, x1, y1 = max(box_a[0], box_b[0]), max(box_a[1], box_b[1]), min(box_a[2], box_b[2]), min(box_a[3], box_b[3])
    if x1 <= x0 or y1 <= y0:
        return 0
    part_a = a[y0 - box_a[1] : y1 - box_a[1], x0 - box_a[0] : x1 - box_a[0]]
    part_b = b[y0 - box_b[1] : y1 - box_b[1], x0 - box_b[0] : x1 - box_b[0]]
    return int(np.count_nonzero(part_a & part_b))


def consensus(detections: Sequence[Detection], intersections: Real[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """How well each detection agrees, in [0, 1], with the others that have much the same mask: their mean ``oks``; 0 where alone.

    Rough regions of one person give landmarks that mostly agree, and a few that are confident and wrong. ``intersections`` as for
    ``group_duplicates``.
    """
    scores = np.zeros(len(detections))
    for i, detection in enumerate(detections):
        union = intersections[i, i] + np.diag(intersections) - intersections[i]
        others = [k for k in np.flatnonzero(intersections[i] > 0.5 * union).tolist() if k != i]
        scores[i] = float(np.mean([oks(detection, detections[k]) for k in others])) if others else 0.0
    return scores


def group_duplicates(
    detections: Sequence[Detection], intersections: Real[np.ndarray, "n n"], order: Sequence[int], is_new: Sequence[bool]
) -> list[list[int]]:
    """Groups of detections that show one person each; groups, and the members of each, in the given order.

    Two detections are one person where their joints agree, where their masks are all but the same, or where one mask lies within the
    other and the joints agree at least loosely (somebody behind another shares the mask but not the joints). A new detection that
    shows mostly pixels of others is in no group.

    Args:
        detections: Of one frame.
        intersections: Pixels that their masks have in common, with the masks' own areas on the diagonal.
        order: Detections, the best first.
        is_new: Whether each comes from a search rather than from the region of somebody followed.
    """
    groups: list[list[int]] = []
    for i in order:
        area = max(float(intersections[i, i]), 1.0)
        heads = ((group, group[0]) for group in groups)
        duplicates = (
            group
            for group, h in heads
            if _is_duplicate(detections[i], detections[h], intersections[i, h], area, max(float(intersections[h, h]), 1.0))
        )
        group = next(duplicates, None)
        if group is not None:
            group.append(i)
        elif not is_new[i] or sum(float(intersections[i, g[0]]) for g in groups) / area <= MAX_NEW_COVERED_SHARE:
            groups.append([i])
    return groups


def _is_duplicate(a: Detection, b: Detection, intersection: float, area_a: float, area_b: float) -> bool:
    agreement = oks(a, b)
    if agreement > DUPLICATE_OKS or intersection / (area_a + area_b - intersection) > DUPLICATE_MASK_IOU:
        return True
    return agreement > DUPLICATE_LOOSE_OKS and intersection / min(area_a, area_b) > DUPLICATE_MASK_OVERLAP


def match_cost(track: TrackPrediction, detection: Detection) -> float:
    """Cost of giving ``detection`` to ``track``; infinite where they cannot be the same person."""
    last = track.last
    predicted = last.points_px[BODY_JOINTS] + track.shift_px
    weight = np.minimum(last.visibility[BODY_JOINTS], detection.visibility[BODY_JOINTS]) + 0.05
    size = max(last.size_px, detection.size_px, 1e-6)
    distance = np.linalg.norm(predicted - detection.points_px[BODY_JOINTS], axis=1) / size
    mean_distance = float(np.sum(weight * distance) / weight.sum())
    max_distance = min(MAX_DISTANCE_SIZES + MAX_DISTANCE_SIZES_PER_S * track.unseen_s, MAX_DISTANCE_SIZES_EVER)
    size_ratio = max(last.size_px, detection.size_px) / max(min(last.size_px, detection.size_px), 1e-6)
    colour = colour_distance(last.colour, detection.colour)
    torso_distance = float(np.linalg.norm(last.centre_px + track.shift_px - detection.centre_px)) / size
    max_ratio = min(MAX_SIZE_RATIO + MAX_SIZE_RATIO_PER_S * track.unseen_s, MAX_SIZE_RATIO_EVER)
    if torso_distance > max_distance or size_ratio > max_ratio:
        return np.inf
    max_colour = MAX_COLOUR_DISTANCE if track.unseen_s <= SHORT_ABSENCE_S else MAX_COLOUR_DISTANCE_AFTER_ABSENCE
    if colour > max_colour or torso_distance / max_distance + colour / max_colour > MAX_COMBINED_SHARE:
        return np.inf
    # Where a person was unseen for long, the place says less and the colours more.
    return mean_distance / (1 + track.unseen_s / PLACE_HALVED_AFTER_S) + COLOUR_WEIGHT * colour


def match(tracks: Sequence[TrackPrediction], detections: Sequence[Detection]) -> dict[int, int]:
    """Track of each detection in the assignment of least total cost; tracks and detections that match nothing are left out."""
    if not tracks or not detections:
        return {}
    return linear_assignment(np.array([[match_cost(track, detection) for detection in detections] for track in tracks]))


def match_groups(
    tracks: Sequence[TrackPrediction], detections: Sequence[Detection], groups: Sequence[Sequence[int]], is_new: Sequence[bool]
) -> tuple[list[int], dict[int, int]]:
    """One detection for each group of ``group_duplicates``, and the track of each detection that continues one.

    The best detection of a group represents it. Where that is a new one which matches no track, while the group holds one from the
    region of somebody followed, the latter represents it instead: a new detection beside a followed person is not a new person.
    """
    chosen = [group[0] for group in groups]
    pairs = match(tracks, [detections[i] for i in chosen])
    followed = [next((i for i in group if not is_new[i]), None) for group in groups]
    swaps = {g: i for g, i in enumerate(followed) if i is not None and g not in pairs and is_new[chosen[g]]}
    if swaps:
        chosen = [swaps.get(g, i) for g, i in enumerate(chosen)]
        pairs = match(tracks, [detections[i] for i in chosen])
    return chosen, {chosen[g]: track for g, track in pairs.items()}


def occlusion_order(detection: Detection, index: int, masks: Sequence[tuple[Bool[np.ndarray, "h w"], Box]]) -> float:
    """How far in front of the others person ``index`` stands, in [0, 1]: how visible their joints are that lie inside others' masks.

    ``masks`` are everybody's masks with their boxes. 0.5 (unknown) where no joint lies inside another person's mask.
    """
    visibility = []
    for joint in BODY_JOINTS:
        x, y = np.floor(detection.points_px[joint]).astype(int)
        for other, (mask, (x0, y0, x1, y1)) in enumerate(masks):
            if other != index and x0 <= x < x1 and y0 <= y < y1 and mask[y - y0, x - x0]:
                visibility.append(detection.visibility[joint])
                break
    return float(np.mean(visibility)) if visibility else 0.5


def resolve_overlaps(
    probabilities: Sequence[Float32[np.ndarray, "h w"]], boxes: Sequence[Box], orders: Sequence[float], size: tuple[int, int]
) -> list[Bool[np.ndarray, "h w"]]:
    """Everybody's mask in their box of a picture of ``size`` (height, width), without overlap: a pixel that several people claim gets one
    owner.

    The claim is the mask's probability plus ``FOREGROUND_WEIGHT`` times the person's ``occlusion_order``, so that of two sure
    claims that of the person in front wins.
    """
    if len(probabilities) == 1:
        return [probabilities[0] > 0.5]
    best = np.zeros(size, np.float32)
    owner = np.zeros(size, np.int16)
    for i, (probability, (x0, y0, x1, y1), order) in enumerate(zip(probabilities, boxes, orders, strict=True), start=1):
        claim = np.where(probability > 0.5, probability + FOREGROUND_WEIGHT * order, 0).astype(np.float32)
        wins = claim > best[y0:y1, x0:x1]
        best[y0:y1, x0:x1][wins] = claim[wins]
        owner[y0:y1, x0:x1][wins] = i
    return [owner[y0:y1, x0:x1] == i for i, (x0, y0, x1, y1) in enumerate(boxes, start=1)]
