"""The curves and clouds that the player shows."""

import dataclasses
import json

import numpy as np
import pytest

from body4d.export.movement import joint_angle_deg, movement, movement_json, speed_m_s
from scenes import make_scene


def test_an_angle_is_that_of_the_three_joints():
    at = np.zeros((3, 3))
    a = np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 0]])
    b = np.array([[0, 0, 3.0], [-1.0, 0, 0], [1.0, 0, 0]])
    assert np.allclose(joint_angle_deg(a, at, b), [90, 180, np.nan], equal_nan=True)


def test_a_speed_is_in_real_time_and_not_told_across_a_gap():
    frames = np.array([0, 1, 2, 3, 6, 7, 8])
    times_s = np.array([0, 0.1, 0.3, 0.4, 1.0, 1.1, 1.2])  # uneven
    places = np.outer(times_s, [2.0, 0, 0])
    assert np.allclose(speed_m_s(places, frames, times_s), [np.nan, 2, 2, np.nan, np.nan, 2, np.nan], equal_nan=True)


def test_it_holds_the_exact_times_and_a_value_for_each_frame_followed():
    scene = make_scene(people=2, frames=20, gaps=True, body="stick")
    held = json.loads(movement_json(scene))
    assert held["times_s"] == pytest.approx(scene.clip.times_s, abs=1e-6)
    for person, track in zip(held["people"], scene.people, strict=True):
        assert person["person_id"] == track.person_id
        assert person["frames"] == track.frame_index.tolist()
        assert all(len(curve["values"]) == len(track) for curve in person["curves"])
        assert len({curve["name"] for curve in person["curves"]}) == len(person["curves"])


def test_clouds_are_where_the_joints_are_in_the_glbs_world():
    scene = make_scene(frames=6, body="stick")
    track = scene.people[0]
    sigma = np.full(track.joints_m.shape[:2], 0.031, np.float32)
    scene = dataclasses.replace(scene, people=(dataclasses.replace(track, joint_sigma_m=sigma),))
    cloud = next(cloud for cloud in movement(scene)["people"][0]["clouds"] if cloud["joint"] == "left_wrist")
    T = scene.T_world_camera
    expected = 1000 * (track.joint("left_wrist") @ T[:3, :3].T + T[:3, 3])
    assert np.abs(np.reshape(cloud["places_mm"], (-1, 3)) - expected).max() <= 0.51
    assert cloud["error_mm"] == [31] * len(track)
