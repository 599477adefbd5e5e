"""The page in a real browser, as visitors use it. One finished run is shared."""

import io
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app_served import SLOW_MS, RunningApp, wait_until

pytestmark = pytest.mark.usefixtures("browser")

AXE = Path(__file__).parents[1] / "axe" / "node_modules" / "axe-core" / "axe.min.js"
MAX_FIRST_PAGE_BYTES = 600_000
MIN_TOUCH_PX = 40


def open_page(browser: Any, running_app: RunningApp, query: str = "", phone: bool = False, scheme: str = "light") -> Any:
    size = {"width": 390, "height": 844} if phone else {"width": 1000, "height": 700}
    # Nothing plays by itself: a film and a 3D picture drawn without a GPU would slow the other tests down.
    page = browser.new_context(viewport=size, accept_downloads=True, color_scheme=scheme, reduced_motion="reduce").new_page()
    page.set_default_timeout(SLOW_MS)
    page.goto(f"{running_app.url}{query}")
    page.wait_for_selector(".b4-header")
    return page


def upload(page: Any, clip: Path) -> None:
    page.set_input_files("#b4-file", clip)
    page.wait_for_selector("#b4-run", state="visible")


def barriers(page: Any) -> list[str]:
    """What axe-core finds on the page as it stands. None where axe-core is not here: its own test says so."""
    if not AXE.exists():
        return []
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {iframes: false}).then(result => result.violations)")
    return [f"{one['id']}: {node['target']}" for one in found for node in one["nodes"]]


def click_at(page: Any, x: float, y: float) -> None:
    picture = page.locator(".b4-picker img")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


@dataclass(frozen=True)
class FinishedRun:
    """What a visitor saw on the way to a result, and the page that shows it."""

    page: Any
    found: str
    label: str
    working: list[str]
    titles: set[str]
    barriers: dict[str, list[str]]
    player: str


@pytest.fixture(scope="module")
def finished(browser: Any, running_app: RunningApp, walk: Path) -> Iterator[FinishedRun]:
    page = open_page(browser, running_app)
    found_barriers = {"upload": barriers(page)}
    upload(page, walk)
    found = page.inner_text("#b4-choose-say")
    click_at(page, *middle_of_person(walk))
    wait_until(page, "document.querySelector('#b4-run').innerText.includes('this person')")
    label = page.inner_text("#b4-run")
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    found_barriers["choose"] = barriers(page)
    page.click("#b4-run")
    working, titles = [], set()
    while not page.locator("#b4-player").is_visible():
        if page.locator("#b4-work").is_visible():
            working.append(page.inner_text("#b4-progress"))
            titles.add(page.title())
            found_barriers.setdefault("work", barriers(page))
        assert not page.locator(".b4-problem").count(), f"{page.inner_text('.b4-problem')}\n{running_app.log.read_text()}"
        time.sleep(0.1)
    frame = page.frame_locator("#b4-player")
    frame.locator("body[data-state=ready]").wait_for()
    found_barriers["done"] = barriers(page)
    player = page.evaluate("document.querySelector('#b4-player').src")
    yield FinishedRun(page, found, label, working, titles, found_barriers, player)
    page.context.close()


def middle_of_person(walk: Path) -> tuple[float, float]:
    """Where the walker's hips are on the first frame, as shares of the picture: from the truth that came with the clip."""
    from body4d.core.joints import Body29
    from body4d.core.scene_io import load_scene

    scene = load_scene(walk.parent / "truth.npz", walk)
    person = scene.people[0]
    hips = [list(Body29).index(joint) for joint in (Body29.LEFT_HIP, Body29.RIGHT_HIP)]
    x, y = scene.camera.project(person.joints_m[0, hips]).mean(axis=0)
    return float(x / scene.clip.width_px), float(y / scene.clip.height_px)


def test_limits_are_shown_before_upload_and_models_only_when_asked_for(browser: Any, running_app: RunningApp) -> None:
    page = open_page(browser, running_app)
    assert "3 MB" in page.inner_text(".b4-limits >> nth=0")
    assert "for 10 s of video" in page.inner_text(".b4-preset")
    assert "lite" not in page.inner_text("body")
    page.click(".b4-preset summary")
    assert "asked for" in page.inner_text(".b4-preset")
    page.context.close()


