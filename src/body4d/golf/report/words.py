"""How numbers, events and confidences of a golf analysis are said to a golfer."""

import math
from collections.abc import Sequence

import numpy as np

from body4d.core.version import __version__
from body4d.golf.types import EVENT_LABELS, EVENTS, GolfAnalysis, Measure, Swing, SwingEvent

PROXY_NOTE = "from the body alone"
BETWEEN_SIGHTINGS = "between sightings of the club"

LIMITS = (
    "One camera sees least of what happens towards and away from it, so turns carry wide error bars, and it cannot tell the club's speed, "
    "path or face, the wrists' angles or the pressure under the feet."
)
"""The one sentence on what one camera cannot tell."""

CLASS_NOTE = (
    "± is the error to expect: the true value lies within it in about two of three cases. Grey values are not to be relied on; "
    "the reason stands below the table."
)

CHART_NOTE = "Lines mark the events, the pale band is the error to expect, and dashed curves are not to be relied on."

SLOWED = "The clip seems to be slowed down by an unknown factor: its times are the clip's own, not real ones."

SOURCES = (
    ("Events and tempo band: GolfDB, McNally et al. 2019", "https://arxiv.org/abs/1903.06528"),
    ("Turn and bend from tilt and twist: Sports Biomechanics 2025, 24(8), 2342–2361", "https://doi.org/10.1080/14763141.2025.2458481"),
    ("X-factor as an angle of joints: Brown, Selbie and Wallace 2013", "https://doi.org/10.1080/02640414.2013.775474"),
    ("Peak of the thorax after impact: Steele et al. 2018", "https://pmc.ncbi.nlm.nih.gov/articles/PMC6246863/"),
)

_SURE, _LIKELY = 0.9, 0.7  # Shares of right answers that are called "sure" and "likely".


def proxy_note(event: SwingEvent) -> str:
    """What stands for the club at a moment at which it was not seen."""
    return BETWEEN_SIGHTINGS if event.method.startswith("the club") else PROXY_NOTE


