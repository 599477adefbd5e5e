"""Recorded motions from files: BVH, C3D (golf marker set, see ``c3d_file``) and DeepMimic's text."""

import os
from pathlib import Path

from body4d.core.errors import InputError
from body4d.evaluate.synthetic.bvh_file import read_bvh_motion
from body4d.evaluate.synthetic.c3d_file import read_c3d_motion
from body4d.evaluate.synthetic.deepmimic_file import read_deepmimic_motion
from body4d.evaluate.synthetic.motion_capture import MotionCapture, on_stage, without_rest_pose


def load_motion(path: str | os.PathLike[str]) -> MotionCapture:
    """Read a motion from ``.bvh``, ``.c3d`` or DeepMimic's ``.txt``. Raises InputError where the file is missing or cannot be read."""
    path = Path(path)
    readers = {".bvh": read_bvh_motion, ".c3d": read_c3d_motion, ".txt": read_deepmimic_motion}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path.name} is no motion that can be read here.", code="motion_format", hint=f"Formats: {', '.join(readers)} (DeepMimic)."
        )
    if not path.is_file():
        raise InputError(f"There is no file {path}.", code="motion_missing", hint="Check the path.")
    try:
        motion = reader(path)
    except (ValueError, LookupError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path.name} cannot be read: {error}.", code="motion_damaged", hint="Is it whole?") from error
    return on_stage(without_rest_pose(motion))
