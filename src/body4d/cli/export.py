"""``body4d export``: a run's bodies in the formats of other programs."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors
from body4d.export.formats import FORMATS


@handle_errors
def export(
    run: options.Run,
    to: Annotated[list[str], typer.Option("--to", help=f"{', '.join(FORMATS)}; several with commas.", metavar="FORMATS")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File or folder. Default: in the run folder.", metavar="PATH")] = None,
    person: Annotated[int | None, typer.Option(help="Only this person. Default: everybody.", metavar="ID")] = None,
    rig: Annotated[
        str, typer.Option(help="Names and bones of a skeleton: native, mixamo, unreal, vrm or lafan.", metavar="RIG")
    ] = "native",
    rest: Annotated[str, typer.Option(help="Rest pose of a skeleton: a or t. Default: what the rig has.", metavar="POSE")] = "",
    units: Annotated[str, typer.Option(help="Units of BVH and FBX: cm or m.", metavar="UNIT")] = "cm",
    together: Annotated[bool, typer.Option("--together", help="One BVH or FBX for everybody. Default: one for each person.")] = False,
    fps: Annotated[
        str | None, typer.Option(help="Frames per second of BVH, FBX, USD, TRC and C3D, such as 30 or 30000/1001.", metavar="RATE")
    ] = None,
    markers: Annotated[str, typer.Option(help="Markers of TRC and C3D: halpe26 or opencap.", metavar="SET")] = "halpe26",
    up: Annotated[str, typer.Option(help="Upward axis of a C3D: y or z.", metavar="AXIS")] = "y",
    camera: Annotated[
        bool, typer.Option("--camera/--no-camera", help="The clip's camera in GLB and USD, and in FBX where it moves.")
    ] = True,
    blender: Annotated[str, typer.Option(help="Blender, or a Python with bpy, which writes FBX. Default: found.", metavar="PATH")] = "",
    body_models: Annotated[
        Path | None,
        typer.Option("--body-models", help="Your SMPL or SMPL-X file, or its folder. Default: $BODY4D_BODY_MODELS.", metavar="PATH"),
    ] = None,
    video: Annotated[Path | None, typer.Option(help="Where the clip is, if it was moved (RRD).", metavar="VIDEO")] = None,
    mesh: Annotated[bool, typer.Option("--mesh/--no-mesh", help="Leave the surface out of an RRD, most of its size.")] = True,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Write the bodies of a finished run for other programs. Which format is for whom: docs/formats.md."""
    from body4d.cli.output import print_json
    from body4d.cli.progress_display import choose_display
    from body4d.core.errors import RunWarning
    from body4d.core.progress import Meter
    from body4d.core.scene_io import load_scene
    from body4d.export import ExportOptions, check_export, export_scene
    from body4d.run.record import finished_scene, read_run

    names = [name.strip() for text in to for name in text.split(",")]
    chosen = ExportOptions(
        person=person, rig=rig, rest=rest, units=units, fps=options.parse_rate(fps), markers=markers, together=together, up=up,
        camera=camera, blender=blender, body_models=body_models, video=video, mesh=mesh,
    )  # fmt: skip
    rows = check_export(names, out or run, chosen)
    scene, clip = load_scene(finished_scene(run)), Path(read_run(run).input.get("path", ""))
    paths = []
    with choose_display(quiet=quiet, as_json=as_json) as display:
        for row in dict.fromkeys(rows):
            meter = Meter(row.name, display)
            own = replace(chosen.for_format(row.options), on_progress=meter)
            if "video" in row.options and video is None:
                own = replace(own, video=clip if clip.is_file() else None)
                if own.video is None:
                    message = f"{row.name} is written without the video, which is no longer at {clip}."
                    meter.warn(RunWarning("clip_moved", message, "Name its new place with --video."))
            paths += export_scene(scene, row.name, out or (run / row.name if row.per_frame else run), own)
    if as_json:
        print_json({"event": "result", "run": str(run), "files": [str(path) for path in paths]})
    elif not quiet:
        typer.echo("\n".join(str(path) for path in paths))
