"""The committed script: is it built from its sources, and can it be inlined in a page?"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from body4d import player

ROOT = Path(__file__).parents[2]
SCRIPT = (player.player_folder() / player.SCRIPT).read_text(encoding="utf-8")
PAGE = (player.player_folder() / player.PAGE).read_text(encoding="utf-8")


MY_RUNS = ROOT / "src/body4d/app/static/my_runs.js"
"""What the app's first page uses of the same sources."""


def test_the_bundles_were_built_from_these_sources():
    files = ["player/package.json", "player/package-lock.json", *sorted(f"player/src/{p.name}" for p in (ROOT / "player/src").glob("*.js"))]
    content = b"".join((ROOT / name).read_bytes() for name in [*files, "scripts/build_player.sh"])
    for script in (SCRIPT, MY_RUNS.read_text(encoding="utf-8")):
        banner = re.search(r"Sources: sha256 ([0-9a-f]{64})", script.splitlines()[0])
        assert banner, "the bundle's first line names no sources: run scripts/build_player.sh"
        assert banner[1] == hashlib.sha256(content).hexdigest(), "player/ changed after the bundle was built: run scripts/build_player.sh"


def test_the_bundle_holds_the_locked_three():
    locked = json.loads((ROOT / "player/package-lock.json").read_text())["packages"]["node_modules/three"]["version"]
    assert f"three.js {locked}, MIT" in SCRIPT.splitlines()[0]
    assert f'"{locked.split(".")[1]}"' in SCRIPT, "three names its own revision in the code"
    assert f"three.js {locked}" in (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    licence = (player.player_folder() / "LICENSE-three.txt").read_text(encoding="utf-8")
    assert "MIT License" in licence
    assert "three.js authors" in licence


@pytest.mark.slow  # a bundler's process
def test_building_again_gives_the_same_bytes(tmp_path):
    if shutil.which("node") is None or not (ROOT / "player/node_modules/.package-lock.json").is_file():
        pytest.skip("three.js and esbuild are not installed: npm ci --prefix player")
    subprocess.run([ROOT / "scripts/build_player.sh", tmp_path], check=True, capture_output=True)
    assert (tmp_path / player.SCRIPT).read_text(encoding="utf-8") == SCRIPT
    assert (tmp_path / MY_RUNS.name).read_bytes() == MY_RUNS.read_bytes()


def test_the_bundle_is_small_and_can_be_inlined_in_a_page():
    assert len(SCRIPT.encode()) < 1_000_000
    lowered = SCRIPT.lower()
    assert "</script" not in lowered
    assert "<!--" not in lowered
    assert "\r" not in SCRIPT  # a browser would read a line feed, and the policy's digest would not match


def test_the_page_runs_no_inline_script_and_asks_nobody_else():
    assert not re.search(r"<script(?![^>]*\bsrc=)", PAGE)
    assert not re.search(r"\son\w+=", PAGE)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", PAGE)
    assert not re.search(r"\beval\(|new Function\b", SCRIPT)


def test_a_title_is_text_and_never_markup():
    page = player.single_page(b"glTF", "<script>alert(1)</script>")
    assert "<title>&lt;script&gt;alert(1)&lt;/script&gt;</title>" in page
    assert "<script>alert" not in page
