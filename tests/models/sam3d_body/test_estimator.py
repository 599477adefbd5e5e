"""The estimator around a tiny network with random weights: batches, frames, one body for the clip, confidence and visibility."""

import threading
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
from body4d.core.camera import CameraPath
from body4d.core.errors import DeviceError, InputError, RunWarning
from body4d.core.joints import Coco17, Mhr70
from body4d.core.occlusion import OcclusionSegment
from body4d.core.stages import ignore_progress
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack
from body4d.models.sam3d_body import estimator as estimator_module
from body4d.models.sam3d_body.agreement import (
    BODY_JOINTS,
    HAND_KEYPOINTS,
    OUTSIDE_VISIBILITY,
    PREDICTED_HAND_VISIBILITY,
    frame_confidence,
    inside_frame,
    keypoint_visibility,
    mask_agreement,
)
from body4d.models.sam3d_body.checkpoint import dense_mapping
from body4d.models.sam3d_body.estimator import MAX_BATCH_SIZE, Sam3dBodyEstimator
from body4d.models.sam3d_body.inference import (
    FACE_COLUMNS,
    MODEL_COLUMNS,
    SHAPE_COLUMNS,
    InferenceSession,
    QueuedPrediction,
    masks_of_edges,
)
from body4d.models.sam3d_body.network import hands as hands_module
from body4d.models.sam3d_body.person_crops import iter_crop_batches
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


@pytest.fixture
def any_hand_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hands_module, "HAND_MIN_SIDE_PX", 0.0)
    monkeypatch.setattr(hands_module, "WRIST_MAX_ANGLE_RAD", 4.0)
    monkeypatch.setattr(hands_module, "HAND_KEYPOINT_MAX_OFFSET", 1e6)
    monkeypatch.setattr(hands_module, "WRIST_MAX_DISTANCE_SHARE", 1e6)


def recover(parts, masks, mode: Literal["body", "full"] = "full", **compute) -> tuple[tuple[BodyTrack, ...], tuple[RunWarning, ...]]:
    compute_settings = ComputeSettings(device="cpu", **compute)
    estimator = Sam3dBodyEstimator(lambda device, dtype: parts, Sam3dBodySettings(mode=mode), compute_settings)
    output = estimator.estimate(Frames(), masks, CAMERA, ignore_progress)
    return output.value, output.warnings


