"""Who is who: decisions on made-up looks, no model."""

import numpy as np
import pytest

from body4d.config import BlazePoseSettings
from body4d.core.joints import Blazepose33 as J
from body4d.tracking.association import (
    BODY_JOINTS,
    Expected,
    Look,
    agreement,
    assign,
    associate,
    body_samples,
    colour_distance,
    colour_histogram,
    distinct,
    front,
    likeness,
    oks,
    pair_cost,
    settle,
    shared_area,
)

S = BlazePoseSettings()
RED, BLUE = (200, 30, 30), (30, 40, 190)


def standing(x: float, y: float = 200.0, height: float = 200.0) -> np.ndarray:
    """Joints (33, 2) of somebody standing upright, hips at (x, y)."""
    points = np.tile([x, y], (33, 1)).astype(float)
    for left, right, dx, dy in (
        (J.LEFT_SHOULDER, J.RIGHT_SHOULDER, 0.1, -0.28),
        (J.LEFT_ELBOW, J.RIGHT_ELBOW, 0.14, -0.12),
        (J.LEFT_WRIST, J.RIGHT_WRIST, 0.15, 0.02),
        (J.LEFT_HIP, J.RIGHT_HIP, 0.06, 0.0),
        (J.LEFT_KNEE, J.RIGHT_KNEE, 0.06, 0.25),
        (J.LEFT_ANKLE, J.RIGHT_ANKLE, 0.06, 0.48),
    ):
        points[left] += (dx * height, dy * height)
        points[right] += (-dx * height, dy * height)
    points[:11] += (0, -0.42 * height)
    return points


def worn(*rgb: int) -> np.ndarray:
    pixels = np.tile(np.array(rgb, np.uint8), (200, 1))
    return colour_histogram(pixels, np.ones(200), np.arange(200) < 100)


def look(x: float, rgb: tuple[int, int, int] = RED, *, y: float = 200.0, size: float = 220.0, seen: float = 0.9) -> Look:
    return Look(standing(x, y), np.full(33, seen), size, worn(*rgb))


def expected(x: float, rgb: tuple[int, int, int] = RED, *, shift: float = 0.0, unseen_s: float = 1 / 30) -> Expected:
    return Expected(look(x, rgb), np.array([shift, 0.0]), unseen_s)


def test_oks_is_one_for_the_same_and_falls_with_distance():
    same, near, far = (oks(look(100), look(x)) for x in (100, 110, 200))
    assert same == pytest.approx(1)
    assert 1 > near > far
    assert far < 0.01


def test_oks_heeds_visible_joints_only():
    hidden = np.full(33, 0.9)
    hidden[[J.LEFT_WRIST, J.RIGHT_WRIST]] = 0.0
    points = standing(100)
    points[[J.LEFT_WRIST, J.RIGHT_WRIST]] += 500
    assert oks(look(100), Look(points, hidden, 220, worn(*RED))) > 0.99


@pytest.mark.parametrize(("other", "least", "most"), [(RED, 0, 0.01), ((180, 25, 25), 0, 0.5), (BLUE, 0.9, 1)])
def test_colours_like_and_unlike(other, least, most):
    assert least <= colour_distance(worn(*RED), worn(*other)) <= most


def test_colours_compare_only_the_halves_both_show():
    pixels = np.tile(np.array(RED, np.uint8), (100, 1))
    torso_only = colour_histogram(pixels, np.ones(100), np.ones(100, bool))
    assert colour_distance(torso_only, worn(*RED)) < 0.01
    assert colour_distance(np.zeros_like(torso_only), worn(*RED)) == 0.5


def test_body_samples_lie_on_the_body():
    places, above = body_samples(standing(100, 200, 200))
    assert 0 < above.sum() < len(above)
    assert np.all(np.abs(places[:, 0] - 100) <= 20)
    assert places[above][:, 1].max() <= 200 <= places[~above][:, 1].min()


def test_shared_area_of_masks_in_boxes():
    a, b = np.ones((10, 10), bool), np.ones((10, 10), bool)
    assert shared_area(a, (0, 0, 10, 10), b, (5, 6, 15, 16)) == 5 * 4
    assert shared_area(a, (0, 0, 10, 10), b, (10, 0, 20, 10)) == 0


def groups_of(looks, shared, new=None, order=None):
    return distinct(looks, np.array(shared, float), order or range(len(looks)), new or [False] * len(looks), S)


def test_one_person_seen_twice_is_one_group():
    assert groups_of([look(100), look(103), look(300)], np.diag([100.0] * 3)) == [[0, 1], [2]]


def test_order_decides_who_stands_for_the_group():
    assert groups_of([look(100), look(103)], np.diag([100.0] * 2), order=[1, 0]) == [[1, 0]]


def test_the_same_mask_is_the_same_person_whatever_the_joints_say():
    assert groups_of([look(100), look(200)], [[100, 95], [95, 100]]) == [[0, 1]]


def test_someone_behind_another_shares_mask_but_stays_a_person():
    # 78% of the small mask lies in the large one: would cover, but the joints differ.
    assert groups_of([look(100), look(160)], [[300, 78], [78, 100]]) == [[0], [1]]


def test_half_a_body_found_again_is_nobody_new():
    shared = [[300, 60], [60, 100]]
    assert groups_of([look(100), look(180)], shared, new=[False, True]) == [[0]]
    assert groups_of([look(100), look(180)], shared, new=[False, False]) == [[0], [1]]


