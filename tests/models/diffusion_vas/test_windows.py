from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.config import OcclusionSettings
from body4d.models.diffusion_vas.candidates import Span
from body4d.models.diffusion_vas.windows import (
    foretold,
    looked_at,
    picture_size,
    region_of,
    seconds_for,
    widened,
    windows_of,
    windows_through,
    work_of,
)

S = OcclusionSettings()


@given(st.integers(1, 400), st.integers(2, 30), st.integers(1, 29))
def test_windows_cover_every_row_and_share_enough(count: int, window: int, overlap: int) -> None:
    windows = windows_of(count, window, overlap)
    assert {row for w in windows for row in w} == set(range(count))
    assert len({len(w) for w in windows}) == 1
    assert all(a.stop - b.start >= min(overlap, window - 1) for a, b in pairwise(windows))
    assert len(windows[0]) <= window


@pytest.mark.parametrize(("count", "expected"), [(7, 1), (25, 1), (26, 2), (45, 2), (46, 3), (65, 3), (90, 5)])
def test_no_more_windows_than_needed(count: int, expected: int) -> None:
    assert len(windows_of(count, 25, 5)) == expected


@pytest.mark.parametrize(("count", "length"), [(25, 25), (26, 16), (34, 20), (45, 25), (46, 19)])
def test_windows_are_no_longer_than_needed(count: int, length: int) -> None:
    assert len(windows_of(count, 25, 5)[0]) == length


@given(st.integers(0, 100), st.integers(1, 100), st.integers(0, 50), st.integers(1, 40))
def test_widened_spans_hold_the_old_one_and_stay_inside(first: int, length: int, after: int, least: int) -> None:
    span, rows = Span(0, first, first + length), first + length + after
    wide = widened(span, least, 0, rows)
    assert 0 <= wide.first <= span.first
    assert span.last <= wide.last <= rows
    assert len(wide) == max(length, min(least, rows))


SIZE = (1920, 1080)


@pytest.mark.parametrize(
    ("boxes", "usual", "expected"),
    [
        ([[900, 400, 1000, 600]], (100, 200), [670, 360, 1230, 640]),  # 200 lines, times 1.4, twice as wide as tall
        ([[900, 400, 1000, 500]], (100, 200), [530, 240, 1370, 660]),  # the lower or the upper half is hidden
        ([[0, 400, 100, 600]], (100, 200), [0, 360, 560, 640]),
        ([[100, 0, 300, 1000]], (200, 1000), [0, 0, 1920, 1080]),
        ([[0, 0, 0, 0]], (100, 200), [0, 0, 1920, 1080]),
    ],
)
def test_regions(boxes: list[list[int]], usual: tuple[float, float], expected: list[int]) -> None:
    assert region_of(np.array(boxes, float), usual, SIZE, S).tolist() == expected


def test_the_published_region_is_the_frame() -> None:
    whole = S.model_copy(update={"region": "frame"})
    assert region_of(np.array([[900, 400, 1000, 600]]), (100, 200), SIZE, whole).tolist() == [0, 0, 1920, 1080]


def test_pictures_lie_as_the_frame_does() -> None:
    assert picture_size((1920, 1080), S) == (512, 256)
    assert picture_size((1080, 1920), S) == (256, 512)


@pytest.mark.parametrize(
    ("device", "expected"), [("NVIDIA H200", 12.0), ("NVIDIA H100 80GB HBM3", 20.0), ("NVIDIA A100", None), ("cpu", None)]
)
def test_seconds(device: str, expected: float | None) -> None:
    assert seconds_for(4, device, {"h200": 3.0, "H100": 5.0}) == expected


def test_what_is_foretold() -> None:
    spans, rows = [Span(0, 10, 50), Span(1, 0, 5), Span(1, 60, 65)], [90, 90]
    assert [len(window) for window in windows_through(spans, rows, S)] == [23, 23, 25, 25]
    assert foretold([], rows, "cpu", S) == ""
    said = foretold(spans, rows, "NVIDIA L40S", S)
    assert said.startswith("2 people may be hidden on 50 frames: 4 windows")
    assert "was not measured" in said
    measured = S.model_copy(update={"window_seconds": {"H200": 2.5}})
    assert "about 10 s on NVIDIA H200" in foretold(spans, rows, "NVIDIA H200", measured)  # 96 frames of 25


@pytest.mark.parametrize(
    ("changes", "times"),
    [({}, 1), ({"steps": 10}, 0.4), ({"short_side_px": 512, "long_side_px": 1024}, 4), ({"window_frames": 20}, 1)],
    ids=str,
)
def test_work_follows_steps_and_size(changes: dict[str, int], times: float) -> None:
    assert work_of([range(25), range(10, 35)], S.model_copy(update=changes)) == pytest.approx(2 * times)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(10, 14)], [(0, 25)]),
        ([(40, 44)], [(30, 55)]),
        ([(10, 14), (30, 34)], [(0, 45)]),  # widened, they meet
        ([(10, 14), (80, 84)], [(0, 25), (70, 95)]),
        ([(0, 100)], [(0, 50), (50, 100)]),  # more than memory holds
    ],
)
def test_what_is_looked_at(spans: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    small = S.model_copy(update={"group_frames": 60})
    assert [(s.first, s.last) for s in looked_at([Span(0, *span) for span in spans], [100], small)] == expected


def test_people_are_looked_at_apart() -> None:
    assert looked_at([Span(1, 0, 20), Span(0, 0, 20)], [20, 20], S) == [Span(0, 0, 20), Span(1, 0, 20)]
