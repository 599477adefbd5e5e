"""Who may import whom, and what importing costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "body4d"

# Rooms from the ground up: a module imports from its own floor and those below, never from above.
FLOORS = [
    {"", "scene", "errors", "config", "joints", "progress", "atomic", "compiled", "usage"},
    {"config_load", "run_record"},
    {"geometry", "tracks", "bodies", "nets", "fitting", "video"},
    {"scene_file"},
    {"models", "weights", "render", "export", "evaluate", "golf", "player"},
    {"run_facts", "run_folder", "pipeline"},
    {"doctor"},
    {"cli", "app", "batch", "space", "__main__"},
]
TORCH_MAY_LIVE_IN = {"nets", "models", "bodies", "weights"}
HEAVY = {"torch", "cv2", "mediapipe", "numba", "av", "scipy", "pydantic", "anny"}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room_of(module: str) -> str:
    """``body4d.models.load`` lives in ``models``; the package itself in ``""``."""
    return module.removeprefix("body4d").lstrip(".").partition(".")[0]


def floor_of(room: str) -> int:
    for floor, rooms in enumerate(FLOORS):
        if room in rooms:
            return floor
    raise AssertionError(f"the room {room!r} has no floor yet: give it one in FLOORS")


def imports_of(tree: ast.AST, *, checked_types: bool = False) -> list[str]:
    """Every module imported anywhere in a file, inside functions too; those for type checkers alone only if asked."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not checked_types:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "body4d":
                found += [
                    f"body4d.{alias.name}" if (ROOT / alias.name).exists() or (ROOT / f"{alias.name}.py").exists() else "body4d"
                    for alias in node.names
                ]
            else:
                found.append(node.module or "")
        else:
            found += imports_of(node, checked_types=checked_types)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    here = floor_of(path.relative_to(ROOT).parts[0].removesuffix(".py").replace("__init__", ""))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    upwards = [name for name in imports_of(tree) if name.split(".")[0] == "body4d" and floor_of(room_of(name)) > here]
    assert not upwards, f"{path.relative_to(ROOT)} reaches up to {upwards}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_stays_in_its_rooms(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] in TORCH_MAY_LIVE_IN:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [name for name in imports_of(tree) if name.split(".")[0] in ("torch", "anny", "warp")]


def test_the_rule_would_catch_a_breach() -> None:
    tree = ast.parse("def f():\n    from body4d.cli import run\n")
    assert [floor_of(room_of(name)) for name in imports_of(tree)] == [len(FLOORS) - 1]


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_is_quick_and_light() -> None:
    # The best of a few: what is asked is what the import costs, not what else the machine is doing.
    code = (
        "import json, sys, time; a = time.perf_counter(); import body4d; print(json.dumps([time.perf_counter() - a, sorted(sys.modules)]))"
    )
    runs = [json.loads(python(code)) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 0.3
    assert not HEAVY & {name.split(".")[0] for name in runs[0][1]}


def test_the_nouns_and_the_pipeline_load_no_heavy_package() -> None:
    code = "import json, sys, body4d; body4d.Scene; body4d.Pipeline; body4d.load_settings; print(json.dumps(sorted(sys.modules)))"
    assert not (HEAVY - {"pydantic"}) & {name.split(".")[0] for name in json.loads(python(code))}


def test_the_command_line_says_its_version_without_loading_a_model() -> None:
    code = (
        "import json, sys\nfrom body4d.cli.entry import main\nsys.argv = ['body4d', '--help']\n"
        "try: main()\nexcept SystemExit: pass\nprint(); print(json.dumps(sorted(sys.modules)))"
    )
    assert not (HEAVY - {"pydantic"}) & {name.split(".")[0] for name in json.loads(python(code).splitlines()[-1])}


def test_public_names() -> None:
    import body4d

    assert len(body4d.__all__) <= 15
    for name in body4d.__all__:
        assert getattr(body4d, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Pipelin'"):
        body4d.Pipelin  # noqa: B018
