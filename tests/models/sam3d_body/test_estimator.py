"""The seat around a tiny network with random weights: batches, frames, one body for the clip, what is left out."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import sam3d_helpers as helpers
from body4d.bodies.mhr.module import load_mhr
from body4d.config import ComputeSettings, Sam3dBodySettings
from body4d.core.errors import DeviceError, InputError
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import ignore_progress
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack
from body4d.models.sam3d_body import estimator as adapter
from body4d.models.sam3d_body.estimator import FACE, MODEL, SHAPE, Recovery, Sam3dBodyEstimator, dense_mapping, gathered
from mhr_files import make_rig, save_script

W, H, FRAMES = 320, 240, 5
CAMERA = Camera(300.0, 150.0, 125.0, W, H)


class Frames:
    """A few frames of noise; counts how often each is read."""

    def __init__(self) -> None:
        made = np.random.default_rng(0)
        self.pictures = made.integers(0, 256, (FRAMES, H, W, 3), dtype=np.uint8)
        self.clip = Clip(Path("clip.mp4"), W, H, Fraction(30), np.arange(FRAMES) / 30, np.arange(FRAMES), Fraction(30))
        self.read_frames: list[int] = []

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for frame in range(first, FRAMES if last is None else last, step):
            self.read_frames.append(frame)
            yield frame, self.pictures[frame]


def mask_track(person_id: int, frames: list[int], x: int, empty: tuple[int, ...] = ()) -> MaskTrack:
    codes = []
    for frame in frames:
        mask = np.zeros((H, W), bool)
        if frame not in empty:
            mask[20:220, x + 3 * frame : x + 60 + 3 * frame] = True
        codes.append(MaskTrack.encode(mask))
    return MaskTrack(person_id, np.array(frames), tuple(codes), H, W)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory):
    net = helpers.tiny_net(replace(helpers.TINY, crop_px=128))
    mhr = load_mhr(save_script(make_rig(vertices=300, joints=127, faces=200), tmp_path_factory.mktemp("rig") / "mhr_model.pt"))
    mhr.file = replace(mhr.file, keypoint_mapping=dense_mapping(net.body.head_pose, 300))
    return net, mhr


@pytest.fixture
def masks() -> tuple[MaskTrack, ...]:
    return mask_track(7, [0, 1, 2, 3, 4], 40), mask_track(2, [1, 2, 4], 180)


def recover(parts, masks, settings: Sam3dBodySettings | None = None, **compute) -> tuple[tuple[BodyTrack, ...], Sam3dBodyEstimator]:
    settings = settings or Sam3dBodySettings(hand_box_least_px=1.0, wrist_angle_most_rad=4.0)
    estimator = Sam3dBodyEstimator(lambda device, dtype: parts, settings, ComputeSettings(device="cpu", **compute))
    return estimator.estimate(Frames(), masks, CAMERA, ignore_progress), estimator


def same(a: tuple[BodyTrack, ...], b: tuple[BodyTrack, ...]) -> None:
    for one, other in zip(a, b, strict=True):
        for name in ("parameters", "joints_m", "keypoints_px", "rotations", "translation_m", "shape", "confidence"):
            x, y = getattr(one, name), getattr(other, name)
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4 * max(np.abs(y).max(), 1e-3), err_msg=name)


def test_tracks_are_those_of_the_masks(parts, masks) -> None:
    tracks, _ = recover(parts, masks)
    assert [track.person_id for track in tracks] == [7, 2]
    for track, mask in zip(tracks, masks, strict=True):
        np.testing.assert_array_equal(track.frame_index, mask.frame_index)
        assert track.parameters.shape == (len(mask), 321)
        assert track.rotations.shape == (len(mask), 127, 3)
        assert track.joints_m.shape == (*track.keypoints_px.shape[:2], 3) == (len(mask), 70, 3)
        assert track.shape.shape == (113,)
        assert not track.parameters[:, FACE].any()
        assert ((track.confidence > 0) & (track.confidence <= 1)).all()
        # The network's own joints, through our camera, fall where it says its keypoints are.
        np.testing.assert_allclose(CAMERA.project(track.joints_m.astype(np.float64)), track.keypoints_px, atol=0.02)


@pytest.mark.parametrize("mode", ["body", "full"])
def test_results_do_not_depend_on_the_batch(parts, masks, mode: Literal["body", "full"]) -> None:
    settings = Sam3dBodySettings(mode=mode, hand_box_least_px=1.0, wrist_angle_most_rad=4.0)
    one, _ = recover(parts, masks, settings, batch_size=1)
    for batch in (3, 64):
        same(recover(parts, masks, settings, batch_size=batch)[0], one)
    # Nor is it the same for everybody anyway.
    assert np.abs(one[0].joints_m[0] - one[0].joints_m[1]).max() > 1e-3


def test_hands_are_seen_in_full_mode_alone(parts, masks) -> None:
    settings = Sam3dBodySettings()
    body, _ = recover(parts, masks, Sam3dBodySettings(mode="body"))
    assert (body[0].visibility[:, 42:63] <= settings.hand_guess_visibility).all()
    loose = Sam3dBodySettings(hand_box_least_px=0, wrist_angle_most_rad=4, hand_keypoint_most=1e6, wrist_distance_most_share=1e6)
    full, _ = recover(parts, masks, loose)
    inside = (full[0].keypoints_px > 0).all(-1) & (full[0].keypoints_px < [W, H]).all(-1)
    assert (full[0].visibility[inside] == 1).all()


def test_out_of_memory_halves_the_batch_and_says_so(parts, masks, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, _ = recover(parts, masks, batch_size=8)
    real, tried = Recovery.__call__, []

    def small(self, pictures, wanted):
        tried.append(len(wanted))
        if len(wanted) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, pictures, wanted)

    monkeypatch.setattr(Recovery, "__call__", small)
    found, estimator = recover(parts, masks, batch_size=8)
    assert tried[:2] == [8, 4]
    assert max(tried[3:]) <= 2
    assert len(estimator.notes) == 1
    assert "fewer" in estimator.notes[0]
    same(found, wanted)
    monkeypatch.setattr(Recovery, "__call__", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    with pytest.raises(DeviceError, match="even one"):
        recover(parts, masks)


def test_each_frame_is_read_once_at_its_own_size_and_none_for_nobody(masks) -> None:
    frames = Frames()
    late = (mask_track(1, [2, 3], 40), mask_track(2, [3], 180))
    batches = list(gathered(frames, late, lambda: 2))
    assert frames.read_frames == [2, 3]
    assert [[want.person for want in wanted] for _, wanted in batches] == [[0], [0, 1]]
    for pictures, wanted in batches:
        assert all(picture.shape == (H, W, 3) for picture in pictures)
        assert all(want.mask.shape == (H, W) for want in wanted)
    np.testing.assert_array_equal(batches[1][0][0], frames.pictures[3])
    np.testing.assert_array_equal(batches[0][1][0].box_px, [46, 20, 106, 220])


def test_frames_with_an_empty_mask_are_left_out(parts) -> None:
    tracks, _ = recover(parts, (mask_track(3, [0, 1, 2], 40, empty=(1,)),))
    np.testing.assert_array_equal(tracks[0].frame_index, [0, 2])
    with pytest.raises(InputError, match="Person 3 has no mask on any frame"):
        recover(parts, (mask_track(3, [0, 1], 40, empty=(0, 1)),))


def test_one_body_for_the_clip_stands_where_it_is_seen(parts, masks) -> None:
    """A body of the clip's size at the network's distance would be seen too large or too small."""
    tracks, _ = recover(parts, masks)
    track, (_, mhr) = tracks[0], parts
    assert track.rig is not None
    np.testing.assert_allclose(track.shape[:45], np.median(track.parameters[:, SHAPE], 0), atol=1.0)
    np.testing.assert_allclose(track.rig.rest_vertices_m, mhr.rig(track.shape).rest_vertices_m, atol=1e-6)
    points = track.rig.keypoints(*track.rig.forward(track.rotations.astype(np.float64), track.translation_m.astype(np.float64)))
    ours = np.linalg.norm(CAMERA.project(points) - track.keypoints_px, axis=-1)
    # Moved along the ray by a tenth either way, its keypoints fit worse.
    for factor in (0.9, 1.1):
        moved = points + (track.translation_m * (factor - 1))[:, None]
        worse = np.linalg.norm(CAMERA.project(moved) - track.keypoints_px, axis=-1)
        assert np.sqrt((ours**2).mean()) < np.sqrt((worse**2).mean())


def test_a_known_height_scales_everybody_and_no_picture(parts, masks) -> None:
    plain, _ = recover(parts, masks)
    settings = Sam3dBodySettings(hand_box_least_px=1.0, wrist_angle_most_rad=4.0)
    estimator = Sam3dBodyEstimator(lambda device, dtype: parts, settings, ComputeSettings(device="cpu"), person_height_m=1.83)
    tall = estimator.estimate(Frames(), masks, CAMERA, ignore_progress)
    assert tall[0].rig is not None
    assert tall[0].rig.height_m == pytest.approx(1.83, rel=1e-5)
    for one, other in zip(plain, tall, strict=True):
        factor = other.joints_m[0, 0, 2] / one.joints_m[0, 0, 2]
        np.testing.assert_allclose(other.translation_m, one.translation_m * factor, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(CAMERA.project(other.joints_m), CAMERA.project(one.joints_m), atol=0.01)
        points = [t.rig.keypoints(*t.rig.forward(t.rotations.astype(float), t.translation_m.astype(float))) for t in (one, other)]
        np.testing.assert_allclose(points[1], points[0] * factor, rtol=1e-3, atol=1e-4)


def test_models_are_loaded_when_work_begins(parts) -> None:
    def fail(device, dtype):
        raise AssertionError("loaded too early")

    Sam3dBodyEstimator(fail, Sam3dBodySettings(), ComputeSettings())


def test_batch_follows_free_memory(parts, masks, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = adapter.choose_batch_size
    monkeypatch.setattr(adapter, "free_memory_bytes", lambda device: 1)
    monkeypatch.setattr(adapter, "choose_batch_size", lambda *a: sizes.append(real(*a)) or sizes[-1])
    recover(parts, masks)
    monkeypatch.setattr(adapter, "free_memory_bytes", lambda device: 1 << 40)
    recover(parts, masks)
    assert sizes == [1, adapter._MOST["cpu"]]


def test_columns_of_the_parameters() -> None:
    assert (MODEL.stop - MODEL.start, SHAPE.stop - SHAPE.start, FACE.stop - FACE.start) == (204, 45, 72)


def hidden_stretch(frames: list[int], hidden: list[bool]) -> OcclusionSegment:
    """Person 7 of the fixture, whose lower half is not seen, completed in red."""
    whole = []
    for frame in frames:
        mask = np.zeros((H, W), bool)
        mask[20:220, 40 + 3 * frame : 100 + 3 * frame] = True
        whole.append(MaskTrack.encode(mask))
    red = np.zeros((len(frames), 60, 80, 3), np.uint8)
    red[..., 0] = 255
    share = np.full(len(frames), 0.4, np.float32)
    return OcclusionSegment(7, np.array(frames), np.array(hidden), share, tuple(whole), H, W, np.array([0, 0, W, H]), red)


def half_seen(track: MaskTrack, frames: list[int]) -> MaskTrack:
    codes = list(track.codes)
    for frame in frames:
        mask = track.mask(frame)
        mask[120:] = False
        codes[frame] = MaskTrack.encode(mask)
    return replace(track, codes=tuple(codes))


def test_who_is_hidden_is_shown_completed_in_a_picture_of_their_own(masks) -> None:
    seen = (half_seen(masks[0], [1, 2, 3]), masks[1])
    stretch = hidden_stretch([1, 2, 3], [False, True, False])
    frames = Frames()
    ((pictures, wanted),) = gathered(frames, seen, lambda: 64, [stretch])
    assert frames.read_frames == [0, 1, 2, 3, 4]
    by_row = {(want.person, want.row): want for want in wanted}
    for row in (1, 2, 3):
        want = by_row[0, row]
        assert want.box_px.tolist() == [40 + 3 * row, 20, 100 + 3 * row, 220]  # of the whole outline
        assert want.mask.sum() == 60 * 200
        own, filmed = pictures[want.picture], frames.pictures[row]
        assert (own[120:220, 40 + 3 * row : 100 + 3 * row] == (255, 0, 0)).all()
        np.testing.assert_array_equal(own[:120], filmed[:120])  # what is seen stays as it was filmed
        np.testing.assert_array_equal(own[:, 100 + 3 * row :], filmed[:, 100 + 3 * row :])
    # Everybody else looks at the frame itself, which nobody painted in.
    for person, row, frame in ((1, 0, 1), (1, 1, 2), (1, 2, 4), (0, 0, 0), (0, 4, 4)):
        np.testing.assert_array_equal(pictures[by_row[person, row].picture], frames.pictures[frame])
    assert by_row[0, 4].picture == by_row[1, 2].picture
    assert len(pictures) == 5 + 2


def test_hidden_frames_are_flagged_and_trusted_less(parts, masks) -> None:
    seen = (half_seen(masks[0], [1, 2, 3]), masks[1])
    stretch = hidden_stretch([1, 2, 3], [False, True, False])
    settings = Sam3dBodySettings(mode="body")
    estimator = Sam3dBodyEstimator(lambda device, dtype: parts, settings, ComputeSettings(device="cpu"))
    one, two = estimator.estimate(Frames(), seen, CAMERA, ignore_progress, [stretch])
    assert one.hidden is not None
    assert one.hidden.tolist() == [False, False, True, False, False]
    assert two.hidden is None
    # The network looks at single frames: as if the whole had been filmed so, but for the trust.
    plain = Frames()
    for row in (1, 2, 3):
        plain.pictures[row, 120:220, 40 + 3 * row : 100 + 3 * row] = (255, 0, 0)
    filmed, _ = estimator.estimate(plain, masks, CAMERA, ignore_progress)
    np.testing.assert_allclose(one.parameters, filmed.parameters, atol=1e-5)
    np.testing.assert_allclose(one.keypoints_px, filmed.keypoints_px, atol=1e-2)
    np.testing.assert_allclose(one.confidence, filmed.confidence * np.where(one.hidden, 0.4, 1.0), rtol=1e-5)
