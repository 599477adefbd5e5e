"""The report's drawings, each on one pair of axes, for the page and for paper alike."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from body4d.golf.comparison import Comparison, CurvePair
from body4d.golf.report import palette
from body4d.golf.report.words import from_impact_s, number, real_time_s
from body4d.golf.tempo_band import GOLFDB_TEMPO
from body4d.golf.types import EVENT_LABELS, Curve, Swing, Tempo

NAMED_EVENTS = ("address", "top", "impact", "finish")
"""Events whose lines carry their name; the others are thin lines, since eight names would run into each other."""

MARGIN_SHARE = 0.06
"""How much is shown before address and after the finish, as a share of the time between."""

WIDE_IN, SQUARE_IN = (4.2, 2.5), (4.2, 3.1)
"""Sizes on the page: over time, and where both axes are lengths. Letters of 8 points are then 11 pixels high on a phone."""

MARGINS_IN, SQUARE_MARGINS_IN = (0.38, 0.2, 0.12, 0.56), (0.38, 0.06, 0.12, 0.56)
"""What is left free around the axes, at left, top, right and bottom: figures, names of events, name of the axis and legend."""

AFTER_IMPACT_SHARE = 0.6
"""The sequence is shown this share of the downswing past impact: 0.15 s of the usual 0.25, in slow motion accordingly more."""

UNIT_NAMES = {"°": "degrees", "°/s": "degrees per second"}
"""Units that are too small a mark to stand alone beside a title."""

_SMALL, _LINE_WIDTH = 8.0, 1.8
_LEGEND_PT = 24.0  # Below the axes: the figures of the ticks and the name of the axis lie between.


@dataclass(frozen=True)
class Drawing:
    """One drawing: ``draw`` fills a pair of axes. ``alt`` says in words what it shows."""

    key: str
    title: str
    alt: str
    draw: Callable[[Axes], None]
    unit: str = ""
    """What its values are in, said beside the title."""
    note: str = ""
    size_in: tuple[float, float] = WIDE_IN
    margins_in: tuple[float, float, float, float] = MARGINS_IN


@dataclass(frozen=True)
class _Chart:
    """Curves that share a pair of axes: their names, each with its colour."""

    key: str
    title: str
    unit: str
    curves: tuple[tuple[str, palette.Colour], ...]


_CHARTS = (
    _Chart(
        "turns",
        "Turn of pelvis, thorax and shoulder line",
        "degrees, + towards the target",
        (("pelvis_turn_deg", palette.PELVIS), ("thorax_turn_deg", palette.THORAX), ("shoulder_line_turn_deg", palette.SHOULDERS)),
    ),
    _Chart("x_factor", "X-factor: thorax against pelvis", "degrees", (("x_factor_deg", palette.THORAX),)),
    _Chart("lead_arm", "Lead arm above the horizontal", "degrees", (("lead_arm_elevation_deg", palette.ARM),)),
    _Chart("shift", "Sway and lift of the hips", "cm", (("pelvis_sway_cm", palette.PELVIS), ("pelvis_lift_cm", palette.THORAX))),
    _Chart("hand_speed", "Speed of the hands", "m/s", (("hand_speed_m_s", palette.ARM),)),
)
SEQUENCE_CURVES = (
    ("pelvis_turn_rate_deg_s", "pelvis", palette.PELVIS),
    ("thorax_turn_rate_deg_s", "thorax", palette.THORAX),
    ("lead_arm_rate_deg_s", "lead arm", palette.ARM),
)


def drawings(swing: Swing) -> list[Drawing]:
    """All drawings that this swing has the data for, in the order of the page."""
    found = [drawing for chart in _CHARTS if (drawing := _chart(chart, swing)) is not None]
    found += [drawing for drawing in (_sequence(swing), _shift_box(swing), *_hand_paths(swing)) if drawing is not None]
    return found


def _known(swing: Swing, name: str) -> Curve | None:
    """The curve called ``name`` where it has any value."""
    curve = next((curve for curve in swing.curves if curve.name == name), None)
    return curve if curve is not None and np.isfinite(curve.values).any() else None


def event_times_s(swing: Swing) -> dict[str, float]:
    """Real seconds of the events from impact, or from address where impact is not in the clip."""
    from_impact = swing.event("impact") is not None
    return {event.name: from_impact_s(swing, event) if from_impact else real_time_s(swing, event) for event in swing.events}


def _times_s(swing: Swing) -> np.ndarray:
    """Real seconds of the swing's frames, from impact where it is in the clip."""
    impact = swing.event("impact")
    return swing.times_s - (0.0 if impact is None else real_time_s(swing, impact))


