"""Does general motion retargeting (GMR) take our LAFAN1 BVHs? Its own loader and solver, for its robot Unitree G1.

    python scripts/check_robot.py ENV GMR RUN [RUN ...]

ENV is a folder for an environment of its own, which is made with mujoco and mink where it is missing. GMR is a checkout of
github.com/YanjieZe/GMR (MIT). For each run, whose first person is exported at 30 frames/s, it prints one JSON object: how far the
robot's links are turned from what GMR asks of them (median over frames), and how far its knees bend.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("mujoco==4.0.0", "mink==1.3.0", "daqp==0.11.0", "scipy", "rich")

_WITH_GMR = """
import json, sys, types
import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

root = sys.argv[1] + "/general_motion_retargeting"
for name, path in (("general_motion_retargeting", root), ("general_motion_retargeting.utils", root + "/utils")):
    sys.modules[name] = types.ModuleType(name)  # its own wants a viewer and SMPL-X
    sys.modules[name].__path__ = [path]
from general_motion_retargeting.motion_retarget import GeneralMotionRetargeting
from general_motion_retargeting.params import IK_CONFIG_DICT
from general_motion_retargeting.utils.lafan1 import load_lafan1_file

table = json.load(open(IK_CONFIG_DICT["bvh"]["unitree_g1"]))["ik_match_table1"]
for path in sys.argv[2:]:
    frames, height = load_lafan1_file(path)
    solver = GeneralMotionRetargeting(src_human="bvh", tgt_robot="unitree_g1", actual_human_height=height)
    model, off, knees = solver.model, {}, []
    data = mujoco.MjData(model)
    for frame in frames:
        data.qpos[:] = solver.retarget(frame)
        mujoco.mj_forward(model, data)
        knees.append([data.joint(side + "_knee_joint").qpos[0] for side in ("left", "right")])
        for link, (bone, _, _, _, quat) in table.items():
            wanted = Rotation.from_quat(frame[bone][1], scalar_first=True) * Rotation.from_quat(quat, scalar_first=True)
            turned = Rotation.from_matrix(data.body(link).xmat.reshape(3, 3))
            off.setdefault(link, []).append((wanted.inv() * turned).magnitude())
    print(json.dumps({"file": path.rpartition("/")[2], "frames": len(frames), "knees_deg": np.degrees(np.max(knees, 0)).round(0).tolist(),
                      "links_off_deg": {link: round(float(np.degrees(np.median(values))), 1) for link, values in off.items()}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", type=Path)
    parser.add_argument("gmr", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    args = parser.parse_args()
    python = args.env / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", args.env], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    with tempfile.TemporaryDirectory() as folder:
        files = [export(run, Path(folder) / f"{run.name}.bvh") for run in args.runs]
        done = subprocess.run([python, "-c", _WITH_GMR, args.gmr.resolve(), *files], capture_output=True, text=True, check=False)
    print("\n".join(line for line in done.stdout.splitlines() if line.startswith('{"file"')))
    if done.returncode:
        sys.exit(done.stderr[-2000:])


def export(run: Path, path: Path) -> Path:
    from fractions import Fraction

    from body4d.core.scene_io import load_scene
    from body4d.export import ExportOptions, export_scene

    scene = load_scene(run / "scene.npz")
    options = ExportOptions(person=scene.people[0].person_id, rig="lafan", fps=Fraction(30))
    return export_scene(scene, "bvh", path, options)[0]


if __name__ == "__main__":
    main()
