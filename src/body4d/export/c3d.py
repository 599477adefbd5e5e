"""C3D: markers in the format of motion capture laboratories, through the package ezc3d (extra ``biomech``)."""

from pathlib import Path
from typing import Any

import numpy as np

from body4d.core.errors import SettingsError
from body4d.core.files import atomic_path
from body4d.core.types import BodyTrack, Scene
from body4d.export.marker_motion import marker_motion
from body4d.export.options import ExportOptions
from body4d.export.skeleton import Y_UP_TO_Z_UP

_MAX_FRAMES = 65535
"""C3D's header counts frames in 16 bits."""


def write_c3d(scene: Scene, track: BodyTrack, path: Path, options: ExportOptions) -> None:
    """Write one person's markers in millimetres; a marker that is not there has the residual -1. Raises OutputError, SettingsError."""
    import ezc3d  # pyright: ignore[reportMissingImports]

    motion = marker_motion(scene, track, options)
    if motion.num_frames > _MAX_FRAMES:
        raise SettingsError(
            f"A C3D holds {_MAX_FRAMES} frames, and this one would have {motion.num_frames}.",
            code="c3d_too_long",
            hint="Ask for fewer frames per second with --fps, or for TRC.",
        )
    places = np.concatenate(list(motion.stretches))  # 20,000 frames of 43 markers are 21 MB
    if options.up == "z":
        places = places @ Y_UP_TO_Z_UP.T
    points = np.ones((4, len(motion.names), len(places)))
    points[:3] = places.transpose(2, 1, 0)
    file: Any = ezc3d.c3d()
    parameters = file["parameters"]["POINT"]
    parameters["UNITS"]["value"] = ["mm"]
    parameters["RATE"]["value"] = [1 / motion.step_s]
    parameters["LABELS"]["value"] = list(motion.names)
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", [f"+{options.up.upper()}"])
    file["data"]["points"] = points
    file["data"]["meta_points"]["residuals"] = np.where(np.isnan(points[:1]), -1.0, 0.0)
    with atomic_path(path) as made:
        file.write(str(made))
