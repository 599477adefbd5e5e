"""CSV: a row for each frame and person, columns by joint name. Camera axes, metres."""

import codecs
import csv
from pathlib import Path

import numpy as np

from body4d.core.files import atomic_file
from body4d.core.types import BodyTrack, Scene
from body4d.export.options import ExportOptions


def write_csv(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write ``frame,time_s,person`` and ``<joint>_x_m,<joint>_y_m,<joint>_z_m`` for every joint, rows by frame, then person.

    Where it is known of anybody, ``<joint>_sigma_m`` follows for every joint: how far it may be off.

    Frames on which a person is not followed have no row. A joint that another person's joint set does not have is empty.
    Raises OutputError.
    """
    names = list(dict.fromkeys(name for track in scene.people for name in track.joint_names))
    columns = [f"{name}_{axis}_m" for name in names for axis in "xyz"]
    has_sigma = any(track.joint_sigma_m is not None for track in scene.people)
    columns += [f"{name}_sigma_m" for name in names] if has_sigma else []
    with atomic_file(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file), lineterminator="\n")
        writer.writerow(["frame", "time_s", "person", *columns])
        for frame, time_s in enumerate(scene.clip.times_s):
            for track, row in scene.visible_at(frame):
                at = dict(zip(track.joint_names, track.joints_m[row], strict=True))
                values = np.array([at.get(name, (np.nan,) * 3) for name in names]).ravel()
                if has_sigma:
                    values = np.concatenate([values, _sigma(track, row, names)])
                cells = ["" if np.isnan(value) else f"{value:.6f}" for value in values]
                writer.writerow([frame, f"{time_s:.6f}", track.person_id, *cells])


def _sigma(track: BodyTrack, row: int, names: list[str]) -> np.ndarray:
    """How far each of the joints ``names`` may be off (n,) in metres, NaN where that is not known."""
    if track.joint_sigma_m is None:
        return np.full(len(names), np.nan)
    at = dict(zip(track.joint_names, track.joint_sigma_m[row], strict=True))
    return np.array([at.get(name, np.nan) for name in names], float)
