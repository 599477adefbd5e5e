"""BVH files read back by an independent reader give the scene's joints to a millimetre, without jumps and with exact times."""

import dataclasses
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from body4d.bodies.registry import body_model
from body4d.export import ExportOptions, export_scene
from body4d.export.bvh import kept_joints, matrix_to_zxy
from body4d.export.retarget import plan_retarget
from body4d.export.rigs import RIG_NAMES
from body4d.export.skeleton import build_skeleton, resample_skeleton
from body4d.geometry.rotations import geodesic_angle, rotvec_to_matrix
from scenes import make_scene

METRES = ExportOptions(units="m")

pytestmark = pytest.mark.slow  # Anny is set up

BVH = pytest.importorskip("pymotion.io.bvh", reason="upc-pymotion, the independent BVH reader, is not installed").BVH


def read(path):
    """Joint names, positions (T, J, 3) by the reader's own forward kinematics, frame time, angles (T, C) as written."""
    from pymotion.ops.skeleton import fk

    bvh = BVH()
    bvh.load(str(path))
    rotations, positions, parents, offsets, _, _ = bvh.get_data()
    joints, _ = fk(rotations, positions[:, 0], offsets, parents)
    rows = path.read_text().split("Frame Time:")[1].splitlines()[1:]
    return list(bvh.data["names"]), joints, bvh.data["frame_time"], np.array([r.split() for r in rows if r], float)[:, 3:]


def world_joints(scene, track):
    rig = body_model(track.body).rig(track.shape)
    _, p = rig.forward(track.rotations.astype(np.float64), track.translation_m.astype(np.float64))
    return dict(zip(rig.joint_names, np.moveaxis(p @ scene.T_world_camera[:3, :3].T + scene.T_world_camera[:3, 3], 1, 0), strict=True))


@pytest.fixture(scope="module")
def scene():
    return make_scene(people=2, frames=12, gaps=True)


def test_joints_come_back_to_a_millimetre(scene, tmp_path):
    paths = export_scene(scene, "bvh", tmp_path, METRES)
    assert [p.name for p in paths] == ["person_1.bvh", "person_2.bvh"]
    for track, path in zip(scene.people, paths, strict=True):
        names, joints, _, _ = read(path)
        truth = world_joints(scene, track)
        assert len(joints) == len(scene.clip)  # frame k is clip frame k
        worst = max(np.abs(joints[track.frame_index, names.index(n)] - truth[n]).max() for n in names)
        assert worst < 1e-3
        assert np.array_equal(joints[0], joints[track.frame_index[0]])  # held before the person comes


def test_bones_have_this_person_s_lengths(scene, tmp_path):
    for track, path in zip(scene.people, export_scene(scene, "bvh", tmp_path, METRES), strict=True):
        rig = body_model("anny").rig(track.shape)
        names, joints, _, _ = read(path)

        def measured(a, b, names=names, joints=joints):
            return np.linalg.norm(joints[3, names.index(a)] - joints[3, names.index(b)])

        for a, b in (("lowerleg01.L", "foot.L"), ("upperarm01.R", "lowerarm01.R")):
            i, j = rig.joint_names.index(a), rig.joint_names.index(b)
            assert abs(measured(a, b) - np.linalg.norm(rig.rest_joints_m[i] - rig.rest_joints_m[j])) < 2e-3


def test_the_head_ends_at_the_crown_and_the_foot_at_the_toes(scene, tmp_path):
    text = export_scene(scene, "bvh", tmp_path, METRES)[0].read_text()

    def tip(joint):
        return np.array(text.split(f"JOINT {joint}\n")[1].split("End Site")[1].split("OFFSET")[1].split("}")[0].split(), float)

    assert tip("head")[1] > 0.1
    assert tip("foot.L")[2] > 0.15
    assert text.count("End Site") == 5


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(25), Fraction(240)])
def test_frame_time_is_exact(rate, tmp_path):
    path = export_scene(make_scene(frames=5, rate=rate), "bvh", tmp_path, METRES)[0]
    assert f"Frame Time: {float(1 / rate):.10f}" in path.read_text()


