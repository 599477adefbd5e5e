"""Errors and warnings as data: whole across processes and in JSON."""

import json
import pickle
from collections.abc import Iterator

import pytest

from body4d.core.errors import Body4DError, RunWarning


def kinds(base: type[Body4DError] = Body4DError) -> Iterator[type[Body4DError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


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
