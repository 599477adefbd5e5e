"""GLB, USD, VRMA and FBX hold the bodies of the scene, whatever bones they have, each by a reader that is not ours."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from body4d.bodies.registry import rig_of
from body4d.core.errors import Body4DError, MissingDependencyError, SettingsError
from body4d.export import ExportOptions, export_scene, fbx
from body4d.export.character import make_character
from gltf_player import Player
from scenes import make_scene

pytestmark = pytest.mark.slow  # Anny is set up

VALIDATOR = Path(__file__).parents[1] / "gltf"
TWIST = "lowerarm02.L"
"""A joint that no rig but the body's own has a bone for, and that turns where hands are seen."""


@pytest.fixture(scope="module")
def scene():
    """Two people with gaps, whose left forearms twist, and a little aside, so that the wrist slides in the forearm."""
    made = make_scene(people=2, frames=12, gaps=True)
    people = []
    for track in made.people:
        rotations = track.rotations.copy()
        rig = rig_of(track)
        twist, wrist = (rig.joint_names.index(name) for name in (TWIST, "wrist.L"))
        along = rig.rest_joints_m[wrist] - rig.rest_joints_m[twist]
        axis = along / np.linalg.norm(along) + [0, 0, 0.05]
        rotations[:, twist] = np.linspace(-1, 1, len(track))[:, None] * axis
        people.append(dataclasses.replace(track, rotations=rotations))
    return dataclasses.replace(made, people=tuple(people))


def surface(scene, track, rows):
    rig, T = rig_of(track), scene.T_world_camera
    G, p = rig.forward(track.rotations[rows].astype(np.float64), track.translation_m[rows].astype(np.float64))
    return rig.vertices(G, p) @ T[:3, :3].T + T[:3, 3]