def test_variable_rate_is_resampled_evenly_between_the_frames(tmp_path):
    scene = make_scene(frames=20, variable_rate=True)
    names, joints, frame_time, _ = read(export_scene(scene, "bvh", tmp_path, METRES)[0])
    assert len(joints) == 20
    assert np.isclose(frame_time, 1001 / 30000)  # the rate, not the mean of steps that all differ
    truth = world_joints(scene, scene.people[0])
    at = frame_time * np.arange(20)
    for name in ("wrist.L", "foot.R", "head"):
        straight = np.stack([np.interp(at, scene.clip.times_s, truth[name][:, a]) for a in range(3)], -1)
        assert np.abs(joints[:, names.index(name)] - straight).max() < 5e-3
        assert np.abs(joints[:, names.index(name)] - truth[name]).max() > 5e-3  # taken frame by frame it would be off


def test_angles_do_not_jump_when_someone_turns_round_and_round(tmp_path):
    scene = make_scene(frames=60)
    track = scene.people[0]
    rotations = track.rotations.copy()
    rotations[:, 0] = np.linspace(0, 4 * np.pi, 60)[:, None] * np.array([0, 1, 0])
    scene = dataclasses.replace(scene, people=(dataclasses.replace(track, rotations=rotations),))
    names, joints, _, angles = read(export_scene(scene, "bvh", tmp_path, METRES)[0])
    assert np.abs(np.diff(angles, axis=0)).max() < 20
    truth = world_joints(scene, scene.people[0])
    assert np.abs(joints[:, names.index("wrist.L")] - truth["wrist.L"]).max() < 1e-3


def test_fingers_are_written_where_they_move(scene):
    track = scene.people[0]
    rig = body_model("anny").rig(track.shape)
    still = build_skeleton(rig, track, scene)
    assert kept_joints(still).sum() == 36
    rotations = track.rotations.copy()
    rotations[1:, rig.joint_names.index("finger2-2.L")] = 0.2
    moving = build_skeleton(rig, dataclasses.replace(track, rotations=rotations), scene)
    kept = {n for n, k in zip(rig.joint_names, kept_joints(moving), strict=True) if k}
    assert {"finger2-3.L", "finger5-1.L", "metacarpal1.L"} <= kept
    assert not {"finger2-2.R", "toe1-1.L", "eye.L"} & kept


def test_one_name_for_one_person_and_numbered_names_for_two(scene, tmp_path):
    assert export_scene(make_scene(frames=2), "bvh", tmp_path / "x.bvh") == [tmp_path / "x.bvh"]
    assert [p.name for p in export_scene(scene, "bvh", tmp_path / "y.bvh")] == ["y_person_1.bvh", "y_person_2.bvh"]


def _zxy(angles):
    z, x, y = np.moveaxis(angles, -1, 0)
    unit = np.eye(3)
    return rotvec_to_matrix(z[..., None] * unit[2]) @ rotvec_to_matrix(x[..., None] * unit[0]) @ rotvec_to_matrix(y[..., None] * unit[1])


ANGLE = st.floats(-7, 7)


@settings(max_examples=60)
@given(st.lists(st.tuples(ANGLE, ANGLE, ANGLE), min_size=1, max_size=6))
def test_angles_give_back_the_rotation(path):
    matrices = _zxy(np.array(path))[:, None]
    assert geodesic_angle(_zxy(matrix_to_zxy(matrices)), matrices).max() < 1e-5


@pytest.mark.parametrize("start", [0.0, 0.7, -2.0])
def test_angles_go_smoothly_through_the_singularity(start):
    """A pitch from 60° over 90° to 120°, hitting 90° exactly, must go on in x instead of turning z and y by half a turn."""
    path = np.stack([np.full(7, start), np.radians([60, 70, 80, 90, 100, 110, 120]), np.full(7, 0.4)], -1)
    angles = matrix_to_zxy(_zxy(path)[:, None])[:, 0]
    assert np.allclose(np.diff(angles, axis=0), np.diff(path, axis=0), atol=1e-6)


