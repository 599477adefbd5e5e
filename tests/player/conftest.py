"""One browser for all tests of the player, and a folder of made movements served beside it."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")  # not for the session: one Playwright at a time, and no asyncio.run beside it
def chrome():
    """A real Chromium that draws in software."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, so no browser can be driven")
    from chromium import FLAGS, NAMES, chromium

    path = chromium()
    if path is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(NAMES)})")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site_root(tmp_path_factory):
    """The folder that is served."""
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="session")
def site(site_root):
    """The address of a server with the player under /player/ and movements under /run/."""
    from browser import PAN, serving

    from body4d.export import export_scene
    from body4d.player import player_folder
    from scenes import make_scene, with_moving_camera

    root = site_root
    shutil.copytree(player_folder(), root / "player", ignore=shutil.ignore_patterns("__pycache__"))
    export_scene(make_scene(frames=30), "glb", root / "run" / "one.glb")
    export_scene(make_scene(people=2, frames=24, gaps=True), "glb", root / "run" / "two.glb")
    export_scene(make_scene(frames=1), "glb", root / "run" / "still.glb")
    export_scene(with_moving_camera(make_scene(frames=30), **PAN), "glb", root / "run" / "pan.glb")
    whole = (root / "run" / "one.glb").read_bytes()
    (root / "run" / "cut.glb").write_bytes(whole[: len(whole) // 2])
    (root / "run" / "text.glb").write_text("This is no movement at all, whatever its name says.")
    with serving(root) as address:
        yield address


@pytest.fixture
def visit(chrome, site):
    """``visit("one", "&play=0")`` opens the player on /run/one.glb; fails at the end if it asked elsewhere or complained."""
    contexts, asked, complaints = [], [], []

    def open_page(name: str, more: str = "", *, size=(360, 420), before=None, state="ready", **options):
        context = chrome.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security Policy" in line.text else None)
        if before:
            before(page)
        page.goto(f"{site}/player/index.html?glb=/run/{name}.glb{more}" if not name.startswith("?") else f"{site}/player/index.html{name}")
        page.wait_for_selector(f"body[data-state={state}]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith((site, "data:", "blob:"))]
    assert not complaints
