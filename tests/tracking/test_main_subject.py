"""The choice of main subjects, from made-up candidates without a model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from body4d.config import PeopleSettings
from body4d.tracking.main_subject import (
    LOW_VISIBILITY,
    NOT_COUNTED,
    NOT_MAIN,
    TOO_SHORT,
    TOO_SMALL,
    SubjectCandidate,
    choose_subjects,
    select_prompted_mask,
    subject_score,
    track_gaps,
    track_warnings,
)

TIMES = np.arange(90) / 30
SIZE = (640, 480)


def candidate(frames=range(90), *, x=320.0, y=240.0, height=300.0, seen=0.9) -> SubjectCandidate:
    index = np.array(list(frames), int)
    return SubjectCandidate(index, np.tile([x, y], (len(index), 1)), np.full(len(index), height), np.full(len(index), seen))


def chosen(candidates, count="main", times=TIMES):
    return choose_subjects(candidates, times, SIZE, PeopleSettings(count=count))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(candidate(), candidate(height=150), id="larger"),
        pytest.param(candidate(), candidate(range(40)), id="longer"),
        pytest.param(candidate(), candidate(x=620), id="more central"),
        pytest.param(candidate(), candidate(seen=0.6), id="more visible"),
    ],
)
def test_main_person_scores_best(better, worse):
    assert subject_score(better, TIMES, SIZE) > subject_score(worse, TIMES, SIZE)
    assert chosen([worse, better], "all").chosen == (1, 0)


def test_equals_are_main_subjects_together_and_extras_are_not():
    choice = chosen([candidate(height=60), candidate(x=260), candidate(x=400)])
    assert set(choice.chosen) == {1, 2}
    assert choice.left_out == ((0, NOT_MAIN),)


def test_a_number_takes_the_first_so_many():
    people = [candidate(height=h) for h in (100, 300, 200)]
    assert chosen(people, 2).chosen == (1, 2)
    assert chosen(people, 2).left_out == ((0, NOT_COUNTED),)
    assert chosen(people, 9).chosen == (1, 2, 0)


@pytest.mark.parametrize(
    ("ghost", "reason"),
    [
        (candidate(range(5)), TOO_SHORT),
        (candidate(seen=0.3), LOW_VISIBILITY),
        (candidate(height=30), TOO_SMALL),
        (candidate(()), TOO_SHORT),
    ],
)
def test_ghosts_are_left_out_even_of_all(ghost, reason):
    choice = chosen([ghost, candidate()], "all")
    assert choice.chosen == (1,)
    assert choice.left_out == ((0, reason),)


def test_nobody_at_all():
    assert chosen([]).chosen == ()


@pytest.mark.parametrize("frames", [1, 3])
def test_shortest_clips_keep_their_person(frames):
    assert chosen([candidate(range(frames))], times=TIMES[:frames]).chosen == (0,)


@given(st.lists(st.tuples(st.integers(1, 90), st.floats(1, 500), st.floats(0, 1)), max_size=6), st.sampled_from(["all", "main", 1, 3]))
def test_everybody_is_chosen_or_left_out_once(rows, count):
    people = [candidate(range(n), height=h, seen=v) for n, h, v in rows]
    choice = chosen(people, count)
    assert sorted((*choice.chosen, *(i for i, _ in choice.left_out))) == list(range(len(people)))


def test_gaps_lie_inside_the_track():
    assert track_gaps(np.array([2, 3, 6, 7, 10]), 12) == [(4, 5), (8, 9)]
    assert track_gaps(np.array([], int), 12) == []


def test_warnings_name_what_was_not_followed():
    index = np.array([i for i in range(12, 80) if not 36 <= i < 54])
    warnings = track_warnings([(3, index)], [(0, TOO_SHORT), (1, TOO_SHORT), (2, TOO_SMALL)], TIMES)
    assert [warning.message for warning in warnings] == [
        "Person 3 was first seen at 0.4 s.",
        "Person 3 was lost between 1.2 s and 1.8 s.",
        "Person 3 was not seen after 2.6 s.",
        f"2 more people were seen and left out because {TOO_SHORT.clause}.",
        f"1 more person was seen and left out because {TOO_SMALL.clause}.",
    ]


def test_a_single_missed_frame_is_no_warning():
    assert track_warnings([(1, np.array([i for i in range(90) if i != 40]))], [], TIMES) == ()


def people_seen():
    """Two people side by side: masks (48, 64) and boxes; the first's mask leaves the middle of its box free."""
    first, second = np.zeros((48, 64), bool), np.zeros((48, 64), bool)
    first[10:40, 10:14] = first[10:40, 20:24] = True
    second[10:40, 40:54] = True
    return [first, second], np.array([[10.0, 10, 24, 40], [40, 10, 54, 40]])


@pytest.mark.parametrize(
    ("points", "labels", "box", "meant"),
    [
        pytest.param([[12, 20]], [1], None, 0, id="click on the first"),
        pytest.param([[45, 20]], [1], None, 1, id="click on the second"),
        pytest.param([[17, 20]], [1], None, 0, id="click in the first's box beside the mask"),
        pytest.param([[2, 2]], [1], None, None, id="click beside everybody"),
        pytest.param([[900, -5]], [1], None, None, id="click outside the picture"),
        pytest.param([[12, 20], [45, 20], [46, 22]], [1, 1, 0], None, 0, id="not the second"),
        pytest.param(None, None, [38, 8, 56, 42], 1, id="box around the second"),
        pytest.param(None, None, [0, 0, 64, 48], None, id="box around everything"),
        pytest.param([[12, 20]], [1], [9, 9, 26, 42], 0, id="click and box"),
    ],
)
def test_whom_a_prompt_means(points, labels, box, meant):
    masks, boxes = people_seen()
    arrays = [None if a is None else np.array(a, float) for a in (points, labels, box)]
    assert select_prompted_mask(masks, boxes, *arrays) == meant


def test_nobody_to_pick_from():
    assert select_prompted_mask([], np.zeros((0, 4)), np.array([[1.0, 1.0]]), np.array([1]), None) is None
