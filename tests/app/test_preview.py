"""People on a frame: how often the segmenter is asked, and what the page shows."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from body4d.app.preview import (
    FramePeopleFinder,
    Preview,
    SingleFrameSource,
    decode_mask,
    inner_point_px,
    outline_path,
    people_by_known_masks,
)
from body4d.app.prompts import ClickPrompt
from body4d.app.tasks import FilmStripTask, PreviewTask, TaskRunner, strip_frames
from body4d.config import ComputeSettings, Settings, WeightsSettings
from body4d.core.errors import InputError, NoPersonError
from body4d.core.progress import ignore_events
from body4d.core.stages import FrameSource, ProgressFn, StageOutput
from body4d.core.types import Clip, MaskTrack, Prompt
from body4d.models.sam3 import segmenter as sam3
from make_videos import make_video

HEIGHT, WIDTH = 40, 60


def mask_of(columns: slice) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:35, columns] = True
    return mask


ANNA, BEN, DOG = mask_of(slice(5, 15)), mask_of(slice(25, 35)), mask_of(slice(50, 58))
ON_ANNA, ON_BEN, ON_DOG, BETWEEN = (10.0, 20.0), (30.0, 20.0), (54.0, 20.0), (20.0, 20.0)


class CountingSegmenter:
    """Finds ``people`` unasked; by a click the dog too, as SAM would, or an InputError, as BlazePose would."""

    cache_inputs = None

    def __init__(self, people: Sequence[np.ndarray] = (ANNA, BEN)) -> None:
        self._people = people
        self.calls: list[Sequence[Prompt]] = []

    def track(self, frames: FrameSource, prompts: Sequence[Prompt], progress: ProgressFn) -> StageOutput[tuple[MaskTrack, ...]]:
        self.calls.append(prompts)
        masks = list(self._people)
        if not prompts and not masks:
            raise NoPersonError("Nobody.")
        if prompts and prompts[0].points_px is not None:
            assert prompts[0].frame == 0
            x, y = prompts[0].points_px[-1].astype(int)
            masks = [mask for mask in (*self._people, DOG) if mask[y, x]]
            if not masks:
                raise InputError("The prompt on frame 0 points at nobody.", code="prompt_points_at_nobody")
        elif prompts:
            masks = [DOG] if prompts[0].text == "dog" else []
        index = np.zeros(1, np.int64)
        return StageOutput(tuple(MaskTrack(i, index, (MaskTrack.encode(mask),), HEIGHT, WIDTH) for i, mask in enumerate(masks, 1)))


def frame_source(frame: int = 3, name: str = "a.mp4") -> SingleFrameSource:
    clip = Clip(Path(name), WIDTH, HEIGHT, Fraction(30), np.arange(9) / 30, np.arange(9))
    return SingleFrameSource(clip, frame, np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def click(point: tuple[float, float], person_id: int = 1, label: int = 1) -> ClickPrompt:
    return ClickPrompt(3, person_id, point_px=point, label=label)  # type: ignore[arg-type]


@pytest.mark.parametrize("draws_by_clicks", [True, False], ids=["SAM", "BlazePose"])
def test_the_segmenter_runs_once_and_not_at_all_for_known_people(draws_by_clicks: bool) -> None:
    segmenter = CountingSegmenter()
    finder = FramePeopleFinder(lambda: segmenter, draws_by_clicks)
    source = frame_source()
    first = finder.find(source)
    assert [(person.person_id, person.chosen) for person in first.people] == [(1, False), (2, False)]
    assert len(segmenter.calls) == 1
    ben = finder.find(source, [click(ON_BEN)])
    assert [(person.person_id, person.chosen) for person in ben.people] == [(1, True), (2, False)]
    np.testing.assert_array_equal(decode_mask(ben.people[0].mask_code, HEIGHT, WIDTH), BEN)
    both = finder.find(source, [click(ON_BEN), click(ON_ANNA, 2)])
    assert [(person.person_id, person.chosen) for person in both.people] == [(1, True), (2, True)]
    assert len(segmenter.calls) == 1
    # On the background once, however often it is looked at; the others stay chosen.
    for _ in range(2):
        nobody = finder.find(source, [click(ON_BEN), click(BETWEEN, 2)])
        assert [warning.code for warning in nobody.warnings] == ["prompt_points_at_nobody"]
        assert nobody.warnings[0].facts == {"frame": 3, "person": 2}
        assert nobody.rejected == (click(BETWEEN, 2),)
        assert [(person.person_id, person.chosen) for person in nobody.people] == [(1, True), (2, False)]
        assert len(segmenter.calls) == 2
    # Somebody whom the segmenter finds by a click alone is known from then on, beside others.
    for prompts in ([click(ON_DOG)], [click(ON_DOG), click(ON_ANNA, 2)]):
        dog = finder.find(source, prompts)
        np.testing.assert_array_equal(decode_mask(dog.people[0].mask_code, HEIGHT, WIDTH), DOG)
        assert len(dog.people) == 3
    assert len(segmenter.calls) == 3
    finder.find(frame_source(4))
    finder.find(frame_source(3, "b.mp4"))
    assert len(segmenter.calls) == 5


def test_taking_something_away_is_drawn_anew_by_sam_only() -> None:
    for draws_by_clicks, calls in ((True, 2), (False, 1)):
        segmenter = CountingSegmenter()
        finder = FramePeopleFinder(lambda segmenter=segmenter: segmenter, draws_by_clicks)
        found = finder.find(frame_source(), [click(ON_BEN), click((30.0, 10.0), label=0)])
        assert found.people[0].chosen
        assert not found.warnings
        assert len(segmenter.calls) == calls


def test_clicks_that_would_fail_the_run_are_rejected() -> None:
    finder = FramePeopleFinder(CountingSegmenter, draws_by_clicks=False)
    twice = finder.find(frame_source(), [click(ON_BEN), click(ON_BEN, 2)])
    assert ([w.code for w in twice.warnings], twice.rejected) == (["prompts_of_one_person"], (click(ON_BEN, 2),))
    outside = finder.find(frame_source(), [click(ON_BEN, label=0)])
    assert ([w.code for w in outside.warnings], outside.rejected) == (["only_clicks_outside"], (click(ON_BEN, label=0),))
    # Of one person's clicks only the last goes.
    last = finder.find(frame_source(), [click(ON_BEN), click(ON_ANNA), click(ON_DOG, 2), click(BETWEEN, 2)])
    assert last.rejected == (click(BETWEEN, 2),)
    assert [person.chosen for person in last.people] == [True, True, False]


def test_words_are_asked_once_and_come_beside_clicks() -> None:
    segmenter = CountingSegmenter()
    finder = FramePeopleFinder(lambda: segmenter, draws_by_clicks=True)
    for _ in range(2):
        found = finder.find(frame_source(), [click(ON_BEN, 2)], " dog ")
        assert [(person.person_id, person.chosen) for person in found.people] == [(2, True), (1, True), (3, False)]
        assert len(segmenter.calls) == 2
    assert [warning.code for warning in finder.find(frame_source(), (), "cat").warnings] == ["text_found_nobody"]


def test_nobody_on_a_frame_is_a_warning() -> None:
    found = FramePeopleFinder(lambda: CountingSegmenter([]), draws_by_clicks=True).find(frame_source())
    assert (found.people, [warning.code for warning in found.warnings]) == ((), ["nobody_on_frame"])


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("body4d.app.preview.MAX_FRAMES_KEPT", 2)
    segmenter = CountingSegmenter()
    finder = FramePeopleFinder(lambda: segmenter, draws_by_clicks=True)
    for frame in (0, 1, 2, 1, 2, 0):
        finder.find(frame_source(frame))
    assert len(segmenter.calls) == 4


def test_known_masks_decide_without_the_segmenter() -> None:
    preview = Preview(3, 9, 30.0, 0.3, WIDTH, HEIGHT, FramePeopleFinder(CountingSegmenter, draws_by_clicks=False).find(frame_source()))
    both = people_by_known_masks(preview, [click(ON_BEN), click(ON_ANNA, 2)], "", draws_by_clicks=False)
    assert both is not None
    assert [(person.person_id, person.chosen) for person in both.people] == [(1, True), (2, True)]
    # What they do not explain, the segmenter must look at.
    assert people_by_known_masks(preview, [click(BETWEEN)], "", draws_by_clicks=False) is None
    assert people_by_known_masks(preview, [], "dog", draws_by_clicks=True) is None
    assert people_by_known_masks(preview, [click(ON_BEN), click((30.0, 10.0), label=0)], "", draws_by_clicks=True) is None


def test_outlines_enclose_the_mask() -> None:
    ring = np.zeros((600, 1000), bool)
    ring[100:500, 200:800] = True
    ring[200:400, 400:600] = False
    x, y = inner_point_px(ring)
    assert ring[int(y), int(x)]
    drawn = Image.new("1", (1000, 600))
    for part in outline_path(ring).split("M")[1:]:  # Of rings, the rule "evenodd" draws what differs.
        polygon = Image.new("1", (1000, 600))
        points = [tuple(int(value) for value in pair.split()) for pair in part.rstrip("Z").split("L")]
        ImageDraw.Draw(polygon).polygon(points, fill=1)
        drawn = Image.fromarray(np.asarray(drawn) ^ np.asarray(polygon))
    assert (np.asarray(drawn) & ring).sum() > 0.97 * (np.asarray(drawn) | ring).sum()
    assert outline_path(np.zeros((40, 60), bool)) == ""


def test_a_film_strip_takes_key_frames_near_its_tiles(tmp_path: Path) -> None:
    times_s = np.arange(101) / 10
    assert strip_frames(times_s, np.array([0.0]), 4) == [0, 37, 62, 87]
    assert strip_frames(times_s, np.array([0.0, 3.5, 6.0]), 4) == [0, 35, 60, 87]
    runner = TaskRunner(Settings(preset="lite"))
    assert runner.run(FilmStripTask(make_video(tmp_path / "clip.mp4", frames=6), tmp_path / "strip.jpg"), ignore_events) is None
    with Image.open(tmp_path / "strip.jpg") as strip:
        assert strip.width == pytest.approx(strip.height * 12 * 64 / 48, rel=0.35)
    # As wide a clip turned by a quarter gives higher tiles.
    runner.run(FilmStripTask(tmp_path / "clip.mp4", tmp_path / "turned.jpg", 90), ignore_events)
    with Image.open(tmp_path / "turned.jpg") as strip:
        assert strip.width < strip.height * 12


def test_clicks_are_answered_by_models_that_stay_loaded(tiny_checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = sam3.load_sam3
    monkeypatch.setattr(sam3, "load_sam3", lambda *given: loads.append(given) or load(*given))
    weights = WeightsSettings(folder=str(tiny_checkpoints))
    runner = TaskRunner(Settings(preset="sam", weights=weights, compute=ComputeSettings(device="cpu")))
    clip = make_video(tmp_path / "clip.mp4", frames=6)
    preview = runner.run(PreviewTask(clip, tmp_path / "frame.jpg", 2), ignore_events)
    assert preview is not None
    assert preview.on_frame.people
    assert not preview.on_frame.people[0].chosen
    middle = ClickPrompt(2, point_px=(preview.width_px / 2, preview.height_px / 2))
    chosen = runner.run(PreviewTask(clip, tmp_path / "frame.jpg", 2, (middle,)), ignore_events)
    assert chosen is not None
    assert any(person.chosen for person in chosen.on_frame.people)
    with Image.open(tmp_path / "frame.jpg") as painted:
        assert painted.size == (preview.width_px, preview.height_px)
    assert len(loads) == 1
    turned = runner.run(PreviewTask(clip, tmp_path / "frame.jpg", 2, rotate_deg=90), ignore_events)
    assert turned is not None
    assert (turned.width_px, turned.height_px) == (preview.height_px, preview.width_px)
    assert turned.masks()[0].shape == (turned.height_px, turned.width_px)