def confidence_words(confidence: float, *, given: bool = False) -> str:
    """A confidence in [0, 1] as a word."""
    if given:
        return "as you said"
    if not math.isfinite(confidence):
        return "confidence unknown"
    return "sure" if confidence >= _SURE else "likely" if confidence >= _LIKELY else "not sure"


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """``value`` with a true minus sign; "–" where it is not known."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")  # Zero has no sign.
    return text.replace("-", "−")


def decimals_of(unit: str) -> int:
    """Digits after the point that the error bars of one camera leave any sense."""
    return {"m/s": 1, "cm": 1, "s": 2, "": 2}.get(unit, 0)


def is_signed(name: str) -> bool:
    """Whether the sign of a measure tells a direction, so that + is written too."""
    return any(word in name for word in ("turn", "sway", "lift", "thrust", "bend", "tilt", "gap", "elevation")) and "rate" not in name


def value_and_bar(measure: Measure) -> str:
    """Such as "−38 ± 6°"; "–" where the value is not known, no bar where that is not. Units other than degrees stand beside the label."""
    decimals = decimals_of(measure.unit)
    text = number(measure.value, decimals, signed=is_signed(measure.name))
    if text == "–":
        return text
    if math.isfinite(measure.bar):
        # A bar that rounds to nothing would claim too much.
        text += f" ± {number(max(measure.bar, 10.0**-decimals), decimals)}"
    return text + ("°" if measure.unit == "°" else "")


def label_unit(unit: str) -> str:
    """The unit to stand beside a label: all but degrees, which stand at each value."""
    return "" if unit == "°" else unit


def unit_text(unit: str) -> str:
    """A unit as it follows its number."""
    return unit if unit in ("", "°") else f" {unit}"


def real_time_s(swing: Swing, event: SwingEvent) -> float:
    """Real seconds of an event from address."""
    steps = np.arange(len(swing.frames))
    return float(np.interp(np.interp(event.frame_exact, swing.frames, steps), steps, swing.times_s))


def from_impact_s(swing: Swing, event: SwingEvent) -> float:
    """Real seconds of an event from impact, negative before it; NaN where impact is not in the clip."""
    impact = swing.event("impact")
    return math.nan if impact is None else real_time_s(swing, event) - real_time_s(swing, impact)


def event_time_words(swing: Swing, event: SwingEvent) -> str:
    """Such as "0.24 s before impact"."""
    seconds = from_impact_s(swing, event)
    if event.name == "impact":
        return "impact"
    if not math.isfinite(seconds):
        return f"{real_time_s(swing, event):.2f} s after address"
    return f"{abs(seconds):.2f} s {'before' if seconds < 0 else 'after'} impact"


def is_time_known(analysis: GolfAnalysis) -> bool:
    """False where the clip seems to be slowed down and nothing says by how much."""
    return all(warning.code != "swing_seems_slowed" for warning in analysis.warnings)


def class_words(measures: Sequence[Measure]) -> str:
    """How the tables are read, as far as these measures need it."""
    out = [CLASS_NOTE]
    if any(math.isfinite(measure.value) and not math.isfinite(measure.bar) for measure in measures):
        out.append("Where ± is missing, the error is not known.")
    if any(measure.proxy for measure in measures):
        out.append("† at a moment that is worked out without seeing the club.")
    return " ".join(out)


def rate_words(analysis: GolfAnalysis) -> str:
    """How many pictures were taken in a real second, and how that is known."""
    how = {"file": "as the file says", "user": "as you said", "clip rate": "the clip's own rate, taken for real time"}[analysis.time_source]
    if not is_time_known(analysis):
        return f"played at {analysis.capture_fps:.4g} frames per second, which seems to be slow motion"
    return f"filmed at {analysis.capture_fps:.4g} frames per second ({how})"


def small_print(analysis: GolfAnalysis) -> str:
    """Signs, and how the numbers were made."""
    return (
        "Turns are zero when facing the ball, and positive when open to the target; sway is positive towards it. "
        f"Computed by body4d {__version__} with the preset {analysis.preset}. A position in the swing does not tell how the ball flies."
    )


def title_words(analysis: GolfAnalysis, swing: Swing) -> tuple[str, ...]:
    """What stands in the title line, part by part."""
    frame = swing.frame
    parts = [
        f"{frame.view} ({confidence_words(frame.view_confidence, given=frame.view_given)})",
        f"{frame.hand}-handed ({confidence_words(frame.hand_confidence, given=frame.hand_given)})",
        rate_words(analysis),
    ]
    if swing.practice:
        parts.insert(0, "practice swing")
    return tuple(parts)


def swings_words(analysis: GolfAnalysis) -> str:
    """Which of several swings is shown; "" where there is one."""
    if len(analysis.swings) < 2:
        return ""
    starts = ", ".join(
        f"{n} at {swing.events[0].time_s:.1f} s{' (practice)' if swing.practice else ''}"
        for n, swing in enumerate(analysis.swings, start=1)
        if swing.events
    )
    return f"The clip holds {len(analysis.swings)} swings ({starts}); this page shows number {analysis.main + 1}."


def cut_off_words(swing: Swing) -> str:
    """Which events lie outside the clip; "" where none does."""
    names = [EVENT_LABELS[name].lower() for name in EVENTS if name in swing.cut_off]
    return f"Not in the clip: {', '.join(names)}." if names else ""


def view_words(swing: Swing) -> str:
    """From where the body is drawn below the pictures: the view that the clip does not have."""
    return "face-on" if swing.frame.view == "down-the-line" else "down the line"


def sequence_words(analysis: GolfAnalysis, swing: Swing) -> str:
    """What can be said of the order of the peaks."""
    if swing.sequence is None:
        return "The kinematic sequence needs top and impact in the clip."
    note = swing.sequence.note
    if swing.sequence.resolved:
        told = f"Order of the greatest rates: {', then '.join(peak.segment for peak in swing.sequence.peaks)}."
    else:
        told = "" if "cannot be told" in note else f"The order cannot be told at {analysis.capture_fps:.4g} frames per second."
    club = "" if "club" in note else "The club is not part of it."
    return " ".join(part for part in (told, note, club) if part)
