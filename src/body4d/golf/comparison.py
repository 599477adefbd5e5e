"""Two swings against each other: aligned by their events, with only those differences named that one camera can tell."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from body4d.core.errors import InputError, RunWarning
from body4d.golf.types import EVENT_LABELS, EVENTS, Class, Measure, Swing

CURVE_POINTS = 201
"""Points at which two curves are compared: every 5 to 10 ms of a swing."""

NO_DIFFERENCE, NOT_KNOWN, NO_BAR = "no difference that one camera can tell", "not known in both swings", "its error is not known"


@dataclass(frozen=True)
class Difference:
    """One measure of both swings at one event, or over the swing."""

    name: str
    label: str
    event: str | None
    unit: str
    mine: float
    other: float
    difference: float
    """``mine`` less ``other``; NaN where either is unknown."""
    bar: float
    """Error of the difference: the root of the sum of both squared bars."""
    told: bool
    """True where the difference is beyond ``bar`` and neither value is class C."""
    reason: str
    """Why it is not told, in words; "" where it is."""
    class_: Class = "B"
    group: str = ""


@dataclass(frozen=True)
class CurvePair:
    """One quantity of both swings over the common time."""

    name: str
    label: str
    unit: str
    mine: Float[np.ndarray, " n"]
    other: Float[np.ndarray, " n"]
    bar_mine: float
    bar_other: float
    class_: Class
    group: str = ""


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` finds."""

    places: Float[np.ndarray, " n"]
    """The common time in percent of ``span``, so that slow motion compares too; each event is at the mean of both swings' places."""
    event_places: dict[str, float]
    """Where the events that both clips show are on it."""
    span: tuple[str, str]
    """The events at 0 and 100: address and impact, or the first and the last that both clips show."""
    curves: tuple[CurvePair, ...]
    differences: tuple[Difference, ...]
    warnings: tuple[RunWarning, ...] = ()

    @property
    def told(self) -> tuple[Difference, ...]:
        """The differences beyond their bars, the surest first."""
        found = [difference for difference in self.differences if difference.told]
        return tuple(sorted(found, key=lambda difference: -abs(difference.difference) / difference.bar))


def compare(mine: Swing, other: Swing, *, presets: tuple[str, str] = ("", "")) -> Comparison:
    """Compare two swings, whose scenes were made with ``presets``.

    Between two events that both clips show, time runs evenly in either swing, so that like moments meet. Raises InputError where fewer
    than two events are shared. Other views, presets or hands are a warning: they have other errors, which the bars hold.
    """
    shared = [name for name in EVENTS if mine.event(name) is not None and other.event(name) is not None]
    if len(shared) < 2:
        message = f"The two swings cannot be compared: they have {len(shared)} of the eight events in common, and two are needed."
        raise InputError(message, code="golf_not_comparable", hint="Use clips that show the whole swing.", shared=shared)
    span = ("address", "impact") if {"address", "impact"} <= set(shared) else (shared[0], shared[-1])
    own, others = _event_times(mine, shared), _event_times(other, shared)
    common = (_percent(own, shared, span) + _percent(others, shared, span)) / 2
    places = np.linspace(common[0], common[-1], CURVE_POINTS)
    curves = []
    for curve in mine.curves:
        match = next((c for c in other.curves if c.name == curve.name), None)
        if match is not None:
            a, b = (
                np.interp(np.interp(places, common, times), swing.times_s, c.values)
                for swing, times, c in ((mine, own, curve), (other, others, match))
            )
            class_: Class = max(curve.class_, match.class_)
            curves.append(CurvePair(curve.name, curve.label, curve.unit, a, b, curve.bar, match.bar, class_, curve.group))
    differences = tuple(
        _difference(measure, match) for measure in mine.measures if (match := other.measure(measure.name, measure.event)) is not None
    )
    events = dict(zip(shared, common.tolist(), strict=True))
    return Comparison(places, events, span, tuple(curves), differences, _warnings(mine, other, presets, shared))


def _event_times(swing: Swing, names: list[str]) -> Float[np.ndarray, " n"]:
    """Real seconds from address of events that the clip shows."""
    exact = [event.frame_exact for name in names if (event := swing.event(name)) is not None]
    return np.interp(exact, swing.frames, swing.times_s)


def _percent(times_s: Float[np.ndarray, " n"], names: list[str], span: tuple[str, str]) -> Float[np.ndarray, " n"]:
    """Times as percent of the time between the two events of ``span``."""
    start, end = (times_s[names.index(name)] for name in span)
    return 100.0 * (times_s - start) / max(end - start, 1e-9)


def _difference(mine: Measure, other: Measure) -> Difference:
    """The rule: a difference is one beyond the root of the sum of both squared bars (√2 bars where they are equal)."""
    difference, bar = mine.value - other.value, math.hypot(mine.bar, other.bar)
    class_: Class = max(mine.class_, other.class_)
    if not math.isfinite(difference):
        reason = NOT_KNOWN
    elif class_ == "C":
        reason = mine.reason if mine.class_ == "C" else other.reason
        reason = reason or "one camera does not tell it"
    elif not math.isfinite(bar):
        reason = NO_BAR
    else:
        reason = "" if abs(difference) > bar else NO_DIFFERENCE
    return Difference(
        mine.name, mine.label, mine.event, mine.unit, mine.value, other.value, difference, bar, not reason, reason, class_, mine.group
    )


def _warnings(mine: Swing, other: Swing, presets: tuple[str, str], shared: list[str]) -> tuple[RunWarning, ...]:
    out = []
    views = (mine.frame.view, other.frame.view)
    if views[0] != views[1]:
        message = f"The first swing was filmed {views[0]}, the second {views[1]}: part of a difference may come from the camera's place."
        out.append(RunWarning("golf_views_differ", message, "Film both from the same place.", {"views": list(views)}))
    if presets[0] != presets[1]:
        message = f"The bodies were computed in two ways ({presets[0]} and {presets[1]}): part of a difference may come from that."
        out.append(RunWarning("golf_presets_differ", message, "Compute both with the same preset.", {"presets": list(presets)}))
    if mine.frame.hand != other.frame.hand:
        message = "One golfer is right-handed, the other left-handed; sides are named lead and trail, so the numbers compare."
        out.append(RunWarning("golf_hands_differ", message, "", {"hands": [mine.frame.hand, other.frame.hand]}))
    missing = [name for name in EVENTS if name not in shared]
    if missing:
        names = ", ".join(EVENT_LABELS[name].lower() for name in missing)
        out.append(RunWarning("golf_events_missing", f"Not in both clips: {names}.", "", {"events": missing}))
    return tuple(out)
