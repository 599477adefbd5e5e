"""Colours that tell how sure a body is of its parts."""

import dataclasses

import numpy as np
import pytest

from body4d.bodies.registry import rig_of
from body4d.config import PictureSettings
from body4d.core.joints import Body29
from body4d.render.certainty import UNCERTAIN_COLOUR, nearest_joints, tint_by_uncertainty, vertex_uncertainty
from body4d.render.frame_renderer import FrameRenderer
from body4d.render.poses import ScenePoser
from scenes import make_scene

SHOWN = PictureSettings(show_uncertainty=True, panel_height_px=180, sheet_cell_px=64, sheet_moments=2)


@pytest.fixture(scope="module")
def scene():
    """Two people; the first one's left wrist and hand are unsure from the third frame on, the rest of both is sure."""
    made = make_scene(people=2, frames=5)
    sigma = np.full(made.people[0].joints_m.shape[:2], SHOWN.sure_m / 2, np.float32)
    hand = [Body29.LEFT_WRIST, *(joint for joint in Body29 if joint.name.startswith("LEFT_") and joint >= 23)]
    sigma[2:, hand] = 2 * SHOWN.unsure_m
    people = tuple(dataclasses.replace(track, joint_sigma_m=sigma if i == 0 else sigma * 0) for i, track in enumerate(made.people))
    return dataclasses.replace(made, people=people)


def test_the_unsure_hand_is_unsure_and_nothing_else(scene):
    track = scene.people[0]
    rig = rig_of(track)
    doubts = vertex_uncertainty(rig, track, slice(0, 5), SHOWN)
    assert doubts is not None
    assert doubts.shape == (5, len(rig.rest_vertices_m))
    assert doubts[:2].max() == 0
    wrist = rig.keypoint_anchors_m.sum(1)[Body29.LEFT_WRIST]
    near = np.linalg.norm(rig.rest_vertices_m - wrist, axis=-1) < 0.05
    far = np.linalg.norm(rig.rest_vertices_m - wrist, axis=-1) > 0.6
    assert doubts[2:, near].min() > 0.5
    assert doubts[2:, far].max() < 0.2
    assert doubts.max() <= 1


def test_every_point_of_the_skin_takes_whole_shares_of_joints_nearby(scene):
    rig = rig_of(scene.people[0])
    nearest, weights = nearest_joints(rig)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert set(np.unique(nearest)) <= set(range(len(Body29)))


@pytest.mark.parametrize("change", [{"show_uncertainty": False}, {}])
def test_not_asked_or_not_known_is_the_plain_colour(scene, change):
    track = scene.people[0] if change else dataclasses.replace(scene.people[0], joint_sigma_m=None)
    assert vertex_uncertainty(rig_of(track), track, slice(0, 5), SHOWN.model_copy(update=change)) is None
    np.testing.assert_allclose(tint_by_uncertainty((51, 102, 255), None), [0.2, 0.4, 1.0])


def test_what_is_unknown_of_a_joint_is_unsure(scene):
    track = scene.people[0]
    sigma = track.joint_sigma_m.copy()
    sigma[0] = np.nan
    doubts = vertex_uncertainty(rig_of(track), dataclasses.replace(track, joint_sigma_m=sigma), slice(0, 1), SHOWN)
    assert doubts is not None
    np.testing.assert_allclose(doubts, 1, atol=1e-6)


def test_tints_go_from_the_own_colour_to_magenta():
    got = tint_by_uncertainty((0, 0, 0), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(got * 255, [[0, 0, 0], np.array(UNCERTAIN_COLOUR) / 2, UNCERTAIN_COLOUR])


def test_pictures_show_it(scene):
    """The overlay differs where the unsure hand is drawn, and nowhere else among the bodies; the key stands in the views."""
    grey = np.full((scene.clip.height_px, scene.clip.width_px, 3), 90, np.uint8)
    plain = SHOWN.model_copy(update={"show_uncertainty": False})
    pictures = {}
    for settings in (SHOWN, plain):
        poser = ScenePoser(scene, settings)
        pictures[settings.show_uncertainty] = [FrameRenderer(scene, settings).pictures(frame, grey, poser.at(frame)) for frame in (0, 3)]
    np.testing.assert_array_equal(pictures[True][0].overlay, pictures[False][0].overlay)
    changed = np.abs(pictures[True][1].overlay.astype(int) - pictures[False][1].overlay).max(-1) > 8
    assert changed.any()
    wrist_px = scene.camera.project(scene.people[0].joint("left_wrist")[3].astype(float))
    rows, columns = np.nonzero(changed)
    assert np.hypot(columns + 0.5 - wrist_px[0], rows + 0.5 - wrist_px[1]).max() < 0.6 * scene.camera.focal_px / 3.0
    assert (pictures[True][0].views != pictures[False][0].views).any()
