"""Colours, opacity and uncertainty of bodies, decided without any picture."""

import dataclasses

import numpy as np
import pytest

from body4d.bodies.registry import rig_of
from body4d.core.joints import Body29
from body4d.core.types import BodyTrack
from body4d.render.style import (
    CERTAIN_SIGMA_M,
    FAINT_OPACITY,
    UNCERTAIN_COLOUR,
    UNCERTAIN_SIGMA_M,
    body_opacity,
    nearest_joints,
    person_colour,
    tint_by_uncertainty,
    uncertainty_share,
    vertex_uncertainty,
)
from scenes import make_clip, make_scene


def track(
    observed: list[bool], confidence: list[float] | None = None, frames: list[int] | None = None, speed_mps: float = 0.0
) -> BodyTrack:
    t = len(observed)
    index = np.array(frames if frames is not None else range(t), dtype=np.int64)
    joints = np.zeros((t, 29, 3), np.float32)
    joints[:, 9, 0] = index * speed_mps / 10  # The clip of these tests runs at 10 frames/s.
    return BodyTrack(
        person_id=1,
        body="anny",
        frame_index=index,
        shape=np.zeros(7, np.float32),
        rotations=np.zeros((t, 1, 3), np.float32),
        translation_m=np.zeros((t, 3), np.float32),
        joints_m=joints,
        keypoints_px=np.zeros((t, 29, 2), np.float32),
        visibility=np.ones((t, 29), np.float32),
        confidence=np.array(confidence if confidence is not None else [1.0] * t, np.float32),
        observed=np.array(observed),
    )


TIMES_S = np.arange(40) / 10


def test_colours_differ_for_the_first_twenty_people() -> None:
    colours = {person_colour(place) for place in range(20)}
    assert len(colours) == 20
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)


def test_bridged_and_untrusted_stretches_are_faint_and_the_rest_is_solid() -> None:
    observed = [True] * 10 + [False] * 10 + [True] * 20
    confidence = [0.9] * 30 + [0.05] * 10
    shown = body_opacity(track(observed, confidence), TIMES_S)
    np.testing.assert_allclose(shown[:9], 1)
    np.testing.assert_allclose(shown[11:19], FAINT_OPACITY)
    np.testing.assert_allclose(shown[21:29], 1)
    np.testing.assert_allclose(shown[31:], FAINT_OPACITY)


def test_one_untrusted_frame_fades_instead_of_flickering() -> None:
    times = np.arange(40) / 60
    shown = body_opacity(track([True] * 20 + [False] + [True] * 19), times)
    assert FAINT_OPACITY < shown[20] < 1
    assert np.abs(np.diff(shown)).max() < 0.5 * (1 - FAINT_OPACITY)


def test_fading_knows_time_not_rows() -> None:
    """Across an absence of a second nothing is averaged."""
    shown = body_opacity(track([True] * 5 + [False] * 5, frames=[*range(5), *range(15, 20)]), TIMES_S)
    np.testing.assert_allclose(shown, [1] * 5 + [FAINT_OPACITY] * 5)


def test_opacity_of_nobody_is_empty() -> None:
    empty = dataclasses.replace(track([True]), frame_index=np.zeros(0, np.int64), **_empty())
    assert body_opacity(empty, make_clip(3).times_s).shape == (0,)


def _empty() -> dict[str, np.ndarray]:
    whole = track([True])
    names = ("rotations", "translation_m", "joints_m", "keypoints_px", "visibility", "confidence", "observed")
    return {name: getattr(whole, name)[:0] for name in names}


@pytest.fixture(scope="module")
def uncertain_scene():
    """One person whose left wrist and hand are uncertain from the third frame on; the rest is certain."""
    made = make_scene(frames=5)
    sigma = np.full(made.people[0].joints_m.shape[:2], CERTAIN_SIGMA_M / 2, np.float32)
    sigma[2:, [Body29.LEFT_WRIST, *(joint for joint in Body29 if joint.name.startswith("LEFT_") and joint >= 23)]] = 2 * UNCERTAIN_SIGMA_M
    return dataclasses.replace(made, people=(dataclasses.replace(made.people[0], joint_sigma_m=sigma),))


@pytest.mark.slow  # Anny is set up
def test_the_uncertain_hand_is_uncertain_and_nothing_else(uncertain_scene):
    track = uncertain_scene.people[0]
    rig = rig_of(track)
    uncertainty = vertex_uncertainty(rig, track, slice(0, 5))
    assert uncertainty.shape == (5, len(rig.rest_vertices_m))
    assert uncertainty[:2].max() == 0
    wrist = rig.keypoint_anchors_m.sum(1)[Body29.LEFT_WRIST]
    near = np.linalg.norm(rig.rest_vertices_m - wrist, axis=-1) < 0.05
    far = np.linalg.norm(rig.rest_vertices_m - wrist, axis=-1) > 0.6
    assert uncertainty[2:, near].min() > 0.5
    assert uncertainty[2:, far].max() < 0.2
    assert uncertainty.max() <= 1


@pytest.mark.slow  # Anny is set up
def test_weights_of_the_joints_near_a_vertex_sum_to_one(uncertain_scene):
    nearest, weights = nearest_joints(rig_of(uncertain_scene.people[0]))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert set(np.unique(nearest)) <= set(range(len(Body29)))


@pytest.mark.slow  # Anny is set up
def test_a_track_without_sigma_has_no_uncertainty_and_the_plain_colour(uncertain_scene):
    track = dataclasses.replace(uncertain_scene.people[0], joint_sigma_m=None)
    assert vertex_uncertainty(rig_of(track), track, slice(0, 5)) is None
    np.testing.assert_allclose(tint_by_uncertainty((51, 102, 255), None), [0.2, 0.4, 1.0])


@pytest.mark.slow  # Anny is set up
def test_a_joint_of_unknown_sigma_is_uncertain(uncertain_scene):
    track = uncertain_scene.people[0]
    sigma = track.joint_sigma_m.copy()
    sigma[0] = np.nan
    uncertainty = vertex_uncertainty(rig_of(track), dataclasses.replace(track, joint_sigma_m=sigma), slice(0, 1))
    np.testing.assert_allclose(uncertainty, 1, atol=1e-6)


def test_tints_go_from_the_own_colour_to_magenta():
    got = tint_by_uncertainty((0, 0, 0), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(got * 255, [[0, 0, 0], np.array(UNCERTAIN_COLOUR) / 2, UNCERTAIN_COLOUR])


def test_uncertainty_rises_by_the_logarithm_of_sigma():
    certain, uncertain = CERTAIN_SIGMA_M, UNCERTAIN_SIGMA_M
    shares = uncertainty_share(np.array([0.0, certain, np.sqrt(certain * uncertain), uncertain, 9.0]))
    np.testing.assert_allclose(shares, [0, 0, 0.5, 1, 1], atol=1e-9)
    assert np.all(np.diff(uncertainty_share(np.linspace(certain, uncertain, 20))) > 0)
