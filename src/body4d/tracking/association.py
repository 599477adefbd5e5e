"""Who is who from one frame to the next: decisions on what was seen, without any model.

A *look* is what one sighting tells of a person's identity: where the joints are, how sure they are, and the colours worn. Looks of a
frame are first made distinct (one per person), then given to the followed people by the cheapest overall assignment (Kuhn 1955, through
scipy), where a pair costs its distance from the predicted pose, counted in body sizes, and its difference in colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from body4d.config import BlazePoseSettings
from body4d.core.joints import Blazepose33 as J

# Joints that tell where a body is: the face's eleven count as one (the nose), fingers swing too fast.
BODY_JOINTS = np.array(
    [
        *(J.NOSE, J.LEFT_SHOULDER, J.RIGHT_SHOULDER, J.LEFT_ELBOW, J.RIGHT_ELBOW, J.LEFT_WRIST, J.RIGHT_WRIST),
        *(J.LEFT_HIP, J.RIGHT_HIP, J.LEFT_KNEE, J.RIGHT_KNEE, J.LEFT_ANKLE, J.RIGHT_ANKLE),
    ]
)
# Standard deviations of COCO's annotators as fractions of sqrt(area) (cocoapi, cocoeval.py: kpt_oks_sigmas), for BODY_JOINTS.
_SIGMAS = np.array([0.026, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089])
_TORSO = np.array([J.LEFT_SHOULDER, J.RIGHT_SHOULDER, J.LEFT_HIP, J.RIGHT_HIP])
_COLOUR_BINS = (6, 9, 9)  # brightness, blueness, redness
_LEAST_COLOUR_SAMPLES = 20  # fewer pixels than this say nothing of what someone wears


@dataclass(frozen=True)
class Look:
    """``points_px`` (33, 2), ``visibility`` (33,), ``size_px`` the diameter of the circle around the body, ``colour`` the colours worn."""

    points_px: np.ndarray
    visibility: np.ndarray
    size_px: float
    colour: np.ndarray

    @property
    def centre_px(self) -> np.ndarray:
        """Centre of the torso (2,)."""
        return self.points_px[_TORSO].mean(axis=0)

    @property
    def sureness(self) -> float:
        """Mean visibility of the body's joints, in [0, 1]."""
        return float(self.visibility[BODY_JOINTS].mean())


@dataclass(frozen=True)
class Expected:
    """What a followed person is expected to look like now: the last look moved on by ``shift_px`` (2,), last seen ``unseen_s`` ago."""

    look: Look
    shift_px: np.ndarray
    unseen_s: float


def oks(a: Look, b: Look) -> float:
    """Object keypoint similarity in [0, 1] of two looks (COCO, https://cocodataset.org/#keypoints-eval), weighted by visibility."""
    distance = np.linalg.norm(a.points_px[BODY_JOINTS] - b.points_px[BODY_JOINTS], axis=1)
    weight = np.minimum(a.visibility[BODY_JOINTS], b.visibility[BODY_JOINTS]) + 1e-3
    # An upright body of height s covers about s²/5: sqrt(area) is about 0.45 s. The smaller of the two sizes judges more strictly.
    spread = 2 * _SIGMAS * 0.45 * max(min(a.size_px, b.size_px), 1e-6)
    return float(np.sum(weight * np.exp(-(distance**2) / (2 * spread**2))) / weight.sum())


def likeness(person: Expected, look: Look, settings: BlazePoseSettings) -> float:
    """How well ``look`` carries on where ``person`` is expected, from 0 up: their joints' similarity, and that of their colours.

    Colours tell a region that drifts to a neighbour, little by little, from the person's own: the joints alone follow it.
    """
    moved = Look(person.look.points_px + person.shift_px, person.look.visibility, person.look.size_px, person.look.colour)
    colour = 1 - colour_distance(person.look.colour, look.colour) / settings.colour_most
    return oks(moved, look) + settings.likeness_colour_weight * max(0.0, colour)


