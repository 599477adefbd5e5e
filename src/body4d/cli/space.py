"""``body4d space``: a HuggingFace Space of one's own, from check to running."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from body4d.cli import options
from body4d.cli.guard import guarded

if TYPE_CHECKING:
    from body4d.deploy.space import SpaceOnHub
    from body4d.deploy.status import Condition

app = typer.Typer(no_args_is_help=True, help="Put the app on a HuggingFace Space, and see how it does.")

Name = Annotated[str, typer.Argument(help="The Space.", metavar="OWNER/NAME")]
Source = Annotated[Path, typer.Option(help="A clone of body4d. Default: this folder.", metavar="FOLDER")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is up, saying how it does.")]


@app.command("check")
@guarded
def check(
    source: Source = Path(),
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """See whether what would be sent may be: text only, small, no secrets, and a Dockerfile that matches the package. Asks nobody."""
    pieces = _inspected(source, options.settings_from(config, assignments, {}), as_json)
    size = sum(len(piece.data) for piece in pieces)
    _say(as_json, f"All well: {len(pieces)} files, {size / 1e6:.1f} MB of text.", event="result", files=len(pieces), bytes=size)


@app.command("create")
@guarded
def create(
    name: Name,
    hardware: Annotated[str | None, typer.Option(help="Such as l40sx1 (default), a10g-large, cpu-basic.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everyone see it; private otherwise.")] = False,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            help="A secret, its value taken from a variable of this shell, of the same name or another.",
            metavar="NAME[=VARIABLE]",
        ),
    ] = None,
    bucket: Annotated[str, typer.Option(help="A bucket to mount at /data, made where there is none.", metavar="OWNER/NAME")] = "",
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Make the Space, with its hardware, secrets and disk; or bring one that is there into that state."""
    from body4d.deploy.space import Wish

    settings = options.settings_from(config, assignments, {"space.hardware": hardware})
    space = _space(name, settings.weights.answer_most_s)
    values = dict(_secret(text) for text in secret or ())
    new = space.create(Wish(settings.space.hardware, settings.space.sleep_s, not public, values, bucket))
    said = (
        f"{'Made' if new else 'Brought up to date'}: {space.page} on {settings.space.hardware}. `body4d space push {name}` sends the app."
    )
    _say(as_json, said, event="result", space=name, page=space.page, new=new, hardware=settings.space.hardware, secrets=sorted(values))


@app.command("push")
@guarded
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
    from body4d import __version__

    settings = options.settings_from(config, assignments, {})
    pieces = _inspected(source, settings, as_json)
    space = _space(name, settings.weights.answer_most_s)
    commit = space.push(pieces, message or f"body4d {__version__}")
    _say(as_json, f"Sent {len(pieces)} files: {commit}", event="pushed", files=len(pieces), commit=commit)
    if wait:
        _wait(space, settings, as_json)


