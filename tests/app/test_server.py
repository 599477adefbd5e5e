"""Putting the app together."""

import sys

import pytest

from body4d.config import Settings
from body4d.core.errors import MissingDependencyError


def test_without_the_extra_the_app_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("gradio", "starlette", "fastapi", "uvicorn"):
        monkeypatch.setitem(sys.modules, package, None)
    for module in ("body4d.app.server", "body4d.app.auth"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    from body4d.app.server import build

    with pytest.raises(MissingDependencyError) as caught:
        build(Settings(preset="lite"), {})
    assert (caught.value.code, caught.value.hint) == ("gradio_missing", "pip install 'body4d[app]'.")
