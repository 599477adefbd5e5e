"""Error bars: where they come from, and what they and the view make of a measure. The bones that are read, in both bodies."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from body4d.core.errors import InputError
from body4d.core.rig import Rig
from body4d.golf.bars import MIN_CASES, BarTable, bar_table, key, rate_band
from body4d.golf.body_motion import pelvis_bone, thorax_bone
from body4d.golf.measures import Judging
from body4d.golf.quantities import BY_NAME, OVER_SWING, QUANTITIES
from body4d.golf.types import View

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


def table(**bars: float) -> BarTable:
    entries = {name.replace("__", "@"): {"bar": bar, "cases": MIN_CASES} for name, bar in bars.items()}
    return BarTable({"lite": {"face-on": {"below 50": entries}}}, {})


def judging(bars: BarTable, view: View = "face-on", fps: float = 30.0, **more: bool) -> Judging:
    return Judging(bars, "lite", view, fps, **more)


def test_bars_are_looked_up_by_preset_view_rate_and_event() -> None:
    bars = table(pelvis_turn_deg__top=4.0)
    assert bars.bar("pelvis_turn_deg", "top", preset="lite", view="face-on", fps=30) == 4.0
    for other in (
        {"preset": "sam", "view": "face-on", "fps": 30},
        {"preset": "lite", "view": "oblique", "fps": 30},
    ):
        assert math.isnan(bars.bar("pelvis_turn_deg", "top", **other))  # type: ignore[arg-type]
    assert math.isnan(bars.bar("pelvis_turn_deg", "impact", preset="lite", view="face-on", fps=30))
    assert bars.bar("pelvis_turn_deg", "top", preset="lite", view="face-on", fps=240) == 4.0  # nothing measured there: the next lower band
    few = BarTable({"lite": {"face-on": {"below 50": {"a@top": {"bar": 1.0, "cases": MIN_CASES - 1}}}}}, {})
    assert math.isnan(few.bar("a", "top", preset="lite", view="face-on", fps=30))
    assert [rate_band(fps) for fps in (29.97, 59.94, 240.0)] == ["below 50", "50 to 119", "120 and more"]


def test_an_unknown_or_wide_bar_is_never_called_measured() -> None:
    turn = BY_NAME["pelvis_turn_deg"]
    for bar, estimate in ((4.0, False), (6.0, True)):
        assert judging(table(pelvis_turn_deg__top=bar)).measure(turn, "top", -40.0).is_estimate is estimate
    assert judging(table()).measure(turn, "top", -40.0).is_estimate


def test_a_wide_bar_takes_the_best_class_away() -> None:
    sway = BY_NAME["pelvis_sway_cm"]
    assert judging(table(pelvis_sway_cm__top=2.0)).measure(sway, "top", 1.0).class_ == "A"
    assert judging(table(pelvis_sway_cm__top=4.0)).measure(sway, "top", 1.0).class_ == "B"


def test_what_is_grey_says_why() -> None:
    seen = [
        judging(table(), view, fps, time_known=known)
        for view in ("face-on", "down-the-line", "oblique")
        for fps in (30.0, 240.0)
        for known in (True, False)
    ]
    for judge in seen:
        for quantity in (*QUANTITIES, *OVER_SWING):
            measure = judge.measure(quantity, None, 1.0)
            assert (measure.class_ == "C") == bool(measure.reason)
            missing = judge.measure(quantity, None, float("nan"), missing="It is outside the clip.")
            assert (missing.class_, missing.reason) == ("C", "It is outside the clip.")


def test_rates_are_shown_from_120_frames_a_second() -> None:
    rate = BY_NAME["pelvis_turn_rate_deg_s"]
    assert judging(table(), fps=60).measure(rate, "impact", 400.0).class_ == "C"
    assert judging(table(), fps=240).measure(rate, "impact", 400.0).class_ == "B"


def test_the_table_of_the_package_says_where_it_comes_from() -> None:
    provenance = bar_table().provenance
    assert {"command", "date", "body4d", "cases", "note"} <= set(provenance)
    names = {key(q.name, event) for q in QUANTITIES for event in q.events} | {q.name for q in OVER_SWING}
    for views in bar_table().bars.values():
        for bands in views.values():
            for band in bands.values():
                assert names & set(band)
    assert bool(bar_table().bars) == bool(provenance["cases"])


def test_the_benchmark_makes_the_table_from_errors() -> None:
    from golf import bars_json

    results = [
        {
            "found": True,
            "preset": "lite",
            "fps": 29.97,
            "case": {"motion": f"m{k}.bvh", "view": "face-on", "rate": 30, "hand": "right"},
            "measures": {"pelvis_turn_deg@top": [-40.0, -40.0 + error], "sequence_lag_s#pelvis": [0.0, 0.01]},
        }
        for k, error in enumerate((1.0, -2.0, 3.0, -4.0, 5.0, -6.0, 7.0, -8.0, 9.0, -10.0))
    ]
    made = json.loads(json.dumps(bars_json(results, "make")))
    assert made["provenance"]["cases"] == 10
    bars = BarTable(made["bars"], made["provenance"])
    # Seven of ten errors lie within 7, which is 0.67 of the way from the first to the last: the next one is taken.
    assert bars.bar("pelvis_turn_deg", "top", preset="lite", view="face-on", fps=30) == 8.0
    assert bars.bar("sequence_lag_s", None, preset="lite", view="face-on", fps=30) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("names", "parents", "found"),
    [
        (("root", "upperleg01.L", "upperleg01.R", "spine01", "clavicle.L", "clavicle.R"), (-1, 0, 0, 0, 3, 3), ("root", "spine01")),
        (
            ("body_world", "root", "l_upleg", "r_upleg", "c_spine0", "c_spine3", "r_clavicle", "l_clavicle"),
            (-1, 0, 1, 1, 1, 4, 5, 5),
            ("root", "c_spine3"),
        ),
    ],
    ids=["anny", "mhr"],
)
def test_pelvis_and_thorax_are_the_bones_that_carry_legs_and_collar_bones(names, parents, found) -> None:
    rig = made_rig(names, parents)
    assert (names[pelvis_bone(rig)], names[thorax_bone(rig)]) == found


def test_a_body_without_known_bones_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        pelvis_bone(made_rig(("a", "b"), (-1, 0)))
    assert caught.value.code == "rig_without_bones"


def made_rig(names: tuple[str, ...], parents: tuple[int, ...]) -> Rig:
    n = len(names)
    whole = np.zeros((0, 3), int)
    return Rig(
        joint_names=names,
        parents=np.array(parents),
        rest_joints_m=np.zeros((n, 3)),
        rest_vertices_m=np.zeros((0, 3)),
        faces=whole,
        skin_indices=whole,
        skin_weights=np.zeros((0, 3)),
        joint_set="body29",
        keypoint_weights=np.zeros((29, n)),
        keypoint_anchors_m=np.zeros((29, n, 3)),
    )
