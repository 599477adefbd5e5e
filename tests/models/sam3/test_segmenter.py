"""SAM-3 as segmenter: who is followed, both ways, and the warnings; on a scripted network, and on the tiny one."""

import threading
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from body4d.config import ComputeSettings, PeopleSettings, Sam3Settings
from body4d.core.errors import Cancelled, DeviceError, InputError, WeightsError
from body4d.core.stages import StageOutput, ignore_progress
from body4d.core.types import Clip, MaskTrack, Prompt
from body4d.models.sam3 import identity, multi_tracker, propagation, segmenter, streaming
from body4d.models.sam3.network import Sam3Detections
from body4d.models.sam3.prompts import FramePrompt
from body4d.models.sam3.segmenter import Sam3Segmenter, sam3_from_folder
from body4d.models.sam3.streaming import (
    FrameEncoder,
    MaskEncoder,
    MaskRank,
    enlarged_part,
    prefetch,
    read_windows,
    upsample_logits,
)
from body4d.runtime.device import AdaptiveBatcher
from body4d.tracking import main_subject
from sam3_files import write_tiny_sam3

W, H = 64, 48
RED, BLUE, GREEN, GREY = (220, 20, 20), (20, 30, 220), (20, 180, 30), (90, 90, 90)
CPU = ComputeSettings(device="cpu", batch_size=3)
S = Sam3Settings(detect_every_frames=2)
EVERYBODY = PeopleSettings(count="all")


class Clips:
    """A FrameSource of people painted by ``paint(frame)`` as {colour: x}, upright bodies 30 px tall; counts what is read and held."""

    def __init__(self, frames: int, paint, size=(W, H)) -> None:
        self._paint, self._size = paint, size
        self.clip = Clip(Path("clip.mp4"), *size, Fraction(30), np.arange(frames) / 30, np.arange(frames))
        self.reads: list[int] = []

    def read(self, first=0, last=None, step=1):
        for frame in range(first, len(self.clip) if last is None else min(last, len(self.clip)), step):
            self.reads.append(frame)
            yield frame, self.picture(frame)

    def picture(self, frame: int) -> np.ndarray:
        picture = np.full((self._size[1], self._size[0], 3), GREY, np.uint8)
        for colour, x in self._paint(frame).items():
            picture[8:38, max(0, x - 5) : max(0, x + 5)] = colour
        return picture


class ScriptedNetwork:
    """Features are the image itself; the detector finds every painted body of ten pixels or more, at cells as large as pixels."""

    device, dtype, mask_size = torch.device("cpu"), torch.float32, (H, W)
    fits: ClassVar[dict[str, tuple[tuple[int, int, int], ...]]] = {"person": (RED, BLUE, GREEN), "the one in red": (RED,), "a dog": ()}

    def __init__(self, weights, min_detection_score, device, dtype) -> None:
        self.batches: list[int] = []

    def bytes_per_frame(self, height_px, width_px):
        return 1

    def bytes_per_person(self):
        return 1

    def encode_text(self, text: str) -> Any:
        return text

    def encode_frames(self, images, detect, texts) -> list:
        self.batches.append(len(images))
        return [(image, self._detect(image, texts) if wanted and texts else None) for image, wanted in zip(images, detect, strict=True)]

    def _detect(self, image, texts) -> Sam3Detections:
        bodies = [(c, (image == np.array(c)).all(-1)) for c in (RED, BLUE, GREEN)]
        bodies = [(c, m, frozenset(i for i, t in enumerate(texts) if c in self.fits[t])) for c, m in bodies if m.sum() >= 10]
        bodies = [one for one in bodies if one[2]]
        masks = np.array([m for _, m, _ in bodies]).reshape(-1, H, W)
        return Sam3Detections(masks, np.array([0.95 - 0.01 * i for i in range(len(bodies))]), tuple(t for _, _, t in bodies))


