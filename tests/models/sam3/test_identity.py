"""Who is who among finds and tracks: tables of cases, and plain counting beside the arithmetic."""

import numpy as np
import pytest
from pycocotools import mask as coco

from body4d.config import Sam3Settings
from body4d.core.types import MaskTrack
from body4d.models.sam3.identity import Gone, Sight, false_find, likeliest, overlaps, returning, sight_of, sort_out, yielding

S = Sam3Settings()
RED, BLUE, GREEN = (200, 30, 30), (30, 40, 190), (20, 160, 40)


def sight(x: float, colour: tuple[int, int, int], height: float = 100.0, y: float = 100.0) -> Sight:
    picture = np.full((240, 320, 3), colour, np.uint8)
    mask = np.zeros((240, 320), bool)
    mask[20:120, 20:60] = True
    found = sight_of(mask, picture)
    assert found is not None
    return Sight(np.array([x, y]), height, found.colour)


def gone(x: float, colour: tuple[int, int, int], unseen_s: float, velocity: float = 0.0, height: float = 100.0) -> Gone:
    return Gone(sight(x, colour, height), np.array([velocity, 0.0]), unseen_s)


def test_overlaps_are_cocos() -> None:
    made = np.random.default_rng(0)
    a, b = made.random((3, 40, 50)) > 0.4, made.random((4, 40, 50)) > 0.7
    coded = [[{"size": [40, 50], "counts": MaskTrack.encode(m)} for m in masks] for masks in (a, b)]
    assert overlaps(a, b) == pytest.approx(coco.iou(coded[0], coded[1], [0] * 4), abs=1e-6)


def test_empty_masks_overlap_with_nothing() -> None:
    empty = np.zeros((1, 4, 4), bool)
    assert overlaps(empty, empty) == 0
    assert overlaps(np.zeros((0, 4, 4), bool), empty).shape == (0, 1)


def test_likeliest_keeps_what_plain_suppression_keeps() -> None:
    made = np.random.default_rng(1)
    for _ in range(50):
        ious = made.random((7, 7))
        ious = np.maximum(ious, ious.T)
        scores = made.permutation(7) / 7
        left, kept = set(range(7)), []
        while left:  # take the best, strike out all it covers
            best = max(left, key=lambda i: scores[i])
            kept.append(best)
            left = {i for i in left if i != best and ious[i, best] <= 0.5}
        assert likeliest(ious, scores, 0.5) == kept


@pytest.mark.parametrize(
    ("ious", "scores", "confirmed", "new"),
    [
        ([[0.9, 0.0]], [0.6], {0: 0}, ()),  # confirms though too unlikely to begin with
        ([[0.0, 0.0]], [0.9], {}, (0,)),
        ([[0.0, 0.0]], [0.6], {}, ()),  # too unlikely to be somebody new
        ([[0.3, 0.0]], [0.9], {}, ()),  # neither sure to be the followed one nor apart from them
        ([[0.6, 0.0], [0.8, 0.0]], [0.9, 0.7], {0: 1}, ()),  # the better overlap confirms
        ([[0.0], [0.05]], [0.8, 0.95], {}, (1, 0)),  # likeliest first
        ([[0.7, 0.6]], [0.9], {0: 0, 1: 0}, ()),  # one find may confirm two tracks on one body
    ],
)
def test_sort_out(ious, scores, confirmed, new) -> None:
    found = sort_out(np.array(ious), np.array(scores), S)
    assert (found.confirmed, found.new) == (confirmed, new)


def test_nothing_found_confirms_nobody() -> None:
    assert sort_out(np.zeros((0, 2)), np.zeros(0), S).confirmed == {}


@pytest.mark.parametrize(
    ("age", "searches", "confirmations", "verdict"),
    [(12, 4, 1, None), (16, 5, 2, True), (16, 5, 3, False), (40, 1, 1, False), (16, 4, 2, False)],
)
def test_trials_end_after_their_time(age: int, searches: int, confirmations: int, verdict: bool | None) -> None:
    assert false_find(age, searches, confirmations, S) is verdict


def test_who_came_later_yields_to_who_was_there() -> None:
    alike = np.ones((3, 3), bool)
    assert yielding(alike, [5, 0, 9]) == [(0, 1), (2, 1)]
    assert yielding(np.eye(3, dtype=bool), [5, 0, 9]) == []
    chain = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
    assert yielding(chain, [0, 1, 2]) == [(1, 0)]  # 2 lies on 1, who has yielded: so 2 stays


def test_somebody_back_is_known_by_colour_whatever_the_order() -> None:
    left = [gone(50, RED, 3.0), gone(60, BLUE, 3.0)]
    assert returning(left, [sight(55, BLUE), sight(58, RED)], S) == {0: 1, 1: 0}
    assert returning(left, [sight(55, GREEN)], S) == {}


def test_nobody_comes_back_from_farther_than_they_can_run() -> None:
    assert returning([gone(0, RED, 0.5)], [sight(300, RED)], S) == {}
    assert returning([gone(0, RED, 4.0)], [sight(300, RED)], S) == {0: 0}
    assert returning([gone(0, RED, 0.5, velocity=500)], [sight(300, RED)], S) == {0: 0}  # was running that way


def test_size_and_time_end_a_memory() -> None:
    assert returning([gone(50, RED, 2.0, height=300)], [sight(50, RED)], S) == {}
    assert returning([gone(50, RED, S.remember_s + 1)], [sight(50, RED)], S) == {}


def test_of_two_in_one_colour_the_nearer_is_back() -> None:
    assert returning([gone(0, RED, 5.0), gone(200, RED, 5.0)], [sight(180, RED)], S) == {0: 1}


def test_a_sight_is_where_the_mask_is_in_pixels_of_the_picture() -> None:
    picture = np.zeros((200, 400, 3), np.uint8)
    picture[40:120, 100:180] = RED
    mask = np.zeros((50, 50), bool)
    mask[10:30, 13:22] = True  # cells of 8 x 4 pixels
    found = sight_of(mask, picture)
    assert found is not None
    assert found.centre_px == pytest.approx([140, 80])
    assert found.height_px == 80
    same = sight(0, RED)
    assert found.colour == pytest.approx(same.colour, abs=1e-6)
    assert sight_of(np.zeros((5, 5), bool), picture) is None
