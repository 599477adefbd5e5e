"""What the pages name exists: files, modules, settings, commands, versions. The site's own build checks links between pages and anchors."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from body4d.config import Settings
from body4d.config.loading import valid_names
from body4d.run.record import RunRecord, StageRecord

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE_PAGES = sorted(DOCS.rglob("*.md"))
PAGES = [*SITE_PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "THIRD_PARTY.md"]
"""Pages about the code as it is. CHANGELOG.md also tells what it was."""

PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
ROOMS = {path.name for path in (ROOT / "src/body4d").iterdir() if (path / "__init__.py").is_file()}
REPOSITORY_PATH = re.compile(r"(?<![\w./~-])(?:src|tests|docs|benchmarks|scripts|examples|player|space)/[\w./-]*[\w/]")
FILE_ENDINGS = (".json", ".npz", ".glb", ".py", ".pt", ".yaml", ".html")
PYTHON_PATH = re.compile(r"(?<![\w./~-])(?:\w+/)+\w+\.py\b")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_spans(page: Path) -> list[str]:
    """What a page sets in backticks inside its sentences, fenced blocks left out."""
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


@cache
def names_in(module: str) -> dict[str, set[str] | None] | None:
    """The names at the top of a module below src/ with the members of classes (None: imported, so not known); None where there is no such
    module. Nothing is imported."""
    path = ROOT / "src" / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return None
    return {name: members for node in ast.parse(text_of(file)).body for name, members in _bound(node)}


def _bound(node: ast.stmt) -> list[tuple[str, set[str] | None]]:
    if isinstance(node, ast.ClassDef):
        members = {name for child in node.body for name, _ in _bound(child)}
        attributes = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
        return [(node.name, members | attributes)]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [(node.name, set())]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name, None) for alias in node.names]
    if isinstance(node, ast.If):
        return [bound for child in node.body for bound in _bound(child)]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [(n.id, set()) for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def is_defined(dotted: str) -> bool:
    """Whether ``body4d.room.module``, a name in it, or a member of a class in it, exists."""
    parts = dotted.split(".")
    module = next((end for end in range(len(parts), 0, -1) if names_in(".".join(parts[:end])) is not None), 0)
    if not module:
        return False
    names, rest = names_in(".".join(parts[:module])) or {}, parts[module:]
    if len(rest) == 2:
        members = names.get(rest[0], set())
        return members is None or rest[1] in members
    return not rest or (len(rest) == 1 and rest[0] in names)


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 120


def test_the_site_shows_every_page_once() -> None:
    def files(entries: list) -> list[str]:
        values = [next(iter(entry.values())) for entry in entries]
        return [file for value in values for file in (files(value) if isinstance(value, list) else [value])]

    nav = files(yaml.safe_load(text_of(ROOT / "mkdocs.yml"))["nav"])
    assert sorted(nav) == sorted(page.relative_to(DOCS).as_posix() for page in SITE_PAGES)


@PAGE
def test_relative_links_lead_to_files(page: Path) -> None:
    root = DOCS if page in SITE_PAGES else ROOT  # The site has no page for what lies outside docs/.
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text_of(page)):
        if "://" not in target:
            path = (page.parent / target).resolve()
            assert path.exists(), target
            assert path.is_relative_to(root), f"{target} is not on the site; name it in backticks"


@PAGE
def test_files_that_pages_name_exist(page: Path) -> None:
    for span in code_spans(page):
        for path in REPOSITORY_PATH.findall(span):
            assert (ROOT / path).exists(), path
        for path in PYTHON_PATH.findall(span):
            assert (ROOT / path).exists() or (ROOT / "src/body4d" / path).exists(), path


@PAGE
def test_modules_and_names_that_pages_name_exist(page: Path) -> None:
    for dotted in re.findall(r"\bbody4d(?:\.[A-Za-z_]\w*)+", text_of(page)):
        assert is_defined(dotted) or dotted.endswith(FILE_ENDINGS), dotted
    for old in re.findall(r"`(?:body4d[./])?((?:tracks|nets|fitting|weights|seats)/\w+)", text_of(page)):
        pytest.fail(f"{old} is in no room of the package")


def test_the_names_in_the_architecture_exist() -> None:
    spans = code_spans(DOCS / "architecture.md")
    names = [
        span for span in spans if re.fullmatch(r"\w+(\.\w+)+", span) and span.split(".")[0] in ROOMS and not span.endswith(FILE_ENDINGS)
    ]
    assert len(names) > 40
    for name in names:
        assert is_defined(f"body4d.{name}"), name


@PAGE
def test_settings_that_pages_name_exist(page: Path) -> None:
    known, sections = set(valid_names()), set(Settings.model_fields)
    for section, field in re.findall(r"`(?:--set )?([a-z]\w*)\.([a-z]\w*)(?:=[^`]*)?`", text_of(page)):
        if section in sections and not f".{field}".endswith(FILE_ENDINGS):
            assert f"{section}.{field}" in known, f"{section}.{field}"
    for section, field in re.findall(r"\bBODY4D_([A-Z0-9]+)__(\w+)", text_of(page)):
        assert section == "SECTION" or f"{section}.{field}".lower() in known, f"{section}.{field}"


@PAGE
def test_commands_that_pages_name_exist(page: Path) -> None:
    from body4d.cli.entry import app

    groups = {group.name: _command_names(group.typer_instance) for group in app.registered_groups}
    commands = _command_names(app)
    code = "\n".join([*code_spans(page), *re.findall(r"^(?: {4}|```).*$", text_of(page), re.MULTILINE)])
    for name, argument in re.findall(r"\bbody4d ([a-z]+)(?: ([a-z]+)\b)?", code):
        assert name in commands | set(groups), name
        assert name not in groups or not argument or argument in groups[name], f"{name} {argument}"


def _command_names(app: Any) -> set[str]:
    return {command.name or command.callback.__name__ for command in app.registered_commands}


def test_the_exit_codes_in_the_readme_are_those_of_the_errors() -> None:
    from body4d.core.errors import Body4DError

    def kinds(base: type[Body4DError] = Body4DError) -> list[type[Body4DError]]:
        return [base, *(kind for direct in base.__subclasses__() for kind in kinds(direct))]

    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text_of(ROOT / "README.md"), re.MULTILINE)}
    assert codes == {kind.exit_code for kind in kinds()} | {0}
    table = {
        name: (code, int(status))
        for name, code, status in re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \|", text_of(DOCS / "conventions.md"), re.MULTILINE)
    }
    # A room may have a kind of its own below one of these, with its exit code; it is there or not as that room was imported or not.
    core = [kind for kind in kinds() if kind.__module__ == Body4DError.__module__]
    assert table == {kind.__name__: (kind.default_code, kind.exit_code) for kind in core}


def test_every_key_of_run_json_is_described() -> None:
    section = text_of(DOCS / "files.md").split("## run.json\n")[1].split("\n## ")[0]
    keys = {key for row in re.findall(r"^\| (`[^|]*)\|", section, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    assert keys == {*RunRecord.model_fields, *StageRecord.model_fields}


def test_the_settings_page_is_up_to_date() -> None:
    page = load(ROOT / "scripts/settings_page.py").page()
    assert text_of(DOCS / "settings.md") == page, "run: python scripts/settings_page.py > docs/settings.md"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_versions_in_the_docs_are_the_pinned_ones() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", text_of(ROOT / "constraints.txt"), re.MULTILINE))
    assert f"torch=={pins['torch']}" in text_of(ROOT / "README.md")