class ScriptedTracker:
    """Follows the colour that it starts on, and loses it for good where it is out of sight; corrections change the colour."""

    made: ClassVar[list["ScriptedTracker"]] = []

    def __init__(self, network, size_px, num_frames, prompts=None, initial_mask=None) -> None:
        self.prompts, self.initial_mask, self.colour = dict(prompts or {}), initial_mask, None
        self.conditioning, self.tracked = {}, []
        self.made.append(self)

    @property
    def conditioning_frames(self):
        return tuple(self.conditioning)

    def remembered(self, frame, reverse):
        return None  # each alone

    def reinit_from_mask(self, frame, mask):
        self.initial_mask = (frame, mask)

    def track_frame(self, frame, image, *, reverse=False):
        self.tracked.append((frame, reverse))
        if frame in self.conditioning:
            self.colour = self.conditioning[frame]
        elif self.initial_mask is not None and frame == self.initial_mask[0]:
            inside = image[self.initial_mask[1] > 0.5]
            self.colour = self.conditioning[frame] = tuple(np.median(inside, axis=0).astype(int))
        elif frame in self.prompts and self.prompts[frame].locates_person:
            x, y = self._place(self.prompts[frame])
            self.colour = self.conditioning[frame] = tuple(image[int(y), int(x)])
        elif frame in self.prompts:
            self.conditioning[frame] = self.colour
        mask = np.zeros((H, W), bool) if self.colour is None else (image == np.array(self.colour)).all(-1)
        if not mask.any():
            self.colour = None
        return torch.from_numpy(np.where(mask, 5.0, -5.0).astype(np.float32))

    def _place(self, prompt: FramePrompt):
        return prompt.points_px[prompt.labels > 0][0] if prompt.box_px is None else prompt.box_px.reshape(2, 2).mean(0)

    def add_conditioning_frame(self, frame):
        self.conditioning[frame] = self.colour

    def trim_conditioning_frames(self, max_frames):
        for frame in sorted(self.conditioning)[1 : 1 - max_frames] if len(self.conditioning) > max_frames else ():
            del self.conditioning[frame]

    def clear_memory(self):
        self.colour = self.conditioning[min(self.conditioning)] if self.conditioning else None


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch):
    """A segmenter over a scripted network; people are tentative for 4 frames and looked for during 0.3 s."""
    ScriptedTracker.made.clear()
    monkeypatch.setattr(main_subject, "MIN_SEEN_S", 0.1)
    monkeypatch.setattr(segmenter, "Sam3Network", ScriptedNetwork)
    monkeypatch.setattr(identity, "TENTATIVE_FRAMES", 4)
    monkeypatch.setattr(multi_tracker, "SUSPEND_AFTER_S", 0.3)
    for module in (segmenter, multi_tracker, propagation):
        monkeypatch.setattr(module, "ObjectTracker", ScriptedTracker)
    return lambda people=EVERYBODY, settings=S: Sam3Segmenter(lambda device: None, settings, people, CPU)  # type: ignore[arg-type, return-value]


def colour_of(clip: Clips, track: MaskTrack) -> set[tuple[int, ...]]:
    """Colours under the masks of a track."""
    return {
        tuple(c) for row, frame in enumerate(track.frame_index) for c in np.unique(clip.picture(frame)[track.mask(row)], axis=0).tolist()
    }


def click(frame: int, x: float, who: int | None = None, label: int = 1, text: str | None = None) -> Prompt:
    return Prompt(frame=frame, person_id=who, points_px=np.array([[x, 20.0]]), labels=np.array([label]), text=text)


def messages(output: StageOutput[Any]) -> tuple[str, ...]:
    return tuple(warning.message for warning in output.warnings)


def test_nothing_said_finds_everybody_main_person_first(scripted) -> None:
    clip = Clips(30, lambda t: {BLUE: 10, RED: 32})
    seg = scripted()
    output = seg.track(clip, (), ignore_progress)
    tracks = output.value
    assert [(t.person_id, len(t)) for t in tracks] == [(1, 30), (2, 30)]
    assert [colour_of(clip, t) for t in tracks] == [{RED}, {BLUE}]  # the middle one first
    assert output.warnings == ()


