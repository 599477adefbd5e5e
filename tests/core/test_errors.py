"""Errors and warnings as data: whole across processes, in JSON, and in the table of exit codes."""

import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from body4d.core.errors import Body4DError, RunWarning
from body4d.deploy.space import HubUnavailableError

README = Path(__file__).parents[2] / "README.md"


def kinds(base: type[Body4DError] = Body4DError) -> Iterator[type[Body4DError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def test_the_kinds_outside_the_core_are_known() -> None:
    assert HubUnavailableError in set(kinds())


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_an_error_crosses_to_another_process_whole(kind: type[Body4DError]) -> None:
    error = kind("The disk is full.", code="disk_full", hint="Make room.", path="/runs/a", free_bytes=3)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.as_json(), copy.exit_code) == (str(error), error.as_json(), error.exit_code)
    assert str(copy) == "The disk is full. Make room."
    assert pickle.loads(pickle.dumps(kind("Alone."))).code == kind.default_code


def test_a_warning_survives_json() -> None:
    warning = RunWarning("fov_assumed", "62 degrees are assumed.", "--fov settles it.", {"fov_deg": 62.0, "spread": None})
    assert RunWarning.from_json(json.loads(json.dumps(warning.as_json()))) == warning


def test_the_readme_lists_every_exit_code() -> None:
    listed = re.findall(r"^\| (\d+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(map(int, listed)) == sorted({0, *(kind.exit_code for kind in kinds())})
