"""What a user can choose about exported files. Each format reads its own of these (``formats.ExportFormat.options``)."""

from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path

from body4d.core.errors import SettingsError
from body4d.core.stages import ProgressFn, ignore_progress
from body4d.export.rigs import RIG_NAMES

CHOICES: dict[str, tuple[str, ...]] = {
    "rig": RIG_NAMES,
    "rest": ("a", "t"),
    "units": ("cm", "m"),
    "markers": ("halpe26", "opencap"),
    "up": ("y", "z"),
}
"""The values of each option that is a choice, in its lists' order."""

NO_CHOICE = {"choice": False}
"""Marks fields of ``ExportOptions`` that change no file."""


@dataclass(frozen=True)
class ExportOptions:
    """Choices that hold for all files of one export; the defaults are what most programs take."""

    person: int | None = None
    """Only this person; None: everybody."""
    rig: str = "native"
    """Whose names and bones a skeleton has."""
    rest: str = ""
    """Rest pose of a skeleton: "a" (the body model's), "t", or "" for what the rig has."""
    units: str = "cm"
    """Of a BVH and an FBX. Every other format has a unit of its own."""
    fps: Fraction | None = None
    """Frames/s of the file; None: those of the clip, or the fastest that holds for a stretch of it (``frame_grid``)."""
    markers: str = "halpe26"
    """Names and places of markers: Pose2Sim's Halpe26, or OpenCap's anatomical markers."""
    together: bool = False
    """Everybody in one file, where a format has a file for each person otherwise."""
    up: str = "y"
    """The upward axis of a C3D."""
    camera: bool = True
    """The clip's camera comes with the bodies, where a format has cameras."""
    blender: str = ""
    """Blender, or a Python with its package bpy, where it writes the file; "" where it is to be found."""
    body_models: Path | None = None
    """The user's own SMPL or SMPL-X file, or the folder that holds it; None: what BODY4D_BODY_MODELS names."""
    video: Path | None = None
    """The clip, for files that hold it; None: where the scene says it is."""
    mesh: bool = True
    """Whether a file that can do without the surface holds it."""
    on_progress: ProgressFn = field(default=ignore_progress, compare=False, metadata=NO_CHOICE)
    """Hears how far a long file is."""

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known and not (name == "rest" and value == ""):
                raise SettingsError(
                    f"{value!r} is no value of {name}.", code="bad_value", hint=f"Known are {', '.join(known)}.", name=name, value=value
                )
        if self.fps is not None and not 1 <= self.fps <= 1000:
            raise SettingsError(f"{float(self.fps):g} frames per second cannot be written.", code="bad_value", hint="Choose 1 to 1000.")

    def for_format(self, names: tuple[str, ...]) -> "ExportOptions":
        """The same for a format that reads the options ``names``, with all others as they are where nothing is chosen."""
        unread = {f.name: f.default for f in fields(self) if f.name not in ("person", *names) and f.metadata != NO_CHOICE}
        return replace(self, **unread)

    def changed(self) -> list[str]:
        """Names of the options that differ from their defaults."""
        return [f.name for f in fields(self) if f.metadata != NO_CHOICE and getattr(self, f.name) != f.default]


def flag(name: str) -> str:
    """The command line's flag for an option that is given: one that holds by default is taken back."""
    return f"--no-{name}" if getattr(ExportOptions, name) is True else f"--{name.replace('_', '-')}"
