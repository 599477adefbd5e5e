import dataclasses

import numpy as np
import pytest

from body4d.core.joints import Body29
from body4d.core.types import BodyTrack, Camera
from body4d.geometry.rotations import rotvec_to_matrix
from body4d.motion.ground_plane import floor_transform, sole_m
from scenes import track_of_joints

CAMERA = Camera(focal_px=600, cx_px=640, cy_px=360, width_px=1280, height_px=720)
FEET = [j for j in Body29 if j.name.endswith(("TOE", "HEEL"))]


def camera_pose(pitch_deg=0.0, roll_deg=0.0, height_m=1.5):
    """T_camera_world of a camera ``height_m`` above the world's origin that looks along -z, down by ``pitch_deg``."""
    T = np.eye(4)
    T[:3, :3] = (
        rotvec_to_matrix(np.radians([pitch_deg, 0, 0])) @ rotvec_to_matrix(np.radians([0, 0, roll_deg])) @ np.diag([1.0, -1.0, -1.0])
    )
    T[:3, 3] = -T[:3, :3] @ [0, height_m, 0]
    return T


def person(T_camera_world, places, lifts=0.0, person_id=1, noise_m=0.0, facing_rad=0.0, observed=None):
    """Somebody whose feet are at ``places`` (T, 2) = world x, z, ``lifts`` (T,) above the floor; hips 0.9 m over them."""
    T = len(places)
    rng = np.random.default_rng(person_id)
    world = np.zeros((T, 29, 3))
    world[:, :, 0], world[:, :, 2] = places[:, :1], places[:, 1:]
    world[:, :, 1] = 0.9
    for j in FEET:
        across = -0.15 if j.name.startswith("LEFT") else 0.15
        along = 0.0 if j.name.endswith("HEEL") else 0.2
        world[:, j] += [np.cos(facing_rad) * across + np.sin(facing_rad) * along, -0.9, np.cos(facing_rad) * along]
    world[..., 1] += np.broadcast_to(lifts, T)[:, None]
    world += rng.normal(0, noise_m, world.shape)
    joints = world @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
    return track_of_joints(joints, person_id=person_id, observed=np.ones(T, bool) if observed is None else observed)


