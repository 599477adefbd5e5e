"""The focal length from the settings, from the file's metadata, or that of a phone's main camera."""

from typing import Any

import numpy as np

from body4d.config import CameraSettings
from body4d.core.errors import RunWarning, SettingsError
from body4d.core.stages import CameraOutput, FrameSource, ProgressFn
from body4d.core.types import Camera, Clip

NETWORKS = {"moge": "MoGe-2"}
"""Networks that estimate a focal length, by ``Camera.source``."""

DIAGONAL_35MM_MM = 43.2666
"""Diagonal of the 36 x 24 mm frame. "35 mm equivalent" compares diagonals (CIPA DCG-001), so a crop's aspect does not matter."""
MAX_FOCAL_DISAGREEMENT = 0.02
"""Share by which fov_deg and focal_mm35, both given, may differ: data sheets round."""


class GivenCamera:
    """A ``CameraEstimator`` that reads no frame.

    Precedence: ``fov_deg``, ``focal_mm35``, the file's metadata, the default. Raises SettingsError where the first two are both given
    and contradict each other.
    """

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings

    @property
    def cache_inputs(self) -> Any:
        return intrinsics_inputs(self._settings)

    def estimate(self, frames: FrameSource, progress: ProgressFn) -> CameraOutput:
        clip = frames.clip
        focal_px, source = choose_focal(self._settings, clip.width_px, clip.height_px, clip.focal_mm35)
        progress(1, 1)
        camera = ideal_camera(clip, focal_px, source, self._settings)
        return CameraOutput(camera, focal_warnings(camera))


def intrinsics_inputs(settings: CameraSettings) -> dict[str, Any]:
    """The settings on which the camera depends: all but the person's height, which scales the body."""
    return {name: value for name, value in settings.cache_inputs().items() if name != "person_height_m"}


def focal_warnings(camera: Camera) -> tuple[RunWarning, ...]:
    """Where the focal length comes from, where the user should know it: a network's estimate, or an assumption. Pure."""
    facts = {"fov_deg": camera.fov_deg, "source": camera.source, "spread": camera.focal_spread}
    if camera.source in NETWORKS:
        spread = "" if camera.focal_spread is None else f" Single frames scatter by {100 * camera.focal_spread:.1f} %."
        message = f"The horizontal field of view, {camera.fov_deg:.1f} degrees, is what {NETWORKS[camera.source]} estimates.{spread}"
        return (RunWarning("fov_estimated", message, facts=facts),)
    if camera.source != "default":
        return ()
    message = (
        f"No field of view was given or found in the file: {camera.fov_deg:.0f} degrees, a phone's main lens, is assumed. "
        "Distances and sizes depend on it."
    )
    return (RunWarning("fov_assumed", message, "--fov, --focal-mm35 or --person-height settle them.", facts),)


def ideal_camera(clip: Clip, focal_px: float, source: str, settings: CameraSettings, spread: float | None = None) -> Camera:
    """A camera whose axis goes through the middle of the picture, and which stands still as long as nobody says that it moves."""
    middle = (clip.width_px / 2, clip.height_px / 2)
    return Camera(focal_px, *middle, clip.width_px, clip.height_px, source, settings.motion in ("auto", "static"), spread)


def choose_focal(settings: CameraSettings, width_px: int, height_px: int, metadata_mm35: float | None) -> tuple[float, str]:
    """Focal length in pixels and where it comes from (``Camera.source``); "default" where nothing gives it. Pure."""
    from_fov = None if settings.fov_deg is None else float(width_px / 2 / np.tan(np.radians(settings.fov_deg) / 2))
    from_mm35 = None if settings.focal_mm35 is None else focal_px_of_mm35(settings.focal_mm35, width_px, height_px)
    if from_fov is not None and from_mm35 is not None and abs(from_fov / from_mm35 - 1) > MAX_FOCAL_DISAGREEMENT:
        fov_deg = float(np.degrees(2 * np.arctan(width_px / 2 / from_mm35)))
        raise SettingsError(
            f"A field of view of {settings.fov_deg:g} degrees and a focal length of {settings.focal_mm35:g} mm contradict each other: "
            f"{settings.focal_mm35:g} mm is {fov_deg:.1f} degrees on this {width_px}x{height_px} picture.",
            code="focal_contradiction",
            hint="Give one of --fov and --focal-mm35.",
            fov_deg=settings.fov_deg,
            focal_mm35=settings.focal_mm35,
        )
    if from_fov is not None:
        return from_fov, "fov"
    if from_mm35 is not None:
        return from_mm35, "focal_mm35"
    if metadata_mm35 is not None:
        return focal_px_of_mm35(metadata_mm35, width_px, height_px), "metadata"
    return focal_px_of_mm35(settings.default_focal_mm35, width_px, height_px), "default"


def focal_px_of_mm35(focal_mm35: float, width_px: int, height_px: int) -> float:
    """Focal length in pixels of a 35 mm equivalent focal length, by the picture's diagonal."""
    return float(focal_mm35 / DIAGONAL_35MM_MM * np.hypot(width_px, height_px))
