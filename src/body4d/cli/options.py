"""Options that several commands share, and how flags become settings."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from body4d.config import Settings
from body4d.config.loading import load_settings, parse_assignments
from body4d.core.errors import SettingsError

Config = Annotated[Path | None, typer.Option("--config", help="Settings as YAML; `body4d config init` writes one.", metavar="FILE")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting by name, such as --set fit.depth_sigma_m=0.3.", metavar="NAME=VALUE")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Run folder. Default: runs/<clip's name>.", metavar="FOLDER")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do every stage again, whatever an earlier run finished.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output: stage events, then the result.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log, and where an error arose.")]
ShowUncertainty = Annotated[
    bool | None, typer.Option("--show-uncertainty/--no-uncertainty", help="Colour bodies by how sure each part is.")
]
Landmarks = Annotated[
    str | None, typer.Option(help="BlazePose's landmark model (lite): auto (heavy where it can be had), heavy or full.", metavar="MODEL")
]
Start = Annotated[float | None, typer.Option(help="First moment to look at, in seconds.")]
End = Annotated[float | None, typer.Option(help="Last moment to look at, in seconds.")]
Rotate = Annotated[int | None, typer.Option(help="Turn the film clockwise by 90, 180 or 270 degrees, where its tag was lost.")]
Fov = Annotated[float | None, typer.Option(help="Horizontal field of view in degrees; wins over what the file or a model says.")]
FocalMm35 = Annotated[float | None, typer.Option(help="35 mm equivalent focal length in millimetres.")]
PersonHeight = Annotated[float | None, typer.Option(help="Height of the main person in metres; fixes the scale. Else the mean is assumed.")]
Sex = Annotated[str | None, typer.Option(help="Sex of the main person: auto (default), female or male (lite).")]
Age = Annotated[float | None, typer.Option(help="Age of the main person in years; without it an adult (lite).")]
Run = Annotated[Path, typer.Argument(help="A run folder, such as runs/clip.", metavar="RUN")]


def settings_from(config: Path | None, assignments: list[str] | None, flags: dict[str, Any]) -> Settings:
    """Settings of a command: flags that were given win over ``--set``, which wins over environment, file and defaults."""
    set_flags = {name: value for name, value in flags.items() if value is not None}
    return load_settings(config, {**parse_assignments(assignments or []), **set_flags})


def parse_people(text: str | None) -> int | str | None:
    """``--people``: a number, ``all`` or ``main``."""
    if text is None or text in ("all", "main"):
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise SettingsError(
        f"{text!r} is not a number of people.", code="bad_value", hint="--people takes a number from 1 on, 'all' or 'main'."
    )


def parse_rate(text: str | None) -> Fraction | None:
    """``--fps``: a number, or a fraction such as ``30000/1001``."""
    if text is None:
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(
            f"{text!r} is not a number of frames per second.", code="bad_value", hint="Such as 30, 29.97 or 30000/1001."
        ) from error
