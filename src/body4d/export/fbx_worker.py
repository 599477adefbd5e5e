"""Builds characters in Blender and has its exporter write them: run by Blender or by a Python with bpy, which need not have body4d.

    blender -b -P fbx_worker.py -- FOLDER
    python -c "$(cat fbx_worker.py)" FOLDER

FOLDER is what ``body4d.export.fbx`` makes: facts.json and the characters' arrays. Keys stand on whole frames, so that the exporter,
which samples them, writes them as they are. Nothing is turned between axes: the scene is built y up, as the file is to be.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

BONE_M = 0.05
"""Length of the bones' drawing."""

_LINEAR = 1  # Blender's number of that interpolation


def main(folder: Path) -> None:
    """Write ``made.fbx`` into ``folder``."""
    bpy: Any = import_module("bpy")
    facts = json.loads((folder / "facts.json").read_text())
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if "fbx" not in dir(bpy.ops.export_scene):
        bpy.ops.preferences.addon_enable(module="io_scene_fbx")
    scene = bpy.context.scene
    scene.name = "movement"  # what the file calls its animation
    scene.unit_settings.scale_length = 1 / facts["per_metre"]
    scene.render.fps = max(round(1 / facts["step_s"]), 1)
    scene.render.fps_base = scene.render.fps * facts["step_s"]
    scene.frame_start, scene.frame_end = 0, facts["frames"] - 1
    for character in facts["characters"]:
        _add_character(bpy, folder / character["folder"], character, facts["per_metre"])
    if "camera" in facts:
        with np.load(folder / "camera.npz", allow_pickle=False) as motion:
            _add_camera(bpy, facts["camera"], motion, facts["per_metre"])
    bpy.ops.export_scene.fbx(
        filepath=str(folder / "made.fbx"),
        object_types={"ARMATURE", "MESH", "CAMERA"},
        use_space_transform=False,
        axis_forward="-Z",
        axis_up="Y",
        apply_scale_options="FBX_SCALE_UNITS",
        use_mesh_modifiers=False,
        add_leaf_bones=False,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=False,
        bake_anim_simplify_factor=0.0,
    )


def _add_character(bpy: Any, folder: Path, character: dict[str, Any], per_metre: float) -> None:
    arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")}
    skeleton = bpy.data.objects.new(character["name"], bpy.data.armatures.new(character["name"]))
    bpy.context.collection.objects.link(skeleton)
    bpy.context.view_layer.objects.active = skeleton
    bpy.ops.object.mode_set(mode="EDIT")
    bones = []
    for name, place, parent in zip(character["bones"], arrays["rest"] * per_metre, arrays["parents"], strict=True):
        bone = skeleton.data.edit_bones.new(name)
        bone.head = place
        bone.tail = place + np.array([0, BONE_M * per_metre, 0])  # along y: a bone's axes at rest then are those of the world
        bone.parent = bones[parent] if parent >= 0 else None
        bones.append(bone)
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in skeleton.pose.bones:
        bone.rotation_mode = "QUATERNION"

    mesh = bpy.data.meshes.new(character["mesh"])
    mesh.from_pydata((arrays["vertices"] * per_metre).tolist(), [], arrays["faces"].tolist())
    mesh.polygons.foreach_set("use_smooth", [True] * len(mesh.polygons))
    material = bpy.data.materials.new(character["name"])
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*character["colour"], 1.0)
    mesh.materials.append(material)
    body = bpy.data.objects.new(character["mesh"], mesh)
    bpy.context.collection.objects.link(body)
    body.parent = skeleton
    groups = [body.vertex_groups.new(name=name) for name in character["bones"]]
    for vertex, (joints, weights) in enumerate(zip(arrays["skin_indices"].tolist(), arrays["skin_weights"].tolist(), strict=True)):
        for joint, weight in zip(joints, weights, strict=True):
            if weight > 0:
                groups[joint].add([vertex], weight, "REPLACE")
    modifier = body.modifiers.new("skin", "ARMATURE")
    modifier.object = skeleton
    modifier.show_viewport = False  # else every frame that the exporter samples deforms the mesh
    _animate(bpy, skeleton, character, arrays, per_metre)


def _add_camera(bpy: Any, lens: dict[str, Any], motion: Any, per_metre: float) -> None:
    """The clip's camera, a key on every frame."""
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.sensor_width = "HORIZONTAL", lens["sensor_mm"]
    camera.shift_x, camera.shift_y = lens["shift"]
    camera.lens = float(motion["lens_mm"][0])
    camera.clip_start, camera.clip_end = 0.01 * per_metre, 1000 * per_metre
    node = bpy.data.objects.new("camera", camera)
    node.rotation_mode = "QUATERNION"
    bpy.context.collection.objects.link(node)
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = lens["size_px"]  # the exporter's proportions of the picture
    curves = _new_curves(bpy, node, "OBJECT", "camera")
    for column, values in enumerate(motion["quats"][:, [3, 0, 1, 2]].T):
        _keys(curves, "rotation_quaternion", column, values)
    for column, values in enumerate((motion["places_m"] * per_metre).T):
        _keys(curves, "location", column, values)
    if lens["zooms"]:
        _keys(_new_curves(bpy, camera, "CAMERA", "lens"), "lens", 0, motion["lens_mm"])


def _new_curves(bpy: Any, thing: Any, kind: str, name: str) -> Any:
    """Where curves of a new action of ``thing`` are made; ``kind`` is Blender's word for what it is."""
    animation = thing.animation_data_create()
    animation.action = action = bpy.data.actions.new(name)
    if not hasattr(action, "layers"):  # before Blender 4.4
        return action.fcurves
    animation.action_slot = slot = action.slots.new(id_type=kind, name=name)
    return action.layers.new("movement").strips.new(type="KEYFRAME").channelbag(slot, ensure=True).fcurves


def _keys(curves: Any, path: str, column: int, values: np.ndarray) -> None:
    """A curve with a key on every frame."""
    curve = curves.new(path, index=column)
    curve.keyframe_points.add(len(values))
    curve.keyframe_points.foreach_set("co", np.stack([np.arange(len(values)), values], axis=1).astype(np.float32).reshape(-1))
    curve.keyframe_points.foreach_set("interpolation", [_LINEAR] * len(values))
    curve.update()


def _animate(bpy: Any, skeleton: Any, character: dict[str, Any], arrays: dict[str, np.ndarray], per_metre: float) -> None:
    """Keys of all bones. A bone's place is told from where it is at rest, in its own axes, which are the world's or those above."""
    curves = _new_curves(bpy, skeleton, "OBJECT", character["name"])
    parents, rest = arrays["parents"], np.array(arrays["rest"])
    offsets = rest - np.where(parents[:, None] >= 0, rest[np.maximum(parents, 0)], 0.0)

    def keys(bone: int, path: str, column: int, values: np.ndarray) -> None:
        _keys(curves, f'pose.bones["{bpy.utils.escape_identifier(character["bones"][bone])}"].{path}', column, values)

    for bone in range(len(parents)):
        quats = arrays["quats"][:, bone] if arrays["turning"][bone] else arrays["quats"][:1, bone]
        for column, values in enumerate(quats[:, [3, 0, 1, 2]].T):
            keys(bone, "rotation_quaternion", column, values)
    for bone, places in ((0, arrays["root"]), *((k, arrays[f"place_{k}"]) for k in character["slides"])):
        for column, values in enumerate(((places - offsets[bone]) * per_metre).T):
            keys(bone, "location", column, values)


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
