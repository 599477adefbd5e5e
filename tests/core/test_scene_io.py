"""Scenes, masks and bodies survive the disk to the last bit, and bad files are told in one sentence."""

import dataclasses
import errno
import os
import subprocess
import sys
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.core import files as atomic
from body4d.core import scene_io as scene_file
from body4d.core.errors import InputError, OutputError, RunWarning
from body4d.core.occlusion import OcclusionSegment
from body4d.core.scene_io import (
    load_bodies,
    load_camera,
    load_hidden,
    load_masks,
    load_scene,
    save_bodies,
    save_camera,
    save_hidden,
    save_masks,
    save_scene,
)
from fakes import stick_rig
from scenes import make_masks, make_scene, moving_camera, same


@pytest.fixture(scope="module")
def scene():
    return make_scene(people=2, frames=12, gaps=True, variable_rate=True, body="stick")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"warnings": ()},
        {"warnings": (RunWarning("a", "Größe angenommen: 1,70 m.", facts={"m": 1.7}), RunWarning("b", "二人目", "--fov"))},
        {"people": ()},
        {"preset": "sam"},
    ],
    ids=["as made", "no warnings", "not ascii", "nobody", "other preset"],
)
def test_scene_comes_back_the_same(scene, change, tmp_path):
    scene = dataclasses.replace(scene, **change)
    save_scene(scene, tmp_path / "scene.npz")
    assert same(load_scene(tmp_path / "scene.npz"), scene)


@pytest.mark.parametrize(
    "change",
    [
        {"capture_rate": Fraction(240), "rotation_deg": 90, "has_audio": True},
        {"focal_mm35": 26.0},
        {"rate": Fraction(24000, 1001)},
    ],
    ids=["slow motion", "focal length", "rate"],
)
def test_clip_comes_back_the_same(scene, change, tmp_path):
    clip = dataclasses.replace(scene.clip, **change)
    save_scene(dataclasses.replace(scene, clip=clip), tmp_path / "scene.npz")
    assert same(load_scene(tmp_path / "scene.npz").clip, clip)


@pytest.mark.parametrize("change", [{"source": "moge", "focal_spread": 0.04}, {"static": False}], ids=["estimated", "moving"])
def test_camera_comes_back_the_same(scene, change, tmp_path):
    camera = dataclasses.replace(scene.camera, **change)
    save_scene(dataclasses.replace(scene, camera=camera), tmp_path / "scene.npz")
    assert same(load_scene(tmp_path / "scene.npz").camera, camera)


def test_a_cameras_path_comes_back_the_same_and_is_absent_where_there_is_none(scene, tmp_path):
    camera = moving_camera(len(scene.clip), "moving", zoom=1.5)
    save_scene(dataclasses.replace(scene, camera=camera), tmp_path / "scene.npz")
    save_camera(camera, tmp_path / "camera.npz")
    assert same(load_scene(tmp_path / "scene.npz").camera, camera)
    assert same(load_camera(tmp_path / "camera.npz"), camera)
    waiting = dataclasses.replace(camera, path=dataclasses.replace(camera.path, scale_source="none", depth_scale=(2.5, 0.1)))
    save_camera(waiting, tmp_path / "camera.npz")
    assert same(load_camera(tmp_path / "camera.npz"), waiting)
    save_scene(scene, tmp_path / "still.npz")
    with np.load(tmp_path / "still.npz") as archive:
        assert not any(name.startswith("camera/path") for name in archive.files)


def test_optional_track_arrays_stay_absent(scene, tmp_path):
    tracks = tuple(dataclasses.replace(p, mask_iou=None, joints_raw_m=None) for p in scene.people)
    save_bodies(tracks, tmp_path / "bodies.npz")
    assert same(load_bodies(tmp_path / "bodies.npz"), tracks)


def test_uncertainty_and_who_was_hidden_come_back_the_same(scene, tmp_path):
    hidden = np.arange(len(scene.people[0])) == 1
    sigma = np.random.default_rng(0).uniform(0.001, 0.1, scene.people[0].visibility.shape).astype(np.float32)
    tracks = (dataclasses.replace(scene.people[0], joint_sigma_m=sigma, hidden=hidden), *scene.people[1:])
    save_bodies(tracks, tmp_path / "bodies.npz")
    assert same(load_bodies(tmp_path / "bodies.npz"), tracks)


