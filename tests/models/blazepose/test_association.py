"""Data association on made-up detections, without a model."""

import numpy as np
import pytest

from body4d.core.joints import Blazepose33 as J
from body4d.models.blazepose.association import (
    MAX_COLOUR_DISTANCE,
    MAX_DISTANCE_SIZES,
    Detection,
    TrackPrediction,
    clothing_points,
    consensus,
    group_duplicates,
    intersection_px,
    match,
    match_cost,
    match_groups,
    occlusion_order,
    oks,
    resolve_overlaps,
    similarity,
)
from body4d.tracking.association import BODY_JOINTS, colour_distance, colour_histogram

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


def detection(x: float, rgb: tuple[int, int, int] = RED, *, y: float = 200.0, size: float = 220.0, visibility: float = 0.9) -> Detection:
    return Detection(standing(x, y), np.full(33, visibility), size, worn(*rgb))


def predicted(x: float, rgb: tuple[int, int, int] = RED, *, shift: float = 0.0, unseen_s: float = 1 / 30) -> TrackPrediction:
    return TrackPrediction(detection(x, rgb), np.array([shift, 0.0]), unseen_s)


def test_oks_is_one_for_the_same_and_falls_with_distance():
    same, near, far = (oks(detection(100), detection(x)) for x in (100, 110, 200))
    assert same == pytest.approx(1)
    assert 1 > near > far
    assert far < 0.01


def test_oks_heeds_visible_joints_only():
    hidden = np.full(33, 0.9)
    hidden[[J.LEFT_WRIST, J.RIGHT_WRIST]] = 0.0
    points = standing(100)
    points[[J.LEFT_WRIST, J.RIGHT_WRIST]] += 500
    assert oks(detection(100), Detection(points, hidden, 220, worn(*RED))) > 0.99


def test_body_samples_lie_on_the_body():
    places, above = clothing_points(standing(100, 200, 200))
    assert 0 < above.sum() < len(above)
    assert np.all(np.abs(places[:, 0] - 100) <= 20)
    assert places[above][:, 1].max() <= 200 <= places[~above][:, 1].min()


def test_shared_area_of_masks_in_boxes():
    a, b = np.ones((10, 10), bool), np.ones((10, 10), bool)
    assert intersection_px(a, (0, 0, 10, 10), b, (5, 6, 15, 16)) == 5 * 4
    assert intersection_px(a, (0, 0, 10, 10), b, (10, 0, 20, 10)) == 0


def groups_of(detections, intersections, is_new=None, order=None):
    return group_duplicates(
        detections, np.array(intersections, float), order or range(len(detections)), is_new or [False] * len(detections)
    )


def test_two_detections_of_one_person_are_one_group():
    assert groups_of([detection(100), detection(103), detection(300)], np.diag([100.0] * 3)) == [[0, 1], [2]]


def test_order_decides_which_detection_represents_the_group():
    assert groups_of([detection(100), detection(103)], np.diag([100.0] * 2), order=[1, 0]) == [[1, 0]]


def test_the_same_mask_is_the_same_person_whatever_the_joints_say():
    assert groups_of([detection(100), detection(200)], [[100, 95], [95, 100]]) == [[0, 1]]


def test_someone_behind_another_shares_mask_but_stays_a_person():
    # 78% of the small mask lies in the large one: would cover, but the joints differ.
    assert groups_of([detection(100), detection(160)], [[300, 78], [78, 100]]) == [[0], [1]]


def test_half_a_body_detected_again_is_nobody_new():
    intersections = [[300, 60], [60, 100]]
    assert groups_of([detection(100), detection(180)], intersections, is_new=[False, True]) == [[0]]
    assert groups_of([detection(100), detection(180)], intersections, is_new=[False, False]) == [[0], [1]]


def test_detections_that_agree_outvote_a_confident_one_that_does_not():
    detections = [detection(100), detection(102), detection(99), detection(140, visibility=0.99), detection(400)]
    intersections = np.full((5, 5), 95.0)
    np.fill_diagonal(intersections, 100)
    intersections[4, :4] = intersections[:4, 4] = 0
    scores = consensus(detections, intersections)
    assert scores[:3].min() > scores[3] + 0.3
    assert scores[4] == 0


def test_people_walking_past_each_other_keep_their_identities():
    # At 100 and 110, each moves on by 15 px past the other: the nearest detection is the other person's.
    people = [predicted(100, RED, shift=15), predicted(110, BLUE, shift=-15)]
    assert match(people, [detection(96, BLUE), detection(114, RED)]) == {1: 0, 0: 1}


def test_colours_decide_where_places_cannot():
    people = [predicted(100, RED), predicted(112, BLUE)]
    assert match(people, [detection(106, BLUE), detection(107, RED)]) == {1: 0, 0: 1}


