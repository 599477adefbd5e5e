"""Windows, crop regions and the estimate of the cost."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.config import OcclusionSettings
from body4d.models.diffusion_vas.candidates import RowSpan
from body4d.models.diffusion_vas.crops import crop_region, crop_size_px
from body4d.models.diffusion_vas.windows import (
    describe_cost,
    estimate_seconds,
    num_standard_windows,
    spans_to_process,
    split_windows,
    widen,
    windows_of_spans,
)

S = OcclusionSettings()


@given(st.integers(1, 400), st.integers(2, 30), st.integers(1, 29))
def test_windows_cover_every_row_and_share_enough(count: int, window: int, overlap: int) -> None:
    windows = split_windows(count, window, overlap)
    assert {row for w in windows for row in w} == set(range(count))
    assert len({len(w) for w in windows}) == 1
    assert all(a.stop - b.start >= min(overlap, window - 1) for a, b in pairwise(windows))
    assert len(windows[0]) <= window


@pytest.mark.parametrize(("count", "expected"), [(7, 1), (25, 1), (26, 2), (45, 2), (46, 3), (65, 3), (90, 5)])
def test_no_more_windows_than_needed(count: int, expected: int) -> None:
    assert len(split_windows(count, 25, 5)) == expected


@pytest.mark.parametrize(("count", "length"), [(25, 25), (26, 16), (34, 20), (45, 25), (46, 19)])
def test_windows_are_no_longer_than_needed(count: int, length: int) -> None:
    assert len(split_windows(count, 25, 5)[0]) == length


@given(st.integers(0, 100), st.integers(1, 100), st.integers(0, 50), st.integers(1, 40))
def test_widened_spans_hold_the_old_one_and_stay_inside(first: int, length: int, after: int, min_rows: int) -> None:
    span, rows = RowSpan(0, first, first + length), first + length + after
    wide = widen(span, min_rows, 0, rows)
    assert 0 <= wide.first <= span.first
    assert span.last <= wide.last <= rows
    assert len(wide) == max(length, min(min_rows, rows))


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
    assert crop_region(np.array(boxes, float), usual, SIZE, crop_size_px(SIZE, S)).tolist() == expected


def test_crops_lie_as_the_frame_does() -> None:
    assert crop_size_px((1920, 1080), S) == (512, 256)
    assert crop_size_px((1080, 1920), S) == (256, 512)


@pytest.mark.parametrize(
    ("device", "expected"), [("NVIDIA H200", 12.0), ("NVIDIA H100 80GB HBM3", 20.0), ("NVIDIA A100", None), ("cpu", None)]
)
def test_seconds(device: str, expected: float | None) -> None:
    assert estimate_seconds(4, device, {"h200": 3.0, "H100": 5.0}) == expected


def test_the_cost_is_described() -> None:
    spans, rows = [RowSpan(0, 10, 50), RowSpan(1, 0, 5), RowSpan(1, 60, 65)], [90, 90]
    assert [len(window) for window in windows_of_spans(spans, rows, S)] == [23, 23, 25, 25]
    cost = describe_cost(spans, rows, "NVIDIA L40S", S)
    assert (cost.code, cost.facts["windows"], cost.facts["seconds"]) == ("occlusion_cost", 4, None)
    assert cost.message.startswith("2 people may be hidden on 50 frames: 4 windows")
    assert "was not measured" in cost.message
    assert "about 15 s on NVIDIA H200" in describe_cost(spans, rows, "NVIDIA H200", S).message  # 96 frames of 25


@pytest.mark.parametrize(
    ("changes", "times"),
    [({}, 1), ({"num_steps": 10}, 0.4), ({"short_side_px": 512, "long_side_px": 1024}, 4), ({"window_frames": 20}, 1)],
    ids=str,
)
def test_work_follows_steps_and_size(changes: dict[str, int], times: float) -> None:
    assert num_standard_windows([range(25), range(10, 35)], S.model_copy(update=changes)) == pytest.approx(2 * times)


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
def test_spans_are_widened_joined_and_cut(spans: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    assert [(s.first, s.last) for s in spans_to_process([RowSpan(0, *span) for span in spans], [100], 25, 60)] == expected


def test_spans_of_two_people_stay_apart() -> None:
    assert spans_to_process([RowSpan(1, 0, 20), RowSpan(0, 0, 20)], [20, 20], 25, 60) == [RowSpan(0, 0, 20), RowSpan(1, 0, 20)]
