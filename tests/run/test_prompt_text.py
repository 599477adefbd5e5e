"""Clicks, boxes and words from the command line."""

import numpy as np
import pytest

from body4d.core.errors import SettingsError
from body4d.run.prompt_text import parse_prompts


def test_words() -> None:
    prompts = parse_prompts(["the golfer", "a child"], None, None, None)
    assert [p.text for p in prompts] == ["the golfer", "a child"]


def test_words_for_one_person_and_a_click_on_another() -> None:
    prompts = parse_prompts(["the golfer in yellow:1"], ["4:10,20"], ["9:5,5:1"], None)
    assert [(p.text, p.person_id, p.frame) for p in prompts] == [("the golfer in yellow", 1, 0), (None, 2, 4), (None, 1, 9)]


def test_each_click_is_somebody_unless_numbered() -> None:
    prompts = parse_prompts(None, ["0:10,20", "5:30,40", "5:1,2:1"], None, None)
    assert [(p.frame, p.person_id) for p in prompts] == [(0, 2), (5, 1), (5, 3)]


def test_clicks_of_one_person_on_one_frame_are_one_prompt() -> None:
    (first, later) = parse_prompts(None, ["3:10,20:1", "3:12,25:1", "9:1,1:1"], ["3:90.5,8"], None)
    assert first.points_px is not None
    assert first.labels is not None
    np.testing.assert_array_equal(first.points_px, [[10, 20], [12, 25], [90.5, 8]])
    np.testing.assert_array_equal(first.labels, [1, 1, 0])
    assert (later.frame, later.person_id) == (9, 1)


def test_boxes_and_clicks_share_the_numbers() -> None:
    prompts = parse_prompts(None, ["0:5,5"], None, ["0:1,2,30,40", "0:1,2,30,40:1"])
    assert sorted((p.person_id, p.box_px is not None) for p in prompts) == [(1, True), (2, False), (3, True)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clicks": ["640,360"]}, r"--click cannot be read: '640,360'.*12:640,360"),
        ({"clicks": ["a:1,2"]}, "--click"),
        ({"boxes": ["0:1,2,3"]}, "--box cannot be read"),
        ({"boxes": ["0:30,2,3,40"]}, "it is empty"),
        ({"unclicks": ["0:1,2"]}, "must name the person"),
        ({"texts": [" "]}, "is empty"),
        ({"texts": [":2"]}, "is empty"),
        ({"clicks": ["0:1,2:0"]}, "numbered from 1 on"),
        ({"clicks": ["0:1,2", "0:5,5"], "unclicks": ["0:1,2"]}, "must name the person"),
    ],
)
def test_what_cannot_be_read(options: dict[str, list[str]], words: str) -> None:
    given = {"texts": None, "clicks": None, "unclicks": None, "boxes": None} | options
    with pytest.raises(SettingsError, match=words):
        parse_prompts(**given)