@app.command("status")
@guarded
def status(
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is up, saying how it does.")] = False,
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say how it stands: building, build failed, starting, downloading, gated, out of memory, running, and what to do."""
    from body4d.deploy.status import judge

    settings = options.settings_from(config, assignments, {})
    space = _space(name, settings.weights.answer_most_s)
    if wait:
        _wait(space, settings, as_json, changed=False)
        return
    found = judge(space.facts(settings.space.tail_lines))
    _tell(found, as_json)
    _end(space, found)


@app.command("logs")
@guarded
def logs(
    name: Name,
    build: Annotated[bool, typer.Option("--build", help="The image's log instead of the container's.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come, until Ctrl-C.")] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Print its log, with anything that looks like a token left out."""
    settings = options.settings_from(None, None, {})
    for line in _space(name, settings.weights.answer_most_s).lines(build=build, follow=follow):
        _say(as_json, line, event="line", log="build" if build else "run", line=line)


@app.command("restart")
@guarded
def restart(
    name: Name,
    factory: Annotated[bool, typer.Option("--factory", help="Build the image again, without what was kept of it.")] = False,
    wait: Wait = True,
    config: options.Config = None,
    assignments: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Start it anew, and wait until it runs."""
    settings = options.settings_from(config, assignments, {})
    space = _space(name, settings.weights.answer_most_s)
    space.restart(factory=factory)
    _say(as_json, f"{name} starts anew{', and its image is built again' if factory else ''}.", event="restarted", factory=factory)
    if wait:
        _wait(space, settings, as_json)


@app.command("start")
@guarded
def start(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Port to listen on; a Space's is 7860.")] = 7860,
    config: options.Config = None,
    assignments: options.Set = None,
    verbose: options.Verbose = False,
) -> None:
    """What the container runs: the page at once, then checkpoints, then the app."""
    from body4d.deploy.startup import serve

    if not serve(options.settings_from(config, assignments, {}), host, port):
        # Threads that load torch would be waited for, and nothing they do has to be finished.
        sys.stdout.flush()
        os._exit(0)


def _secret(text: str) -> tuple[str, str]:
    """Name and value of a --secret. Raises SpaceError; what stands after ``=`` is never repeated, for it may be the secret itself."""
    from body4d.core.errors import SpaceError

    name, equals, variable = text.partition("=")
    value = os.environ.get(variable if equals else name, "").strip()
    if value:
        return name, value
    if equals:
        raise SpaceError(
            f"--secret {name}=... wants the name of a variable that is set in this shell, not the value itself: export it first. If a "
            "token was typed there, it stands in the shell's history now: revoke it."
        )
    raise SpaceError(f"{name} is not set in this shell, so it cannot be made a secret: export {name}=... first.")


def _space(name: str, answer_most_s: float) -> "SpaceOnHub":
    from body4d.checkpoints.hub_client import hub_here
    from body4d.deploy.space import SpaceOnHub

    return SpaceOnHub(name, hub_here(answer_most_s))


def _inspected(source: Path, settings: Any, as_json: bool) -> Any:
    """The pieces of a clone. Raises SpaceError where one must not be sent, after naming every fault."""
    from body4d.checkpoints.hub_client import hub_here
    from body4d.core.errors import SpaceError
    from body4d.deploy.bundle import pack
    from body4d.deploy.inspect import inspect

    pieces = pack(source)
    own = [token for token in (os.environ.get("BODY4D_AUTH"), hub_here().token) if token]
    faults = inspect(pieces, settings.space, own)
    for fault in faults:
        _say(as_json, f"- {fault.said}", event="fault", path=fault.path, message=fault.said)
    if faults:
        raise SpaceError(f"Nothing was sent: {len(faults)} {'thing is' if len(faults) == 1 else 'things are'} in the way, told above.")
    return pieces


def _wait(space: "SpaceOnHub", settings: Any, as_json: bool, *, changed: bool = True) -> None:
    from body4d.deploy.waiting import wait_until_settled

    _end(space, wait_until_settled(space, settings.space, lambda found: _tell(found, as_json), changed=changed))


def _tell(found: "Condition", as_json: bool) -> None:
    said = f"{found.state.replace('_', ' ')}: {found.said}" + (f"\n  → {found.remedy}" if found.remedy else "")
    _say(as_json, said, event="status", state=found.state, message=found.said, remedy=found.remedy)


def _end(space: "SpaceOnHub", found: "Condition") -> None:
    """Say so with the exit code where nobody is served, nor will be by waiting."""
    from body4d.core.errors import SpaceError
    from body4d.deploy.status import HEALTHY

    if found.state not in HEALTHY:
        raise SpaceError(f"{space.name} serves nobody ({found.state.replace('_', ' ')}).")


def _say(as_json: bool, text: str, /, **event: Any) -> None:
    from body4d.cli.screen import print_json

    if as_json:
        print_json(event)
    else:
        typer.echo(text)
