"""The visitor's settings and session. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from body4d.app.prompts import Mark, people_of
from body4d.app.tasks import Sight
from body4d.config import Settings
from body4d.core.errors import SettingsError

WHOM: Mapping[str, str] = {"Main person": "main", "Everybody": "all"}


@dataclass(frozen=True)
class Session:
    """What a visitor's page holds; it lives in their session and nowhere else."""

    token: str = ""
    sight: Sight | None = None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Choices:
    """The fold of settings. None: as the clip says, or the default."""

    people: str = "main"
    start_s: float | None = None
    end_s: float | None = None
    fps: float | None = None
    fov_deg: float | None = None
    person_height_m: float | None = None
    moving: bool = False


_FIELDS: tuple[tuple[str, str, str, str], ...] = (
    ("start_s", "video", "start_s", "From second"),
    ("end_s", "video", "end_s", "To second"),
    ("fps", "video", "fps", "Frames a second"),
    ("fov_deg", "camera", "fov_deg", "Field of view"),
    ("person_height_m", "camera", "person_height_m", "Height"),
)


def settings_for(settings: Settings, choices: Choices, marks: Sequence[Mark]) -> Settings:
    """The app's settings with a visitor's choices. Raises SettingsError naming the field as it is called on the page."""
    most = settings.app.most_people
    if len(people_of(marks)) > most:
        raise SettingsError(f"{len(people_of(marks))} people are chosen, and {most} is the most; take some back with Undo.")
    tree: dict[str, Any] = settings.model_dump()
    if choices.people not in ("main", "all"):
        raise SettingsError(f"Whom to follow must be main or all, found {choices.people[:20]!r}.")
    tree["people"]["count"] = most if choices.people == "all" else "main"
    tree["camera"]["motion"] = "moving" if choices.moving else settings.camera.motion
    for field, section, name, _ in _FIELDS:
        # An empty number field is 0 on some pages.
        if value := getattr(choices, field):
            tree[section][name] = value
    start, end = tree["video"]["start_s"], tree["video"]["end_s"]
    if start is not None and end is not None and start >= end:
        raise SettingsError(f"From second ({start:g}) must be before To second ({end:g}).")
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        title = next((title for _, section, name, title in _FIELDS if first["loc"][:2] == (section, name)), "A setting")
        said = first["msg"][0].lower() + first["msg"][1:]
        raise SettingsError(f"{title} cannot be {first['input']}: {said.replace('input', 'it')}.") from error
