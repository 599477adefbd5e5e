"""Which rows and which part of the picture the networks of hidden people look at, and what that costs. Pure."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from body4d.config import OcclusionSettings
from body4d.models.diffusion_vas.candidates import Span

MEASURED_AT = 25, 25, 256 * 512
"""Frames, steps and pixels of the window that ``OcclusionSettings.window_seconds`` is told of."""


def widened(span: Span, least: int, first: int, last: int) -> Span:
    """``span`` with rows on both sides until it has ``least``, within rows ``first`` to ``last``: what was seen tells what is hidden."""
    lacking = max(min(least, last - first) - len(span), 0)
    start = min(max(span.first - lacking // 2, first), last - len(span) - lacking)
    start = max(start, first)
    return Span(span.person, start, max(start + len(span) + lacking, span.last))


def looked_at(spans: Sequence[Span], rows: Sequence[int], settings: OcclusionSettings) -> list[Span]:
    """Spans widened to a window where the track, of ``rows`` rows for each person, has as many; those that then meet are one, and long
    ones are cut into pieces that memory holds. By person, then in time."""
    out: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.person, s.first)):
        wide = widened(span, settings.window_frames, 0, rows[span.person])
        if out and out[-1].person == wide.person and wide.first < out[-1].last:
            wide = Span(wide.person, out.pop().first, wide.last)
        out.append(wide)
    return [piece for span in out for piece in _pieces(span, settings.group_frames)]


def _pieces(span: Span, most: int) -> list[Span]:
    cuts = np.rint(np.linspace(span.first, span.last, -(-len(span) // most) + 1)).astype(int).tolist()
    return [Span(span.person, a, b) for a, b in pairwise(cuts)]


def windows_of(count: int, window: int, overlap: int) -> list[range]:
    """Windows over ``count`` rows, evenly spread: as few of at most ``window`` rows as share ``overlap`` with neighbours at least, and
    then as short as that many can be, all of one length."""
    if count <= window:
        return [range(count)]
    overlap = min(overlap, window - 1)
    needed = -(-(count - overlap) // (window - overlap))
    length = -(-(count + (needed - 1) * overlap) // needed)
    # Whole rows apart, so that none is shared too little.
    return [range(a, a + length) for a in (i * (count - length) // (needed - 1) for i in range(needed))]


def region_of(boxes: np.ndarray, usual: tuple[float, float], size: tuple[int, int], settings: OcclusionSettings) -> np.ndarray:
    """The part of a frame (4,), in whole pixels, that holds a person's whole body on all rows of ``boxes`` (F, 4).

    ``usual`` and ``size`` are width and height of the person and the frame. The region has the shape of the networks' picture where the
    frame is large enough, so that nothing is squashed.
    """
    width, height = size
    seen = boxes[(boxes[:, 2] > boxes[:, 0])]
    if settings.region == "frame" or len(seen) == 0:
        return np.array([0, 0, width, height])
    # What is hidden may lie on either side of what is seen.
    lacking = np.maximum(np.array(usual) - (seen[:, 2:] - seen[:, :2]), 0)
    low, high = (seen[:, :2] - lacking).min(0), (seen[:, 2:] + lacking).max(0)
    wanted = (high - low) * settings.region_padding
    across, down = picture_size(size, settings)
    wanted = np.maximum(wanted, [wanted[1] * across / down, wanted[0] * down / across])
    side = np.minimum(np.ceil(wanted), size)
    start = np.clip(np.rint((low + high - side) / 2), 0, np.array(size) - side)
    return np.concatenate([start, start + side]).astype(int)


def picture_size(size: tuple[int, int], settings: OcclusionSettings) -> tuple[int, int]:
    """Width and height in pixels of what the networks see: longer the way the frame is."""
    sides = (settings.long_side_px, settings.short_side_px)
    return sides if size[0] >= size[1] else (sides[1], sides[0])


def usual_size(boxes: np.ndarray, settings: OcclusionSettings) -> tuple[float, float]:
    """A person's usual width and height in pixels, from boxes (T, 4) of their masks."""
    seen = boxes[boxes[:, 2] > boxes[:, 0]]
    if len(seen) == 0:
        return 0.0, 0.0
    width, height = np.quantile(seen[:, 2:] - seen[:, :2], settings.usual_quantile, axis=0)
    return float(width), float(height)


def windows_through(spans: Sequence[Span], rows: Sequence[int], settings: OcclusionSettings) -> list[range]:
    """Windows that ``spans`` take through one pipeline, of people with ``rows`` rows each."""
    looked = looked_at(spans, rows, settings)
    return [window for span in looked for window in windows_of(len(span), settings.window_frames, settings.overlap_frames)]


def work_of(windows: Sequence[range], settings: OcclusionSettings) -> float:
    """How much ``windows`` are to do, in windows of :data:`MEASURED_AT`."""
    frames, steps, pixels = MEASURED_AT
    size = settings.short_side_px * settings.long_side_px / pixels
    return sum(map(len, windows)) / frames * settings.steps / steps * size


def seconds_for(work: float, device: str, measured: Mapping[str, float]) -> float | None:
    """Seconds that ``work`` windows take through one pipeline on a device of that name, or None where none like it was ``measured``."""
    each = next((seconds for name, seconds in measured.items() if name.lower() in device.lower()), None)
    return None if each is None else work * each


def foretold(spans: Sequence[Span], rows: Sequence[int], device: str, settings: OcclusionSettings) -> str:
    """A sentence that says what will be looked at and what it is expected to take; empty where nothing is."""
    if not spans:
        return ""
    windows = windows_through(spans, rows, settings)
    people, frames = len({span.person for span in spans}), sum(map(len, spans))
    who = "1 person" if people == 1 else f"{people} people"
    much = "1 window" if len(windows) == 1 else f"{len(windows)} windows"
    seconds = seconds_for(work_of(windows, settings), device, settings.window_seconds)
    cost = (
        f"how long that takes on {device} was not measured"
        if seconds is None
        else f"about {seconds:.0f} s on {device}, and at most as long again to complete who is"
    )
    why = "may be" if settings.mode == "auto" else "are looked at as if"
    return f"{who} {why} hidden on {frames} frames: {much} to look at; {cost}. --occlusion off leaves it out."
