"""Who may be hidden, and on which frames: decided from masks alone, cheaply enough for every clip, before any network is loaded. Pure.

It is meant to miss nobody and may point at too many: a network then looks at the candidates and confirms them or does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from body4d.config import OcclusionSettings
from body4d.core.joints import JOINT_SETS
from body4d.core.types import MaskTrack
from body4d.tracking.association import BODY_JOINTS

MAX_TOUCH_DISTANCE_PER_HEIGHT = 0.03
"""Masks that come this near to each other, as a share of the person's height, touch: masks are tight and leave a gap."""

MIN_OCCLUDER_SHARE = 0.01
"""Share of a person's box that somebody who touches them must cover: less hides a hand at most."""

DEPTH_TOLERANCE_PER_HEIGHT = 0.05
"""Whoever stands lower in the image is nearer; within this share of the height it is not known who is in front."""

HISTORY_S = 2.0
"""A mask is compared with the person's own over this time before and after."""

USUAL_QUANTILE = 0.8
"""The usual area and size of a person are high among those of the history, as occlusion only takes away."""

MIN_RELATIVE_AREA = 0.6
"""A mask of less than this share of its usual area may be occluded: turning sideways leaves 0.7."""

MIN_RELATIVE_SIZE = 0.7
"""So may a mask of less than this share of both its usual area and its usual height: whoever bends down keeps the area."""

MIN_JOINT_VISIBILITY = 0.5
"""Mean visibility of the body's joints below which a person may be occluded, where joints are known."""

BORDER_SHARE = 0.05
"""Published: whoever lies within this share of the image along one of its borders is leaving it, and is not occluded."""

MAX_GAP_ROWS = 4
"""Spans that are at most so many rows apart become one."""

PAD_ROWS = 2
"""Published: a span begins this many rows earlier and ends this many later."""

_TOUCH_RESOLUTION = 100
"""Lines of a person that are enough to tell whether somebody touches them."""


@dataclass(frozen=True)
class OcclusionCues:
    """What the masks, and landmarks where there are any, say about one person's occlusion, row by row of their track.

    ``occluder_near``: somebody who may stand in front touches them and covers part of their box. ``relative_area`` and
    ``relative_height``: the mask's area and height over what is usual around that time. ``touches_border``: the mask reaches the image's
    border, which then is what cuts it. ``is_leaving``: it lies within the border's strip altogether. ``joint_visibility``: mean visibility
    of the body's joints, NaN where no joints are known.
    """

    occluder_near: Bool[np.ndarray, " t"]
    relative_area: Float[np.ndarray, " t"]
    relative_height: Float[np.ndarray, " t"]
    touches_border: Bool[np.ndarray, " t"]
    is_leaving: Bool[np.ndarray, " t"]
    joint_visibility: Float[np.ndarray, " t"]


@dataclass(frozen=True)
class RowSpan:
    """Rows ``first`` to ``last``, exclusive, of the track with index ``track``."""

    track: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first


def may_be_occluded(cues: OcclusionCues) -> Bool[np.ndarray, " t"]:
    """Rows on which a person may be occluded.

    Somebody in front of them is reason enough. Otherwise the mask must have shrunk by itself: the image's border explains that, and a body
    that bends down keeps its area.
    """
    small_area = cues.relative_area < MIN_RELATIVE_AREA
    small_size = (cues.relative_area < MIN_RELATIVE_SIZE) & (cues.relative_height < MIN_RELATIVE_SIZE)
    uncertain_joints = cues.joint_visibility < MIN_JOINT_VISIBILITY  # false where not known
    return (cues.occluder_near | ((small_area | small_size | uncertain_joints) & ~cues.touches_border)) & ~cues.is_leaving


def candidate_spans(
    masks: Sequence[MaskTrack],
    times_s: Float[np.ndarray, " n"],
    settings: OcclusionSettings,
    shot_index: Int[np.ndarray, " n"] | None = None,
) -> tuple[RowSpan, ...]:
    """Spans that go to the network, in order of tracks: those that may be occluded (auto), everything (on), or none (off).

    No span goes from one shot (``Clip.shot_index``) to another.
    """
    if settings.mode == "off":
        return ()
    spans: list[RowSpan] = []
    if settings.mode == "on":
        spans = [RowSpan(i, 0, len(track)) for i, track in enumerate(masks) if len(track)]
    else:
        for i, cues in enumerate(occlusion_cues(masks, times_s)):
            spans += [RowSpan(i, first, last) for first, last in padded_runs(may_be_occluded(cues))]
    if shot_index is None:
        return tuple(spans)
    parts: list[RowSpan] = []
    for span in spans:
        shots = shot_index[masks[span.track].frame_index[span.first : span.last]]
        edges = [span.first, *(span.first + 1 + np.flatnonzero(np.diff(shots))).tolist(), span.last]
        parts += [RowSpan(span.track, first, last) for first, last in pairwise(edges)]
    return tuple(parts)


def padded_runs(rows: Bool[np.ndarray, " t"]) -> list[tuple[int, int]]:
    """Runs [first, last) of true rows, padded at both ends; those that come near each other become one."""
    runs: list[tuple[int, int]] = []
    for row in np.flatnonzero(rows).tolist():
        first, last = max(row - PAD_ROWS, 0), min(row + 1 + PAD_ROWS, len(rows))
        if runs and first - runs[-1][1] <= MAX_GAP_ROWS:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return runs


