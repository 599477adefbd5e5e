"""``body4d space``: a HuggingFace Space of one's own, from check to running."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors

if TYPE_CHECKING:
    from body4d.config import Settings
    from body4d.deploy.bundle import BundleFile
    from body4d.deploy.space import SpaceClient
    from body4d.deploy.status import SpaceStatus

app = typer.Typer(no_args_is_help=True, help="Put the app on a HuggingFace Space, and see how it stands.")

Name = Annotated[str, typer.Argument(help="The Space.", metavar="OWNER/NAME")]
Source = Annotated[Path, typer.Option(help="A clone of body4d. Default: this folder.", metavar="FOLDER")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it runs, and print each change of its status.")]


@app.command()
@handle_errors
def check(source: Source = Path(), as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Check what would be sent: text only, small, no secrets, and a Dockerfile that matches the package. Uses no network."""
    files = _checked_bundle(source, as_json)
    size = sum(len(file.data) for file in files)
    _print(as_json, f"All well: {len(files)} files, {size / 1e6:.1f} MB of text.", event="result", files=len(files), bytes=size)


@app.command()
@handle_errors
def create(
    name: Name,
    hardware: Annotated[str | None, typer.Option(help="Such as l40sx1 (default), a10g-large, cpu-basic.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everyone see it; private otherwise.")] = False,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="A secret, read from the variable of this shell with its name, or with another.", metavar="NAME[=VARIABLE]"),
    ] = None,
    bucket: Annotated[str, typer.Option(help="A bucket to mount at /data, made where it does not exist.", metavar="OWNER/NAME")] = "",
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Make the Space, with its hardware, secrets and disk; or bring an existing one into that state."""
    from body4d.deploy.space import SpaceSpec

    settings = options.settings_from(config, assignments, {"space.hardware": hardware})
    space = _client(name)
    secrets = dict(_secret(text) for text in secret or ())
    spec = SpaceSpec(settings.space.hardware, settings.space.sleep_s, not public, secrets, bucket)
    new = space.create(spec)
    text = f"{'Made' if new else 'Updated'}: {space.page} on {spec.hardware}. `body4d space push {name}` sends the app."
    _print(as_json, text, event="result", space=name, page=space.page, new=new, hardware=spec.hardware, secrets=sorted(secrets))


@app.command()
@handle_errors
def push(
    name: Name,
    source: Source = Path(),
    message: Annotated[str | None, typer.Option("--message", "-m", help="The commit's message.")] = None,
    wait: Wait = True,
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Check and send the app as one commit of text, and wait until it runs."""
    from body4d.core.version import __version__

    settings = options.settings_from(config, assignments, {})
    files = _checked_bundle(source, as_json)
    space = _client(name)
    commit = space.push(files, message or f"body4d {__version__}")
    _print(as_json, f"Sent {len(files)} files: {commit}", event="pushed", files=len(files), commit=commit)
    if wait:
        _wait(space, settings, as_json, changed=True)


