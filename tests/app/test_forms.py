"""Names, problems, limits and options as visitors meet them: decisions without a server."""

from pathlib import Path

import pytest

import body4d
from body4d.app.forms import RunOptions, clip_refusal, limits_sentence, options_from_json, range_refusal, settings_for, size_refusal
from body4d.app.html import HINTS_FIT_FOR_PAGE, PAGE_REMEDIES, PAGE_SENTENCES, problem_text
from body4d.app.names import download_name, public_problem, shown_name, stored_name
from body4d.app.prompts import ClickPrompt
from body4d.config import AppSettings, CameraSettings, Settings
from body4d.core.errors import InputError, RunWarning, SettingsError


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("swing.mp4", "swing.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\clips\\a b.mov", "a b.mov"),
        ("<img src=x onerror=alert(1)>.mp4", "<img src=x onerror=alert(1)>.mp4"),
        ("Schwung – Übung.mp4", "Schwung – Übung.mp4"),
        ("Driver, Sunday (2).mp4", "Driver, Sunday (2).mp4"),
        ("U\u0308bung \U0001f3cc.mp4", "Übung \U0001f3cc.mp4"),
        ("swing\u202e4pm.exe", "swing 4pm.exe"),
        ("...", "clip"),
        ("a/..", "clip"),
        ("", "clip"),
        ("a\r\nSet-Cookie: x.mp4", "a Set-Cookie: x.mp4"),
        ("x" * 300 + ".mp4", "x" * 56 + ".mp4"),
    ],
)
def test_names_are_shown_as_they_were_given_in_one_line_without_a_folder(given: str, shown: str) -> None:
    assert shown_name(given) == shown
    assert shown_name(shown) == shown
    assert Path("clip.mp4").with_name(shown).name == shown  # as files that tell the clip's name need it


@pytest.mark.parametrize(
    ("given", "stored"), [("a/b.MOV", "clip.mov"), ("a.mp4.exe", "clip"), ("noending", "clip"), ("x.webm", "clip.webm")]
)
def test_nothing_of_a_visitors_name_reaches_the_disk(given: str, stored: str) -> None:
    assert stored_name(given) == stored


def test_downloads_are_called_after_the_clip_in_ascii() -> None:
    assert download_name("Übung 1.mp4", "body.glb") == "Ubung_1_body.glb"
    assert download_name("動画.mp4", "body.glb") == "clip_body.glb"


CLIP = Path("/tmp/body4d/runs/abc/clip.mp4")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"{CLIP} is not a video.", "swing.mp4 is not a video."),
        ("clip.mp4 is not a video.", "swing.mp4 is not a video."),
        ("It lies in /data/x/y; use another.", "It lies in y; use another."),
        ("No /dev access, 30 frames/s, 1/2.", "No dev access, 30 frames/s, 1/2."),
        ("This clip holds nothing.", "This clip holds nothing."),
    ],
)
def test_problems_reveal_no_paths(message: str, shown: str) -> None:
    error = InputError(message, code="a", hint=f"See {CLIP}.", file=str(CLIP), others=[{"at": "/data/x/y"}], frame=3)
    public = public_problem(error, CLIP, "swing.mp4")
    assert public.as_json() == {
        "code": "a",
        "message": shown,
        "hint": "See swing.mp4.",
        "facts": {"file": "swing.mp4", "others": [{"at": "y"}], "frame": 3},
    }
    assert public_problem(InputError("This clip is old.", code="a"), Path("/x/clip"), "swing").message == "This clip is old."
    assert public_problem(error, CLIP, "my clip.mp4").hint == "See my clip.mp4."


def test_the_page_offers_its_own_remedies() -> None:
    assumed = RunWarning("fov_assumed", "A field of view was assumed.", "--fov settles it.")
    assert "--fov" not in problem_text(public_problem(assumed))
    assert problem_text(public_problem(assumed)) == f"{PAGE_SENTENCES['fov_assumed']} {PAGE_REMEDIES['fov_assumed']}"
    unknown = InputError("This cannot be.", code="unheard_of", hint="Use --other.")
    assert problem_text(public_problem(unknown)) == "This cannot be."
    too_long = InputError("This clip is long.", code="clip_too_long", hint="Cut it.")
    assert problem_text(public_problem(too_long)) == "This clip is long. Cut it."
    assert not HINTS_FIT_FOR_PAGE & PAGE_REMEDIES.keys()


