"""The report as one page: readable on a phone, by night and on paper, with nothing fetched and no script."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np
from PIL import Image

from body4d.golf.comparison import NO_BAR, NO_DIFFERENCE, NOT_KNOWN, Comparison, Difference
from body4d.golf.file_names import COMPARISON_PAGE_NAME, CSV_NAME, JSON_NAME
from body4d.golf.report import palette, words
from body4d.golf.report.figures import Drawing, comparison_drawings, draw_tempo, drawings, tempo_words
from body4d.golf.report.strip import EventPicture
from body4d.golf.report.vector import svg
from body4d.golf.types import EVENT_LABELS, EVENTS, GolfAnalysis, Measure, Swing

JPEG_QUALITY = 80
"""Sixteen pictures take some 250 kB, and the edges of the body stay clean."""

MAX_LISTED = 12
"""Differences that are listed above the table, the surest first."""

_COMMON_TIME = "Both swings are stretched in time so that their events meet; 0 is address, 100 impact."
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def report_page(analysis: GolfAnalysis, pictures: Sequence[EventPicture], *, compared_with: str = "") -> str:
    """golf.html: everything about the main swing of ``analysis``."""
    swing = analysis.swings[analysis.main]
    slowed = "" if words.is_time_known(analysis) else words.SLOWED
    parts = [
        _header(f"Golf swing · {analysis.clip_name}", words.title_words(analysis, swing)),
        _paragraphs(words.swings_words(analysis), words.cut_off_words(swing)),
        _warnings_link(len(analysis.warnings)),
        _section("Events", _strip(swing, pictures), _strip_note(swing, slowed)),
        _tempo(analysis, swing),
        _section(
            "Measures",
            f'<p class="note">{escape(words.class_words(swing.measures))}</p>',
            _tables(swing.measures),
            _methods(swing.measures),
        ),
        _charts("Curves", drawings(swing), {"sequence": words.sequence_words(analysis, swing)}, slowed),
        _section("What one camera cannot tell", f"<p>{escape(words.LIMITS)}</p>"),
        _compared(compared_with),
        _section("Warnings", _warnings(analysis.warnings), extra=' id="warnings"') if analysis.warnings else "",
        _footer(analysis),
    ]
    return _page(f"Golf swing: {analysis.clip_name}", parts)


def comparison_page(
    mine: GolfAnalysis,
    other: GolfAnalysis,
    comparison: Comparison,
    pictures: tuple[Sequence[EventPicture], Sequence[EventPicture]],
) -> str:
    """golf_comparison.html: the main swings of two analyses."""
    sides = [("First", mine, pictures[0]), ("Second", other, pictures[1])]
    strips = []
    for label, analysis, own in sides:
        swing = analysis.swings[analysis.main]
        strips.append(f"<h3>{label}: {escape(analysis.clip_name)}</h3>{_titles(words.title_words(analysis, swing))}{_strip(swing, own)}")
    told = comparison.told
    warnings = [f"{label}: {warning.message}" for label, analysis, _ in sides for warning in analysis.warnings]
    parts = [
        _header("Two golf swings", (f"first: {mine.clip_name}", f"second: {other.clip_name}")),
        _warnings(comparison.warnings),
        _section("Differences that one camera can tell", _told(told, len(comparison.differences))),
        _section("Events", *strips),
        _charts("Curves of both", comparison_drawings(comparison), {}, _COMMON_TIME),
        _section("All measures", _difference_tables(comparison.differences)),
        _section("What one camera cannot tell", f"<p>{escape(words.LIMITS)}</p>"),
        _section("Warnings", _warnings(warnings)) if warnings else "",
        _footer(mine),
    ]
    return _page(f"Golf swings: {mine.clip_name} and {other.clip_name}", parts)


def style_sheet() -> str:
    """Layout and colours of the page."""
    day, night = ("".join(f"--{c.name}:{getattr(c, mode)};" for c in palette.ALL) for mode in ("day", "night"))
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
    root = f":root{{color-scheme:light dark;--font:{font};{day}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{night}}}}}\n"
    return root + (files("body4d.golf.report") / "page.css").read_text(encoding="utf-8")


def _page(title: str, parts: Iterable[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style_sheet()}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _header(title: str, parts: Sequence[str]) -> str:
    return f"<header>\n<h1>{escape(title)}</h1>\n{_titles(parts)}</header>"


def _titles(parts: Sequence[str]) -> str:
    return '<ul class="title">' + "".join(f"<li>{escape(part)}</li>" for part in parts) + "</ul>\n"


def _paragraphs(*texts: str) -> str:
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts if text)


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _section(title: str, *contents: str, extra: str = "") -> str:
    return f"<section{extra}>\n<h2>{escape(title)}</h2>\n" + "\n".join(content for content in contents if content) + "\n</section>"


def _warnings(warnings: Iterable[object]) -> str:
    messages = [escape(str(getattr(warning, "message", warning))) for warning in warnings]
    if not messages:
        return ""
    return '<ul class="warnings" aria-label="Warnings">' + "".join(f"<li>{message}</li>" for message in messages) + "</ul>"


def _warnings_link(count: int) -> str:
    if not count:
        return ""
    return f'<p><a href="#warnings">{count} {"warning" if count == 1 else "warnings"}</a> at the end of this page.</p>'


def _strip(swing: Swing, pictures: Sequence[EventPicture]) -> str:
    by_name = {picture.event.name: picture for picture in pictures}
    items = []
    for name in EVENTS:
        event = swing.event(name)
        if event is None:
            items.append(f'<li><div class="gone">not in the clip</div><p class="small"><b>{EVENT_LABELS[name]}</b></p></li>')
            continue
        picture, label = by_name.get(name), EVENT_LABELS[name]
        time = words.event_time_words(swing, event)
        images = ""
        if picture is not None and picture.overlay is not None:
            images += _img(picture.overlay, f"{label}: the video's picture with the body over it")
        if picture is not None and picture.body is not None:
            images += _img(picture.body, f"{label}: the body seen {words.view_words(swing)}")
        sure = words.confidence_words(event.confidence)
        notes = [f"frame {event.frame}"] + ([sure] if sure != "sure" else []) + ([words.proxy_note(event)] if event.proxy else [])
        items.append(
            f"<li><figure>{images}<figcaption><b>{label}</b>{escape(time if name != 'impact' else '0.00 s')}<br>"
            f"{escape('; '.join(notes))}</figcaption></figure></li>"
        )
    return '<ol class="strip" tabindex="0" aria-label="Events of the swing in their order">' + "".join(items) + "</ol>"


def _strip_note(swing: Swing, more: str) -> str:
    return (
        f'<p class="note">Above: the video with the body over it. Below: the body alone, seen {words.view_words(swing)}. {escape(more)}</p>'
    )


def _img(rgb: np.ndarray, alt: str) -> str:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, format="JPEG", quality=JPEG_QUALITY, optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" width="{rgb.shape[1]}" height="{rgb.shape[0]}" alt="{escape(alt)}">'


def _tempo(analysis: GolfAnalysis, swing: Swing) -> str:
    if swing.tempo is None:
        return _section("Tempo", "<p>Tempo needs address, top and impact in the clip.</p>")
    tempo, text = swing.tempo, tempo_words(swing.tempo, time_known=words.is_time_known(analysis))
    drawing = Drawing("tempo", "Tempo", text, lambda ax: draw_tempo(ax, tempo), size_in=(4.6, 1.15), margins_in=(0.1, 0.0, 0.1, 0.0))
    return _section("Tempo", f'<div class="tempo"><div>{svg(drawing)}</div><p class="small">{escape(text)}</p></div>')


@dataclass(frozen=True)
class Table:
    """A group of measures as rows, each with its values by event; what is no value at one of the eight events stands below them."""

    group: str
    events: tuple[str, ...]
    proxies: tuple[str, ...]
    """Those of ``events`` that are taken from the body for every row: the column's head says so once."""
    at_events: tuple[tuple[Measure, ...], ...]
    over_swing: tuple[Measure, ...]
    notes: tuple[str, ...]

    def head(self, event: str) -> str:
        """What stands above a column."""
        return EVENT_LABELS[event] + (" †" if event in self.proxies else "")

    def cell(self, measure: Measure) -> str:
        """A value with its bar, and with a mark where it is taken from the body and the column's head does not say so."""
        mark = measure.proxy and measure.event not in self.proxies and math.isfinite(measure.value)
        return words.value_and_bar(measure) + (" †" if mark else "")


