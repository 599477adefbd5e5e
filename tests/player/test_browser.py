"""The player in a real browser: what it shows is the movement, and every button does what it says."""

import numpy as np
import pytest
from browser import PAN, coloured, differ, picture

from body4d.bodies.registry import rig_of
from body4d.export import export_scene
from scenes import make_scene, with_moving_camera

pytestmark = pytest.mark.slow  # A browser is started

STILL = "&play=0"


def frame_of(page) -> int:
    return int(page.inner_text("#frame"))


def until(page, true) -> None:
    """Waits for ``true()``; the page's policy forbids the evaluation that Playwright's own waiting needs."""
    for _ in range(600):
        if true():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never came true")


def test_it_plays_by_itself_and_pauses(visit):
    page = visit("one")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    until(page, lambda: frame_of(page) > 2)
    first, begun = picture(page), frame_of(page)
    until(page, lambda: abs(frame_of(page) - begun) > 4)
    assert differ(first, picture(page)) > 200
    page.click("#play")
    assert page.get_attribute("#play", "aria-label") == "Play"
    held = picture(page)
    page.wait_for_timeout(300)
    assert differ(held, picture(page)) == 0


def test_scrubbing_and_stepping_change_frame_time_and_picture(visit):
    page = visit("one", STILL)
    first = picture(page)
    page.locator("#scrub").fill("20")
    until(page, lambda: frame_of(page) == 20)
    assert page.inner_text("#time") == f"{20 * 1001 / 30000:.2f} s"
    assert page.get_attribute("#scrub", "aria-valuetext") == "0.67 seconds, frame 20 of 0 to 29"
    assert differ(first, picture(page)) > 200
    page.click("#next")
    until(page, lambda: frame_of(page) == 21)
    page.click("#back")
    page.click("#back")
    until(page, lambda: frame_of(page) == 19)
    for key, frame in {"End": 29, "Home": 0, "ArrowRight": 1, "Shift+ArrowRight": 4, "ArrowLeft": 3}.items():
        page.focus("#pane-1")
        page.keyboard.press(key)
        until(page, lambda frame=frame: frame_of(page) == frame)
    page.keyboard.press(" ")
    until(page, lambda: page.get_attribute("#play", "aria-label") == "Pause")


def test_each_view_is_another_picture_and_a_drag_frees_it(visit):
    page = visit("one", STILL, reduced_motion="reduce")
    shots = {}
    for view in ("free", "camera", "front", "side", "top"):
        page.click(f"[data-view={view}]")
        assert page.get_attribute(f"[data-view={view}]", "aria-pressed") == "true"
        page.wait_for_timeout(200)
        shots[view] = picture(page)
        found = coloured(shots[view])
        assert found.sum() > 1000, view
        assert not found[[0, -1]].any(), f"{view}: cut off above or below"
        assert not found[:, [0, -1]].any(), f"{view}: cut off at a side"
    names = list(shots)
    assert all(differ(shots[a], shots[b]) > 500 for i, a in enumerate(names) for b in names[:i])
    page.mouse.move(180, 150)
    page.mouse.down()
    page.mouse.move(240, 150, steps=3)
    page.mouse.up()
    assert page.get_attribute("[data-view=free]", "aria-pressed") == "true"
    assert page.get_attribute("[data-view=top]", "aria-pressed") == "false"
    page.wait_for_timeout(200)
    turned = picture(page)
    assert differ(shots["top"], turned) > 500
    page.mouse.wheel(0, 600)
    page.wait_for_timeout(200)
    assert coloured(picture(page)).sum() < 0.9 * coloured(turned).sum(), "the wheel did not move away"


@pytest.mark.parametrize(("name", "frame"), [("one", 17), ("pan", 0), ("pan", 29)])
def test_the_camera_view_is_the_clips_own_picture(visit, name, frame):
    page = visit(name, f"{STILL}&view=camera&frame=3", size=(640, 480))
    page.keyboard.press("p")  # the ways on the floor would be taken for people
    page.locator("#scrub").fill(str(frame))
    page.wait_for_timeout(200)
    found = coloured(picture(page))
    scene = with_moving_camera(make_scene(frames=30), **PAN) if name == "pan" else make_scene(frames=30)
    track, rig = scene.people[0], rig_of(scene.people[0])
    turns, places = rig.forward(track.rotations[frame : frame + 1].astype(float), track.translation_m[frame : frame + 1].astype(float))
    seen = scene.camera.at(frame).project(rig.vertices(turns, places)[0])
    # The clip's picture lies between the buttons above and below, whole and centred.
    top, bottom = page.evaluate("(() => { const t = document.getElementById('top'), b = document.getElementById('bar');"
                                "return [t.offsetTop + t.offsetHeight, b.offsetTop]; })()")  # fmt: skip
    seen = (seen - [320, 240]) * (bottom - top) / 480 + [320, (top + bottom) / 2]
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert np.allclose(box, [*seen.min(0), *seen.max(0)], atol=2.5)


def test_ways_of_people_and_camera_are_shown_where_it_moves(visit):
    page = visit("pan", f"{STILL}&view=top&frame=15", reduced_motion="reduce")
    page.wait_for_timeout(200)
    shown = picture(page)
    page.keyboard.press("p")
    page.wait_for_timeout(200)
    assert differ(shown, picture(page)) > 60


