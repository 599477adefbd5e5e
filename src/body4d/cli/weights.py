"""``body4d weights``: which checkpoints are here, fetch them, check them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors
from body4d.config import WeightsSettings

if TYPE_CHECKING:
    from body4d.checkpoints.gated_access import SourceAccess
    from body4d.checkpoints.hub_client import Hub
    from body4d.checkpoints.local import LocalCheckpoint
    from body4d.checkpoints.registry import Checkpoint

app = typer.Typer(no_args_is_help=True, help="Checkpoints: what is here; fetch and check them.")

STATUS_TIMEOUT_S = 5.0
"""`status` waits no longer than this for each of the Hub's answers."""

_STATE_WORDS = {"ready": "ready", "damaged": "not whole", "unsupported": "other form", "absent": "not here"}

Models = Annotated[
    list[str] | None,
    typer.Argument(
        help="Which: sam3, sam3d-body, moge, vas-amodal, vas-content, depth-anything; blazepose, blazepose-heavy, hand-landmarks (these "
        "three: lite); or all.",
        metavar="MODEL",
    ),
]
Folder = Annotated[Path | None, typer.Option("--weights", help="Folder with a folder for each model.", metavar="FOLDER")]


@app.command("status")
@handle_errors
def status(
    models: Models = None,
    weights: Folder = None,
    config: options.Config = None,
    assignments: options.Set = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the Hub which gates are open.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
    verbose: options.Verbose = False,
) -> None:
    """Say which checkpoints are here, where they come from, under which licence, and what prevents fetching the others."""
    from body4d.checkpoints.local import inspect_checkpoints
    from body4d.cli.output import print_json

    settings = _settings(config, assignments, weights)
    checkpoints = inspect_checkpoints(settings, _chosen(models, everything=True))
    accesses = {} if offline else _ask_gates(checkpoints)
    if as_json:
        print_json([_as_row(one, accesses.get(one.checkpoint.key, ())) for one in checkpoints], indent=2)
    else:
        _print_status(checkpoints, accesses, settings)


