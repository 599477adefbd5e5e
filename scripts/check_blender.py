"""Do our BVHs stand in Blender where our joints are? Figures for docs/verified.md.

    python scripts/check_blender.py ENV RUN [--blender-python PATH]

ENV is a folder for an environment of its own, which is made with Blender's package bpy (GPL-3.0, 0.8 GB) where it is missing: bpy wants one
Python and an older numpy than body4d. RUN is a finished run. Every rig and unit is exported, imported at life size, and compared bone
by bone in twelve frames.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

BPY = "bpy==5.0.1"  # the last for Python 3.11

_INSIDE_BLENDER = """
import json, sys
import bpy
import numpy as np

folder = sys.argv[1]
cases = json.load(open(folder + "/cases.json"))
for case in cases:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_anim.bvh(filepath=folder + "/" + case["file"], global_scale=case["scale"], axis_forward="-Z", axis_up="Y",
                            update_scene_fps=True, update_scene_duration=True)
    scene, (armature,) = bpy.context.scene, [o for o in bpy.data.objects if o.type == "ARMATURE"]
    truth = np.load(folder + "/" + case["truth"])
    worst = 0.0
    for row, frame in enumerate(truth["frames"]):
        scene.frame_set(int(frame) + 1)
        for name, place in zip(truth["names"], truth["joints_m"][row]):
            x, y, z = armature.matrix_world @ armature.pose.bones[str(name)].head
            worst = max(worst, float(np.abs(np.array([x, z, -y]) - place).max()))
    fps = round(scene.render.fps / scene.render.fps_base, 3)
    facts = {"file": case["file"], "bones": len(armature.data.bones), "worst_mm": round(1000 * worst, 4), "fps": fps}
    print(json.dumps({**facts, "frames": scene.frame_end, "blender": bpy.app.version_string}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--blender-python", default=sys.executable, help="the Python that the environment is made with (3.11)")
    args = parser.parse_args()
    python = args.env / "bin" / "python"
    if not python.is_file():
        subprocess.run([args.blender_python, "-m", "venv", args.env], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", BPY], check=True)
    with tempfile.TemporaryDirectory() as folder:
        write_cases(args.run, Path(folder))
        done = subprocess.run([python, "-c", _INSIDE_BLENDER, folder], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    print("\n".join(lines))
    if done.returncode or not lines or any(json.loads(line)["worst_mm"] > 1 for line in lines):
        sys.exit(done.stderr[-2000:] or "a bone is more than a millimetre off")


def write_cases(run: Path, folder: Path) -> None:
    """BVHs of the first person by every rig, and where their bones are in twelve frames."""
    import numpy as np

    from body4d.bodies.registry import rig_of
    from body4d.core.scene_io import load_scene
    from body4d.export import ExportOptions, export_scene
    from body4d.export.frame_grid import frame_grid
    from body4d.export.retarget import retarget
    from body4d.export.skeleton import skeletons_at

    scene = load_scene(run / "scene.npz")
    track = scene.people[0]
    at_s, _ = frame_grid(scene.clip)
    frames = np.unique(np.linspace(0, len(at_s) - 1, 12).astype(int))
    skeleton = next(skeletons_at(rig_of(track), track, scene, at_s[frames]))
    cases = []
    for rig, rest, units in (("native", "a", "cm"), ("native", "t", "m"), ("mixamo", "", "cm"), ("unreal", "", "cm"), ("lafan", "", "cm")):
        name = f"{rig}_{rest or 'own'}_{units}"
        options = ExportOptions(rig=rig, rest=rest, units=units, person=track.person_id)
        export_scene(scene, "bvh", folder / f"{name}.bvh", options)
        moved = retarget(skeleton, rig, rest)
        written = (folder / f"{name}.bvh").read_text().split("MOTION")[0]
        names = [n for n in moved.names if f" {n}\n" in written]
        joints = moved.forward()[1][:, [moved.names.index(n) for n in names]]
        np.savez(folder / f"{name}.npz", frames=frames, names=np.array(names), joints_m=joints)
        cases.append({"file": f"{name}.bvh", "truth": f"{name}.npz", "scale": 0.01 if units == "cm" else 1.0})
    (folder / "cases.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main()