def occlusion_cues(masks: Sequence[MaskTrack], times_s: Float[np.ndarray, " n"]) -> tuple[OcclusionCues, ...]:
    """The cues of each track. ``times_s`` are those of the clip's frames."""
    boxes = [track.boxes_px() if len(track) else np.zeros((0, 4)) for track in masks]
    cues = []
    for track, box, occluder_near in zip(masks, boxes, find_occluders(masks, boxes), strict=True):
        row_times_s = times_s[track.frame_index]
        areas = track.areas_px().astype(float) if len(track) else np.zeros(0)
        visible = areas > 0
        touches_border = (box[:, 0] <= 0) | (box[:, 1] <= 0) | (box[:, 2] >= track.width_px) | (box[:, 3] >= track.height_px)
        border = BORDER_SHARE * np.array([track.width_px, track.height_px])
        far_border = np.array([track.width_px, track.height_px]) - border
        is_leaving = (box[:, 2:] <= border).any(1) | (box[:, :2] >= far_border).any(1) | ~visible
        heights = box[:, 3] - box[:, 1]
        area, height = (relative_to_usual(values, row_times_s, visible) for values in (areas, heights))
        cues.append(OcclusionCues(occluder_near, area, height, touches_border, is_leaving, mean_joint_visibility(track)))
    return tuple(cues)


def relative_to_usual(
    values: Float[np.ndarray, " t"], times_s: Float[np.ndarray, " t"], valid: Bool[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """Values over what is usual for them around their time, from ``valid`` rows; 1 on the others."""
    share = np.ones(len(values))
    for row in np.flatnonzero(valid):
        first, last = np.searchsorted(times_s, [times_s[row] - HISTORY_S, times_s[row] + HISTORY_S])
        near = values[first : last + 1][valid[first : last + 1]]
        share[row] = values[row] / max(float(np.quantile(near, USUAL_QUANTILE)), 1e-9)
    return share


def mean_joint_visibility(track: MaskTrack) -> Float[np.ndarray, " t"]:
    """Mean visibility of the body's joints, NaN where a track comes without landmarks."""
    if track.landmarks is None or track.landmarks.joint_set != "blazepose33":
        return np.full(len(track), np.nan)
    assert len(JOINT_SETS["blazepose33"]) == track.landmarks.visibility.shape[1]
    return track.landmarks.visibility[:, BODY_JOINTS].mean(axis=1)


def find_occluders(masks: Sequence[MaskTrack], boxes: Sequence[Float[np.ndarray, "_ 4"]]) -> list[Bool[np.ndarray, " _"]]:
    """For each track the rows on which somebody who may be in front touches the person. Masks are decoded only where boxes meet."""
    out = [np.zeros(len(track), bool) for track in masks]
    row_of_frame = [{int(f): r for r, f in enumerate(track.frame_index)} for track in masks]
    for frame in sorted(set().union(*row_of_frame)):
        present = {i: rows[frame] for i, rows in enumerate(row_of_frame) if frame in rows}
        decoded: dict[int, np.ndarray] = {}
        for i, row in present.items():
            box = boxes[i][row]
            reach_px = MAX_TOUCH_DISTANCE_PER_HEIGHT * (box[3] - box[1])
            for k, other_row in present.items():
                other = boxes[k][other_row]
                if k == i or not _boxes_meet(box, other, reach_px) or not may_be_in_front(box, other, masks[i].height_px):
                    continue
                for n in {i, k} - decoded.keys():
                    decoded[n] = masks[n].mask(present[n])
                if touches(decoded[i], decoded[k], box, reach_px):
                    out[i][row] = True
                    break
    return out


def may_be_in_front(box_px: Shaped[np.ndarray, "4"], other_px: Shaped[np.ndarray, "4"], image_height_px: int) -> bool:
    """Whether whoever fills the box ``other_px`` may stand nearer than who fills ``box_px``: they reach lower, or feet are cut off."""
    if other_px[3] >= image_height_px or box_px[3] >= image_height_px:
        return True
    return bool(other_px[3] >= box_px[3] - DEPTH_TOLERANCE_PER_HEIGHT * (box_px[3] - box_px[1]))


def touches(mask: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"], box_px: Shaped[np.ndarray, "4"], reach_px: float) -> bool:
    """Whether the mask ``other`` comes within ``reach_px`` of ``mask`` and covers enough of its box."""
    from scipy.ndimage import distance_transform_edt

    grown = np.concatenate([np.floor(box_px[:2] - reach_px), np.ceil(box_px[2:] + reach_px)]).astype(int)
    x0, y0 = np.maximum(grown[:2], 0)
    x1, y1 = np.minimum(grown[2:], [mask.shape[1], mask.shape[0]])
    inside = other[max(int(box_px[1]), 0) : int(box_px[3]), max(int(box_px[0]), 0) : int(box_px[2])]
    if inside.size == 0 or inside.mean() < MIN_OCCLUDER_SHARE:
        return False
    # A hundredth of the height is fine enough, and on large frames a hundred times as quick.
    step = max(int((box_px[3] - box_px[1]) // _TOUCH_RESOLUTION), 1)
    coarse, coarse_other = mask[y0:y1:step, x0:x1:step], other[y0:y1:step, x0:x1:step]
    if not coarse.any() or not coarse_other.any():
        return False
    distance_px = step * np.asarray(distance_transform_edt(~coarse))
    return bool(distance_px[coarse_other].min() <= max(reach_px, 1.0) + step - 1)


def _boxes_meet(a: np.ndarray, b: np.ndarray, reach_px: float) -> bool:
    return bool(np.all(a[:2] - reach_px < b[2:]) and np.all(b[:2] - reach_px < a[2:]) and a[2] > a[0] and b[2] > b[0])
