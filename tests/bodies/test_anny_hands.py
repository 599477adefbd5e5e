"""Fingers close towards the palm, on both hands, and only where something is held."""

import numpy as np
import pytest

from body4d.bodies.anny import DEFAULT_SHAPE, anny_body
from body4d.bodies.anny_hands import curled_hands


@pytest.mark.parametrize("side", ["L", "R"])
def test_a_gripping_hand_closes_towards_the_thumb(side):
    rig = anny_body().rig(DEFAULT_SHAPE)
    at = {name: j for j, name in enumerate(rig.joint_names)}
    still = np.zeros((2, len(rig.parents), 3))
    opened, closed = (rig.forward(curled_hands(rig, still, np.full(2, held)), np.zeros((2, 3)))[1][0] for held in (0.0, 1.0))
    thumb = f"finger1-3.{side}"
    for finger in (2, 3, 4, 5):
        tip = f"finger{finger}-3.{side}"
        before = np.linalg.norm(opened[at[tip]] - opened[at[thumb]])
        after = np.linalg.norm(closed[at[tip]] - closed[at[thumb]])
        assert after < before - 0.005, tip
        assert np.linalg.norm(closed[at[tip]] - closed[at[f"wrist.{side}"]]) < np.linalg.norm(opened[at[tip]] - opened[at[f"wrist.{side}"]])


def test_nothing_but_fingers_moves():
    rig = anny_body().rig(DEFAULT_SHAPE)
    turned = curled_hands(rig, np.zeros((3, len(rig.parents), 3)), np.ones(3))
    moved = {rig.joint_names[j] for j in np.flatnonzero(np.abs(turned).sum((0, 2)))}
    assert len(moved) == 30
    assert all(name.startswith("finger") for name in moved)
