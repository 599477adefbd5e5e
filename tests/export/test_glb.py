"""The GLB plays back, by an independent reader, to the very bodies of the scene, and Khronos' validator finds nothing to say."""

import dataclasses
import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.bodies.registry import body_model
from body4d.export import export_scene
from body4d.export.character import continuous_quats, four_influences
from body4d.export.glb import gltf_normals, visibility_keys
from body4d.geometry.rotations import rotvec_to_matrix
from body4d.render.style import person_colour
from gltf_player import Player
from scenes import make_scene

pytestmark = pytest.mark.slow  # Anny is set up

VALIDATOR = Path(__file__).parents[1] / "gltf"


@pytest.fixture(scope="module")
def scene():
    return make_scene(people=2, frames=12, gaps=True)


@pytest.fixture(scope="module")
def path(scene, tmp_path_factory):
    return export_scene(scene, "glb", tmp_path_factory.mktemp("glb"))[0]


@pytest.fixture(scope="module")
def player(path):
    return Player(path)


def world_vertices(scene, track, rows=slice(None)):
    rig = body_model(track.body).rig(track.shape)
    G, p = rig.forward(track.rotations[rows].astype(np.float64), track.translation_m[rows].astype(np.float64))
    T = scene.T_world_camera
    return rig.vertices(G, p) @ T[:3, :3].T + T[:3, 3]


