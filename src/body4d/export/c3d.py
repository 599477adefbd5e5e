"""C3D: markers in the format of motion capture laboratories, through the package ezc3d (extra ``biomech``)."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from body4d.core.errors import SettingsError
from body4d.core.files import atomic_file
from body4d.core.types import BodyTrack, Scene
from body4d.export.marker_motion import marker_motion
from body4d.export.options import ExportOptions

_MAX_FRAMES = 65535
"""C3D's header counts frames in 16 bits."""

_Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


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
        places = places @ _Y_UP_TO_Z_UP.T
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
    # The package writes to a path of its own; the file appears under its name when it is whole.
    with TemporaryDirectory() as folder:
        made = Path(folder) / "markers.c3d"
        file.write(str(made))
        with atomic_file(path) as out, made.open("rb") as source:
            shutil.copyfileobj(source, out)