def test_looks_that_agree_outvote_a_sure_one_that_does_not():
    looks = [look(100), look(102), look(99), look(140, seen=0.99), look(400)]
    shared = np.full((5, 5), 95.0)
    np.fill_diagonal(shared, 100)
    shared[4, :4] = shared[:4, 4] = 0
    agreed = agreement(looks, shared)
    assert agreed[:3].min() > agreed[3] + 0.3
    assert agreed[4] == 0


def test_people_walking_past_each_other_keep_their_names():
    # At 100 and 110, each moves on by 15 px past the other: the nearest look is the other one's.
    people = [expected(100, RED, shift=15), expected(110, BLUE, shift=-15)]
    assert associate(people, [look(96, BLUE), look(114, RED)], S) == {1: 0, 0: 1}


def test_colours_tell_apart_whom_place_cannot():
    people = [expected(100, RED), expected(112, BLUE)]
    assert associate(people, [look(106, BLUE), look(107, RED)], S) == {1: 0, 0: 1}


def test_pose_tells_apart_equal_clothes():
    people = [expected(100, shift=10), expected(130, shift=-10)]
    assert associate(people, [look(119), look(111)], S) == {1: 0, 0: 1}


@pytest.mark.parametrize(
    ("person", "seen"),
    [
        pytest.param(expected(100), look(400), id="too far"),
        pytest.param(expected(100), look(100, size=500), id="grown"),
        pytest.param(expected(100), look(100, BLUE), id="other clothes"),
        pytest.param(expected(100, unseen_s=1.0), look(120, BLUE), id="other clothes after an absence"),
    ],
)
def test_what_cannot_be_the_same_person(person, seen):
    assert pair_cost(person, seen, S) == np.inf
    assert associate([person], [seen], S) == {}


def test_reach_grows_with_absence():
    assert pair_cost(expected(100), look(200), S) == np.inf
    assert np.isfinite(pair_cost(expected(100, unseen_s=1.0), look(200), S))


def test_poor_place_and_poor_colours_together_are_somebody_else():
    partly_red = colour_histogram(np.array([RED] * 150 + [BLUE] * 50, np.uint8), np.ones(200), np.tile([True, False], 100))
    colour = colour_distance(partly_red, worn(*RED))
    assert 0.3 < colour / S.colour_most < 1.0  # poor, not forbidden by itself
    far = 100 + 0.95 * 220 * S.reach_sizes
    person = expected(100)
    assert np.isfinite(pair_cost(person, look(far), S))
    assert np.isfinite(pair_cost(person, Look(standing(100), np.full(33, 0.9), 220, partly_red), S))
    assert pair_cost(person, Look(standing(far), np.full(33, 0.9), 220, partly_red), S) == np.inf


def test_a_find_beside_a_tracked_person_is_not_somebody_new():
    person = expected(100)
    tracked, find = look(100), look(100, size=600)  # the find cannot be the person: its size is wrong
    chosen, pairs = assign([person], [find, tracked], [[0, 1]], [True, False], S)
    assert (chosen, pairs) == ([1], {1: 0})


def test_a_find_alone_stays_to_become_somebody():
    chosen, pairs = assign([expected(100)], [look(100), look(400)], [[0], [1]], [False, True], S)
    assert (chosen, pairs) == ([0, 1], {0: 0})


def test_a_drifting_region_is_less_like_the_person_than_a_find_in_the_right_clothes():
    person = expected(100)
    mixed = colour_histogram(np.array([RED] * 120 + [BLUE] * 80, np.uint8), np.ones(200), np.tile([True, False], 100))
    drifted = Look(standing(104), np.full(33, 0.9), 220, mixed)
    assert likeness(person, look(112), S) > likeness(person, drifted, S)


def test_of_two_claims_the_person_in_front_wins():
    ones = np.ones((10, 10), np.float32)
    left, right = settle([ones, ones * 0.9], [(0, 0, 10, 10), (5, 0, 15, 10)], [0.1, 0.9], (10, 20), S)
    assert left.sum() == 50
    assert right.sum() == 100
    assert not (left & right).any()


def test_without_overlap_masks_stay_as_they_are():
    ones = np.ones((10, 5), np.float32)
    masks = settle([ones, ones], [(0, 0, 5, 10), (5, 0, 10, 10)], [0.5, 0.5], (10, 12), S)
    assert [int(m.sum()) for m in masks] == [50, 50]
    assert settle([], [], [], (10, 12), S) == []


def test_who_is_visible_inside_anothers_mask_stands_in_front():
    mask = np.ones((400, 300), bool)
    owners = [(mask, (0, 0, 300, 400)), (mask, (0, 0, 300, 400))]
    ahead, behind = look(100, seen=0.95), look(100, seen=0.2)
    assert front(ahead, 0, owners) == pytest.approx(0.95)
    assert front(behind, 1, owners) == pytest.approx(0.2)
    assert front(ahead, 0, owners[:1]) == 0.5


def test_the_torso_is_the_centre():
    assert look(100).centre_px == pytest.approx([100, 200 - 0.14 * 200])
    assert look(100, seen=0.7).sureness == pytest.approx(0.7)
    assert len(BODY_JOINTS) == 13
