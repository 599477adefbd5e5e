"""How far is the golf analysis of a filmed swing from that of its exact motion? Makes the table of error bars.

    python benchmarks/golf.py [--motion FILE|authored ...] [--view V ...] [--rate 30 60 240] [--hand right left] [--seed N ...]
        [--landmarks full|heavy] [--set KEY=VALUE ...] [--list CASES.json] [--out runs/golf] [--write-bars]

FILE is a recorded swing (body4d.evaluate.synthetic.motion_file), filmed with a club in every view (face-on, down-the-line, oblique), rate
and hand; left-handed golfers are mirrored right-handed ones. "authored" is the swing of `make demo`. CASES.json holds finished runs
instead: a list of {"motion", "truth", "run", "view", "rate", "hand"}.

The scene of exact truth and the run's scene are analysed with the same view and hand. Each case is one folder below --out with result.json
written last: a case that is finished is not done again, and one that another process works on is left to it, so that two processes with
the same command share the work. --write-bars writes src/body4d/golf/bars.json from all finished cases below --out: the 68th percentile of
the absolute errors by preset, view and band of rates. Printed are the cases and, for each measure, how many errors lie within one and two
bars that the other motions gave.
"""

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from real_truth import known, settings_of

from body4d.core.errors import NoSwingError
from body4d.core.files import atomic_file
from body4d.core.scene_io import load_scene
from body4d.core.types import Scene
from body4d.core.version import __version__
from body4d.evaluate.synthetic.clip import make_clip, make_motion_clip
from body4d.evaluate.synthetic.motion_capture import mirrored
from body4d.evaluate.synthetic.motion_file import load_motion
from body4d.evaluate.synthetic.motions import MOTION_VIEWS
from body4d.golf.analysis import analyze
from body4d.golf.bars import COVERAGE, MIN_CASES, TABLE, key, rate_band
from body4d.golf.types import EVENTS, GolfAnalysis, GolfOptions, Swing
from body4d.run.pipeline import Pipeline

RESULT = "result.json"
ALLOWED_FRAMES = ((0, 1), (50, 2), (120, 6))
"""How far an event may be off, from a rate on."""

MAIN_MEASURES = (
    *(f"{name}@{event}" for name in ("pelvis_turn_deg", "thorax_turn_deg", "x_factor_deg") for event in ("top", "impact")),
    *(f"{name}@{event}" for name in ("pelvis_sway_cm", "pelvis_lift_cm", "pelvis_thrust_cm") for event in ("top", "impact")),
    "thorax_side_bend_deg@impact",
    "peak_hand_speed_m_s",
    "tempo_ratio",
    "sequence_lag_s",
)
AUTHORED = "authored"


@dataclass(frozen=True)
class Case:
    """One film of a swing; ``truth`` and ``run`` where both exist already."""

    motion: str
    view: str
    rate: float
    hand: str
    seed: int = 0
    truth: str = ""
    run: str = ""

    @property
    def name(self) -> str:
        return f"{Path(self.motion).stem}-{self.view}-{self.rate:g}-{self.hand}-{self.seed}"


def wanted_cases(options: argparse.Namespace) -> Iterator[Case]:
    """The cases that the command names."""
    if options.list:
        yield from (Case(**entry) for entry in json.loads(options.list.read_text()))
        return
    for motion in options.motion:
        for view in options.view:
            for rate in options.rate:
                for hand in options.hand:
                    for seed in options.seed:
                        if motion != AUTHORED or hand == "right":  # the authored swing has no mirror
                            yield Case(motion, view, rate, hand, seed)


def film(case: Case, folder: Path) -> tuple[Path, Path]:
    """The video of a case and its true scene, made once."""
    video = folder / ("swing.mp4" if case.motion == AUTHORED else "recorded.mp4")
    truth = folder / "truth.npz"  # written last
    if truth.is_file():
        return video, truth
    if case.motion == AUTHORED:
        make_clip("swing", folder, rate=int(case.rate), seed=case.seed, view=case.view)  # type: ignore[arg-type]
        return video, truth
    motion = load_motion(case.motion)
    azimuth, elevation = MOTION_VIEWS[case.view]
    if case.hand == "left":
        motion, azimuth = mirrored(motion), -azimuth
    make_motion_clip(motion, folder, view=(azimuth, elevation), rate=int(case.rate), seed=case.seed, with_club=True)
    return video, truth


