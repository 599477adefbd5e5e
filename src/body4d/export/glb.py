"""GLB (glTF 2.0): everybody in one file, rigged, skinned and animated, with the clip's camera. Structure: docs/files.md."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pygltflib as gl
from jaxtyping import Bool, Float, Int

from body4d.core.files import atomic_file
from body4d.core.rig import vertex_normals
from body4d.core.types import BodyTrack, Clip, Scene
from body4d.export.camera_motion import CameraMotion
from body4d.export.character import Character, continuous_quats, make_character
from body4d.export.gltf_builder import GltfBuilder
from body4d.export.options import ExportOptions
from body4d.render.shading import srgb_to_linear
from body4d.render.style import person_colour

ROUGHNESS = 0.75  # cloth and skin, neither mirror nor chalk
_NEAR_M = 0.01
_POINTER = "KHR_animation_pointer"


def write_glb(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write ``scene`` to ``path``. Raises OutputError, SettingsError for a rig that no mesh can have."""
    builder = build_glb(scene, options)
    with atomic_file(path) as file:
        builder.write(file)


def glb_bytes(scene: Scene) -> bytes:
    """``scene`` as a GLB, in memory."""
    content = BytesIO()
    build_glb(scene, ExportOptions()).write(content)
    return content.getvalue()


def build_glb(scene: Scene, options: ExportOptions) -> GltfBuilder:
    """``scene`` as a GLB. Axes: the floor-aligned world, y up, metres; times: ``Clip.times_s``."""
    builder = started_gltf()
    gltf = builder.gltf
    animation = gl.Animation(name="movement")
    skinning: dict[bytes, tuple[int, int, int]] = {}
    roots = []
    for index, track in enumerate(scene.people):
        character = make_character(scene, track, options, scene.clip.times_s[track.frame_index])
        # Triangles and weights are the body model's, so people share them; where joints are composed, as far as the same ones are.
        shared = track.body.encode() + character.plan.source.tobytes()
        if shared not in skinning:
            skinning[shared] = _add_skinning(builder, character)
        person, joints = _add_person(builder, character, skinning[shared], index, options.rig)
        _animate(builder, animation, character, scene.clip, person, joints)
        roots.append(person)
    gltf.animations = [animation]
    if options.camera:
        roots.append(_add_camera(builder, animation, scene))
    clip = scene.clip
    extras = {
        "units": "m",
        "fps": clip.fps,
        "frame_rate": [clip.rate.numerator, clip.rate.denominator],
        "frames": len(clip),
        "duration_s": float(clip.times_s[-1]),
        "time_scale": clip.time_scale,
    }
    gltf.scenes = [gl.Scene(name="body4d", nodes=roots, extras=extras)]
    gltf.scene = 0
    return builder


def started_gltf() -> GltfBuilder:
    """A document that says who writes it."""
    from body4d.core.version import __version__

    builder = GltfBuilder()
    builder.gltf.asset = gl.Asset(version="2.0", generator=f"body4d {__version__}")
    return builder


def _add_skinning(builder: GltfBuilder, character: Character) -> tuple[int, int, int]:
    """Accessors of triangles, joint indices and weights."""
    small = len(character.vertices_m) < 2**16 - 1  # the largest index restarts primitives
    faces = builder.add(character.rig.faces.reshape(-1).astype("u2" if small else "u4"), gl.ELEMENT_ARRAY_BUFFER)
    joints = builder.add(character.skin_indices.astype("u1" if len(character.plan.names) <= 256 else "u2"), gl.ARRAY_BUFFER)
    return faces, joints, builder.add(character.skin_weights, gl.ARRAY_BUFFER)