def test_people_n_keeps_the_first_n_and_says_so(scripted) -> None:
    seg = scripted(PeopleSettings(count=1))
    output = seg.track(Clips(30, lambda t: {BLUE: 10, RED: 32}), (), ignore_progress)
    tracks = output.value
    assert [t.person_id for t in tracks] == [1]
    assert messages(output) == ("1 more person was seen and left out because fewer people were asked for.",)


def test_nobody_is_an_empty_answer(scripted) -> None:
    seg = scripted()
    assert seg.track(Clips(10, lambda t: {}), (), ignore_progress).value == ()
    assert scripted().track(Clips(10, lambda t: {RED: 30}), [Prompt(text="a dog")], ignore_progress).value == ()


def test_a_text_finds_whom_it_fits(scripted) -> None:
    clip = Clips(20, lambda t: {BLUE: 30, RED: 50})
    (one,) = scripted().track(clip, [Prompt(text="the one in red", person_id=4)], ignore_progress).value
    assert (one.person_id, colour_of(clip, one)) == (4, {RED})
    tracks = scripted().track(clip, [Prompt(text="the one in red")], ignore_progress).value
    assert [colour_of(clip, t) for t in tracks] == [{RED}]


def test_two_texts_find_one_body_once(scripted) -> None:
    tracks = (
        scripted()
        .track(Clips(20, lambda t: {BLUE: 10, RED: 40}), [Prompt(text="person"), Prompt(text="the one in red")], ignore_progress)
        .value
    )
    assert len(tracks) == 2