def test_a_carried_rig_draws_and_exports_without_its_model(scene, tmp_path):
    """A body whose model is no part of body4d: name and shape alone would not bring it back."""
    rig = stick_rig()
    person = dataclasses.replace(scene.people[0], body="a model not installed here", shape=np.zeros(3, np.float32), rig=rig)
    save_bodies((person, scene.people[1]), tmp_path / "bodies.npz")
    found, other = load_bodies(tmp_path / "bodies.npz")
    assert other.rig is None
    again = found.rig
    assert again.joint_names == rig.joint_names
    assert again.joint_set == rig.joint_set
    np.testing.assert_array_equal(again.faces, rig.faces)
    motion = person.rotations.astype(np.float64), person.translation_m.astype(np.float64)
    np.testing.assert_allclose(again.keypoints(*again.forward(*motion)), rig.keypoints(*rig.forward(*motion)), atol=1e-5)
    np.testing.assert_allclose(again.vertices(*again.forward(*motion)), rig.vertices(*rig.forward(*motion)), atol=1e-5)


def test_video_says_where_the_clip_lies_now(scene, tmp_path):
    moved = dataclasses.replace(scene, clip=dataclasses.replace(scene.clip, path=Path("/home/someone/clip.mp4")))
    save_scene(moved, tmp_path / "scene.npz")
    assert load_scene(tmp_path / "scene.npz").clip.path == Path("clip.mp4")
    assert load_scene(tmp_path / "scene.npz", video=Path("/elsewhere/x.mp4")).clip.path == Path("/elsewhere/x.mp4")
    assert b"someone" not in (tmp_path / "scene.npz").read_bytes()


@pytest.mark.parametrize(("landmarks", "hands"), [(True, True), (True, False), (False, False)])
def test_masks_come_back_the_same(scene, landmarks, hands, tmp_path):
    masks = make_masks(scene, landmarks=landmarks, hands=hands)
    save_masks(masks, tmp_path / "masks.npz")
    back = load_masks(tmp_path / "masks.npz")
    assert same(back, masks)
    assert np.array_equal(back[1].mask(3), masks[1].mask(3))
    assert back[0].mask(0).any()


def test_paths_may_be_strings(scene, tmp_path):
    save_scene(scene, f"{tmp_path}/scene.npz")
    assert load_scene(f"{tmp_path}/scene.npz", video="/elsewhere/x.mp4").clip.path == Path("/elsewhere/x.mp4")


def made_segments(masks):
    track, frames = masks[1], slice(1, 4)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 16, 3), dtype=np.uint8)
    flags, share = np.array([False, True, True]), np.array([0.9, 0.5, 0.25], np.float32)
    size = track.height_px, track.width_px
    box = np.array([2, 1, 30, 20])
    one = OcclusionSegment(track.person_id, track.frame_index[frames], flags, share, track.codes[frames], *size, box, pictures)
    return one, dataclasses.replace(one, person_id=7, pictures=255 - pictures)


def test_occlusion_segments_come_back_the_same(scene, tmp_path):
    segments = made_segments(make_masks(scene))
    save_hidden(segments, tmp_path / "hidden.npz")
    back = load_hidden(tmp_path / "hidden.npz")
    assert same(back, segments)
    assert np.array_equal(back[1].amodal_masks().mask(1), segments[1].amodal_masks().mask(1))
    save_hidden((), tmp_path / "nobody.npz")
    assert load_hidden(tmp_path / "nobody.npz") == ()


def test_nobody_has_masks(tmp_path):
    save_masks((), tmp_path / "masks.npz")
    assert load_masks(tmp_path / "masks.npz") == ()