def test_it_plays_back_to_the_same_bodies(scene, player):
    for track in scene.people:
        truth = world_vertices(scene, track)
        for row in (0, len(track) // 2, len(track) - 1):
            played = player.vertices(f"person_{track.person_id}", np.float32(scene.clip.times_s[track.frame_index[row]]))
            assert np.abs(played - truth[row]).max() < 1e-4


def test_between_frames_it_goes_the_short_way(scene, player):
    track = scene.people[0]
    a, b = scene.clip.times_s[track.frame_index[:2]]
    between = player.vertices("person_1", (a + b) / 2)
    truth = world_vertices(scene, track, slice(0, 2))
    assert np.linalg.norm(between - truth.mean(0), axis=1).max() < 0.2 * np.linalg.norm(truth[1] - truth[0], axis=1).max()


def test_a_body_is_there_only_while_it_is_followed(scene, player):
    step = float(1 / scene.clip.rate)
    for track in scene.people:
        for frame in range(len(scene.clip)):
            size = np.ptp(player.vertices(f"person_{track.person_id}", scene.clip.times_s[frame] + 0.1 * step), axis=0).max()
            assert (size > 1) if track.row(frame) is not None else (size == 0), (track.person_id, frame)


def test_times_are_those_of_the_clip(tmp_path):
    scene = make_scene(frames=6, variable_rate=True, rate=Fraction(24000, 1001))
    player = Player(export_scene(scene, "glb", tmp_path)[0])
    sampler = player.channels()[player.node("root"), "translation"]
    assert np.array_equal(player.array(sampler["input"]), scene.clip.times_s.astype(np.float32))
    assert player.doc["scenes"][0]["extras"]["frame_rate"] == [24000, 1001]
    assert np.isclose(player.duration(), scene.clip.times_s[-1])


def test_one_root_node_per_person_with_the_rig_s_joint_names(scene, player):
    rig = body_model("anny").rig(scene.people[0].shape)
    roots = [player.nodes[i] for i in player.doc["scenes"][0]["nodes"]]
    assert [n["name"] for n in roots] == ["person_1", "person_2", "camera"]
    for node in roots[:2]:
        joints = player.doc["skins"][node["skin"]]["joints"]
        assert tuple(player.nodes[j]["name"] for j in joints) == rig.joint_names
        assert {player.parent[j] for j in joints[1:]} <= set(joints)
        assert 1.3 < node["extras"]["height_m"] < 2.2
    colours = [m["pbrMetallicRoughness"]["baseColorFactor"] for m in player.doc["materials"]]
    assert len(colours) == 2
    assert colours[0] != colours[1]


def test_people_have_the_colours_of_the_pictures(tmp_path):
    """Beyond the palette's seven colours, too."""
    player = Player(export_scene(make_scene(people=9, frames=1), "glb", tmp_path)[0])
    factors = np.array([m["pbrMetallicRoughness"]["baseColorFactor"][:3] for m in player.doc["materials"]])
    srgb = np.where(factors <= 0.0031308, 12.92 * factors, 1.055 * factors ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(255 * srgb, [person_colour(index) for index in range(9)], atol=0.5)


def test_a_person_always_followed_has_no_scale_to_animate(tmp_path):
    player = Player(export_scene(make_scene(frames=3), "glb", tmp_path)[0])
    assert {path for _, path in player.channels()} == {"translation", "rotation"}
    assert player.parent[player.node("root")] == player.node("person_1")


def test_still_joints_carry_no_channels(player):
    moving = {player.nodes[node]["name"] for node, path in player.channels() if path == "rotation"}
    assert "toe1-1.L" not in moving
    assert {"root", "upperarm01.L", "lowerleg01.R", "head"} <= moving


def test_a_still_joint_keeps_the_turn_it_has(tmp_path):
    scene = make_scene(frames=4)
    track = scene.people[0]
    rotations = track.rotations.copy()
    rotations[:, body_model("anny").rig(track.shape).joint_names.index("finger2-1.L")] = [0.3, -0.8, 0.1]
    scene = dataclasses.replace(scene, people=(dataclasses.replace(track, rotations=rotations),))
    player = Player(export_scene(scene, "glb", tmp_path)[0])
    truth = world_vertices(scene, scene.people[0])
    assert np.abs(player.vertices("person_1", np.float32(scene.clip.times_s[2])) - truth[2]).max() < 1e-4
    assert (player.node("finger2-1.L"), "rotation") not in player.channels()


def test_the_camera_sees_what_the_clip_saw(scene, player):
    node, lens = player.nodes[player.node("camera")], player.doc["cameras"][0]["perspective"]
    view = np.linalg.inv(player.world(0)[player.node("camera")])
    track = scene.people[0]
    points = world_vertices(scene, track, slice(0, 1))[0][::500]
    x, y, z = (np.c_[points, np.ones(len(points))] @ view.T)[:, :3].T
    focal = 1 / np.tan(lens["yfov"] / 2)
    ndc = np.stack([focal / lens["aspectRatio"] * x / -z, focal * y / -z], 1)
    pixels = (ndc * [1, -1] + 1) / 2 * [scene.clip.width_px, scene.clip.height_px]
    rig = body_model("anny").rig(track.shape)
    G, p = rig.forward(track.rotations[:1].astype(np.float64), track.translation_m[:1].astype(np.float64))
    assert np.abs(pixels - scene.camera.project(rig.vertices(G, p)[0][::500])).max() < 0.05
    assert "camera" in node


def test_trimesh_reads_the_bind_pose(path):
    trimesh = pytest.importorskip("trimesh")
    loaded = trimesh.load(path, process=False)
    assert {"person_1", "person_2"} <= set(loaded.geometry)
    body = loaded.geometry["person_1"]
    assert 1.3 < np.ptp(body.vertices[:, 1]) < 2.2
    # Toes forward: at the height of the feet the body reaches further to +z, glTF's front.
    feet = body.vertices[body.vertices[:, 1] < body.vertices[:, 1].min() + 0.05]
    assert feet[:, 2].max() > 2 * -feet[:, 2].min()
    assert body.volume > 0.03  # cubic metres; negative if the triangles faced inwards
    normals = Player(path).array(Player(path).doc["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    anew = trimesh.Trimesh(body.vertices, body.faces, process=False).vertex_normals
    assert np.quantile(np.einsum("va,va->v", normals, anew), 0.01) > 0.9


def test_same_scene_gives_the_same_bytes(scene, path, tmp_path):
    assert export_scene(scene, "glb", tmp_path / "again.glb")[0].read_bytes() == path.read_bytes()


def test_size_stays_sane(tmp_path):
    assert export_scene(make_scene(frames=264), "glb", tmp_path)[0].stat().st_size < 2_000_000


@pytest.mark.parametrize(
    "make",
    [{"people": 2, "frames": 12, "gaps": True}, {"frames": 5}, {"frames": 1}, {"frames": 6, "variable_rate": True}],
    ids=["two with gaps", "one throughout", "one frame", "variable rate"],
)
def test_khronos_validator_finds_nothing(make, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node is not installed, so the glTF validator cannot run")
    if not (VALIDATOR / "node_modules" / "gltf-validator").is_dir():
        pytest.skip("the glTF validator is not installed: npm ci --prefix tests/gltf")
    path = export_scene(make_scene(**make), "glb", tmp_path)[0]
    done = subprocess.run(["node", str(VALIDATOR / "validate.js"), str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["issues"]["messages"] == []


def test_visibility_keys():
    track = make_scene(frames=8).people[0]
    track = dataclasses.replace(
        track,
        frame_index=np.array([1, 2, 5, 6]),
        **{
            n: getattr(track, n)[:4]
            for n in ("rotations", "translation_m", "joints_m", "keypoints_px", "visibility", "confidence", "observed")
        },
        mask_iou=None,
        joints_raw_m=None,
    )
    keys, followed = visibility_keys(track, 8)
    assert keys.tolist() == [0, 1, 3, 5, 7]
    assert followed.tolist() == [False, True, False, True, False]


def test_quaternions_keep_their_side_through_full_turns():
    turns = rotvec_to_matrix(np.linspace(0, 4 * np.pi, 60)[:, None] * np.array([0.6, 0, 0.8]))
    quats = continuous_quats(turns)
    assert np.einsum("ta,ta->t", quats[1:], quats[:-1]).min() > 0.99
    assert np.allclose(quats[0], [0, 0, 0, 1])


def test_influences_are_cut_to_four_and_sum_to_one():
    weights = np.array([[0.1, 0.2, 0.3, 0.15, 0.25], [1, 0, 0, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0, 0]])
    indices, kept = four_influences(np.tile(np.arange(5), (3, 1)), weights)
    assert indices.tolist() == [[2, 4, 1, 3], [0, 0, 0, 0], [0, 1, 2, 0]]
    assert np.all(kept.sum(1, dtype=np.float32) == 1)
    assert np.allclose(kept[0], np.array([0.3, 0.25, 0.2, 0.15]) / 0.9)
    assert four_influences(np.array([[3, 1]]), np.array([[0.5, 0.5]]))[0].shape == (1, 4)


def test_normals_of_a_cube_point_out_of_its_corners():
    trimesh = pytest.importorskip("trimesh")
    cube = trimesh.creation.box()
    vertices = np.r_[cube.vertices, [[9, 9, 9]]].astype(np.float32)
    normals = gltf_normals(vertices, cube.faces)
    assert np.all(np.einsum("va,va->v", normals[:-1], cube.vertices) > 0)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    assert normals[-1].tolist() == [0, 1, 0]
