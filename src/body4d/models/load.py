"""Which models fill the seats: presets, and why one was taken."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

from body4d.config import Settings
from body4d.errors import MissingDependencyError
from body4d.models.protocols import BodyEstimator, CameraEstimator, Segmenter
from body4d.usage import NO_DEVICE, DeviceMemory

LITE_PYTHONS = ((3, 11), (3, 12))
"""Pythons for which mediapipe 0.10.21, the last line that holds its models, has wheels and body4d is tested."""

_LITE_PACKAGES = ("mediapipe", "anny", "torch")
_SAM_PACKAGES = ("torch", "transformers", "safetensors")


@dataclass(frozen=True)
class Seats:
    """What a preset puts where. ``notes`` say which preset was taken and why; ``weights`` names the checkpoint of each stage that has one,
    and ``memory`` is how the GPU's peak is asked for. ``sources`` tell of each checkpoint where it comes from and under which licence."""

    preset: str
    segmenter: Segmenter
    camera: CameraEstimator
    bodies: BodyEstimator
    notes: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    memory: DeviceMemory = NO_DEVICE
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def load_seats(settings: Settings) -> Seats:
    """Fill the seats for ``settings.preset``. Raises MissingDependencyError, SettingsError, WeightsError or DeviceError."""
    # Only ``auto`` asks: looking for a GPU loads torch.
    preset, note = choose_preset(settings.preset, why_not_sam(settings) if settings.preset == "auto" else None)
    return with_sources(sam_seats(settings, note), settings) if preset == "sam" else lite_seats(settings, note)


def with_sources(seats: Seats, settings: Settings) -> Seats:
    """``seats`` with the origin and licence of every checkpoint in them, and a note that says so."""
    from body4d.weights.status import look

    origins = {found.model.key: found.origin for found in look(settings.weights) if found.place and found.model.seat in seats.weights}
    said = "; ".join(f"{o['checkpoint']} from {o.get('repository', 'files of your own')}, {o['licence']}" for o in origins.values())
    return replace(seats, sources=origins, notes=(*seats.notes, f"Checkpoints: {said}."))


def lite_seats(settings: Settings, note: str = "") -> Seats:
    """BlazePose, a given camera and Anny: everything inside the installed packages."""
    require_lite(sys.version_info[:2], _installed)
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


def sam_seats(settings: Settings, note: str = "") -> Seats:
    """SAM-3, MoGe-2 and SAM-3D-Body. Checkpoints are found now and read when their stage begins. Raises as :func:`load_seats`."""
    require_sam(_installed)
    from body4d.models.device import choose_device, gpu_peak_bytes, reset_gpu_peak
    from body4d.models.given_camera import GivenCamera
    from body4d.models.moge import MogeCamera, moge_in
    from body4d.models.sam3 import Sam3Segmenter
    from body4d.models.sam3 import weights_in as sam3_in
    from body4d.models.sam3d_body import Sam3dBodyEstimator, weights_in
    from body4d.weights.catalogue import MOGE, SAM3, SAM3D_BODY, find, place
    from body4d.weights.sam3d_body import find_checkpoint

    choose_device(settings.compute)
    masks, bodies, lens = place(SAM3, settings.weights), place(SAM3D_BODY, settings.weights), find(MOGE, settings.weights)
    body_file = find_checkpoint(bodies)
    camera = MogeCamera(moge_in(lens, settings.moge), settings.camera, settings.moge, settings.compute) if lens else None
    weights = {"masks": masks.name, "camera": lens.name if lens else "", "bodies": f"{bodies.name}/{body_file.name}"}
    return Seats(
        preset="sam",
        segmenter=Sam3Segmenter(sam3_in(masks), settings.sam3, settings.people, settings.compute),
        camera=camera or GivenCamera(settings.camera),
        bodies=Sam3dBodyEstimator(weights_in(body_file), settings.sam3d_body, settings.compute, settings.camera.person_height_m),
        notes=(note,) if note else (),
        weights={stage: name for stage, name in weights.items() if name},
        memory=DeviceMemory(reset_gpu_peak, gpu_peak_bytes),
    )


def why_not_sam(settings: Settings) -> str | None:
    """Why ``auto`` does not take the preset ``sam``, or None where it does: it wants a GPU, the packages and the checkpoints."""
    missing = [name for name in _SAM_PACKAGES if not _installed(name)]
    if missing:
        return f"{' and '.join(missing)} is not installed (pip install 'body4d[sam]')"
    from body4d.weights.catalogue import SAM3, SAM3D_BODY
    from body4d.weights.status import look

    found = look(settings.weights, (SAM3, SAM3D_BODY))
    absent = [one.model.name for one in found if one.state == "absent"]
    if absent:
        return f"{' and '.join(absent)} has no checkpoint here" if len(absent) == 1 else f"{' and '.join(absent)} have no checkpoints here"
    if broken := next((one.sentence for one in found if not one.ready), None):
        return broken.removesuffix(".")
    from body4d.models.device import choose_device

    if choose_device(settings.compute).type == "cpu":
        return "there is no GPU (--preset sam runs on the CPU all the same, about a minute for each frame)"
    return None


def choose_preset(wanted: str, sam_missing: str | None) -> tuple[str, str]:
    """The preset to take and a sentence that says why, empty where the user chose it. Pure."""
    if wanted != "auto":
        return wanted, ""
    if sam_missing:
        return "lite", f"Preset lite was taken, not sam: {sam_missing}."
    return "sam", "Preset sam was taken: its checkpoints and a GPU are there."


def require_sam(installed: Callable[[str], bool]) -> None:
    """Raise MissingDependencyError unless the packages of the extra ``sam`` are there. Pure, given what is installed."""
    missing = [name for name in _SAM_PACKAGES if not installed(name)]
    if missing:
        raise MissingDependencyError(f"The preset sam needs {' and '.join(missing)}, not found here: pip install 'body4d[sam]'.")


def _installed(name: str) -> bool:
    return find_spec(name) is not None


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
