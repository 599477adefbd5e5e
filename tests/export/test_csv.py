"""The CSV, read by csv and by numpy, is the scene's joints by name."""

import csv
import dataclasses

import numpy as np
import pytest

from body4d.export import export_scene
from scenes import make_scene

pytestmark = pytest.mark.slow  # Anny is set up


@pytest.fixture(scope="module")
def scene():
    return make_scene(people=2, frames=8, gaps=True, variable_rate=True)


def test_one_row_per_frame_and_person(scene, tmp_path):
    path = export_scene(scene, "csv", tmp_path)[0]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(r["frame"]), int(r["person"])) for r in rows] == [(f, t.person_id) for f in range(8) for t, _ in scene.visible_at(f)]
    for r in rows:
        track = scene.person(int(r["person"]))
        row = track.row(int(r["frame"]))
        assert abs(float(r["time_s"]) - scene.clip.times_s[int(r["frame"])]) < 1e-6
        for name in ("left_wrist", "nose", "right_pinky"):
            place = [float(r[f"{name}_{a}_m"]) for a in "xyz"]
            assert np.abs(place - track.joint(name)[row]).max() < 1e-6


def test_header_is_as_documented(scene, tmp_path):
    header = export_scene(scene, "csv", tmp_path / "a.csv")[0].read_text().splitlines()[0].split(",")
    assert header[:9] == ["frame", "time_s", "person", "nose_x_m", "nose_y_m", "nose_z_m", "left_eye_x_m", "left_eye_y_m", "left_eye_z_m"]
    assert len(header) == 3 + 3 * len(scene.people[0].joint_names)


def test_numpy_reads_it(scene, tmp_path):
    table = np.genfromtxt(export_scene(scene, "csv", tmp_path)[0], delimiter=",", names=True)
    mine = table[table["person"] == 2]
    assert np.allclose(mine["left_ankle_z_m"], scene.person(2).joint("left_ankle")[:, 2], atol=1e-6)


def test_a_joint_only_another_has_is_empty(scene, tmp_path):
    few = dataclasses.replace(
        scene.people[0],
        joint_set="coco17",
        **{n: getattr(scene.people[0], n)[:, :17] for n in ("joints_m", "keypoints_px", "visibility", "joints_raw_m")},
    )
    mixed = dataclasses.replace(scene, people=(few, scene.people[1]))
    with export_scene(mixed, "csv", tmp_path)[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["left_heel_x_m"] == "" for r in rows if r["person"] == "1"} == {True}
    assert {r["left_heel_x_m"] == "" for r in rows if r["person"] == "2"} == {False}


def test_how_sure_each_joint_is_stands_behind_the_places(scene, tmp_path):
    sigma = np.linspace(0.001, 0.1, scene.people[0].joints_m[..., 0].size).reshape(scene.people[0].joints_m.shape[:2])
    with_known_sigma = dataclasses.replace(scene, people=(dataclasses.replace(scene.people[0], joint_sigma_m=sigma), scene.people[1]))
    with export_scene(with_known_sigma, "csv", tmp_path)[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    K = len(scene.people[0].joint_names)
    assert [name.endswith("_sigma_m") for name in rows[0]] == [False] * (3 + 3 * K) + [True] * K
    for r in rows:
        if r["person"] == "1":
            row = with_known_sigma.people[0].row(int(r["frame"]))
            got = [float(r[f"{name}_sigma_m"]) for name in with_known_sigma.people[0].joint_names]
            np.testing.assert_allclose(got, sigma[row], atol=1e-6)
        else:
            assert r["nose_sigma_m"] == ""
