"""GLB (glTF 2.0): everybody in one file, rigged, skinned and animated, with the clip's camera. Structure: docs/files.md."""

from pathlib import Path

import numpy as np
import pygltflib as gl
from jaxtyping import Bool, Float, Int

from body4d.bodies.registry import rig_of
from body4d.core.files import atomic_file
from body4d.core.rig import Rig, vertex_normals
from body4d.core.types import BodyTrack, Clip, Scene
from body4d.export.gltf_builder import GltfBuilder
from body4d.export.options import ExportOptions
from body4d.export.skeleton import REST_TO_Y_UP, Skeleton, build_skeleton
from body4d.geometry.rotations import matrix_to_quat
from body4d.render.shading import srgb_to_linear
from body4d.render.style import person_colour

_ROUGHNESS = 0.75  # cloth and skin, neither mirror nor chalk
_NEAR_M = 0.01
_NUM_INFLUENCES = 4  # glTF's one set of joints


def write_glb(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write ``scene`` to ``path``. Raises OutputError."""
    content = glb_bytes(scene)
    with atomic_file(path) as file:
        file.write(content)


def glb_bytes(scene: Scene) -> bytes:
    """``scene`` as a GLB. Axes: the floor-aligned world, y up, metres; times: ``Clip.times_s``."""
    from body4d.core.version import __version__

    builder = GltfBuilder()
    gltf = builder.gltf
    gltf.asset = gl.Asset(version="2.0", generator=f"body4d {__version__}")
    animation = gl.Animation(name="movement")
    skinning: dict[str, tuple[int, int, int]] = {}
    roots = []
    for index, track in enumerate(scene.people):
        rig = rig_of(track)
        skeleton = build_skeleton(rig, track, scene.T_world_camera)
        if track.body not in skinning:  # triangles and weights are the body model's, so people share them
            skinning[track.body] = _add_skinning(builder, rig)
        person, joints = _add_person(builder, rig, skeleton, track, skinning[track.body], index)
        _animate(builder, animation, skeleton, track, scene.clip, person, joints)
        roots.append(person)
    gltf.animations = [animation]
    roots.append(_add_camera(builder, scene))
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
    return builder.to_bytes()


def _add_skinning(builder: GltfBuilder, rig: Rig) -> tuple[int, int, int]:
    """Accessors of triangles, joint indices and weights."""
    small = len(rig.rest_vertices_m) < 2**16 - 1  # the largest index restarts primitives
    faces = builder.add(rig.faces.reshape(-1).astype("u2" if small else "u4"), gl.ELEMENT_ARRAY_BUFFER)
    indices, weights = four_influences(rig.skin_indices, rig.skin_weights)
    joints = builder.add(indices.astype("u1" if len(rig.parents) <= 256 else "u2"), gl.ARRAY_BUFFER)
    return faces, joints, builder.add(weights, gl.ARRAY_BUFFER)


def four_influences(
    indices: Int[np.ndarray, "v w"], weights: Float[np.ndarray, "v w"]
) -> tuple[Int[np.ndarray, "v 4"], Float[np.ndarray, "v 4"]]:
    """The four strongest joints of each vertex and float32 weights that sum to 1; unused columns hold joint 0, weight 0."""
    short = max(_NUM_INFLUENCES - weights.shape[1], 0)
    indices, weights = np.pad(indices, ((0, 0), (0, short))), np.pad(weights, ((0, 0), (0, short)))
    order = np.argsort(-weights, axis=1, kind="stable")[:, :_NUM_INFLUENCES]
    indices, kept = np.take_along_axis(indices, order, 1), np.take_along_axis(weights, order, 1)
    kept = (kept / kept.sum(1, keepdims=True)).astype(np.float32)
    kept[:, 0] = 1 - kept[:, 1:].sum(1, dtype=np.float32)  # the strongest takes the rounding
    return np.where(kept > 0, indices, 0), kept


def _add_person(
    builder: GltfBuilder, rig: Rig, skeleton: Skeleton, track: BodyTrack, skinning: tuple[int, int, int], index: int
) -> tuple[int, list[int]]:
    """Mesh, material, skin and nodes of one person; returns the person's node and the joints' nodes."""
    gltf = builder.gltf
    name = f"person_{track.person_id}"
    vertices = (rig.rest_vertices_m @ REST_TO_Y_UP).astype(np.float32)
    faces, joint_indices, weights = skinning
    attributes = gl.Attributes(
        POSITION=builder.add(vertices, gl.ARRAY_BUFFER, bounds=True),
        NORMAL=builder.add(gltf_normals(vertices, rig.faces), gl.ARRAY_BUFFER),
        JOINTS_0=joint_indices,
        WEIGHTS_0=weights,
    )
    linear = srgb_to_linear(np.array(person_colour(index)) / 255)  # glTF's factors are linear
    surface = gl.PbrMetallicRoughness(baseColorFactor=[*linear.round(4).tolist(), 1.0], metallicFactor=0.0, roughnessFactor=_ROUGHNESS)
    gltf.materials.append(gl.Material(name=name, pbrMetallicRoughness=surface, alphaCutoff=None))
    gltf.meshes.append(
        gl.Mesh(name=name, primitives=[gl.Primitive(attributes=attributes, indices=faces, material=len(gltf.materials) - 1)])
    )
    extras = {
        "person_id": track.person_id,
        "body": track.body,
        "height_m": round(rig.height_m, 4),
        "frames_followed": len(track),
        "first_frame": int(track.frame_index[0]),
        "last_frame": int(track.frame_index[-1]),
    }
    if track.height_assumed is not None:
        extras["height_assumed"] = track.height_assumed
    person = builder.node(name=name, mesh=len(gltf.meshes) - 1, extras=extras)
    # Nodes have the pose of the first followed frame, so that a viewer that plays nothing still shows a pose where it happened.
    quats = gltf_quats(skeleton.rotations[0])
    offsets = skeleton.offsets_m
    offsets[0] = skeleton.root_m[0]
    first = len(gltf.nodes)
    joints = [
        builder.node(
            name=joint,
            translation=offsets[j].astype(np.float32).tolist(),
            rotation=quats[j].tolist(),
            children=[first + int(child) for child in np.flatnonzero(skeleton.parents == j)],
        )
        for j, joint in enumerate(skeleton.names)
    ]
    inverse_bind = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse_bind[:, :3, 3] = -skeleton.rest_m
    columns = np.swapaxes(inverse_bind, 1, 2).reshape(-1, 16)  # glTF's matrices go column by column
    gltf.skins.append(gl.Skin(name=name, joints=joints, skeleton=joints[0], inverseBindMatrices=builder.add(columns)))
    gltf.nodes[person].skin, gltf.nodes[person].children = len(gltf.skins) - 1, [joints[0]]
    return person, joints


def _animate(
    builder: GltfBuilder, animation: gl.Animation, skeleton: Skeleton, track: BodyTrack, clip: Clip, person: int, joints: list[int]
) -> None:
    """Channels of one person: the root's position, every joint that turns, and whether the person is followed."""
    times = builder.add(clip.times_s[track.frame_index].astype(np.float32), bounds=True)

    def channel(node: int, path: str, inputs: int, values: np.ndarray, interpolation: str = "LINEAR") -> None:
        animation.samplers.append(gl.AnimationSampler(input=inputs, output=builder.add(values), interpolation=interpolation))
        target = gl.AnimationChannelTarget(node=node, path=path)
        animation.channels.append(gl.AnimationChannel(sampler=len(animation.samplers) - 1, target=target))

    channel(joints[0], "translation", times, skeleton.root_m.astype(np.float32))
    for j in np.flatnonzero(skeleton.moving_joints()):
        channel(joints[j], "rotation", times, gltf_quats(skeleton.rotations[:, j]))
    frames, visible = visibility_keys(track, len(clip))
    if not visible.all():
        # Core glTF cannot animate visibility; a scale that steps between 0 and 1 works in every viewer. It cannot be
        # on the person's node (nodes that carry a skinned mesh do not move it) and should not be on a joint (retargeting reads those).
        gate = builder.node(name=f"person_{track.person_id}_followed", children=[joints[0]])
        builder.gltf.nodes[person].children = [gate]
        scales = np.repeat(visible[:, None], 3, axis=1).astype(np.float32)
        channel(gate, "scale", builder.add(clip.times_s[frames].astype(np.float32), bounds=True), scales, "STEP")


def visibility_keys(track: BodyTrack, frames: int) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Clip frames where a person comes or goes, with the first and the last of the clip, and whether they are followed there."""
    followed = np.zeros(frames, bool)
    followed[track.frame_index] = True
    changes = np.flatnonzero(np.diff(followed)) + 1
    keys = np.unique(np.concatenate([[0], changes, [frames - 1]])).astype(np.int64)
    return keys, followed[keys]


def gltf_quats(matrices: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 4"]:
    """float32 quaternions, x y z w, of rotations, each on the same side as the one before it."""
    quats = matrix_to_quat(matrices)
    flips = np.sign(np.einsum("ta,ta->t", quats[1:], quats[:-1]))
    quats[1:] *= np.cumprod(np.where(flips == 0, 1, flips))[:, None]
    return np.ascontiguousarray(quats[:, [1, 2, 3, 0]], np.float32)


def gltf_normals(vertices_m: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Unit normals, as glTF requires of every vertex: one that belongs to no triangle points up."""
    normals = vertex_normals(vertices_m, faces)
    normals[~normals.any(1)] = (0.0, 1.0, 0.0)
    return normals


def _add_camera(builder: GltfBuilder, scene: Scene) -> int:
    """The clip's camera. glTF's cameras look along -z with y up and have their principal point in the middle."""
    camera = scene.camera
    yfov = 2 * np.arctan(camera.height_px / (2 * camera.focal_px))
    lens = gl.Perspective(aspectRatio=camera.width_px / camera.height_px, yfov=float(yfov), znear=_NEAR_M)
    builder.gltf.cameras.append(gl.Camera(name="camera", type="perspective", perspective=lens))
    rotation = gltf_quats((scene.T_world_camera[:3, :3] @ REST_TO_Y_UP)[None])[0]
    return builder.node(name="camera", camera=0, translation=scene.T_world_camera[:3, 3].tolist(), rotation=rotation.tolist())
