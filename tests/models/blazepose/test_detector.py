"""The detector's input and the reading of its output, on tensors whose answer is known."""

import numpy as np
import pytest
from scipy.special import logit

from body4d.models.blazepose.detector import INPUT_PX, anchor_centres, decode, input_tensor

ANCHORS = anchor_centres()


def tensors(*people):
    """The network's outputs for people given as (anchor, centre, size, [two points], probability), lengths in input pixels."""
    boxes, scores = np.zeros((len(ANCHORS), 12), np.float32), np.full(len(ANCHORS), -50, np.float32)
    for anchor, centre, size, points, probability in people:
        corner = ANCHORS[anchor] * INPUT_PX
        boxes[anchor] = np.concatenate([centre - corner, size, (np.array(points) - corner).ravel(), np.zeros(4)])
        scores[anchor] = logit(probability)
    return boxes, scores


def test_anchors_are_the_centres_of_three_grids():
    assert ANCHORS.shape == (2254, 2)
    assert ANCHORS[0] == pytest.approx([4 / 224, 4 / 224])
    assert ANCHORS[1] == pytest.approx(ANCHORS[0])  # two in a cell
    assert ANCHORS[2] == pytest.approx([12 / 224, 4 / 224])
    assert ANCHORS[-1] == pytest.approx([1 - 16 / 224, 1 - 16 / 224])


@pytest.mark.parametrize(("width", "height"), [(224, 224), (448, 224), (100, 300)])
def test_points_come_back_in_the_tiles_own_pixels(width, height):
    scale = max(width, height) / INPUT_PX
    boxes, scores = tensors((700, np.array([112, 112]), (60, 60), [(112, 112), (112, 52)], 0.9))
    (one,) = decode(boxes, scores, width, height)
    assert one.score == pytest.approx(0.9)
    assert one.alignment_px == pytest.approx(np.array([[width / 2, height / 2], [width / 2, height / 2 - 60 * scale]]), abs=1e-3)


def test_overlapping_boxes_are_averaged_by_their_probability_and_others_are_not():
    at = np.array([60.0, 60])
    near = (200, at, (40, 40), [(60, 60), (60, 30)], 0.9)
    beside = (201, at + 2, (40, 40), [(64, 60), (64, 30)], 0.6)
    apart = (900, at + 100, (40, 40), [(160, 160), (160, 130)], 0.8)
    unsure = (300, at, (40, 40), [(0, 0), (0, 0)], 0.4)
    first, second = decode(*tensors(beside, near, apart, unsure), INPUT_PX, INPUT_PX)
    assert first.score == pytest.approx(0.9)
    assert first.alignment_px[0, 0] == pytest.approx((0.9 * 60 + 0.6 * 64) / 1.5, abs=1e-3)
    assert second.alignment_px[0] == pytest.approx([160, 160], abs=1e-3)


def test_boxes_that_are_none_are_dropped():
    boxes, scores = tensors((5, np.array([50, 50]), (-3, 20), [(50, 50), (50, 20)], 0.9))
    assert decode(boxes, scores, 224, 224) == []
    boxes, scores = tensors((5, np.array([np.nan, 50]), (3, 20), [(50, 50), (50, 20)], 0.9))
    assert decode(boxes, scores, 224, 224) == []
    (flat,) = decode(*tensors((5, np.array([50, 50]), (0, 20), [(50, 50), (50, 20)], 0.9)), 224, 224)
    assert flat.alignment_px[0] == pytest.approx([50, 50], abs=1e-3)


def test_a_tile_is_centred_with_black_around_it():
    square = input_tensor(np.full((100, 50, 3), 255, np.uint8))
    assert square.shape == (1, INPUT_PX, INPUT_PX, 3)
    assert square.dtype == np.float32
    assert square[0, :-4, 60:164].min() == pytest.approx(1)
    assert square[0, :, :50].max() == pytest.approx(-1)
    assert square[0, :, 174:].max() == pytest.approx(-1)
