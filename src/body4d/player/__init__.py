"""The browser's 3D player of ``body.glb``: a page, its style and one script, no request outside its own server. See docs/player.md.

The script is built from ``player/src`` in the repository by ``scripts/build_player.sh`` and holds three.js (MIT).
"""

import base64
import hashlib
import html
from pathlib import Path

PAGE, STYLE, SCRIPT = "index.html", "player.css", "player.js"

_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:;"
_TITLE = "<title>Moving body</title>"
_STYLE_TAG = f'<link rel="stylesheet" href="{STYLE}">'
_SCRIPT_TAG = f'<script src="{SCRIPT}"></script>'


def player_folder() -> Path:
    """The folder to serve as it is: ``index.html?glb=<address on the same server>`` plays that GLB."""
    return Path(__file__).parent


def single_page(glb: bytes, title: str, movement: str = "") -> str:
    """The player as one HTML page that holds everything, ``glb`` too. It opens from a disk and may fetch nothing: its policy says so.

    ``title`` is any text, escaped here. ``movement`` is the JSON of ``body4d.export.movement``; with it the page shows curves too.
    """
    folder = player_folder()
    page, style, script = ((folder / name).read_text(encoding="utf-8") for name in (PAGE, STYLE, SCRIPT))
    policy = f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data: blob:;"
    block = f'<script type="application/octet-stream" id="glb">{base64.b64encode(glb).decode()}</script>\n'
    if movement:
        # JSON may write "<" as an escape in its texts, so that nothing in it ends the block.
        block += f'<script type="application/json" id="movement">{movement.replace("<", chr(92) + "u003c")}</script>\n'
    for old, new in (
        (_POLICY, policy),
        (_TITLE, f"<title>{html.escape(title)}</title>"),
        (_STYLE_TAG, f"<style>{style}</style>"),
        (_SCRIPT_TAG, f"{block}<script>{script}</script>"),
    ):
        before, found, after = page.partition(old)
        if not found:
            raise AssertionError(f"The player's page has no {old!r} any more: player/__init__.py and index.html belong together.")
        page = before + new + after
    return page


def _digest(text: str) -> str:
    """How a content security policy names the one inline text it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