def test_same_content_gives_the_same_bytes(scene, tmp_path, monkeypatch):
    save_scene(scene, tmp_path / "a.npz")
    monkeypatch.setattr("time.time", lambda: 4e9)
    turned = tuple(dataclasses.replace(p, joints_m=np.asfortranarray(p.joints_m)) for p in scene.people)
    save_scene(dataclasses.replace(scene, people=turned), tmp_path / "b.npz")
    save_scene(load_scene(tmp_path / "a.npz"), tmp_path / "c.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()


def test_numpy_alone_reads_the_documented_keys(scene, tmp_path):
    save_scene(scene, tmp_path / "scene.npz")
    with np.load(tmp_path / "scene.npz", allow_pickle=False) as data:
        assert str(data["format"]) == "body4d-scene"
        assert int(data["schema"]) == 2
        wrist = data["person_2/joint_names"].tolist().index("left_wrist")
        assert np.array_equal(data["person_2/joints_m"][:, wrist], scene.person(2).joint("left_wrist"))
        assert data["clip/rate"].tolist() == [30000, 1001]


@pytest.mark.parametrize("assumed", [True, False, None])
def test_whether_a_height_was_assumed_is_kept(scene, tmp_path, assumed):
    people = tuple(dataclasses.replace(person, height_assumed=assumed) for person in scene.people)
    save_scene(dataclasses.replace(scene, people=people), tmp_path / "scene.npz")
    assert {person.height_assumed for person in load_scene(tmp_path / "scene.npz").people} == {assumed}


def test_docs_name_every_key(scene, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
    clip, camera = dataclasses.replace(scene.clip, capture_rate=Fraction(240)), dataclasses.replace(scene.camera, focal_spread=0.1)
    hidden = dataclasses.replace(scene.people[0], hidden=np.zeros(len(scene.people[0]), bool), height_assumed=True)
    people = (hidden, *scene.people[1:])
    save_scene(dataclasses.replace(scene, clip=clip, camera=camera, people=people), tmp_path / "scene.npz")
    save_masks(make_masks(scene), tmp_path / "masks.npz")
    save_hidden(made_segments(make_masks(scene))[:1], tmp_path / "hidden.npz")
    for name in ("scene.npz", "masks.npz", "hidden.npz"):
        with np.load(tmp_path / name) as data:
            missing = {key.replace("person_1/", "").replace("person_2/", "").replace("segment_0/", "") for key in data.files}
        assert not {key for key in missing if f"`{key}`" not in text}, name


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("person_1/joints_m.npy")
    content[entry.header_offset + 200] ^= 1
    path.write_bytes(content)


def _drop_a_key(path: Path) -> None:
    with np.load(path) as data:
        np.savez(path, **{k: data[k] for k in data.files if k != "person_1/joints_m"})


def _wrong_shape(path: Path) -> None:
    with np.load(path) as data:
        np.savez(path, **(dict(data) | {"person_1/joints_m": np.zeros((3, 2))}))


def _newer(path: Path) -> None:
    with np.load(path) as data:
        np.savez(path, **(dict(data) | {"schema": 99}))


def _older(path: Path) -> None:
    with np.load(path) as data:
        np.savez(path, **(dict(data) | {"schema": 1}))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BAD = {
    "missing": (Path.unlink, "does not exist"),
    "empty": (lambda p: p.write_bytes(b""), "damaged or no body4d file"),
    "text": (lambda p: p.write_text("not a scene"), "damaged or no body4d file"),
    "a single array": (lambda p: np.save(p.open("wb"), np.zeros(3)), "damaged or no body4d file"),
    "a pickle": (lambda p: np.savez(p, format=np.array([{}], object)), "damaged or no body4d file"),
    "truncated": (_truncate, "damaged or no body4d file"),
    "a flipped bit": (_flip_a_bit, "damaged or no body4d file"),
    "a key gone": (_drop_a_key, "damaged or incomplete"),
    "a wrong shape": (_wrong_shape, "joints_m must have shape"),
    "older": (_older, "older body4d (schema 1, this one reads 2). Make it anew from the video"),
    "newer": (_newer, "newer body4d (schema 99"),
    "someone else's": (lambda p: np.savez(p, x=np.zeros(3)), "not a body4d scene file"),
    "the masks": (lambda p: save_masks((), p), "found: body4d-masks"),
    "a folder": (_folder, "is a folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_told_in_one_sentence(scene, name, tmp_path):
    path = tmp_path / "scene.npz"
    save_scene(scene, path)
    spoil, says = BAD[name]
    spoil(path)
    with pytest.raises(InputError, match=r"scene\.npz") as caught:
        load_scene(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_room_leaves_the_older_file(scene, tmp_path, monkeypatch):
    path = tmp_path / "scene.npz"
    save_scene(scene, path)
    before = path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OutputError, match="no room left"):
        save_scene(make_scene(frames=3, body="stick"), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["scene.npz"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_truly_full_disk_is_told(tmp_path):
    (tmp_path / ".scene.npz.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="no room left"):
        scene_file.write_npz(tmp_path / "scene.npz", "scene", {"x": np.random.default_rng(0).normal(size=100_000)})
    assert os.listdir(tmp_path) == []


def test_a_file_where_the_folder_should_be(scene, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="something else has that name"):
        save_scene(scene, tmp_path / "taken" / "scene.npz")


def test_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        scene_file.write_npz(tmp_path / "x.npz", "scene", {"x": np.array([{}], object)})
    assert os.listdir(tmp_path) == []


@pytest.mark.slow  # a child process
def test_a_kill_while_writing_leaves_the_older_file(tmp_path):
    path = tmp_path / "scene.npz"
    script = (
        "import os, sys, pathlib, numpy as np\n"
        "from body4d.core import scene_io\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "scene_io.write_npz(path, 'scene', {'x': np.zeros(3)})\n"
        "class Bomb:\n"
        "    def __array__(self, *a, **k): os._exit(9)\n"
        "scene_io.write_npz(path, 'scene', {'x': np.ones(3), 'y': Bomb()})\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == 9
    with np.load(path) as data:
        assert data["x"].tolist() == [0, 0, 0]
    scene_file.write_npz(path, "scene", {"x": np.ones(3)})
    assert os.listdir(tmp_path) == ["scene.npz"]
