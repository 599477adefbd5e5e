"""Do our files stand in Blender where our joints and surfaces are? Figures for docs/verified.md.

    python scripts/check_blender.py ENV RUN [--blender-python PATH]

ENV is a folder for an environment of its own, which is made with Blender's package bpy (GPL-3.0, 0.8 GB) where it is missing: bpy wants one
Python and an older numpy than body4d. RUN is a finished run whose first person is followed on every frame of an even clip; USD
needs body4d[usd]. BVHs are compared bone by bone, GLB, FBX and USD vertex by vertex, in twelve frames. Where a file has a camera, so are
the places of vertices in its picture, and in two frames the body's outline, rendered from it, with that of the overlay. --pictures FOLDER
keeps the renderings, laid over the video.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from body4d.core.types import Scene

BPY = "bpy==5.0.1"  # the last for Python 3.11

RENDERED = (3, 10)
"""Which of the twelve frames are rendered: a picture takes seconds."""

MIN_IOU = 0.98
"""Of the outlines of a body in Blender's picture and in ours; both round them to whole pixels."""

_INSIDE_BLENDER = """
import json, sys
import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view

def in_picture(scene, body, truth, row):
    # How far any vertex is in the camera's picture from where it was filmed, in pixels.
    (scene.camera,) = [o for o in bpy.data.objects if o.type == "CAMERA"]
    width, height = (int(v) for v in truth["size_px"])
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
    held = body.evaluated_get(bpy.context.evaluated_depsgraph_get())
    places = [world_to_camera_view(scene, scene.camera, held.matrix_world @ v.co) for v in held.to_mesh().vertices]
    pixels = np.array([(x * width, (1 - y) * height) for x, y, _ in places])
    return float(np.abs(pixels - truth["pixels"][row]).max())

def rendered(scene, truth, row):
    # The camera's picture, what part of the body's outlines is in both, and how far apart their middles are, in pixels.
    render = scene.render
    height, width = render.resolution_y, render.resolution_x
    render.engine, render.film_transparent, render.filepath = "CYCLES", True, folder + "/seen.png"
    cycles = scene.cycles
    cycles.samples, cycles.pixel_filter_type, cycles.use_denoising, cycles.max_bounces = 8, "BOX", False, 0
    if scene.world is None:
        scene.world = bpy.data.worlds.new("sky")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(folder + "/seen.png")
    rgba = np.array(image.pixels[:], np.float32).reshape(height, width, 4)[::-1]
    bpy.data.images.remove(image)
    mask, known = rgba[..., 3] > 0.5, np.unpackbits(truth["masks"][row])[: width * height].reshape(height, width) > 0
    centres = [np.array(np.nonzero(m)).mean(1) for m in (mask, known)]
    return rgba, float((mask & known).sum() / (mask | known).sum()), float(np.linalg.norm(centres[0] - centres[1]))

def y_up(points):
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)

def surface(body, deformed=True):
    held = body.evaluated_get(bpy.context.evaluated_depsgraph_get()) if deformed else body
    mesh = held.to_mesh() if deformed else body.data
    points = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", points)
    place = np.array(held.matrix_world)
    return y_up(points.reshape(-1, 3).astype(float) @ place[:3, :3].T + place[:3, 3])

def read(path, how, rate):
    render = bpy.context.scene.render
    if how == "glb":  # its importer takes whole rates only: frame k is at k times the nearest whole rate over the clip's
        render.fps, render.fps_base = round(rate), 1.0
        bpy.ops.import_scene.gltf(filepath=path, disable_bone_shape=True)
        return render.fps / rate, 0
    if how == "fbx":
        bpy.ops.wm.fbx_import(filepath=path)
        return 1, 1
    if how == "old fbx":
        bpy.ops.import_scene.fbx(filepath=path)  # it sets the clip's rate and counts frames by the next whole one
        return render.fps / rate, 1
    bpy.ops.wm.usd_import(filepath=path)
    return 1, 0

folder = sys.argv[1]
facts = json.load(open(folder + "/cases.json"))
for case in facts["skeletons"]:
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
    found = {"file": case["file"], "bones": len(armature.data.bones), "worst_mm": round(1000 * worst, 4), "fps": fps}
    print(json.dumps({**found, "frames": scene.frame_end, "blender": bpy.app.version_string}))
truth = np.load(folder + "/surface.npz")
for case in facts["bodies"]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    stretch, first = read(folder + "/" + case["file"], case["reader"], facts["rate"])
    scene, meshes = bpy.context.scene, [o for o in bpy.data.objects if o.type == "MESH"]
    (armature,) = [o for o in bpy.data.objects if o.type == "ARMATURE"]
    off, low, pixels, ious, centres = [], [], [], [], []
    has_camera = any(o.type == "CAMERA" for o in bpy.data.objects)
    for frame, points in zip(truth["frames"], truth["surface_m"]):
        at = frame * stretch + first
        scene.frame_set(int(at), subframe=at % 1)
        found = surface(meshes[0])
        off.append(np.linalg.norm(found - points, axis=1))
        low.append(abs(found[:, 1].min() - points[:, 1].min()))
        if has_camera:
            row = len(low) - 1
            pixels.append(in_picture(scene, meshes[0], truth, row))
        if has_camera and row in facts["rendered"]:
            rgba, iou, centre = rendered(scene, truth, row)
            np.savez(f"{folder}/seen_{case['file']}_{case['reader']}_{frame}.npz", rgba=rgba)
            ious.append(iou)
            centres.append(centre)
    rest, seen = surface(meshes[0], deformed=False), {}
    if has_camera:
        seen = {"worst_px": round(max(pixels), 3), "worst_iou": round(min(ious), 4), "worst_centre_px": round(max(centres), 3)}
    print(json.dumps({
        "file": case["file"], "reader": case["reader"], "bones": len(armature.data.bones), "worst_mm": round(1000 * np.max(off), 4),
        "median_mm": round(1000 * float(np.median(off)), 4), "soles_mm": round(1000 * max(low), 4),
        "soles_at_rest_mm": round(1000 * abs(rest[:, 1].min()), 4), "fps": round(scene.render.fps / scene.render.fps_base, 4),
        **seen,
        "last_key": armature.animation_data.action.frame_range[1] - first, "objects": sorted(o.type for o in bpy.data.objects),
    }))
"""

