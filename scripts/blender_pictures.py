"""Pictures of our files in Blender, for docs/formats.md.

    python scripts/blender_pictures.py ENV RUN docs/formats

ENV is the environment of scripts/check_blender.py, RUN a finished run, such as that of `body4d demo`. GLB, FBX and USD are exported, read
by Blender's own importers and rendered by Cycles.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

_INSIDE_BLENDER = """
import json, math, sys
import bpy
import mathutils
import numpy as np

folder = sys.argv[1]
facts = json.load(open(folder + "/facts.json"))

def start():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 24, True
    scene.render.resolution_x, scene.render.resolution_y = 800, 450
    scene.view_settings.view_transform = "Standard"
    scene.world = bpy.data.worlds.new("sky")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = (0.75, 0.82, 0.9, 1)
    bpy.ops.object.light_add(type="SUN", rotation=(math.radians(50), 0, math.radians(30)))
    bpy.context.object.data.energy, bpy.context.object.data.angle = 2.5, 0.05
    bpy.ops.mesh.primitive_plane_add(size=40)
    bpy.context.object.data.materials.append(colour("floor", (0.45, 0.5, 0.45)))
    return scene

def colour(name, rgb, alpha=1.0):
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    shader = material.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value, shader.inputs["Roughness"].default_value = (*rgb, 1), 0.8
    shader.inputs["Alpha"].default_value = alpha
    return material

def look(scene, place, at, lens):
    camera = bpy.data.objects.new("view", bpy.data.cameras.new("view"))
    scene.collection.objects.link(camera)
    camera.location, camera.data.lens = place, lens
    camera.rotation_euler = (mathutils.Vector(at) - mathutils.Vector(place)).to_track_quat("-Z", "Y").to_euler()
    scene.camera = camera

def render(scene, name):
    scene.render.filepath = folder + "/" + name + ".png"
    bpy.ops.render.render(write_still=True)

def posed(body):
    mesh = bpy.data.meshes.new_from_object(body.evaluated_get(bpy.context.evaluated_depsgraph_get()))
    mesh.transform(body.matrix_world)
    return mesh

def body_and_bones():
    return next(o for o in bpy.data.objects if o.type == "MESH" and o.name.startswith("person")), next(
        o for o in bpy.data.objects if o.type == "ARMATURE")

# The GLB through the camera of its own file.
scene = start()
scene.render.fps = round(facts["rate"])
bpy.ops.import_scene.gltf(filepath=folder + "/body.glb", disable_bone_shape=True)
scene.camera = next(o for o in bpy.data.objects if o.type == "CAMERA")
scene.frame_set(facts["frames"] // 2)
render(scene, "glb")

# FBX in both rest poses, with the bones that it has.
scene = start()
for x, name in ((-1.0, "a.fbx"), (1.0, "t.fbx")):
    before = set(bpy.data.objects)
    bpy.ops.wm.fbx_import(filepath=folder + "/" + name)
    body, bones = (next(o for o in set(bpy.data.objects) - before if o.type == kind) for kind in ("MESH", "ARMATURE"))
    bones.data.pose_position = "REST"
    bpy.context.view_layer.update()
    shown = bpy.data.objects.new("rest", posed(body))
    shown.location.x, body.hide_render = x, True
    shown.data.materials.clear()
    shown.data.materials.append(colour("skin", (0.9, 0.45, 0.2), 0.35))
    scene.collection.objects.link(shown)
    dark = colour("bones", (0.02, 0.04, 0.15))
    for bone in bones.data.bones:
        head = bones.matrix_world @ bone.head_local
        bpy.ops.mesh.primitive_uv_sphere_add(radius=0.012, location=head + mathutils.Vector((x, 0, 0)))
        bpy.context.object.data.materials.append(dark)
        if bone.parent:
            top = bones.matrix_world @ bone.parent.head_local
            middle = (head + top) / 2 + mathutils.Vector((x, 0, 0))
            bpy.ops.mesh.primitive_cylinder_add(radius=0.006, depth=(head - top).length, location=middle)
            bpy.context.object.rotation_euler = (head - top).to_track_quat("Z", "Y").to_euler()
            bpy.context.object.data.materials.append(dark)
look(scene, (0, -6.2, 1.5), (0, 0, 0.9), 50)
render(scene, "fbx")

# USD: moments beside each other.
scene = start()
bpy.ops.wm.usd_import(filepath=folder + "/body.usdc")
body = max((o for o in bpy.data.objects if o.type == "MESH"), key=lambda o: len(o.data.vertices))
middle = None
for k, frame in enumerate(facts["moments"]):
    scene.frame_set(frame)
    mesh = posed(body)
    points = np.array([v.co for v in mesh.vertices])
    middle = points.mean(0) if middle is None else middle
    shown = bpy.data.objects.new("moment", mesh)
    shown.location.x = (k - (len(facts["moments"]) - 1) / 2) * 1.15 - middle[0]
    shown.location.y = -middle[1]
    scene.collection.objects.link(shown)
body.hide_render = True
look(scene, (0, -9.0, 1.6), (0, 0, 0.95), 50)
render(scene, "usd")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()

    import numpy as np
    from PIL import Image

    from body4d.core.scene_io import load_scene
    from body4d.export import ExportOptions, export_scene
    from body4d.export.frame_grid import frame_grid

    python = args.env / "bin" / "python"
    scene = load_scene(args.run / "scene.npz")
    person = scene.people[0].person_id
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_scene(scene, "glb", folder, ExportOptions(person=person))
        export_scene(scene, "usd", folder, ExportOptions(person=person))
        for rest in "at":
            export_scene(scene, "fbx", folder / f"{rest}.fbx", ExportOptions(person=person, rig="mixamo", rest=rest, blender=str(python)))
        at_s, step_s = frame_grid(scene.clip)
        moments = np.linspace(0, len(at_s) - 1, 5).astype(int).tolist()
        (folder / "facts.json").write_text(json.dumps({"rate": 1 / step_s, "frames": len(at_s), "moments": moments}))
        done = subprocess.run([python, "-I", "-c", _INSIDE_BLENDER, name], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr[-2000:])
        args.out.mkdir(parents=True, exist_ok=True)
        for picture in ("glb", "fbx", "usd"):
            with Image.open(folder / f"{picture}.png") as image:
                image.convert("RGB").save(args.out / f"blender_{picture}.webp", quality=70, method=6)


if __name__ == "__main__":
    main()
