"""Names, limits, marks, choices, waiting and sweeping: decisions without a server."""

import numpy as np
import pytest

from body4d.app.api import marks_of
from body4d.app.auth import credentials
from body4d.app.forms import Choices, settings_for
from body4d.app.html import message, progress
from body4d.app.limits import limits_sentence, refusal, too_large
from body4d.app.names import download_name, shown_name, stored_name, without_paths
from body4d.app.prompts import Mark, meant, people_of, prompts_of
from body4d.app.queue import Place, learned, wait_s
from body4d.app.sessions import Kept, to_delete
from body4d.app.tasks import same_person
from body4d.config import AppSettings, Settings
from body4d.core.errors import InputError, SettingsError
from body4d.core.progress import Event


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("swing.mp4", "swing.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\clips\\a b.mov", "a b.mov"),
        ("<img src=x onerror=alert(1)>.mp4", "img src_x onerror_alert_1_.mp4"),
        ("Schwung – Übung.mp4", "Schwung _ Übung.mp4"),
        ("...", "clip"),
        ("", "clip"),
        ("a\r\nSet-Cookie: x.mp4", "a_Set-Cookie_ x.mp4"),
        ("x" * 300 + ".mp4", "x" * 56 + ".mp4"),
    ],
)
def test_names_are_made_harmless(given: str, shown: str) -> None:
    assert shown_name(given) == shown
    assert shown_name(shown) == shown


@pytest.mark.parametrize(
    ("given", "stored"), [("a/b.MOV", "clip.mov"), ("a.mp4.exe", "clip"), ("noending", "clip"), ("x.webm", "clip.webm")]
)
def test_nothing_of_a_visitors_name_reaches_the_disk(given: str, stored: str) -> None:
    assert stored_name(given) == stored


def test_downloads_are_called_after_the_clip_in_ascii() -> None:
    assert download_name("Übung 1.mp4", "body.glb") == "Ubung_1_body.glb"
    assert download_name("動画.mp4", "body.glb") == "clip_body.glb"


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("/tmp/body4d/runs/abc/clip.mp4 is not a video.", "swing.mp4 is not a video."),
        ("It lies in /data/x/y; use another.", "It lies in y; use another."),
        ("No /dev access, 30 frames/s, 1/2.", "No dev access, 30 frames/s, 1/2."),
        ("Nobody was seen; choose another range with --start and --end.", "Nobody was seen; choose another range."),
        ("It is too large; scale it down first, or raise video.max_megapixels.", "It is too large; scale it down first."),
    ],
)
def test_sentences_tell_no_paths_and_no_flags(sentence: str, told: str) -> None:
    assert without_paths(sentence, "/tmp/body4d/runs/abc/clip.mp4", "swing.mp4") == told


@pytest.mark.parametrize(
    ("seconds", "frames", "size", "word"),
    [
        (10, 300, (1920, 1080), None),
        (7200, 300, (1920, 1080), "2 hours long, and 60 seconds is the most"),
        (59, 6000, (640, 480), "6000 frames"),
        (5, 100, (7680, 4320), "7680x4320, and 4K is the most"),
        (0, 0, (0, 0), None),
    ],
)
def test_limits(seconds: float, frames: int, size: tuple[int, int], word: str | None) -> None:
    told = refusal(seconds, frames, *size, AppSettings())
    assert told is None if word is None else word in (told or "")


def test_limits_of_size_are_those_told_before() -> None:
    settings = AppSettings(most_megabytes=50, most_seconds=20, most_people=1)
    assert "Up to 20 seconds, 50 MB" in limits_sentence(settings)
    assert "1 person is followed" in limits_sentence(settings)
    assert too_large(50_000_000, settings) is None
    assert "51 MB, and 50 MB is the most" in (too_large(51_000_000, settings) or "")
    assert "empty" in (too_large(0, settings) or "")


SQUARE = np.zeros((10, 10), bool)
SQUARE[2:5, 2:5] = True