def test_poses_decide_between_equal_clothes():
    people = [predicted(100, shift=10), predicted(130, shift=-10)]
    assert match(people, [detection(119), detection(111)]) == {1: 0, 0: 1}


@pytest.mark.parametrize(
    ("person", "seen"),
    [
        pytest.param(predicted(100), detection(400), id="too far"),
        pytest.param(predicted(100), detection(100, size=500), id="grown"),
        pytest.param(predicted(100), detection(100, BLUE), id="other clothes"),
        pytest.param(predicted(100, unseen_s=1.0), detection(120, BLUE), id="other clothes after an absence"),
    ],
)
def test_gates_exclude_other_people(person, seen):
    assert match_cost(person, seen) == np.inf
    assert match([person], [seen]) == {}


def test_the_allowed_distance_grows_with_absence():
    assert match_cost(predicted(100), detection(200)) == np.inf
    assert np.isfinite(match_cost(predicted(100, unseen_s=1.0), detection(200)))


def test_poor_place_and_poor_colours_together_are_another_person():
    partly_red = colour_histogram(np.array([RED] * 150 + [BLUE] * 50, np.uint8), np.ones(200), np.tile([True, False], 100))
    colour = colour_distance(partly_red, worn(*RED))
    assert 0.3 < colour / MAX_COLOUR_DISTANCE < 1.0  # poor, not forbidden by itself
    far = 100 + 0.95 * 220 * MAX_DISTANCE_SIZES
    person = predicted(100)
    assert np.isfinite(match_cost(person, detection(far)))
    assert np.isfinite(match_cost(person, Detection(standing(100), np.full(33, 0.9), 220, partly_red)))
    assert match_cost(person, Detection(standing(far), np.full(33, 0.9), 220, partly_red)) == np.inf


def test_a_new_detection_beside_a_followed_person_is_not_a_new_person():
    person = predicted(100)
    followed, new = detection(100), detection(100, size=600)  # the new one cannot be the person: its size is wrong
    chosen, pairs = match_groups([person], [new, followed], [[0, 1]], [True, False])
    assert (chosen, pairs) == ([1], {1: 0})


def test_a_new_detection_alone_may_become_a_person():
    chosen, pairs = match_groups([predicted(100)], [detection(100), detection(400)], [[0], [1]], [False, True])
    assert (chosen, pairs) == ([0, 1], {0: 0})


def test_a_drifting_region_is_less_similar_than_a_detection_in_the_right_clothes():
    person = predicted(100)
    mixed = colour_histogram(np.array([RED] * 120 + [BLUE] * 80, np.uint8), np.ones(200), np.tile([True, False], 100))
    drifted = Detection(standing(104), np.full(33, 0.9), 220, mixed)
    assert similarity(person, detection(112)) > similarity(person, drifted)


def test_of_two_claims_the_person_in_front_wins():
    ones = np.ones((10, 10), np.float32)
    left, right = resolve_overlaps([ones, ones * 0.9], [(0, 0, 10, 10), (5, 0, 15, 10)], [0.1, 0.9], (10, 20))
    assert left[:, :5].all()
    assert not left[:, 5:].any()
    assert right.all()


def test_masks_without_overlap_stay_as_they_are():
    ones = np.ones((10, 5), np.float32)
    masks = resolve_overlaps([ones, ones], [(0, 0, 5, 10), (5, 0, 10, 10)], [0.5, 0.5], (10, 12))
    assert [int(m.sum()) for m in masks] == [50, 50]
    (alone,) = resolve_overlaps([np.where(np.eye(5) > 0, 0.9, 0.4).astype(np.float32)], [(2, 3, 7, 8)], [0.5], (10, 12))
    assert np.array_equal(alone, np.eye(5) > 0)
    assert resolve_overlaps([], [], [], (10, 12)) == []


def test_somebody_visible_inside_another_mask_stands_in_front():
    mask = np.ones((400, 300), bool)
    owners = [(mask, (0, 0, 300, 400)), (mask, (0, 0, 300, 400))]
    ahead, behind = detection(100, visibility=0.95), detection(100, visibility=0.2)
    assert occlusion_order(ahead, 0, owners) == pytest.approx(0.95)
    assert occlusion_order(behind, 1, owners) == pytest.approx(0.2)
    assert occlusion_order(ahead, 0, owners[:1]) == 0.5


def test_a_detections_centre_is_the_torso():
    assert detection(100).centre_px == pytest.approx([100, 200 - 0.14 * 200])
    assert detection(100, visibility=0.7).mean_visibility == pytest.approx(0.7)
    assert len(BODY_JOINTS) == 13
