"""What every format shares: names, refusals, full disks, and bytes that do not change."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from body4d.core import files as atomic
from body4d.core.errors import MissingDependencyError, NoPersonError, OutputError, SettingsError
from body4d.export import FORMATS, ExportOptions, check_export, export_scene, formats
from body4d.export.smpl import MODELS_VARIABLE
from scenes import make_scene
from smpl_files import write_model

pytestmark = pytest.mark.slow  # Anny is set up


def _written(wanted=lambda row: True):
    """The names of the formats; those whose package is not installed are skipped and say so."""
    # SMPL-X is written as SMPL is, and slower; what writes FBX is Blender, see test_character.py.
    rows = [row for row in FORMATS.values() if wanted(row) and row.name != "smplx" and not row.program]
    return [pytest.param(r.name, marks=pytest.mark.skipif(bool(r.missing), reason=f"not installed: {r.missing}")) for r in rows]


@pytest.fixture(scope="module")
def scene():
    return make_scene(people=1, frames=3)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("body_models")
    for kind in ("smpl", "smplx"):
        write_model(folder / f"{kind.upper()}_NEUTRAL.npz", kind)
    return folder


@pytest.fixture(autouse=True)
def _body_models(models, monkeypatch):
    monkeypatch.setenv(MODELS_VARIABLE, str(models))


@pytest.mark.parametrize(
    ("fmt", "name"),
    [
        ("glb", "body.glb"),
        ("bvh", "person_1.bvh"),
        ("vrma", "person_1.vrma"),
        ("trc", "person_1.trc"),
        ("c3d", "person_1.c3d"),
        ("ply", "person_1_000000.ply"),
        ("obj", "person_1_000000.obj"),
        ("smpl", "person_1_smpl.npz"),
        ("npz", "body.npz"),
        ("csv", "joints.csv"),
        ("html", "body.html"),
    ],
)
def test_a_folder_gets_a_name_and_is_made(scene, fmt, name, tmp_path):
    paths = export_scene(scene, fmt, tmp_path / "new" / "folder")
    assert paths[0] == tmp_path / "new" / "folder" / name
    assert all(p.stat().st_size > 0 for p in paths)


@pytest.mark.parametrize("fmt", _written(lambda row: not row.per_frame))
def test_a_file_name_is_taken_as_it_is(scene, fmt, tmp_path):
    name = f"mine.{FORMATS[fmt].ending}"
    assert export_scene(scene, fmt, tmp_path / name) == [tmp_path / name]
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("fmt", _written(lambda row: row.name != "rrd"))  # Rerun stamps rows with the clock
def test_same_scene_gives_the_same_bytes(scene, fmt, tmp_path):
    first, second = (export_scene(scene, fmt, tmp_path / folder) for folder in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


@pytest.mark.parametrize(("typo", "meant"), [("gltf", "glb"), ("bhv", "bvh"), ("csb", "csv"), ("", "")])
def test_unknown_formats_name_the_nearest(scene, typo, meant, tmp_path):
    with pytest.raises(SettingsError, match=f"Did you mean '{meant}") as caught:
        export_scene(scene, typo, tmp_path)
    assert "glb, bvh, fbx, usd, vrma, trc, c3d, ply, obj, abc, smpl, smplx, rrd, npz, csv" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_dot_and_capitals_are_forgiven(scene, tmp_path):
    assert export_scene(scene, ".CSV", tmp_path)[0].name == "joints.csv"


@pytest.mark.parametrize(("fmt", "out"), [("csv", "body.glb"), ("ply", "mesh.ply")])
def test_an_ending_that_does_not_fit_is_refused(scene, fmt, out, tmp_path):
    with pytest.raises(SettingsError) as caught:
        export_scene(scene, fmt, tmp_path / out)
    assert caught.value.code == ("ply_needs_folder" if fmt == "ply" else "wrong_file_ending")
    assert "folder" in caught.value.hint


def test_one_file_for_two_formats_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="are several"):
        check_export(["smpl", "smplx"], tmp_path / "both.npz", ExportOptions())


def test_nobody_is_nothing_to_export(scene, tmp_path):
    with pytest.raises(NoPersonError, match=r"made\.mp4"):
        export_scene(dataclasses.replace(scene, people=()), "glb", tmp_path)


@pytest.mark.parametrize("fmt", _written())
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half(scene, fmt, tmp_path, monkeypatch):
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OutputError, match="no room left"):
        export_scene(scene, fmt, tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fmt", _written())
def test_a_file_in_the_way_is_one_sentence(scene, fmt, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="taken"):
        export_scene(scene, fmt, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == ""


def test_a_missing_package_is_said_with_its_command(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        export_scene(scene, "c3d", tmp_path)
    assert "pip install 'body4d[biomech]'" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_the_docs_hold_the_table():
    docs = Path(__file__).parents[2] / "docs" / "formats.md"
    assert formats.formats_table() in docs.read_text()  # python scripts/formats_page.py prints it
