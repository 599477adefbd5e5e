"""Who may be hidden, and where: a decision from masks alone, cheap enough for every clip, before any network is loaded. Pure.

It is to miss nobody and may be wrong the other way: what it points at is then looked at by a network, which confirms it or does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from body4d.config import OcclusionSettings
from body4d.core.joints import JOINT_SETS
from body4d.core.types import MaskTrack
from body4d.tracking.association import BODY_JOINTS

_FINE = 100
"""Lines of a person that are enough to tell whether somebody touches them."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one person on each of T rows, without any model.

    ``crowded`` bool: somebody who may stand in front touches them and covers part of their box. ``area_share`` and ``height_share``:
    the mask's area and height against what is usual around that time. ``at_rim`` bool: the mask reaches the picture's rim, which then is
    what cuts it. ``leaving`` bool: it lies within the rim altogether. ``sureness``: mean visibility of the body's joints, NaN where no
    joints are known.
    """

    crowded: np.ndarray
    area_share: np.ndarray
    height_share: np.ndarray
    at_rim: np.ndarray
    leaving: np.ndarray
    sureness: np.ndarray


@dataclass(frozen=True)
class Span:
    """Rows ``first`` to ``last``, exclusive, of person number ``person``'s track."""

    person: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first


def may_be_hidden(evidence: Evidence, settings: OcclusionSettings) -> np.ndarray:
    """Rows (T,) bool on which a person may be hidden.

    Somebody in front of them is reason enough. Else the mask must have shrunk by itself: a picture's rim explains that, and a body that
    bends down keeps its area.
    """
    lone = evidence.area_share < settings.area_least_share
    both = (evidence.area_share < settings.both_least_share) & (evidence.height_share < settings.both_least_share)
    unsure = evidence.sureness < settings.keypoint_least  # false where not known
    return (evidence.crowded | ((lone | both | unsure) & ~evidence.at_rim)) & ~evidence.leaving


def spans_to_look_at(masks: Sequence[MaskTrack], times_s: np.ndarray, settings: OcclusionSettings) -> tuple[Span, ...]:
    """Stretches that go to the network, in order of people: those that may be hidden (auto), everything (on), or none (off)."""
    if settings.mode == "off":
        return ()
    if settings.mode == "on":
        return tuple(Span(i, 0, len(track)) for i, track in enumerate(masks) if len(track))
    spans: list[Span] = []
    for i, evidence in enumerate(evidence_of(masks, times_s, settings)):
        spans += [Span(i, a, b) for a, b in runs(may_be_hidden(evidence, settings), settings)]
    return tuple(spans)


def runs(rows: np.ndarray, settings: OcclusionSettings) -> list[tuple[int, int]]:
    """Stretches [first, last) of true ``rows``, a few rows earlier and later, those that come near each other as one."""
    out: list[tuple[int, int]] = []
    for row in np.flatnonzero(rows).tolist():
        first, last = max(row - settings.pad_frames, 0), min(row + 1 + settings.pad_frames, len(rows))
        if out and first - out[-1][1] <= settings.join_frames:
            out[-1] = (out[-1][0], last)
        else:
            out.append((first, last))
    return out


def evidence_of(masks: Sequence[MaskTrack], times_s: np.ndarray, settings: OcclusionSettings) -> tuple[Evidence, ...]:
    """Evidence of each person. ``times_s`` (N,) are the clip's."""
    boxes = [track.boxes_px() if len(track) else np.zeros((0, 4)) for track in masks]
    crowded = crowds(masks, boxes, settings)
    out = []
    for track, box, crowd in zip(masks, boxes, crowded, strict=True):
        at = times_s[track.frame_index]
        areas = track.areas_px().astype(float) if len(track) else np.zeros(0)
        seen = areas > 0
        rim = (box[:, 0] <= 0) | (box[:, 1] <= 0) | (box[:, 2] >= track.width_px) | (box[:, 3] >= track.height_px)
        inside = settings.rim_share * np.array([track.width_px, track.height_px])
        far = np.array([track.width_px, track.height_px]) - inside
        leaving = (box[:, 2:] <= inside).any(1) | (box[:, :2] >= far).any(1) | ~seen
        heights = box[:, 3] - box[:, 1]
        area, height = (against_usual(values, at, seen, settings) for values in (areas, heights))
        out.append(Evidence(crowd, area, height, rim, leaving, sureness_of(track)))
    return tuple(out)