@pytest.mark.parametrize(
    ("kind", "place", "marks", "wanted", "who"),
    [
        ("in", (8.0, 8.0), (), None, 1),
        ("in", (8.0, 8.0), (Mark(0, 1, "in", (3.0, 3.0)),), None, 2),
        ("in", (3.0, 3.0), (Mark(0, 1, "in", (3.0, 3.0)),), None, 1),
        ("out", (8.0, 8.0), (Mark(0, 1, "in", (3.0, 3.0)), Mark(0, 2, "in", (9.0, 9.0))), None, 2),
        ("out", (3.0, 3.0), (Mark(0, 1, "in", (3.0, 3.0)), Mark(0, 2, "in", (9.0, 9.0))), None, 1),
        ("in", (8.0, 8.0), (Mark(0, 1, "in", (3.0, 3.0)),), 1, 1),
        ("box", (2.0, 2.0, 5.0, 5.0), (Mark(0, 2, "in", (3.0, 3.0)),), None, 1),
    ],
    ids=["first", "another", "the same again", "away from the last", "away from whom it hits", "as told", "box fills the free number"],
)
def test_whom_a_click_means(kind: str, place: tuple[float, ...], marks: tuple[Mark, ...], wanted: int | None, who: int) -> None:
    assert meant(kind, place, [(1, SQUARE)] if marks else [], marks, wanted) == who  # type: ignore[arg-type]


def test_nothing_is_taken_away_from_nobody() -> None:
    with pytest.raises(SettingsError, match="Choose a person first"):
        meant("out", (1.0, 1.0), [], (), None)


def test_marks_become_prompts_of_the_frames_looked_at() -> None:
    marks = (Mark(10, 1, "in", (5, 6)), Mark(10, 1, "out", (7, 8)), Mark(21, 2, "box", (1, 2, 3, 4)))
    prompts = prompts_of(marks, " a golfer ", np.arange(8, 40, 2))
    assert [prompt.text for prompt in prompts if prompt.text] == ["a golfer"]
    box = next(prompt for prompt in prompts if prompt.box_px is not None)
    points = next(prompt for prompt in prompts if prompt.points_px is not None)
    assert (box.frame, box.person_id) == (6, 2)  # frame 20, the nearest to 21
    assert (points.frame, points.person_id) == (1, 1)
    assert points.labels is not None
    assert points.points_px is not None
    np.testing.assert_array_equal(points.labels, [1, 0])
    np.testing.assert_array_equal(points.points_px, [[5, 6], [7, 8]])


def test_a_person_chosen_outside_the_range_is_told() -> None:
    with pytest.raises(InputError, match="Person 2 was chosen on a frame outside"):
        prompts_of((Mark(5, 1, "in", (1, 1)), Mark(90, 2, "in", (1, 1))), "", np.arange(50))
    # Someone also chosen inside is not lost.
    assert len(prompts_of((Mark(5, 1, "in", (1, 1)), Mark(90, 1, "in", (1, 1))), "", np.arange(50))) == 1


def test_people_are_those_chosen() -> None:
    assert people_of([Mark(0, 3, "in", (1, 1)), Mark(0, 5, "out", (1, 1)), Mark(2, 1, "box", (1, 1, 2, 2))]) == [1, 3]


def test_marks_of_the_api() -> None:
    assert marks_of([{"frame": 2, "place": [1, 2]}]) == (Mark(2, 1, "in", (1.0, 2.0)),)
    assert marks_of([{"frame": 0, "place": [1, 2, 3, 4], "who": 2}]) == (Mark(0, 2, "box", (1.0, 2.0, 3.0, 4.0)),)
    for wrong in ({}, {"frame": 0, "place": "ab"}, {"frame": 0, "place": [1]}, {"frame": 0, "place": [1, float("nan")]}, 5):
        with pytest.raises(SettingsError):
            marks_of([wrong])  # type: ignore[list-item]


def test_same_person() -> None:
    assert same_person(SQUARE, SQUARE)
    assert not same_person(SQUARE, np.roll(SQUARE, 2, axis=0))


