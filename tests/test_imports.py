"""What importing costs. Who may import whom is a contract in pyproject.toml, held by import-linter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "cv2", "ai_edge_litert", "numba", "av", "scipy", "pydantic", "anny"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.slow  # a child process
def test_rooms_import_downwards_only_and_models_do_not_know_each_other() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow  # a child process
def test_importing_the_package_is_quick_and_light() -> None:
    # The best of a few: what is asked is what the import costs, not what else the machine is doing.
    code = (
        "import json, sys, time; a = time.perf_counter(); import body4d; print(json.dumps([time.perf_counter() - a, sorted(sys.modules)]))"
    )
    runs = [json.loads(python(code)) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 0.3
    assert not HEAVY & {name.split(".")[0] for name in runs[0][1]}


@pytest.mark.slow  # a child process
def test_the_nouns_and_the_pipeline_load_no_heavy_package() -> None:
    code = "import json, sys, body4d; body4d.Scene; body4d.Pipeline; body4d.load_settings; print(json.dumps(sorted(sys.modules)))"
    assert not (HEAVY - {"pydantic"}) & {name.split(".")[0] for name in json.loads(python(code))}


@pytest.mark.slow  # a child process
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
