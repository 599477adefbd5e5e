"""FBX, written by Blender (GPL): a program of the user's, or a Python with its package bpy, which no part of body4d imports."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from body4d.core.errors import Body4DError, MissingDependencyError
from body4d.core.files import atomic_file
from body4d.core.types import BodyTrack, Scene
from body4d.export.camera_motion import SENSOR_MM, CameraMotion
from body4d.export.character import Character, make_character
from body4d.export.frame_grid import frame_grid
from body4d.export.options import ExportOptions
from body4d.render.shading import srgb_to_linear
from body4d.render.style import person_colour

WORKER = Path(__file__).with_name("fbx_worker.py")
VARIABLE = "BODY4D_BLENDER"
"""Environment variable that names Blender, or a Python with bpy."""

INSTALL = "python3.11 -m venv blender-env && blender-env/bin/pip install bpy==5.0.1"
"""5.0.1 is the last for Python 3.11. It wants an older numpy than body4d works with, hence an environment of its own."""

_PER_METRE = {"m": 1.0, "cm": 100.0}


@dataclass(frozen=True)
class BlenderProgram:
    """What runs the worker: the beginning of a command, to which the worker's own arguments are added."""

    command: tuple[str, ...]

    @staticmethod
    def find(options: ExportOptions) -> "BlenderProgram":
        """The one of ``options``, else the environment variable's, this Python's bpy, or the one on the search path.

        Raises MissingDependencyError where there is none, or what was named is none.
        """
        named = options.blender or os.environ.get(VARIABLE, "")
        for candidate in [named] if named else [sys.executable, shutil.which("blender") or ""]:
            command = _worker_command(candidate) if candidate else None
            if command:
                return BlenderProgram(command)
        raise MissingDependencyError(
            f"{named} is neither Blender nor a Python with the package bpy." if named else "Writing fbx needs Blender, which is not found.",
            code="missing_package",
            hint=f"Name it with --blender PATH or {VARIABLE}, or install it with: {INSTALL}, and name blender-env/bin/python.",
            packages=["bpy"],
        )

    def write(self, folder: Path, path: Path) -> None:
        """Have the characters in ``folder`` written to ``path``. Raises Body4DError where Blender gives up, OutputError."""
        made = folder / "made.fbx"
        done = subprocess.run([*self.command, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode or not made.is_file():
            last = [line for line in (done.stderr + done.stdout).splitlines() if "Error" in line] or done.stderr.splitlines()
            raise Body4DError(f"Blender wrote no {path.name}.", code="blender_failed", hint=f"Its last words: {last[-1:]}")
        with atomic_file(path) as file, made.open("rb") as content:
            shutil.copyfileobj(content, file)


@cache
def _worker_command(program: str) -> tuple[str, ...] | None:
    """How ``program`` runs the worker, or None where it cannot."""
    if program == sys.executable and find_spec("bpy") is None:
        return None
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
        if said.startswith("Blender"):
            return (program, "-b", "--factory-startup", "--python-exit-code", "1", "-P", str(WORKER), "--")
        ask = "import importlib.util as u, sys; sys.exit(u.find_spec('bpy') is None)"
        subprocess.run([program, "-I", "-c", ask], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    # As text: run by its path, it would find this folder's modules before others of their names.
    return (program, "-I", "-c", WORKER.read_text())


def write_fbx(scene: Scene, track: BodyTrack, path: Path, options: ExportOptions) -> None:
    """Write one person. Frame k is clip frame k, or where the clip's steps are uneven the moment k · frame time. Raises as ``find``,
    ``write``, and SettingsError."""
    _write(scene, [track], path, options)


def write_fbx_together(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write everybody into one file, a skeleton each. Raises as ``write_fbx``."""
    _write(scene, scene.people, path, options)


def _write(scene: Scene, people: Sequence[BodyTrack], path: Path, options: ExportOptions) -> None:
    blender = BlenderProgram.find(options)
    at_s, step_s = frame_grid(scene.clip, options.fps)
    with TemporaryDirectory() as name:
        folder = Path(name)
        characters = []
        for track in people:
            character = make_character(scene, track, options, at_s)
            index = [other.person_id for other in scene.people].index(track.person_id)
            characters.append(_save(character, at_s, folder / character.name, index, alone=len(people) == 1, rig_name=options.rig))
        facts = {"characters": characters, "frames": len(at_s), "step_s": step_s, "per_metre": _PER_METRE[options.units]}
        if options.camera and scene.camera.path is not None:
            facts["camera"] = _save_camera(scene, at_s, folder)
        (folder / "facts.json").write_text(json.dumps(facts))
        blender.write(folder, path)


def _save_camera(scene: Scene, at_s: np.ndarray, folder: Path) -> dict[str, Any]:
    """``camera.npz`` for the worker, and what it needs to know of the lens."""
    camera, motion = scene.camera, CameraMotion.at(scene, at_s)
    lens_mm = motion.focal_px * SENSOR_MM / camera.width_px
    np.savez(folder / "camera.npz", places_m=motion.place_m, quats=motion.y_up_quats, lens_mm=lens_mm)
    shift = [(camera.width_px / 2 - camera.cx_px) / camera.width_px, (camera.cy_px - camera.height_px / 2) / camera.width_px]
    return {"sensor_mm": SENSOR_MM, "shift": shift, "size_px": [camera.width_px, camera.height_px], "zooms": motion.zooms}


def _save(character: Character, at_s: np.ndarray, folder: Path, index: int, *, alone: bool, rig_name: str) -> dict[str, Any]:
    """Arrays of one person for the worker, and what it needs to know of them."""
    folder.mkdir()
    movement = character.movement(at_s, folder)
    arrays = {
        "rest": character.plan.rest_m,
        "parents": character.plan.parents,
        "vertices": character.vertices_m,
        "faces": character.rig.faces,
        "skin_indices": character.skin_indices,
        "skin_weights": character.skin_weights,
        "turning": character.turning,
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return {
        "folder": folder.name,
        # Unreal takes the skeleton's own node for a bone, and its mannequin's uppermost bone is called root.
        "name": "root" if rig_name == "unreal" and alone else character.name,
        "mesh": f"{character.name}_body",
        "bones": list(character.plan.names),
        "slides": list(movement.places_m),
        "colour": srgb_to_linear(np.array(person_colour(index)) / 255).round(4).tolist(),
    }
