"""Two swings against each other, on exact cases."""

import dataclasses
import math

import numpy as np
import pytest

from body4d.core.errors import InputError
from body4d.golf.comparison import NO_BAR, NO_DIFFERENCE, NOT_KNOWN, compare
from body4d.golf.types import EVENTS, Measure
from made_swing import cut_off, make_swing


def with_measure(value: float, bar: float = 3.0, class_: str = "B"):
    """A swing with one measure."""
    reason = "From here it is depth." if class_ == "C" else ""
    return dataclasses.replace(
        make_swing(), measures=(Measure("pelvis_turn_deg", "Pelvis turn", "top", value, bar, "°", class_, "", reason=reason),)
    )


@pytest.mark.parametrize(
    ("mine", "other", "told", "reason"),
    [
        (with_measure(10.0, 3.0), with_measure(5.1, 4.0), False, NO_DIFFERENCE),  # 4.9 is below the hypotenuse of 3 and 4
        (with_measure(10.0, 3.0), with_measure(5.0, 4.0), False, NO_DIFFERENCE),
        (with_measure(10.0, 3.0), with_measure(4.9, 4.0), True, ""),
        (with_measure(-10.0, 3.0), with_measure(-4.9, 4.0), True, ""),
        (with_measure(10.0, 1.0), with_measure(10.0 - 1.42, 1.0), True, ""),  # √2 bars are 1.414
        (with_measure(10.0, 1.0), with_measure(10.0 - 1.41, 1.0), False, NO_DIFFERENCE),
        (with_measure(math.nan), with_measure(5.0), False, NOT_KNOWN),
        (with_measure(90.0, math.nan), with_measure(5.0), False, NO_BAR),
        (with_measure(90.0), with_measure(5.0, class_="C"), False, "From here it is depth."),
    ],
)
def test_a_difference_is_told_beyond_both_bars_together(mine, other, told, reason):
    (difference,) = compare(mine, other).differences
    assert (difference.told, difference.reason) == (told, reason)
    assert compare(mine, other).told == ((difference,) if told else ())


def test_a_swing_differs_from_itself_in_nothing():
    swing = make_swing()
    comparison = compare(swing, swing)
    assert comparison.told == ()
    assert comparison.warnings == ()
    for pair in comparison.curves:
        np.testing.assert_array_equal(pair.mine, pair.other)


def test_time_is_stretched_between_the_events():
    """The same movement, filmed at another rate and with a backswing of twice the time, meets itself."""
    swing = make_swing(fps=240.0)
    places = np.interp(swing.frames, [event.frame_exact for event in swing.events], range(8))
    top = swing.times_s[np.searchsorted(swing.frames, swing.events[3].frame)]
    slower = dataclasses.replace(swing, times_s=np.where(swing.times_s < top, 2 * swing.times_s, swing.times_s + top))
    ramp = tuple(dataclasses.replace(curve, values=places.copy()) for curve in swing.curves)
    comparison = compare(dataclasses.replace(swing, curves=ramp), dataclasses.replace(slower, curves=ramp))
    own = np.interp(comparison.places, [comparison.event_places[name] for name in EVENTS], range(8))
    for pair in comparison.curves:
        np.testing.assert_allclose(pair.mine, own, atol=0.06)  # half a frame of the shortest part, impact to mid-follow-through
        np.testing.assert_allclose(pair.other, own, atol=0.06)
    # Address and impact are 0 and 100; the top is at the mean of 77 % and of 2 · 77 / 177 %.
    assert comparison.event_places["address"] == pytest.approx(0)
    assert comparison.event_places["impact"] == pytest.approx(100)
    assert comparison.event_places["top"] == pytest.approx((77 + 100 * 1.54 / 1.77) / 2, abs=0.3)


def test_only_shared_events_are_used():
    comparison = compare(make_swing(), cut_off(make_swing()))
    assert tuple(comparison.event_places) == EVENTS[:5]
    assert comparison.span == ("address", "mid_downswing")
    assert [warning.code for warning in comparison.warnings] == ["golf_events_missing"]
    assert all(difference.reason == NOT_KNOWN for difference in comparison.differences if difference.event == "impact")


def test_too_few_shared_events_are_refused():
    one = dataclasses.replace(make_swing(), events=make_swing().events[:1])
    with pytest.raises(InputError, match="1 of the eight events") as error:
        compare(one, make_swing())
    assert error.value.code == "golf_not_comparable"


def test_other_views_presets_and_hands_are_named():
    frame = dataclasses.replace(make_swing().frame, view="oblique", hand="left")
    comparison = compare(make_swing(), make_swing(frame=frame), presets=("lite", "sam"))
    assert [warning.code for warning in comparison.warnings] == ["golf_views_differ", "golf_presets_differ", "golf_hands_differ"]
