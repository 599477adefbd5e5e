"""``body4d golf``: the moments and the numbers of a golf swing, from a run folder or straight from a clip."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors
from body4d.core.errors import SettingsError

if TYPE_CHECKING:
    from body4d.golf.types import GolfAnalysis, GolfOptions, Measure, Swing

_VIEWS = {"face-on": "face-on", "face": "face-on", "down-the-line": "down-the-line", "dtl": "down-the-line", "oblique": "oblique"}
_TARGETS = {"right": 90.0, "left": -90.0, "away": 0.0, "towards": 180.0}

_SHOWN = (
    ("pelvis_turn_deg", "top"),
    ("thorax_turn_deg", "top"),
    ("x_factor_deg", "top"),
    ("pelvis_turn_deg", "impact"),
    ("thorax_turn_deg", "impact"),
    ("pelvis_sway_cm", "top"),
    ("pelvis_sway_cm", "impact"),
    ("pelvis_lift_cm", "impact"),
    ("pelvis_thrust_cm", "impact"),
    ("thorax_side_bend_deg", "impact"),
    ("lead_elbow_deg", "top"),
    ("peak_hand_speed_m_s", None),
    ("tempo_ratio", None),
    ("backswing_s", None),
    ("downswing_s", None),
)
"""What the short table shows; the files hold everything."""


@handle_errors
def golf(
    source: Annotated[Path, typer.Argument(help="A run folder, or a clip: then it is run first.", metavar="RUN|CLIP")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the results; of a clip, its run folder.", metavar="FOLDER")
    ] = None,
    view: Annotated[str | None, typer.Option(help="face-on, down-the-line or oblique. Default: decided from the feet.")] = None,
    hand: Annotated[str | None, typer.Option(help="right or left: how the golfer plays. Default: decided from the swing.")] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Where the target is, from the camera: right, left, away, towards, or degrees from straight ahead, positive to the right.",
            metavar="DIRECTION",
        ),
    ] = None,
    capture_fps: Annotated[float | None, typer.Option(help="Frames a second at which a slowed-down clip was filmed.", metavar="N")] = None,
    person: Annotated[int | None, typer.Option(help="Which person of the run. Default: the one who swings.", metavar="N")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Another finished run: the two swings are compared, aligned by their moments.", metavar="RUN")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="Of a run: where the clip is, if it was moved.", metavar="VIDEO")] = None,
    config: options.Config = None,
    preset: Annotated[str | None, typer.Option(help="Of a clip: auto, lite (CPU) or sam (GPU, official checkpoints).")] = None,
    start: options.Start = None,
    end: options.End = None,
    rotate: options.Rotate = None,
    fov: options.Fov = None,
    focal_mm35: options.FocalMm35 = None,
    person_height: options.PersonHeight = None,
    sex: options.Sex = None,
    age: options.Age = None,
    assignments: options.Set = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Find the swing and its moments, and measure it: a report to read and print, golf.json and golf.csv in the run folder."""
    from body4d.cli.output import print_json
    from body4d.cli.progress_display import choose_display
    from body4d.run.golf import golf_of_run

    chosen = parse_golf_options(view, hand, target, capture_fps, person)
    run_flags = {
        "preset": preset,
        "video.start_s": start,
        "video.end_s": end,
        "video.rotate_deg": rotate,
        "camera.fov_deg": fov,
        "camera.focal_mm35": focal_mm35,
        "camera.person_height_m": person_height,
        "fit.sex": sex,
        "fit.age_years": age,
    }
    run, folder = _run_folder(source, out, config, assignments, run_flags, fresh=fresh, quiet=quiet, as_json=as_json)
    with choose_display(quiet=quiet, as_json=as_json) as display:
        found = golf_of_run(run, folder, chosen, compare=compare, video=video, listener=display)
    analysis, files = found.analysis, found.files
    if as_json:
        from body4d.golf.tables import as_json as analysis_json

        print_json({"event": "result", "run": str(run), "files": [path.name for path in files], **analysis_json(analysis)})
    elif not quiet:
        print_swing(analysis)
        typer.echo(f"\n{folder}/\n" + "\n".join(f"  {path.name}" for path in files))


