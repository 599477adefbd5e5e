"""Which hand is whose, how far it is trusted, and which way it faces, on hands of known shape."""

import numpy as np
import pytest

from body4d.core.joints import Body29 as B
from body4d.core.joints import Hand21 as H
from body4d.core.types import Camera, HandTrack
from body4d.models.anny_fit.hands import seen_hands
from body4d.models.anny_fit.observations import BodyLandmarks
from body4d.models.anny_fit.sides import exchanged

T, PALM_PX = 3, 90.0
TIMES_S = np.arange(T) / 10 + 0.1 * np.arange(T)  # so far apart that none confirms another
CAMERA = Camera(focal_px=1000, cx_px=320, cy_px=240, width_px=640, height_px=480, source="given")


def flat_hand() -> np.ndarray:
    """A hand in the picture's plane, fingers up, in metres about its middle finger's knuckle; the thumb to the right."""
    points = np.zeros((21, 3))
    points[H.WRIST] = (0, 0.09, 0)
    for finger, x in enumerate((0.05, 0.03, 0.0, -0.02, -0.04)):
        points[4 * finger + 1 : 4 * finger + 5, 0] = x
        points[4 * finger + 1 : 4 * finger + 5, 1] = -np.array([0, 0.04, 0.065, 0.085])
    return points


def hands(right=(0.0, 1.0), at_px=((320.0, 240.0), (320.0, 240.0)), palm_px=PALM_PX) -> HandTrack:
    world = np.broadcast_to(flat_hand(), (T, 2, 21, 3)).copy()
    points = world[..., :2] * palm_px / 0.09 + np.array(at_px)[:, None]
    return HandTrack(points, world, np.ones((T, 2)), np.broadcast_to(np.array(right), (T, 2)).copy())


def body() -> BodyLandmarks:
    rng = np.random.default_rng(0)
    return BodyLandmarks(rng.uniform(0, 400, (T, len(B), 2)), rng.normal(size=(T, len(B), 3)), np.ones((T, len(B))))


def test_hands_go_with_their_wrists_where_sides_are_exchanged():
    raw = body()
    track = hands(right=(1.0, 0.0), at_px=((100.0, 200.0), (300.0, 200.0)))  # BlazePose has the two exchanged, their shapes say so
    settled = exchanged(raw, np.array([False, True, False]))
    settled.points_px[2, B.LEFT_WRIST] += 1  # left out and interpolated
    seen = seen_hands(track, raw, settled, TIMES_S, CAMERA)
    assert (seen.weight > 0).tolist() == [[False, False], [True, True], [False, False]]
    assert seen.points_px[1, 0, H.MIDDLE_MCP, 0] == pytest.approx(300)
    assert np.isnan(seen.points_px[[0, 2]]).all()


def test_unsure_and_small_hands_weigh_less():
    raw = body()
    sure, unsure, wrong, small = (
        seen_hands(track, raw, raw, TIMES_S, CAMERA).weight[0, 0]
        for track in (hands(), hands((0.3, 1)), hands((0.6, 1)), hands(palm_px=15))
    )
    assert sure == pytest.approx(1, abs=0.05)
    assert unsure == pytest.approx(0.4 * sure)
    assert wrong == 0
    assert small == pytest.approx(0.5, abs=0.01)  # blur of 1.5 pixels is as much as a tenth of its palm


def test_a_hand_that_flashes_up_weighs_less():
    raw, track = body(), hands()
    track.score[[0, 2]] = 0
    assert seen_hands(track, raw, raw, np.arange(T) / 30, CAMERA).weight[1, 0] == pytest.approx(1 / 3, abs=0.02)


def test_palms_knuckles_and_fingers_of_a_flat_hand():
    raw = body()
    seen = seen_hands(hands(), raw, raw, TIMES_S, CAMERA)
    along, across = seen.palms.directions[0, 0]
    assert along == pytest.approx(np.array([-0.005, -0.09, 0]) / np.hypot(0.005, 0.09), abs=1e-6)
    assert across == pytest.approx([1, 0, 0], abs=1e-6)
    assert np.abs(seen.flexion[..., 1:, 1:]).max() < 1e-6
    points, sigma = seen.knuckles()
    assert points[0, B.RIGHT_INDEX] == pytest.approx([320 + 30, 240])
    assert sigma[0, B.RIGHT_INDEX] == pytest.approx(0.1 * PALM_PX, rel=0.02)
    assert np.isinf(sigma[:, B.LEFT_ELBOW]).all()
    # A hand at the picture's side is seen along its own ray, so the same reading is turned by as much.
    aside = seen_hands(hands(at_px=((1320.0, 240.0), (320.0, 240.0))), raw, raw, TIMES_S, CAMERA).palms.directions[0, 0, 1]
    assert aside == pytest.approx([np.sqrt(0.5), 0, -np.sqrt(0.5)], abs=1e-6)
