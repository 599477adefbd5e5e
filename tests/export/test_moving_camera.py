"""A camera that moves: bodies are in one world in every file, and the camera in the file sees them where they were filmed."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from body4d.bodies.registry import rig_of
from body4d.export import ExportOptions, export_scene, fbx
from body4d.export.camera_motion import CameraMotion
from body4d.export.movement import movement
from body4d.export.surface import world_surfaces
from body4d.geometry.rotations import geodesic_angle
from gltf_player import Player
from scenes import make_scene, stick_scene, with_moving_camera

FRAMES = 6
VALIDATOR = Path(__file__).parents[1] / "gltf"


@pytest.fixture(scope="module")
def boxes():
    """A scene by a still camera, and the same by one that moves."""
    still = stick_scene(people=2, frames=FRAMES, gaps=True, variable_rate=True)
    return still, with_moving_camera(still)


@pytest.fixture(scope="module")
def bodies():
    still = make_scene(people=1, frames=FRAMES)
    return still, with_moving_camera(still)


def surface(scene, track):
    return np.concatenate([vertices for _, vertices in world_surfaces(scene, track)])


def pixels(scene, frame, seen_m):
    """Where points in axes with x right, y up and z backwards are in the picture, by the lens of ``frame``."""
    return scene.camera.at(frame).project(seen_m * [1, -1, -1])


def filmed(scene, track, frame):
    """Some vertices in the world, and where they are in the frame's picture by the track's own axes."""
    row, rig = track.row(frame), rig_of(track)
    G, p = rig.forward(track.rotations[[row]].astype(float), track.translation_m[[row]].astype(float))
    return surface(scene, track)[row].astype(float), scene.camera.at(frame).project(rig.vertices(G, p)[0].astype(float))


def test_meshes_curves_and_tables_are_in_the_world_of_the_same_people_filmed_by_a_still_camera(boxes, tmp_path):
    still, moving = boxes
    for a, b in zip(still.people, moving.people, strict=True):
        assert np.abs(surface(still, a) - surface(moving, b)).max() < 1e-5
    curves = [[c["values"] for p in movement(scene)["people"] for c in p["curves"]] for scene in boxes]
    for one, other in zip(*curves, strict=True):
        assert np.allclose(np.array(one, float), np.array(other, float), atol=0.11, equal_nan=True)  # a digit of the last place
    with export_scene(moving, "csv", tmp_path)[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        frame, track = int(row["frame"]), still.person(int(row["person"]))
        T = still.T_world_camera
        world = T[:3, :3] @ track.joint("left_wrist")[track.row(frame)] + T[:3, 3]
        assert np.allclose([float(row[f"left_wrist_world_{axis}_m"]) for axis in "xyz"], world, atol=1e-5)
        w, x, y, z = (float(row[f"camera_q{part}"]) for part in "wxyz")
        in_camera = np.array([float(row[f"left_wrist_{axis}_m"]) for axis in "xyz"])
        turned = in_camera + 2 * np.cross([x, y, z], np.cross([x, y, z], in_camera) + w * in_camera)
        assert np.allclose(turned + [float(row[f"camera_{axis}_m"]) for axis in "xyz"], world, atol=1e-5)
        assert float(row["camera_focal_px"]) == pytest.approx(moving.camera.path.focal_px[frame], abs=1e-5)
    with np.load(export_scene(moving, "npz", tmp_path)[0]) as data:
        assert np.array_equal(data["T_world_camera_at"], moving.T_world_camera_at(np.arange(FRAMES)))
        assert np.array_equal(data["camera_K_at"][:, 0, 0], moving.camera.path.focal_px)
        text = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
        assert all(f"`{key}`" in text for key in data.files)


@pytest.mark.slow  # Anny is set up
def test_skeletons_and_markers_are_in_the_world_too(bodies, tmp_path):
    for fmt, options, skip in (("bvh", ExportOptions(), 0), ("trc", ExportOptions(markers="opencap"), 5)):
        tables = []
        for name, scene in zip(("still", "moving"), bodies, strict=True):
            text = export_scene(scene, fmt, tmp_path / name, options)[0].read_text()
            lines = text.split("Frame Time:")[1].splitlines()[1:] if fmt == "bvh" else text.splitlines()[skip + 1 :]
            tables.append(np.array([[float(cell) for cell in line.split()] for line in lines if line]))
        assert np.allclose(*tables, atol=0.01)  # a tenth of a millimetre in BVH, a hundredth in TRC, a hundredth of a degree


@pytest.mark.slow  # Anny is set up
@pytest.mark.parametrize("zoom", [1.0, 1.4])
def test_a_glb_s_camera_pans_and_zooms_with_the_video(bodies, zoom, tmp_path):
    scene = with_moving_camera(bodies[0], zoom=zoom)
    path = export_scene(scene, "glb", tmp_path)[0]
    player = Player(path)
    pointers = [c for c in player.doc["animations"][0]["channels"] if c["target"]["path"] == "pointer"]
    assert len(pointers) == (zoom != 1)
    assert player.doc.get("extensionsUsed", []) == (["KHR_animation_pointer"] if pointers else [])
    assert "extensionsRequired" not in player.doc
    yfov = np.full(FRAMES, player.doc["cameras"][0]["perspective"]["yfov"])
    for channel in pointers:
        assert channel["target"]["extensions"]["KHR_animation_pointer"] == {"pointer": "/cameras/0/perspective/yfov"}
        assert "node" not in channel["target"]
        yfov = player.array(player.doc["animations"][0]["samplers"][channel["sampler"]]["output"])
        player.doc["animations"][0]["channels"].remove(channel)
    for frame in (0, 3, 5):
        time = float(np.float32(scene.clip.times_s[frame]))
        view = np.linalg.inv(player.world(time)[player.node("camera")])
        seen = player.vertices("person_1", time) @ view[:3, :3].T + view[:3, 3]
        scale = scene.clip.height_px / 2 / np.tan(yfov[frame] / 2)
        at = np.stack([320 - scale * seen[:, 0] / seen[:, 2], 240 + scale * seen[:, 1] / seen[:, 2]], axis=1)
        assert np.abs(at - filmed(scene, scene.people[0], frame)[1]).max() < 0.05
    if shutil.which("node") and (VALIDATOR / "node_modules" / "gltf-validator").is_dir():
        done = subprocess.run(["node", str(VALIDATOR / "validate.js"), str(path)], capture_output=True, text=True, check=True)
        # It knows the extension in part, and says so.
        found = {message["code"] for message in json.loads(done.stdout)["issues"]["messages"]}
        assert found == ({"INCOMPLETE_EXTENSION_SUPPORT"} if pointers else set())


def test_between_frames_the_camera_turns_along_the_arc(boxes):
    scene = boxes[1]
    times = scene.clip.times_s
    motion = CameraMotion.at(scene, np.array([times[1], (times[1] + times[2]) / 2, times[-1] + 9]))
    T = scene.T_world_camera_at(np.array([1, 2, FRAMES - 1]))
    assert np.array_equal(motion.T_world_camera[0], T[0])
    assert np.allclose(motion.T_world_camera[2], T[2], atol=1e-12)
    halves = [geodesic_angle(motion.T_world_camera[1, :3, :3], T[k, :3, :3]) for k in (0, 1)]
    assert halves[0] == pytest.approx(halves[1], abs=1e-9)
    assert 2 * halves[0] == pytest.approx(geodesic_angle(T[0, :3, :3], T[1, :3, :3]), abs=1e-9)
    assert motion.focal_px[1] == pytest.approx(scene.camera.path.focal_px[1:3].mean())


@pytest.mark.slow  # Anny is set up
def test_a_usd_s_camera_pans_and_zooms_with_the_video(bodies, tmp_path):
    pytest.importorskip("pxr", reason="usd-core, which is 200 MB, is not installed: pip install 'body4d[usd]'")
    from pxr import Gf, Usd, UsdGeom

    scene = bodies[1]
    stage = Usd.Stage.Open(str(export_scene(scene, "usd", tmp_path)[0]))
    for frame in (0, 3, 5):
        camera = UsdGeom.Camera(stage.GetPrimAtPath("/body4d/camera")).GetCamera(frame)
        focal_px = camera.focalLength / camera.horizontalAperture * scene.clip.width_px
        assert focal_px == pytest.approx(scene.camera.path.focal_px[frame], rel=1e-5)
        world, at = filmed(scene, scene.people[0], frame)
        view = camera.frustum.ComputeViewMatrix()
        seen = np.array([view.Transform(Gf.Vec3d(*map(float, point))) for point in world[::500]])
        assert np.abs(pixels(scene, frame, seen) - at[::500]).max() < 0.02


def test_rerun_s_pinhole_pans_and_zooms_with_the_video(boxes, tmp_path):
    chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk, 210 MB, is not installed: pip install 'body4d[rerun]'")
    scene = boxes[1]
    parts = chunk.RrdReader(export_scene(scene, "rrd", tmp_path)[0]).stream().to_chunks()
    found = {}
    for part in parts:
        batch = part.to_record_batch()
        if part.entity_path == "/world/camera" and "frame" in batch.schema.names:
            for name in batch.schema.names:
                found[name.rpartition(":")[2]] = dict(zip(batch["frame"].to_pylist(), batch[name].to_pylist(), strict=True))
    for frame in range(FRAMES):
        T = scene.T_world_camera_at(np.array([frame]))[0]
        assert np.allclose(np.ravel(found["translation"][frame]), T[:3, 3], atol=1e-6)
        assert np.allclose(np.reshape(found["mat3x3"][frame], (3, 3)).T, T[:3, :3], atol=1e-6)  # column by column
        assert np.allclose(np.reshape(found["image_from_camera"][frame], (3, 3)).T, scene.camera.at(frame).K, atol=1e-3)


@pytest.mark.slow  # Anny is set up
def test_an_fbx_has_a_camera_where_it_moves(bodies, tmp_path):
    pytest.importorskip("ufbx", reason="ufbx, the FBX reader that is not Blender's, is not installed")
    if not os.environ.get(fbx.VARIABLE):
        pytest.skip(f"no Blender (GPL, 0.8 GB) is named by {fbx.VARIABLE}")
    for name, scene, camera in (("still", bodies[0], True), ("moving", bodies[1], True), ("without", bodies[1], False)):
        path = export_scene(scene, "fbx", tmp_path / name, ExportOptions(camera=camera))[0]
        reader = Path(__file__).with_name("read_fbx.py")
        nodes = json.loads(subprocess.run([sys.executable, str(reader), str(path), "nodes"], capture_output=True, check=True).stdout)
        assert ("camera" in nodes) == (name == "moving")
