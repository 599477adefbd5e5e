"""The result page in a real browser: one clock for everything, the swing's moments, drawing, links, phones."""

import io
import itertools
import json

import numpy as np
import pytest
from made_result import FRAMES, MOMENTS, OTHER, READ_OTHER_VIDEO, READ_STATE, SIZE, TOKEN, write_result
from PIL import Image

pytestmark = pytest.mark.slow  # A browser is started


@pytest.fixture(scope="module")
def results(site, site_root):
    write_result(site_root / "runs" / TOKEN)
    write_result(site_root / "runs" / OTHER, swing_at=2)
    return site


@pytest.fixture
def result(chrome, results):
    """``result("&frame=3")`` opens the page on the made result; fails at the end if it complained."""
    contexts, complaints = [], []

    def open_page(more: str = "", *, size=(640, 600), **options):
        context = chrome.new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security Policy" in line.text else None)
        page.goto(f"{results}/player/index.html?run={TOKEN}{more}")
        page.wait_for_selector("body[data-state=ready]")
        until(page, lambda: page.get_attribute("#picture", "data-frame"))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def until(page, true) -> None:
    for _ in range(600):
        if true():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never came true")


def shows(page, frame: int) -> None:
    """Waits until video, body, cursor and text all show a frame."""
    until(page, lambda: set(page.evaluate(READ_STATE).values()) == {frame})


def test_everything_shows_the_same_frame(result):
    page = result()
    page.click("#to-curves")
    for frame in (0, 7, 31, 13, FRAMES - 1):
        page.locator("#scrub").fill(str(frame))
        shows(page, frame)
    page.keyboard.press("ArrowLeft")
    shows(page, FRAMES - 2)
    for speed in ("0.25", "0.1"):
        page.click(f"[data-speed='{speed}']")
        page.locator("#scrub").fill("2")
        shows(page, 2)
        page.click("#play")
        seen = []
        # Until it was seen on some frames: a busy machine may sleep over ten of them.
        until(page, lambda seen=seen: (seen.append(page.evaluate(READ_STATE)), len({state["video"] for state in seen}) > 3)[1])
        apart = [max(state.values()) - min(state.values()) for state in seen if state["told"] >= 2]
        assert max(apart) <= 1, seen
        page.click("#play")
        page.wait_for_timeout(300)
        state = page.evaluate(READ_STATE)
        assert max(state.values()) - min(state.values()) == 0
    # Between two marks it plays again and again, and everything turns back together.
    page.click("[data-speed='1']")
    for frame, mark in ((8, "#mark-from"), (14, "#mark-to")):
        page.locator("#scrub").fill(str(frame))
        shows(page, frame)
        page.click(mark)
    page.click("#play")
    told = [page.evaluate(READ_STATE)["video"] for _ in range(40) if page.wait_for_timeout(40) is None]
    assert set(told) <= set(range(8, 15))
    assert any(later < earlier for earlier, later in itertools.pairwise(told)), "it did not turn back"


