"""``body4d doctor``: what prevents a run on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors

_LABELS = {"ok": "OK       ", "warning": "warning  ", "failure": "FAILURE  "}


@handle_errors
def doctor(
    preset: Annotated[str | None, typer.Option(help="Which preset must run: auto (any), lite or sam.")] = None,
    runs: Annotated[Path, typer.Option(help="Where results are to be written.", metavar="FOLDER")] = Path("runs"),
    weights: Annotated[Path | None, typer.Option(help="Folder with the checkpoints of preset sam.", metavar="FOLDER")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the Hub which gates are open.")] = False,
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object on standard output.")] = False,
    verbose: options.Verbose = False,
) -> None:
    """Check GPU, driver, torch, memory, checkpoints, gates, codecs, renderer, disk and Space; print problems first, each with its remedy.

    Exits with 9 where a run would not succeed.
    """
    from body4d.cli.output import print_json
    from body4d.core.errors import NotReadyError
    from body4d.doctor.facts import gather_facts
    from body4d.doctor.report import diagnose_machine

    flags = {"preset": preset, "weights.folder": None if weights is None else str(weights)}
    settings = options.settings_from(config, assignments, flags)
    facts = gather_facts(settings, ask_hub=not offline, run_folder=runs)
    report = diagnose_machine(facts, settings.preset)
    if as_json:
        print_json(report.as_json())
    else:
        for level, check in report.checks:
            typer.echo(f"{_LABELS[level]} {check.name}: {check.message}" + (f"\n          → {check.hint}" if check.hint else ""))
    if not report.ready:
        subject = "no preset can run" if settings.preset == "auto" else f"preset {settings.preset} cannot run"
        names = [check.name for check in report.failures]
        message = f"On this machine {subject} because of: {', '.join(names)}."
        raise NotReadyError(message, code="machine_not_ready", hint="The lines marked FAILURE say what to do.", checks=names)
    if not as_json:
        typer.echo(f"\nReady: preset {report.preset} runs here.")
