"""Where settings come from: defaults < YAML file < environment < flags. One typed tree, unknown keys refused by name."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from body4d.config import Settings
from body4d.core.errors import SettingsError

PREFIX = "BODY4D_"
NOT_SETTINGS = frozenset({"BODY4D_SHARED", "BODY4D_WEIGHTS", "BODY4D_MHR", "BODY4D_AUTH", "BODY4D_OFFLINE", "BODY4D_BLENDER"})
"""Variables of ours that are not settings: the folders of the tests' clips, of checkpoints and of the rig, and the app's password, which
no settings file may hold."""

Tree = dict[str, Any]


def load_settings(
    config: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    above: Sequence[tuple[str, Tree]] = (),
) -> Settings:
    """The settings of a run.

    ``config`` is a YAML file; ``environment`` (the process's, unless given) is read for ``BODY4D_SECTION__FIELD``; ``overrides`` are
    dotted names such as ``{"video.start_s": 2.0}`` and win over both; each tree of ``above``, with the name of its origin, wins over
    all before it. Raises SettingsError for an unknown name, naming the nearest
    valid one, and for a value of the wrong kind, naming where it came from.
    """
    sources: list[tuple[str, Tree]] = []
    if config is not None:
        sources.append((str(config), read_yaml(Path(config))))
    sources.append(("the environment", read_environment(os.environ if environment is None else environment)))
    sources += [("the command line", nest(overrides or {})), *above]
    merged: Tree = {}
    for origin, tree in sources:
        _refuse_unknown(tree, Settings, origin)
        merged = _merge(merged, tree)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _validation_error(error, sources) from error


def read_yaml(path: Path) -> Tree:
    """The tree in a YAML file; an empty file is an empty tree. Raises SettingsError."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"The settings file {path} cannot be read ({error.strerror}).",
            code="settings_file",
            hint="`body4d config init FILE` writes a fresh one.",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise SettingsError(f"The settings file {path}{line} is not valid YAML: {problem}.", code="settings_file") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        kind = type(tree).__name__
        raise SettingsError(f"The settings file {path} must hold sections such as 'video:', found a {kind}.", code="settings_file")
    # A section whose fields are all commented out reads as null: it means the defaults.
    return {key: {} if value is None and _is_section(str(key)) else value for key, value in tree.items()}


def read_environment(environment: Mapping[str, str]) -> Tree:
    """The tree in variables ``BODY4D_SECTION__FIELD`` (or ``BODY4D_PRESET``); values are read as YAML scalars."""
    flat = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        flat[name.removeprefix(PREFIX).lower().replace("__", ".")] = parse_value(text)
    return nest(flat)


def parse_value(text: str) -> Any:
    """A setting's value as written in a shell: ``2``, ``true``, ``null``, ``all``."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def parse_assignments(assignments: Sequence[str]) -> Tree:
    """Dotted overrides of ``--set section.field=value`` flags."""
    flat: Tree = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise SettingsError(f"{assignment!r} is not a setting.", code="bad_assignment", hint="--set takes section.field=value.")
        flat[name.strip()] = parse_value(text)
    return flat


def nest(flat: Mapping[str, Any]) -> Tree:
    """``{"video.start_s": 2}`` as ``{"video": {"start_s": 2}}``. Raises SettingsError where a name is both a section and a value."""
    tree: Tree = {}
    for name, value in flat.items():
        *sections, field = name.split(".")
        here = tree
        for section in sections:
            here = here.setdefault(section, {})
            if not isinstance(here, dict):
                raise SettingsError(f"{name!r} is set inside {section!r}, which is set to a value as well.", code="settings_conflict")
        here[field] = value
    return tree


def valid_names(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every dotted name of the tree, such as ``video.start_s``."""
    names = []
    for name, field in model.model_fields.items():
        inner = _section(field.annotation)
        names += valid_names(inner, f"{prefix}{name}.") if inner else [prefix + name]
    return names


def commented_yaml() -> str:
    """The defaults as a YAML file whose comments are the fields' descriptions; every value is commented out."""
    lines = ["# Settings of body4d. Uncomment what you want to change; `body4d config show` prints what is in force.", ""]
    for name, field in Settings.model_fields.items():
        inner = _section(field.annotation)
        if not inner:
            lines += [f"# {field.description}", f"# {_yaml_line(name, field.default)}", ""]
            continue
        if inner.__doc__:
            lines.append(f"# {inner.__doc__.strip().splitlines()[0]}")
        lines.append(f"{name}:")
        for key, sub in inner.model_fields.items():
            if sub.description:
                lines.append(f"  # {sub.description}")
            lines.append(f"  # {_yaml_line(key, sub.get_default(call_default_factory=True))}")
        lines.append("")
    return "\n".join(lines)


def as_yaml(settings: Settings) -> str:
    """The whole tree in force, as YAML."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=140)


def _yaml_line(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return f"{name}: {yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix('...' + chr(10)).strip()}"


def _section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _is_section(name: str) -> bool:
    field = Settings.model_fields.get(name)
    return field is not None and _section(field.annotation) is not None


def _merge(below: Tree, above: Tree) -> Tree:
    out = dict(below)
    for key, value in above.items():
        out[key] = _merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def _refuse_unknown(tree: Tree, model: type[BaseModel], origin: str, prefix: str = "") -> None:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        field = model.model_fields.get(str(key))
        if field is None:
            raise SettingsError(f"There is no setting {name!r} (in {origin}).", code="unknown_setting", hint=_nearest(name), setting=name)
        inner = _section(field.annotation)
        if inner and isinstance(value, dict):
            _refuse_unknown(value, inner, origin, f"{name}.")
        elif inner:
            raise SettingsError(
                f"{name!r} in {origin} is a section and takes fields, found the value {value!r}.", code="section_not_value", setting=name
            )


def _nearest(name: str) -> str:
    """What the user most likely meant: the nearest full name, or the same field name in another section."""
    names = [*valid_names(), *(key for key in Settings.model_fields if _is_section(key))]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        field = name.rpartition(".")[2]
        by_field = {full.rpartition(".")[2]: full for full in names}
        close = [by_field[match] for match in difflib.get_close_matches(field, by_field, n=1, cutoff=0.6)]
    if close:
        return f"Did you mean {close[0]!r}?"
    return "`body4d config show` lists the valid ones."


def _validation_error(error: ValidationError, sources: Sequence[tuple[str, Tree]]) -> SettingsError:
    """The first fault of a ValidationError, naming the field, the value and where it was set."""
    fault = error.errors()[0]
    # Members of a union come as further steps of the location; the field ends where the tree of settings does.
    location = ".".join(str(step) for step in fault["loc"])
    name = next((n for n in valid_names() if location == n or location.startswith(n + ".")), location)
    if not name:
        return SettingsError(f"Settings contradict each other: {fault['msg']}.", code="settings_conflict")
    origin = next((o for o, tree in reversed(sources) if _has(tree, name)), "the defaults")
    problems = dict.fromkeys(f["msg"] for f in error.errors() if f["loc"][: name.count(".") + 1] == tuple(name.split(".")))
    reasons = "; or ".join(reason[0].lower() + reason[1:] for reason in problems) or fault["msg"]
    message = f"{name!r} in {origin} cannot be {fault['input']!r}: {reasons}."
    return SettingsError(message, code="bad_value", setting=name)


def _has(tree: Tree, name: str) -> bool:
    here: Any = tree
    for step in name.split("."):
        if not isinstance(here, dict) or step not in here:
            return False
        here = here[step]
    return True
