"""``body4d batch``: many videos, on one machine or many."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors
from body4d.core.errors import Body4DError, Cancelled, NoneDoneError, SomeFailedError

if TYPE_CHECKING:
    from body4d.batch.job import VideoSummary
    from body4d.batch.report import BatchReport


@handle_errors
def batch(
    source: Annotated[
        str, typer.Argument(help="A folder, a list (a path a line, or CSV), or a glob in quotes.", metavar="FOLDER|LIST|GLOB")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the run folders and the report.", metavar="DIR")],
    config: options.Config = None,
    preset: Annotated[str | None, typer.Option(help="auto, lite (CPU) or sam (GPU, official checkpoints).")] = None,
    people: Annotated[str | None, typer.Option(help="How many to follow: a number, all, or main (default).", metavar="N|all|main")] = None,
    pictures: Annotated[bool | None, typer.Option("--pictures/--no-pictures", help="Write the videos and the contact sheets.")] = None,
    assignments: options.Set = None,
    settings_for: Annotated[
        list[str] | None, typer.Option("--settings", help="Settings (YAML) for the videos whose name matches.", metavar="PATTERN=FILE")
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--prompts", help="CSV with prompts and settings of single videos: video,text,click,…", metavar="FILE")
    ] = None,
    export: Annotated[str | None, typer.Option(help="Formats to write as well, such as glb,bvh.", metavar="FORMATS")] = None,
    golf: Annotated[bool, typer.Option("--golf", help="Look for a golf swing in each, and write its report.")] = False,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs to use. Default: all, where the preset uses one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Videos at a time. Default: one for each GPU or group of cores.")] = None,
    cpus_per_worker: Annotated[int | None, typer.Option(min=1, help="Cores of each worker. Default: 2, or a GPU's share.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto, or host:port.", metavar="ADDRESS")] = None,
    shard: Annotated[str | None, typer.Option(help="Only the i-th of n parts, from 1 on: for job arrays.", metavar="I/N")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first video that fails.")] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Run many videos. What is done is not done again: stopped at any moment, the same command goes on."""
    from body4d.batch.report import BatchReport
    from body4d.batch.run_many import run_many
    from body4d.batch.videos import parse_shard, read_rows, read_settings_rows
    from body4d.cli.progress_display import choose_display
    from body4d.core.progress import Event

    flags = {"preset": preset, "people.count": options.parse_people(people), "pictures.enabled": pictures}
    part = parse_shard(shard)
    rows = [*read_settings_rows(settings_for or []), *(read_rows(table) if table else [])]
    with choose_display(quiet=quiet, as_json=as_json) as display:
        runs = run_many(
            source,
            out,
            settings=options.settings_from(config, assignments, flags),
            rows=rows,
            export=[name.strip() for name in export.split(",")] if export else [],
            golf=golf,
            shard=part,
            address=address,
            gpus=gpus,
            workers=workers,
            cpus_per_worker=cpus_per_worker,
            fail_fast=fail_fast,
            listener=display,
        )
        try:
            with BatchReport(out, part) as report, closing(iter(runs)) as summaries:
                for ended, summary in enumerate(summaries, start=1):
                    report.add(summary)
                    _print(summary, quiet=quiet, as_json=as_json)
                    display(Event("videos", "working", ended, len(runs), left_s=runs.left_s(ended)))
        except KeyboardInterrupt:
            raise Cancelled("Stopped. What was finished is kept; the same command goes on from there.") from None
    _end(report, len(runs), stopped=fail_fast and bool(report.count["failed"]), quiet=quiet, as_json=as_json)


def _print(summary: "VideoSummary", *, quiet: bool, as_json: bool) -> None:
    from body4d.cli.output import print_json

    if as_json:
        print_json({"event": "video", **summary.as_json()})
    elif not summary.done:
        typer.echo(f"failed        {summary.name}: {summary.code}: {summary.message}", err=quiet)
    elif not quiet:
        figures = f"{summary.people} people, {summary.frames} frames, {summary.seconds:.1f} s"
        typer.echo(f"{summary.state:13} {summary.name}: {figures}")


def _end(report: "BatchReport", total: int, *, stopped: bool, quiet: bool, as_json: bool) -> None:
    """Tell what has become of all, and exit as it was."""
    from body4d.cli.output import print_json

    count, done = report.count, report.count["done"] + report.count["already done"]
    if as_json:
        print_json({"event": "result", "videos": total, **count, "report": [str(report.rows), str(report.table), str(report.page)]})
    elif not quiet:
        typer.echo(f"\n{done} of {total} done ({count['already done']} of them before), {count['failed']} failed\n{report.page}")
    if done == total:
        return
    kind: type[Body4DError] = SomeFailedError if done or stopped else NoneDoneError
    if stopped:
        seen = done + count["failed"]
        raise kind(f"Stopped at the first failure; {seen} of {total} videos were looked at.", hint=f"{report.page} says why.")
    raise kind(f"{total - done} of {total} videos are not done.", hint=f"{report.page} says why; the same command tries them again.")