def test_a_network_loaded_ahead_gives_the_same_bodies(parts, masks, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU there is no room for it: here it is given."""
    monkeypatch.setattr(estimator_module, "has_room_ahead", lambda device: True)
    threads: list[str] = []

    def load(device: torch.device, dtype: torch.dtype):
        threads.append(threading.current_thread().name)
        return parts

    estimator = Sam3dBodyEstimator(load, Sam3dBodySettings(), ComputeSettings(device="cpu"))
    frames = Frames()
    estimator.load_ahead(frames.clip)
    found = estimator.estimate(frames, masks, CAMERA, ignore_progress).value
    same(found, recover(parts, masks)[0])
    assert [name.split("_")[0] for name in threads] == ["body4d-load"]


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
        assert not track.parameters[:, FACE_COLUMNS].any()
        assert ((track.confidence > 0) & (track.confidence <= 1)).all()
        # The network's own joints, through our camera, fall where it says its keypoints are.
        np.testing.assert_allclose(CAMERA.project(track.joints_m.astype(np.float64)), track.keypoints_px, atol=0.02)


@pytest.mark.parametrize("mode", ["body", "full"])
@pytest.mark.usefixtures("any_hand_is_used")
def test_results_do_not_depend_on_the_batch(parts, masks, mode: Literal["body", "full"]) -> None:
    one, _ = recover(parts, masks, mode, batch_size=1)
    for batch_size in (3, 64):
        same(recover(parts, masks, mode, batch_size=batch_size)[0], one)
    # Nor is it the same for everybody anyway.
    assert np.abs(one[0].joints_m[0] - one[0].joints_m[1]).max() > 1e-3


@pytest.mark.usefixtures("any_hand_is_used")
def test_hands_are_visible_in_full_mode_alone(parts, masks) -> None:
    body, _ = recover(parts, masks, "body")
    assert (body[0].visibility[:, HAND_KEYPOINTS["left"]] <= PREDICTED_HAND_VISIBILITY).all()
    full, _ = recover(parts, masks)
    inside = (full[0].keypoints_px > 0).all(-1) & (full[0].keypoints_px < [W, H]).all(-1)
    assert (full[0].visibility[inside] == 1).all()


def test_out_of_memory_halves_the_batch_and_says_so(parts, masks, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = recover(parts, masks, batch_size=8)
    real, tried = InferenceSession.queue, []

    def small(self, batch, rows, net=None):
        tried.append(len(batch.crops[rows]))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, batch, rows, net)

    monkeypatch.setattr(InferenceSession, "queue", small)
    found, warnings = recover(parts, masks, batch_size=8)
    assert tried[:2] == [8, 4]
    assert max(tried[3:]) <= 2
    assert [warning.code for warning in warnings] == ["smaller_batches"]
    same(found, expected)
    monkeypatch.setattr(InferenceSession, "queue", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    with pytest.raises(DeviceError, match="even one"):
        recover(parts, masks)


def test_a_batch_without_room_beside_the_one_before_is_sent_after_it(parts, masks, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = recover(parts, masks, batch_size=2)
    real, threads = InferenceSession.send, []

    def full(self, images, crops):
        threads.append(threading.current_thread())
        if threads[-1] is not threading.main_thread():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, images, crops)

    monkeypatch.setattr(InferenceSession, "send", full)
    found, _ = recover(parts, masks, batch_size=2)
    assert threading.main_thread() in threads
    same(found, expected)


def test_a_body_beyond_float16_is_computed_again(parts, masks, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = recover(parts, masks)
    monkeypatch.setattr(estimator_module, "choose_dtype", lambda *_: torch.float16)
    real, fetched = QueuedPrediction.fetch, []

    def overflowing(self):
        found = real(self)
        fetched.append(len(fetched))
        return replace(found, parameters=np.full_like(found.parameters, np.inf)) if len(fetched) == 1 else found

    monkeypatch.setattr(QueuedPrediction, "fetch", overflowing)
    found, warnings = recover(parts, masks)
    assert [(warning.code, warning.facts["crops"] > 0) for warning in warnings] == [("float16_overflow", True)]
    same(found, expected)


def test_each_frame_is_read_once_at_its_own_size_and_none_for_nobody(masks) -> None:
    frames = Frames()
    late = (mask_track(1, [2, 3], 40), mask_track(2, [3], 180))
    batches = list(iter_crop_batches(frames, late, lambda: 2))
    assert frames.read_frames == [2, 3]
    assert [[crop.person for crop in crops] for _, crops in batches] == [[0], [0, 1]]
    for images, crops in batches:
        assert all(image.shape == (H, W, 3) for image in images)
        assert all(len(crop.edges) == 2 * 60 for crop in crops)  # a bar of 60 columns
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
    np.testing.assert_allclose(track.shape[:45], np.median(track.parameters[:, SHAPE_COLUMNS], 0), atol=1.0)
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
    estimator = Sam3dBodyEstimator(lambda device, dtype: parts, Sam3dBodySettings(), ComputeSettings(device="cpu"), person_height_m=1.83)
    tall = estimator.estimate(Frames(), masks, CAMERA, ignore_progress).value
    assert tall[0].rig is not None
    assert tall[0].rig.height_m == pytest.approx(1.83, rel=1e-5)
    for one, other in zip(plain, tall, strict=True):
        factor = other.joints_m[0, 0, 2] / one.joints_m[0, 0, 2]
        np.testing.assert_allclose(other.translation_m, one.translation_m * factor, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(CAMERA.project(other.joints_m), CAMERA.project(one.joints_m), atol=0.01)
        points = [t.rig.keypoints(*t.rig.forward(t.rotations.astype(float), t.translation_m.astype(float))) for t in (one, other)]
        np.testing.assert_allclose(points[1], points[0] * factor, rtol=1e-3, atol=1e-4)


def test_each_frame_is_seen_with_its_own_focal_length(parts, masks) -> None:
    """Frames before a zoom are as before a lens that stays short, those after it as before one that always was long."""
    focal_px = np.array([300.0, 300.0, 300.0, 600.0, 600.0])
    none, still = np.zeros(FRAMES), np.tile(np.eye(4), (FRAMES, 1, 1))
    zooming = replace(CAMERA, static=False, path=CameraPath("rotating", still, focal_px, none, none, none))
    of_camera = {}
    for name, camera in {"zooming": zooming, "short": CAMERA, "long": replace(CAMERA, focal_px=600.0)}.items():
        estimator = Sam3dBodyEstimator(lambda device, dtype: parts, Sam3dBodySettings(mode="body"), ComputeSettings(device="cpu"))
        of_camera[name] = estimator.estimate(Frames(), masks[:1], camera, ignore_progress).value[0]
    for rows, name in ((slice(0, 3), "short"), (slice(3, 5), "long")):
        np.testing.assert_allclose(of_camera["zooming"].parameters[rows], of_camera[name].parameters[rows], atol=1e-5)
        np.testing.assert_allclose(of_camera["zooming"].joints_m[rows], of_camera[name].joints_m[rows], atol=1e-4)


def test_models_are_loaded_when_work_begins(parts) -> None:
    def fail(device, dtype):
        raise AssertionError("loaded too early")

    Sam3dBodyEstimator(fail, Sam3dBodySettings(), ComputeSettings())


def test_batch_follows_free_memory(parts, masks, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = estimator_module.choose_batch_size
    monkeypatch.setattr(estimator_module, "free_memory_bytes", lambda device: 1)
    monkeypatch.setattr(estimator_module, "choose_batch_size", lambda *a: sizes.append(real(*a)) or sizes[-1])
    recover(parts, masks)
    monkeypatch.setattr(estimator_module, "free_memory_bytes", lambda device: 1 << 40)
    recover(parts, masks)
    assert sizes == [1, MAX_BATCH_SIZE["cpu"]]


def test_columns_of_the_parameters() -> None:
    assert tuple(c.stop - c.start for c in (MODEL_COLUMNS, SHAPE_COLUMNS, FACE_COLUMNS)) == (204, 45, 72)


def occlusion_segment(frames: list[int], hidden: list[bool]) -> OcclusionSegment:
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


def test_an_occluded_person_gets_a_completed_image_of_their_own(masks) -> None:
    visible = (half_seen(masks[0], [1, 2, 3]), masks[1])
    segment = occlusion_segment([1, 2, 3], [False, True, False])
    frames = Frames()
    ((images, crops),) = iter_crop_batches(frames, visible, lambda: 64, [segment])
    assert frames.read_frames == [0, 1, 2, 3, 4]
    by_row = {(crop.person, crop.row): crop for crop in crops}
    for row in (1, 2, 3):
        crop = by_row[0, row]
        assert crop.box_px.tolist() == [40 + 3 * row, 20, 100 + 3 * row, 220]  # of the amodal mask
        assert np.diff(crop.edges)[::2].sum() == 60 * 200
        own, filmed = images[crop.image_index], frames.pictures[row]
        assert (own[120:220, 40 + 3 * row : 100 + 3 * row] == (255, 0, 0)).all()
        np.testing.assert_array_equal(own[:120], filmed[:120])  # what is visible stays as it was filmed
        np.testing.assert_array_equal(own[:, 100 + 3 * row :], filmed[:, 100 + 3 * row :])
    # Everybody else gets the frame itself, into which nothing was painted.
    for person, row, frame in ((1, 0, 1), (1, 1, 2), (1, 2, 4), (0, 0, 0), (0, 4, 4)):
        np.testing.assert_array_equal(images[by_row[person, row].image_index], frames.pictures[frame])
    assert by_row[0, 4].image_index == by_row[1, 2].image_index
    assert len(images) == 5 + 2


def test_occluded_frames_are_flagged_and_less_confident(parts, masks) -> None:
    seen = (half_seen(masks[0], [1, 2, 3]), masks[1])
    segment = occlusion_segment([1, 2, 3], [False, True, False])
    settings = Sam3dBodySettings(mode="body")
    estimator = Sam3dBodyEstimator(lambda device, dtype: parts, settings, ComputeSettings(device="cpu"))
    one, two = estimator.estimate(Frames(), seen, CAMERA, ignore_progress, [segment]).value
    assert one.hidden is not None
    assert one.hidden.tolist() == [False, False, True, False, False]
    assert two.hidden is None
    # The network looks at single frames: as if the whole had been filmed so, but for the trust.
    plain = Frames()
    for row in (1, 2, 3):
        plain.pictures[row, 120:220, 40 + 3 * row : 100 + 3 * row] = (255, 0, 0)
    filmed, _ = estimator.estimate(plain, masks, CAMERA, ignore_progress).value
    np.testing.assert_allclose(one.parameters, filmed.parameters, atol=1e-5)
    np.testing.assert_allclose(one.keypoints_px, filmed.keypoints_px, atol=1e-2)
    np.testing.assert_allclose(one.confidence, filmed.confidence * np.where(one.hidden, 0.4, 1.0), rtol=1e-5)


def person_mask() -> np.ndarray:
    mask = np.zeros((300, 200), bool)
    mask[50:250, 80:120] = True
    return mask


def test_body_joints_are_those_of_coco() -> None:
    assert [Mhr70(i).name for i in BODY_JOINTS] == [joint.name for joint in Coco17]


def test_hands_cover_each_finger_and_its_wrist() -> None:
    names = [joint.name for joint in Mhr70]
    for side, part in HAND_KEYPOINTS.items():
        assert len(names[part]) == 21
        assert all(name.startswith(side.upper()) for name in names[part])


def edges_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Edges, box and the frame's width and height of a mask."""
    track = MaskTrack(1, np.array([0]), (MaskTrack.encode(mask),), *mask.shape)
    return track.edges(0), track.boxes_px()[0], mask.shape[::-1]


def test_masks_are_made_of_their_edges() -> None:
    made = np.random.default_rng(0).random((3, 7, 5)) > 0.5
    found = masks_of_edges([edges_of(mask)[0] for mask in made], 7, 5, torch.device("cpu"))
    np.testing.assert_array_equal(found.numpy(), made)


@pytest.mark.parametrize(
    ("what", "point", "share"),
    [
        ("on it", (100, 100), 1.0),
        ("its last column", (119.9, 100), 1.0),
        ("as near as 3 % of 200 px", (125, 100), 1.0),
        ("farther", (127, 100), 0.0),
        ("outside the frame", (-3, 100), 0.0),
        ("nowhere", (np.nan, 100), 0.0),
    ],
)
def test_agreement_of_one_point(what: str, point: tuple[float, float], share: float) -> None:
    assert mask_agreement(np.array([point], float), *edges_of(person_mask())) == share


def test_agreement_is_a_share_and_an_empty_mask_agrees_with_nothing() -> None:
    points = np.array([[100, 100], [100, 200], [10, 10], [100, 240.0]])
    assert mask_agreement(points, *edges_of(person_mask())) == 0.75
    assert mask_agreement(points, *edges_of(np.zeros((300, 200), bool))) == 0.0


def test_confidence_counts_main_joints_alone_and_keeps_a_floor() -> None:
    points = np.full((70, 2), [10.0, 10.0])
    assert frame_confidence(points, *edges_of(person_mask()), 0.05) == 0.05
    points[BODY_JOINTS] = [100, 100]
    assert frame_confidence(points, *edges_of(person_mask()), 0.05) == 1.0
    points[BODY_JOINTS[:5]] = [10, 10]
    assert frame_confidence(points, *edges_of(person_mask()), 0.05) == pytest.approx(12 / 17)


def test_visibility_of_hands_predicted_and_of_points_outside() -> None:
    points = np.full((2, 70, 2), 100.0)
    points[1, Mhr70.NOSE] = [200, 10]
    out = keypoint_visibility(points, np.array([[True, False], [True, True]]), 200, 300)
    assert (out[0, HAND_KEYPOINTS["left"]] == 1).all()
    assert (out[0, HAND_KEYPOINTS["right"]] == np.float32(PREDICTED_HAND_VISIBILITY)).all()
    assert out[1, Mhr70.NOSE] == np.float32(OUTSIDE_VISIBILITY)
    assert (np.delete(out[1], Mhr70.NOSE) == 1).all()
    assert not inside_frame(np.array([[200.0, 10.0]]), 200, 300)[0]
