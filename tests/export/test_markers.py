"""TRC and C3D, read by readers that are not ours: the scene's joints in millimetres, turned to +x, empty where nobody was."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from body4d.core.errors import InputError, SettingsError
from body4d.export import ExportOptions, export_scene
from body4d.export.marker_motion import facing_x
from scenes import make_scene

pytestmark = pytest.mark.slow  # Anny is set up


@pytest.fixture(scope="module")
def scene():
    return make_scene(people=2, frames=12, gaps=True)


def read_trc(path):
    """Marker names, places (T, M, 3), times and header fields, by the rules of OpenSim's page and with numpy."""
    lines = path.read_text().split("\n")
    assert "  " not in path.read_text()
    assert lines[0].split("\t") == ["PathFileType", "4", "(X/Y/Z)", path.name]
    fields = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    names = lines[3].split("\t")[2::3]
    assert lines[4].split("\t")[2:] == [f"{axis}{k + 1}" for k in range(len(names)) for axis in "XYZ"]
    assert lines[5] == ""
    table = np.genfromtxt(path, delimiter="\t", skip_header=6)
    assert np.array_equal(table[:, 0], np.arange(1, len(table) + 1))
    return names, table[:, 2:].reshape(len(table), -1, 3), table[:, 1], fields


def expected(scene, track, joint):
    world = track.joint(joint) @ scene.T_world_camera[:3, :3].T + scene.T_world_camera[:3, 3]
    return 1000 * world @ facing_x(track, scene).T


def test_trc_holds_the_joints_and_gaps(scene, tmp_path):
    for track, path in zip(scene.people, export_scene(scene, "trc", tmp_path), strict=True):
        names, places, times, fields = read_trc(path)
        assert len(names) == 22
        assert fields["Units"] == "mm"
        assert fields["NumMarkers"] == "22"
        assert fields["DataRate"] == "29.97002997"
        assert np.allclose(times, np.arange(12) * 1001 / 30000)
        followed = np.isin(np.arange(12), track.frame_index)
        assert np.array_equal(np.isfinite(places).all((1, 2)), followed)
        assert np.array_equal(np.isnan(places).all((1, 2)), ~followed)
        for marker, joint in (("LWrist", "left_wrist"), ("RBigToe", "right_big_toe"), ("Nose", "nose")):
            assert np.abs(places[followed, names.index(marker)] - expected(scene, track, joint)).max() < 1e-3
        first = places[followed][0]
        left = first[names.index("LHip")] - first[names.index("RHip")] + first[names.index("LShoulder")] - first[names.index("RShoulder")]
        assert abs(left[0]) < 1e-2 < -left[2]  # the person faces +x, so that their right is at +z
        head, heel = (first[names.index(name)][1] for name in ("Head", "LHeel"))
        assert 0.8 < (head - heel) / (1000 * track_height(track)) < 1.05


def first_frame(names, places):
    """The markers of the first frame with the person, by name."""
    return dict(zip(names, places[np.isfinite(places).all((1, 2))][0], strict=True))


def track_height(track):
    from body4d.bodies.registry import rig_of

    return rig_of(track).height_m


def test_opencap_s_markers_lie_where_anatomy_has_them(scene, tmp_path):
    names, places, _, _ = read_trc(export_scene(scene, "trc", tmp_path, ExportOptions(markers="opencap", person=1))[0])
    assert len(set(names)) == 43
    at = first_frame(names, places)
    joints = first_frame(*read_trc(export_scene(scene, "trc", tmp_path / "h")[0])[:2])
    for side, s in (("r", "R"), ("L", "L")):
        for lateral, medial, joint, width in (
            ("_knee", "_mknee", "Knee", 130),
            ("_ankle", "_mankle", "Ankle", 100),
            ("_lelbow", "_melbow", "Elbow", 110),
        ):
            a, b = at[f"{side}{lateral}_study"], at[f"{side}{medial}_study"]
            assert np.linalg.norm((a + b) / 2 - joints[f"{s}{joint}"]) < 45
            assert 40 < np.linalg.norm(a - b) < width
    hips = at["LHJC_study"] - at["RHJC_study"]
    assert 140 < np.linalg.norm(hips) < 190
    assert (at["L_knee_study"] - at["L_mknee_study"]) @ hips > 0 > (at["r_knee_study"] - at["r_mknee_study"]) @ hips
    assert np.linalg.norm(at["r.ASIS_study"] - at["r.PSIS_study"]) > 100


def test_c3d_comes_back_with_units_axes_and_residuals(scene, tmp_path):
    c3d = pytest.importorskip("c3d", reason="c3d, the independent reader, is not installed")
    pytest.importorskip("ezc3d", reason="ezc3d, which writes C3D, is not installed")
    names, places, _, _ = read_trc(export_scene(scene, "trc", tmp_path)[0])
    for up in "yz":
        path = export_scene(scene, "c3d", tmp_path / up, ExportOptions(up=up))[0]
        with path.open("rb") as file:
            reader = c3d.Reader(file)
            assert [label.strip() for label in reader.point_labels] == names
            assert reader.point_rate == pytest.approx(30000 / 1001)
            assert reader.get("POINT:UNITS").string_value.strip() == "mm"
            assert reader.get("POINT:X_SCREEN").string_value.strip() == "+X"
            assert reader.get("POINT:Y_SCREEN").string_value.strip() == f"+{up.upper()}"
            points = np.stack([points for _, points, _ in reader.read_frames()])
        gone = np.isnan(places).any(2)
        assert np.array_equal(points[..., 3] == -1, gone)
        back = points[..., :3] if up == "y" else points[..., [0, 2, 1]] * (1, 1, -1)
        assert np.abs(back[~gone] - places[~gone]).max() < 2e-3


def test_a_step_between_frames_is_a_point_between(tmp_path):
    scene = make_scene(frames=20, variable_rate=True)
    names, places, times, _ = read_trc(export_scene(scene, "trc", tmp_path)[0])
    wrist = expected(scene, scene.people[0], "left_wrist")
    straight = np.stack([np.interp(times, scene.clip.times_s, wrist[:, axis]) for axis in range(3)], -1)
    assert np.abs(places[:, names.index("LWrist")] - straight).max() < 1e-2


def test_options_that_no_format_reads_are_refused_before_anything_is_written(scene, tmp_path):
    with pytest.raises(SettingsError, match="csv has a choice of rig"):
        export_scene(scene, "csv", tmp_path, ExportOptions(rig="mixamo"))
    with pytest.raises(SettingsError, match="halpe26, opencap"):
        ExportOptions(markers="coco")
    assert not list(tmp_path.iterdir())


def test_a_person_is_chosen_by_id(scene, tmp_path):
    assert [path.name for path in export_scene(scene, "trc", tmp_path, ExportOptions(person=2))] == ["person_2.trc"]
    with pytest.raises(InputError, match="no person 7") as caught:
        export_scene(scene, "trc", tmp_path, ExportOptions(person=7))
    assert caught.value.hint == "Known are 1, 2."


def test_too_long_for_a_c3d_is_said(scene, tmp_path):
    pytest.importorskip("ezc3d")
    track = scene.people[0]
    long = dataclasses.replace(
        scene, clip=dataclasses.replace(scene.clip, times_s=np.append(scene.clip.times_s[:-1], 70.0)), people=(track,)
    )
    with pytest.raises(SettingsError, match="65535"):
        export_scene(long, "c3d", tmp_path, ExportOptions(fps=Fraction(1000)))
