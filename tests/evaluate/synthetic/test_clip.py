"""Clips small enough to film in a second, checked for what makes them a truth."""

from fractions import Fraction

import numpy as np
import pytest

from body4d.bodies.registry import body_model
from body4d.core.scene_io import load_masks, load_scene
from body4d.core.types import MaskTrack, Scene
from body4d.evaluate.synthetic.clip import SyntheticClip, make_clip
from body4d.render.rasterizer import silhouette
from body4d.video import VideoReader, VideoWriter, probe

pytestmark = pytest.mark.slow  # Anny is set up


def load(clip: SyntheticClip) -> tuple[Scene, tuple[MaskTrack, ...], list[np.ndarray]]:
    frames = [picture for _, picture in VideoReader(probe(clip.video)).read()]
    return load_scene(clip.truth, clip.video), load_masks(clip.truth_masks), frames


@pytest.fixture(scope="module")
def crossing_clip(tmp_path_factory):
    return make_clip("crossing", tmp_path_factory.mktemp("crossing"), rate=5, seed=3, size=(320, 192))


@pytest.fixture(scope="module")
def crossing(crossing_clip):
    return load(crossing_clip)


def test_the_truth_fits_the_video(crossing):
    scene, masks, frames = crossing
    assert len(scene.clip) == len(frames) == 15
    assert scene.clip.rate == 5
    assert (scene.clip.width_px, scene.clip.height_px) == (320, 192)
    assert [p.person_id for p in scene.people] == [m.person_id for m in masks] == [1, 2]
    for person, mask in zip(scene.people, masks, strict=True):
        np.testing.assert_array_equal(person.frame_index, mask.frame_index)


def test_joints_come_from_the_stored_body_and_project_onto_the_stored_keypoints(crossing):
    scene, _, _ = crossing
    for person in scene.people:
        rig = body_model("anny").rig(person.shape)
        joints = rig.keypoints(*rig.forward(person.rotations, person.translation_m))
        np.testing.assert_allclose(joints, person.joints_m, atol=2e-4)
        np.testing.assert_allclose(scene.camera.project(person.joints_m), person.keypoints_px, atol=0.1)


def test_masks_are_silhouettes_with_the_nearer_person_in_front(crossing):
    scene, masks, _ = crossing
    hidden = 0
    for frame in range(len(scene.clip)):
        silhouettes, seen = [], []
        for person, track in zip(scene.people, masks, strict=True):
            row = person.row(frame)
            if row is None:
                silhouettes.append(np.zeros((192, 320), bool))
                seen.append(silhouettes[-1])
                continue
            rig = body_model("anny").rig(person.shape)
            rows = slice(row, row + 1)
            vertices = rig.vertices(*rig.forward(person.rotations[rows], person.translation_m[rows]))[0]
            silhouettes.append(silhouette(vertices, rig.faces, scene.camera))
            seen.append(track.mask(row))
        near, far = silhouettes
        assert np.count_nonzero(seen[0] ^ near) <= 4  # rounding at edges
        assert np.count_nonzero(seen[1] ^ (far & ~near)) <= 4
        hidden = max(hidden, np.count_nonzero(far & near) / max(np.count_nonzero(far), 1))
    assert hidden > 0.4


