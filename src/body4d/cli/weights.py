"""``body4d weights``: which checkpoints are here, fetch them, check them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from body4d.cli import options
from body4d.cli.guard import guarded
from body4d.config import WeightsSettings

if TYPE_CHECKING:
    from body4d.checkpoints.gated_access import Access
    from body4d.checkpoints.local import Found
    from body4d.checkpoints.sources import Checkpoint
    from body4d.cli.screen import Screen
    from body4d.core.progress import Event, EventListener

app = typer.Typer(no_args_is_help=True, help="Checkpoints of the preset sam: what is here; fetch and check them.")

GLANCE_S = 5.0
"""`status` waits no longer than this for each of the Hub's answers."""

Models = Annotated[
    list[str] | None, typer.Argument(help="Which: sam3, sam3d-body, moge, vas-amodal, vas-content, depth-anything or all.", metavar="MODEL")
]
Folder = Annotated[Path | None, typer.Option("--weights", help="Folder with a folder for each model.", metavar="FOLDER")]


@app.command("status")
@guarded
def status(
    models: Models = None,
    weights: Folder = None,
    config: options.Config = None,
    assignments: options.Set = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the Hub which gates are open.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
    verbose: options.Verbose = False,
) -> None:
    """Say which checkpoints are here, where they come from, under which licence, and what stands in the way of the others."""
    from body4d.checkpoints.local import look
    from body4d.cli.screen import print_json

    settings = _settings(config, assignments, weights)
    found = look(settings, choose(models, everything=True))
    gates = {} if offline else ask_gates(found, settings)
    if as_json:
        print_json([as_row(one, gates.get(one.model.key, ())) for one in found], indent=2)
        return
    _print_table(found, gates, settings)


@app.command("download")
@guarded
def download(
    models: Models = None,
    weights: Folder = None,
    source: Annotated[str | None, typer.Option(help="This repository, whatever would be tried first.", metavar="OWNER/NAME")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="The newest revision, not the one that was checked.")] = False,
    config: options.Config = None,
    assignments: options.Set = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Fetch checkpoints that are missing or not whole; without MODEL, those that preset sam wants for everybody.

    Stopped, cut off or out of disk, the same command goes on. A token is taken from HF_TOKEN or from `hf auth login`, never from here.
    """
    from body4d.checkpoints.download import download as fetch
    from body4d.checkpoints.hub_client import hub_here

    settings = _settings(config, assignments, weights)
    hub = hub_here(settings.answer_most_s)
    with _screen(quiet, as_json) as screen:
        done = fetch(choose(models), settings, hub, _in_mb(screen, as_json), source=source, latest=latest)
    if as_json:
        from body4d.cli.screen import print_json

        rows = [{"model": one.model.key, "place": str(one.place), "commit": one.commit, "bytes": one.fetched_bytes} for one in done]
        print_json({"event": "result", "checkpoints": rows})
    elif not quiet:
        for one in done:
            typer.echo(f"{one.model.key:15} {'fetched' if one.fetched_bytes else 'there  '} {one.place}")


@app.command("verify")
@guarded
def verify(
    models: Models = None,
    weights: Folder = None,
    mend: Annotated[bool, typer.Option("--mend", help="Fetch anew what is not as published.")] = False,
    config: options.Config = None,
    assignments: options.Set = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Read every file of the checkpoints that are here and compare size and SHA-256 with what was published or downloaded.

    Exits with 7 where a file is missing, cut short or altered.
    """
    from body4d.checkpoints.verify import verify as check
    from body4d.core.errors import WeightsError

    settings, chosen = _settings(config, assignments, weights), choose(models, everything=True)
    with _screen(quiet, as_json) as screen:
        verdicts = check(chosen, settings, _in_mb(screen, as_json))
        bad = [one for one in verdicts if not one.fine]
        if bad and mend:
            from body4d.checkpoints.download import download as fetch
            from body4d.checkpoints.hub_client import hub_here

            broken = tuple(model for model in chosen if any(one.model is model for one in bad))
            fetch(broken, settings, hub_here(settings.answer_most_s), _in_mb(screen, as_json), check=True)
            verdicts = check(chosen, settings, _in_mb(screen, as_json))
            bad = [one for one in verdicts if not one.fine]
    if as_json:
        from body4d.cli.screen import print_json

        rows = [{"model": v.model.key, "file": str(v.path), "state": v.state, "sha256": v.sha256, "note": v.sentence} for v in verdicts]
        print_json({"event": "result", "files": rows})
    elif not quiet:
        for one in verdicts:
            typer.echo(f"{one.state:8} {one.path}")
    if bad:
        more = f" {len(bad) - 1} more files are not right either." if len(bad) > 1 else ""
        how = " `body4d weights verify --mend` fetches anew what can be had."
        raise WeightsError(f"{bad[0].sentence}{more}{'' if mend else how}")
    if not verdicts:
        raise WeightsError("There is nothing to check: no checkpoint is here. `body4d weights status` says where they are looked for.")