def parse_golf_options(
    view: str | None, hand: str | None, target: str | None, capture_fps: float | None, person: int | None
) -> "GolfOptions":
    """The options of the command line. Raises SettingsError for a word that is none of the known ones."""
    from body4d.golf.types import GolfOptions

    if view is not None and view not in _VIEWS:
        raise SettingsError(f"{view!r} is not a view.", code="bad_value", hint="--view takes face-on, down-the-line or oblique.")
    if hand not in (None, "right", "left"):
        raise SettingsError(f"{hand!r} is not a side to play on.", code="bad_value", hint="--hand takes right or left.")
    return GolfOptions(
        person_id=person,
        view=None if view is None else _VIEWS[view],  # type: ignore[arg-type]
        hand=hand,  # type: ignore[arg-type]
        target_deg=None if target is None else _target_deg(target),
        capture_fps=capture_fps,
    )


def _target_deg(text: str) -> float:
    if text in _TARGETS:
        return _TARGETS[text]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -360.0 <= value <= 360.0:
        raise SettingsError(
            f"{text!r} is not a direction.", code="bad_value", hint="--target takes right, left, away, towards, or degrees such as 75."
        )
    return value


def _run_folder(
    source: Path,
    out: Path | None,
    config: Path | None,
    assignments: list[str] | None,
    flags: dict[str, Any],
    *,
    fresh: bool,
    quiet: bool,
    as_json: bool,
) -> tuple[Path, Path]:
    """The run to analyse, made first where ``source`` is a clip, and the folder for the results."""
    if source.is_dir():
        if config or assignments or fresh or any(value is not None for value in flags.values()):
            raise SettingsError(
                f"{source} is a finished run, whose settings are fixed.",
                code="settings_of_finished_run",
                hint="Name the clip to run it with other settings.",
            )
        return source, out or source
    from body4d.cli.progress_display import choose_display
    from body4d.cli.run import run_clip

    settings = options.settings_from(config, assignments, flags)
    run = run_clip(source, out, settings, choose_display(quiet=quiet, as_json=as_json), fresh=fresh)
    return run, run


def print_swing(analysis: "GolfAnalysis") -> None:
    """The main swing as a golfer reads it."""
    from rich.console import Console
    from rich.table import Table

    from body4d.golf.types import EVENT_LABELS

    swing = analysis.swings[analysis.main]
    typer.echo(_headline(analysis, swing))
    events = Table(box=None, pad_edge=False)
    for title in ("moment", "frame", "second", "how sure", ""):
        events.add_column(title, justify="left" if title in ("moment", "") else "right", no_wrap=title != "")
    for event in swing.events:
        note = "from the body" if event.proxy else ""
        events.add_row(EVENT_LABELS[event.name], f"{event.frame_exact:.1f}", f"{event.time_s:.2f}", f"{event.confidence:.0%}", note)
    for name in swing.cut_off:
        events.add_row(EVENT_LABELS[name], "–", "–", "–", "outside the clip")
    console = Console()
    console.print(events)
    typer.echo()
    measures = Table(box=None, pad_edge=False)
    for title in ("measure", "at", "value", ""):
        measures.add_column(title, justify="right" if title == "value" else "left", no_wrap=title != "")
    for name, at in _SHOWN:
        measure = swing.measure(name, at)
        if measure is not None:
            measures.add_row(measure.label, EVENT_LABELS[at].lower() if at else "", _value(measure), _remark(measure))
    console.print(measures)
    for warning in analysis.warnings:
        typer.echo(f"note: {warning.text}")


def _headline(analysis: "GolfAnalysis", swing: "Swing") -> str:
    frame, count = swing.frame, len(analysis.swings)
    which = f"swing {analysis.main + 1} of {count}" if count > 1 else "one swing"
    sure = f"{frame.view} ({frame.view_confidence:.0%} sure), {frame.hand}-handed ({frame.hand_confidence:.0%} sure)"
    return f"{analysis.clip_name}: {which}, person {analysis.person_id}, {sure}, {analysis.capture_fps:.0f} frames a second\n"


def _value(measure: "Measure") -> str:
    if measure.value != measure.value:
        return "–"
    digits = 2 if measure.unit in ("s", "") else 1 if measure.unit in ("m/s", "cm") else 0
    bar = f" ±{measure.bar:.{digits}f}" if measure.bar == measure.bar and measure.bar > 0 else ""
    return f"{measure.value:.{digits}f}{bar} {measure.unit}".rstrip()


def _remark(measure: "Measure") -> str:
    if measure.class_ == "C":
        return f"not to be relied on: {measure.reason}" if measure.value == measure.value else measure.reason
    return "estimate" if measure.is_estimate else ""
