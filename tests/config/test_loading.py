"""Settings: who wins, what is refused, and what the user is told."""

from pathlib import Path

import pytest
import yaml

from body4d.config import Settings
from body4d.config.loading import as_yaml, commented_yaml, load_settings, parse_assignments, valid_names
from body4d.core.errors import SettingsError


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("video: {start_s: 1, end_s: 2, fps: 3}\npeople:\n")
    got = load_settings(file, {"video.fps": 30}, {"BODY4D_VIDEO__END_S": "20", "BODY4D_VIDEO__FPS": "25", "HOME": "/x"})
    assert (got.video.start_s, got.video.end_s, got.video.fps, got.video.max_side_px) == (1, 20, 30, None)
    assert got.people == Settings().people


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [("2", "people.count", 2), ("all", "people.count", "all"), ("false", "pictures.enabled", False), ("1e-1", "video.start_s", 0.1)],
)
def test_values_from_the_environment_are_typed(text: str, name: str, value: object) -> None:
    section, field = name.split(".")
    got = load_settings(None, {}, {f"BODY4D_{section.upper()}__{field.upper()}": text})
    assert getattr(getattr(got, section), field) == value


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"video.strat_s": 1}, ["'video.strat_s'", "the command line", "'video.start_s'"]),
        ({"vidoe.start_s": 1}, ["'vidoe'", "'video'"]),
        ({"start_s": 1}, ["'start_s'", "'video.start_s'"]),
        ({"fov": 60}, ["'fov'", "'camera.fov_deg'"]),
        ({"qqq": 1}, ["'qqq'", "body4d config show"]),
        ({"video": 3}, ["'video'", "section"]),
        ({"video.start_s": -1}, ["'video.start_s'", "-1", "greater than or equal to 0"]),
        ({"people.count": "some"}, ["'people.count'", "'some'", "'all' or 'main'", "integer"]),
        ({"preset": "lit"}, ["'preset'", "'lite'"]),
        ({"video.start_s": 1, "video.start_s.x": 2}, ["'video.start_s.x'"]),
    ],
)
def test_what_is_wrong_is_named(overrides: dict[str, object], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, overrides, {})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_unknown_variable_is_refused_and_ours_is_not() -> None:
    load_settings(None, {}, {"BODY4D_SHARED": "/clips"})
    with pytest.raises(SettingsError, match=r"'video.fsp' .in the environment.. Did you mean 'video.fps'"):
        load_settings(None, {}, {"BODY4D_VIDEO__FSP": "2"})


@pytest.mark.parametrize(("content", "words"), [("a: [", "line 1"), ("- 1\n", "sections"), ("video:\n  fps: fast\n", "'fast'")])
def test_bad_yaml(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {}, {})
    assert words in str(caught.value)
    assert "bad.yaml" in str(caught.value)


def test_missing_yaml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.yaml cannot be read"):
        load_settings(tmp_path / "gone.yaml", {}, {})


def test_commented_file_changes_nothing_and_uncommented_gives_the_defaults(tmp_path: Path) -> None:
    text = commented_yaml()
    file = tmp_path / "c.yaml"
    file.write_text(text)
    assert load_settings(file, {}, {}) == Settings()
    # A field's line starts with its name and a colon; its description does not.
    fields = {name.rpartition(".")[2] for name in valid_names()}
    lines = []
    for line in text.splitlines():
        body = line.lstrip().removeprefix("# ")
        if line.lstrip().startswith("#") and body.partition(":")[0] in fields and not body.endswith("."):
            line = line.replace("# ", "", 1)
        lines.append(line)
    file.write_text("\n".join(lines))
    loaded = yaml.safe_load(file.read_text())
    assert set(loaded) == set(Settings.model_fields)
    assert sum(len(value) if isinstance(value, dict) else 1 for value in loaded.values() if value) == len(valid_names())
    assert load_settings(file, {}, {}) == Settings()


def test_what_is_shown_can_be_loaded_again(tmp_path: Path) -> None:
    settings = load_settings(None, {"video.start_s": 1.5, "people.count": 3}, {})
    file = tmp_path / "shown.yaml"
    file.write_text(as_yaml(settings))
    assert load_settings(file, {}, {}) == settings


def test_assignments() -> None:
    assert parse_assignments(["video.fps=30", "people.count=all"]) == {"video.fps": 30, "people.count": "all"}
    with pytest.raises(SettingsError, match=r"section\.field=value"):
        parse_assignments(["video.fps"])


def test_every_field_has_a_description() -> None:
    lacking = []
    for name, section in Settings.model_fields.items():
        fields = getattr(section.annotation, "model_fields", {name: section})
        lacking += [f"{name}.{key}" for key, field in fields.items() if not field.description]
    assert not lacking