def do_case(case: Case, folder: Path, landmarks: str | None, assignments: list[str]) -> None:
    """Film, run and analyse one case; its figures are written last."""
    if case.truth:
        truth, run = Path(case.truth), Path(case.run)
    else:
        video, truth = film(case, folder)
        run = folder / "run"
        Pipeline.load(settings_of(None, landmarks, assignments)).run(video, run)
    result = figures(case, load_scene(truth), load_scene(run / "scene.npz"))
    with atomic_file(folder / RESULT) as file:
        file.write((json.dumps(known(result), indent=1) + "\n").encode())


def figures(case: Case, truth: Scene, scene: Scene) -> dict[str, Any]:
    """Events and measures of a case, true and recovered."""
    given = GolfOptions(view=case.view, hand=case.hand)  # type: ignore[arg-type]
    out: dict[str, Any] = {"case": asdict(case), "preset": scene.preset, "body4d": __version__, "found": False}
    true = analyze(truth, given)
    out["fps"] = float(1.0 / np.median(np.diff(truth.clip.times_s)))
    try:
        decided, got = analyze(scene), analyze(scene, given)
    except NoSwingError as error:
        return {**out, "error": error.message}
    a, b = true.swings[true.main], got.swings[got.main]
    frame = decided.swings[decided.main].frame
    return {
        **out,
        "found": True,
        "decided": {"view": frame.view, "hand": frame.hand, "view_deg": frame.view_deg, "true_view_deg": a.frame.view_deg},
        "events": {e.name: [e.frame_exact, b_event.frame_exact] for e in a.events if (b_event := b.event(e.name)) is not None},
        "measures": _pairs(true, got, a, b),
    }


def _pairs(true: GolfAnalysis, got: GolfAnalysis, a: Swing, b: Swing) -> dict[str, list[float]]:
    """By the names of the table of bars: true value and recovered one."""
    out = {}
    for measure in (*a.measures, *a.research):
        found = next((m for m in (*b.measures, *b.research) if (m.name, m.event) == (measure.name, measure.event)), None)
        if found is not None and math.isfinite(measure.value) and math.isfinite(found.value):
            out[key(measure.name, measure.event)] = [measure.value, found.value]
    if a.sequence is not None and b.sequence is not None:
        peaks = [{peak.segment: peak for peak in swing.sequence.peaks} for swing in (a, b) if swing.sequence is not None]
        for segment in peaks[0]:
            out[f"{segment.replace(' ', '_')}_peak_rate_deg_s"] = [p[segment].peak_deg_s for p in peaks]
        for first, second in (("pelvis", "thorax"), ("thorax", "lead arm")):
            # One name for both gaps: the bar of a lag does not depend on which.
            out[f"sequence_lag_s#{first}"] = [p[second].time_to_impact_s - p[first].time_to_impact_s for p in peaks]
    return out


