"""Pictures of the app at each step, on a desktop and on a phone, into docs/app/: start the app, then

python scripts/app_screenshots.py http://localhost:7860/
"""

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
OUT = Path(__file__).parents[1] / "docs" / "app"
WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}
MAX_BYTES = 150_000
MAX_HEIGHT_PX = 1600  # below are more rows of tables
TIMEOUT_MS = 600_000
GOLFER = (0.34, 0.55)  # where the example's golfer has the hips on its first frame, as shares of the picture


def shoot(page: Page, name: str) -> None:
    """The page, or its upper part, as JPEG, of the best quality that stays below ``MAX_BYTES``."""
    picture = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, MAX_HEIGHT_PX)))
    for quality in (88, 80, 70, 60, 50):
        buffer = BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() < MAX_BYTES:
            break
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.jpg").write_bytes(buffer.getvalue())
    print(OUT / f"{name}.jpg", buffer.tell() // 1000, "kB")


def walk_through(page: Page, window: str) -> None:
    """The visitor's way with the example, a picture at each step."""
    page.wait_for_selector("#b4-example")
    page.wait_for_timeout(1000)
    shoot(page, f"1_upload_{window}")
    page.click("#b4-example")
    page.wait_for_selector("#b4-run", state="visible")
    page.wait_for_selector(".b4-strip[data-ready=true]")
    page.wait_for_timeout(1000)
    shoot(page, f"2_found_{window}")
    picture = page.locator(".b4-picker img")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + GOLFER[0] * box["width"], box["y"] + GOLFER[1] * box["height"])
    page.wait_for_function("document.querySelector('#b4-run').innerText.includes('this person')")
    page.wait_for_timeout(1000)
    page.evaluate("scrollTo(0, 0)")
    shoot(page, f"3_chosen_{window}")
    page.click("#b4-run")
    page.wait_for_function("parseInt(document.querySelector('.b4-percent').textContent) > 20")
    shoot(page, f"4_working_{window}")
    page.wait_for_selector("#b4-player")
    page.frame_locator("#b4-player").locator("#picture[data-frame]").wait_for()
    page.wait_for_timeout(8000)
    page.evaluate("scrollTo(0, 0)")
    shoot(page, f"5_done_{window}")


def main(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"])
        for window, (width, height) in WINDOWS.items():
            context = browser.new_context(bypass_csp=True, viewport={"width": width, "height": height})
            page = context.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(url)
            walk_through(page, window)
            context.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:7860/")