@pytest.mark.parametrize(("speed", "frame"), [("0.1", 1), ("1", 11)])
def test_speeds(visit, speed, frame):
    page = visit("one", STILL, before=lambda page: page.clock.install())
    page.click(f"[data-speed='{speed}']")
    page.clock.pause_at("2100-01-01")
    page.click("#play")
    page.clock.run_for(400)  # 12 frames of the clip at full speed
    assert abs(frame_of(page) - frame) <= 1
    assert page.get_attribute(f"[data-speed='{speed}']", "aria-pressed") == "true"


@pytest.mark.parametrize("loop", [True, False])
def test_the_end(visit, loop):
    page = visit("one", f"{STILL}&frame=22", before=lambda page: page.clock.install())
    if not loop:
        page.click("#loop")
    page.clock.pause_at("2100-01-01")
    page.click("#play")
    page.clock.run_for(400)
    if loop:
        assert frame_of(page) in range(3, 9)
        assert page.get_attribute("#play", "aria-label") == "Pause"
    else:
        assert frame_of(page) == 29
        assert page.get_attribute("#play", "aria-label") == "Play"


def test_people_are_hidden_and_shown_in_their_colours(visit):
    page = visit("two", f"{STILL}&frame=8")
    page.wait_for_timeout(200)
    both = picture(page)
    assert page.locator("#people button").all_inner_texts() == ["Person 1", "Person 2"]
    dots = page.evaluate("[...document.querySelectorAll('#people i')].map((dot) => getComputedStyle(dot).backgroundColor)")
    assert dots == ["rgb(86, 180, 233)", "rgb(230, 159, 0)"]
    page.get_by_role("button", name="Person 2").click()
    page.wait_for_timeout(200)
    alone = picture(page)
    orange = (both[..., 0] > both[..., 2].astype(int) + 60).sum(), (alone[..., 0] > alone[..., 2].astype(int) + 60).sum()
    assert orange[0] > 500
    assert orange[1] == 0
    page.get_by_role("button", name="Person 2").click()
    page.wait_for_timeout(200)
    assert differ(picture(page), both) == 0


def test_people_are_away_when_they_are_away(visit):
    page = visit("two", f"{STILL}&frame=0")
    assert coloured(picture(page)).sum() == 0
    page.locator("#scrub").fill("5")
    until(page, lambda: frame_of(page) == 5)
    page.wait_for_timeout(200)
    assert coloured(picture(page)).sum() > 1000


def test_trails_follow_the_wrists(visit):
    page = visit("one", f"{STILL}&frame=25")
    page.wait_for_timeout(200)
    without = picture(page)
    page.keyboard.press("t")
    page.wait_for_timeout(300)
    assert 30 < differ(without, picture(page)) < without[..., 0].size / 10
    page.click("#show summary")
    page.click("#trails")
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    assert differ(without, picture(page)) == 0


def test_one_frame_is_shown_and_cannot_be_played(visit):
    page = visit("still")
    assert page.is_disabled("#play")
    assert page.is_disabled("#scrub")
    assert coloured(picture(page)).sum() > 1000


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("?glb=/run/text.glb", "This file is no GLB"),
        ("?glb=/run/cut.glb", "This file is no GLB"),
        ("?glb=/run/nobody_has_this.glb", "answered 404"),
        ("?glb=https://example.org/body.glb", "on another server"),
        ("?glb=//example.org/body.glb", "on another server"),
        ("?glb=javascript:alert(1)", "on another server"),
        ("?glb=http://[", "is not one"),
        ("", "No file was named"),
    ],
)
def test_what_cannot_be_loaded_is_said(visit, address, sentence):
    page = visit(address or "?", state="failed")
    assert sentence in page.inner_text("[role=alert]")
    assert not page.is_visible("#bar")


def test_a_browser_without_webgl_is_told(visit):
    page = visit("one", state="failed", before=lambda page: page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null"))
    assert "WebGL is missing" in page.inner_text("[role=alert]")


def test_on_a_phone_all_buttons_are_in_reach(visit):
    page = visit("two", STILL, size=(360, 640), has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box["height"] >= 40
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert box["y"] + box["height"] <= 640
        assert button.get_attribute("aria-label") or button.inner_text().strip()
    found = coloured(picture(page))
    top, bottom = page.locator("#top").bounding_box(), page.locator("#bar").bounding_box()
    page.locator("#scrub").fill("5")
    page.wait_for_timeout(300)
    found = coloured(picture(page))
    assert found.sum() > 1000
    assert not found[: int(top["y"] + top["height"])].any(), "somebody stands behind the buttons above"
    assert not found[int(bottom["y"]) :].any(), "somebody stands behind the bar"


def test_turning_the_phone_frames_anew(visit):
    page = visit("one", STILL, size=(400, 700))
    page.set_viewport_size({"width": 700, "height": 400})
    page.wait_for_timeout(400)
    found = coloured(picture(page))
    assert found.shape == (400, 700)
    assert found.sum() > 1000
    assert not found[[0, -1]].any()


def test_the_single_page_opens_from_a_disk_without_a_network(chrome, tmp_path):
    path = export_scene(make_scene(frames=12), "html", tmp_path)[0]
    context = chrome.new_context(viewport={"width": 400, "height": 400}, offline=True)
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-state=ready]", timeout=60_000)
    until(page, lambda: frame_of(page) > 2)
    page.click("#play")
    assert coloured(picture(page)).sum() > 1000
    assert page.title() == "made in 3D"
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert not complaints
    context.close()
