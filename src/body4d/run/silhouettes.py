"""Judge bodies by their outline: overlap of each rendered silhouette with the mask it should fill."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from body4d.core.rig import Rig
from body4d.core.stages import ProgressFn
from body4d.core.types import BodyTrack, Camera, MaskTrack

_CHUNK_FRAMES = 64
"""Frames skinned at once: 10 MB of vertices for Anny."""


def judge_silhouettes(
    people: Sequence[BodyTrack], rigs: Mapping[int, Rig], masks: Sequence[MaskTrack], camera: Camera, report: ProgressFn
) -> tuple[BodyTrack, ...]:
    """The same people with ``mask_iou`` filled in: NaN where there is no mask.

    Pixels of another person's mask are not counted, since who stands in front hides the other's body but not its silhouette.
    """
    total = sum(len(track) for track in people)
    judged, done = [], 0
    by_person = {track.person_id: track for track in masks}
    for track in people:
        others = [mask for person_id, mask in by_person.items() if person_id != track.person_id]
        own = by_person.get(track.person_id)
        iou = np.full(len(track), np.nan)
        for first in range(0, len(track), _CHUNK_FRAMES):
            rows = np.arange(first, min(first + _CHUNK_FRAMES, len(track)))
            if own is not None:
                iou[rows] = _overlaps(track, rows, rigs[track.person_id], own, others, camera)
            report(done + int(rows[-1]) + 1, total)
        done += len(track)
        judged.append(replace(track, mask_iou=iou))
    return tuple(judged)


def overlap(silhouette: np.ndarray, mask: np.ndarray, hidden: np.ndarray | None) -> float:
    """Intersection over union of two bool (H, W), pixels of ``hidden`` left out; NaN where nothing is left to compare. Pure."""
    if hidden is not None:
        silhouette, mask = silhouette & ~hidden, mask & ~hidden
    union = np.count_nonzero(silhouette | mask)
    return np.count_nonzero(silhouette & mask) / union if mask.any() else np.nan


def _overlaps(track: BodyTrack, rows: np.ndarray, rig: Rig, own: MaskTrack, others: Sequence[MaskTrack], camera: Camera) -> np.ndarray:
    from body4d.render.rasterizer import silhouette

    vertices = rig.vertices(*rig.forward(track.rotations[rows], track.translation_m[rows]))
    out = np.full(len(rows), np.nan)
    for n, frame in enumerate(track.frame_index[rows]):
        mask = _mask_at(own, frame)
        if mask is None:
            continue
        covers = [seen for other in others if (seen := _mask_at(other, frame)) is not None]
        hidden = np.logical_or.reduce(covers) & ~mask if covers else None
        out[n] = overlap(silhouette(vertices[n], rig.faces, camera), mask, hidden)
    return out


def _mask_at(track: MaskTrack, frame: int) -> np.ndarray | None:
    row = int(np.searchsorted(track.frame_index, frame))
    return track.mask(row) if row < len(track) and track.frame_index[row] == frame else None