@pytest.mark.parametrize("rig", ["native", "mixamo", "unreal", "vrm"])
def test_a_glb_has_the_surface_whatever_bones_it_has(scene, rig, tmp_path):
    player = Player(export_scene(scene, "glb", tmp_path, ExportOptions(rig=rig, camera=False))[0])
    assert [player.nodes[node]["name"] for node in player.doc["scenes"][0]["nodes"]] == ["person_1", "person_2"]
    for track in scene.people:
        rows = np.array([0, len(track) // 2, len(track) - 1])
        for row, truth in zip(rows, surface(scene, track, rows), strict=True):
            played = player.vertices(f"person_{track.person_id}", np.float32(scene.clip.times_s[track.frame_index[row]]))
            assert np.abs(played - truth).max() < 1e-4
    hands = [node for node in player.nodes if node.get("name") in ("mixamorig:LeftHand", "hand_l", "leftHand")]
    assert len(hands) == (0 if rig == "native" else 2)
    twists = {"native": TWIST, "unreal": "lowerarm_twist_01_l"}.get(rig, TWIST)
    assert sum(node.get("name") == twists for node in player.nodes) == 2


def test_in_the_t_pose_the_surface_is_exact_where_arms_hang_as_in_the_body_s_own(scene, tmp_path):
    track = dataclasses.replace(scene.people[0], rotations=np.zeros_like(scene.people[0].rotations))
    still = dataclasses.replace(scene, people=(track,))
    player = Player(export_scene(still, "glb", tmp_path, ExportOptions(rig="vrm", rest="t"))[0])
    played = player.vertices("person_1", np.float32(scene.clip.times_s[track.frame_index[0]]))
    assert np.abs(played - surface(still, track, slice(0, 1))[0]).max() < 1e-4
    rest = player.array(player.doc["meshes"][0]["primitives"][0]["attributes"]["POSITION"])
    assert abs(rest[:, 1].min()) < 1e-6  # soles at 0
    assert np.ptp(rest[:, 0]) > 0.9 * np.ptp(rest[:, 1])  # arms out: people are about as wide as they are high


def test_one_person_alone(scene, tmp_path):
    player = Player(export_scene(scene, "glb", tmp_path, ExportOptions(person=2))[0])
    assert [player.nodes[node]["name"] for node in player.doc["scenes"][0]["nodes"]] == ["person_2", "camera"]


def test_lafan_is_refused_for_a_mesh(scene, tmp_path):
    with pytest.raises(SettingsError, match="LAFAN1's skeleton is for BVH"):
        export_scene(scene, "glb", tmp_path, ExportOptions(rig="lafan"))
    assert os.listdir(tmp_path) == []


REQUIRED_BY_VRM = {
    *("hips", "spine", "head"),
    *(f"{side}{bone}" for side in ("left", "right") for bone in ("UpperLeg", "LowerLeg", "Foot", "UpperArm", "LowerArm", "Hand")),
}


def test_vrma_by_the_rules_of_its_specification(scene, tmp_path):
    path = export_scene(scene, "vrma", tmp_path)[0]
    player, track = Player(path), scene.people[0]
    doc = player.doc
    extension = doc["extensions"]["VRMC_vrm_animation"]
    assert doc["extensionsUsed"] == ["VRMC_vrm_animation"]
    assert extension["specVersion"] == "1.0"
    bones = {name: bone["node"] for name, bone in extension["humanoid"]["humanBones"].items()}
    assert bones.keys() >= REQUIRED_BY_VRM
    assert not bones.keys() & {"leftEye", "rightEye"}
    assert len(set(bones.values())) == len(bones)
    assert player.parent[bones["leftHand"]] == bones["leftLowerArm"]
    assert not any("scale" in node or "matrix" in node for node in player.nodes)
    paths = {(node, path) for node, path in player.channels()}
    assert {node for node, path in paths if path == "translation"} == {bones["hips"]}
    assert {path for _, path in paths} == {"translation", "rotation"}
    # At rest: T-pose, upright at the origin, facing +z, soles at 0.
    assert all(node.get("rotation", [0, 0, 0, 1]) == [0, 0, 0, 1] for node in player.nodes)
    at_rest = dict.fromkeys(bones, np.zeros(3))
    for name, node in bones.items():
        while node is not None:
            at_rest[name] = at_rest[name] + player.nodes[node]["translation"]
            node = player.parent.get(node)
    assert at_rest["leftHand"][0] > at_rest["leftUpperArm"][0] + 0.3
    assert abs(at_rest["leftHand"][1] - at_rest["leftUpperArm"][1]) < 0.02
    assert at_rest["leftToes"][2] > at_rest["leftFoot"][2] + 0.05
    assert 0 < at_rest["leftToes"][1] < 0.1
    assert 0.7 < at_rest["hips"][1] < 1.2
    # The bones play to where the joints are.
    rig, T = rig_of(track), scene.T_world_camera
    _, p = rig.forward(track.rotations.astype(np.float64), track.translation_m.astype(np.float64))
    world = player.world(float(np.float32(scene.clip.times_s[track.frame_index[-1]])))
    for bone, joint in (("head", "head"), ("leftHand", "wrist.L"), ("rightFoot", "foot.R"), ("rightIndexDistal", "finger2-3.R")):
        place = T[:3, :3] @ p[-1, rig.joint_names.index(joint)] + T[:3, 3]
        assert np.abs(world[bones[bone]][:3, 3] - place).max() < (0.01 if bone == "leftHand" else 1e-4), bone  # it cannot slide here


def test_the_validator_has_nothing_to_say_of_a_vrma_but_that_it_does_not_know_them(scene, tmp_path):
    if shutil.which("node") is None or not (VALIDATOR / "node_modules" / "gltf-validator").is_dir():
        pytest.skip("node or the glTF validator is not installed: npm ci --prefix tests/gltf")
    path = export_scene(scene, "vrma", tmp_path)[0]
    done = subprocess.run(["node", str(VALIDATOR / "validate.js"), str(path)], capture_output=True, text=True, check=True)
    issues = json.loads(done.stdout)["issues"]
    assert issues["numErrors"] == issues["numWarnings"] == 0
    # Since it does not know the extension, it takes the last bones of chains for nodes without a use.
    assert {message["code"] for message in issues["messages"]} == {"UNSUPPORTED_EXTENSION", "NODE_EMPTY"}


def test_memory_does_not_grow_with_the_clip(tmp_path, monkeypatch):
    monkeypatch.setattr("body4d.export.skeleton.CHUNK_FRAMES", 16)
    peaks = []
    for frames in (2, 32, 112):  # the first time, everything is imported
        made = make_scene(frames=frames)
        tracemalloc.start()
        export_scene(made, "glb", tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 80 * 500  # bytes; the float32 quaternions of a frame alone are 104 · 16


@pytest.mark.parametrize("rig", ["native", "mixamo"])
def test_usd_by_its_own_library(scene, rig, tmp_path):
    pytest.importorskip("pxr", reason="usd-core, which is 200 MB, is not installed: pip install 'body4d[usd]'")
    from pxr import Gf, Usd, UsdGeom, UsdSkel

    stage = Usd.Stage.Open(str(export_scene(scene, "usd", tmp_path, ExportOptions(rig=rig))[0]))
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetTimeCodesPerSecond() == pytest.approx(30000 / 1001, rel=1e-12)
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, len(scene.clip) - 1)
    assert [prim.GetName() for prim in stage.GetDefaultPrim().GetChildren()] == ["person_1", "person_2", "camera"]
    for track in scene.people:
        root = UsdSkel.Root(stage.GetPrimAtPath(f"/body4d/person_{track.person_id}"))
        cache = UsdSkel.Cache()
        cache.Populate(root, Usd.PrimDefaultPredicate)
        skeleton = UsdSkel.Skeleton(root.GetPrim().GetChild("skeleton"))
        mesh = UsdGeom.Mesh(root.GetPrim().GetChild("body"))
        for row in (0, len(track) - 1):
            frame = int(track.frame_index[row])
            points = mesh.GetPointsAttr().Get()
            moved = cache.GetSkelQuery(skeleton).ComputeSkinningTransforms(frame)
            assert cache.GetSkinningQuery(mesh.GetPrim()).ComputeSkinnedPoints(moved, points, frame)
            assert np.abs(np.array(points) - surface(scene, track, slice(row, row + 1))[0]).max() < 1e-4
        seen = [root.ComputeVisibility(frame) == "inherited" for frame in range(len(scene.clip))]
        assert seen == [track.row(frame) is not None for frame in range(len(scene.clip))]
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/body4d/camera")).GetCamera(0)
    assert np.isclose(camera.GetFieldOfView(Gf.Camera.FOVHorizontal), scene.camera.fov_deg, atol=1e-4)
    point = surface(scene, scene.people[0], slice(0, 1))[0][0]
    x, y, z = camera.frustum.ComputeViewMatrix().Transform(Gf.Vec3d(*map(float, point)))
    rotation, T = scene.T_world_camera[:3, :3], scene.T_world_camera[:3, 3]
    assert np.allclose([x, -y, -z], rotation.T @ (point - T), atol=1e-5)


def test_usd_as_text_and_as_a_package(scene, tmp_path):
    pytest.importorskip("pxr", reason="usd-core, which is 200 MB, is not installed: pip install 'body4d[usd]'")
    from pxr import Usd

    for ending, starts in (("usda", b"#usda"), ("usdz", b"PK"), ("usdc", b"PXR-USDC")):
        (path,) = export_scene(scene, "usd", tmp_path / f"mine.{ending}")
        assert path.read_bytes().startswith(starts)
        assert Usd.Stage.Open(str(path)).GetPrimAtPath("/body4d/person_2/skeleton")


def test_what_is_no_blender_is_said_with_the_command_that_installs_it(scene, tmp_path):
    with pytest.raises(MissingDependencyError, match="neither Blender nor a Python with") as caught:
        export_scene(scene, "fbx", tmp_path, ExportOptions(blender=sys.executable if fbx._worker_command(sys.executable) is None else "no"))
    assert "pip install bpy==" in caught.value.hint
    assert os.listdir(tmp_path) == []


def test_a_blender_that_fails_is_one_sentence_and_leaves_no_file(scene, tmp_path):
    program = tmp_path / "blender"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Blender 5.0.1 && exit 0\necho "Error: out of cubes" >&2; exit 1\n')
    program.chmod(0o755)
    with pytest.raises(Body4DError, match=r"Blender wrote no person_1\.fbx.*out of cubes"):
        export_scene(scene, "fbx", tmp_path / "out", ExportOptions(person=1, blender=str(program)))
    assert not (tmp_path / "out").exists()


def test_fbx_by_ufbx(scene, tmp_path):
    pytest.importorskip("ufbx", reason="ufbx, the FBX reader that is not Blender's, is not installed")
    if not os.environ.get(fbx.VARIABLE):
        pytest.skip(f"no Blender (GPL, 0.8 GB) is named by {fbx.VARIABLE}")
    options = ExportOptions(rig="mixamo", person=1)
    path = export_scene(scene, "fbx", tmp_path, options)[0]

    def read(thing):
        reader = Path(__file__).with_name("read_fbx.py")
        return json.loads(subprocess.run([sys.executable, str(reader), str(path), thing], capture_output=True, check=True).stdout)

    character = make_character(scene, scene.people[0], options, scene.clip.times_s)
    assert read("frames_per_second") == pytest.approx(29.97, rel=1e-6)  # what ufbx says for FBX's name of 30000/1001
    assert read("seconds") == pytest.approx(11 * 1001 / 30000, rel=1e-7)  # Blender keeps rates in 32 bits
    assert (read("unit_m"), read("up")) == (0.01, "POSITIVE_Y")
    assert np.abs(np.array(read("scales")) - 1).max() < 1e-6
    assert sorted(read("nodes")) == sorted(["person_1", "person_1_body", *character.plan.names])  # no sphere among them
    assert read("meshes") == ["person_1_body"]
    assert read("vertices") == len(character.vertices_m)
