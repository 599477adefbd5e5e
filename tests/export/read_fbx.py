"""Prints one thing that ufbx reads in an FBX, as JSON: python read_fbx.py FILE THING

A process of its own for every file and thing, in which nothing is freed: ufbx 0.0.5 crashes on a second file, and in what moves a node.
Surfaces are compared in Blender, whose importer is ufbx too (scripts/check_blender.py).
"""

import gc
import json
import os
import sys

import ufbx

gc.disable()
path, thing = sys.argv[1:]
scene = ufbx.load_file(path)
THINGS = {
    "frames_per_second": lambda: scene.settings.frames_per_second,
    "unit_m": lambda: scene.settings.unit_meters,
    "up": lambda: scene.settings.axes.up.name,
    "seconds": lambda: scene.anim_stacks[0].time_end,
    "animations": lambda: [each.name for each in scene.anim_stacks],
    "meshes": lambda: [each.name for each in scene.meshes],
    "vertices": lambda: scene.meshes[0].num_vertices,
    "nodes": lambda: [node.name for node in list(scene.nodes)[1:]],
    "scales": lambda: [node.local_transform.scale.x for node in list(scene.nodes)[1:]],
}
print(json.dumps(THINGS[thing]()), flush=True)
os._exit(0)