def _chart(chart: _Chart, swing: Swing) -> Drawing | None:
    curves = [(curve, colour) for name, colour in chart.curves if (curve := _known(swing, name)) is not None]
    if not curves:
        return None

    def draw(ax: Axes) -> None:
        times, places = _times_s(swing), event_times_s(swing)
        for curve, colour in curves:
            _curve(
                ax,
                times,
                curve.values,
                curve.bar,
                colour if curve.class_ != "C" else palette.UNSURE,
                curve.label,
                dashed=curve.class_ == "C",
            )
        if chart.key == "x_factor" and swing.pelvis_reversal is not None:
            at = real_time_s(swing, swing.pelvis_reversal) - (swing.times_s[0] - times[0])
            value = float(np.interp(at, times, curves[0][0].values))
            ax.plot([at], [value], "o", ms=5, color=palette.PELVIS.day, zorder=5)
            ax.annotate(
                "pelvis reverses", (at, value), (-6, 6), textcoords="offset points", ha="right", fontsize=_SMALL, color=palette.PELVIS.day
            )
        _time_axis(ax, places, times, f"seconds from {'impact' if 'impact' in places else 'address'}")
        if len(curves) > 1:
            _legend(ax, len(curves))

    said = "; ".join(f"{curve.label}: {_at_events(swing, curve)}" for curve, _ in curves)
    return Drawing(chart.key, chart.title, f"{chart.title} over the swing. {said}.", draw, chart.unit)


def _at_events(swing: Swing, curve: Curve) -> str:
    """A curve's values at the named events, in words."""
    out = []
    for name in NAMED_EVENTS:
        event = swing.event(name)
        if event is not None:
            value = float(np.interp(event.frame_exact, swing.frames, curve.values))
            if math.isfinite(value):
                out.append(f"{EVENT_LABELS[name].lower()} {number(value, 1 if curve.unit in ('m/s', 'cm') else 0)} {curve.unit}")
    return ", ".join(out) or "not known"


def _curve(
    ax: Axes, times: np.ndarray, values: np.ndarray, bar: float, colour: palette.Colour, label: str, *, dashed: bool = False
) -> None:
    """A line, with the band of its error where that is known."""
    if math.isfinite(bar):
        ax.fill_between(times, values - bar, values + bar, color=colour.day, alpha=0.18, linewidth=0)
    ax.plot(times, values, color=colour.day, linewidth=_LINE_WIDTH, label=label, linestyle="--" if dashed else "-", solid_capstyle="round")


def _time_axis(ax: Axes, places: dict[str, float], times: np.ndarray, label: str) -> None:
    """Time from address to finish, with event lines and the main names above."""
    plain_axes(ax)
    margin = MARGIN_SHARE * (max(places.values()) - min(places.values())) if places else 0.0
    first = max(float(times[0]), places["address"] - margin) if "address" in places else float(times[0])
    last = min(float(times[-1]), places["finish"] + margin) if "finish" in places else float(times[-1])
    ax.set_xlim(first, max(last, first + 1e-3))
    ax.set_xlabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    event_lines(ax, places)


def event_lines(ax: Axes, places: dict[str, float]) -> None:
    """A line at each event, with the name of the main ones above."""
    low, high = ax.get_xlim()
    for name, at in places.items():
        if not low <= at <= high:
            continue
        main = name in NAMED_EVENTS
        ax.axvline(at, color=palette.PALE.day if main else palette.LINE.day, linewidth=0.9 if main else 0.7, zorder=0.5)
        if main:
            share = (at - low) / (high - low)
            side = "right" if name == "top" or share > 0.93 else "left" if name == "impact" or share < 0.07 else "center"
            nudge = {"right": 3, "left": -3, "center": 0}[side] if 0.07 <= share <= 0.93 else 0
            ax.annotate(
                EVENT_LABELS[name],
                (at, 1.0),
                (nudge, 3),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha=side,
                fontsize=_SMALL,
                color=palette.PALE.day,
            )