@app.command("download")
@handle_errors
def download(
    models: Models = None,
    weights: Folder = None,
    source: Annotated[str | None, typer.Option(help="Only this repository or package.", metavar="OWNER/NAME")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="The newest revision, not the one that was checked.")] = False,
    config: options.Config = None,
    assignments: options.Set = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Fetch checkpoints that are missing or not whole; without MODEL, those that preset sam always uses. MODEL lite: those of preset lite.

    Stopped, cut off or out of disk, the same command goes on. A token is taken from HF_TOKEN or from `hf auth login`, never from here.
    """
    from body4d.checkpoints.download import download as fetch
    from body4d.cli.output import print_json
    from body4d.cli.progress_display import choose_display, in_megabytes

    settings, chosen = _settings(config, assignments, weights), _chosen(models)
    with choose_display(quiet=quiet, as_json=as_json) as screen:
        results = fetch(chosen, settings, _hub_for(chosen), in_megabytes(screen), source=source, latest=latest)
    if as_json:
        rows = [{"model": r.checkpoint.key, "place": str(r.path), "commit": r.commit, "bytes": r.fetched_bytes} for r in results]
        print_json({"event": "result", "checkpoints": rows})
    elif not quiet:
        for result in results:
            typer.echo(f"{result.checkpoint.key:15} {'fetched' if result.fetched_bytes else 'there  '} {result.path}")


@app.command("verify")
@handle_errors
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
    from body4d.checkpoints.download import download as fetch
    from body4d.checkpoints.local import verify_checkpoints
    from body4d.cli.output import print_json
    from body4d.cli.progress_display import choose_display, in_megabytes
    from body4d.core.errors import WeightsError

    settings, chosen = _settings(config, assignments, weights), _chosen(models, everything=True)
    with choose_display(quiet=quiet, as_json=as_json) as screen:
        listener = in_megabytes(screen)
        checks = verify_checkpoints(chosen, settings, listener)
        broken = [model for model in chosen if any(not check.ok for check in checks.get(model.key, ()))]
        if broken and mend:
            fetch(broken, settings, _hub_for(broken), listener, check=True)
            checks = verify_checkpoints(chosen, settings, listener)
    files = [(key, check) for key, checked in checks.items() for check in checked]
    if as_json:
        rows = [{"model": key, "file": str(c.path), "state": c.state, "sha256": c.sha256, "message": c.message} for key, c in files]
        print_json({"event": "result", "files": rows})
    elif not quiet:
        for _, check in files:
            typer.echo(f"{check.state:10} {check.path}")
    if bad := [check for _, check in files if not check.ok]:
        more = f" {len(bad) - 1} more files are not right either." if len(bad) > 1 else ""
        hint = "" if mend else "`body4d weights verify --mend` fetches anew what can be had."
        raise WeightsError(f"{bad[0].message}{more}", code="files_altered", hint=hint, files=[str(check.path) for check in bad])
    if not files:
        hint = "`body4d weights status` says where they are looked for."
        raise WeightsError("There is nothing to check: no checkpoint is here.", code="checkpoint_absent", hint=hint)


def _chosen(models: Sequence[str] | None, *, everything: bool = False) -> "tuple[Checkpoint, ...]":
    """The checkpoints named; none named: all, or those that preset sam always uses. Raises SettingsError."""
    import difflib

    from body4d.checkpoints.registry import CHECKPOINTS
    from body4d.core.errors import SettingsError

    if not models:
        return tuple(one for one in CHECKPOINTS if everything or (one.preset == "sam" and one.need != "optional"))
    if "all" in models:
        return CHECKPOINTS
    if "lite" in models:
        models = [*(name for name in models if name != "lite"), *(one.key for one in CHECKPOINTS if one.preset == "lite")]
    known = {one.key: one for one in CHECKPOINTS}
    if unknown := next((name for name in models if name not in known), None):
        near = difflib.get_close_matches(unknown, known, n=1, cutoff=0.5)
        other = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}, lite and all."
        raise SettingsError(f"Unknown checkpoint {unknown!r}; {other}", code="unknown_checkpoint", checkpoint=unknown)
    return tuple(known[name] for name in dict.fromkeys(models))


def _hub_for(checkpoints: "Sequence[Checkpoint]") -> "Hub | None":
    """The Hub, None where no checkpoint comes from it. Raises MissingDependencyError."""
    from body4d.checkpoints.hub_client import default_hub

    return default_hub() if any(one.hub_sources for one in checkpoints) else None


def _ask_gates(checkpoints: "Sequence[LocalCheckpoint]") -> "dict[str, tuple[SourceAccess, ...]]":
    """For each checkpoint that is not ready, whether its sources may be fetched, in the order they are tried."""
    from body4d.checkpoints.gated_access import check_access
    from body4d.checkpoints.hub_client import default_hub
    from body4d.core.errors import MissingDependencyError

    try:
        hub = default_hub(STATUS_TIMEOUT_S)
    except MissingDependencyError:
        return {}
    lacking = [one.checkpoint for one in checkpoints if not one.ready]
    return {one.key: tuple(check_access(source, hub) for source in one.sources if source.automatic) for one in lacking}


def _as_row(one: "LocalCheckpoint", accesses: "Sequence[SourceAccess]") -> dict[str, Any]:
    """A checkpoint for machines."""
    return {
        "model": one.checkpoint.key,
        "name": one.checkpoint.name,
        "stage": one.checkpoint.stage,
        "preset": one.checkpoint.preset,
        "need": one.checkpoint.need,
        "state": one.state,
        "place": str(one.path) if one.path else None,
        "bytes": one.size_bytes,
        "origin": one.origin if one.path else None,
        "licence": asdict(one.licence),
        "message": one.message,
        "hint": one.hint,
        "sources": [
            {
                "repository": s.repo,
                "revision": s.revision,
                "bytes": s.size_bytes,
                "gated": s.gated,
                "automatic": s.automatic,
                "page": s.page,
            }
            for s in one.checkpoint.sources
        ],
        "access": [{"repository": a.source.repo, "state": a.state, "message": a.message, "hint": a.hint, "page": a.page} for a in accesses],
    }


def _print_status(
    checkpoints: "Sequence[LocalCheckpoint]", accesses: "dict[str, tuple[SourceAccess, ...]]", settings: WeightsSettings
) -> None:
    from rich.console import Console
    from rich.table import Table

    from body4d.checkpoints.local import checkpoint_roots

    table = Table(box=None, pad_edge=False)
    for title in ("model", "needed by", "state", "size", "licence", "gate"):
        table.add_column(title, justify="right" if title == "size" else "left", no_wrap=title in ("model", "state", "size"))
    for one in checkpoints:
        size_bytes = one.size_bytes or one.checkpoint.sources[0].size_bytes
        size = _size(size_bytes) if size_bytes else "not known"
        gated = [source.gated for source in one.checkpoint.sources if source.automatic]
        gate = "none" if not any(gated) else "yes" if all(gated) else "first source"
        table.add_row(one.checkpoint.key, _needed_by(one.checkpoint), _STATE_WORDS[one.state], size, one.licence.name, gate)
    Console().print(table)
    typer.echo(f"\nLooked in {' and '.join(map(str, checkpoint_roots(settings)))}.")
    for one in checkpoints:
        typer.echo(f"\n{one.checkpoint.name} ({one.checkpoint.key})")
        for line in _status_lines(one, accesses.get(one.checkpoint.key, ())):
            typer.echo(f"  {line}")


def _needed_by(checkpoint: "Checkpoint") -> str:
    uses = {"masks": "landmarks", "camera": "camera", "occlusion": "occlusion"}
    return checkpoint.preset if checkpoint.need == "required" else f"{checkpoint.preset}: {uses[checkpoint.stage]}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"


def _status_lines(one: "LocalCheckpoint", accesses: "Sequence[SourceAccess]") -> Iterator[str]:
    """What there is to say of a checkpoint below the table."""
    from body4d.checkpoints.registry import PackageSource

    if one.path:
        origin = one.origin.get("repository", "put there by hand")
        commit = f" at {one.origin['commit'][:12]}" if "commit" in one.origin else ""
        yield f"here  {one.path} ({origin}{commit}){', in the cache of huggingface_hub' if one.in_hub_cache else ''}"
    if one.state == "absent":
        yield f"todo  {one.checkpoint.download_command}"
    elif one.message:
        yield f"todo  {one.message} {one.hint}"
    for source in () if one.ready else one.checkpoint.sources:
        if isinstance(source, PackageSource):
            yield f"from  {source.page}, {source.repo}, {_size(source.package_bytes)}{f', {source.about}' if source.about else ''}"
            continue
        pin = f"revision {source.revision[:12]}" if source.revision else "newest revision"
        size = f", {_size(source.size_bytes)}" if source.size_bytes else ""
        only = "" if source.automatic else f"; only with --source {source.repo}"
        yield f"from  {source.page}, {pin}{size}{f', {source.about}' if source.about else ''}{only}"
    for access in accesses:
        if access.message:
            yield f"gate  {access.message} {access.hint}"
        elif access.state == "granted":
            yield f"gate  {access.source.repo} is open to your account."
    yield f"terms {one.licence.name}, {one.licence.url}{f' ({one.licence.note})' if one.licence.note else ''}"


def _settings(config: Path | None, assignments: list[str] | None, weights: Path | None) -> WeightsSettings:
    return options.settings_from(config, assignments, {"weights.folder": None if weights is None else str(weights)}).weights
