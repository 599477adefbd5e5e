"""CSV: a row for each frame and person, columns by joint name. Camera axes, metres."""

import codecs
import csv
from pathlib import Path

import numpy as np

from body4d.core.files import atomic_file
from body4d.core.types import Scene
from body4d.export.joint_table import joint_columns, joint_rows
from body4d.export.options import ExportOptions
from body4d.export.skeleton import CHUNK_FRAMES


def write_csv(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write ``frame,time_s,person`` and the columns of ``joint_table``; what is NaN there is empty. Raises OutputError."""
    with atomic_file(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file), lineterminator="\n")
        writer.writerow(["frame", "time_s", "person", *joint_columns(scene)])
        for rows in joint_rows(scene, CHUNK_FRAMES):
            for frame, time_s, person, values in zip(rows.frame, rows.time_s, rows.person, rows.values, strict=True):
                cells = ["" if np.isnan(value) else f"{value:.6f}" for value in values]
                writer.writerow([frame, f"{time_s:.6f}", person, *cells])
