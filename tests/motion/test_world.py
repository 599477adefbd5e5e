"""What ties frames together holds in axes that stay, however the camera turns, zooms and moves."""

import dataclasses

import numpy as np
import pytest

from body4d.config import MotionSettings
from body4d.core.joints import Body29
from body4d.core.types import BodyTrack
from body4d.motion.ground_plane import floor_transform
from body4d.motion.smoother import smooth
from body4d.motion.world import eye_path_m, path_sigma_m, points_to_frames, ray_axes, rolled_out, to_frames, to_reference
from fakes import stick_rig
from scenes import make_clip, moving_camera, track_of_joints

FRAMES = 90


def walker(noise: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> BodyTrack:
    """A stick that goes 3 m to the right in 3 s, 5 m before the first frame's camera; ``noise`` in metres along that camera's axes."""
    rng = np.random.default_rng(0)
    root = np.stack([np.linspace(-1.5, 1.5, FRAMES), np.full(FRAMES, 0.4), np.full(FRAMES, 5.0)], -1)
    root = root + rng.normal(size=root.shape) * noise
    rotations = np.zeros((FRAMES, 1, 3))
    rotations[:, 0, 1] = 0.4
    rig = stick_rig()
    joints = rig.keypoints(*rig.forward(rotations, root))
    return track_of_joints(joints, rotations=rotations, translation_m=root, joints_raw_m=joints.copy())


@pytest.mark.parametrize("kind", ["rotating", "moving"])
def test_into_the_world_and_back_is_the_same(kind):
    camera, track = moving_camera(FRAMES, kind), walker()
    (seen,) = to_frames((track,), camera)
    assert np.abs(seen.joints_m[-1] - track.joints_m[-1]).max() > 0.5
    (back,) = to_reference((seen,), camera)
    for name in ("rotations", "translation_m", "joints_m", "joints_raw_m"):
        np.testing.assert_allclose(getattr(back, name), getattr(track, name), atol=1e-9)
    np.testing.assert_array_equal(back.keypoints_px, track.keypoints_px)
    np.testing.assert_allclose(points_to_frames(track.joints_m, track.frame_index, camera), seen.joints_m, atol=1e-9)
    rig = stick_rig()
    np.testing.assert_allclose(rig.keypoints(*rig.forward(seen.rotations, seen.translation_m)), seen.joints_m, atol=1e-9)


def test_without_a_path_nothing_is_touched():
    track, camera = walker(), moving_camera(FRAMES, None)
    assert to_reference((track,), camera)[0] is track
    assert to_frames((track,), camera)[0] is track
    assert eye_path_m(camera) is None
    assert not path_sigma_m(track, camera).any()


def test_the_paths_uncertainty_grows_with_distance():
    camera, track = moving_camera(FRAMES, "moving"), walker()
    path = dataclasses.replace(camera.path, rotation_sigma_deg=np.full(FRAMES, 0.5), position_sigma_m=np.full(FRAMES, 0.02))
    sigma = path_sigma_m(track, dataclasses.replace(camera, path=path))
    distance = np.linalg.norm(track.joints_m, axis=-1)
    np.testing.assert_allclose(sigma**2, 2 * (np.radians(0.5) * distance) ** 2 + 3 * 0.02**2)


def test_rolled_out_along_and_across_the_ray_stay_apart():
    """Somebody whom the camera circles, and who only seems to come and go, moves along the ray alone."""
    angle = np.linspace(0, 2 * np.pi, 200)
    outwards = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1)
    eye = -6 * outwards
    error = 0.1 * np.sin(5 * angle)[:, None]
    path = rolled_out(error * outwards, ray_axes(error * outwards, eye))
    # What comes and goes while the ray turns moves a little across it as well: 0.1 m of sin(5 angle), summed over the angle.
    assert np.ptp(path[:, :2]) < 0.041
    np.testing.assert_allclose(path[:, 2], error[:, 0], atol=0.002)
    still = np.zeros((200, 3))
    steps = np.cumsum(np.random.default_rng(0).normal(size=(200, 3)), axis=0) * 1e-3 + [0, 0, 5]
    axes = np.tile(np.eye(3), (200, 1, 1))
    np.testing.assert_allclose(rolled_out(steps, axes), steps - steps[0], atol=1e-12)
    np.testing.assert_allclose(ray_axes(steps, still)[:, :, 2], steps / np.linalg.norm(steps, axis=-1, keepdims=True), atol=1e-12)


@pytest.mark.parametrize("kind", ["rotating", "moving"])
def test_smoothing_before_a_moving_camera_is_as_good_as_before_a_still_one(kind):
    clip, rig, truth = make_clip(FRAMES), stick_rig(), walker()
    noisy = walker(noise=(0.01, 0.01, 0.06))
    camera = moving_camera(FRAMES, kind)
    still = smooth(noisy, rig, clip, MotionSettings())
    moved = smooth(noisy, rig, clip, MotionSettings(), eye_path_m(camera))

    def error(track: BodyTrack) -> float:
        return float(np.linalg.norm(track.translation_m - truth.translation_m, axis=-1).mean())

    assert error(moved) < 1.1 * error(still) < 0.6 * error(noisy)
    assert np.median(moved.joint_sigma_m) == pytest.approx(np.median(still.joint_sigma_m), rel=0.3)


def test_a_gap_is_bridged_in_the_world():
    """Half a second unseen while the camera pans: the walker goes on straight ahead."""
    camera, track = moving_camera(FRAMES, "rotating"), walker()
    observed = np.ones(FRAMES, bool)
    observed[40:54] = False
    gap = dataclasses.replace(track, observed=observed)
    bridged = smooth(gap, stick_rig(), make_clip(FRAMES), MotionSettings(), eye_path_m(camera))
    np.testing.assert_allclose(bridged.translation_m, track.translation_m, atol=0.01)


def test_the_floor_is_that_of_a_camera_that_stands_still():
    """Feet count where they are in the picture of their own frame, which pans with the walker."""
    camera = moving_camera(FRAMES, "rotating")
    joints = np.zeros((FRAMES, 29, 3))
    joints[:] = np.stack([np.linspace(-4, 4, FRAMES), np.full(FRAMES, 1.5), np.full(FRAMES, 5.0)], -1)[:, None]
    trunk = [Body29.LEFT_HIP, Body29.RIGHT_HIP, Body29.LEFT_SHOULDER, Body29.RIGHT_SHOULDER]
    joints[:, trunk, 1] -= 1.0
    track = track_of_joints(joints)
    wide = dataclasses.replace(moving_camera(FRAMES, None), focal_px=60.0)
    np.testing.assert_allclose(floor_transform((track,), camera), floor_transform((track,), wide), atol=1e-9)
