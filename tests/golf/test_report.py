"""The golf report: what its page and its PDF hold, that it stands alone, and that it survives swings with gaps."""

import dataclasses
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from body4d.golf.report import GolfRun, palette, words, write_comparison, write_report
from body4d.golf.report.figures import drawings, tempo_words
from body4d.golf.report.page import report_page, tables
from body4d.golf.report.pdf import report_pdf
from body4d.golf.report.strip import MAX_ASPECT, event_pictures
from body4d.golf.types import EVENT_LABELS, GolfAnalysis, Tempo
from fakes import stick_rig
from made_swing import cut_off, make_analysis, make_swing
from scenes import make_scene

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The page as a browser's parser meets it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))

    def text(self, within: str = "body") -> str:
        return " ".join(data.strip() for path, data in self.texts if within in path and "style" not in path and data.strip())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


@dataclasses.dataclass(frozen=True)
class Grey:
    """A clip's pictures, all grey."""

    clip: object
    warnings: tuple = ()

    def read(self, first=0, last=None, step=1):
        for frame in range(first, len(self.clip) if last is None else last, step):
            yield frame, np.full((self.clip.height_px, self.clip.width_px, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def run() -> GolfRun:
    """A made swing on a box that moves before grey pictures."""
    scene = make_scene(frames=125, body="stick")
    scene = dataclasses.replace(scene, people=tuple(dataclasses.replace(track, rig=stick_rig()) for track in scene.people))
    return GolfRun(make_analysis(), scene, Grey(scene.clip))


@pytest.fixture(scope="module")
def written(run, tmp_path_factory) -> list[Path]:
    other = GolfRun(make_analysis(make_swing(turn=1.4), clip_name="other <b>.mp4"), run.scene)
    return write_report(run.analysis, run.scene, run.frames, tmp_path_factory.mktemp("report"), other)


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written[0].read_text(encoding="utf-8"))


def page_of(analysis: GolfAnalysis) -> Page:
    """The page without pictures."""
    return Page(report_page(analysis, ()))


def test_three_files_of_sensible_size(written):
    assert [path.name for path in written] == ["golf.html", "golf.pdf", "golf_comparison.html"]
    assert written[0].stat().st_size < 1.5e6
    assert written[2].stat().st_size < 1.5e6
    assert len(re.findall(rb"/Type\s*/Page\b", written[1].read_bytes())) == 2


@pytest.mark.parametrize("index", [0, 2])
def test_the_page_stands_alone(written, index):
    """Nothing is fetched: pictures are data, there is no script and no style sheet beside, links lead to sources and to files beside."""
    text = written[index].read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not page.all("script")
    assert not page.all("link")
    assert "@import" not in text
    assert "url(" not in text.replace("url(#", "")
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    sources = {url for _, url in words.SOURCES}
    beside = {"golf.csv", "golf.json", "golf_comparison.html"}
    for tag, attrs in page.tags:
        for name in ("href", "src"):
            if name in attrs and tag != "img":
                assert attrs[name].startswith("#") or attrs[name] in (sources if tag == "a" else set()) | beside
    names = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(names) == len(set(names))
    assert all(reference in names for reference in re.findall(r'(?:url\(#|href="#)([^")]+)', text))


def test_readable_by_ear(page):
    assert page.all("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.all("img"))
    assert all(drawing["role"] == "img" and len(drawing["aria-label"]) > 30 for drawing in page.all("svg"))
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_sections_stand_in_order(page):
    titles = [text for path, text in page.texts if path[-1:] == ("h2",)]
    assert titles == ["Events", "Tempo", "Measures", "Curves", "What one camera cannot tell", "Comparison", "Warnings"]


def test_every_event_with_both_pictures_and_its_time(page, run):
    swing = run.analysis.swings[0]
    alts = [image["alt"] for image in page.all("img")]
    assert len(alts) == 16
    for event in swing.events:
        label = EVENT_LABELS[event.name]
        assert [alt for alt in alts if alt.startswith(f"{label}:")] == [
            f"{label}: the video's picture with the body over it",
            f"{label}: the body seen down the line",
        ]
        if event.name != "impact":
            assert words.event_time_words(swing, event) in page.text()
    assert page.text("ol").count(words.PROXY_NOTE) == sum(event.proxy for event in swing.events)
    # The made swing has its events at known shares of a second before impact.
    assert [words.event_time_words(swing, event) for event in swing.events] == [
        "1.00 s before impact",
        "0.60 s before impact",
        "0.46 s before impact",
        "0.23 s before impact",
        "0.08 s before impact",
        "impact",
        "0.06 s after impact",
        "0.57 s after impact",
    ]


def test_every_measure_with_its_bar(page, run):
    text = page.text("table")
    for measure in run.analysis.swings[0].measures:
        assert measure.label in text
        value, _, bar = words.value_and_bar(measure).partition(" ± ")
        assert value in text
        assert not bar or f"± {bar}" in text


def test_what_is_not_to_be_relied_on_is_grey_with_its_reason(page, run):
    grey = [attrs for tag, attrs in page.tags if tag == "td" and attrs.get("class") == "c"]
    unsure = [measure for measure in run.analysis.swings[0].measures if measure.class_ == "C"]
    assert len(unsure) == len(grey) == 4
    assert {attrs["title"] for attrs in grey} == {measure.reason for measure in unsure}
    assert "Grey: Pelvis thrust. One camera face-on sees hardly any depth." in page.text()
    assert "Grey: X-factor stretch. Filmed too slowly." in page.text()


def test_tempo_names_its_band_and_no_target(page):
    assert "3.35 ± 0.40 : 1" in page.text()
    for figure in ("758 swings of 246 players", "between 2.57 and 5.33", "between 3.00 and 4.13", "It is no target"):
        assert figure in page.text()


def test_times_of_a_slowed_down_clip_are_not_called_real(run, page):
    slowed = dataclasses.replace(run.analysis.warnings[0], code="swing_seems_slowed")
    text = page_of(dataclasses.replace(run.analysis, warnings=(slowed,))).text()
    assert words.SLOWED in text
    assert "backswing of" not in text
    assert words.SLOWED not in page.text()


def test_warnings_are_listed_without_their_flags(page):
    """Those of the analysis and those of the run, whose assumptions are errors of every length."""
    assert "2 warnings at the end of this page" in page.text()
    assert "The clip looks slowed down" in page.text("ul")
    assert "The height was assumed" in page.text("ul")
    assert "--" not in page.text()


def test_the_sequence_says_where_it_cannot_be_told(page):
    assert "Order of the greatest rates: pelvis, then thorax, then lead arm." in page.text()
    unresolved = make_analysis(make_swing(fps=30, resolved=False), fps=30.0)
    said = words.sequence_words(unresolved, unresolved.swings[0])
    assert said == "The order cannot be told at 30 frames per second. The gaps are shorter than two frames. The club is not part of it."


def test_titles_say_how_sure_view_and_hand_are(page):
    assert "face-on (sure)" in page.text("header")
    assert "right-handed (likely)" in page.text("header")
    assert "filmed at 60 frames per second (as the file says)" in page.text("header")


def test_confidence_in_words():
    said = [words.confidence_words(confidence) for confidence in (0.9, 0.7, 0.69, float("nan"))]
    assert said == ["sure", "likely", "not sure", "confidence unknown"]
    assert words.confidence_words(0.2, given=True) == "as you said"


def test_a_cut_off_swing_is_still_reported(run, tmp_path):
    paths = write_report(make_analysis(cut_off(make_swing())), run.scene, None, tmp_path)
    page = Page(paths[0].read_text(encoding="utf-8"))
    assert "Not in the clip: impact, mid-follow-through, finish." in page.text()
    assert page.text("ol").count("not in the clip") == 3
    assert "Tempo needs address, top and impact in the clip." in page.text()
    assert "The kinematic sequence needs top and impact in the clip." in page.text()
    assert "nan" not in re.sub(r"[^ ]{40,}", "", page.text()).split()


def test_a_swing_of_which_nothing_is_known():
    swing = make_swing()
    nothing = float("nan")
    bare = dataclasses.replace(
        swing,
        events=(),
        cut_off=tuple(EVENT_LABELS),
        pelvis_reversal=None,
        measures=(),
        curves=tuple(dataclasses.replace(c, values=np.full(len(c.values), nothing), bar=nothing) for c in swing.curves),
        tempo=Tempo(nothing, nothing, nothing, nothing, 1 / 60),
        sequence=None,
        hand_path_m=np.full((len(swing.frames), 3), nothing),
    )
    assert drawings(bare) == []
    assert "Nothing could be measured." in page_of(make_analysis(bare)).text()


def test_the_clip_is_not_needed(run):
    pictures = dataclasses.replace(run, frames=None).pictures()
    assert all(picture.overlay is None and picture.body is not None for picture in pictures)


def test_several_swings_say_which_one_is_shown():
    analysis = make_analysis(make_swing(), make_swing(first_frame=20, practice=True), main=1)
    assert words.swings_words(analysis) == "The clip holds 2 swings (1 at 0.4 s, 2 at 0.5 s (practice)); this page shows number 2."
    assert words.title_words(analysis, analysis.swings[1])[0] == "practice swing"
    assert words.swings_words(make_analysis()) == ""


def test_the_same_bytes_twice_whatever_others_set(written, run):
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "svg.hashsalt": None}):
        before = dict(matplotlib.rcParams)
        pictures = run.pictures()
        analysis = run.with_all_warnings()
        assert report_page(analysis, pictures, compared_with="other <b>.mp4").encode() == written[0].read_bytes()
        assert report_pdf(analysis, pictures) == written[1].read_bytes()
        assert dict(matplotlib.rcParams) == before


