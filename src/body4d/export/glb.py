"""GLB (glTF 2.0): everybody in one file, rigged, skinned and animated, with the camera that saw them. Structure: docs/files.md."""

from pathlib import Path

import numpy as np
import pygltflib as gl

from body4d.bodies.registry import rig_of
from body4d.core.files import atomic_file
from body4d.core.rig import Rig, vertex_normals
from body4d.core.types import BodyTrack, Clip, Scene
from body4d.export.gltf_builder import GltfBuilder
from body4d.export.skeleton import REST_TO_Y_UP, Skeleton, build_skeleton
from body4d.geometry.rotations import matrix_to_quat

# Okabe & Ito's palette (2008), told apart by colour-blind eyes too; linear RGB, as glTF wants factors.
_PALETTE_SRGB = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (0, 114, 178), (240, 228, 66))
_ROUGHNESS = 0.75  # cloth and skin, neither mirror nor chalk
_NEAR_M = 0.01
_INFLUENCES = 4  # glTF's one set of joints


def write_glb(scene: Scene, path: Path) -> list[Path]:
    """Write ``scene`` to ``path``. Raises OutputError."""
    content = glb_bytes(scene)
    with atomic_file(path) as file:
        file.write(content)
    return [path]


def glb_bytes(scene: Scene) -> bytes:
    """``scene`` as a GLB. Axes: the floor-aligned world, y up, metres; times: ``Clip.times_s``."""
    from body4d import __version__

    build = GltfBuilder()
    gltf = build.gltf
    gltf.asset = gl.Asset(version="2.0", generator=f"body4d {__version__}")
    animation = gl.Animation(name="movement")
    skinning: dict[str, tuple[int, int, int]] = {}
    roots = []
    for place, track in enumerate(scene.people):
        rig = rig_of(track)
        skeleton = build_skeleton(rig, track, scene.T_world_camera)
        if track.body not in skinning:  # triangles and weights are the body model's, so people share them
            skinning[track.body] = _add_skinning(build, rig)
        person, joints = _add_person(build, rig, skeleton, track, skinning[track.body], place)
        _animate(build, animation, skeleton, track, scene.clip, person, joints)
        roots.append(person)
    gltf.animations = [animation]
    roots.append(_add_camera(build, scene))
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
    return build.to_bytes()


def _add_skinning(build: GltfBuilder, rig: Rig) -> tuple[int, int, int]:
    """Accessors of triangles, joint indices and weights."""
    small = len(rig.rest_vertices_m) < 2**16 - 1  # the largest index restarts primitives
    faces = build.add(rig.faces.reshape(-1).astype("u2" if small else "u4"), gl.ELEMENT_ARRAY_BUFFER)
    indices, weights = four_influences(rig.skin_indices, rig.skin_weights)
    joints = build.add(indices.astype("u1" if len(rig.parents) <= 256 else "u2"), gl.ARRAY_BUFFER)
    return faces, joints, build.add(weights, gl.ARRAY_BUFFER)