def test_clicks_follow_both_ways(scripted) -> None:
    clip = Clips(40, lambda t: {RED: 10 + t // 2, BLUE: 50})
    done = []
    tracks = scripted().track(clip, [click(17, 50, 2), click(25, 22, 1)], lambda a, b: done.append((a, b))).value
    assert [(t.person_id, len(t)) for t in tracks] == [(2, 40), (1, 40)]
    assert [colour_of(clip, t) for t in tracks] == [{BLUE}, {RED}]
    assert sorted(clip.reads) == sorted([*range(40), *range(17, 25)])  # each frame once, but those where both passes meet
    assert done[-1][0] == done[-1][1] == 48
    assert [a for a, _ in done] == list(range(1, 49))


def test_unnumbered_clicks_are_people_of_their_own(scripted) -> None:
    tracks = scripted().track(Clips(10, lambda t: {RED: 10, BLUE: 50}), [click(0, 50), click(0, 10)], ignore_progress).value
    assert [t.person_id for t in tracks] == [1, 2]


def test_corrections_are_applied_before_the_passes(scripted) -> None:
    clip = Clips(30, lambda t: {RED: 10, BLUE: 50})
    (track,) = scripted().track(clip, [click(10, 10, 1), click(20, 50, 1), click(4, 10, 1)], ignore_progress).value
    (tracker,) = ScriptedTracker.made
    assert set(tracker.conditioning) == {4, 10, 20}
    assert tracker.tracked[:11] == [(t, False) for t in range(10, 21)]
    assert tracker.tracked[11:18] == [(t, True) for t in range(10, 3, -1)]
    assert tracker.tracked[18:44] == [(t, False) for t in range(4, 30)]
    assert tracker.tracked[44:] == [(t, True) for t in range(3, -1, -1)]
    assert colour_of(clip, track) == {RED, BLUE}
    assert track.mask(25)[20, 50]
    assert not track.mask(25)[20, 10]


def test_who_comes_late_is_followed_back_to_where_they_came_from(scripted) -> None:
    # Found only when ten pixels wide, at frame 12; seen from frame 8 on.
    clip = Clips(30, lambda t: {RED: 30, **({BLUE: 55} if t >= 9 else {})})
    tracks = scripted(settings=Sam3Settings(detect_every_frames=4)).track(clip, (), ignore_progress).value
    assert [t.frame_index[0] for t in tracks] == [0, 9]
    assert len(tracks[1]) == 21
    assert min(f for f, reverse in ScriptedTracker.made[-1].tracked if reverse) == 0


def test_going_back_ends_where_nobody_is(scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clips(80, lambda t: {RED: 30, **({BLUE: 55} if t >= 71 else {})})
    monkeypatch.setattr(propagation, "MAX_LOST_FRAMES", 6)
    log = []
    scripted().track(clip, (), lambda a, b: log.append((a, b)))
    back = [f for f, reverse in ScriptedTracker.made[-1].tracked if reverse]
    assert min(back) > 71 - 6 - 40
    assert log[-1][0] == log[-1][1]


def test_who_leaves_and_returns_is_the_same(scripted) -> None:
    def paint(t: int) -> dict:
        there = {RED: 10}
        if t < 12 or t >= 40:
            there[BLUE] = 40 if t < 12 else 46
        return there

    clip = Clips(60, paint)
    seg = scripted()
    output = seg.track(clip, (), ignore_progress)
    tracks = output.value
    assert len(tracks) == 2
    blue = next(t for t in tracks if colour_of(clip, t) == {BLUE})
    assert blue.frame_index.tolist() == [*range(12), *range(40, 60)]
    assert any("lost between 0.4 s and 1.3 s" in note for note in messages(output))


def test_somebody_else_in_their_place_is_somebody_else(scripted) -> None:
    clip = Clips(60, lambda t: {RED: 10, **({BLUE: 40} if t < 12 else {GREEN: 42} if t >= 40 else {})})
    tracks = scripted().track(clip, (), ignore_progress).value
    assert sorted(map(str, (colour_of(clip, t) for t in tracks))) == sorted(map(str, [{RED}, {BLUE}, {GREEN}]))


def test_who_is_gone_for_long_costs_nothing(scripted) -> None:
    scripted().track(Clips(60, lambda t: {RED: 10, **({BLUE: 40} if t < 12 else {})}), (), ignore_progress)
    assert max(f for f, _ in ScriptedTracker.made[1].tracked) < 26  # they are looked for during 0.3 s


def test_a_false_positive_is_dropped_and_counted(scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ScriptedNetwork._detect
    calls = []

    def once(self, image, texts):
        calls.append(0)
        found = plain(self, image, texts)
        keep = np.array([len(calls) == 1 or (image[m][0] != BLUE).any() for m in found.masks], bool)
        return Sam3Detections(found.masks[keep], found.scores[keep], tuple(t for t, k in zip(found.texts, keep, strict=True) if k))

    monkeypatch.setattr(ScriptedNetwork, "_detect", once)
    seg = scripted()
    output = seg.track(Clips(30, lambda t: {RED: 10, BLUE: 50}), (), ignore_progress)
    tracks = output.value
    assert len(tracks) == 1
    assert messages(output) == ("1 more person was seen and left out because they were found for a moment and not again.",)


def test_more_people_than_can_be_followed_is_said(scripted) -> None:
    seg = scripted(settings=Sam3Settings(detect_every_frames=2, max_people=1))
    output = seg.track(Clips(20, lambda t: {RED: 10, BLUE: 50}), (), ignore_progress)
    assert len(output.value) == 1
    assert "too_many_people" in [warning.code for warning in output.warnings]


def test_a_click_on_somebody_found_corrects_them(scripted) -> None:
    clip = Clips(30, lambda t: {RED: 32, BLUE: 50})
    tracks = scripted().track(clip, [Prompt(text="person"), click(12, 50, 7)], ignore_progress).value
    assert [(t.person_id, colour_of(clip, t)) for t in tracks] == [(7, {BLUE}), (1, {RED})]
    assert ScriptedTracker.made[-1].initial_mask[0] == 0  # from the detected mask, not from the click alone


def test_an_unclick_corrects_the_person_of_that_number(scripted) -> None:
    clip = Clips(30, lambda t: {RED: 32, BLUE: 50})
    tracks = scripted().track(clip, [Prompt(text="person"), click(12, 3, 2, label=0)], ignore_progress).value
    assert [(t.person_id, colour_of(clip, t)) for t in tracks] == [(2, {BLUE}), (1, {RED})]


def test_a_text_and_a_click_together_name_one_person(scripted) -> None:
    clip = Clips(30, lambda t: {RED: 32, BLUE: 50})
    (track,) = scripted().track(clip, [click(12, 3, 5, label=0, text="the one in red")], ignore_progress).value
    assert (track.person_id, colour_of(clip, track)) == (5, {RED})


def test_clicks_alone_leave_others_out_in_silence(scripted) -> None:
    seg = scripted()
    output = seg.track(Clips(20, lambda t: {RED: 10, BLUE: 50}), [click(0, 10, 1)], ignore_progress)
    assert len(output.value) == 1
    assert output.warnings == ()


def test_prompts_that_mean_nobody_are_refused(scripted) -> None:
    clip = Clips(10, lambda t: {RED: 10})
    with pytest.raises(InputError, match="frame 10, and the clip has frames 0 to 9"):
        scripted().track(clip, [click(10, 5)], ignore_progress)
    with pytest.raises(InputError, match="Person 3 has only clicks that say where they are not"):
        scripted().track(clip, [click(2, 5, 3, label=0)], ignore_progress)
    with pytest.raises(InputError, match=f"at 70,.* outside the picture of {W}x{H}"):
        scripted().track(clip, [click(2, 70)], ignore_progress)
    with pytest.raises(InputError, match=f"The box 64,5,90,40 on frame 2 lies outside the picture of {W}x{H}"):
        scripted().track(clip, [Prompt(frame=2, box_px=np.array([64.0, 5, 90, 40]))], ignore_progress)


def test_cancelling_leaves_cleanly(scripted) -> None:
    def stop(done: int, total: int) -> None:
        if done == 7:
            raise Cancelled("stopped")

    before = set(threading.enumerate())
    for prompts in ((), [click(20, 10, 1)]):
        with pytest.raises(Cancelled):
            scripted().track(Clips(30, lambda t: {RED: 10}), prompts, stop)
        assert set(threading.enumerate()) <= before


def test_pixels_of_people_followed_apart_have_one_owner(scripted) -> None:
    # Blue is found by text; the click's person takes red, then is told blue's place: both claim it.
    clip = Clips(20, lambda t: {RED: 30, BLUE: 50})
    tracks = scripted().track(clip, [Prompt(text="person"), click(0, 30, 1), click(10, 50, 1)], ignore_progress).value
    for frame in range(20):
        masks = [t.mask(int(np.searchsorted(t.frame_index, frame))) for t in tracks if frame in t.frame_index]
        assert sum(m.astype(int) for m in masks).max() == 1


# Streams and masks


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_windows_hand_out_every_frame_in_either_order(size: int) -> None:
    clip = Clips(50, lambda t: {RED: t})
    for reverse in (False, True):
        got = list(read_windows(clip, 3, 47, lambda: size, reverse=reverse, max_bytes=2 * 10 * 3 * W * H))
        order = [frame for window in got for frame, _ in window]
        assert order == (list(range(46, 2, -1)) if reverse else list(range(3, 47)))
        assert max(map(len, got)) <= size
        assert all(np.array_equal(picture, clip.picture(frame)) for window in got for frame, picture in window)
    assert list(read_windows(clip, 5, 5, lambda: size, reverse=True, max_bytes=1e9)) == []


def test_going_back_holds_no_more_than_told() -> None:
    """Frames are read one stretch ahead of those in use, never the whole clip."""
    clip = Clips(200, lambda t: {})
    passed = read_windows(clip, 0, 200, lambda: 5, reverse=True, max_bytes=2 * 20 * 3 * W * H)
    for count, window in enumerate(passed, 1):
        assert len(clip.reads) <= 5 * count + 40
        assert window[0][0] == 200 - 5 * count + 4


def test_going_back_reads_no_stretch_that_nobody_wants() -> None:
    clip = Clips(200, lambda t: {})
    wanted = {*range(150, 160), *range(20, 25)}
    passed = read_windows(clip, 0, 200, lambda: 5, reverse=True, max_bytes=2 * 10 * 3 * W * H, needed=lambda frame: frame in wanted)
    got = [frame for window in passed for frame, _ in window]
    assert [f for f in got if f in wanted] == sorted(wanted, reverse=True)
    assert len(clip.reads) == 20


def test_a_full_memory_halves_the_batch() -> None:
    class Short(ScriptedNetwork):
        def encode_frames(self, images, detect, texts):
            if len(images) > 2:
                raise RuntimeError("out of memory")
            return super().encode_frames(images, detect, texts)

    network: Any = Short(None, 0.5, None, None)
    batches = AdaptiveBatcher(8, "frames")
    got = [s.frame for batch in FrameEncoder(network, Clips(20, lambda t: {}), batches, 2).stream(0, 20) for s in batch]
    assert got == list(range(20))
    assert batches.size == 2
    assert "Memory ran out with 8 frames at once" in batches.warning.message


def test_codes_are_the_enlarged_masks_with_one_owner_a_pixel() -> None:
    made = np.random.default_rng(0)
    logits = torch.from_numpy(made.normal(size=(3, 12, 16)).astype(np.float32))
    with MaskEncoder((64, 48), min_cells=1, max_hole_cells=0) as masks:
        for frame in range(5):
            masks.add(
                frame, [(7, logits[0] + frame, MaskRank.CONFIRMED), (8, logits[1], MaskRank.CONFIRMED), (9, logits[2], MaskRank.DUPLICATE)]
            )
            masks.flush()
        masks.finish()
    large = torch.nn.functional.interpolate(logits[None], (48, 64), mode="bilinear", align_corners=False)[0].numpy()
    assert upsample_logits(logits[0].numpy(), (64, 48)) == pytest.approx(large[0], abs=1e-6)
    assert set(masks.codes) == {7, 8}
    track = MaskTrack(7, np.arange(1), (masks.codes[7][0],), 48, 64)
    assert np.array_equal(track.mask(0), (large[0] > 0) & (large[0] >= large[1]))
    other = MaskTrack(8, np.arange(1), (masks.codes[8][0],), 48, 64)
    assert np.array_equal(other.mask(0), (large[1] > 0) & (large[1] > large[0]))
    assert masks.lost_frames[7] == 0
    assert masks.lost_frames[9] == 5


@pytest.mark.parametrize("size", [(64, 48), (211, 97), (20, 33), (320, 180)])
def test_enlarged_masks_lie_within_their_parts(size: tuple[int, int]) -> None:
    made = np.random.default_rng(0)
    for _ in range(40):
        logits = np.full((32, 32), -1e-3, np.float32)
        (top, left), (height, width) = made.integers(0, 30, 2), made.integers(1, 12, 2)
        logits[top : top + height, left : left + width] = made.uniform(-1, 5, logits[top : top + height, left : left + width].shape)
        logits[top, left] = 5
        enlarged = upsample_logits(logits, size) > 0
        enlarged[enlarged_part(logits > 0, (size[1], size[0]))] = False
        assert not enlarged.any()


def test_who_is_dropped_leaves_nothing() -> None:
    with MaskEncoder((64, 48)) as masks:
        masks.add(0, [(1, torch.ones(12, 16), MaskRank.CONFIRMED)])
        masks.drop(1)
        assert masks.codes == {}


def test_without_cuda_nothing_is_prefetched() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(1, 4):
            made.append(i)
            yield i

    passed = prefetch(items(), torch.device("cpu"), lambda item: iter(()))
    assert next(passed) == 1
    assert made == [1]
    assert list(passed) == [2, 3]


@pytest.mark.cuda
def test_prefetched_items_are_complete_when_used() -> None:
    def items() -> Iterator[torch.Tensor]:
        for i in range(6):
            yield (torch.full((512, 512), float(i), device="cuda") @ torch.eye(512, device="cuda")).clone()

    cuda = torch.device("cuda")
    assert [float(t.mean()) for t in prefetch(items(), cuda, lambda t: iter((t,)))] == [0, 1, 2, 3, 4, 5]


# The tiny network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam3(tmp_path_factory.mktemp("weights"))


def tiny(folder: Path, batch: int = 3, **people: Any) -> Sam3Segmenter:
    return Sam3Segmenter(
        sam3_from_folder(folder), Sam3Settings(), PeopleSettings(**people), ComputeSettings(device="cpu", batch_size=batch)
    )


def test_the_tiny_network_finds_one_person_whatever_the_batch(folder: Path) -> None:
    clip = Clips(25, lambda t: {RED: 5 + 2 * t, BLUE: 50})
    one, three = (tiny(folder, batch).track(clip, (), ignore_progress).value for batch in (1, 3))
    assert [(t.person_id, len(t)) for t in one] == [(1, 25)]
    assert min(one[0].areas_px()) > 0.2 * W * H
    assert one[0].codes == three[0].codes


def test_weights_loaded_ahead_give_the_same_masks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "has_room_ahead", lambda device: True)  # Only a large GPU has it.
    clip = Clips(7, lambda t: {RED: 5 + 2 * t})
    plain, ahead = tiny(folder), tiny(folder)
    ahead.load_ahead(clip.clip)
    assert ahead.track(clip, (), ignore_progress).value[0].codes == plain.track(clip, (), ignore_progress).value[0].codes


def test_the_tiny_network_follows_clicks_and_boxes_of_two_people(folder: Path) -> None:
    clip = Clips(20, lambda t: {RED: 5 + 2 * t, BLUE: 50})
    prompts = [click(8, 20, 2), Prompt(frame=8, person_id=5, box_px=np.array([45.0, 8, 55, 38])), click(14, 3, 2, label=0)]
    tracks = tiny(folder).track(clip, prompts, ignore_progress).value
    assert [t.person_id for t in tracks] == [2, 5]
    shared = np.intersect1d(tracks[0].frame_index, tracks[1].frame_index)
    assert len(shared) > 10
    for frame in shared:
        a, b = (t.mask(int(np.searchsorted(t.frame_index, frame))) for t in tracks)
        assert a.any()
        assert b.any()
        assert not (a & b).any()


def test_products_in_bfloat16_follow_all_the_same(folder: Path) -> None:
    compute = ComputeSettings(device="cpu", batch_size=3, precision="bfloat16")
    seg = Sam3Segmenter(sam3_from_folder(folder), Sam3Settings(), PeopleSettings(), compute)
    prompts = [click(2, 20, 2), click(4, 3, 2, label=0), Prompt(text="person")]
    (track,) = seg.track(Clips(7, lambda t: {RED: 5 + 2 * t}), prompts, ignore_progress).value
    assert (track.person_id, len(track)) == (2, 7)


@pytest.mark.slow  # seconds under tracemalloc
def test_memory_is_flat_in_length(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(frames: int) -> int:
        clip = Clips(frames, lambda t: {RED: 5 + t % 50}, size=(320, 240))
        tracemalloc.start()
        Sam3Segmenter(sam3_from_folder(folder), Sam3Settings(), PeopleSettings(), CPU).track(
            clip, [click(frames // 2, 30, 1)], ignore_progress
        )
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    monkeypatch.setattr(streaming, "BACKWARD_BUFFER_BYTES", 2_000_000)
    peak(8)  # what is loaded once
    short, long = peak(16), peak(40)
    assert long - short < 10 * 3 * 320 * 240  # of 24 frames more


def test_weights_and_device_are_asked_for_when_work_begins(tmp_path: Path) -> None:
    seg = tiny(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="is no folder with a SAM-3 checkpoint"):
        seg.track(Clips(3, lambda t: {}), (), ignore_progress)
    if not torch.cuda.is_available():
        wrong = Sam3Segmenter(sam3_from_folder(tmp_path), Sam3Settings(), PeopleSettings(), ComputeSettings(device="cuda"))
        with pytest.raises(DeviceError):
            wrong.track(Clips(3, lambda t: {}), (), ignore_progress)