def test_sampling_goes_along_the_arc_and_holds_at_the_ends(scene):
    track = scene.people[0]
    skeleton = build_skeleton(body_model("anny").rig(track.shape), track, scene)
    times = scene.clip.times_s[track.frame_index]
    rotations, root = resample_skeleton(skeleton, times, np.array([times[0] - 1, times[1], (times[1] + times[2]) / 2, times[-1] + 1]))
    assert np.array_equal(rotations[0], skeleton.rotations[0])
    assert np.array_equal(rotations[1], skeleton.rotations[1])
    assert np.allclose(rotations[3], skeleton.rotations[-1])
    whole = geodesic_angle(skeleton.rotations[1], skeleton.rotations[2])
    assert np.allclose(geodesic_angle(skeleton.rotations[1], rotations[2]), whole / 2, atol=1e-6)
    assert np.allclose(root[2], skeleton.root_m[1:3].mean(0))


@pytest.mark.parametrize(
    "options", [ExportOptions(), ExportOptions(rest="t", units="m"), ExportOptions(rig="mixamo"), ExportOptions(rig="lafan")]
)
def test_a_second_reader_finds_the_same_joints_by_every_rig(scene, options, tmp_path):
    bvhio = pytest.importorskip("bvhio", reason="bvhio, the second independent BVH reader, is not installed")
    track = scene.people[0]
    path = export_scene(scene, "bvh", tmp_path, options)[0]
    top = bvhio.readAsHierarchy(str(path))
    joints = [joint for joint, _, _ in top.layout()]
    truth = world_joints(scene, track)
    skeleton = build_skeleton(body_model("anny").rig(track.shape), track, scene)
    plan = plan_retarget(skeleton, options.rig, options.rest)
    sources = {name: skeleton.names[j] for name, j in zip(plan.names, plan.source, strict=True)}
    per_metre = 100 if options.units == "cm" else 1
    for row in (0, 3, len(track) - 1):
        top.loadPose(int(track.frame_index[row]))
        for joint in joints:  # a millimetre: the reader counts in 32 bits
            assert np.abs(np.array(list(joint.PositionWorld)) / per_metre - truth[sources[joint.Name]][row]).max() < 1e-3


@pytest.mark.parametrize("rig", RIG_NAMES)
@pytest.mark.parametrize(("rest", "units"), [("", "cm"), ("t", "m")])
def test_every_choice_puts_the_joints_in_the_same_places(scene, rig, rest, units, tmp_path):
    """To a thousandth of a millimetre, through the numbers of the file."""
    track = scene.people[0]
    options = ExportOptions(rig=rig, rest=rest, units=units)
    names, joints, _, _ = read(export_scene(scene, "bvh", tmp_path, options)[0])
    skeleton = build_skeleton(body_model("anny").rig(track.shape), track, scene)
    plan, places = plan_retarget(skeleton, rig, rest), skeleton.forward()[1]
    sources = dict(zip(plan.names, plan.source, strict=True))
    for k, name in enumerate(names):
        written = joints[track.frame_index, k] / (100 if units == "cm" else 1)
        assert np.abs(written - places[:, sources[name]]).max() < 1e-6


def test_memory_does_not_grow_with_the_clip(tmp_path, monkeypatch):
    monkeypatch.setattr("body4d.export.skeleton.CHUNK_FRAMES", 16)
    peaks = []
    for frames in (2, 32, 192):  # the first time, everything is imported
        scene = make_scene(frames=frames)
        tracemalloc.start()
        export_scene(scene, "bvh", tmp_path, ExportOptions(rig="lafan"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 160 * 2500  # bytes; the rotations of a frame alone are 104 · 9 · 8


@pytest.mark.parametrize("rig", ["native", "lafan"])
def test_everybody_in_one_file(scene, rig, tmp_path):
    bvhio = pytest.importorskip("bvhio", reason="bvhio, the second independent BVH reader, is not installed")
    (path,) = export_scene(scene, "bvh", tmp_path, ExportOptions(rig=rig, together=True))
    assert path.name == "everybody.bvh"
    top = bvhio.readAsHierarchy(str(path))
    top.loadPose(5)
    places = {joint.Name: np.array(list(joint.PositionWorld)) / 100 for joint, _, _ in top.layout()}
    names = ("lowerarm01.L", "foot.R") if rig == "native" else ("LeftForeArm", "RightFoot")
    for track in scene.people:
        truth = world_joints(scene, track)
        row = int(np.searchsorted(track.frame_index, 5))
        assert track.frame_index[row] == 5
        for name, joint in zip(names, ("lowerarm01.L", "foot.R"), strict=True):
            assert np.abs(places[f"person_{track.person_id}_{name}"] - truth[joint][row]).max() < 1e-3