def choose(models: Sequence[str] | None, *, everything: bool = False) -> "tuple[Checkpoint, ...]":
    """The checkpoints named; none named: all, or those that preset sam wants for everybody. Raises SettingsError."""
    import difflib

    from body4d.checkpoints.registry import CHECKPOINTS
    from body4d.core.errors import SettingsError

    if not models:
        return tuple(model for model in CHECKPOINTS if everything or model.need != "optional")
    if "all" in models:
        return CHECKPOINTS
    known = {model.key: model for model in CHECKPOINTS}
    for name in models:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)} and all."
            raise SettingsError(f"Unknown checkpoint {name!r}; {hint}")
    return tuple(known[name] for name in dict.fromkeys(models))


def ask_gates(found: "Sequence[Found]", settings: WeightsSettings) -> "dict[str, tuple[Access, ...]]":
    """For each checkpoint that is not ready, what stands in the way of its sources, in the order they are tried."""
    from body4d.checkpoints.gated_access import diagnose
    from body4d.checkpoints.hub_client import hub_here
    from body4d.core.errors import MissingDependencyError

    wanted = [one for one in found if not one.ready]
    try:
        hub = hub_here(min(GLANCE_S, settings.answer_most_s))
    except MissingDependencyError:
        return {}
    return {one.model.key: tuple(diagnose(source, hub) for source in one.model.sources if source.automatic) for one in wanted}


def as_row(found: "Found", gates: "Sequence[Access]") -> dict[str, Any]:
    """A checkpoint for machines."""
    return {
        "model": found.model.key,
        "name": found.model.name,
        "stage": found.model.seat,
        "need": found.model.need,
        "state": found.state,
        "place": str(found.place) if found.place else None,
        "bytes": found.size_bytes,
        "origin": found.origin if found.place else None,
        "licence": {"name": found.licence.name, "url": found.licence.url, "note": found.licence.note},
        "sentence": found.sentence,
        "sources": [
            {
                "repository": s.repo,
                "revision": s.revision,
                "bytes": s.size_bytes,
                "gated": s.gated,
                "page": s.page,
                "automatic": s.automatic,
            }
            for s in found.model.sources
        ],
        "access": [{"repository": a.source.repo, "state": a.state, "sentence": a.sentence, "page": a.page} for a in gates],
    }


def _print_table(found: "Sequence[Found]", gates: "dict[str, tuple[Access, ...]]", settings: WeightsSettings) -> None:
    from rich.console import Console
    from rich.table import Table

    from body4d.checkpoints.registry import roots

    table = Table(box=None, pad_edge=False)
    for title in ("model", "needed by", "state", "size", "licence", "gate"):
        table.add_column(title, justify="right" if title == "size" else "left", no_wrap=title in ("model", "state", "size"))
    for one in found:
        known = one.size_bytes or one.model.sources[0].size_bytes
        size = f"{known / 1e9:.2f} GB" if known else "not known"
        table.add_row(one.model.key, _NEEDS[one.model.need], _STATES[one.state], size, one.licence.name, _gate(one))
    Console().print(table)
    typer.echo(f"\nLooked in {' and '.join(map(str, roots(settings)))}.")
    for one in found:
        typer.echo(f"\n{one.model.name} ({one.model.key})")
        for line in _lines(one, gates.get(one.model.key, ())):
            typer.echo(f"  {line}")


def _lines(found: "Found", gates: "Sequence[Access]") -> Iterator[str]:
    """What there is to say of a checkpoint below the table."""
    model = found.model
    if found.place:
        come = found.origin.get("repository", "put there by hand")
        commit = f" at {found.origin['commit'][:12]}" if "commit" in found.origin else ""
        yield f"here  {found.place} ({come}{commit}){', in the cache of huggingface_hub' if found.in_hub_cache else ''}"
    if found.state == "absent":
        yield f"todo  body4d weights download {model.key}"
    elif found.sentence:
        yield f"todo  {found.sentence}"
    for source in () if found.ready else model.sources:
        pin = f"revision {source.revision[:12]}" if source.revision else "newest revision"
        size = f", {source.size_bytes / 1e9:.2f} GB" if source.size_bytes else ""
        wish = "" if source.automatic else f"; only with --source {source.repo}"
        yield f"from  {source.page}, {pin}{size}{f', {source.about}' if source.about else ''}{wish}"
    for access in gates:
        if access.sentence:
            yield f"gate  {access.sentence}"
        elif access.state == "granted":
            yield f"gate  {access.source.repo} is open to your account."
    licence = found.licence
    yield f"terms {licence.name}, {licence.url}{f' ({licence.note})' if licence.note else ''}"


_STATES = {"ready": "ready", "damaged": "not whole", "foreign": "other form", "absent": "not here"}
_NEEDS = {"required": "sam", "recommended": "sam: lens", "optional": "sam: occlusion"}


def _gate(found: "Found") -> str:
    gates = [source.gated for source in found.model.sources if source.automatic]
    return "none" if not any(gates) else "yes" if all(gates) else "first source"


def _settings(config: Path | None, assignments: list[str] | None, weights: Path | None) -> WeightsSettings:
    return options.settings_from(config, assignments, {"weights.folder": None if weights is None else str(weights)}).weights


def _screen(quiet: bool, as_json: bool) -> "Screen":
    from body4d.cli.screen import choose_screen

    return choose_screen(quiet=quiet, as_json=as_json)


def _in_mb(screen: "Screen", as_json: bool) -> "EventListener":
    """The screen, told its figures are megabytes."""

    def listen(event: "Event") -> None:
        screen(event if as_json else replace(event, stage=f"{event.stage} MB"))

    return listen
