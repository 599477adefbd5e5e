"""People tracked together: the same as one by one, whoever comes, goes, is corrected or hidden, and memory that is given back."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from body4d.config import Sam3Settings
from body4d.core.types import Clip
from body4d.models.sam3 import multi_tracker, object_tracker, transformers_compat
from body4d.models.sam3.checkpoint import load_sam3
from body4d.models.sam3.multi_tracker import MultiObjectTracker
from body4d.models.sam3.network import Sam3Detections, Sam3Network, TrackerFeatures
from body4d.models.sam3.object_tracker import GroupTracker, ObjectTracker
from body4d.models.sam3.prompts import FramePrompt
from body4d.models.sam3.streaming import EncodedFrame, MaskRank
from body4d.runtime.device import AdaptiveBatcher
from sam3_files import write_tiny_sam3

W, H, FRAMES = 64, 48, 30
CPU = torch.device("cpu")

Answers = dict[tuple[int, int], torch.Tensor]
"""Mask logits by person and frame."""


WEIGHT_GAIN = 4.0
SCORE_BIAS = -0.25
"""Of the score that says whether somebody is seen: these pictures' scores lie on both sides of 0."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam3(tmp_path_factory.mktemp("weights"), finds=False)


def make_network(folder: Path, device: torch.device) -> Sam3Network:
    """The tiny network with a tracker that listens to its memory: with the weights as drawn, all people would look alike."""
    weights = load_sam3(folder, device)
    tracker: Any = weights.model.tracker_model
    for module in tracker.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.weight.data.mul_(WEIGHT_GAIN)
    tracker.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(SCORE_BIAS)
    return Sam3Network(weights, 0.01, device, torch.float32)


@pytest.fixture(scope="module")
def network(folder: Path) -> Iterator[Sam3Network]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make_network(folder, CPU)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def features(network: Sam3Network) -> list[TrackerFeatures]:
    return features_of(network)


def features_of(network: Sam3Network) -> list[TrackerFeatures]:
    made = np.random.default_rng(0)
    clip = made.integers(0, 60, (FRAMES, H, W, 3), dtype=np.uint8)
    for t in range(FRAMES):
        clip[t, 14:34, 5 + t : 21 + t] = (220, 180, 40)
    return [f for f, _ in network.encode_frames(list(clip), [False] * FRAMES, [])]


def click(x: float, y: float, label: int = 1) -> FramePrompt:
    return FramePrompt(np.array([[x, y]]), np.array([label]))


class Person:
    """Somebody followed from frame ``start`` to ``stop``; some masks become conditioning frames."""

    def __init__(self, network: Sam3Network, who: int) -> None:
        mask = np.zeros((H, W), np.float32)
        mask[10:34, 16 + who : 40 - who] = 1
        self.start, self.stop, self.conditioned = ((0, 30, ()), (0, 30, (7, 14, 15)), (3, 30, (10,)), (0, 9, ()), (0, 30, (12,)))[who]
        prompts = ({0: click(30, 24)}, {0: click(20, 20)}, {}, {0: click(50, 30)}, {0: click(10, 30), 6: click(60, 5, 0)})[who]
        self.tracker = ObjectTracker(network, (W, H), FRAMES, prompts, (3, mask) if not prompts else None)

    def after(self, frame: int) -> None:
        if frame in self.conditioned:
            self.tracker.add_conditioning_frame(frame)
            self.tracker.trim_conditioning_frames(3)


def passed(network: Sam3Network, features: Sequence[TrackerFeatures], who: Sequence[int], together: int) -> tuple[Answers, list[Person]]:
    """A pass forwards over the clip, and one back from its middle, at most so many people at once."""
    group = GroupTracker(network, AdaptiveBatcher(together, "people"))
    people = {k: Person(network, k) for k in who}
    answers: Answers = {}
    for reverse in (False, True):
        for frame in range(15, -1, -1) if reverse else range(FRAMES):
            here = [k for k in who if people[k].start <= frame < people[k].stop or (reverse and k != 3)]
            logits = group.track_frame([people[k].tracker for k in here], frame, features[frame], reverse=reverse)
            answers |= {(k, -frame if reverse else frame): one for k, one in zip(here, logits, strict=True)}
            for k in here if not reverse else ():
                people[k].after(frame)
        for person in people.values():
            person.tracker.clear_memory()
    return answers, list(people.values())


@pytest.fixture(scope="module")
def alone(network: Sam3Network, features: list[TrackerFeatures]) -> Answers:
    """Five people, one by one."""
    return passed(network, features, range(5), together=1)[0]


