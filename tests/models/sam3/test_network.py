"""SAM-3's network on tiny random weights: pixels, batches, detections, and one person's tracker, against transformers' own ways."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Sam3TrackerVideoModel
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

from body4d.models.sam3.checkpoint import load_sam3
from body4d.models.sam3.network import Sam3Network, TrackerFeatures, merge_detections, preprocess
from body4d.models.sam3.object_tracker import ObjectTracker
from body4d.models.sam3.prompts import FramePrompt
from sam3_files import SIZE, write_tiny_sam3

W, H, FRAMES = 64, 48, 40
CPU = torch.device("cpu")
CLICK = FramePrompt(np.array([[30.0, 24.0]]), np.array([1]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam3(tmp_path_factory.mktemp("weights"), finds=False)


@pytest.fixture(scope="module")
def network(folder: Path) -> Iterator[Sam3Network]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Sam3Network(load_sam3(folder), 0.01, CPU, torch.float32)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    made = np.random.default_rng(0)
    clip = made.integers(0, 60, (FRAMES, H, W, 3), dtype=np.uint8)
    for t in range(FRAMES):
        clip[t, 14:34, 5 + t : 21 + t] = (220, 180, 40)
    return clip


@pytest.fixture(scope="module")
def features(network: Sam3Network, pictures: np.ndarray) -> list[TrackerFeatures]:
    return [f for f, _ in network.encode_frames(list(pictures), [False] * FRAMES, [])]


@pytest.mark.parametrize("size", [(240, 320), (50, 40), (112, 112)])
def test_pixels_are_squashed_as_pillow_does_it(size: tuple[int, int]) -> None:
    made = np.random.default_rng(1)
    picture = made.integers(0, 256, (*size, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BILINEAR), np.float32)
    ours = preprocess(torch.from_numpy(picture[None]), SIZE)
    assert ours.shape == (1, 3, SIZE, SIZE)
    levels = (ours[0].permute(1, 2, 0).numpy() * 0.5 + 0.5) * 255
    assert np.abs(levels - theirs).max() <= 1.01
    assert np.abs(levels - theirs).mean() < 0.1


def test_batched_features_are_the_unbatched_ones(network: Sam3Network, pictures: np.ndarray, features: list[TrackerFeatures]) -> None:
    for i in (0, 7, 39):
        (alone, _), *_ = network.encode_frames([pictures[i]], [False], [])
        for a, b in zip(
            (*alone.feature_maps, alone.position_encoding), (*features[i].feature_maps, features[i].position_encoding), strict=True
        ):
            assert torch.allclose(a, b, atol=2e-6)


def test_features_are_those_of_transformers_tracker(folder: Path, pictures: np.ndarray, features: list[TrackerFeatures]) -> None:
    tracker = Sam3TrackerVideoModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        out = tracker.get_image_features(preprocess(torch.from_numpy(pictures[3][None]), SIZE), return_dict=True)
    for ours, theirs in zip(features[3].feature_maps, out.fpn_hidden_states, strict=True):
        assert torch.allclose(ours, theirs, atol=2e-6)
    assert torch.allclose(features[3].position_encoding, out.fpn_position_encoding[-1], atol=1e-6)


def test_detections_are_those_of_the_detector_alone_and_in_batches(
    network: Sam3Network, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = functools.partial(merge_detections, max_iou=1.0, min_cells=1)
    monkeypatch.setattr("body4d.models.sam3.network.merge_detections", everything)
    text = network.encode_text("person")
    batch = network.encode_frames(list(pictures[:3]), [True, False, True], [text])
    assert batch[1][1] is None
    for i in (0, 2):
        detections = batch[i][1]
        assert detections is not None
        with torch.inference_mode():
            detector = network.model.detector_model
            tokens = network._tokenizer("person", return_tensors="pt", padding="max_length", max_length=32)
            out = detector(pixel_values=preprocess(torch.from_numpy(pictures[i][None]), SIZE), **tokens)
        scores = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0]
        order = torch.argsort(-scores, stable=True)
        assert detections.scores == pytest.approx(scores[order].numpy(), abs=1e-5)
        assert np.mean(detections.masks != (out.pred_masks[0][order] > 0).numpy()) < 1e-3


def test_texts_searched_in_one_batch_find_what_each_finds_alone(
    network: Sam3Network, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("body4d.models.sam3.network.merge_detections", lambda per_text, mask_size: per_text)
    monkeypatch.setattr("body4d.models.sam3.network.MAX_SEARCHES", 4)  # three texts on two frames are two batches
    texts = [network.encode_text(text) for text in ("person", "somebody in a long red coat", "dog")]

    def found(some: list) -> list:
        return [per_text for _, per_text in network.encode_frames(list(pictures[:2]), [True, True], some)]

    together, alone = found(texts), [found([text]) for text in texts]
    for frame in range(2):
        assert len(together[frame]) == len(texts)
        for (masks, scores), one in zip(together[frame], alone, strict=True):
            ((own_masks, own_scores),) = one[frame]
            assert len(scores) > 0
            assert scores == pytest.approx(own_scores, abs=1e-6)
            assert np.array_equal(masks, own_masks)
    assert together[0][0][1] != pytest.approx(together[0][1][1], abs=1e-4)  # the texts say different things


@pytest.mark.skipif("BODY4D_SLOW_TESTS" not in os.environ, reason="half a minute of a C++ compiler: set BODY4D_SLOW_TESTS")
def test_a_compiled_encoder_says_the_same(folder: Path, pictures: np.ndarray, features: list[TrackerFeatures]) -> None:
    net = Sam3Network(load_sam3(folder), 0.5, CPU, torch.float32)
    net.compile_encoder()
    for count in (3, 2, 1):
        got = net.encode_frames(list(pictures[:count]), [False] * count, [])
        for i in range(count):
            for a, b in zip(got[i][0].feature_maps, features[i].feature_maps, strict=True):
                assert torch.allclose(a, b, atol=1e-4)


def test_a_long_text_is_cut(network: Sam3Network) -> None:
    assert network.encode_text("golfer " * 30).features.shape == (1, 32, 128)


def test_somebody_detected_by_two_texts_is_one_detection() -> None:
    body, other = np.zeros((1, 32, 32), bool), np.zeros((1, 32, 32), bool)
    body[0, 4:20, 4:10], other[0, 4:20, 20:28] = True, True
    speck = np.zeros((1, 32, 32), bool)
    speck[0, 30, 30] = True
    person = (np.concatenate([body, other, speck]), np.array([0.9, 0.8, 0.99], np.float32))
    golfer = (body, np.array([0.95], np.float32))
    detections = merge_detections([person, golfer], (32, 32))
    assert detections.scores == pytest.approx([0.95, 0.8])
    assert detections.texts == (frozenset({0, 1}), frozenset({0}))
    assert merge_detections([], (32, 32)).masks.shape == (0, 32, 32)


def reference(network: Sam3Network, pictures: np.ndarray, frame: int) -> tuple[dict, dict]:
    """transformers' session holding the whole clip: forwards, then backwards as if nothing had been followed forwards."""
    pixels = preprocess(torch.from_numpy(np.stack(pictures)), SIZE)
    out = []
    for reverse in (False, True):
        session = Sam3TrackerVideoInferenceSession(video=pixels, video_height=H, video_width=W, dtype=torch.float32)
        whole = network.tracker
        whole.vision_encoder = Encoder(network)
        try:
            k = session.obj_id_to_idx(1)
            points = torch.tensor([[[[30 * SIZE / W, 24 * SIZE / H]]]])
            session.add_point_inputs(k, frame, {"point_coords": points, "point_labels": torch.ones(1, 1, 1, dtype=torch.int32)})
            session.obj_with_new_inputs = [1]
            with torch.inference_mode():
                whole(session, frame_idx=frame)
                passed = whole.propagate_in_video_iterator(session, start_frame_idx=frame, reverse=reverse)
                out.append({o.frame_idx: o.pred_masks[0, 0].clone() for o in passed})
        finally:
            whole.vision_encoder = None
    return out[0], out[1]


