"""Which rows of tracks the networks take, in windows of a length that they were trained on, and what that costs. Pure."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from body4d.config import OcclusionSettings
from body4d.core.errors import RunWarning
from body4d.models.diffusion_vas.candidates import RowSpan

MIN_OVERLAP_FRAMES = 5
"""Frames that neighbouring windows of a long span share at least."""

MAX_GROUP_FRAMES = 500
"""Frames of crops held in memory at once, about 3 MB each. It changes no result unless a single span is longer."""

STANDARD_WINDOW = 25, 25, 256 * 512
"""Frames, steps and pixels of the window that ``SECONDS_PER_WINDOW`` is measured on."""

SECONDS_PER_WINDOW = {"H200": 3.8}
"""Seconds that a standard window takes through one pipeline, by a part of the device's name, as benchmarks/occlusion.py measures them."""


def widen(span: RowSpan, min_rows: int, first: int, last: int) -> RowSpan:
    """``span`` with rows on both sides until it has ``min_rows``, within rows ``first`` to ``last``: visible frames inform hidden ones."""
    missing = max(min(min_rows, last - first) - len(span), 0)
    start = min(max(span.first - missing // 2, first), last - len(span) - missing)
    start = max(start, first)
    return RowSpan(span.track, start, max(start + len(span) + missing, span.last))


def spans_to_process(spans: Sequence[RowSpan], num_rows: Sequence[int], window_frames: int, max_frames: int) -> list[RowSpan]:
    """Spans, by track and then in time, widened to a window where the track has as many rows (``num_rows``, of each track).

    Spans that meet when widened become one, and one of more than ``max_frames`` rows is cut into even pieces.
    """
    joined: list[RowSpan] = []
    for span in sorted(spans, key=lambda s: (s.track, s.first)):
        wide = widen(span, window_frames, 0, num_rows[span.track])
        if joined and joined[-1].track == wide.track and wide.first < joined[-1].last:
            wide = RowSpan(wide.track, joined.pop().first, wide.last)
        joined.append(wide)
    return [piece for span in joined for piece in _pieces(span, max_frames)]


def _pieces(span: RowSpan, max_frames: int) -> list[RowSpan]:
    cuts = np.rint(np.linspace(span.first, span.last, -(-len(span) // max_frames) + 1)).astype(int).tolist()
    return [RowSpan(span.track, a, b) for a, b in pairwise(cuts)]


def split_windows(count: int, max_length: int, min_overlap: int = MIN_OVERLAP_FRAMES) -> list[range]:
    """Windows over ``count`` rows, evenly spread and all of one length.

    There are as few of them as cover all rows with at most ``max_length`` rows each, neighbours sharing ``min_overlap``; then they are as
    short as that many can be.
    """
    if count <= max_length:
        return [range(count)]
    min_overlap = min(min_overlap, max_length - 1)
    needed = -(-(count - min_overlap) // (max_length - min_overlap))
    length = -(-(count + (needed - 1) * min_overlap) // needed)
    # They start whole rows apart, rounded down, so that none shares too few.
    return [range(a, a + length) for a in (i * (count - length) // (needed - 1) for i in range(needed))]


def windows_of_spans(spans: Sequence[RowSpan], num_rows: Sequence[int], settings: OcclusionSettings) -> list[range]:
    """The windows that ``spans`` take through one pipeline."""
    processed = spans_to_process(spans, num_rows, settings.window_frames, MAX_GROUP_FRAMES)
    return [window for span in processed for window in split_windows(len(span), settings.window_frames)]


def num_standard_windows(windows: Sequence[range], settings: OcclusionSettings) -> float:
    """How many windows of ``STANDARD_WINDOW`` are as much work as these."""
    frames, steps, pixels = STANDARD_WINDOW
    size = settings.short_side_px * settings.long_side_px / pixels
    return sum(map(len, windows)) / frames * settings.num_steps / steps * size


def estimate_seconds(standard_windows: float, device: str, measured: Mapping[str, float] = SECONDS_PER_WINDOW) -> float | None:
    """Seconds that so many windows take through one pipeline on a device of that name, or None where none like it was measured."""
    seconds = next((seconds for name, seconds in measured.items() if name.lower() in device.lower()), None)
    return None if seconds is None else standard_windows * seconds


def describe_cost(spans: Sequence[RowSpan], num_rows: Sequence[int], device: str, settings: OcclusionSettings) -> RunWarning:
    """What the networks will look at, and how long that is expected to take."""
    windows = windows_of_spans(spans, num_rows, settings)
    people, frames = len({span.track for span in spans}), sum(map(len, spans))
    who = "1 person" if people == 1 else f"{people} people"
    amount = "1 window" if len(windows) == 1 else f"{len(windows)} windows"
    seconds = estimate_seconds(num_standard_windows(windows, settings), device)
    cost = (
        f"how long that takes on {device} was not measured"
        if seconds is None
        else f"about {seconds:.0f} s on {device}, and at most as long again to complete who is"
    )
    why = "may be" if settings.mode == "auto" else "are looked at as if"
    message = f"{who} {why} hidden on {frames} frames: {amount} to look at; {cost}."
    facts = {"people": people, "frames": frames, "windows": len(windows), "seconds": seconds}
    return RunWarning("occlusion_cost", message, "--occlusion off leaves it out.", facts)