def four_influences(indices: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four strongest joints of each vertex (V, 4) and float32 weights that sum to 1; unused places hold joint 0, weight 0."""
    short = max(_INFLUENCES - weights.shape[1], 0)
    indices, weights = np.pad(indices, ((0, 0), (0, short))), np.pad(weights, ((0, 0), (0, short)))
    order = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
    indices, kept = np.take_along_axis(indices, order, 1), np.take_along_axis(weights, order, 1)
    kept = (kept / kept.sum(1, keepdims=True)).astype(np.float32)
    kept[:, 0] = 1 - kept[:, 1:].sum(1, dtype=np.float32)  # the strongest takes the rounding
    return np.where(kept > 0, indices, 0), kept


def _add_person(
    build: GltfBuilder, rig: Rig, skeleton: Skeleton, track: BodyTrack, skinning: tuple[int, int, int], place: int
) -> tuple[int, list[int]]:
    """Mesh, material, skin and nodes of one person; returns the person's node and the joints' nodes."""
    gltf = build.gltf
    name = f"person_{track.person_id}"
    vertices = (rig.rest_vertices_m @ REST_TO_Y_UP).astype(np.float32)
    faces, joint_indices, weights = skinning
    attributes = gl.Attributes(
        POSITION=build.add(vertices, gl.ARRAY_BUFFER, bounds=True),
        NORMAL=build.add(gltf_normals(vertices, rig.faces), gl.ARRAY_BUFFER),
        JOINTS_0=joint_indices,
        WEIGHTS_0=weights,
    )
    srgb = np.array(_PALETTE_SRGB[place % len(_PALETTE_SRGB)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
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
    person = build.node(name=name, mesh=len(gltf.meshes) - 1, extras=extras)
    # Nodes stand as in the first followed frame, so that a viewer that plays nothing still shows a pose where it happened.
    quats = gltf_quats(skeleton.rotations[0])
    offsets = skeleton.offsets_m
    offsets[0] = skeleton.root_m[0]
    first = len(gltf.nodes)
    joints = [
        build.node(
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
    gltf.skins.append(gl.Skin(name=name, joints=joints, skeleton=joints[0], inverseBindMatrices=build.add(columns)))
    gltf.nodes[person].skin, gltf.nodes[person].children = len(gltf.skins) - 1, [joints[0]]
    return person, joints


def _animate(
    build: GltfBuilder, animation: gl.Animation, skeleton: Skeleton, track: BodyTrack, clip: Clip, person: int, joints: list[int]
) -> None:
    """Channels of one person: the root's place, every joint that turns, and whether the person is there at all."""
    times = build.add(clip.times_s[track.frame_index].astype(np.float32), bounds=True)

    def channel(node: int, path: str, inputs: int, values: np.ndarray, interpolation: str = "LINEAR") -> None:
        animation.samplers.append(gl.AnimationSampler(input=inputs, output=build.add(values), interpolation=interpolation))
        target = gl.AnimationChannelTarget(node=node, path=path)
        animation.channels.append(gl.AnimationChannel(sampler=len(animation.samplers) - 1, target=target))

    channel(joints[0], "translation", times, skeleton.root_m.astype(np.float32))
    for j in np.flatnonzero(skeleton.moves()):
        channel(joints[j], "rotation", times, gltf_quats(skeleton.rotations[:, j]))
    frames, there = visibility_keys(track, len(clip))
    if not there.all():
        # Core glTF has no visibility to animate; a scale that steps between 0 and 1 is what every viewer understands. It cannot sit
        # on the person's node (nodes that carry a skinned mesh do not move it) and should not sit on a joint (retargeting reads those).
        gate = build.node(name=f"person_{track.person_id}_followed", children=[joints[0]])
        build.gltf.nodes[person].children = [gate]
        scales = np.repeat(there[:, None], 3, axis=1).astype(np.float32)
        channel(gate, "scale", build.add(clip.times_s[frames].astype(np.float32), bounds=True), scales, "STEP")


def visibility_keys(track: BodyTrack, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Clip frames (N,) where a person comes or goes, with the first and the last of the clip, and whether they are there (N,)."""
    there = np.zeros(frames, bool)
    there[track.frame_index] = True
    changes = np.flatnonzero(np.diff(there)) + 1
    keys = np.unique(np.concatenate([[0], changes, [frames - 1]])).astype(np.int64)
    return keys, there[keys]


def gltf_quats(matrices: np.ndarray) -> np.ndarray:
    """Quaternions (N, 4) float32, x y z w, of rotations (N, 3, 3), each on the same side as the one before it."""
    quats = matrix_to_quat(matrices)
    flips = np.sign(np.einsum("ta,ta->t", quats[1:], quats[:-1]))
    quats[1:] *= np.cumprod(np.where(flips == 0, 1, flips))[:, None]
    return np.ascontiguousarray(quats[:, [1, 2, 3, 0]], np.float32)


def gltf_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) float32. glTF allows no zero normal, so a vertex of no triangle points up."""
    normals = vertex_normals(vertices, faces)
    return np.where(normals.any(axis=1, keepdims=True), normals, np.float32([0, 1, 0]))


def _add_camera(build: GltfBuilder, scene: Scene) -> int:
    """The camera that saw the clip. glTF's cameras look along -z with y up and have their principal point in the middle."""
    camera = scene.camera
    yfov = 2 * np.arctan(camera.height_px / (2 * camera.focal_px))
    lens = gl.Perspective(aspectRatio=camera.width_px / camera.height_px, yfov=float(yfov), znear=_NEAR_M)
    build.gltf.cameras.append(gl.Camera(name="camera", type="perspective", perspective=lens))
    turn = gltf_quats((scene.T_world_camera[:3, :3] @ REST_TO_Y_UP)[None])[0]
    return build.node(name="camera", camera=0, translation=scene.T_world_camera[:3, 3].tolist(), rotation=turn.tolist())