def _add_person(
    builder: GltfBuilder, character: Character, skinning: tuple[int, int, int], index: int, rig_name: str
) -> tuple[int, list[int]]:
    """Mesh, material, skin and nodes of one person; returns the person's node and the joints' nodes."""
    gltf, name, track, plan = builder.gltf, character.name, character.track, character.plan
    vertices = character.vertices_m.astype(np.float32)
    faces, joint_indices, weights = skinning
    attributes = gl.Attributes(
        POSITION=builder.add(vertices, gl.ARRAY_BUFFER, bounds=True),
        NORMAL=builder.add(gltf_normals(vertices, character.rig.faces), gl.ARRAY_BUFFER),
        JOINTS_0=joint_indices,
        WEIGHTS_0=weights,
    )
    linear = srgb_to_linear(np.array(person_colour(index)) / 255)  # glTF's factors are linear
    surface = gl.PbrMetallicRoughness(baseColorFactor=[*linear.round(4).tolist(), 1.0], metallicFactor=0.0, roughnessFactor=ROUGHNESS)
    gltf.materials.append(gl.Material(name=name, pbrMetallicRoughness=surface, alphaCutoff=None))
    gltf.meshes.append(
        gl.Mesh(name=name, primitives=[gl.Primitive(attributes=attributes, indices=faces, material=len(gltf.materials) - 1)])
    )
    extras = {
        "person_id": track.person_id,
        "body": track.body,
        "rig": rig_name,
        "height_m": round(character.rig.height_m, 4),
        "frames_followed": len(track),
        "first_frame": int(track.frame_index[0]),
        "last_frame": int(track.frame_index[-1]),
    }
    if track.height_assumed is not None:
        extras["height_assumed"] = track.height_assumed
    person = builder.node(name=name, mesh=len(gltf.meshes) - 1, extras=extras)
    # Nodes have the pose of the first followed frame, so that a viewer that plays nothing still shows a pose where it happened.
    first_frame = next(character.stretches(character.scene.clip.times_s[track.frame_index[:1]]))
    quats, offsets = continuous_quats(first_frame.rotations)[0], character.offsets_m
    offsets[0] = first_frame.root_m[0]
    for k, places in first_frame.places_m.items():
        offsets[k] = places[0]
    joints = add_bones(builder, character, offsets, quats)
    inverse_bind = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse_bind[:, :3, 3] = -plan.rest_m
    columns = np.swapaxes(inverse_bind, 1, 2).reshape(-1, 16)  # glTF's matrices go column by column
    gltf.skins.append(gl.Skin(name=name, joints=joints, skeleton=joints[0], inverseBindMatrices=builder.add(columns)))
    gltf.nodes[person].skin, gltf.nodes[person].children = len(gltf.skins) - 1, [joints[0]]
    return person, joints


def add_bones(
    builder: GltfBuilder, character: Character, offsets_m: Float[np.ndarray, "bones 3"], quats: Float[np.ndarray, "bones 4"] | None = None
) -> list[int]:
    """Nodes of all bones, at ``offsets_m`` from the ones above, turned by ``quats``; the root's is the first."""
    first = len(builder.gltf.nodes)
    return [
        builder.node(
            name=name,
            translation=offsets_m[k].astype(np.float32).tolist(),
            rotation=None if quats is None else quats[k].tolist(),
            children=[first + int(child) for child in np.flatnonzero(character.plan.parents == k)],
        )
        for k, name in enumerate(character.plan.names)
    ]


def add_channel(
    builder: GltfBuilder, animation: gl.Animation, node: int, path: str, times: int, values: np.ndarray, interpolation: str = "LINEAR"
) -> None:
    """One property of a node, ``values`` at the accessor ``times``."""
    animation.samplers.append(gl.AnimationSampler(input=times, output=builder.add(values), interpolation=interpolation))
    target = gl.AnimationChannelTarget(node=node, path=path)
    animation.channels.append(gl.AnimationChannel(sampler=len(animation.samplers) - 1, target=target))