def test_hidden_keypoints_are_marked(crossing):
    scene, masks, _ = crossing
    near, far = scene.people
    assert near.visibility[len(near) // 2].all()
    checked = 0
    for row, frame in enumerate(far.frame_index):
        front = masks[0].mask(near.row(int(frame))) if near.row(int(frame)) is not None else np.zeros((192, 320), bool)
        for k, (x, y) in enumerate(far.keypoints_px[row]):
            if 0 <= x < 320 and 0 <= y < 192:
                assert far.visibility[row, k] == (not front[int(y), int(x)])
                checked += far.visibility[row, k] == 0
            else:
                assert far.visibility[row, k] == 0
    assert checked > 5


def test_the_people_are_drawn_where_the_truth_says(crossing):
    """Every visible person's pixels differ from the meadow, which shows where nobody is and no shadow falls."""
    _, masks, frames = crossing
    pictures = np.stack(frames).astype(np.float32)
    meadow = np.median(pictures, 0)
    for frame in (4, 7, 10):
        moved = np.abs(pictures[frame] - meadow).max(-1) > 25
        for track in masks:
            mask = track.mask(list(track.frame_index).index(frame))
            assert moved[mask].mean() > 0.75
        sky = np.zeros((192, 320), bool)
        sky[:40] = True
        anybody = np.any([t.mask(list(t.frame_index).index(frame)) for t in masks], axis=0)
        assert moved[sky & ~anybody].mean() < 0.1


def test_the_world_has_its_floor_under_the_feet(crossing):
    scene, _, _ = crossing
    T = scene.T_world_camera
    for person in scene.people:
        world = person.joints_m @ T[:3, :3].T + T[:3, 3]
        heels = world[:, [person.joint_names.index(f"{s}_heel") for s in ("left", "right")], 1]
        assert 0 < heels.min() < 0.06
        assert 1.3 < world[..., 1].max() < 1.9
    first = scene.people[0].translation_m[0] @ T[:3, :3].T + T[:3, 3]
    np.testing.assert_allclose(first[[0, 2]], 0, atol=1e-5)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-6)
    assert np.linalg.det(T[:3, :3]) > 0


def test_the_same_call_renders_the_same_pictures_and_another_seed_others(crossing_clip, tmp_path, monkeypatch):
    pictures: list[list[bytes]] = []
    enter, write = VideoWriter.__enter__, VideoWriter.write
    monkeypatch.setattr(VideoWriter, "__enter__", lambda self: (pictures.append([]), enter(self))[1])
    monkeypatch.setattr(VideoWriter, "write", lambda self, rgb: (pictures[-1].append(rgb.tobytes()), write(self, rgb))[1])
    arguments = {"kind": "crossing", "rate": 5, "size": (320, 192)}
    again = make_clip(folder=tmp_path / "a", seed=3, **arguments)
    make_clip(folder=tmp_path / "b", seed=3, **arguments)
    other = make_clip(folder=tmp_path / "c", seed=4, **arguments)
    assert len(pictures[0]) == 15
    assert pictures[0] == pictures[1]
    assert all(a != b for a, b in zip(pictures[0], pictures[2], strict=True))
    for name in ("truth", "truth_masks"):
        assert getattr(again, name).read_bytes() == getattr(crossing_clip, name).read_bytes()
        assert getattr(other, name).read_bytes() != getattr(crossing_clip, name).read_bytes()


def test_one_movement_at_several_rates(tmp_path):
    """The swing at 120 frames/s passes through what it is at 30."""
    slow = load_scene(make_clip("swing", tmp_path / "slow", rate=30, seconds=0.5, size=(96, 128)).truth)
    fast = load_scene(make_clip("swing", tmp_path / "fast", rate=120, seconds=0.5, size=(96, 128)).truth)
    assert (len(slow.clip), len(fast.clip)) == (15, 60)
    np.testing.assert_allclose(fast.people[0].joints_m[::4], slow.people[0].joints_m, atol=1e-5)


def test_a_fractional_rate_is_kept(tmp_path):
    clip = make_clip("walk", tmp_path, rate=Fraction(30000, 1001), seconds=0.2, size=(96, 96))
    scene = load_scene(clip.truth)
    assert float(scene.clip.rate) == pytest.approx(30000 / 1001, rel=1e-6)
    np.testing.assert_allclose(scene.clip.times_s, np.arange(6) * 1001 / 30000, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "dance"}, "unknown kind 'dance'"),
        ({"kind": "swing", "view": "side"}, "cannot be filmed from 'side'"),
        ({"kind": "walk", "size": (101, 100)}, "must be even"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        make_clip(folder=tmp_path, **arguments)
    assert not list(tmp_path.iterdir())
