"""Is our MHR the same body as somebody else's? Compares vertices and joints with the PyPI package `body-models`.

    python benchmarks/mhr_against_body_models.py [--vertices 18439] [--people 8] [--rig mhr_model.pt] [--venv DIR] [--json]

`body-models` (Apache-2.0) is an MHR written by others; it wants numpy 2, so it gets an environment of its own, made on the first run
(needs PyPI). Without --rig a made-up rig in the published file structure is used (127 joints, 3000 corrective units, any number of
vertices). Fails beyond 1e-4 m.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from body4d.bodies.mhr.module import MhrBody, load_mhr
from mhr_files import FULL_VERTICES, make_rig, random_inputs, save_script

MAX_DIFFERENCE_M = 1e-4
PACKAGE = "body-models==0.26.2"

_THEIRS = """
import sys, time, numpy as np
from body_models.mhr import _pose
from body_models.mhr.numpy import MHR
folder, given, out = sys.argv[1:]
model = MHR(model_path=folder)
data = np.load(given)
body, head, hand = _pose.unpack_pose(np, data["parameters"])
start = time.perf_counter()
vertices = model.forward_vertices(body, head, hand, shape=data["shape"], expression=data["face"])
seconds = time.perf_counter() - start
joints = model.forward_skeleton(body, head, hand)
np.savez(out, vertices=vertices, joints=joints, seconds=seconds)
"""


def their_python(folder: Path) -> Path:
    """The interpreter of an environment in ``folder`` that holds the other implementation; made where missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", PACKAGE], check=True)
    return python


def write_their_files(body: MhrBody, rig: Path, folder: Path) -> None:
    """The rig as `body-models` wants it: the TorchScript for all but the correctives, which it reads from two npz files."""
    (folder / "mhr_model.pt").symlink_to(rig.resolve())
    file = body.file
    places, values = file.corrective_indices.numpy(), file.corrective_values.numpy()
    np.savez(folder / "corrective_activation.npz", **{"0.sparse_indices": places, "0.sparse_weight": values})
    dense = file.correctives_cm.numpy().T.reshape(-1, len(file.rest_vertices_cm), 3)
    np.savez(folder / "corrective_blendshapes_lod1.npz", corrective_blendshapes=dense)


def compare(body: MhrBody, rig: Path, people: int, python: Path, folder: Path) -> dict[str, Any]:
    """Largest differences in metres over random people."""
    shape, parameters, face = random_inputs(people, seed=1)
    write_their_files(body, rig, folder)
    np.savez(folder / "given.npz", shape=shape, parameters=parameters, face=face)
    script = folder / "theirs.py"
    script.write_text(_THEIRS)
    cache = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    subprocess.run([python, script, folder, folder / "given.npz", folder / "theirs.npz"], check=True, env=os.environ | cache)
    theirs = np.load(folder / "theirs.npz")
    with torch.no_grad():
        vertices, state = body(*(torch.from_numpy(a) for a in (shape, parameters, face)))
        uncorrected, _ = body(*(torch.from_numpy(a) for a in (shape, parameters, face)), with_correctives=False)
    vertices_m, joints_m = vertices.numpy() / 100, state[..., :3].numpy() / 100
    turned = _turns(state.numpy()) - theirs["joints"][..., :3, :3]
    return {
        "rig": str(rig),
        "people": people,
        "vertices": vertices_m.shape[1],
        "largest_vertex_difference_m": float(np.abs(vertices_m - theirs["vertices"]).max()),
        "largest_joint_difference_m": float(np.abs(joints_m - theirs["joints"][..., :3, 3]).max()),
        "largest_joint_matrix_difference": float(np.abs(turned).max()),
        "largest_coordinate_m": float(np.abs(vertices_m).max()),
        "correctives_move_vertices_up_to_m": float((vertices - uncorrected).norm(dim=-1).max()) / 100,
    }


def _turns(state: np.ndarray) -> np.ndarray:
    """Scaled rotation matrices (B, J, 3, 3) by scipy, not by what is being checked."""
    from scipy.spatial.transform import Rotation

    flat = Rotation.from_quat(state[..., 3:7].reshape(-1, 4)).as_matrix()
    return flat.reshape(*state.shape[:2], 3, 3) * state[..., 7, None, None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vertices", type=int, default=FULL_VERTICES)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--rig", type=Path, help="a real mhr_model.pt instead of the made-up one")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "body4d-body-models")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    python = their_python(args.venv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rig = args.rig or save_script(make_rig(args.vertices, 127, 2 * args.vertices), folder / "made_rig.pt")
        differences = compare(load_mhr(rig), rig, args.people, python, folder)
    within_limit = max(differences["largest_vertex_difference_m"], differences["largest_joint_difference_m"]) <= MAX_DIFFERENCE_M
    if args.json:
        print(json.dumps(differences | {"within_limit": within_limit}))
    else:
        for name, value in differences.items():
            print(f"{name:36} {value}")
        print(f"{'equal to ' + str(MAX_DIFFERENCE_M) + ' m' if within_limit else 'DIFFERS'}: {PACKAGE}")
    return 0 if within_limit else 1


if __name__ == "__main__":
    raise SystemExit(main())