class Encoder(torch.nn.Module):
    """The encoder that the video model keeps apart from its tracker, put back in its place."""

    def __init__(self, network: Sam3Network) -> None:
        super().__init__()
        self.parts = [network.model.detector_model.vision_encoder.backbone, network.model.tracker_neck]

    def forward(self, pixel_values, **_):
        hidden = self.parts[0](pixel_values).last_hidden_state
        side = int(hidden.shape[1] ** 0.5)
        maps, places = self.parts[1](hidden.view(len(hidden), side, side, -1).permute(0, 3, 1, 2))
        return type("Out", (), {"fpn_hidden_states": maps, "fpn_position_encoding": places})()


def test_both_ways_are_those_of_a_session_that_forgets_nothing(
    network: Sam3Network, pictures: np.ndarray, features: list[TrackerFeatures]
) -> None:
    forward, backward = reference(network, pictures, 12)
    ours = ObjectTracker(network, (W, H), FRAMES, {12: CLICK})
    for frame in range(12, FRAMES):
        assert torch.allclose(ours.track_frame(frame, features[frame]), forward[frame], atol=1e-4), frame
    ours.clear_memory()
    for frame in range(11, -1, -1):
        assert torch.allclose(ours.track_frame(frame, features[frame], reverse=True), backward[frame], atol=1e-4), frame
    assert ours.conditioning_frames == (12,)