def test_a_visitor_comes_from_upload_to_result(finished: FinishedRun) -> None:
    assert "One person was found" in finished.found
    assert finished.label == "Make this person 3D"
    assert any("Find and follow people" in text for text in finished.working)
    assert any("% About" in text and "left" in text and "of 9" in text for text in finished.working), finished.working
    assert any(title.endswith("% · body4d") for title in finished.titles)
    assert finished.page.title() == "Done · body4d"
    frame = finished.page.frame_locator("#b4-player")
    frame.locator("#to-notes").click()
    assert "Person 1" in frame.locator("#notes").inner_text()
    # As high as what it shows, so that the page scrolls and not a part of it.
    needed = frame.locator("#page").evaluate("element => element.getBoundingClientRect().height")
    assert abs(finished.page.locator("#b4-player").bounding_box()["height"] - needed) < 4
    assert "?run=" in finished.page.url


def test_nothing_stands_in_anybodys_way(browser: Any, running_app: RunningApp, finished: FinishedRun) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci --prefix tests/axe")
    assert finished.barriers == {"upload": [], "choose": [], "work": [], "done": []}
    page = open_page(browser, running_app, finished.page.url.removeprefix(running_app.url), phone=True, scheme="dark")
    page.wait_for_selector("#b4-player")
    assert barriers(page) == []
    page.click("#b4-again")
    page.wait_for_selector("#b4-run", state="visible")
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert barriers(page) == []
    # Nothing is too small for a thumb, or cut off.
    small = page.evaluate(
        "[...document.querySelectorAll('button, select, input:not([type=radio], [type=checkbox], .b4-file), summary, label:has(input)')]"
        f".filter(one => one.offsetParent && one.getBoundingClientRect().height < {MIN_TOUCH_PX}).map(one => one.outerHTML)"
    )
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_an_upload_moves_the_clip_and_little_more(browser: Any, running_app: RunningApp, mpeg4: Path) -> None:
    page = open_page(browser, running_app)
    page.wait_for_load_state("networkidle")
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer))
    page.reload()
    page.wait_for_load_state("networkidle")
    first = sum(len(answer.body()) for answer in answers)
    assert 10_000 < first < MAX_FIRST_PAGE_BYTES
    answers.clear()
    upload(page, mpeg4)  # which Chromium cannot play
    page.wait_for_selector(".b4-strip[data-ready=true]")
    asked = {answer.url.partition("?")[0].rpartition("/")[2] for answer in answers}
    assert asked - {"icon.svg"} == {"upload", "open", "choice", "frame.jpg", "strip"}
    assert sum(len(answer.body()) for answer in answers) < MAX_FIRST_PAGE_BYTES
    assert not page.locator(".b4-problem").count()
    page.context.close()


