"""CSV: a row for each frame and person, columns by joint name. Camera axes, metres."""

import codecs
import csv
from pathlib import Path

import numpy as np

from body4d.atomic import atomic_file
from body4d.scene import Scene


def write_csv(scene: Scene, path: Path) -> list[Path]:
    """Write ``frame,time_s,person`` and ``<joint>_x_m,<joint>_y_m,<joint>_z_m`` for every joint, rows by frame, then person.

    Frames on which a person is not followed have no row. A joint that another person's joint set does not have is empty.
    Raises OutputError.
    """
    names = list(dict.fromkeys(name for track in scene.people for name in track.joint_names))
    columns = [f"{name}_{axis}_m" for name in names for axis in "xyz"]
    with atomic_file(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file), lineterminator="\n")
        writer.writerow(["frame", "time_s", "person", *columns])
        for frame, time_s in enumerate(scene.clip.times_s):
            for track, row in scene.visible_at(frame):
                at = dict(zip(track.joint_names, track.joints_m[row], strict=True))
                place = np.array([at.get(name, (np.nan,) * 3) for name in names]).ravel()
                cells = ["" if np.isnan(value) else f"{value:.6f}" for value in place]
                writer.writerow([frame, f"{time_s:.6f}", track.person_id, *cells])
    return [path]
