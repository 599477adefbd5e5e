"""Which preset is taken, and what is said where one cannot be."""

import pytest

from body4d.errors import MissingDependencyError, SettingsError
from body4d.models.load import choose_preset, require_lite


@pytest.mark.parametrize(
    ("wanted", "missing", "preset", "words"),
    [
        ("auto", "no GPU", "lite", "no GPU"),
        ("auto", None, "sam", "checkpoints"),
        ("lite", "no GPU", "lite", ""),
        ("lite", None, "lite", ""),
        ("sam", None, "sam", ""),
    ],
)
def test_preset(wanted: str, missing: str | None, preset: str, words: str) -> None:
    got, note = choose_preset(wanted, missing)
    assert got == preset
    assert words in note
    assert bool(note) == (wanted == "auto")


def test_sam_says_why_not() -> None:
    with pytest.raises(SettingsError, match=r"not there yet: no GPU.*--preset lite"):
        choose_preset("sam", "no GPU")


@pytest.mark.parametrize("python", [(3, 13), (3, 14)])
def test_new_python_is_told_which_to_use(python: tuple[int, int]) -> None:
    with pytest.raises(MissingDependencyError, match=rf"cannot be installed on Python 3\.{python[1]}.*Use Python 3\.11 or 3\.12"):
        require_lite(python, lambda name: name != "mediapipe")


def test_missing_packages_are_named() -> None:
    with pytest.raises(MissingDependencyError, match=r"needs mediapipe and anny.*body4d\[lite\]"):
        require_lite((3, 12), lambda name: name == "torch")


def test_nothing_missing() -> None:
    require_lite((3, 13), lambda name: True)