@pytest.fixture(scope="module")
def mpeg4(walk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The walk in a codec that browsers do not play."""
    import av

    path = tmp_path_factory.mktemp("mpeg4") / "old.mp4"
    with av.open(str(walk)) as source, av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=15)
        stream.width, stream.height = 320, 240
        for frame in source.decode(video=0):
            picture = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"))
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return path


def test_keys_and_numbers_do_what_a_mouse_does_and_a_reload_keeps_it(browser: Any, running_app: RunningApp, walk: Path) -> None:
    page = open_page(browser, running_app)
    upload(page, walk)
    page.focus("#b4-people button")
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('#b4-run').innerText.includes('this person')")
    assert page.get_attribute("#b4-people button", "aria-pressed") == "true"
    page.focus("#b4-frame")
    page.keyboard.press("ArrowRight")
    wait_until(page, "document.querySelector('#b4-picker img').src.endsWith('?1-0')")
    page.fill("#b4-frame-number", "5")
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('#b4-picker img').src.endsWith('?5-0')")
    page.focus("#b4-end")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert page.input_value("#b4-end-s") < "0.45"
    # The moment that is shown moves into what is kept, and the numbers move the handles.
    page.fill("#b4-end-s", "0.2")
    page.keyboard.press("Tab")
    wait_until(page, "document.querySelector('#b4-picker img').src.endsWith('?3-0')")
    page.click("#b4-settings summary")
    page.select_option("#b4-unit", "ft")
    page.fill("#b4-feet", "6")
    page.fill("#b4-inches", "1")
    with page.expect_response(lambda answer: '"motion":"rotating"' in (answer.request.post_data or "")):
        page.select_option("#b4-motion", "rotating")
    page.select_option("#b4-rotate", "180")
    wait_until(page, "document.querySelector('#b4-picker img').src.endsWith('?3-180')")
    page.reload()
    page.wait_for_selector("#b4-run", state="visible")
    assert page.inner_text("#b4-run") == "Make this person 3D"
    page.click("#b4-settings summary")
    ids = ("#b4-frame-number", "#b4-end-s", "#b4-feet", "#b4-inches", "#b4-age", "#b4-fov", "#b4-motion", "#b4-rotate")
    assert [page.input_value(field) for field in ids] == ["3", "0.2", "6", "1", "", "", "rotating", "180"]
    # Another video has none of this; and Back leads to the one before.
    page.click("#b4-other")
    assert "?run=" not in page.url
    upload(page, walk)
    assert page.inner_text("#b4-run") == "Make it 3D"
    assert [page.input_value(field) for field in ids[2:]] == ["", "", "", "", "auto", "0"]
    page.go_back()
    page.wait_for_selector("#b4-upload", state="visible")
    page.go_back()
    wait_until(page, "document.querySelector('#b4-run').innerText.includes('this person')")
    page.context.close()


def test_a_sentence_stands_beside_what_was_pressed(browser: Any, running_app: RunningApp, walk: Path, tmp_path: Path) -> None:
    page = open_page(browser, running_app, phone=True)
    picture = tmp_path / "pic.png"
    picture.write_bytes(b"png")
    page.set_input_files("#b4-file", picture)
    page.wait_for_selector(".b4-problem")
    assert page.inner_text("#b4-upload-say") == "pic.png is a picture, not a video. Choose an MP4 or MOV file."
    upload(page, walk)
    page.click("#b4-settings summary")
    page.fill("#b4-cm", "9")
    page.evaluate("document.activeElement.blur()")
    page.click("#b4-run")
    wait_until(page, "document.activeElement.id === 'b4-cm'")
    assert "between 41 and 259 cm" in page.inner_text("#b4-run-say")
    page.evaluate("scrollTo(0, 0)")
    page.click("#b4-run")
    page.wait_for_selector(".b4-problem")
    assert page.evaluate(
        "(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(document.querySelector('#b4-run').getBoundingClientRect())"
    )
    page.context.close()


def test_back_leads_from_the_result_to_the_choice(finished: FinishedRun) -> None:
    page = finished.page
    page.go_back()
    page.wait_for_selector("#b4-run", state="visible")
    assert page.inner_text("#b4-run") == "Make this person 3D"
    page.click("#b4-to-result")
    page.wait_for_selector("#b4-done", state="visible")


def test_nothing_of_the_server_is_on_the_page(finished: FinishedRun, running_app: RunningApp) -> None:
    text = finished.page.content()
    for secret in (str(running_app.folder), str(running_app.folder.parent), "Traceback", "site-packages", "<img src=x"):
        assert secret not in text
    assert "&lt;img src=x onerror=alert(1)&gt;.mp4" in text  # the name as it was given, as text
    assert not finished.page.locator("[onerror]").count()
    assert finished.page.evaluate("window.alerted === undefined")


def test_the_video_can_be_sought_in_and_is_slowed_down(finished: FinishedRun) -> None:
    frame = finished.page.frame_locator("#b4-player")
    frame.locator("#scrub").fill("5")
    frame.locator("#picture[data-frame='5']").wait_for()
    frame.locator("#canvas[data-frame='5']").wait_for(state="attached")
    address = frame.locator("#video").evaluate("video => video.src")
    with urllib.request.urlopen(urllib.request.Request(address, headers={"Range": "bytes=0-99"})) as answer:
        assert (answer.status, len(answer.read())) == (206, 100)
    frame.locator("#to-share").click()
    with finished.page.expect_download() as coming:
        frame.locator("#make-gif").click()
    assert coming.value.path().read_bytes().startswith(b"GIF89a")


def test_each_download_opens(finished: FinishedRun, tmp_path: Path) -> None:
    import av
    import pygltflib

    got: dict[str, bytes] = {}
    frame = finished.page.frame_locator("#b4-player")
    frame.locator("#to-share").click()
    for link in frame.locator("#downloads a").all():
        with finished.page.expect_download() as coming:
            link.click()
        path = tmp_path / coming.value.suggested_filename
        coming.value.save_as(path)
        assert path.name.startswith("img_src_x_onerror_alert_1_")
        got[link.get_attribute("data-file")] = path.read_bytes()
    assert {"overlay.mp4", "views.mp4", "body.glb", "person_1.bvh", "body.npz", "joints.csv", "body.html", "everything.zip"} <= set(got)
    for name in ("overlay.mp4", "views.mp4"):
        with av.open(io.BytesIO(got[name]), "r") as video:
            assert sum(1 for _ in video.decode(video=0)) == 9
    glb = pygltflib.GLTF2().load_from_bytes(got["body.glb"])
    assert glb is not None
    assert glb.animations
    assert glb.skins
    # Called as the visitor calls it, and not as the server does.
    assert b"<title>&lt;img src=x onerror=alert(1)&gt;" in got["body.html"]
    assert b"<img src=x" not in got["body.html"]
    assert got["person_1.bvh"].startswith(b"HIERARCHY")
    with np.load(io.BytesIO(got["body.npz"]), allow_pickle=False) as numbers:
        assert len(numbers.files) > 3
    assert len(got["joints.csv"].splitlines()) == 10
    with zipfile.ZipFile(io.BytesIO(got["everything.zip"])) as archive:
        assert archive.testzip() is None
        assert archive.read("body.glb") == got["body.glb"]


def test_the_player_moves(browser: Any, finished: FinishedRun) -> None:
    pytest.importorskip("body4d.player", reason="this checkout has no player")
    page = browser.new_page(viewport={"width": 300, "height": 300})
    page.set_default_timeout(SLOW_MS)
    page.goto(finished.player)
    canvas = page.locator("#panes")
    canvas.wait_for()
    pictures: set[bytes] = set()
    until = time.monotonic() + SLOW_MS / 1000
    while len(pictures) < 3 and time.monotonic() < until:
        pictures.add(canvas.screenshot())
        time.sleep(0.2)
    page.close()
    assert len(pictures) >= 3


def test_a_link_opens_the_result_again_on_a_phone(browser: Any, running_app: RunningApp, finished: FinishedRun) -> None:
    from playwright.sync_api import expect

    frame = finished.page.frame_locator("#b4-player")
    frame.locator("#to-share").click()
    frame.locator("#scrub").fill("3")
    frame.locator("[data-view=top]").click()
    link = f"{finished.page.url}&frame=3&view=top"
    expect(frame.locator("#link")).to_have_value(link, timeout=SLOW_MS)  # It changes with the next picture.
    page = open_page(browser, running_app, link.removeprefix(running_app.url), phone=True)
    phone = page.frame_locator("#b4-player")
    phone.locator("#picture[data-frame='3']").wait_for()
    assert phone.locator("[data-view=top]").get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_a_wrong_link_says_so(browser: Any, running_app: RunningApp) -> None:
    page = open_page(browser, running_app, "?run=" + "A" * 32)
    page.wait_for_selector(".b4-problem")
    assert "no longer here" in page.inner_text("#b4-upload-say")
    page.context.close()


def test_two_visitors_at_once_and_one_cancels(browser: Any, running_app: RunningApp, walk: Path, finished: FinishedRun) -> None:
    first, second = open_page(browser, running_app), open_page(browser, running_app, phone=True)
    for page in (first, second):
        upload(page, walk)
    first.click("#b4-run")
    first.wait_for_selector(".b4-progress[data-state=working]")
    second.click("#b4-run")
    second.wait_for_selector(".b4-progress[data-state=waiting]")
    assert "1 run is before yours" in second.inner_text(".b4-progress")
    before = children(running_app.pid)
    first.click("#b4-cancel")
    first.wait_for_selector("text=Cancelled. What was finished is kept.")
    second.wait_for_selector(".b4-progress[data-state=working]")
    # The process that worked for the first is gone, and with it all it held.
    assert len(before - children(running_app.pid)) >= 1
    tokens = [token_of(page) for page in (first, second, finished.page)]
    assert len(set(tokens)) == 3
    assert tokens[1] not in first.content()
    assert tokens[0] not in second.content()
    second.click("#b4-cancel")
    second.wait_for_selector("text=Cancelled. What was finished is kept.")
    # Results that are not there are not running_app, whoever asks.
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{running_app.url}runs/{tokens[0]}/overlay.mp4")
    second.context.close()
    renames_and_deletes_on_the_first_page(first, running_app, tokens[0])
    first.context.close()


def renames_and_deletes_on_the_first_page(page: Any, running_app: RunningApp, token: str) -> None:
    from playwright.sync_api import expect

    folders = len(list((running_app.folder / "runs").iterdir()))
    page.click("#b4-other")
    row = page.locator("#b4-mine #runs li")
    expect(row.locator("small")).to_contain_text("stopped")
    expect(row.locator("small")).to_contain_text("stays for 23 h")
    assert barriers(page) == []
    row.locator("button >> nth=0").click()
    row.locator("input").fill("My best drive")
    row.locator("input").press("Enter")
    expect(row.locator("a")).to_have_text("My best drive")
    page.reload()
    expect(row.locator("a")).to_have_text("My best drive")
    assert row.locator("a").get_attribute("href") == f"{running_app.url}?run={token}"
    for _ in range(2):  # Once more to be sure.
        row.locator("button >> nth=1").click()
    expect(page.locator("#runs-state")).to_have_text("Deleted, at the server too.")
    assert row.count() == 0
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{running_app.url}runs/{token}/state")
    assert len(list((running_app.folder / "runs").iterdir())) == folders - 1
    page.reload()
    assert not page.locator("#b4-mine").is_visible()


def token_of(page: Any) -> str:
    return page.url.partition("run=")[2]


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()} | {
        int(child) for thread in Path(f"/proc/{pid}/task").iterdir() for child in (thread / "children").read_text().split()
    }


def hostile(folder: Path) -> dict[str, tuple[Path, str]]:
    """Uploads that must be refused, each with what the visitor reads."""
    import av

    archive = folder / "zip.mp4"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "a" * 1000)
    empty = folder / "empty.mp4"
    empty.touch()
    sound = folder / "sound.mp4"
    with av.open(str(sound), "w") as file:
        stream = file.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        file.mux([*stream.encode(frame), *stream.encode(None)])
    long = folder / "two hours.mp4"
    with av.open(str(long), "w") as file:
        stream = file.add_stream("libx264", rate=1)
        stream.width = stream.height = 64
        for second in (0, 7200):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
            picture.pts = second
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    large = folder / "large.mp4"
    large.write_bytes(b"0" * 3_500_000)
    html = folder / "<b onmouseover=alert(1)>..%2f..%2fetc.mp4"
    html.write_bytes(b"no video")
    return {
        "zip": (archive, "zip.mp4 is not a video"),
        "empty": (empty, "empty"),
        "sound": (sound, "picture"),
        "long": (long, "2 hours long, and 30 minutes is the most"),
        "large": (large, "3.0 MB is the most"),
        "html": (html, "not a video"),
    }


def test_hostile_uploads_get_a_sentence(browser: Any, running_app: RunningApp, tmp_path: Path) -> None:
    page = open_page(browser, running_app)
    for name, (path, word) in hostile(tmp_path).items():
        page.reload()
        page.set_input_files("#b4-file", path)
        page.wait_for_selector(".b4-problem")
        sentence = page.inner_text(".b4-problem")
        assert word in sentence, (name, sentence)
        assert str(running_app.folder) not in page.content()
        assert not page.locator("b[onmouseover]").count()
    page.context.close()


def test_files_of_others_and_of_the_server_are_not_served(running_app: RunningApp, finished: FinishedRun) -> None:
    token = token_of(finished.page)
    inside = next((running_app.folder / "runs").iterdir()) / "session.json"
    for path in (
        f"runs/{token}/session.json",
        f"runs/{token}/run.json",
        f"runs/{token}/..%2fsession.json",
        f"runs/{'A' * 32}/overlay.mp4",
        f"gradio_api/file={inside}",
        "gradio_api/file=/etc/passwd",
        "player/../../etc/passwd",
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(running_app.url + path)
        assert caught.value.code in (403, 404), path


def test_a_program_uses_the_same_run(running_app: RunningApp, walk: Path, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "04_use_the_app.py"
    done = subprocess.run(
        [sys.executable, str(example), str(walk), str(tmp_path / "got"), running_app.url],
        capture_output=True,
        text=True,
        timeout=SLOW_MS / 1000,
    )
    assert done.returncode == 0, done.stderr
    assert "body.glb" in done.stdout
    assert (tmp_path / "got" / "body.glb").read_bytes()[:4] == b"glTF"
    assert json.loads((tmp_path / "got" / "result.json").read_text())["people"][0]["frames_visible"] > 5
