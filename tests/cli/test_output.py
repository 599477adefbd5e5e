"""The table of people: what was assumed is called so."""

from typing import Any

import pytest

from body4d.cli.output import print_people


@pytest.mark.parametrize("assumed", [True, False, None])
def test_an_assumed_height_is_called_assumed(capsys: pytest.CaptureFixture[str], assumed: bool | None) -> None:
    person: dict[str, Any] = {"id": 1, "frames_visible": 9, "height_m": 1.765, "height_assumed": assumed}
    print_people([person])
    shown = capsys.readouterr().out
    assert "1.765" in shown
    assert ("assumed" in shown) == ("--person-height" in shown) == bool(assumed)
