"""One name for one thing: what a reader greps for is found once."""

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "body4d"


def test_no_class_name_stands_twice_outside_the_models_networks() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        if "network" in path.relative_to(SOURCE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(SOURCE)))
    assert len(places) > 150
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_bounds_are_called_min_and_max() -> None:
    """The field says ``min_`` and ``max_``: no parameter, field, function or constant is called least or most."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else getattr(node, "name", None)
            if isinstance(name, str) and "least_squares" not in name and {"least", "most"} & set(name.lower().strip("_").split("_")):
                found.append(f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}: {name}")
    assert found == []
