"""The rules on amodal masks: the published answers, and tables of cases."""

import os
from pathlib import Path

import numpy as np
import pytest

from body4d.models.diffusion_vas.amodal_checks import (
    check_amodal_masks,
    find_jumps,
    is_leaving,
    is_sliver,
    largest_component,
    spans_image,
    thinness,
)
from body4d.tracking.masks import mask_box

GOLDEN = Path(os.environ.get("BODY4D_SHARED", "")) / "goldens" / "body4d_smoothing_A.npz"
FRAME = (200.0, 120.0)


@pytest.mark.skipif(not GOLDEN.is_file(), reason="needs goldens/body4d_smoothing_A.npz under $BODY4D_SHARED")
def test_rules_say_what_the_published_code_said() -> None:
    data = np.load(GOLDEN)
    height, width = data["mask/shape"]
    masks = np.unpackbits(data["mask/masks_packed"], axis=-1)[..., :width].astype(bool)
    assert len({tuple(row[:2]) for row in data["mask/results"]}) > 1
    for mask, (long, thin, area, *_, w, h) in zip(masks, data["mask/results"], strict=True):
        box = mask_box(mask)
        assert spans_image(box, width, height) == bool(long)
        assert is_sliver(box) == bool(thin)
        assert np.count_nonzero(largest_component(mask)) == area
        np.testing.assert_allclose(box[2:] - box[:2], np.nan_to_num([w, h]) * [width, height], atol=1e-6)


@pytest.mark.parametrize(
    ("box", "large", "sliver", "leaving"),
    [
        ((50, 20, 80, 90), False, False, False),
        ((50, 20, 189, 60), False, False, False),
        ((50, 20, 190, 60), True, False, False),
        ((50, 10, 80, 94), True, False, False),
        ((50, 10, 80, 93), False, False, False),
        ((50, 10, 59, 55), False, False, False),
        ((50, 10, 58, 55), False, True, False),
        ((50, 10, 95, 18), False, True, False),
        ((0, 20, 10, 60), False, False, True),
        ((0, 20, 11, 60), False, False, False),
        ((190, 20, 200, 60), False, False, True),
        ((50, 114, 60, 120), False, False, True),
        ((0, 0, 0, 0), False, False, True),
    ],
    ids=str,
)
def test_rules_on_boxes(box: tuple[int, ...], large: bool, sliver: bool, leaving: bool) -> None:
    b = np.array(box, float)
    assert (spans_image(b, *FRAME), is_sliver(b), is_leaving(b, *FRAME)) == (large, sliver, leaving)


def test_thinness_is_the_same_lying_down() -> None:
    assert thinness(np.array([0, 0, 10, 40])) == thinness(np.array([0, 0, 40, 10])) == 0.25


def boxes(*left: float, width: float = 20, height: float = 80) -> np.ndarray:
    return np.array([[x, 20, x + width, 20 + height] for x in left])


@pytest.mark.parametrize(
    ("amodal", "visible", "areas", "jumps"),
    [
        ((50, 50, 50, 50), (50, 50, 50, 50), (9, 9, 9, 9), ""),
        ((50, 50, 75, 50), (50, 50, 50, 50), (9, 9, 9, 9), "2"),  # jumps by 25 of 80
        ((50, 50, 69, 50), (50, 50, 50, 50), (9, 9, 9, 9), ""),  # 19 of 80
        ((50, 75, 100, 125), (50, 75, 100, 125), (9, 9, 9, 9), ""),  # runs
        ((50, 50, 75, 75), (50, 50, 50, 50), (9, 9, 9, 9), ""),  # a lasting change
        ((75, 50, 50, 50), (50, 50, 50, 50), (9, 9, 9, 9), "0"),
        ((50, 50, 50, 75), (50, 50, 50, 50), (9, 9, 9, 9), "3"),
        ((50, 50, 50, 50), (50, 50, 50, 50), (9, 18, 9, 9), "1"),
        ((50, 50, 50, 50), (50, 50, 50, 50), (9, 15, 9, 9), ""),
        ((50, 50, 50, 50), (50, 50, 50, 50), (18, 18, 9, 18), "2"),
    ],
)
def test_jumps(amodal: tuple[int, ...], visible: tuple[int, ...], areas: tuple[int, ...], jumps: str) -> None:
    found = find_jumps(boxes(*amodal), boxes(*visible), np.array(areas) * 100)
    assert "".join(map(str, np.flatnonzero(found))) == jumps


def test_one_frame_has_no_neighbour_to_jump_from() -> None:
    assert find_jumps(boxes(50), boxes(50), np.array([900])).tolist() == [False]


def picture(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((60, 100), bool)
    mask[y0:y1, x0:x1] = True
    return mask


WHOLE = picture(40, 10, 52, 50)  # 12 x 40, 480 pixels; 24 x 80 in a frame of 200 x 120


@pytest.mark.parametrize(
    ("visible", "amodal", "fault", "share", "hidden"),
    [
        (WHOLE, WHOLE, "", 1.0, False),
        (picture(40, 10, 52, 39), WHOLE, "", 29 / 40, False),
        (picture(40, 10, 52, 37), WHOLE, "", 27 / 40, True),
        (picture(40, 10, 44, 50), WHOLE, "", 4 / 12, True),
        (WHOLE, picture(40, 10, 52, 45), "smaller", 1.0, False),
        (picture(0, 0, 0, 0), WHOLE, "empty", 1.0, False),
        (WHOLE, picture(0, 0, 0, 0), "empty", 1.0, False),
        (picture(40, 10, 52, 30), picture(5, 10, 80, 50), "too_large", 1.0, False),
        (picture(40, 10, 52, 30), picture(40, 10, 46, 50), "sliver", 1.0, False),
        (picture(0, 10, 3, 40), picture(0, 10, 5, 50), "leaving", 1.0, False),
    ],
)
def test_check(visible: np.ndarray, amodal: np.ndarray, fault: str, share: float, hidden: bool) -> None:
    found = check_amodal_masks(visible[None], amodal[None], FRAME, (24.0, 80.0), np.array([2.0, 2.0]), np.zeros(2))
    assert found.faults == (fault,)
    assert found.visible_share[0] == pytest.approx(share)
    assert found.hidden.tolist() == [hidden]


def test_somebody_who_fills_a_portrait_clip_may_be_hidden() -> None:
    """84 of 100 lines tall, as they are throughout: the published rule would find no amodal mask of theirs credible."""
    visible, whole = picture(40, 5, 60, 30), picture(40, 5, 60, 47)
    found = check_amodal_masks(visible[None], whole[None], (200.0, 100.0), (40.0, 84.0), np.array([2.0, 2.0]), np.zeros(2))
    assert found.faults == ("",)
    assert found.hidden.all()


def test_somebody_who_stands_sideways_may_be_hidden() -> None:
    visible, whole = picture(40, 10, 45, 35), picture(40, 10, 47, 50)
    assert is_sliver(mask_box(whole))
    found = check_amodal_masks(visible[None], whole[None], FRAME, (14.0, 80.0), np.array([2.0, 2.0]), np.zeros(2))
    assert found.faults == ("",)
