"""World errors of paths and ways whose faults are known."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.core.camera import Camera, CameraPath
from body4d.core.joints import Body29
from body4d.core.types import BodyTrack, Clip, MaskTrack, Scene
from body4d.evaluate.world import WorldScore, camera_kind, score_camera, score_world, world_table
from body4d.geometry.rotations import rotvec_to_matrix

T, NAMES = 150, [j.name.lower() for j in Body29]
FRAMES = np.arange(T)
EXACT = np.zeros(T)
LENS = Camera(500.0, 320.0, 180.0, 640, 360)


def path(places, yaw_deg, focal=None) -> CameraPath:
    out = np.tile(np.eye(4), (T, 1, 1))
    out[:, :3, :3] = rotvec_to_matrix(np.array([0.0, 1, 0]) * np.radians(yaw_deg)[:, None])
    out[:, :3, 3] = places
    return CameraPath("moving", out, np.full(T, 500.0) if focal is None else focal, EXACT, EXACT, EXACT)


def camera(*args):
    made = path(*args)
    return dataclasses.replace(LENS, static=False, focal_px=float(made.focal_px[0]), path=made)


ALONG = np.stack([FRAMES / 50, 0 * FRAMES, 0 * FRAMES], -1)  # 2.98 m
YAW = FRAMES / 5.0
TRUE = camera(ALONG, YAW)


def test_a_path_scores_perfectly_against_itself():
    score = score_camera(TRUE, TRUE, FRAMES)
    assert (score.true_kind, score.called, score.path_m) == ("moving", "moving", pytest.approx(2.98))
    assert (score.rotation_max_deg, score.position_max_m) == (pytest.approx(0, abs=1e-5), 0)
    assert (score.path_error_share, score.path_scale, score.focal_max_share) == (0, pytest.approx(1), 0)


def test_faults_of_rotation_length_and_lens_come_out_as_they_were_made():
    zoom = 500 * 1.02 ** (FRAMES / (T - 1))
    score = score_camera(camera(0.5 * ALONG, YAW + 2.0 * FRAMES / (T - 1), zoom * 1.01), TRUE, FRAMES)
    assert score.rotation_max_deg == pytest.approx(2.0, abs=1e-6)
    assert score.rotation_error_deg == pytest.approx(1.0, abs=1e-6)
    assert score.rotation_p90_deg == pytest.approx(1.8, abs=1e-6)
    assert score.path_error_share == pytest.approx(0.25)  # half as long: half way off at the end
    assert score.scaled_path_error_share == pytest.approx(0, abs=1e-9)
    assert score.path_scale == pytest.approx(0.5)
    assert score.focal_max_share == pytest.approx(0.0302, abs=1e-4)
    assert score.zoom_max_share == pytest.approx(0.02)


def test_a_run_of_later_frames_is_compared_from_its_own_first_frame():
    later = FRAMES[40:]
    T_true = TRUE.T_reference_camera_at(FRAMES)
    T_later = np.linalg.inv(T_true[40]) @ T_true[later]
    exact = np.zeros(len(later))
    cut = CameraPath("moving", T_later, TRUE.focal_px_at(later), exact, exact, exact)
    score = score_camera(dataclasses.replace(TRUE, path=cut), TRUE, later)
    assert score.rotation_max_deg == pytest.approx(0, abs=1e-5)
    assert score.position_max_m == pytest.approx(0, abs=1e-9)


def test_kinds_and_a_camera_taken_for_static():
    assert camera_kind(LENS) == "static"
    assert camera_kind(dataclasses.replace(LENS, static=False)) == "unknown"
    score = score_camera(LENS, TRUE, FRAMES)
    assert (score.true_kind, score.called) == ("moving", "static")
    assert score.rotation_max_deg == pytest.approx(YAW[-1], abs=1e-6)
    assert np.isnan(score.path_scale)
    assert np.isnan(score_camera(LENS, LENS, FRAMES).path_error_share)  # no length to be a share of


def walker():
    """Joints (T, 29, 3) in the world, y up: somebody who walks 4.5 m along x; in every other second the left foot rests."""
    rng = np.random.default_rng(0)
    body = rng.normal(size=(1, 29, 3)) * 0.2 + [0, 1.0, 0]
    world = body + np.stack([0.03 * FRAMES, 0 * FRAMES, 0 * FRAMES], -1)[:, None]
    for name in ("left_heel", "left_big_toe"):
        k = NAMES.index(name)
        world[:, k, 0] = 1.8 * np.floor(FRAMES / 60) + np.clip(FRAMES % 60 - 30, 0, 30) * 0.06
    return world


FLIP = np.diag([1.0, -1, -1, 1])
WORLD = FLIP.copy()
WORLD[:3, 3] = (0, 1.5, 4)


def scene(world, lens, T_world_camera=WORLD):
    clip = Clip(Path("clip.mp4"), 640, 360, Fraction(30), FRAMES / 30.0, FRAMES)
    there = np.linalg.inv(T_world_camera @ lens.T_reference_camera_at(FRAMES))
    joints = np.einsum("tab,tkb->tka", there[:, :3, :3], world) + there[:, None, :3, 3]
    person = BodyTrack(
        1, "anny", FRAMES, np.zeros(7), np.zeros((T, 2, 3)), joints[:, 0], joints, np.full((T, 29, 2), np.nan), np.ones((T, 29)),
        np.ones(T), np.ones(T, bool),
    )  # fmt: skip
    return Scene(clip, lens, (person,), T_world_camera)


MASKS = (MaskTrack(1, FRAMES, (MaskTrack.encode(np.eye(36, 64, dtype=bool)),) * T, 36, 64),)


def score(found, true) -> WorldScore:
    return score_world(found, MASKS, true, MASKS)


def test_a_body_is_compared_in_the_world_whatever_the_axes_of_cameras_and_worlds():
    turned = np.eye(4)
    turned[:3, :3] = rotvec_to_matrix(np.array([0, 0.7, 0]))
    turned[:3, 3] = (3, 0, 1)
    other = camera(0.2 * ALONG, -YAW)  # another camera's truth of the same walk, in another world
    person = score(scene(np.einsum("ab,tkb->tka", turned[:3, :3], walker()) + turned[:3, 3], other), scene(walker(), TRUE)).people[0]
    assert person.w_mpjpe100_mm == pytest.approx(0, abs=1e-6)
    assert person.wa_mpjpe100_mm == pytest.approx(0, abs=1e-6)
    assert person.root_translation_error_share == pytest.approx(0, abs=1e-9)
    assert (person.walked_m, person.true_walked_m) == (pytest.approx(4.47), pytest.approx(4.47))
    assert person.foot_sliding_mm == pytest.approx(0, abs=1e-6)
    assert person.climbed_m == pytest.approx(0, abs=1e-9)


def test_drift_and_a_way_too_short_are_told():
    drift = walker()
    drift[..., 2] += (0.002 * FRAMES)[:, None]
    found = score(scene(drift, TRUE), scene(walker(), TRUE)).people[0]
    assert found.w_mpjpe100_mm > 1.2 * found.wa_mpjpe100_mm > 10  # the window's start alone does not take the drift away
    assert found.foot_sliding_mm == pytest.approx(2.0, abs=1e-6)
    sinking = walker()
    sinking[..., 1] -= (0.001 * FRAMES)[:, None]
    assert score(scene(sinking, TRUE), scene(walker(), TRUE)).people[0].climbed_m == pytest.approx(0.149)
    short = walker()
    short[..., 0] -= (0.003 * FRAMES)[:, None]
    assert score(scene(short, TRUE), scene(walker(), TRUE)).people[0].walked_error_share == pytest.approx(-0.1)


def test_the_world_taken_for_static_under_a_moving_camera_slides():
    true = scene(walker(), TRUE)
    taken = dataclasses.replace(true, camera=LENS)
    person = score(taken, true).people[0]
    assert person.foot_sliding_mm > 20
    assert person.wa_mpjpe100_mm > 100


def test_nobody_found_has_no_figures():
    empty = dataclasses.replace(scene(walker(), TRUE), people=())
    person = score_world(empty, (), scene(walker(), TRUE), MASKS).people[0]
    assert (person.person_id, person.frames) == (None, 0)
    assert np.isnan(person.w_mpjpe100_mm)


def test_the_table_shows_the_camera_and_everybody():
    text = world_table(score(dataclasses.replace(scene(walker(), TRUE), camera=LENS), scene(walker(), TRUE)))
    assert text.startswith("camera moving, called static\n")
    assert next(line for line in text.splitlines() if line.startswith("walked (m)")).split()[-1] != "–"
    assert next(line for line in text.splitlines() if line.startswith("path's length")).split()[-1] == "–"