def tables(measures: Iterable[Measure]) -> list[Table]:
    """Measures as tables, by their headings and in the order in which they come."""
    groups: dict[str, list[Measure]] = {}
    for measure in measures:
        groups.setdefault(measure.group or "Other", []).append(measure)
    out = []
    for group, found in groups.items():
        rows: dict[str, list[Measure]] = {}
        for measure in found:
            if measure.event in EVENTS:
                rows.setdefault(measure.name, []).append(measure)
        events = tuple(name for name in EVENTS if any(measure.event == name for measure in found))
        over = tuple(measure for measure in found if measure.event not in EVENTS)
        proxies = tuple(name for name in events if all(measure.proxy for measure in found if measure.event == name))
        out.append(Table(group, events, proxies, tuple(tuple(row) for row in rows.values()), over, tuple(_reasons(found))))
    return out


def over_swing_label(measure: Measure) -> str:
    """The label of what is taken at no event of the table."""
    return measure.label if measure.event is None else f"{measure.label} at {event_label(measure.event).lower()}"


def event_label(name: str) -> str:
    """An event's name for people."""
    return EVENT_LABELS.get(name, name.replace("_", " ").capitalize())


def _reasons(measures: Sequence[Measure]) -> list[str]:
    """Why grey values are grey: each reason once, with what it holds for."""
    by_reason: dict[str, list[Measure]] = {}
    for measure in measures:
        if measure.class_ == "C":
            by_reason.setdefault(measure.reason or "One camera does not tell it.", []).append(measure)
    return [f"Grey: {', '.join(_named(found, measures))}. {reason}" for reason, found in by_reason.items()]


