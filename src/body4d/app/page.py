"""The page's HTML: ``static/index.html`` with this server's limits and version in it. What happens on it is in ``static/*.js``."""

from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path

from body4d.app.forms import limits_sentence
from body4d.app.progress import duration
from body4d.app.service import AppService

STATIC = Path(__file__).parent / "static"

SAMPLE_SECONDS, SAMPLE_FPS = 10, 30
"""The clip for which the page says how long a run takes."""


def page_html(service: AppService) -> str:
    """The page. Raises nothing: without a video there is nothing that could be wrong."""
    settings = service.settings.app
    values = {
        "limits": limits_sentence(settings),
        "max_bytes": f"{settings.max_megabytes * 1e6:.0f}",
        "version": version_line(service),
        "models": models_line(service.preset, service.preset_reason),
        "words_hidden": "" if service.preset == "sam" else "hidden",
        "style": _address("style.css"),
        "script": _address("app.js"),
        "my_runs_script": _address("my_runs.js"),
        "choose_script": _address("choose.js"),
    }
    text = _template()
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", escape(value))
    return text


def version_line(service: AppService) -> str:
    """How good and how quick this server is, in a golfer's words."""
    takes = duration(service.runs.estimate(SAMPLE_SECONDS * SAMPLE_FPS).duration_s)
    what = {"lite": "Quick version", "sam": "Full version"}.get(service.preset, "This version")
    return f"{what}: about {takes} for {SAMPLE_SECONDS} s of video."


def models_line(preset: str, reason: str) -> str:
    """Which models work here, and why, for those who ask."""
    what = {"lite": "BlazePose and Anny, on the CPU", "sam": "SAM-3, MoGe-2 and SAM-3D-Body, on the GPU"}.get(preset, "")
    return f"Preset {preset}: {what}. {reason}".strip()


@cache
def _template() -> str:
    return (STATIC / "index.html").read_text(encoding="utf-8")


@cache
def _address(name: str) -> str:
    """The address of a file of ours, other after each change, so that no browser shows an older one."""
    return f"body4d-static/{name}?{sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"
