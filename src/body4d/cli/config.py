"""``body4d config``: see the settings, or start a file of your own."""

from pathlib import Path
from typing import Annotated

import typer

from body4d.cli import options
from body4d.cli.errors import handle_errors

app = typer.Typer(no_args_is_help=True, help="Show the settings in force, or write a commented file to start from.")


@app.command("show")
@handle_errors
def show(config: options.Config = None, assignments: options.Set = None, verbose: options.Verbose = False) -> None:
    """Print every setting in force as YAML: defaults, then --config, then BODY4D_SECTION__FIELD, then --set."""
    from body4d.config.loading import as_yaml

    typer.echo(as_yaml(options.settings_from(config, assignments, {})), nl=False)


@app.command("init")
@handle_errors
def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.", metavar="FILE")] = Path("body4d.yaml"),
    verbose: options.Verbose = False,
) -> None:
    """Write a YAML file that names every setting, its default and its reason, all commented out."""
    from body4d.config.loading import commented_yaml
    from body4d.core.errors import OutputError
    from body4d.core.files import atomic_file

    if file.exists():
        raise OutputError(f"{file} exists.", code="name_taken", hint="Name another file or delete it first.")
    with atomic_file(file) as out:
        out.write(commented_yaml().encode())
    typer.echo(f"Wrote {file}. Use it with: body4d run CLIP --config {file}")
