"""Who is who among masks and finds: decisions on what a mask network and a detector saw, without either.

A *find* is a mask of the detector with its probability; a *track* is the mask of somebody followed. Thresholds are SAM-3's own
(Carion et al. 2025) where it has any, see :class:`body4d.config.Sam3Settings`. Colours are compared as in ``tracking.association``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from body4d.config import Sam3Settings
from body4d.tracking.association import colour_distance, colour_histogram, linear_assignment

_LEAST_HEIGHT_PX = 1.0


@dataclass(frozen=True)
class Sight:
    """What a mask tells of somebody's identity: ``centre_px`` (2,), ``height_px``, and the ``colour`` worn (association.colour_look)."""

    centre_px: np.ndarray
    height_px: float
    colour: np.ndarray


@dataclass(frozen=True)
class Gone:
    """Somebody out of sight: the last sight, ``velocity_px_per_s`` (2,) then, and for how long they have not been seen."""

    sight: Sight
    velocity_px_per_s: np.ndarray
    unseen_s: float


@dataclass(frozen=True)
class Sorted:
    """``confirmed``: find of each track that one confirms. ``new``: finds that may be somebody new, likeliest first."""

    confirmed: dict[int, int]
    new: tuple[int, ...]


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of masks bool (N, h, w) and (M, h, w); empty masks overlap with nothing."""
    flat_a, flat_b = (m.reshape(len(m), int(np.prod(m.shape[1:]))).astype(np.float32) for m in (a, b))
    shared = flat_a @ flat_b.T
    union = flat_a.sum(1)[:, None] + flat_b.sum(1)[None] - shared
    return shared / np.maximum(union, 1.0)


def likeliest(ious: np.ndarray, scores: np.ndarray, most: float) -> list[int]:
    """Finds that stay, likeliest first: each overlaps with no likelier one by more than ``most`` (greedy suppression). ``ious`` (N, N)."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        if all(ious[i, k] <= most for k in kept):
            kept.append(i)
    return kept


def sort_out(ious: np.ndarray, scores: np.ndarray, settings: Sam3Settings) -> Sorted:
    """Finds among tracks: ``ious`` (F, T) of their masks, ``scores`` (F,). Of several finds on a track the best overlap confirms it."""
    confirmed: dict[int, int] = {}
    for track in range(ious.shape[1]):
        best = int(np.argmax(ious[:, track])) if len(ious) else -1
        if best >= 0 and ious[best, track] >= settings.match_iou:
            confirmed[track] = best
    free = [i for i in range(len(scores)) if scores[i] >= settings.new_score and not np.any(ious[i] > settings.new_iou_most)]
    return Sorted(confirmed, tuple(sorted(free, key=lambda i: (-scores[i], i))))


def false_find(age_frames: int, searches: int, confirmations: int, settings: Sam3Settings) -> bool | None:
    """Whether somebody new was a false find; None while the trial lasts. ``searches`` are those since the first find, it included."""
    if age_frames < settings.trial_frames:
        return None
    return confirmations < settings.trial_share * searches


def yielding(ious: np.ndarray, since: Sequence[int]) -> list[tuple[int, int]]:
    """(who yields, to whom) of tracks that lie on one body: who came into sight later, of equals the later one.

    ``ious`` (T, T) is true where two masks are that alike; ``since`` (T,) the frame since when each is in sight without a break. Nobody
    yields to one who yields.
    """
    order = sorted(range(len(since)), key=lambda i: (since[i], i))
    out: dict[int, int] = {}
    for place, i in enumerate(order):
        ahead = next((k for k in order[:place] if k not in out and ious[i, k]), None)
        if ahead is not None:
            out[i] = ahead
    return list(out.items())


def return_cost(gone: Gone, come: Sight, settings: Sam3Settings) -> float:
    """Cost of taking a find for somebody who left: the difference of colours and, little, of place; infinite where it cannot be them."""
    if gone.unseen_s > settings.remember_s:
        return np.inf
    height = max(gone.sight.height_px, come.height_px, _LEAST_HEIGHT_PX)
    if height > settings.return_size_ratio * max(min(gone.sight.height_px, come.height_px), _LEAST_HEIGHT_PX):
        return np.inf
    reach = settings.return_reach_heights + settings.return_reach_heights_per_s * gone.unseen_s
    # Who left may have turned round at once: the nearer of going on and having stayed.
    places = gone.sight.centre_px + np.outer([0.0, gone.unseen_s], gone.velocity_px_per_s)
    away = float(np.linalg.norm(places - come.centre_px, axis=1).min()) / height
    colour = colour_distance(gone.sight.colour, come.colour)
    if away > reach or colour > settings.return_colour_most:
        return np.inf
    return colour + settings.return_place_weight * away / reach


def returning(gone: Sequence[Gone], come: Sequence[Sight], settings: Sam3Settings) -> dict[int, int]:
    """Who of those gone each find is, as the cheapest assignment overall has it; finds that are nobody known are left out."""
    if not gone or not come:
        return {}
    return linear_assignment(np.array([[return_cost(g, c, settings) for c in come] for g in gone]))


def sight_of(mask: np.ndarray, rgb: np.ndarray, least_colour_cells: int = 1) -> Sight | None:
    """What a mask (h, w) bool of any resolution tells over a picture (H, W, 3) uint8; None where it is empty.

    Colours are taken at the cells' middles, less the outline, where the background shines through; upper half and lower half apart.
    """
    from scipy.ndimage import binary_erosion

    y, x = np.nonzero(mask)
    if len(y) == 0:
        return None
    scale = np.array([rgb.shape[1] / mask.shape[1], rgb.shape[0] / mask.shape[0]])
    middle = (y.min() + y.max()) / 2
    centre = np.array([x.mean() + 0.5, y.mean() + 0.5]) * scale
    height = float((y.max() - y.min() + 1) * scale[1])
    inner = binary_erosion(mask)
    if np.count_nonzero(inner) >= least_colour_cells:
        y, x = np.nonzero(inner)
    rows, columns = ((y + 0.5) * scale[1]).astype(int), ((x + 0.5) * scale[0]).astype(int)
    return Sight(centre, height, colour_histogram(rgb[rows, columns], np.ones(len(y), np.float32), y <= middle))