def held_bytes(tracker: ObjectTracker) -> int:
    outputs = tracker._outputs
    kept = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for o in outputs.values() for f in o.values() for t in f.values()}
    return sum(kept.values())


def test_memory_does_not_grow(network: Sam3Network, features: list[TrackerFeatures]) -> None:
    tracker = ObjectTracker(network, (W, H), 4 * FRAMES, {0: CLICK})
    held = []
    for frame in range(4 * FRAMES):
        tracker.track_frame(frame, features[frame % FRAMES])
        if frame and frame % 5 == 0:
            tracker.add_conditioning_frame(frame)
            tracker.trim_conditioning_frames(4)
        held.append(held_bytes(tracker))
    assert max(held[40:]) <= 1.05 * max(held[20:40])
    assert len(tracker.conditioning_frames) == 4
    assert tracker.conditioning_frames[0] == 0
    assert not tracker._session.processed_frames
    assert not tracker._session.cache._vision_features
    assert len(tracker._session.frames_tracked_per_obj[0]) <= 16


def test_a_correction_counts_and_lasts(network: Sam3Network, features: list[TrackerFeatures]) -> None:
    def passed(prompts: dict[int, FramePrompt]) -> tuple[ObjectTracker, list[torch.Tensor]]:
        tracker = ObjectTracker(network, (W, H), FRAMES, prompts)
        return tracker, [tracker.track_frame(frame, features[frame]) for frame in range(20)]

    away = FramePrompt(np.array([[3.0, 4.0]]), np.array([0]))
    _, plain = passed({0: CLICK})
    tracker, corrected = passed({0: CLICK, 10: away})
    assert all(torch.equal(a, b) for a, b in zip(plain[:10], corrected[:10], strict=True))
    assert not torch.allclose(plain[10], corrected[10], atol=1e-3)
    assert not torch.allclose(plain[11], corrected[11], atol=1e-6)
    assert tracker.conditioning_frames == (0, 10)
    # A second pass knows the correction from its start, keeps what was said on its frame, and changes the frames before it.
    tracker.clear_memory()
    again = [tracker.track_frame(frame, features[frame]) for frame in range(20)]
    assert torch.equal(again[10], corrected[10])
    assert torch.equal(again[0], corrected[0])
    assert not torch.allclose(again[5], corrected[5], atol=1e-7)
    assert "_run_single_frame_inference" not in vars(network.tracker)


def test_a_mask_to_begin_with_comes_back(network: Sam3Network, features: list[TrackerFeatures]) -> None:
    mask = np.zeros((H, W), np.float32)
    mask[10:34, 16:40] = 1
    tracker = ObjectTracker(network, (W, H), FRAMES, initial_mask=(3, mask))
    out = tracker.track_frame(3, features[3]) > 0
    wanted = torch.nn.functional.interpolate(torch.from_numpy(mask)[None, None], network.mask_size, mode="area")[0, 0] > 0.5
    assert (out & wanted).sum() / (out | wanted).sum() > 0.85
    tracker.track_frame(4, features[4])
    tracker.reinit_from_mask(4, np.zeros(network.mask_size, np.float32))
    assert (tracker.track_frame(4, features[4]) > 0).sum() == 0
    assert set(tracker.conditioning_frames) == {3, 4}


def test_a_box_goes_before_the_clicks() -> None:
    points, labels = FramePrompt(np.array([[5.0, 6.0]]), np.array([0]), np.array([1.0, 2.0, 3.0, 4.0])).point_inputs()
    assert points.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert labels.tolist() == [2, 3, 0]
    assert FramePrompt(box_px=np.zeros(4)).locates_person
    assert not FramePrompt(np.zeros((1, 2)), np.array([0])).locates_person
