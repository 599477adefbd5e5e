"""What commands print at the end: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

_PEOPLE = {
    "id": "person",
    "frames_visible": "frames",
    "error_2d_px": "2D error px",
    "error_2d_percent_of_height": "% of height",
    "mask_iou": "mask IoU",
    "jitter": "jitter",
    "jitter_raw": "raw jitter",
    "height_m": "height m",
}

ASSUMED_HEIGHT = "Assumed heights are means of people of that age and sex; all sizes and distances depend on them."

_STAGES = {"seconds": "seconds", "steps_per_s": "frames/s", "cpu_peak_mb": "CPU MB", "gpu_peak_mb": "GPU MB"}


def print_people(people: Sequence[Mapping[str, Any]]) -> None:
    """One row per person of ``body4d info``."""
    table = Table(box=None, pad_edge=False)
    for title in _PEOPLE.values():
        table.add_column(title, justify="right")
    for person in people:
        table.add_row(*(cell(person.get(key)) + (" assumed" if _is_assumed(key, person) else "") for key in _PEOPLE))
    Console().print(table)
    poor = [str(person.get("id")) for person in people if person.get("explains_poorly")]
    if poor:
        typer.echo(f"Explained poorly: person {', '.join(poor)}. The body does not fit the picture; do not rely on it.")
    if any(person.get("height_assumed") for person in people):
        typer.echo(f"{ASSUMED_HEIGHT} --person-height settles the main person's.")


def _is_assumed(key: str, person: Mapping[str, Any]) -> bool:
    return key == "height_m" and bool(person.get("height_assumed"))


def print_stages(stages: Mapping[str, Mapping[str, Any]]) -> None:
    """One row per stage: time, speed and most memory held; below it what that means for the GPU, where one was used."""
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for title in _STAGES.values():
        table.add_column(title, justify="right")
    for name, stage in stages.items():
        table.add_row(name, *(f"{value:.1f}" if (value := stage.get(key)) is not None else "–" for key in _STAGES))
    Console().print(table)
    peak_mb = max((stage["gpu_peak_mb"] for stage in stages.values() if stage.get("gpu_peak_mb")), default=None)
    if peak_mb is not None:
        Console().print(
            f"Each model was unloaded when its stage was done; at most {peak_mb:.0f} MB of the GPU's memory were in use.", soft_wrap=True
        )


def cell(value: Any) -> str:
    """A figure with three decimals, a dash for what is not known."""
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def print_result(folder: Path, *, quiet: bool, as_json: bool, profile: bool = False) -> None:
    """The result of a run: the table of ``info`` and its files; with ``--json`` the event ``result``."""
    from body4d.run.record import FILES, read_run, summary

    overview = summary(read_run(folder))
    files = [name for name in FILES if (folder / name).is_file()]
    if as_json:
        print_json({"event": "result", "run": str(folder), "files": files, **overview})
        return
    if quiet:
        return
    print_people(overview["people"])
    if profile:
        typer.echo()
        print_stages(overview["stages"])
    typer.echo(f"\n{folder}/")
    for name in files:
        typer.echo(f"  {name:18} {FILES[name]}")


def print_json(value: Any, *, indent: int | None = None) -> None:
    """A result for machines on standard output."""
    typer.echo(json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False))