@app.command()
@handle_errors
def status(
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it runs, and print each change.")] = False,
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Print how it stands: building, build failed, starting, downloading, gated, out of memory, running, ...; and what to do."""
    settings = options.settings_from(config, assignments, {})
    space = _client(name)
    if wait:
        _wait(space, settings, as_json, changed=False)
        return
    state = space.status()
    _print_status(state, as_json)
    _require_healthy(space, state)


@app.command()
@handle_errors
def logs(
    name: Name,
    build: Annotated[bool, typer.Option("--build", help="The image's log instead of the container's.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=1, help="Only the last N lines. Default: all.", metavar="N")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come, until Ctrl-C or --timeout.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Follow for S seconds, then stop; implies --follow.", metavar="S")
    ] = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Print its log and stop at its end, with anything that looks like a token left out."""
    space = _client(name)
    for line in space.log(build=build, last_lines=lines, follow=follow or timeout is not None, follow_s=timeout):
        _print(as_json, line, event="line", log="build" if build else "run", line=line)


@app.command()
@handle_errors
def restart(
    name: Name,
    factory: Annotated[bool, typer.Option("--factory", help="Build the image again, without its cache.")] = False,
    wait: Wait = True,
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Start it again, and wait until it runs."""
    settings = options.settings_from(config, assignments, {})
    space = _client(name)
    space.restart(factory=factory)
    _print(as_json, f"{name} restarts{', and its image is built again' if factory else ''}.", event="restarted", factory=factory)
    if wait:
        _wait(space, settings, as_json, changed=True)


@app.command()
@handle_errors
def start(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Port to listen on; a Space's is 7860.")] = 7860,
    config: options.Config = None,
    assignments: options.Set = None,
    verbose: options.Verbose = False,
) -> None:
    """Run what the container runs: the page at once, then checkpoints, then the app."""
    from body4d.deploy.startup import serve

    if not serve(options.settings_from(config, assignments, {}), host, port):
        # Threads that load torch would be waited for, and nothing they do has to be finished.
        sys.stdout.flush()
        os._exit(0)


def _secret(text: str) -> tuple[str, str]:
    """Name and value of a --secret. Raises SpaceError, which repeats nothing that may be the secret itself: neither what stands after
    ``=`` nor a name that is not in capitals, as names of variables are."""
    from body4d.core.errors import SpaceError

    name, equals, variable = text.partition("=")
    shown = name if re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) else "NAME"
    value = os.environ.get(variable if equals else name, "").strip()
    if value:
        return name, value
    if equals:
        raise SpaceError(
            f"--secret {shown}=... does not name a variable that is set in this shell.",
            code="secret_variable_unset",
            hint="Give the name of the variable, not the value itself, and export it first. If a token was typed there, it stands in the "
            "shell's history now: revoke it.",
        )
    message = f"The variable{f' {name}' if shown == name else ''} is not set in this shell, so it cannot be made a secret."
    raise SpaceError(message, code="secret_variable_unset", hint=f"export {shown}=... first.")


def _client(name: str) -> "SpaceClient":
    from body4d.checkpoints.hub_client import default_hub
    from body4d.deploy.space import SpaceClient

    return SpaceClient(name, default_hub())


def _checked_bundle(source: Path, as_json: bool) -> "tuple[BundleFile, ...]":
    """The bundle of a clone. Raises SpaceError where it must not be sent, after printing every problem."""
    from body4d.checkpoints.hub_client import default_hub
    from body4d.core.errors import SpaceError
    from body4d.deploy.bundle import check_bundle, read_bundle

    files = read_bundle(source)
    own_secrets = [token for token in (os.environ.get("BODY4D_AUTH"), default_hub().token) if token]
    problems = check_bundle(files, own_secrets)
    for problem in problems:
        _print(as_json, f"- {problem.message}", event="problem", path=problem.path, message=problem.message)
    if problems:
        message = f"Nothing was sent: {len(problems)} problem{'s' if len(problems) > 1 else ''}, listed above."
        raise SpaceError(message, code="bundle_refused", problems=len(problems))
    return files


def _wait(space: "SpaceClient", settings: "Settings", as_json: bool, *, changed: bool) -> None:
    _require_healthy(space, space.wait(settings.space.max_wait_s, lambda state: _print_status(state, as_json), changed=changed))


def _print_status(status: "SpaceStatus", as_json: bool) -> None:
    text = f"{status.state.replace('_', ' ')}: {status.message}" + (f"\n  → {status.hint}" if status.hint else "")
    _print(as_json, text, event="status", state=status.state, message=status.message, hint=status.hint)


def _require_healthy(space: "SpaceClient", status: "SpaceStatus") -> None:
    """Exit with an error where nobody is served, and waiting does not help."""
    from body4d.core.errors import SpaceError
    from body4d.deploy.status import HEALTHY

    if status.state not in HEALTHY:
        message = f"{space.name} serves nobody ({status.state.replace('_', ' ')})."
        raise SpaceError(message, code="space_serves_nobody", state=status.state)


def _print(as_json: bool, text: str, /, **event: Any) -> None:
    from body4d.cli.output import print_json

    if as_json:
        print_json(event)
    else:
        typer.echo(text)