def errors_by_group(results: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], dict[str, list[tuple[Case, float]]]]:
    """By preset, view and band of rates, then by measure: case and signed error."""
    out: dict[tuple[str, str, str], dict[str, list[tuple[Case, float]]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if not result["found"]:
            continue
        group = (result["preset"], result["case"]["view"], rate_band(result["fps"]))
        for name, (true, got) in result["measures"].items():
            out[group][name.partition("#")[0]].append((Case(**result["case"]), got - true))
    return out


def bar_of(errors: Sequence[float]) -> float:
    """Half width within which the share ``COVERAGE`` of the errors lies."""
    return float(np.quantile(np.abs(errors), COVERAGE, method="higher"))


def bars_json(results: Sequence[Mapping[str, Any]], command: str) -> dict[str, Any]:
    """The table of bars."""
    bars: dict[str, Any] = {}
    for (preset, view, band), measures in sorted(errors_by_group(results).items()):
        into = bars.setdefault(preset, {}).setdefault(view, {}).setdefault(band, {})
        for name, pairs in sorted(measures.items()):
            errors = [error for _, error in pairs]
            into[name] = {
                "bar": float(f"{bar_of(errors):.4g}"),
                "bias": float(f"{np.median(errors):.4g}"),
                "cases": len({case.name for case, _ in pairs}),
            }
    found = [result for result in results if result["found"]]
    motions = sorted({Path(result["case"]["motion"]).stem for result in found})
    provenance = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "body4d": __version__,
        "cases": len(found),
        "motions": motions,
        "note": f"68th percentile of absolute errors of filmed swings against their exact motion; used from {MIN_CASES} cases on.",
    }
    return {"provenance": provenance, "bars": bars}


def print_cases(results: Sequence[Mapping[str, Any]]) -> None:
    """Event errors in frames, and the main measures, of each case."""
    shown = ("pelvis_turn_deg@top", "thorax_turn_deg@top", "pelvis_turn_deg@impact", "pelvis_sway_cm@impact", "pelvis_lift_cm@impact")
    for result in results:
        name = Case(**result["case"]).name
        if not result["found"]:
            print(f"{name}: {result['error']}")
            continue
        events = " ".join(f"{event} {got - true:+.1f}" for event, (true, got) in result["events"].items())
        measures = " ".join(f"{m} {pair[1] - pair[0]:+.1f}" for m in shown if (pair := result["measures"].get(m)))
        decided = result["decided"]
        print(f"{name}: {decided['view']} {decided['hand']}; frames: {events}; {measures}")


def print_coverage(results: Sequence[Mapping[str, Any]], *, everything: bool) -> None:
    """For each measure: the bar, and the share of errors within one and two bars of the other motions' cases."""
    for (preset, view, band), measures in sorted(errors_by_group(results).items()):
        print(f"\n{preset}, {view}, {band} frames a second")
        for name, pairs in sorted(measures.items()):
            if not everything and name not in MAIN_MEASURES:
                continue
            within = [0, 0, 0]
            for case, error in pairs:
                others = [e for other, e in pairs if other.motion != case.motion]
                if len(others) >= 3:
                    bar = bar_of(others)
                    within = [within[0] + (abs(error) <= bar), within[1] + (abs(error) <= 2 * bar), within[2] + 1]
            errors = [error for _, error in pairs]
            held = f", {within[0]} and {within[1]} of {within[2]} within one and two bars of other motions" if within[2] else ""
            print(f"  {name:32} ±{bar_of(errors):7.2f}  bias {np.median(errors):+7.2f}  {len(errors)} cases{held}")


def print_event_shares(results: Sequence[Mapping[str, Any]]) -> None:
    """By rate: how many of the cases have each event within the frames that the project allows."""
    by_rate: dict[float, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        if result["found"]:
            by_rate[result["case"]["rate"]].append(result["events"])
    for rate, cases in sorted(by_rate.items()):
        allowed = max(frames for lowest, frames in ALLOWED_FRAMES if rate >= lowest)
        print(f"\nWithin {allowed} frames at {rate:g} frames a second, of {len(cases)} cases:", end=" ")
        hits = {name: sum(name in e and abs(e[name][1] - e[name][0]) <= allowed for e in cases) for name in EVENTS}
        print(", ".join(f"{name} {count}" for name, count in hits.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", nargs="+", default=[])
    parser.add_argument("--view", nargs="+", default=["face-on", "down-the-line", "oblique"])
    parser.add_argument("--rate", nargs="+", type=int, default=[30, 60, 240])
    parser.add_argument("--hand", nargs="+", default=["right", "left"], choices=("right", "left"))
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--landmarks", choices=("full", "heavy"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments")
    parser.add_argument("--list", type=Path, metavar="CASES.json")
    parser.add_argument("--out", type=Path, default=Path("runs/golf"))
    parser.add_argument("--again", action="store_true", help="analyse finished cases again; films and runs are kept")
    parser.add_argument("--all", action="store_true", help="print the bars of all measures")
    parser.add_argument("--write-bars", action="store_true")
    options = parser.parse_args()
    for case in wanted_cases(options):
        folder = options.out / case.name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / ".lock", timeout=0):
                if options.again or not (folder / RESULT).is_file():
                    do_case(case, folder, options.landmarks, options.assignments)
        except Timeout:
            print(f"{case.name}: another process is at it")
    results = [json.loads(path.read_text()) for path in sorted(options.out.glob(f"*/{RESULT}"))]
    print_cases(results)
    print_event_shares(results)
    print_coverage(results, everything=options.all)
    if options.write_bars:
        motions = " ".join(Path(m).name for m in options.motion)
        command = f"benchmarks/golf.py --motion {motions} --rate {' '.join(map(str, options.rate))} --write-bars"
        with atomic_file(TABLE) as file:
            file.write((json.dumps(bars_json(results, command), indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