def test_pictures_are_fitted_to_the_swing(run):
    swing = run.analysis.swings[0]
    pictures = event_pictures(swing, 1, run.scene, run.frames)
    assert [picture.event for picture in pictures] == list(swing.events)
    for picture in pictures:
        assert picture.overlay is not None
        assert picture.body is not None
        assert picture.overlay.shape == picture.body.shape
        assert picture.overlay.shape[1] <= MAX_ASPECT * picture.overlay.shape[0] + 1
        assert np.ptp(picture.overlay) > 0, "no body is drawn"


@pytest.mark.parametrize("mode", ["day", "night"])
def test_letters_have_the_contrast_of_wcag_aa(mode):
    def luminance(colour: str) -> float:
        part = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        return float(np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    for paper in (palette.PAPER, palette.CARD):
        for ink in palette.TEXT:
            low, high = sorted(luminance(getattr(colour, mode)) for colour in (paper, ink))
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{ink.name} on {paper.name}"


def test_tables_keep_what_is_over_the_swing_apart():
    turn = next(table for table in tables(make_swing().measures) if table.group == "Turn")
    assert turn.events == ("address", "top", "impact")
    assert [row[0].name for row in turn.at_events] == ["pelvis_turn_deg", "thorax_turn_deg", "shoulder_line_turn_deg", "x_factor_deg"]
    assert [measure.name for measure in turn.over_swing] == ["x_factor_stretch_deg"]


def test_a_missing_event_is_named_once_for_all_its_measures():
    swing = make_swing()
    reason = "The moment is outside the clip."
    gone = tuple(dataclasses.replace(m, class_="C", reason=reason) if m.event == "impact" else m for m in swing.measures)
    turn = next(table for table in tables(gone) if table.group == "Turn")
    assert f"Grey: all at impact. {reason}" in turn.notes


def test_numbers():
    cases = ((-0.004, 2, True), (-38.4, 0, True), (5.0, 1, True), (5.0, 1, False), (float("nan"), 1, True))
    assert [words.number(value, decimals, signed=signed) for value, decimals, signed in cases] == ["0.00", "−38", "+5.0", "5.0", "–"]


def test_tempo_without_a_known_time_names_no_seconds():
    assert " s " not in tempo_words(Tempo(3.0, 0.2, 3.3, 1.1, 1 / 30), time_known=False).split("The band")[0]


def test_the_comparison_page_holds_both(written, run):
    page = Page(written[2].read_text(encoding="utf-8"))
    assert "first: made.mp4" in page.text("header")
    assert "second: other <b>.mp4" in page.text("header")
    assert len(page.all("img")) == 16 + 8
    assert "Pelvis turn at top: −40° in the first, −56° in the second; difference +16 ± 8°" in page.text()
    assert "Lead arm at top" not in page.text("li")
    assert "Second: The height was assumed" in page.text("li")
    assert page.text("table").count("none told") > 5


def test_a_comparison_alone(run, tmp_path):
    one = make_swing()
    short = GolfRun(make_analysis(dataclasses.replace(cut_off(one), curves=one.curves[:1])), run.scene)
    (path,) = write_comparison(short, short, tmp_path)
    assert path.name == "golf_comparison.html"
    assert "No difference that one camera can tell." in path.read_text(encoding="utf-8")