def plain_axes(ax: Axes) -> None:
    """Axes without a box: a pale grid and small figures."""
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(palette.LINE.day)
    ax.grid(axis="y", color=palette.LINE.day, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=_SMALL, labelcolor=palette.PALE.day)
    ax.xaxis.label.set(fontsize=_SMALL, color=palette.PALE.day)
    ax.yaxis.label.set(fontsize=_SMALL, color=palette.PALE.day)


def _legend(ax: Axes, columns: int) -> None:
    """The names of the lines, below the axes."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + ScaledTranslation(0, -_LEGEND_PT / 72, figure.dpi_scale_trans),
        ncols=columns,
        frameon=False,
        fontsize=_SMALL,
        labelcolor=palette.INK.day,
        handlelength=1.4,
        columnspacing=1.2,
    )


def _path_axes(ax: Axes, x_label: str) -> None:
    plain_axes(ax)
    ax.grid(axis="both", color=palette.LINE.day, linewidth=0.6)
    ax.margins(0.18, 0.12)  # Room for the names of the dots.
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel(x_label)
    ax.xaxis.set_major_locator(MaxNLocator(6))


def _event_dots(ax: Axes, swing: Swing, x: np.ndarray, y: np.ndarray, colour: palette.Colour) -> None:
    """The main events as named dots on a path."""
    dots = {}
    for name in NAMED_EVENTS:
        event = swing.event(name)
        if event is not None:
            at = np.array([np.interp(event.frame_exact, swing.frames, values) for values in (x, y)])
            if np.isfinite(at).all():
                dots[name] = at
    for name, at in dots.items():
        ax.plot(*at, "o", ms=5, color=colour.day, markeredgecolor=palette.PAPER.day, markeredgewidth=0.8, zorder=5)
        # Names stand on the side away from the other dots, so that those of dots close together do not meet.
        others = np.array([place for other, place in dots.items() if other != name]) if len(dots) > 1 else np.zeros((1, 2))
        near = others[np.argmin(np.linalg.norm(others - at, axis=1))]
        right, above = at[0] >= near[0], at[1] >= near[1]
        (dx, ha), va = ((6, "left") if right else (-6, "right")), "bottom" if above else "top"
        ax.annotate(
            EVENT_LABELS[name], (float(at[0]), float(at[1])), (dx, 3 if above else -3), textcoords="offset points",
            ha=ha, va=va, fontsize=_SMALL, color=palette.INK.day,
        )  # fmt: skip


def _during(swing: Swing) -> np.ndarray:
    """Which frames of the swing lie between its first and its last event."""
    if not swing.events:
        return np.ones(len(swing.frames), bool)
    return (swing.frames >= swing.events[0].frame) & (swing.frames <= swing.events[-1].frame)


_BOX_NOTE = "Path of the middle of the hips, seen face-on with the target on the right."


def _shift_box(swing: Swing) -> Drawing | None:
    sway, lift = _known(swing, "pelvis_sway_cm"), _known(swing, "pelvis_lift_cm")
    if sway is None or lift is None:
        return None
    during = _during(swing)

    def draw(ax: Axes) -> None:
        x, y = np.where(during, sway.values, np.nan), np.where(during, lift.values, np.nan)
        unsure = "C" in (sway.class_, lift.class_)
        colour = palette.UNSURE if unsure else palette.PELVIS
        ax.plot(x, y, color=colour.day, linewidth=_LINE_WIDTH, linestyle="--" if unsure else "-")
        low, high = np.nanmin([x, y], axis=1), np.nanmax([x, y], axis=1)
        ax.fill([low[0], high[0], high[0], low[0]], [low[1], low[1], high[1], high[1]], color=colour.day, alpha=0.1, linewidth=0)
        _event_dots(ax, swing, sway.values, lift.values, colour)
        _path_axes(ax, "sway, + towards the target")

    alt = f"{_BOX_NOTE} Sway: {_at_events(swing, sway)}. Lift: {_at_events(swing, lift)}."
    return Drawing(
        "shift_box", "Box of sway and lift", alt, draw, "cm, lift upwards", _BOX_NOTE, size_in=SQUARE_IN, margins_in=SQUARE_MARGINS_IN
    )


def _hand_paths(swing: Swing) -> Iterable[Drawing]:
    path = swing.hand_path_m
    if not len(path) or not np.isfinite(path).any():
        return
    during, up = _during(swing), path[:, 1] * 100
    top = swing.event("top")
    turn = int(swing.frames[-1]) if top is None else top.frame
    back, down = during & (swing.frames <= turn), during & (swing.frames >= turn)
    # Down the line the target is away from the viewer: a right-hander's ball is on the right, a left-hander's on the left.
    side = 1 if swing.frame.hand == "right" else -1
    views = (
        ("hands_face_on", "Path of the hands, face-on", path[:, 0] * 100, "+ towards the target"),
        ("hands_down_the_line", "Path of the hands, down the line", side * path[:, 2] * 100, f"the ball is on the {swing.frame.hand}"),
    )
    impact = swing.event("impact")
    for key, title, x, label in views:
        if not np.isfinite(x).any():
            continue

        def draw(ax: Axes, x: np.ndarray = x, label: str = label) -> None:
            for part, colour, name in ((back, palette.PELVIS, "back"), (down, palette.THORAX, "down and through")):
                values = (np.where(part, x, np.nan), np.where(part, up, np.nan))
                ax.plot(*values, color=colour.day, linewidth=_LINE_WIDTH, label=name)
            _event_dots(ax, swing, x, up, palette.INK)
            _path_axes(ax, label)
            _legend(ax, 2)

        heights = [
            f"{EVENT_LABELS[name].lower()} {number(float(np.interp(event.frame_exact, swing.frames, up)), 0)} cm"
            for name in NAMED_EVENTS
            if (event := swing.event(name)) is not None
        ]
        note = "" if impact is not None else "Impact is not in the clip."
        yield Drawing(
            key, title, f"{title}. Height above the floor: {', '.join(heights)}.", draw, "cm above the floor", note, size_in=SQUARE_IN
        )


def _sequence(swing: Swing) -> Drawing | None:
    sequence = swing.sequence
    impact, top = swing.event("impact"), swing.event("top")
    curves = [(curve, segment, colour) for name, segment, colour in SEQUENCE_CURVES if (curve := _known(swing, name)) is not None]
    if sequence is None or impact is None or top is None or not (curves or sequence.peaks):
        return None
    colours = {segment: colour for _, segment, colour in SEQUENCE_CURVES}

    def draw(ax: Axes) -> None:
        times, places = _times_s(swing), event_times_s(swing)
        downswing = places["impact"] - places["top"]
        latest = max((peak.time_to_impact_s for peak in sequence.peaks), default=0.0)
        first, last = places["top"] - 0.2 * downswing, max(AFTER_IMPACT_SHARE, 1.1 * latest / downswing) * downswing
        inside = (times >= first - step_s(swing)) & (times <= last + step_s(swing))
        for curve, segment, colour in curves:
            _curve(ax, times[inside], curve.values[inside], curve.bar, colour, segment, dashed=curve.class_ == "C")
        for peak in sequence.peaks:
            colour = colours[peak.segment].day
            ax.errorbar(
                [peak.time_to_impact_s], [peak.peak_deg_s], yerr=_finite(peak.bar_deg_s), xerr=_finite(sequence.lag_bar_s),
                fmt="o", ms=5, color=colour, elinewidth=1, label=None if curves else peak.segment,
            )  # fmt: skip
        plain_axes(ax)
        ax.set_xlim(first, last)
        ax.set_xlabel("seconds from impact")
        event_lines(ax, places)
        _legend(ax, 3)

    said = "; ".join(
        f"{peak.segment} {number(peak.peak_deg_s, 0)} ± {number(peak.bar_deg_s, 0)} degrees per second, "
        f"{number(abs(peak.time_to_impact_s) * 1000, 0)} ms {'before' if peak.time_to_impact_s < 0 else 'after'} impact"
        for peak in sequence.peaks
    )
    return Drawing(
        "sequence",
        "Kinematic sequence",
        f"Rates of turn in the downswing. Greatest: {said}.",
        draw,
        "degrees per second, + towards the target",
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def step_s(swing: Swing) -> float:
    """Real seconds between two frames."""
    return float(np.median(np.diff(swing.times_s))) if len(swing.times_s) > 1 else 0.0


def draw_tempo(ax: Axes, tempo: Tempo) -> None:
    """The ratio with its error, over the band of tour players."""
    low, lower, median, upper, high = GOLFDB_TEMPO.ratio
    ax.barh(0, high - low, left=low, height=0.5, color=palette.BAND.day, linewidth=0)
    ax.barh(0, upper - lower, left=lower, height=0.5, color=palette.QUARTILES.day, linewidth=0)
    ax.plot([median, median], [-0.25, 0.25], color=palette.INK.day, linewidth=1.2)
    for at in (low, lower, median, upper, high):
        ax.annotate(f"{at:.2f}", (at, -0.25), (0, -10), textcoords="offset points", ha="center", fontsize=_SMALL, color=palette.PALE.day)
    if math.isfinite(tempo.ratio):
        ax.errorbar(
            [tempo.ratio], [0.52], xerr=_finite(tempo.ratio_bar), fmt="v", ms=7, color=palette.THORAX.day, elinewidth=1.4, capsize=3
        )
        text = number(tempo.ratio, 2)
        ax.annotate(
            text, (tempo.ratio, 0.52), (0, 6), textcoords="offset points", ha="center", fontsize=10, color=palette.INK.day, weight="bold"
        )
    ends = [2.0, 6.0, *([tempo.ratio - 0.3, tempo.ratio + 0.3] if math.isfinite(tempo.ratio) else [])]
    ax.set_xlim(min(ends), max(ends))
    ax.set_ylim(-0.75, 1.05)
    ax.axis("off")


def tempo_words(tempo: Tempo, *, time_known: bool) -> str:
    """The tempo and what it is held against."""
    low, lower, median, upper, high = GOLFDB_TEMPO.ratio
    bar = f" ± {number(tempo.ratio_bar, 2)}" if math.isfinite(tempo.ratio_bar) else ""
    if time_known:
        times = (
            f"from a backswing of {number(tempo.backswing_s, 2)} s and a downswing of {number(tempo.downswing_s, 2)} s. "
            f"One frame lasts {number(tempo.frame_time_s * 1000, 0)} ms, which limits all three."
        )
    else:
        times = "a ratio that slow motion does not change where it is even. How long the parts last is not known."
    return (
        f"{number(tempo.ratio, 2)}{bar} : 1, {times} "
        f"The band shows tour players in real time ({GOLFDB_TEMPO.swings} swings of {GOLFDB_TEMPO.players} players, "
        "counted from GolfDB's labels): "
        f"nine in ten lie between {low:.2f} and {high:.2f}, half between {lower:.2f} and {upper:.2f}, the middle is {median:.2f}. "
        "It is no target."
    )


def comparison_drawings(comparison: Comparison) -> list[Drawing]:
    """One drawing for each quantity of both swings."""
    pairs = {pair.name: pair for pair in comparison.curves if np.isfinite(pair.mine).any() and np.isfinite(pair.other).any()}
    wanted = [name for chart in _CHARTS for name, _ in chart.curves] + [name for name, _, _ in SEQUENCE_CURVES]
    return [
        Drawing(name, pair.label, _pair_words(comparison, pair), _pair_drawer(comparison, pair), UNIT_NAMES.get(pair.unit, pair.unit))
        for name in wanted
        if (pair := pairs.get(name)) is not None
    ]


def _pair_drawer(comparison: Comparison, pair: CurvePair) -> Callable[[Axes], None]:
    def draw(ax: Axes) -> None:
        unsure = pair.class_ == "C"
        sides: Sequence[tuple[Any, float, palette.Colour, str]] = (
            (pair.mine, pair.bar_mine, palette.PELVIS, "first"),
            (pair.other, pair.bar_other, palette.THORAX, "second"),
        )
        for values, bar, colour, label in sides:
            _curve(ax, comparison.places, values, bar, colour, label, dashed=unsure)
        _time_axis(ax, comparison.event_places, comparison.places, f"% of the time from {comparison.span[0]} to {comparison.span[1]}")
        _legend(ax, 2)

    return draw


def _pair_words(comparison: Comparison, pair: CurvePair) -> str:
    out = []
    for name in NAMED_EVENTS:
        if name in comparison.event_places:
            a, b = (float(np.interp(comparison.event_places[name], comparison.places, values)) for values in (pair.mine, pair.other))
            if math.isfinite(a) and math.isfinite(b):
                out.append(f"{EVENT_LABELS[name].lower()} {number(a, 0)} and {number(b, 0)} {pair.unit}")
    return f"{pair.label} of both swings. {', '.join(out) or 'Not known at the events'}."