def test_remedies_are_for_problems_that_there_are() -> None:
    package = Path(body4d.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py") if path.name != "html.py")
    for code in HINTS_FIT_FOR_PAGE | PAGE_REMEDIES.keys() | PAGE_SENTENCES.keys():
        assert f'"{code}"' in source, code


@pytest.mark.parametrize(
    ("seconds", "frames", "size", "word"),
    [
        (10, 300, (1920, 1080), None),
        (300, 9000, (1920, 1080), None),  # can be cut
        (7200, 300, (1920, 1080), "2 hours long, and 30 minutes is the most"),
        (59, 600_000, (640, 480), "600000 frames"),
        (5, 100, (7680, 4320), "7680x4320, and 4K is the most"),
        (0, 0, (0, 0), None),
    ],
)
def test_limits(seconds: float, frames: int, size: tuple[int, int], word: str | None) -> None:
    refusal = clip_refusal(seconds, frames, *size, AppSettings())
    assert refusal is None if word is None else word in str(refusal)


@pytest.mark.parametrize(
    ("seconds", "frames", "word"),
    [(60.04, 3600, None), (61, 300, "61 seconds of video, and 60 seconds is the most"), (15, 3601, "3601 frames, and 3600 is the most")],
)
def test_limits_of_a_part(seconds: float, frames: int, word: str | None) -> None:
    refusal = range_refusal(seconds, frames, AppSettings())
    assert refusal is None if word is None else word in str(refusal)


def test_limits_of_size_are_those_shown_before() -> None:
    settings = AppSettings(max_megabytes=50, max_seconds=20, max_people=1)
    assert "Up to 50 MB" in limits_sentence(settings)
    assert "cut here to 20 seconds" in limits_sentence(settings)
    assert "1 person is followed" in limits_sentence(settings)
    assert size_refusal(50_000_000, settings) is None
    assert "51 MB, and 50 MB is the most" in str(size_refusal(51_000_000, settings))
    assert "empty" in str(size_refusal(0, settings))


def test_options_become_settings() -> None:
    settings = settings_for(
        Settings(), RunOptions("all", start_s=1.0, end_s=3.0, fov_deg=0, motion="moving", sex="male", age_years=12, rotate_deg=270), ()
    )
    assert (settings.people.count, settings.video.start_s, settings.video.end_s) == (4, 1.0, 3.0)
    assert settings.camera.fov_deg is None
    assert settings.camera.motion == "moving"
    still = Settings(camera=CameraSettings(motion="static"))
    assert [settings_for(still, RunOptions(motion=motion), ()).camera.motion for motion in ("auto", "rotating")] == ["static", "rotating"]
    assert (settings.fit.sex, settings.fit.age_years) == ("male", 12)


@pytest.mark.parametrize(
    ("options", "prompts", "word"),
    [
        (RunOptions(start_s=3, end_s=2), (), r"From second \(3\) must be before To second \(2\)"),
        (RunOptions(fov_deg=500), (), "Field of view cannot be 500: it must be below 170 degrees"),
        (RunOptions(person_height_m=183), (), "Height cannot be 183: it must be below 2.6 metres"),
        (RunOptions(age_years=300), (), "Age cannot be 300"),
        (RunOptions(rotate_deg=45), (), "Turn of the picture cannot be 45: it should be 0, 90, 180 or 270"),
        (RunOptions(sex="<b>"), (), "Body cannot be"),
        (RunOptions(motion="shaken"), (), "The camera cannot be shaken: it should be 'auto', 'static', 'rotating' or 'moving'"),
        (RunOptions("<b>"), (), "Whom to follow"),
        (RunOptions(), tuple(ClickPrompt(0, number, point_px=(1, 1)) for number in range(1, 7)), "6 people are chosen, and 4 is the most"),
    ],
)
def test_wrong_options_are_named_as_on_the_page(options: RunOptions, prompts: tuple[ClickPrompt, ...], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        settings_for(Settings(), options, prompts)


def test_the_form_comes_as_json() -> None:
    assert options_from_json({"person_height_m": 1.83, "age_years": None, "motion": "moving"}) == RunOptions(
        person_height_m=1.83, motion="moving"
    )
    for fields, word in (({"age_years": "old"}, "Age must be a number"), ({"x": 1}, "A setting"), ([], "A setting")):
        with pytest.raises(SettingsError, match=word):
            options_from_json(fields)