# Format, options, Blender's readers, and how far a vertex may be, in millimetres.
_BODIES: tuple[tuple[str, dict[str, Any], tuple[str, ...], float], ...] = (
    ("glb", {}, ("glb",), 1.0),
    ("glb", {"rig": "mixamo", "camera": False}, ("glb",), 1.0),
    ("glb", {"rig": "unreal", "camera": False}, ("glb",), 1.0),
    ("glb", {"rig": "vrm", "rest": "t", "camera": False}, ("glb",), 50.0),
    ("fbx", {}, ("fbx", "old fbx"), 1.0),
    ("fbx", {"rig": "mixamo", "camera": False}, ("fbx", "old fbx"), 1.0),
    ("fbx", {"rig": "unreal", "units": "m"}, ("fbx", "old fbx"), 1.0),
    ("usd", {}, ("usd",), 1.0),
    ("usd", {"rig": "mixamo", "camera": False}, ("usd",), 1.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--pictures", type=Path, help="a folder for what each file's camera shows, over the video")
    parser.add_argument("--blender-python", default=sys.executable, help="the Python that the environment is made with (3.11)")
    args = parser.parse_args()

    from body4d.core.scene_io import load_scene
    from body4d.run.record import read_run

    python = args.env / "bin" / "python"
    if not python.is_file():
        subprocess.run([args.blender_python, "-m", "venv", args.env], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", BPY], check=True)
    with tempfile.TemporaryDirectory() as folder:
        scene = load_scene(args.run / "scene.npz", read_run(args.run).input.get("path"))
        allowed = write_cases(scene, Path(folder), str(python))
        done = subprocess.run([python, "-I", "-c", _INSIDE_BLENDER, folder], capture_output=True, text=True, check=False)
        if args.pictures and done.returncode == 0:
            lay_over_video(scene, Path(folder), args.pictures)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    print("\n".join(lines))
    found = [json.loads(line) for line in lines]
    if done.returncode or not found:
        sys.exit(done.stderr[-2000:])
    for line in found:
        stray = line.get("objects", ["MESH"]).count("MESH") != 1
        beside = line.get("worst_iou", 1) < MIN_IOU and allowed[line["file"]] <= 1
        if line["worst_mm"] > allowed[line["file"]] or line.get("soles_at_rest_mm", 0) > 1 or stray or beside:
            sys.exit(f"{line['file']} is not in Blender what it is here")


def lay_over_video(scene: "Scene", folder: Path, out: Path) -> None:
    """What each file's camera showed in Blender, over the clip's own pictures; over grey where the clip is not there any more."""
    import numpy as np
    from PIL import Image

    from body4d.video.reader import VideoReader

    out.mkdir(parents=True, exist_ok=True)
    is_there = scene.clip.path.is_file()
    for path in folder.glob("seen_*.npz"):
        frame = int(path.stem.rpartition("_")[2])
        with np.load(path) as held:
            rgba = held["rgba"]
        picture = (
            next(iter(VideoReader(scene.clip).read(frame, frame + 1)))[1] if is_there else np.full((*rgba.shape[:2], 3), 128, np.uint8)
        )
        laid = picture * (1 - rgba[..., 3:]) + 255 * rgba[..., :3]
        Image.fromarray(laid.clip(0, 255).astype(np.uint8)).save(out / f"{path.stem}.png")


def write_cases(scene: "Scene", folder: Path, blender: str) -> dict[str, float]:
    """Files of the first person in every format and by every rig, and where bones and surface are in twelve frames; returns how far each
    may be off, in millimetres."""
    import numpy as np

    from body4d.bodies.registry import rig_of
    from body4d.export import ExportOptions, export_scene
    from body4d.export.frame_grid import frame_grid
    from body4d.export.retarget import retarget
    from body4d.export.skeleton import skeletons_at
    from body4d.render.rasterizer import silhouette

    track = scene.people[0]
    at_s, step_s = frame_grid(scene.clip)
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
    rows = np.searchsorted(track.frame_index, frames)
    rig = rig_of(track)
    G, p = rig.forward(track.rotations[rows].astype(float), track.translation_m[rows].astype(float))
    vertices = rig.vertices(G, p).astype(float)
    cameras = [scene.camera.at(int(frame)) for frame in frames]
    np.savez(
        folder / "surface.npz",
        frames=frames,
        surface_m=scene.world_points(vertices, frames),
        size_px=[scene.clip.width_px, scene.clip.height_px],
        pixels=np.stack([camera.project(points) for camera, points in zip(cameras, vertices, strict=True)]),
        masks=np.stack([np.packbits(silhouette(points, rig.faces, camera)) for camera, points in zip(cameras, vertices, strict=True)]),
    )
    bodies, allowed = [], {case["file"]: 1.0 for case in cases}
    for fmt, choices, readers, limit_mm in _BODIES:
        name = "_".join([fmt, *(str(value) for key, value in choices.items() if key != "camera")]) + f".{fmt}"
        options = ExportOptions(person=track.person_id, blender=blender if fmt == "fbx" else "", **choices)
        export_scene(scene, fmt, folder / name, options)
        bodies += [{"file": name, "reader": reader} for reader in readers]
        allowed[name] = limit_mm
    (folder / "cases.json").write_text(json.dumps({"skeletons": cases, "bodies": bodies, "rate": 1 / step_s, "rendered": RENDERED}))
    return allowed


if __name__ == "__main__":
    main()