def against_usual(values: np.ndarray, times_s: np.ndarray, counts: np.ndarray, settings: OcclusionSettings) -> np.ndarray:
    """``values`` (T,) over what is usual for them around their time, from rows that ``counts`` (T,) bool."""
    share = np.ones(len(values))
    for row in np.flatnonzero(counts):
        first, last = np.searchsorted(times_s, [times_s[row] - settings.history_s, times_s[row] + settings.history_s])
        near = values[first : last + 1][counts[first : last + 1]]
        share[row] = values[row] / max(float(np.quantile(near, settings.usual_quantile)), 1e-9)
    return share


def sureness_of(track: MaskTrack) -> np.ndarray:
    """Mean visibility (T,) of the body's joints, NaN where a track comes without landmarks."""
    if track.landmarks is None or track.landmarks.joint_set != "blazepose33":
        return np.full(len(track), np.nan)
    assert len(JOINT_SETS["blazepose33"]) == track.landmarks.visibility.shape[1]
    return track.landmarks.visibility[:, BODY_JOINTS].mean(axis=1)


def crowds(masks: Sequence[MaskTrack], boxes: Sequence[np.ndarray], settings: OcclusionSettings) -> list[np.ndarray]:
    """For each person rows (T,) bool on which somebody who may be in front touches them. Masks are decoded only where boxes meet."""
    out = [np.zeros(len(track), bool) for track in masks]
    rows = [{int(f): r for r, f in enumerate(track.frame_index)} for track in masks]
    for frame in sorted(set().union(*rows)):
        there = {i: row[frame] for i, row in enumerate(rows) if frame in row}
        decoded: dict[int, np.ndarray] = {}
        for i, at in there.items():
            mine = boxes[i][at]
            reach = settings.touch_of_height * (mine[3] - mine[1])
            for k, other in there.items():
                box = boxes[k][other]
                if k == i or not _meet(mine, box, reach) or not may_be_in_front(mine, box, masks[i].height_px, settings):
                    continue
                for n in {i, k} - decoded.keys():
                    decoded[n] = masks[n].mask(there[n])
                if touches(decoded[i], decoded[k], mine, reach, settings):
                    out[i][at] = True
                    break
    return out


def may_be_in_front(mine: np.ndarray, other: np.ndarray, height_px: int, settings: OcclusionSettings) -> bool:
    """Whether whoever fills box ``other`` may stand nearer than who fills ``mine``: lower in the picture, or feet cut off."""
    if other[3] >= height_px or mine[3] >= height_px:
        return True
    return bool(other[3] >= mine[3] - settings.front_of_height * (mine[3] - mine[1]))


def touches(mine: np.ndarray, other: np.ndarray, box: np.ndarray, reach_px: float, settings: OcclusionSettings) -> bool:
    """Whether the mask ``other`` (H, W) comes within ``reach_px`` of the mask ``mine`` and covers enough of its ``box``."""
    from scipy.ndimage import distance_transform_edt

    grown = np.concatenate([np.floor(box[:2] - reach_px), np.ceil(box[2:] + reach_px)]).astype(int)
    x0, y0 = np.maximum(grown[:2], 0)
    x1, y1 = np.minimum(grown[2:], [mine.shape[1], mine.shape[0]])
    inner = other[max(int(box[1]), 0) : int(box[3]), max(int(box[0]), 0) : int(box[2])]
    if inner.size == 0 or inner.mean() < settings.intruder_share:
        return False
    # A hundredth of the height is fine enough, and on large pictures a hundred times as quick.
    step = max(int((box[3] - box[1]) // _FINE), 1)
    own, theirs = mine[y0:y1:step, x0:x1:step], other[y0:y1:step, x0:x1:step]
    if not own.any() or not theirs.any():
        return False
    away = step * np.asarray(distance_transform_edt(~own))
    return bool(away[theirs].min() <= max(reach_px, 1.0) + step - 1)


def _meet(a: np.ndarray, b: np.ndarray, reach: float) -> bool:
    return bool(np.all(a[:2] - reach < b[2:]) and np.all(b[:2] - reach < a[2:]) and a[2] > a[0] and b[2] > b[0])
