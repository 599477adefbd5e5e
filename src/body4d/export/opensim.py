"""Joint angles of OpenSim's own inverse kinematics (MOT). The package ``opensim`` does it, in this Python or in another one.

A MOT belongs to a model. The model, its markers and setups are Pose2Sim's (BSD-3); they come with its package, of whose code none is run.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from body4d.core.errors import Body4DError, MissingDependencyError
from body4d.core.files import atomic_file
from body4d.core.types import BodyTrack, Scene
from body4d.export.options import ExportOptions
from body4d.export.trc import write_trc

WORKER = Path(__file__).with_name("opensim_worker.py")

INSTALL = "pip install opensim && pip install --no-deps pose2sim"
"""Pose2Sim's own dependencies, which are many, are not needed for its model."""

_ASK = """
import importlib.util as u, json
found = {name: u.find_spec(name) for name in ("opensim", "Pose2Sim")}
print(json.dumps([None if spec is None else list(spec.submodule_search_locations)[0] for spec in found.values()]))
"""


@dataclass(frozen=True)
class OpenSimPython:
    """A Python that has ``opensim``, and the folder of the model's files."""

    executable: Path
    setup: Path

    @staticmethod
    def find(executable: Path | None = None, setup: Path | None = None) -> "OpenSimPython":
        """This Python or ``executable``, with the files of its Pose2Sim or those in ``setup``. Raises MissingDependencyError."""
        executable = executable or Path(sys.executable)
        try:
            answer = subprocess.run([executable, "-c", _ASK], capture_output=True, text=True, timeout=120, check=True).stdout
            opensim, pose2sim = json.loads(answer.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            opensim, pose2sim = None, None
        lacking = [name for name, folder in (("opensim", opensim), ("pose2sim", setup or pose2sim)) if folder is None]
        if lacking:
            raise MissingDependencyError(
                f"OpenSim's inverse kinematics needs the package {' and '.join(lacking)}, which {executable} does not have.",
                code="missing_package",
                hint=f"Install it with: {INSTALL}. It may be another Python's, which --python names.",
                packages=lacking,
            )
        return OpenSimPython(executable, setup or Path(str(pose2sim)) / "OpenSim_Setup")

    def solve(self, scene: Scene, track: BodyTrack, folder: Path, options: ExportOptions) -> tuple[list[Path], dict[str, Any]]:
        """Write ``person_<id>.trc`` and ``.mot`` into ``folder``: the files, and how far the model's markers are from ours, in metres.

        Raises Body4DError where OpenSim gives up, OutputError.
        """
        trc, mot = (folder / f"person_{track.person_id}.{ending}" for ending in ("trc", "mot"))
        write_trc(scene, track, trc, options)
        with TemporaryDirectory() as scratch:
            made = Path(scratch) / mot.name
            # As text: run by its path, it would find this folder's modules before others of their names.
            command = [self.executable, "-c", WORKER.read_text(), trc.resolve(), made, self.setup.resolve(), options.markers]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=scratch, check=False)
            if done.returncode or not made.is_file():
                raise Body4DError(
                    f"OpenSim found no motion for person {track.person_id}.",
                    code="opensim_failed",
                    hint=f"Its last words: {(done.stderr or done.stdout).strip().splitlines()[-1:]}",
                )
            with atomic_file(mot) as file:
                file.write(made.read_bytes())
        return [trc, mot], json.loads(done.stdout.splitlines()[-1])
