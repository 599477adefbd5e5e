"""The golf report in a real browser: nothing wider than a phone, nothing asked for, two printed pages."""

import dataclasses
import re

import pytest

from body4d.golf.report import GolfRun, write_report
from chromium import FLAGS, NAMES, chromium
from fakes import stick_rig
from made_swing import make_analysis
from scenes import make_scene


@pytest.mark.slow
def test_on_a_phone_and_on_paper(tmp_path):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, so no browser can be driven")
    if (path := chromium()) is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(NAMES)})")
    scene = make_scene(frames=125, body="stick")
    scene = dataclasses.replace(scene, people=tuple(dataclasses.replace(track, rig=stick_rig()) for track in scene.people))
    run = GolfRun(make_analysis(), scene)
    written = write_report(run.analysis, scene, None, tmp_path, run)
    asked, complaints = [], []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: complaints.append(line.text))
        for file in (written[0], written[2]):
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.goto(written[0].as_uri())
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True)))
        browser.close()
    assert pages == 2
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