def body_samples(points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places on the body where its clothes show: (N, 2) pixels, and (N,) bool, true on the torso and false on the legs.

    The torso is a grid inside the quadrilateral of shoulders and hips, the legs are lines along thighs and shins. A mask would take in
    neighbours too, which the joints do not.
    """
    left, right = points_px[[J.LEFT_SHOULDER, J.LEFT_HIP]], points_px[[J.RIGHT_SHOULDER, J.RIGHT_HIP]]
    across, down = (a.ravel()[:, None] for a in np.meshgrid(np.linspace(0.12, 0.88, 12), np.linspace(0.05, 0.95, 20)))
    torso = (1 - down) * ((1 - across) * left[0] + across * right[0]) + down * ((1 - across) * left[1] + across * right[1])
    along = np.linspace(0.1, 0.9, 20)[:, None]
    bones = ((J.LEFT_HIP, J.LEFT_KNEE), (J.RIGHT_HIP, J.RIGHT_KNEE), (J.LEFT_KNEE, J.LEFT_ANKLE), (J.RIGHT_KNEE, J.RIGHT_ANKLE))
    legs = np.concatenate([(1 - along) * points_px[a] + along * points_px[b] for a, b in bones])
    return np.concatenate([torso, legs]), np.arange(len(torso) + len(legs)) < len(torso)


def colour_histogram(pixels: np.ndarray, strength: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Colours worn, as two histograms (torso, legs) end to end, each summing to one, or zero where nothing is seen.

    ``pixels`` (N, 3) RGB uint8, ``strength`` (N,) how surely each belongs to the person, ``above`` (N,) bool. Brightness is binned
    coarsely and colour finely, with neighbouring bins blurred, so that a change of light moves little.
    """
    rgb = pixels.astype(np.float32) / 255
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    blue, red = 0.5 + (rgb[:, 2] - luma), 0.5 + (rgb[:, 0] - luma)
    index = np.zeros(len(rgb), np.int64)
    for value, bins in zip((luma, blue, red), _COLOUR_BINS, strict=True):
        index = index * bins + np.clip((value * bins).astype(np.int64), 0, bins - 1)
    halves = []
    for half in (above, ~above):
        histogram = np.bincount(index[half], strength[half], minlength=int(np.prod(_COLOUR_BINS))).reshape(_COLOUR_BINS)
        for axis in range(3):
            padded = np.pad(histogram, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
            before, after = (np.take(padded, range(s, s + _COLOUR_BINS[axis]), axis) for s in (0, 2))
            histogram = 0.5 * histogram + 0.25 * (before + after)
        total = float(histogram.sum())
        halves.append(histogram.ravel() / total if total >= _LEAST_COLOUR_SAMPLES else np.zeros(histogram.size))
    return np.concatenate(halves)


def colour_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Bhattacharyya distance in [0, 1] of two colour looks, over the halves both of them show; 0.5 (nothing known) where none is shared."""
    halves = [(x, y) for x, y in zip(np.split(a, 2), np.split(b, 2), strict=True) if x.sum() > 0 and y.sum() > 0]
    if not halves:
        return 0.5
    return float(np.mean([np.sqrt(max(0.0, 1 - float(np.sqrt(x * y).sum()))) for x, y in halves]))


def shared_area(a: np.ndarray, box_a: Sequence[int], b: np.ndarray, box_b: Sequence[int]) -> int:
    """Pixels that two masks (h, w) bool, lying in boxes (x0, y0, x1, y1) of one picture, have in common."""
    x0, y0, x1, y1 = max(box_a[0], box_b[0]), max(box_a[1], box_b[1]), min(box_a[2], box_b[2]), min(box_a[3], box_b[3])
    if x1 <= x0 or y1 <= y0:
        return 0
    cut_a = a[y0 - box_a[1] : y1 - box_a[1], x0 - box_a[0] : x1 - box_a[0]]
    cut_b = b[y0 - box_b[1] : y1 - box_b[1], x0 - box_b[0] : x1 - box_b[0]]
    return int(np.count_nonzero(cut_a & cut_b))


def agreement(looks: Sequence[Look], shared: np.ndarray) -> np.ndarray:
    """How well each look (N,) agrees, in [0, 1], with those others whose masks are much the same: their mean :func:`oks`; alone 0.

    Rough regions of one person give landmarks that mostly agree, and a few that are sure of themselves and wrong. ``shared`` as for
    :func:`distinct`.
    """
    agreed = np.zeros(len(looks))
    for i, look in enumerate(looks):
        union = shared[i, i] + np.diag(shared) - shared[i]
        others = [k for k in np.flatnonzero(shared[i] > 0.5 * union) if k != i]
        agreed[i] = float(np.mean([oks(look, looks[k]) for k in others])) if others else 0.0
    return agreed


def distinct(
    looks: Sequence[Look], shared: np.ndarray, order: Sequence[int], new: Sequence[bool], settings: BlazePoseSettings
) -> list[list[int]]:
    """Groups of looks that show one person each, within and among groups best first by ``order``.

    ``shared`` (N, N) are the masks' :func:`shared_area`s, their own areas on the diagonal; ``new`` (N,) tells which come from a search and
    not from somebody's track. Two looks are one person where their joints agree, where their masks are all but the same, or where one
    mask lies within the other and the joints agree at least loosely (someone behind another shares mask but not joints). Someone
    new must show mostly pixels of their own: half a body found again by another tile does not, and is in no group.
    """
    groups: list[list[int]] = []
    for i in order:
        own = max(float(shared[i, i]), 1.0)
        heads = ((g, g[0]) for g in groups)
        alike = (g for g, h in heads if _one_person(looks[i], looks[h], shared[i, h], own, max(float(shared[h, h]), 1.0), settings))
        group = next(alike, None)
        if group is not None:
            group.append(i)
        elif not new[i] or sum(float(shared[i, g[0]]) for g in groups) / own <= settings.new_covered_most:
            groups.append([i])
    return groups


def _one_person(a: Look, b: Look, shared: float, area_a: float, area_b: float, settings: BlazePoseSettings) -> bool:
    similarity = oks(a, b)
    if similarity > settings.duplicate_oks or shared / (area_a + area_b - shared) > settings.duplicate_mask_iou:
        return True
    return similarity > settings.duplicate_loose_oks and shared / min(area_a, area_b) > settings.duplicate_mask_overlap


def pair_cost(person: Expected, look: Look, settings: BlazePoseSettings) -> float:
    """Cost of taking ``look`` for ``person``; infinite where they cannot be the same."""
    expected = person.look.points_px[BODY_JOINTS] + person.shift_px
    weight = np.minimum(person.look.visibility[BODY_JOINTS], look.visibility[BODY_JOINTS]) + 0.05
    size = max(person.look.size_px, look.size_px, 1e-6)
    distance = np.linalg.norm(expected - look.points_px[BODY_JOINTS], axis=1) / size
    step = float(np.sum(weight * distance) / weight.sum())
    reach = min(settings.reach_sizes + settings.reach_sizes_per_s * person.unseen_s, settings.reach_most_sizes)
    ratio = max(person.look.size_px, look.size_px) / max(min(person.look.size_px, look.size_px), 1e-6)
    colour = colour_distance(person.look.colour, look.colour)
    away = float(np.linalg.norm(person.look.centre_px + person.shift_px - look.centre_px)) / size
    if away > reach or ratio > min(settings.size_ratio + settings.size_ratio_per_s * person.unseen_s, settings.size_ratio_most):
        return np.inf
    farthest = settings.colour_most if person.unseen_s <= settings.sure_s else settings.colour_most_after_absence
    if colour > farthest or away / reach + colour / farthest > settings.doubt_most:
        return np.inf
    # Where a person was unseen for long, the place says less and the colours more.
    return step / (1 + person.unseen_s / settings.place_fades_s) + settings.colour_weight * colour


def associate(people: Sequence[Expected], looks: Sequence[Look], settings: BlazePoseSettings) -> dict[int, int]:
    """Person of each look, as the cheapest assignment overall has it; people and looks that fit nobody are left out."""
    if not people or not looks:
        return {}
    return linear_assignment(np.array([[pair_cost(person, look, settings) for look in looks] for person in people]))


def linear_assignment(cost: np.ndarray) -> dict[int, int]:
    """Row of each column of ``cost`` (R, C), by the cheapest assignment overall; infinite pairs never, as many others as possible."""
    from scipy.optimize import linear_sum_assignment

    forbidden = 1e6  # dearer than all allowed pairs together, so that as many as possible are matched
    rows, columns = linear_sum_assignment(np.where(np.isfinite(cost), cost, forbidden))
    return {int(c): int(r) for r, c in zip(rows, columns, strict=True) if np.isfinite(cost[r, c])}


def assign(
    people: Sequence[Expected], looks: Sequence[Look], groups: Sequence[Sequence[int]], new: Sequence[bool], settings: BlazePoseSettings
) -> tuple[list[int], dict[int, int]]:
    """One look of each group (:func:`distinct`), and the person of each look that carries on somebody's track.

    The best look of a group stands for it. Where that is a find which fits nobody, while the group holds a look from somebody's track, the
    latter stands for it instead: a find beside a tracked person is not somebody new.
    """
    chosen = [group[0] for group in groups]
    pairs = associate(people, [looks[i] for i in chosen], settings)
    tracked = [next((i for i in group if not new[i]), None) for group in groups]
    swaps = {g: t for g, t in enumerate(tracked) if t is not None and g not in pairs and new[chosen[g]]}
    if swaps:
        chosen = [swaps.get(g, i) for g, i in enumerate(chosen)]
        pairs = associate(people, [looks[i] for i in chosen], settings)
    return chosen, {chosen[g]: person for g, person in pairs.items()}


def front(look: Look, index: int, owners: Sequence[tuple[np.ndarray, Sequence[int]]]) -> float:
    """How far in front of the others person ``index`` stands, in [0, 1]: how visible their joints are that lie inside others' masks.

    ``owners`` are the masks (h, w) bool of all with their boxes (x0, y0, x1, y1). 0.5 (unknown) where no joint lies inside another's.
    """
    seen = []
    for joint in BODY_JOINTS:
        x, y = np.floor(look.points_px[joint]).astype(int)
        for other, (mask, (x0, y0, x1, y1)) in enumerate(owners):
            if other != index and x0 <= x < x1 and y0 <= y < y1 and mask[y - y0, x - x0]:
                seen.append(look.visibility[joint])
                break
    return float(np.mean(seen)) if seen else 0.5


def settle(
    strengths: Sequence[np.ndarray],
    boxes: Sequence[Sequence[int]],
    fronts: Sequence[float],
    shape: tuple[int, int],
    settings: BlazePoseSettings,
) -> list[np.ndarray]:
    """Masks bool (H, W) without overlap from mask strengths (h, w) in boxes (x0, y0, x1, y1): a pixel claimed twice has one owner.

    The claim is the strength plus ``front_weight`` of the person's :func:`front`, so that of two sure claims the person in front wins.
    """
    best = np.zeros(shape, np.float32)
    owner = np.full(shape, -1, np.int16)
    for i, (strength, (x0, y0, x1, y1), ahead) in enumerate(zip(strengths, boxes, fronts, strict=True)):
        claim = np.where(strength > 0.5, strength + settings.front_weight * ahead, 0).astype(np.float32)
        wins = claim > best[y0:y1, x0:x1]
        best[y0:y1, x0:x1][wins] = claim[wins]
        owner[y0:y1, x0:x1][wins] = i
    return [owner == i for i in range(len(strengths))]
