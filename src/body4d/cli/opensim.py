"""``body4d opensim``: joint angles by OpenSim's own inverse kinematics."""

from pathlib import Path
from typing import Annotated

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors


@handle_errors
def opensim(
    run: options.Run,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder. Default: the run folder.", metavar="FOLDER")] = None,
    person: Annotated[int | None, typer.Option(help="Only this person. Default: everybody.", metavar="ID")] = None,
    markers: Annotated[str, typer.Option(help="Markers: halpe26 or opencap.", metavar="SET")] = "halpe26",
    fps: Annotated[str | None, typer.Option(help="Frames per second, such as 30 or 30000/1001.", metavar="RATE")] = None,
    python: Annotated[Path | None, typer.Option(help="Another Python that has opensim. Default: this one.", metavar="PATH")] = None,
    setup: Annotated[
        Path | None, typer.Option(help="Folder with Pose2Sim's model and setups. Default: its package's.", metavar="FOLDER")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Write the marker file (TRC) and the joint angles (MOT) that OpenSim's scaled model gives for it. Needs the package opensim."""
    from body4d.cli.output import print_json
    from body4d.core.scene_io import load_scene
    from body4d.export import ExportOptions, chosen_people
    from body4d.export.opensim import OpenSimPython
    from body4d.run.record import finished_scene

    solver = OpenSimPython.find(python, setup)
    chosen = ExportOptions(person=person, markers=markers, fps=options.parse_rate(fps))
    scene = load_scene(finished_scene(run))
    for track in chosen_people(scene, chosen).people:
        paths, facts = solver.solve(scene, track, out or run, chosen)
        if as_json:
            print_json({"event": "result", "run": str(run), "person": track.person_id, "files": [str(path) for path in paths], **facts})
        elif not quiet:
            typer.echo("\n".join(str(path) for path in paths))
            typer.echo(f"Person {track.person_id}: the model's markers are {1000 * facts['marker_rms_m']:.1f} mm from ours (RMS).")
