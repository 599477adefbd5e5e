"""Drawings as SVG that belongs to a page: its colours are the style sheet's variables, its letters the page's, and its bytes repeat."""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from body4d.golf.report import palette
from body4d.golf.report.figures import Drawing

_LOCK = threading.Lock()
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine lays text out alike
    "font.size": 9.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "body4d",
    "pdf.fonttype": 42,
    "axes.unicode_minus": True,
}
_VARIABLES = {colour.day: f"var(--{colour.name})" for colour in palette.ALL}


@contextmanager
def drawing_style() -> Iterator[None]:
    """matplotlib's defaults with the report's few changes, whatever the program around has set.

    Its settings are those of the whole process, so that one thread draws at a time and finds them back as they were.
    """
    settings: Any = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"} | _STYLE
    with _LOCK, matplotlib.rc_context(settings):
        yield


def svg(drawing: Drawing) -> str:
    """``drawing`` as an ``<svg>`` element for a page."""
    with drawing_style():
        figure = Figure(figsize=drawing.size_in)
        FigureCanvasSVG(figure)
        drawing.draw(figure.add_axes(axes_place((0.0, 0.0, *drawing.size_in), drawing.size_in, drawing.margins_in)))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return page_svg(file.getvalue(), drawing.key, drawing.alt)


def axes_place(
    box_in: tuple[float, float, float, float], figure_in: tuple[float, float], margins_in: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """Where axes lie in a figure, as shares of it.

    ``box_in`` is left, top, width and height of the drawing in inches from the figure's top-left corner; ``margins_in`` are what is left
    free at its left, top, right and bottom for names and figures. A fixed place takes half the time of one that fits itself to them.
    """
    (x, y, width, height), (left, top, right, bottom) = box_in, margins_in
    across, up = figure_in
    return (x + left) / across, 1 - (y + height - bottom) / up, (width - left - right) / across, (height - top - bottom) / up


def page_svg(text: str, key: str, alt: str) -> str:
    """matplotlib's SVG without what only a file of its own needs; names within it begin with ``key``, as a page holds many."""
    text = text[text.index("<svg") :]
    for needless in (r"<metadata>.*?</metadata>\s*", r"<!--.*?-->\s*", r"<style.*?</style>\s*"):  # page.css styles all drawings
        text = re.sub(needless, "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {box.group() if box else ""} role="img" aria-label="{escape(alt)}">'
    text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1).replace(" xlink:href=", " href=")
    text = re.sub(r' id="(?!m|p)[^"]*"', "", text)  # Names of groups, which nothing refers to; markers and clips are called m… and p….
    names = {name: f"{key}-{n}" for n, name in enumerate(dict.fromkeys(re.findall(r' id="([^"]*)"', text)))}
    text = re.sub(r'(id="|url\(#|href="#)([^")]*)', lambda found: found[1] + names.get(found[2], found[2]), text)
    text = text.replace("font-family: 'DejaVu Sans'; ", "").replace("rotate(-0 ", "rotate(0 ")
    return re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), text).strip()