def test_choices_become_settings() -> None:
    settings = settings_for(Settings(), Choices("all", start_s=1.0, end_s=3.0, fov_deg=0, moving=True), ())
    assert (settings.people.count, settings.video.start_s, settings.video.end_s) == (4, 1.0, 3.0)
    assert settings.camera.fov_deg is None
    assert settings.camera.motion == "moving"


@pytest.mark.parametrize(
    ("choices", "marks", "word"),
    [
        (Choices(start_s=3, end_s=2), (), r"From second \(3\) must be before To second \(2\)"),
        (Choices(fov_deg=500), (), "Field of view cannot be 500"),
        (Choices(person_height_m=-1), (), "Height cannot be -1"),
        (Choices("<b>"), (), "Whom to follow"),
        (Choices(), tuple(Mark(0, who, "in", (1, 1)) for who in range(1, 7)), "6 people are chosen, and 4 is the most"),
    ],
)
def test_wrong_choices_are_told_by_their_names_on_the_page(choices: Choices, marks: tuple[Mark, ...], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        settings_for(Settings(), choices, marks)


@pytest.mark.parametrize(
    ("ahead", "elapsed", "wait"),
    [([], 0, 0), ([100], 0, 50), ([100], 30, 20), ([100], 90, 0), ([100, 10, 20], 90, 15), ([100, 10], 20, 35)],
)
def test_how_long_a_visitor_waits(ahead: list[int], elapsed: float, wait: float) -> None:
    assert wait_s(ahead, elapsed, 0.5) == pytest.approx(wait)


def test_the_estimate_learns() -> None:
    assert learned(1.0, 0.2) == pytest.approx(0.6)


HOUR = 3600.0


@pytest.mark.parametrize(
    ("kept", "live", "gone"),
    [
        ([Kept("new", 99 * HOUR, 5), Kept("old", 1 * HOUR, 5)], set(), ["old"]),
        ([Kept("new", 99 * HOUR, 5), Kept("old", 1 * HOUR, 5)], {"old"}, []),
        ([Kept("c", 99 * HOUR, 60), Kept("a", 97 * HOUR, 60), Kept("b", 98 * HOUR, 30)], set(), ["a"]),
        ([Kept("c", 99 * HOUR, 60), Kept("a", 97 * HOUR, 60), Kept("b", 98 * HOUR, 30)], {"a"}, ["b", "c"]),
        ([], set(), []),
    ],
    ids=["too old", "old but at work", "too much: the longest unused", "too much, and that is at work", "nothing"],
)
def test_what_is_swept(kept: list[Kept], live: set[str], gone: list[str]) -> None:
    assert to_delete(kept, now_s=100 * HOUR, keep_s=24 * HOUR, keep_bytes=100, live=live) == gone


def test_the_page_escapes() -> None:
    assert "<b>" not in message("<b>")
    assert message("") == ""


def test_progress_tells_place_rate_and_time_left() -> None:
    waiting = progress({}, Place(2, 130, 40), 0)
    assert "2 runs are before yours" in waiting
    assert "begins in about 2 min and takes about 40 s" in waiting
    working = progress({"probe": Event("probe", "done"), "bodies": Event("bodies", "working", 45, 60, 5, 9.04, 12.4)}, None, 61)
    assert "45 of 60 · 9.0 a second · 12 s left" in working
    assert 'class="b4-done" data-stage="probe"' in working
    assert 'class="b4-todo" data-stage="pictures"' in working
    assert "occlusion" not in working  # a stage that this preset has not


def test_the_password_must_be_a_pair() -> None:
    assert credentials({}) is None
    assert credentials({"BODY4D_AUTH": "anna:a:b"}) == ("anna", "a:b")
    for wrong in ("anna", ":x", "anna:"):
        with pytest.raises(SettingsError) as told:
            credentials({"BODY4D_AUTH": wrong})
        assert wrong not in str(told.value).replace("user:password", "")
