"""What a run is said to take, before and after runs were measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.app.run_time import MAX_MEASURED, MEASURED_RUN_TIMES, RunTime, learnt

PRIOR = RunTime(12.0, 0.25)


def test_without_measurements_it_is_what_was_measured_beforehand() -> None:
    assert learnt(PRIOR, []) == PRIOR
    assert PRIOR.seconds(100) == 37
    assert PRIOR.seconds(0) == 0


def test_runs_as_expected_change_nothing_and_others_are_followed() -> None:
    as_expected = [(frames, PRIOR.seconds(frames)) for frames in (9, 75, 260)]
    same = learnt(PRIOR, as_expected)
    assert (same.fixed_s, same.per_frame_s) == pytest.approx((PRIOR.fixed_s, PRIOR.per_frame_s))
    slow = [(frames, 3 * PRIOR.seconds(frames)) for frames in (9, 75, 260)] * 4
    assert learnt(PRIOR, slow).seconds(100) == pytest.approx(3 * PRIOR.seconds(100), rel=0.1)
    # One run counts too, and short runs tell of the fixed part alone.
    short = learnt(PRIOR, [(9, 50.0)] * 6)
    assert short.fixed_s > 2.5 * PRIOR.fixed_s
    assert short.per_frame_s < 1.5 * PRIOR.per_frame_s


def test_only_the_newest_runs_count() -> None:
    quick, slow = [(100, 20.0)] * MAX_MEASURED, [(100, 200.0)] * MAX_MEASURED
    assert learnt(PRIOR, slow + quick) == learnt(PRIOR, quick)


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1e4)), min_size=1, max_size=20), st.sampled_from(list(MEASURED_RUN_TIMES)))
def test_no_time_is_ever_negative(measured: list[tuple[int, float]], preset: str) -> None:
    model = learnt(MEASURED_RUN_TIMES[preset], measured)
    assert model.fixed_s >= 0
    assert model.per_frame_s >= 0
