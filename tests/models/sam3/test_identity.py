"""Who is who among detections and tracks: tables of cases, and plain counting beside the arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from body4d.config import Sam3Settings
from body4d.core.types import MaskTrack
from body4d.models.sam3.identity import (
    Appearance,
    LostTrack,
    describe_appearance,
    find_duplicates,
    is_false_positive,
    is_same_person,
    mask_iou,
    match_detections,
    non_maximum_suppression,
    reidentify,
)

MEMORY_S, MIN_NEW_SCORE = Sam3Settings().memory_s, Sam3Settings().min_new_track_score
RED, BLUE, GREEN = (200, 30, 30), (30, 40, 190), (20, 160, 40)


def appearance(x: float, colour: tuple[int, int, int], height: float = 100.0, y: float = 100.0) -> Appearance:
    picture = np.full((240, 320, 3), colour, np.uint8)
    mask = np.zeros((240, 320), bool)
    mask[20:120, 20:60] = True
    found = describe_appearance(mask, picture)
    assert found is not None
    return Appearance(np.array([x, y]), height, found.colour)


def lost(x: float, colour: tuple[int, int, int], lost_s: float, velocity: float = 0.0, height: float = 100.0) -> LostTrack:
    return LostTrack(appearance(x, colour, height), np.array([velocity, 0.0]), lost_s)


def test_ious_are_cocos() -> None:
    made = np.random.default_rng(0)
    a, b = made.random((3, 40, 50)) > 0.4, made.random((4, 40, 50)) > 0.7
    coded = [[{"size": [40, 50], "counts": MaskTrack.encode(m)} for m in masks] for masks in (a, b)]
    assert mask_iou(a, b) == pytest.approx(coco.iou(coded[0], coded[1], [0] * 4), abs=1e-6)


def test_empty_masks_overlap_with_nothing() -> None:
    empty = np.zeros((1, 4, 4), bool)
    assert mask_iou(empty, empty) == 0
    assert mask_iou(np.zeros((0, 4, 4), bool), empty).shape == (0, 1)


@given(st.integers(0, 2**32 - 1))
def test_suppression_keeps_what_the_plain_rule_keeps(seed: int) -> None:
    made = np.random.default_rng(seed)
    ious = made.random((7, 7))
    ious = np.maximum(ious, ious.T)
    scores = made.permutation(7) / 7
    left, kept = set(range(7)), []
    while left:  # take the best, strike out all it covers
        best = max(left, key=lambda i: scores[i])
        kept.append(best)
        left = {i for i in left if i != best and ious[i, best] <= 0.5}
    assert non_maximum_suppression(ious, scores, 0.5) == kept


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
def test_match_detections(ious, scores, confirmed, new) -> None:
    found = match_detections(np.array(ious), np.array(scores), MIN_NEW_SCORE)
    assert (found.confirmed, found.new) == (confirmed, new)


def test_no_detection_confirms_nobody() -> None:
    assert match_detections(np.zeros((0, 2)), np.zeros(0), MIN_NEW_SCORE).confirmed == {}


@pytest.mark.parametrize(
    ("age", "searches", "confirmations", "expected"),
    [(12, 4, 1, None), (16, 5, 2, True), (16, 5, 3, False), (40, 1, 1, False), (16, 4, 2, False)],
)
def test_tracks_are_tentative_for_a_time(age: int, searches: int, confirmations: int, expected: bool | None) -> None:
    assert is_false_positive(age, searches, confirmations) is expected


def test_the_duplicate_is_the_track_that_came_later() -> None:
    alike = np.ones((3, 3), bool)
    assert find_duplicates(alike, [5, 0, 9]) == [(0, 1), (2, 1)]
    assert find_duplicates(np.eye(3, dtype=bool), [5, 0, 9]) == []
    chain = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
    assert find_duplicates(chain, [0, 1, 2]) == [(1, 0)]  # 2 lies on 1, which is a duplicate itself: so 2 stays


def test_people_are_recognized_by_colour_whatever_the_order() -> None:
    left = [lost(50, RED, 3.0), lost(60, BLUE, 3.0)]
    assert reidentify(left, [appearance(55, BLUE), appearance(58, RED)], MEMORY_S) == {0: 1, 1: 0}
    assert reidentify(left, [appearance(55, GREEN)], MEMORY_S) == {}


def test_nobody_comes_back_from_farther_than_they_can_run() -> None:
    assert reidentify([lost(0, RED, 0.5)], [appearance(300, RED)], MEMORY_S) == {}
    assert reidentify([lost(0, RED, 4.0)], [appearance(300, RED)], MEMORY_S) == {0: 0}
    assert reidentify([lost(0, RED, 0.5, velocity=500)], [appearance(300, RED)], MEMORY_S) == {0: 0}  # was running that way


def test_size_and_time_end_a_memory() -> None:
    assert reidentify([lost(50, RED, 2.0, height=300)], [appearance(50, RED)], MEMORY_S) == {}
    assert reidentify([lost(50, RED, MEMORY_S + 1)], [appearance(50, RED)], MEMORY_S) == {}


def test_of_two_in_one_colour_the_nearer_is_back() -> None:
    assert reidentify([lost(0, RED, 5.0), lost(200, RED, 5.0)], [appearance(180, RED)], MEMORY_S) == {0: 1}


def test_an_appearance_is_in_pixels_of_the_image() -> None:
    picture = np.zeros((200, 400, 3), np.uint8)
    picture[40:120, 100:180] = RED
    mask = np.zeros((50, 50), bool)
    mask[10:30, 13:22] = True  # cells of 8 x 4 pixels
    found = describe_appearance(mask, picture)
    assert found is not None
    assert found.centre_px == pytest.approx([140, 80])
    assert found.height_px == 80
    same = appearance(0, RED)
    assert found.colour == pytest.approx(same.colour, abs=1e-6)
    assert describe_appearance(np.zeros((5, 5), bool), picture) is None


def test_one_body_is_one_person() -> None:
    body, other = np.zeros((40, 50), bool), np.zeros((40, 50), bool)
    body[5:30, 5:20], other[5:30, 25:40] = True, True
    half = body.copy()
    half[5:15] = False

    def track(mask: np.ndarray, first: int) -> MaskTrack:
        return MaskTrack(1, np.arange(first, first + 5), (MaskTrack.encode(mask),) * 5, 40, 50)

    assert is_same_person(track(body, 0), track(body, 3))
    assert not is_same_person(track(body, 0), track(body, 5))  # no frame in common
    assert not is_same_person(track(body, 0), track(half, 0))
    assert not is_same_person(track(body, 0), track(other, 0))
