"""The report on two sheets of A4, from the same drawings as the page."""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from body4d.core.version import __version__
from body4d.golf.file_names import CSV_NAME, JSON_NAME
from body4d.golf.report import palette, words
from body4d.golf.report.figures import SQUARE_IN, Drawing, draw_tempo, drawings, tempo_words
from body4d.golf.report.page import Table, over_swing_label, tables
from body4d.golf.report.strip import EventPicture
from body4d.golf.report.vector import axes_place, drawing_style
from body4d.golf.types import EVENT_LABELS, EVENTS, GolfAnalysis, Measure, Swing

WIDTH_IN, HEIGHT_IN, MARGIN_IN = 8.27, 11.69, 0.45

_TEXT, _NOTE, _HEAD = 7.0, 6.2, 10.5  # Sizes of letters in points.
_LEADING = 1.38 / 72  # Inches of a line for each point of its letters.
_CHARS_PER_IN_PT = 124.0
"""Letters of DejaVu Sans on an inch at one point, on average; lines are broken by it."""


_DIGIT_EM = 0.58
"""Width of the letters of numbers with their bars, spaces included, as a share of their size."""


class _Sheet:
    """One sheet, filled from the top; lengths in inches from its top-left corner."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
        FigureCanvasAgg(self.figure)
        self.y = MARGIN_IN

    def text(self, x: float, y: float, text: str, size: float = _TEXT, colour: palette.Colour = palette.INK, **options: Any) -> None:
        """``text`` with the top of its line at (x, y)."""
        # The name of a clip may hold dollar signs, which are no formula.
        self.figure.text(x / WIDTH_IN, 1 - y / HEIGHT_IN, text, fontsize=size, color=colour.day, va="top", parse_math=False, **options)

    def axes(self, x: float, y: float, width: float, height: float):
        return self.figure.add_axes((x / WIDTH_IN, 1 - (y + height) / HEIGHT_IN, width / WIDTH_IN, height / HEIGHT_IN))

    def heading(self, text: str) -> None:
        self.text(MARGIN_IN, self.y, text, _HEAD, weight="bold")
        self.y += _HEAD * _LEADING + 0.04

    def paragraph(
        self, text: str, size: float = _NOTE, colour: palette.Colour = palette.PALE, x: float = MARGIN_IN, width: float = 0.0
    ) -> None:
        """``text`` broken to ``width`` (the sheet's by default)."""
        lines = broken(text, size, width or WIDTH_IN - MARGIN_IN - x)
        self.text(x, self.y, "\n".join(lines), size, colour, linespacing=1.25)
        self.y += len(lines) * size * _LEADING + 0.03


def broken(text: str, size: float, width_in: float) -> list[str]:
    """``text`` in lines that fit ``width_in``."""
    return textwrap.wrap(text, max(10, int(width_in * _CHARS_PER_IN_PT / size))) or [""]


def report_pdf(analysis: GolfAnalysis, pictures: Sequence[EventPicture]) -> bytes:
    """golf.pdf: two sheets about the main swing of ``analysis``. The same bytes for the same input."""
    swing = analysis.swings[analysis.main]
    file = io.BytesIO()
    with (
        drawing_style(),
        PdfPages(
            file, metadata={"Title": f"Golf swing: {analysis.clip_name}", "Creator": f"body4d {__version__}", "CreationDate": None}
        ) as pages,
    ):
        pages.savefig(_first(analysis, swing, pictures))
        pages.savefig(_second(analysis, swing))
    return file.getvalue()


def _first(analysis: GolfAnalysis, swing: Swing, pictures: Sequence[EventPicture]) -> Figure:
    sheet = _Sheet()
    sheet.text(MARGIN_IN, sheet.y, f"Golf swing · {analysis.clip_name}", 15, weight="bold")
    sheet.y += 0.31
    sheet.paragraph("; ".join(words.title_words(analysis, swing)) + ".", 8)
    for text in (words.swings_words(analysis), words.cut_off_words(swing)):
        if text:
            sheet.paragraph(text)
    sheet.y += 0.06
    _strip(sheet, swing, pictures)
    _tempo(sheet, analysis, swing)
    sheet.heading("Measures")
    sheet.paragraph(words.class_words(swing.measures))
    _tables(sheet, swing.measures)
    return sheet.figure


def _strip(sheet: _Sheet, swing: Swing, pictures: Sequence[EventPicture]) -> None:
    by_name = {picture.event.name: picture for picture in pictures}
    gap = 0.05
    width = (WIDTH_IN - 2 * MARGIN_IN - 7 * gap) / 8
    shapes = [image.shape for picture in pictures for image in (picture.overlay, picture.body) if image is not None]
    height = width * shapes[0][0] / shapes[0][1] if shapes else width
    rows = 2 if any(picture.overlay is not None for picture in pictures) else 1
    for n, name in enumerate(EVENTS):
        x, event, picture = MARGIN_IN + n * (width + gap), swing.event(name), by_name.get(name)
        images = [] if picture is None else [image for image in (picture.overlay, picture.body) if image is not None]
        for row, image in enumerate(images):
            ax = sheet.axes(x, sheet.y + row * (height + gap), width, height)
            ax.imshow(image, aspect="auto", interpolation="none")
            ax.axis("off")
        y = sheet.y + rows * (height + gap)
        sheet.text(x, y, EVENT_LABELS[name].replace("follow-", "follow-\n"), 6.2, weight="bold", linespacing=1.1)
        lines = ["not in the clip"]
        if event is not None:
            sure = words.confidence_words(event.confidence)
            lines = [words.event_time_words(swing, event) if name != "impact" else "0.00 s"]
            lines += ([sure] if sure != "sure" else []) + ([words.proxy_note(event)] if event.proxy else [])
        sheet.text(x, y + (0.24 if name == "mid_follow_through" else 0.13), "\n".join(lines), 5.8, palette.PALE, linespacing=1.2)
    sheet.y += rows * (height + gap) + 0.62


def _tempo(sheet: _Sheet, analysis: GolfAnalysis, swing: Swing) -> None:
    sheet.heading("Tempo")
    if swing.tempo is None:
        sheet.paragraph("Tempo needs address, top and impact in the clip.")
        return
    top = sheet.y
    draw_tempo(sheet.axes(MARGIN_IN, top, 3.4, 0.85), swing.tempo)
    sheet.paragraph(tempo_words(swing.tempo, time_known=words.is_time_known(analysis)), _TEXT, palette.INK, MARGIN_IN + 3.6)
    sheet.y = max(sheet.y, top + 0.9) + 0.06


def _tables(sheet: _Sheet, measures: Sequence[Measure]) -> None:
    """The groups in two columns of about the same length; letters shrink where they would not fit."""
    groups = tables(measures)
    gap = 0.3
    width = (WIDTH_IN - 2 * MARGIN_IN - gap) / 2
    room = HEIGHT_IN - MARGIN_IN - sheet.y
    scale = next((scale for scale in _SCALES if max(_split(groups, width, scale)[1]) <= room), _SCALES[-1])
    split, _ = _split(groups, width, scale)
    top = sheet.y
    for column, part in enumerate((groups[:split], groups[split:])):
        y = top
        for table in part:
            y = _table(sheet, MARGIN_IN + column * (width + gap), y, width, table, scale)


_SCALES = (1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
"""How much larger or smaller the letters of the tables may be."""


def _split(groups: Sequence[Table], width: float, scale: float) -> tuple[int, tuple[float, float]]:
    """How many groups stand in the first column so that the longer one is shortest, and how long both are."""
    heights = [_table(None, 0.0, 0.0, width, table, scale) for table in groups]
    columns = [(sum(heights[:n]), sum(heights[n:])) for n in range(len(heights) + 1)]
    best = min(range(len(columns)), key=lambda n: (max(columns[n]), -n))
    return best, columns[best]


def _table(sheet: _Sheet | None, x: float, y: float, width: float, table: Table, scale: float) -> float:
    """One group's table on ``sheet`` (None: it is only measured); returns where it ends."""
    size = _TEXT * scale
    step = size * 1.12 * _LEADING

    def write(at: float, text: str, size: float = size, colour: palette.Colour = palette.INK, **options: Any) -> None:
        if sheet is not None:
            sheet.text(at, y, text, size, colour, linespacing=1.15, **options)

    def line(label: str, cells: Sequence[tuple[float, Measure]], room: float) -> float:
        lines = broken(label, size, room)
        write(x, "\n".join(lines))
        for right, measure in cells:
            grey = measure.class_ == "C"
            write(right, table.cell(measure), size, palette.PALE if grey else palette.INK, ha="right", style="italic" if grey else "normal")
        return y + len(lines) * step

    write(x, table.group, size * 1.12, weight="bold")
    y += step * 1.1
    if table.at_events:
        texts = [table.cell(measure) for row in table.at_events for measure in row] + [table.head(name) for name in table.events]
        column = max(map(len, texts)) * size * _DIGIT_EM / 72 + 0.12
        right = {name: x + width - (len(table.events) - 1 - n) * column for n, name in enumerate(table.events)}
        for name, at in right.items():
            write(at, table.head(name), size * 0.92, palette.PALE, ha="right")
        y += step
        for row in table.at_events:
            y = line(_with_unit(row[0], row[0].label), [(right[m.event], m) for m in row if m.event], width - len(right) * column)
    if table.over_swing and table.at_events:
        write(x, "Over the swing", size * 0.92, palette.PALE)
        y += step
    for measure in table.over_swing:
        y = line(_with_unit(measure, over_swing_label(measure)), [(x + width, measure)], width - 0.9 * scale)
    for note in table.notes:
        lines = broken(note, _NOTE * scale, width)
        write(x, "\n".join(lines), _NOTE * scale, palette.PALE)
        y += len(lines) * _NOTE * scale * _LEADING
    return y + 0.1 * scale


def _with_unit(measure: Measure, label: str) -> str:
    unit = words.label_unit(measure.unit)
    return f"{label} ({unit})" if unit else label


_MAX_WARNINGS = 4
"""Warnings on paper; the page holds all."""


def _second(analysis: GolfAnalysis, swing: Swing) -> Figure:
    sheet = _Sheet()
    sheet.heading("Curves")
    sheet.paragraph(f"{words.CHART_NOTE} {'' if words.is_time_known(analysis) else words.SLOWED}")
    charts = drawings(swing)
    wide, square = ([chart for chart in charts if (chart.size_in == SQUARE_IN) == is_square] for is_square in (False, True))
    _grid(sheet, wide, 2, 2.2)
    _grid(sheet, square, 3, 2.5)
    sheet.paragraph("Kinematic sequence: " + words.sequence_words(analysis, swing), _TEXT, palette.INK)
    sheet.paragraph(words.LIMITS, _TEXT, palette.INK)
    for warning in analysis.warnings[:_MAX_WARNINGS]:
        sheet.paragraph("• " + warning.message, _NOTE, palette.THORAX)
    if len(analysis.warnings) > _MAX_WARNINGS:
        sheet.paragraph(f"• {len(analysis.warnings) - _MAX_WARNINGS} more warnings stand on the page.", _NOTE, palette.THORAX)
    sources = "; ".join(f"{text} ({url})" for text, url in words.SOURCES)
    sheet.paragraph(f"All numbers stand in {CSV_NAME} and {JSON_NAME}. {words.small_print(analysis)} Sources: {sources}.")
    return sheet.figure


_TITLE_IN = 0.27  # Height of a drawing's title and of its unit below.


def _grid(sheet: _Sheet, charts: Sequence[Drawing], columns: int, height: float) -> None:
    """``charts`` in rows of ``columns``, each ``height`` inches high."""
    width = (WIDTH_IN - 2 * MARGIN_IN) / columns
    for n, chart in enumerate(charts):
        x, y = MARGIN_IN + n % columns * width, sheet.y + n // columns * height
        sheet.text(x, y + 0.02, chart.title, 8, weight="bold")
        sheet.text(x, y + 0.15, chart.unit, _NOTE, palette.PALE)
        # The axes' own margins lie below the two lines of the title.
        place = axes_place((x, y + _TITLE_IN, width - 0.08, height - _TITLE_IN), (WIDTH_IN, HEIGHT_IN), chart.margins_in)
        chart.draw(sheet.figure.add_axes(place))
    sheet.y += -(-len(charts) // columns) * height
