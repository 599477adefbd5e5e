"""How far a body of one picture is to be trusted: tables on made-up masks."""

import numpy as np
import pytest

from body4d.config import Sam3dBodySettings
from body4d.core.joints import Coco17, Mhr70
from body4d.models.sam3d_body.agreement import HANDS, MAIN, frame_confidence, inside_picture, keypoint_visibility, mask_agreement

SETTINGS = Sam3dBodySettings()
W, H = 200, 300


def person() -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[50:250, 80:120] = True
    return mask


def test_main_joints_are_those_of_coco() -> None:
    assert [Mhr70(i).name for i in MAIN] == [joint.name for joint in Coco17]


def test_hands_cover_each_finger_and_its_wrist() -> None:
    names = [joint.name for joint in Mhr70]
    for side, part in HANDS.items():
        assert len(names[part]) == 21
        assert all(name.startswith(side.upper()) for name in names[part])


@pytest.mark.parametrize(
    ("what", "point", "share"),
    [
        ("on it", (100, 100), 1.0),
        ("its last column", (119.9, 100), 1.0),
        ("as near as 3 % of 200 px", (125, 100), 1.0),
        ("farther", (127, 100), 0.0),
        ("outside the picture", (-3, 100), 0.0),
        ("nowhere", (np.nan, 100), 0.0),
    ],
)
def test_agreement_of_one_point(what: str, point: tuple[float, float], share: float) -> None:
    assert mask_agreement(np.array([point]), person(), 0.03) == share


def test_agreement_is_a_share_and_an_empty_mask_agrees_with_nothing() -> None:
    points = np.array([[100, 100], [100, 200], [10, 10], [100, 240.0]])
    assert mask_agreement(points, person(), 0.03) == 0.75
    assert mask_agreement(points, np.zeros((H, W), bool), 0.03) == 0.0


def test_confidence_counts_main_joints_alone_and_keeps_a_floor() -> None:
    points = np.full((70, 2), [10.0, 10.0])
    assert frame_confidence(points, person(), SETTINGS) == SETTINGS.least_confidence
    points[MAIN] = [100, 100]
    assert frame_confidence(points, person(), SETTINGS) == 1.0
    points[MAIN[:5]] = [10, 10]
    assert frame_confidence(points, person(), SETTINGS) == pytest.approx(12 / 17)


def test_visibility_of_hands_guessed_and_of_points_outside() -> None:
    points = np.full((2, 70, 2), 100.0)
    points[1, Mhr70.NOSE] = [W, 10]
    out = keypoint_visibility(points, np.array([[True, False], [True, True]]), W, H, SETTINGS)
    assert (out[0, HANDS["left"]] == 1).all()
    assert (out[0, HANDS["right"]] == np.float32(SETTINGS.hand_guess_visibility)).all()
    assert out[1, Mhr70.NOSE] == np.float32(SETTINGS.outside_visibility)
    assert (np.delete(out[1], Mhr70.NOSE) == 1).all()
    assert not inside_picture(np.array([W, 10]), W, H)
