"""How far a run is: one bar, the time left, the steps."""

import pytest

from body4d.app.progress import duration, run_share, time_left_s, waiting_json, working_json
from body4d.app.queue import QueuePosition
from body4d.core.progress import Event


def test_a_run_that_waits_says_when_it_begins() -> None:
    assert waiting_json(QueuePosition(2, 130, 40))["sentence"] == (
        "2 runs are before yours. Yours begins in about 2 min and takes about 40 s."
    )
    assert waiting_json(QueuePosition(0, 0, 40))["sentence"] == "Starting…"


def test_one_bar_over_all_steps_that_still_have_to_be_done() -> None:
    assert run_share({}) == (0.0, 1.0)
    bodies = {"probe": Event("probe", "done"), "masks": Event("masks", "done"), "bodies": Event("bodies", "working", 30, 60)}
    share, whole = run_share(bodies)
    assert (share, whole) == (pytest.approx((0.5 + 22 + 16.5) / 100), 1.0)
    # What an earlier run did is no work of this one.
    share, whole = run_share({**bodies, "masks": Event("masks", "skipped")})
    assert (share, whole) == (pytest.approx((0.5 + 16.5) / 78), pytest.approx(0.78))
    assert run_share({"bodies": Event("bodies", "working", 3, 0)})[0] == 0.0  # no total yet


def test_time_left_turns_from_the_estimate_to_what_was_measured() -> None:
    assert time_left_s(0.0, 5, 100) == 100
    assert time_left_s(0.25, 50, 100) == pytest.approx(0.75 * 150)  # half of each: 100 s said, 200 s as it goes
    assert time_left_s(0.75, 150, 10) == pytest.approx(50)
    assert time_left_s(1.0, 99, 10) == 1.0


def test_steps_have_their_figures() -> None:
    working = working_json({"probe": Event("probe", "done", seconds=2), "bodies": Event("bodies", "working", 45, 60, 5, 9.04)}, 61, 60)
    steps = {step["stage"]: step for step in working["steps"]}
    assert (steps["bodies"]["state"], steps["bodies"]["figures"]) == ("now", "45 of 60 · 9.0 a second")
    assert (steps["probe"]["figures"], steps["pictures"]["state"]) == ("2 s", "todo")
    assert "occlusion" not in steps  # a step that this preset has not
    assert working["step"] == "Fit the body"
    assert working["sentence"].startswith("About ")


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (0.4, "1 s"), (89, "89 s"), (150, "2 min"), (7200, "2.0 h")])
def test_durations_are_said_as_people_do(seconds: float, words: str) -> None:
    assert duration(seconds) == words
