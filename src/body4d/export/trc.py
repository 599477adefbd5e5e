"""TRC: markers as text, for OpenSim. Millimetres, y up, the person facing +x at the start, one rate. Layout: docs/files.md."""

from pathlib import Path

import numpy as np

from body4d.core.files import atomic_file
from body4d.core.types import BodyTrack, Scene
from body4d.export.marker_motion import marker_motion
from body4d.export.options import ExportOptions


def write_trc(scene: Scene, track: BodyTrack, path: Path, options: ExportOptions) -> None:
    """Write one person's markers. A marker that is not there is an empty cell. Raises OutputError."""
    motion = marker_motion(scene, track, options)
    rate, count = f"{1 / motion.step_s:.10g}", len(motion.names)
    header = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{motion.num_frames}\t{count}\tmm\t{rate}\t1\t{motion.num_frames}",
        "Frame#\tTime\t" + "\t\t\t".join(motion.names) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{k}" for k in range(1, count + 1) for axis in "XYZ"),
        "",
    ]
    with atomic_file(path) as file:
        file.write(("\n".join(header) + "\n").encode("utf-8"))
        frame = 0
        for stretch in motion.stretches:
            for row in stretch.reshape(len(stretch), -1):
                cells = ["" if np.isnan(value) else f"{value:.3f}" for value in row]
                file.write(("\t".join([str(frame + 1), f"{frame * motion.step_s:.8f}", *cells]) + "\n").encode())
                frame += 1
