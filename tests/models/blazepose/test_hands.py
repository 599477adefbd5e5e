"""Where hands are read and what is made of the network's answers, on cases whose result is known."""

import numpy as np
import pytest

from body4d.core.joints import Blazepose33 as J
from body4d.models.blazepose.hands import (
    INPUT_PX,
    MIN_ROI_SIDE_PX,
    HandDetection,
    HandRegion,
    HandSearch,
    decode,
    regions,
    roi_from_body,
    roi_from_hand,
    without_doubles,
)
from body4d.models.blazepose.roi import RotatedRoi

ROI = RotatedRoi(300, 200, 112, 0.0)


def open_hand(palm_px: float = 40.0, at: tuple[float, float] = (0, 0)) -> np.ndarray:
    """A flat hand with its wrist ``at`` a place and its fingers up."""
    points = np.zeros((21, 2))
    for finger, x in enumerate((-0.6, -0.2, 0.0, 0.2, 0.4)):
        points[4 * finger + 1 : 4 * finger + 5] = np.stack([np.full(4, x), -np.array([1.0, 1.4, 1.7, 2.0])], -1)
    return points * palm_px + np.array(at)


def body(wrist, middle) -> np.ndarray:
    points = np.zeros((33, 2))
    points[[J.LEFT_WRIST, J.LEFT_INDEX, J.LEFT_PINKY]] = wrist, middle, middle
    points[[J.RIGHT_WRIST, J.RIGHT_INDEX, J.RIGHT_PINKY]] = (500, 500), (500, 520), (500, 520)
    return points


def hand(points_px, score=0.9, right=0.1) -> HandDetection:
    return HandDetection(np.asarray(points_px, float), np.zeros((21, 3)), score, right)


def test_the_bodys_region_is_around_the_knuckles_and_points_along_the_fingers():
    roi = roi_from_body(body((100, 200), (100, 180)), 0)
    # The box is twice as wide as wrist and knuckle are apart, and is shifted by a tenth of itself towards the fingers.
    assert (roi.x_px, roi.y_px, roi.side_px, roi.angle) == pytest.approx((100, 180 - 4, 2.7 * 40, 0))
    roi = roi_from_body(body((100, 200), (130, 200)), 0)
    assert (roi.x_px, roi.y_px, roi.side_px, roi.angle) == pytest.approx((130 + 6, 200, 2.7 * 60, np.pi / 2))


def test_a_hands_own_region_turns_and_grows_with_it():
    roi = roi_from_hand(open_hand())
    # Wrist, first two joints of each finger and the thumb's third make the box: 1.7 palms long. Fingertips do not count.
    assert (roi.side_px, roi.angle) == pytest.approx((2 * 1.7 * 40, 0))
    for angle in (0.7, -2.0, np.pi / 2):
        cos, sin = np.cos(angle), np.sin(angle)
        turned = roi_from_hand(2 * open_hand() @ np.array([[cos, sin], [-sin, cos]]) + (7, -3))
        x, y = 2 * (cos * roi.x_px - sin * roi.y_px) + 7, 2 * (sin * roi.x_px + cos * roi.y_px) - 3
        assert (turned.x_px, turned.y_px, turned.side_px, turned.angle) == pytest.approx((x, y, 2 * roi.side_px, angle))


def test_small_and_hidden_hands_are_not_read():
    visible = np.full(33, 0.9)
    assert [r.side for r in regions(body((100, 200), (100, 180)), visible, None, (None, None))] == [0, 1]
    hidden = visible.copy()
    hidden[J.RIGHT_WRIST] = 0.05
    assert [r.side for r in regions(body((100, 200), (100, 180)), hidden, None, (None, None))] == [0]
    short = 0.99 * MIN_ROI_SIDE_PX / 2.7 / 2
    assert [r.side for r in regions(body((100, 200), (100, 200 - short)), visible, None, (None, None))] == [1]


def test_a_hand_is_followed_in_its_own_region_until_it_has_left_the_bodys():
    visible, before = np.full(33, 0.9), body((100, 200), (100, 160))
    last = hand(open_hand(at=(100, 200)))
    moved = body((130, 200), (130, 160))
    region = regions(moved, visible, before, (last, None))[0]
    own = roi_from_hand(last.points_px)
    assert region.follows
    assert (region.roi.x_px, region.roi.side_px) == pytest.approx((own.x_px + 30, own.side_px))
    assert region.is_seen(hand(open_hand(at=(130, 200))))
    assert not region.is_seen(hand(open_hand(at=(130, 200)), score=0.4))
    assert not region.is_seen(hand(open_hand(at=(300, 200))))
    away = hand(open_hand(at=(300, 200)))
    assert not regions(before, visible, before, (away, None))[0].follows


def test_two_readings_of_one_hand_are_one():
    left, near, apart = (hand(open_hand(at=(x, 0)), right=r) for x, r in ((0, 0.1), (5, 0.2), (60, 0.9)))
    assert without_doubles((left, near)) == (left, None)
    assert without_doubles((hand(open_hand() + 5, right=0.9), right := hand(open_hand(), right=0.8))) == (None, right)
    assert without_doubles((left, apart)) == (left, apart)


def test_a_lost_hand_is_looked_for_now_and_then():
    search = HandSearch(seen_s=1.0, read_s=1.0)
    assert search.is_due(1.05)
    search.read_s = 1.1
    assert not search.is_due(1.2)
    assert search.is_due(1.26)


def test_landmarks_turn_and_grow_with_the_region():
    points, world = np.full((21, 3), INPUT_PX / 2, np.float32), np.zeros((21, 3), np.float32)
    points[0, :2], world[0] = (INPUT_PX / 2, 0), (0, -1, 0.3)  # at the middle of the upper side
    read = decode(points, 0.2, 0.7, world, RotatedRoi(300, 200, 112, np.pi / 2))
    assert read is not None
    assert (read.score, read.right_probability) == (0.2, 0.7)
    assert read.points_px[0] == pytest.approx([300 + 56, 200])
    assert read.points_px[1] == pytest.approx([300, 200])
    assert read.world_m[0] == pytest.approx([1, 0, 0.3], abs=1e-6)
    points[4, 0] = np.nan
    assert decode(points, 0.9, 0.7, world, ROI) is None
    assert not HandRegion(0, ROI, ROI).is_seen(None)