def stroll(seed=0, frames=200):
    """Places that wander some metres about, 3 to 8 m before the camera."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 2 * np.pi, frames)
    phase = rng.uniform(0, 6, 2)
    return np.stack([1.5 * np.sin(t + phase[0]), -5.5 + 2.2 * np.sin(2 * t + phase[1])], -1)


def up_in_camera(T_world_camera):
    return T_world_camera[1, :3]


def angle_deg(a, b):
    return np.degrees(np.arccos(np.clip(a @ b, -1, 1)))


def height_over_floor(T_world_camera, T_camera_world, place):
    """Height in the estimated world of the true floor point at world ``place`` = x, z."""
    return (T_world_camera @ T_camera_world @ [place[0], 0, place[1], 1])[1]


@pytest.mark.parametrize(
    ("pitch_deg", "roll_deg", "max_deg"), [(0, 0, 0.5), (10, 0, 1), (-8, 0, 1), (0, 6, 1.5), (25, -4, 2)], ids=lambda v: str(v)
)
def test_people_who_walk_about_determine_the_tilt(pitch_deg, roll_deg, max_deg):
    T_camera_world = camera_pose(pitch_deg, roll_deg)
    people = [person(T_camera_world, stroll(n), person_id=n, noise_m=0.01) for n in (1, 2)]
    T = floor_transform(people, CAMERA)
    assert angle_deg(up_in_camera(T), T_camera_world[:3, :3] @ [0, 1, 0]) < max_deg
    for place in stroll(3)[::40]:
        assert abs(height_over_floor(T, T_camera_world, place)) < 0.12


@pytest.mark.parametrize("pitch_deg", [0, 4])
def test_axes_and_origin(pitch_deg):
    T_camera_world = camera_pose(pitch_deg)
    first = person(T_camera_world, stroll(1))
    T = floor_transform([first, person(T_camera_world, stroll(2), person_id=2)], CAMERA)
    R = T[:3, :3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(R) == pytest.approx(1)
    forward, right = R @ [0, 0, 1], R @ [1, 0, 0]
    assert forward[2] < -0.95
    assert abs(forward[0]) < 1e-9
    assert right[0] > 0.95
    pelvis = T @ np.append(first.joints_m[0, [Body29.LEFT_HIP, Body29.RIGHT_HIP]].mean(0), 1)
    np.testing.assert_allclose(pelvis[[0, 2]], 0, atol=1e-9)
    assert pelvis[1] == pytest.approx(0.9, abs=0.05)


def test_a_level_camera_over_a_flat_floor_is_exact():
    T_camera_world = camera_pose(0, height_m=1.2)
    T = floor_transform([person(T_camera_world, stroll())], CAMERA)
    np.testing.assert_allclose(T[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-6)
    assert T[1, 3] == pytest.approx(1.2, abs=1e-6)


def test_one_person_standing_still_leaves_the_camera_level():
    """Their feet are 4 cm apart in height, by an error in depth: over a stance that does not show a tilt of 6 degrees."""
    T_camera_world = camera_pose(0)
    track = person(T_camera_world, np.tile([0.0, -4.0], (300, 1)), noise_m=0.005)
    track.joints_m[:, [j for j in FEET if j.name.startswith("LEFT")], 1] += 0.04
    T = floor_transform([track], CAMERA)
    assert angle_deg(up_in_camera(T), np.array([0, -1, 0])) < 2.0
    assert abs(height_over_floor(T, T_camera_world, (0, -4))) < 0.06


def test_gravity_that_the_picture_shows_straightens_the_floor_of_one_who_leans():
    """The body is fitted 8 degrees too far back along the view, by an error in depth; posts show a camera that looks down."""
    T_camera_world = camera_pose(15)
    track = person(T_camera_world, np.tile([0.0, -4.0], (100, 1)), noise_m=0.005)
    feet = track.joints_m[:, FEET].mean(1, keepdims=True)
    track.joints_m[:] = feet + (track.joints_m - feet) @ rotvec_to_matrix(np.radians([8.0, 0, 0])).T
    up = T_camera_world[:3, :3] @ [0, 1, 0]
    gravity = dataclasses.replace(CAMERA, gravity=tuple((-up).tolist()), gravity_sigma_deg=(2.5, 1.0))
    without, with_it = (angle_deg(up_in_camera(floor_transform([track], camera)), up) for camera in (CAMERA, gravity))
    assert with_it < 2.5
    assert with_it < without - 2


def test_somebody_who_jumps_does_not_lift_the_floor():
    lifts = np.maximum(0, 0.5 * np.sin(np.linspace(0, 40, 300)))
    T_camera_world = camera_pose(0)
    T = floor_transform([person(T_camera_world, np.tile([0.3, -4.0], (300, 1)), lifts, noise_m=0.005)], CAMERA)
    assert abs(height_over_floor(T, T_camera_world, (0.3, -4.0))) < 0.03


def test_somebody_on_a_platform_does_not_tilt_the_floor():
    T_camera_world = camera_pose(5)
    people = [person(T_camera_world, stroll(n), person_id=n, noise_m=0.01) for n in (1, 2)]
    above = person(T_camera_world, stroll(4)[:40] * [0.4, 1.0], 0.6, person_id=3)
    T = floor_transform([*people, above], CAMERA)
    assert angle_deg(up_in_camera(T), T_camera_world[:3, :3] @ [0, 1, 0]) < 1.5
    assert abs(height_over_floor(T, T_camera_world, (0, -5))) < 0.05


def test_unobserved_rows_and_feet_outside_the_picture_do_not_count():
    T_camera_world = camera_pose(0)
    lifts = np.zeros(200)
    lifts[100:] = -1.5
    unseen = person(T_camera_world, stroll(), lifts, observed=np.arange(200) < 100)
    np.testing.assert_allclose(up_in_camera(floor_transform([unseen], CAMERA)), [0, -1, 0], atol=1e-6)
    cut = person(T_camera_world, np.tile([0.0, -1.0], (200, 1)), -2.0, person_id=2)
    T = floor_transform([person(T_camera_world, stroll()), cut], CAMERA)
    assert abs(height_over_floor(T, T_camera_world, (0, -5))) < 1e-6


def test_without_feet_in_the_joint_set_ankles_count():
    T_camera_world = camera_pose(0)
    track = person(T_camera_world, stroll())
    joints = track.joints_m[:, :17].copy()
    joints[:, 15:17] += np.array([0, 0.9, 0])
    bare = BodyTrack(
        **{
            **{f: getattr(track, f) for f in ("person_id", "body", "frame_index", "shape", "rotations", "translation_m", "confidence")},
            "joints_m": joints,
            "keypoints_px": track.keypoints_px[:, :17],
            "visibility": track.visibility[:, :17],
            "observed": track.observed,
            "joint_set": "coco17",
        }
    )
    assert abs(height_over_floor(floor_transform([bare], CAMERA), T_camera_world, (0, -5))) < 1e-6


def test_without_people_the_world_has_the_cameras_axes():
    np.testing.assert_array_equal(floor_transform([], CAMERA), np.diag([1.0, -1.0, -1.0, 1.0]))


def test_the_same_people_give_the_same_floor():
    people = [person(camera_pose(7), stroll(), noise_m=0.02)]
    np.testing.assert_array_equal(floor_transform(people, CAMERA), floor_transform(people, CAMERA))


@pytest.mark.slow  # Anny is set up
def test_soles_lie_a_little_below_the_joints_of_the_feet():
    from body4d.bodies.anny import DEFAULT_SHAPE, anny_body

    assert 0.01 < sole_m(anny_body().rig(DEFAULT_SHAPE)) < 0.04


def test_nobody_who_hangs_or_lies_is_under_the_floor():
    T_camera_world = camera_pose(height_m=1.2)
    upside_down = person(T_camera_world, np.tile([0.0, -4.0], (20, 1)))
    joints = upside_down.joints_m.copy()
    joints[..., 1] = -joints[..., 1] + 0.5  # feet above
    floor = floor_transform([dataclasses.replace(upside_down, joints_m=joints)], CAMERA)
    heights = joints @ floor[1, :3] + floor[1, 3]
    assert heights.min() > 0