def _named(found: Sequence[Measure], all_measures: Sequence[Measure]) -> list[str]:
    """``found`` in few words: whole events first, then whole rows, then single values."""
    out, left = [], list(found)
    for event in dict.fromkeys(measure.event for measure in found):
        column = [measure for measure in all_measures if measure.event == event]
        if event is not None and len(column) > 1 and all(measure in found for measure in column):
            out.append(f"all at {event_label(event).lower()}")
            left = [measure for measure in left if measure.event != event]
    for name in dict.fromkeys(measure.name for measure in left):
        row = [measure for measure in left if measure.name == name]
        if len(row) == sum(measure.name == name for measure in all_measures):
            out.append(row[0].label)
        else:
            out += [over_swing_label(measure) for measure in row]
    return out


def _tables(measures: Sequence[Measure]) -> str:
    if not measures:
        return "<p>Nothing could be measured.</p>"
    return f'<div class="tables">{"".join(_table(table) for table in tables(measures))}</div>'


def _table(table: Table) -> str:
    span = max(len(table.events), 1)
    parts = [f'<div class="group"><div class="scroll"><table><caption>{escape(table.group)}</caption>']
    if table.at_events:
        heads = "".join(f'<th scope="col">{table.head(name)}</th>' for name in table.events)
        rows = "".join(_row(table, row) for row in table.at_events)
        parts.append(f'<thead><tr><th scope="col">At the event</th>{heads}</tr></thead><tbody>{rows}</tbody>')
    if table.over_swing:
        rows = "".join(f"<tr>{_row_head(m, over_swing_label(m), span)}{_cell(table, m)}</tr>" for m in table.over_swing)
        parts.append(f'<tbody><tr class="sub"><th scope="colgroup" colspan="{span + 1}">Over the swing</th></tr>{rows}</tbody>')
    parts.append("</table></div>")
    parts += [f'<p class="note">{escape(note)}</p>' for note in table.notes]
    return "".join(parts) + "</div>"


def _row_head(measure: Measure, label: str, span: int = 1) -> str:
    unit = f' <span class="unit">{escape(unit)}</span>' if (unit := words.label_unit(measure.unit)) else ""
    wide = f' colspan="{span}"' if span > 1 else ""
    return f'<th scope="row"{wide}>{escape(label)}{unit}</th>'


def _row(table: Table, row: Sequence[Measure]) -> str:
    at = {measure.event: measure for measure in row}
    cells = "".join(_cell(table, at[name]) if name in at else "<td></td>" for name in table.events)
    return f"<tr>{_row_head(row[0], row[0].label)}{cells}</tr>"


def _cell(table: Table, measure: Measure) -> str:
    value, _, bar = table.cell(measure).partition(" ± ")
    text = escape(value) + (f' <span class="bar">± {escape(bar)}</span>' if bar else "")
    grey = f' class="c" title="{escape(measure.reason)}"' if measure.class_ == "C" else ""
    return f"<td{grey}>{text}</td>"


def _methods(measures: Sequence[Measure]) -> str:
    methods = {measure.label: measure.method for measure in measures if measure.method}
    if not methods:
        return ""
    items = "".join(f"<dt>{escape(label)}</dt><dd>{escape(method)}</dd>" for label, method in methods.items())
    return f'<details><summary>How each is measured</summary><dl class="small">{items}</dl></details>'