def assert_same(together: Answers, alone: Answers, atol: float) -> None:
    assert together.keys() == alone.keys()
    for key, logits in alone.items():
        torch.testing.assert_close(together[key], logits, rtol=0, atol=atol, msg=lambda text, key=key: f"person, frame {key}: {text}")
        assert torch.equal(together[key] > 0, logits > 0), key


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many were tracked together, batch by batch."""
    sizes: list[int] = []
    plain = GroupTracker._track_together

    def counted(self: GroupTracker, trackers: Sequence[ObjectTracker], *more: Any) -> torch.Tensor:
        sizes.append(len(trackers))
        return plain(self, trackers, *more)

    monkeypatch.setattr(GroupTracker, "_track_together", counted)
    return sizes


def test_five_people_of_different_states_are_tracked_as_one_by_one(
    network: Sam3Network, features: list[TrackerFeatures], alone: Answers, batches: list[int]
) -> None:
    hidden = sum(bool((logits < -1000).all()) for logits in alone.values())
    assert 5 < hidden < len(alone) - 50
    assert (alone[0, 20] - alone[4, 20]).abs().max() > 1e-3  # people are told apart
    together, people = passed(network, features, range(5), together=8)
    assert max(batches) == 4
    assert_same(together, alone, atol=2e-5)
    for person in people:
        assert not person.tracker._outputs["non_cond_frame_outputs"]
        for kept in person.tracker._outputs["cond_frame_outputs"].values():
            memory = kept["maskmem_features"]  # not a part of the whole group's
            assert memory.untyped_storage().nbytes() == memory.nbytes


def test_a_group_too_large_for_memory_is_split(
    network: Sam3Network, features: list[TrackerFeatures], alone: Answers, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = object_tracker.track_people

    def short(tracker: Any, graphs: Any, sessions: Sequence[Any], *more: Any) -> torch.Tensor:
        if len(sessions) > 2:
            raise RuntimeError("CUDA out of memory")
        return plain(tracker, graphs, sessions, *more)

    who = [0, 1, 3, 4]
    monkeypatch.setattr(object_tracker, "track_people", short)
    together, _ = passed(network, features, who, together=8)
    assert (batches[0], set(batches[1:])) == (4, {2})
    assert_same(together, {key: logits for key, logits in alone.items() if key[0] in who}, atol=2e-5)


def test_who_is_alone_is_tracked_as_without_a_group(network: Sam3Network, features: list[TrackerFeatures], batches: list[int]) -> None:
    grouped, _ = passed(network, features, [4], together=8)
    person = Person(network, 4)
    for frame in range(FRAMES):
        assert torch.equal(person.tracker.track_frame(frame, features[frame]), grouped[4, frame])
        person.after(frame)
    assert batches == []


def test_detected_people_come_go_and_are_dropped_as_one_by_one(
    network: Sam3Network, features: list[TrackerFeatures], batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who came on frame 5 is dropped when nine frames old; noise confirms everybody.
    monkeypatch.setattr(multi_tracker, "is_false_positive", lambda age, searches, confirmations: None if age < 8 else age == 9)
    monkeypatch.setattr(multi_tracker, "SAME_PERSON_IOU", 1.1)
    monkeypatch.setattr(multi_tracker, "CONDITIONING_EVERY_FRAMES", 6)
    monkeypatch.setattr(multi_tracker, "MIN_CONDITIONING_IOU", 0.5)
    clip = Clip(Path("clip.mp4"), W, H, Fraction(30), np.arange(FRAMES) / 30, np.arange(FRAMES))
    image = np.random.default_rng(1).integers(0, 255, (H, W, 3), dtype=np.uint8)
    found: dict[int, list[np.ndarray]] = {0: [upright(x) for x in (1, 9, 17)], 5: [upright(25)]}

    def followed(together: int) -> tuple[MultiObjectTracker, list[list[tuple[int, MaskRank, torch.Tensor]]]]:
        group = GroupTracker(network, AdaptiveBatcher(together, "people"))
        tracker = MultiObjectTracker(network, clip, Sam3Settings(), group)
        frames: list[list[tuple[int, MaskRank, torch.Tensor]]] = []
        for frame in range(FRAMES):
            if together == 1 and frame:  # The first two are detected again where they were a frame before.
                found[frame] = [*found.get(frame, []), *((logits > 0).numpy() for who, _, logits in frames[-1] if who < 2)]
            masks = np.array(found[frame])
            detections = Sam3Detections(masks, np.full(len(masks), 0.9, np.float32), (frozenset({0}),) * len(masks))
            out = tracker.track_frame(EncodedFrame(frame, image, features[frame], detections if frame % 2 == 0 or frame == 5 else None))
            frames.append([(who, rank, logits) for who, logits, rank in out])
        return tracker, frames

    alone, expected = followed(1)
    together, frames = followed(8)
    assert set(batches) == {3}  # who came later remembers fewer frames
    assert alone.false_positives == together.false_positives == [3]
    assert [t.obj_id for t in together.tracklets] == [0, 1, 2]
    assert any(len(t.tracker.conditioning_frames) > 1 for t in together.tracklets if t.tracker is not None)
    for ours, theirs in zip(frames, expected, strict=True):
        assert [one[:2] for one in ours] == [one[:2] for one in theirs]
        for (_, _, logits), (_, _, other) in zip(ours, theirs, strict=True):
            torch.testing.assert_close(logits, other, rtol=0, atol=2e-5)
            assert torch.equal(logits > 0, other > 0)


def upright(x: int) -> np.ndarray:
    """A mask of the network's size: a bar from column ``x``."""
    mask = np.zeros((32, 32), bool)
    mask[6:26, x : x + 6] = True
    return mask


@pytest.mark.cuda
def test_recorded_groups_are_tracked_as_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_compat, "RECORD_AFTER", 2)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    network = make_network(folder, torch.device("cuda"))
    features = features_of(network)
    together, _ = passed(network, features, range(5), together=8)
    recorded: Any = network.cuda_graphs._recordings
    groups = {shapes[1][0][0] for key, _, shapes in recorded if key == "memories"}
    assert network.cuda_graphs.enabled
    assert max(groups) > 1
    network.cuda_graphs.clear()
    network.cuda_graphs.enabled = False
    plain, _ = passed(network, features, range(5), together=8)
    alone, _ = passed(network, features, range(5), together=1)
    assert_same(together, plain, atol=2e-5)
    assert_same(together, alone, atol=1e-4)
