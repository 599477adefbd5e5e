"""VRMA (VRMC_vrm_animation 1.0): one person's movement for any VRM avatar. Structure: docs/files.md.

The specification: T-pose at rest, facing +z, no scales, translation of the hips alone; eyes are no bones of an animation.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pygltflib as gl

from body4d.core.files import atomic_file
from body4d.core.types import BodyTrack, Scene
from body4d.export.character import make_character
from body4d.export.glb import add_bones, add_channel, started_gltf
from body4d.export.options import ExportOptions

_EXTENSION = "VRMC_vrm_animation"
_NO_TURN = np.array([0, 0, 0, 1], np.float32)


def write_vrma(scene: Scene, track: BodyTrack, path: Path, options: ExportOptions) -> None:
    """Write one person, keys at the clip's own times. Raises OutputError, SettingsError where the body lacks a bone that VRM requires."""
    at_s = scene.clip.times_s[track.frame_index]
    character = make_character(scene, track, replace(options, rig="vrm", rest="t"), at_s, twists=False)
    builder = started_gltf()
    gltf = builder.gltf
    # At rest somebody stands at the origin with the soles at y = 0: avatars scale the way by the height of their hips over that of these.
    joints = add_bones(builder, character, character.offsets_m)
    gltf.extensionsUsed = [_EXTENSION]
    bones = {name: {"node": node} for name, node in zip(character.plan.names, joints, strict=True)}
    gltf.extensions = {_EXTENSION: {"specVersion": "1.0", "humanoid": {"humanBones": bones}}}
    animation = gl.Animation(name=character.name)
    times = builder.add(at_s.astype(np.float32), bounds=True)
    with TemporaryDirectory() as folder:
        movement = character.movement(at_s, Path(folder), rigid=True)
        add_channel(builder, animation, joints[0], "translation", times, movement.root_m)
        for k in range(len(joints)):
            # A bone that keeps a turn, such as a bent finger, has it as a channel too: at rest it has none.
            if character.turning[k] or np.abs(movement.quats[0, k] - _NO_TURN).max() > 1e-6:
                add_channel(builder, animation, joints[k], "rotation", times, movement.quats[:, k])
    gltf.animations = [animation]
    gltf.scenes = [gl.Scene(name=character.name, nodes=[joints[0]])]
    gltf.scene = 0
    with atomic_file(path) as file:
        builder.write(file)
