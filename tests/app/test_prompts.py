"""Which person a click is for, and what becomes of clicks in a run."""

import numpy as np
import pytest

from body4d.app.api import prompts_from_json
from body4d.app.prompts import ClickPrompt, is_same_mask, match_mask, person_of_click, prompted_people, run_prompts, turned_prompt
from body4d.core.errors import InputError, SettingsError

SQUARE = np.zeros((10, 10), bool)
SQUARE[2:5, 2:5] = True
CORNER = np.zeros((10, 10), bool)
CORNER[6:10, 6:10] = True

A_CLICK, B_CLICK = (3.0, 3.0), (8.0, 8.0)


def click(point: tuple[float, float], person_id: int = 1, label: int = 1, frame: int = 0) -> ClickPrompt:
    return ClickPrompt(frame, person_id, point_px=point, label=label)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("new", "prompts", "person_id"),
    [
        (click(A_CLICK), (), 1),
        (click(B_CLICK), (click(A_CLICK),), 2),
        (click((4.0, 2.0)), (click(A_CLICK),), 1),
        (click((4.0, 2.0)), (click(A_CLICK, 3),), 3),
        (click((0.5, 0.5)), (click(A_CLICK),), 2),
        (click((1.0, 9.0), label=0), (click(A_CLICK), click(B_CLICK, 2)), 2),
        (click((4.0, 2.0), label=0), (click(A_CLICK), click(B_CLICK, 2)), 1),
        (ClickPrompt(0, box_px=(2.0, 2.0, 5.0, 5.0)), (click(A_CLICK, 2),), 2),
        (ClickPrompt(0, box_px=(6.0, 6.0, 9.0, 9.0)), (click(A_CLICK, 2),), 1),
        (click(A_CLICK), (click(A_CLICK, frame=5),), 2),
    ],
    ids=[
        "the first", "another person", "the same person", "whatever their number", "nobody known", "away from the last",
        "away from whom it hits", "a box around the same person", "a box around another fills the free number", "of another frame",
    ],
)  # fmt: skip
def test_whom_a_click_is_for(new: ClickPrompt, prompts: tuple[ClickPrompt, ...], person_id: int) -> None:
    assert person_of_click(new, [SQUARE, CORNER], prompts) == person_id


def test_nothing_is_taken_away_from_nobody() -> None:
    with pytest.raises(SettingsError) as caught:
        person_of_click(click(A_CLICK, label=0), [SQUARE], ())
    assert caught.value.code == "nobody_chosen"


def test_masks_are_matched_loosely_or_exactly() -> None:
    masks = [SQUARE, CORNER]
    assert match_mask([click(B_CLICK)], masks) == 1
    assert match_mask([click((1.0, 9.0))], masks) is None
    assert match_mask([click(A_CLICK, label=0)], masks) is None
    assert match_mask([click(A_CLICK)], []) is None
    refined = [click(A_CLICK), click((4.0, 4.0), label=0), click((2.0, 2.0))]
    assert match_mask(refined, masks) == 0
    assert match_mask(refined, masks, exactly=True) is None
    assert match_mask([click(A_CLICK), click((0.0, 0.0), label=0)], masks, exactly=True) == 0


def test_clicks_become_prompts_of_the_frames_that_are_read() -> None:
    clicks = (click((5, 6), frame=10), click((7, 8), label=0, frame=10), ClickPrompt(21, 2, box_px=(1, 2, 3, 4)))
    prompts = run_prompts(clicks, " a golfer ", np.arange(8, 40, 2))
    assert [prompt.text for prompt in prompts if prompt.text] == ["a golfer"]
    box = next(prompt for prompt in prompts if prompt.box_px is not None)
    points = next(prompt for prompt in prompts if prompt.points_px is not None)
    assert (box.frame, box.person_id) == (6, 2)  # frame 20, the nearest to 21
    assert (points.frame, points.person_id) == (1, 1)
    np.testing.assert_array_equal(points.labels, [1, 0])
    np.testing.assert_array_equal(points.points_px, [[5, 6], [7, 8]])


def test_a_person_chosen_outside_the_range_is_an_error() -> None:
    with pytest.raises(InputError) as caught:
        run_prompts((click((1, 1), frame=5), click((1, 1), 2, frame=90)), "", np.arange(50))
    assert (caught.value.code, caught.value.facts) == ("prompt_outside_range", {"person": 2})
    # Someone also chosen inside is not lost.
    assert len(run_prompts((click((1, 1), frame=5), click((1, 1), frame=90)), "", np.arange(50))) == 1


def test_people_are_those_chosen() -> None:
    assert prompted_people([click((1, 1), 3), click((1, 1), 5, label=0), ClickPrompt(2, 1, box_px=(1, 1, 2, 2))]) == [1, 3]


def test_prompts_of_the_api() -> None:
    assert prompts_from_json([{"frame": 2, "point_px": [1, 2]}]) == (click((1.0, 2.0), frame=2),)
    assert prompts_from_json([{"frame": 0, "point_px": [1, 2], "label": 0}]) == (click((1.0, 2.0), label=0),)
    assert prompts_from_json([{"frame": 0, "box_px": [1, 2, 3, 4], "person_id": 2}]) == (ClickPrompt(0, 2, box_px=(1.0, 2.0, 3.0, 4.0)),)
    point = {"frame": 0, "point_px": [1, 2]}
    wrong = [{}, {"frame": 0}, {**point, "point_px": "ab"}, {**point, "point_px": [1]}, {**point, "point_px": [1, float("nan")]}, 5]
    wrong += [
        {**point, "box_px": [1, 2, 3, 4]},
        {**point, "label": 2},
        {**point, "person_id": 0},
        {**point, "frame": -1},
        {**point, "who": 1},
    ]
    for row in wrong:
        with pytest.raises(SettingsError) as caught:
            prompts_from_json([point, row])
        assert (caught.value.code, caught.value.facts) == ("prompt_invalid", {"index": 1}), row


def test_same_mask() -> None:
    assert is_same_mask(SQUARE, SQUARE)
    assert not is_same_mask(SQUARE, np.roll(SQUARE, 2, axis=0))


def test_clicks_turn_with_the_picture() -> None:
    mask = np.zeros((20, 40), bool)
    mask[2:8, 5:30] = True
    for prompt, edges in ((click((5.5, 2.5)), None), (ClickPrompt(0, box_px=(5.0, 2.0, 30.0, 8.0)), (5, 2, 30, 8))):
        for quarters in range(4):
            turned = turned_prompt(prompt, 90 * quarters, 40, 20)
            there = np.rot90(mask, -quarters)
            if edges is None:
                marked = np.zeros((20, 40), bool)
                marked[2, 5] = True
                (row,), (column,) = np.nonzero(np.rot90(marked, -quarters))
                assert turned.point_px == (column + 0.5, row + 0.5)
            else:
                rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
                assert turned.box_px == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert turned_prompt(turned_prompt(prompt, 90, 40, 20), 270, 20, 40) == prompt
