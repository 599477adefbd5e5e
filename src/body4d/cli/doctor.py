"""``body4d doctor``: what stands between this machine and a run."""

from pathlib import Path
from typing import Annotated, cast

import typer

from body4d.cli import options
from body4d.cli.guard import guarded


@guarded
def doctor(
    preset: Annotated[str | None, typer.Option(help="Which preset must run: auto (any), lite or sam.")] = None,
    runs: Annotated[Path, typer.Option(help="Where results shall go.", metavar="FOLDER")] = Path("runs"),
    weights: Annotated[Path | None, typer.Option(help="Folder with the checkpoints of preset sam.", metavar="FOLDER")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the Hub which gates are open.")] = False,
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object on standard output.")] = False,
    verbose: options.Verbose = False,
) -> None:
    """Check GPU, driver, torch, memory, checkpoints, gates, codecs, renderer, disk and Space: what is in the way, and the remedy.

    Exits with 9 where a run would not succeed.
    """
    from body4d.cli.screen import print_json
    from body4d.core.errors import NotReadyError
    from body4d.doctor.probe import look
    from body4d.doctor.report import check
    from body4d.doctor.verdict import Preset

    flags = {"preset": preset, "weights.folder": None if weights is None else str(weights)}
    settings = options.settings_from(config, assignments, flags)
    facts = look(settings, cast(Preset, settings.preset), ask_hub=not offline, runs=runs)
    verdict = check(facts, settings.weights.spare_disk_gb)
    if as_json:
        print_json(verdict.as_json())
    else:
        for line in verdict.lines:
            typer.echo(f"{_MARKS[line.level]} {line.name}: {line.found}" + (f"\n          → {line.remedy}" if line.remedy else ""))
    if not verdict.ready:
        what = "no preset can run" if settings.preset == "auto" else f"preset {settings.preset} cannot run"
        names = ", ".join(line.name for line in verdict.failures)
        raise NotReadyError(f"On this machine {what} because of: {names}. The lines marked FAILURE say what to do.")
    if not as_json:
        typer.echo(f"\nReady: preset {verdict.runs} runs here.")


_MARKS = {"ok": "OK       ", "warning": "warning  ", "failure": "FAILURE  "}
