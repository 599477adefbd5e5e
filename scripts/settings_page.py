"""Print docs/settings.md from the tree of settings: ``python scripts/settings_page.py > docs/settings.md``."""

import yaml
from pydantic import BaseModel

from body4d.config import Settings

HEAD = """# Settings

Made from `src/body4d/config/` by `scripts/settings_page.py`. Precedence: defaults < YAML (`--config`) < environment < flags.

* YAML: `body4d config init` writes a commented file; `body4d config show` prints what is in force.
* Environment: `BODY4D_SECTION__FIELD`, such as `BODY4D_VIDEO__FPS=30`; values are read as YAML.
* Flags: the common ones have names of their own (`body4d run --help`), all others `--set section.field=value`.

Unknown names are refused, with the nearest valid one. The settings used are saved in `run.json`.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += [f"\n## {name}\n", f"{(section.__doc__ or '').strip()}\n", "| name | default | what and why |", "|---|---|---|"]
            lines += [row(f"{name}.{key}", inner.default, inner.description or "") for key, inner in section.model_fields.items()]
        else:
            lines += [
                "\n## top level\n",
                "| name | default | what and why |",
                "|---|---|---|",
                row(name, field.default, field.description or ""),
            ]
    return "\n".join(lines) + "\n"


def row(name: str, default: object, description: str) -> str:
    """One setting as a row of the table."""
    value = list(default) if isinstance(default, tuple) else default
    shown = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    return f"| `{name}` | `{shown}` | {' '.join(description.split()).replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    print(page(), end="")
