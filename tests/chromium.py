"""The Chromium that all tests of pages drive: Debian's, drawing in software, as machines without a GPU do."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")

FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    # The page itself is put together without SwiftShader, which only WebGL needs: a spinner alone took it a whole core.
    "--disable-gpu-compositing",
)


def chromium() -> str | None:
    """Where it is, None where none is installed."""
    return next((path for path in map(shutil.which, NAMES) if path), None)
