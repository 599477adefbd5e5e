"""``body4d export``: a run's bodies in the format of another program."""

from pathlib import Path
from typing import Annotated

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors


@handle_errors
def export(
    run: options.Run,
    to: Annotated[str, typer.Option("--to", help="glb, bvh, ply, npz, csv or html.", metavar="FORMAT")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File or folder. Default: in the run folder.", metavar="PATH")] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Write the bodies of a finished run as GLB (rigged, animated), BVH (a file per person), PLY, NPZ, CSV or a page to look at (HTML)."""
    from body4d.cli.output import print_json
    from body4d.core.scene_io import load_scene
    from body4d.export import export_scene
    from body4d.run.record import finished_scene

    scene = load_scene(finished_scene(run))
    paths = export_scene(scene, to, out or (run / "ply" if to == "ply" else run))
    if as_json:
        print_json({"event": "result", "run": str(run), "files": [str(path) for path in paths]})
    elif not quiet:
        typer.echo("\n".join(str(path) for path in paths))
