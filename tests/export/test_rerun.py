"""Rerun recordings, read back by Rerun's own reader."""

import dataclasses

import numpy as np
import pytest

from body4d.core.errors import InputError
from body4d.export import ExportOptions, export_scene
from make_videos import make_video
from scenes import stick_scene

chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk, 210 MB, is not installed: pip install 'body4d[rerun]'")

FRAMES = 8


@pytest.fixture(scope="module")
def scene():
    return stick_scene(people=2, frames=FRAMES, gaps=True, variable_rate=True)


def _read(path):
    """Chunks by entity, the blueprint's left out."""
    entities = {}
    for part in chunk.RrdReader(path).stream().to_chunks():
        entities.setdefault(part.entity_path, []).append(part)
    return entities


def _rows(parts, component):
    """What a component was at each frame, and its times in seconds."""
    found = {}
    for part in parts:
        batch = part.to_record_batch()
        column = next((name for name in batch.schema.names if name.endswith(component)), None)
        if column is None or "frame" not in batch.schema.names:
            continue
        times = batch.column("clip_time").cast("int64").to_pylist()
        for frame, time, value in zip(batch.column("frame").to_pylist(), times, batch.column(column).to_pylist(), strict=True):
            found[frame] = (time / 1e9, value)
    return found


def test_bodies_keypoints_and_times_come_back(scene, tmp_path):
    entities = _read(export_scene(scene, "rrd", tmp_path)[0])
    T = scene.T_world_camera
    for track in scene.people:
        joints = _rows(entities[f"/world/person_{track.person_id}/joints"], "positions")
        assert sorted(joints) == track.frame_index.tolist()
        for row, frame in enumerate(track.frame_index.tolist()):
            time_s, places = joints[frame]
            assert time_s == pytest.approx(scene.clip.times_s[frame], abs=1e-9)
            assert np.allclose(places, track.joints_m[row] @ T[:3, :3].T + T[:3, 3], atol=1e-5)
        seen = np.isfinite(track.keypoints_px).all(-1)
        points = _rows(entities[f"/world/camera/person_{track.person_id}/keypoints"], "positions")
        for row, frame in enumerate(track.frame_index.tolist()):
            assert np.allclose(np.reshape(points[frame][1], (-1, 2)), track.keypoints_px[row][seen[row]], atol=1e-3)
        surface = _rows(entities[f"/world/person_{track.person_id}/surface"], "vertex_positions")
        rig = track.rig
        G, p = rig.forward(track.rotations.astype(np.float64), track.translation_m.astype(np.float64))
        world = rig.vertices(G, p) @ T[:3, :3].T + T[:3, 3]
        assert np.allclose([surface[frame][1] for frame in track.frame_index.tolist()], world, atol=1e-5)
        gone = _rows(entities[f"/world/person_{track.person_id}"], "is_recursive")
        followed = np.isin(np.arange(FRAMES), track.frame_index)
        assert sorted(gone) == (np.flatnonzero(followed[:-1] & ~followed[1:]) + 1).tolist()
    assert any(path.startswith("/speeds/person_1/") for path in entities)
    assert "/world/camera/video" not in entities  # the made clip has no file


def test_the_mesh_can_be_left_out(scene, tmp_path):
    entities = _read(export_scene(scene, "rrd", tmp_path, ExportOptions(mesh=False))[0])
    assert not any(path.endswith("/surface") for path in entities)


@pytest.mark.parametrize("rotation", [0, 90])
def test_each_frame_has_its_picture(scene, rotation, tmp_path):
    from body4d.video.probe import probe

    clip = probe(make_video(tmp_path / "clip.mp4", FRAMES, **({"rotation": rotation} if rotation else {})))
    entities = _read(export_scene(dataclasses.replace(scene, clip=clip), "rrd", tmp_path / "out")[0])
    stamps = _rows(entities["/world/camera/video"], "timestamp")
    assert sorted(stamps) == list(range(FRAMES))
    shown = np.array([np.ravel(stamps[frame][1])[0] for frame in range(FRAMES)]) / 1e9
    assert np.allclose(shown - shown[0], clip.times_s, atol=1e-4)


def test_a_video_that_is_named_must_be_there(scene, tmp_path):
    with pytest.raises(InputError, match="no video"):
        export_scene(scene, "rrd", tmp_path, ExportOptions(video=tmp_path / "gone.mp4"))
