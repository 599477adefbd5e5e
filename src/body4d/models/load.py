"""Which models fill the seats: presets, and why one was taken."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from body4d.config import Settings
from body4d.errors import MissingDependencyError, SettingsError
from body4d.models.protocols import BodyEstimator, CameraEstimator, Segmenter
from body4d.usage import NO_DEVICE, DeviceMemory

LITE_PYTHONS = ((3, 11), (3, 12))
"""Pythons for which mediapipe 0.10.21, the last line that holds its models, has wheels and body4d is tested."""

_LITE_PACKAGES = ("mediapipe", "anny", "torch")


@dataclass(frozen=True)
class Seats:
    """What a preset puts where. ``notes`` say which preset was taken and why; ``weights`` names the checkpoint of each stage that has one,
    and ``memory`` is how the GPU's peak is asked for."""

    preset: str
    segmenter: Segmenter
    camera: CameraEstimator
    bodies: BodyEstimator
    notes: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    memory: DeviceMemory = NO_DEVICE


def load_seats(settings: Settings) -> Seats:
    """Fill the seats for ``settings.preset``. Raises MissingDependencyError or SettingsError where that cannot be."""
    preset, note = choose_preset(settings.preset, why_not_sam())
    if preset != "lite":
        raise AssertionError(f"preset {preset!r} has no seats")
    require_lite(sys.version_info[:2], lambda name: find_spec(name) is not None)
    require_headless_opencv()
    from body4d.models.anny_fit import AnnyFit
    from body4d.models.blazepose import BlazePoseSegmenter
    from body4d.models.given_camera import GivenCamera

    return Seats(
        preset="lite",
        segmenter=BlazePoseSegmenter(settings.blazepose, settings.people),
        camera=GivenCamera(settings.camera),
        bodies=AnnyFit(settings.fit, settings.contact, settings.camera.person_height_m),
        notes=(note,) if note else (),
    )


def why_not_sam() -> str | None:
    """Why the preset ``sam`` cannot be used, or None where it can."""
    return "its models (SAM-3, SAM-3D-Body, MoGe-2) are not part of this version of body4d"


def choose_preset(wanted: str, sam_missing: str | None) -> tuple[str, str]:
    """The preset to take and a sentence that says why, empty where the user chose it. Pure. Raises SettingsError."""
    if wanted == "sam" and sam_missing:
        raise SettingsError(f"The preset sam is not there yet: {sam_missing}. Use --preset lite, which needs no GPU and no checkpoint.")
    if wanted != "auto":
        return wanted, ""
    if sam_missing:
        return "lite", f"Preset lite was taken, not sam: {sam_missing}."
    return "sam", "Preset sam was taken: its checkpoints and a GPU are there."


def require_lite(python: tuple[int, int], installed: Callable[[str], bool]) -> None:
    """Raise MissingDependencyError unless the packages of the extra ``lite`` are there. Pure, given what is installed."""
    missing = [name for name in _LITE_PACKAGES if not installed(name)]
    if not missing:
        return
    fits = " or ".join(f"{major}.{minor}" for major, minor in LITE_PYTHONS)
    if "mediapipe" in missing and python > LITE_PYTHONS[-1]:
        raise MissingDependencyError(
            f"The preset lite needs mediapipe 0.10.21, which cannot be installed on Python {python[0]}.{python[1]}. Use Python {fits}: "
            f"python{LITE_PYTHONS[-1][0]}.{LITE_PYTHONS[-1][1]} -m venv .venv && .venv/bin/pip install 'body4d[lite]'"
        )
    names = " and ".join(missing)
    raise MissingDependencyError(
        f"The preset lite needs {names}, not found here. Install the extra (on Python {fits}): pip install 'body4d[lite]'"
    )


def require_headless_opencv() -> None:
    """Raise MissingDependencyError where OpenCV, which mediapipe imports, asks for a window system that is not there."""
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"OpenCV cannot be loaded ({error}). On a machine without a window system take the headless build: "
            "pip install --no-deps --force-reinstall opencv-contrib-python-headless==4.11.0.86"
        ) from error
