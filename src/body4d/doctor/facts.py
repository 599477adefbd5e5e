"""What was found on a machine, before anything is made of it. Each check takes one of these, so every case can be written down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from body4d.checkpoints.gated_access import Access
from body4d.checkpoints.local import Found
from body4d.config import DoctorSettings
from body4d.doctor.verdict import Preset
from body4d.runtime.hardware import NvidiaDriver, TorchInfo


@dataclass(frozen=True)
class Packages:
    """The Python in use, which of the optional packages are installed, and why OpenCV cannot be loaded (empty: it can)."""

    python: tuple[int, int]
    installed: frozenset[str]
    opencv_error: str = ""


@dataclass(frozen=True)
class Place:
    """A folder that results or checkpoints go into: free bytes of its disk, and why it cannot be written (empty: it can)."""

    path: Path
    free_bytes: int
    error: str = ""


@dataclass(frozen=True)
class Weights:
    """What there is of each checkpoint, and what the Hub says of the sources of those missing. ``asked`` False: it was not asked."""

    found: tuple[Found, ...]
    access: tuple[Access, ...] = ()
    asked: bool = False


@dataclass(frozen=True)
class Drawing:
    """A tiny picture drawn with the real renderer: the share of it that is covered, and the error where none was drawn."""

    covered: float
    error: str = ""


@dataclass(frozen=True)
class Space:
    """The environment of a HuggingFace Space. ``space_id`` empty: this is none. A token is told of, never shown."""

    space_id: str = ""
    data_mounted: bool = False
    data_writable: bool = False
    token: bool = False


@dataclass(frozen=True)
class Facts:
    """Everything :func:`body4d.doctor.probe.look` gathers."""

    wanted: Preset
    packages: Packages
    driver: NvidiaDriver | None
    torch: TorchInfo | None
    memory_bytes: int
    weights: Weights
    codecs: Mapping[str, bool]
    drawing: Drawing
    runs: Place
    checkpoints: Place
    space: Space = Space()
    settings: DoctorSettings = field(default_factory=DoctorSettings)