def test_the_swings_moments_are_marks_keys_and_numbers_and_another_swing_is_beside_it(result):
    page = result(f"&frame={MOMENTS['address']}")
    assert page.locator("#event-marks i").count() == len(MOMENTS)
    assert page.locator("#events button").all_text_contents() == ["1Address", "4Top", "6Impact", "8Finish"]
    assert page.inner_text("[data-view=side]") == "Down the line"
    page.keyboard.press("4")
    until(page, lambda: page.evaluate(READ_STATE)["video"] == MOMENTS["top"])
    assert page.get_attribute("[data-event=top]", "aria-pressed") == "true"
    assert page.inner_text("#measures-title") == "At top"
    assert "−40° ± 4" in page.inner_text("#measures")
    assert "unsure" in page.inner_text("#measures tr.grey")
    assert page.inner_text("#swing-notes") == "It seems slowed down."
    assert "3.0 : 1" in page.inner_text("#tempo")
    page.fill("#other-link", f"{page.url.split('/player')[0]}/?run={OTHER}")
    page.keyboard.press("Enter")
    until(page, lambda: "aligned at 4 moments" in page.inner_text("#compare-state"))
    assert page.input_value("#other-run") == OTHER
    assert "+20°" in page.inner_text("#measures td.sure")
    page.check("#as-side")
    assert page.is_visible("#pane-2")
    page.keyboard.press("6")
    until(page, lambda: page.evaluate(READ_STATE)["body"] == MOMENTS["impact"])
    # Beside ours the other's video, at the same moment, which comes two frames later there; also while both play.
    until(page, lambda: page.evaluate(READ_OTHER_VIDEO) == MOMENTS["impact"] + 2)
    page.click("[data-speed='0.25']")
    page.keyboard.press("1")
    page.click("#play")
    apart = []
    until(page, lambda: (apart.append(page.evaluate(READ_OTHER_VIDEO) - page.evaluate(READ_STATE)["video"]), len(apart) > 10)[1])
    assert np.median(apart[2:]) == pytest.approx(2, abs=2)
    if page.locator("body.playing").count():  # On a slow machine it has come to the end meanwhile.
        page.click("#play")
    until(page, lambda: page.evaluate(READ_OTHER_VIDEO) == min(page.evaluate(READ_STATE)["video"] + 2, FRAMES - 1))
    # In the app's page on a laptop the buttons over the 3D picture keep one line; on a phone the table is as wide as the screen.
    page.set_viewport_size({"width": 1106, "height": 900})
    until(page, lambda: page.locator("#stage.wide").count())
    assert page.evaluate("document.querySelector('#top').clientHeight < 60")
    page.set_viewport_size({"width": 358, "height": 844})
    page.keyboard.press("4")
    until(page, lambda: page.locator("#measures td.sure").count())
    assert page.evaluate("[...document.querySelectorAll('.table')].every((table) => table.scrollWidth <= table.clientWidth)")
    page.check("#as-ghost")
    assert not page.is_visible("#other-video")


def test_a_link_opens_its_moment_and_view_and_a_drawing_is_in_the_still(result):
    page = result("&frame=13&view=down-the-line")
    until(page, lambda: page.evaluate(READ_STATE)["video"] == page.evaluate(READ_STATE)["body"] == 13)
    assert page.get_attribute("[data-view=side]", "aria-pressed") == "true"
    page.click("#to-share")
    assert page.input_value("#link").endswith(f"/?run={TOKEN}&frame=13&view=side")
    assert page.locator("#downloads a").count() == 3
    assert page.inner_text("#title") == "<b>swing</b>.mp4"
    page.click("[data-tool=line]")
    box = page.locator("#sketch").bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.9 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.1 * box["height"], steps=3)
    page.mouse.up()
    with page.expect_download() as download:
        page.click("#still")
    still = np.asarray(Image.open(io.BytesIO(download.value.path().read_bytes())).convert("RGB")).astype(int)
    assert still.shape == (SIZE[1], SIZE[0], 3)
    yellow = (still[..., 0] > 200) & (still[..., 1] > 150) & (still[..., 2] < 90)
    rows, columns = np.nonzero(yellow)
    assert len(rows) > 200
    assert np.corrcoef(rows, columns)[0, 1] < -0.99
    page.click("#undo")
    assert page.is_disabled("#undo")


def test_on_a_phone_everything_is_stacked_and_nothing_jumps(result):
    page = result(size=(390, 844), has_touch=True, is_mobile=True, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    film, panes = (page.locator(of).bounding_box() for of in (".film", "#panes"))
    assert film["y"] + film["height"] <= panes["y"]
    assert film["width"] > 370
    heights = set()
    for frame in (0, 9, 10, FRAMES - 1):
        page.locator("#scrub").fill(str(frame))
        until(page, lambda frame=frame: page.evaluate(READ_STATE)["told"] == frame)
        heights.add(page.locator("#bar").bounding_box()["height"])
    assert len(heights) == 1
    assert page.evaluate("getComputedStyle(document.getElementById('pane-1')).touchAction") == "pan-y"
    for button in page.locator("#bar button:visible, #top button:visible").all():
        box = button.bounding_box()
        assert box["height"] >= 40
    # What this browser has opened is listed, though this server knows nothing of lists.
    page.click("#to-runs")
    assert page.locator("#runs li").count() == 1
    assert json.loads(page.evaluate("localStorage.getItem('body4d.runs')"))[0]["token"] == TOKEN
