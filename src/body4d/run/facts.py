"""What a run says beside its results: sentences about clip and camera, the versions it ran with, and that it was stopped."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from body4d.core.errors import Cancelled
from body4d.core.stages import FrameSource
from body4d.core.types import Camera

NETWORKS = {"moge": "MoGe-2"}
"""Networks that tell a focal length, by ``Camera.source``."""


def file_warnings(frames: FrameSource) -> tuple[str, ...]:
    """What a source has to say of its file, where it has anything."""
    return tuple(getattr(frames, "notes", ()))


def camera_warnings(camera: Camera) -> tuple[str, ...]:
    """What the user should know about where the focal length comes from. Pure."""
    if camera.source in NETWORKS:
        alike = "" if camera.focal_spread is None else f" Frames looked at scatter by {100 * camera.focal_spread:.1f} %."
        return (f"The horizontal field of view, {camera.fov_deg:.1f} degrees, is what {NETWORKS[camera.source]} sees.{alike}",)
    if camera.source != "default":
        return ()
    return (
        f"No field of view was given or found in the file: {camera.fov_deg:.0f} degrees, a phone's main lens, was assumed. "
        "Distances and sizes depend on it; --fov, --focal-mm35 or --person-height settle them.",
    )


def versions() -> dict[str, str]:
    """Versions of everything a result may depend on, as far as installed."""
    found = {"python": platform.python_version()}
    for package in ("body4d", "numpy", "scipy", "torch", "anny", "mediapipe", "transformers", "diffusers", "av", "numba"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def cancellable() -> Iterator[None]:
    """Ctrl-C, as an error with a sentence."""
    try:
        yield
    except KeyboardInterrupt:
        raise Cancelled("Stopped. What was finished is kept; the same command goes on from there.") from None
