"""Print docs/settings.md from the tree of settings: ``python scripts/settings_page.py > docs/settings.md``."""

from typing import Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from body4d.config import Settings
from body4d.config.section import SPEED_ONLY

HEAD = """# Settings

This page is made from `src/body4d/config/` by `scripts/settings_page.py`. A setting is given in one of four places; a later one wins over
an earlier one:

1. its default;
2. a YAML file, `--config FILE`. `body4d config init` writes one with every setting commented out;
3. an environment variable, `BODY4D_SECTION__FIELD`, such as `BODY4D_VIDEO__FPS=30`. Its value is read as YAML;
4. a flag. Common settings have flags of their own (`body4d run --help`), every other one is `--set section.field=value`.

`body4d config show` prints the settings in force. A name that does not exist is refused, with the nearest one that does. The settings of a
run are saved in its `run.json`. *Speed* marks a setting that changes how fast a result is made and never the result: after it is changed,
no finished stage is done again. The default `null` means that nothing is set.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += [f"\n## {name}\n", f"{(section.__doc__ or '').strip()}\n", "| name | default | meaning and effect |", "|---|---|---|"]
            lines += [row(f"{name}.{key}", inner) for key, inner in section.model_fields.items()]
        else:
            lines += [
                "\n## Top level\n",
                "| name | default | meaning and effect |",
                "|---|---|---|",
                row(name, field),
            ]
    return "\n".join(lines) + "\n"


def row(name: str, field: FieldInfo) -> str:
    """One setting as a row of the table."""
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    shown = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    choices = ", ".join(f"`{choice}`" for choice in get_args(field.annotation)) if get_origin(field.annotation) is Literal else ""
    meaning = [" ".join((field.description or "").split()), f"One of {choices}." if choices else ""]
    meaning += ["*Speed.*"] if field.json_schema_extra == SPEED_ONLY else []
    return f"| `{name}` | `{shown}` | {' '.join(filter(None, meaning)).replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    print(page(), end="")