def add_pointer_channel(builder: GltfBuilder, animation: gl.Animation, pointer: str, times: int, values: np.ndarray) -> None:
    """Any property of the document, by KHR_animation_pointer: core glTF animates nodes alone. Readers without it leave it still."""
    builder.gltf.extensionsUsed = sorted({*builder.gltf.extensionsUsed, _POINTER})
    animation.samplers.append(gl.AnimationSampler(input=times, output=builder.add(values), interpolation="LINEAR"))
    target = gl.AnimationChannelTarget(path="pointer", extensions={_POINTER: {"pointer": pointer}})
    animation.channels.append(gl.AnimationChannel(sampler=len(animation.samplers) - 1, target=target))


def _animate(builder: GltfBuilder, animation: gl.Animation, character: Character, clip: Clip, person: int, joints: list[int]) -> None:
    """Channels of one person: the root's position, every joint that turns or slides, and whether the person is followed."""
    track = character.track
    at_s = clip.times_s[track.frame_index]
    times = builder.add(at_s.astype(np.float32), bounds=True)
    with TemporaryDirectory() as folder:
        movement = character.movement(at_s, Path(folder))
        add_channel(builder, animation, joints[0], "translation", times, movement.root_m)
        for k in np.flatnonzero(character.turning):
            add_channel(builder, animation, joints[k], "rotation", times, movement.quats[:, k])
        for k, places in movement.places_m.items():
            add_channel(builder, animation, joints[k], "translation", times, places)
    frames, visible = visibility_keys(track, len(clip))
    if not visible.all():
        # Core glTF cannot animate visibility; a scale that steps between 0 and 1 works in every viewer. It cannot be
        # on the person's node (nodes that carry a skinned mesh do not move it) and should not be on a joint (retargeting reads those).
        gate = builder.node(name=f"{character.name}_followed", children=[joints[0]])
        builder.gltf.nodes[person].children = [gate]
        scales = np.repeat(visible[:, None], 3, axis=1).astype(np.float32)
        add_channel(builder, animation, gate, "scale", builder.add(clip.times_s[frames].astype(np.float32), bounds=True), scales, "STEP")


def visibility_keys(track: BodyTrack, frames: int) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Clip frames where a person comes or goes, with the first and the last of the clip, and whether they are followed there."""
    followed = np.zeros(frames, bool)
    followed[track.frame_index] = True
    changes = np.flatnonzero(np.diff(followed)) + 1
    keys = np.unique(np.concatenate([[0], changes, [frames - 1]])).astype(np.int64)
    return keys, followed[keys]


def gltf_normals(vertices_m: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Unit normals, as glTF requires of every vertex: one that belongs to no triangle points up."""
    normals = vertex_normals(vertices_m, faces)
    normals[~normals.any(1)] = (0.0, 1.0, 0.0)
    return normals


def _add_camera(builder: GltfBuilder, animation: gl.Animation, scene: Scene) -> int:
    """The clip's camera, animated where it moves. glTF's cameras look along -z with y up and have their principal point in the middle."""
    camera, clip = scene.camera, scene.clip
    moves = camera.path is not None
    motion = CameraMotion.at(scene, clip.times_s if moves else clip.times_s[:1])
    yfov = 2 * np.arctan(camera.height_px / (2 * motion.focal_px))
    lens = gl.Perspective(aspectRatio=camera.width_px / camera.height_px, yfov=float(yfov[0]), znear=_NEAR_M)
    builder.gltf.cameras.append(gl.Camera(name="camera", type="perspective", perspective=lens))
    node = builder.node(name="camera", camera=0, translation=motion.place_m[0].tolist(), rotation=motion.y_up_quats[0].tolist())
    if moves:
        times = builder.add(clip.times_s.astype(np.float32), bounds=True)
        add_channel(builder, animation, node, "translation", times, motion.place_m.astype(np.float32))
        add_channel(builder, animation, node, "rotation", times, motion.y_up_quats)
        if motion.zooms:
            add_pointer_channel(builder, animation, "/cameras/0/perspective/yfov", times, yfov.astype(np.float32))
    return node