def _charts(title: str, charts: Sequence[Drawing], notes: dict[str, str], more: str = "") -> str:
    figures = []
    for chart in charts:
        note = notes.get(chart.key, chart.note)
        caption = f'<figcaption class="small">{escape(note)}</figcaption>' if note else ""
        unit = f' <span class="unit">{escape(chart.unit)}</span>' if chart.unit else ""
        figures.append(f"<figure><h3>{escape(chart.title)}{unit}</h3>{svg(chart)}{caption}</figure>")
    if "sequence" in notes and not any(chart.key == "sequence" for chart in charts):
        figures.append(f"<figure><h3>Kinematic sequence</h3><figcaption>{escape(notes['sequence'])}</figcaption></figure>")
    note = f"{words.CHART_NOTE} {more}".strip()
    return _section(title, _note(note), f'<div class="charts">{"".join(figures)}</div>', extra=' class="second"')


def _told(told: Sequence[Difference], total: int) -> str:
    note = _note(
        f"{len(told)} of {total} measures differ by more than the error of the difference (the root of the sum of both squared bars). "
        "Where the swings are alike, that comes up by chance in about three of ten measures; twice as much, printed bold, in one of twenty."
    )
    if not told:
        return f"<p>{NO_DIFFERENCE.capitalize()}.</p>{note}"
    items = "".join(f"<li{_bold(d)}>{escape(difference_words(d))}</li>" for d in told[:MAX_LISTED])
    if len(told) > MAX_LISTED:
        items += f"<li>{len(told) - MAX_LISTED} more stand in the table below</li>"
    return f"<ul>{items}</ul>{note}"


def _bold(difference: Difference) -> str:
    return ' class="told"' if difference.told and abs(difference.difference) > 2 * difference.bar else ""


def difference_words(difference: Difference) -> str:
    """Such as "Pelvis turn at top: 9 ± 6 ° less in the first swing (−44 against −35)"."""
    decimals, unit = words.decimals_of(difference.unit), words.unit_text(difference.unit)
    at = f" at {event_label(difference.event).lower()}" if difference.event else ""
    signed = words.is_signed(difference.name)
    values = [words.number(value, decimals, signed=signed) for value in (difference.mine, difference.other)]
    return (
        f"{difference.label}{at}: {values[0]}{unit} in the first, {values[1]}{unit} in the second; "
        f"difference {words.number(difference.difference, decimals, signed=True)} ± {words.number(difference.bar, decimals)}{unit}"
    )


def _difference_tables(differences: Sequence[Difference]) -> str:
    groups: dict[str, list[str]] = {}
    for difference in differences:
        groups.setdefault(difference.group or "Other", []).append(_difference_row(difference))
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Measure", "First", "Second", "Difference"))
    out = "".join(
        f'<div class="group long"><div class="scroll"><table><caption>{escape(group)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></div>"
        for group, rows in groups.items()
    )
    legend = f"“none told”: {NO_DIFFERENCE}. “not relied on”: one of the two values is too unsure to compare."
    return _note(legend) + f'<div class="tables">{out}</div>'


def _difference_row(difference: Difference) -> str:
    decimals, signed = words.decimals_of(difference.unit), words.is_signed(difference.name)
    degrees = "°" if difference.unit == "°" else ""
    mine, other = (words.number(value, decimals, signed=signed) + degrees for value in (difference.mine, difference.other))
    told = f"{words.number(difference.difference, decimals, signed=True)} ± {words.number(difference.bar, decimals)}{degrees}"
    at = f", {event_label(difference.event).lower()}" if difference.event else ""
    unit = f' <span class="unit">{escape(unit)}</span>' if (unit := words.label_unit(difference.unit)) else ""
    result = f"<td{_bold(difference)}>{told}</td>" if difference.told else f'<td class="c">{escape(_short(difference.reason))}</td>'
    return f'<tr><th scope="row">{escape(difference.label + at)}{unit}</th><td>{mine}</td><td>{other}</td>{result}</tr>'


def _short(reason: str) -> str:
    """Why a difference is not told, in the width of a cell."""
    return {NO_DIFFERENCE: "none told", NOT_KNOWN: "not known", NO_BAR: "error not known"}.get(reason, "not relied on")


def _compared(name: str) -> str:
    if not name:
        return ""
    link = _link_to(COMPARISON_PAGE_NAME)
    return _section("Comparison", f"<p>Compared with {escape(name)} on the page {link} beside this one.</p>")


def _link_to(file: str) -> str:
    return f'<a href="{file}">{file}</a>'


def _footer(analysis: GolfAnalysis) -> str:
    sources = "".join(f'<li><a href="{url}">{escape(text)}</a></li>' for text, url in words.SOURCES)
    beside = f"{_link_to(CSV_NAME)} and {_link_to(JSON_NAME)} beside this page"
    text = f"<p>All numbers stand in {beside}. {escape(words.small_print(analysis))}</p>"
    return f"<footer>\n{text}\n<p>Sources:</p><ul>{sources}</ul>\n</footer>"
