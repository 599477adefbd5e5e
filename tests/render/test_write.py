"""The pictures of whole clips, written and read back."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from body4d.config import PictureSettings
from body4d.core.errors import Cancelled, OutputError
from body4d.core.types import Clip, Scene
from body4d.render.contact_sheet import cell_size, choose_sheet_frames, people_box
from body4d.render.frame_renderer import PanelLayout
from body4d.render.panels import RenderPerson, draw_overlay, resized_camera
from body4d.render.poses import ScenePoser
from body4d.render.rasterizer import silhouette
from body4d.render.write import write_pictures
from scenes import make_scene

QUICK = PictureSettings(panel_height_px=180, sheet_cell_px=64, sheet_moments=4)
GREY = 90


class GreyFrames:
    """A clip of even grey."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
        for frame in range(first, len(self.clip) if last is None else last, step):
            yield frame, np.full((self.clip.height_px, self.clip.width_px, 3), GREY, np.uint8)


def write(scene: Scene, folder: Path, settings: PictureSettings = QUICK, report: Any = lambda done, total: None) -> list[Path]:
    paths = [folder / name for name in ("overlay.mp4", "views.mp4", "contact_sheet.png")]
    write_pictures(scene, GreyFrames(scene.clip), *paths, settings, report)
    return paths


def read(path: Path) -> tuple[list[Any], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [float(frame.time) for frame in frames]


def resized_scene(scene: Scene, width_px: int, height_px: int) -> Scene:
    clip = dataclasses.replace(scene.clip, width_px=width_px, height_px=height_px)
    camera = dataclasses.replace(
        scene.camera, focal_px=height_px * 1.2, cx_px=width_px / 2, cy_px=height_px / 2, width_px=width_px, height_px=height_px
    )
    return dataclasses.replace(scene, clip=clip, camera=camera)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(2, 9, gaps=True, variable_rate=True)


@pytest.fixture(scope="module")
def written(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(scene, tmp_path_factory.mktemp("pictures"))


def test_every_frame_is_there_at_its_own_time_even_with_nobody_in_it(scene: Scene, written: list[Path]) -> None:
    assert not any(True for _ in scene.visible_at(0))
    assert any(True for _ in scene.visible_at(3))
    for path in written[:2]:
        frames, times = read(path)
        np.testing.assert_allclose(times, scene.clip.times_s, atol=2e-6)
        assert len(frames) == len(scene.clip)
    overlays, _ = read(written[0])
    assert overlays[0].shape == (480, 640, 3)
    assert np.abs(overlays[0].astype(int) - GREY).max() < 6
    assert np.abs(overlays[3].astype(int) - GREY).max() > 60


def test_bodies_are_drawn_where_they_are_in_their_own_colours(scene: Scene) -> None:
    poses = ScenePoser(scene, QUICK).at(3)
    seen = [RenderPerson.of(pose, 1.0) for pose in poses]
    background = np.full((480, 640, 3), GREY, np.uint8)
    picture = draw_overlay(background, seen, scene.camera, 4, tags=False)
    whole = np.zeros((480, 640), bool)
    for person in seen:
        mask = silhouette(person.vertices_m, person.pose.rig.faces, scene.camera)
        assert mask.sum() > 3000
        whole |= mask
        inner = picture[mask].astype(float).mean(0)
        likest = [np.dot(inner - inner.mean(), np.array(s.pose.colour) - np.mean(s.pose.colour)) for s in seen]
        assert seen[int(np.argmax(likest))] is person
    changed = np.any(picture != background, axis=-1)
    assert np.mean(changed[whole]) > 0.995
    assert np.mean(changed & ~whole) < 0.01  # Antialiased rims alone.


def test_the_skinned_body_lies_on_the_joints_of_the_track(scene: Scene) -> None:
    for person in scene.people:
        for frame in (2, 6):
            row = person.row(frame)
            pose = next((pose for pose in ScenePoser(scene, QUICK).at(frame) if pose.name == str(person.person_id)), None)
            if row is None:
                assert pose is None
                continue
            assert pose is not None
            mask = silhouette(pose.vertices_m(), pose.rig.faces, scene.camera)
            for name in ("left_knee", "right_shoulder", "nose"):
                x, y = scene.camera.project(person.joint(name)[row])
                if 3 < x < 637 and 3 < y < 477:
                    assert mask[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].any(), name


def test_faint_frames_show_more_of_the_video(scene: Scene) -> None:
    person = scene.people[0]
    faint = dataclasses.replace(person, observed=np.zeros(len(person), bool))
    deviations = []
    for track in (dataclasses.replace(person, observed=np.ones(len(person), bool)), faint):
        pose = ScenePoser(dataclasses.replace(scene, people=(track,)), QUICK).at(7)[0]
        picture = draw_overlay(np.full((480, 640, 3), GREY, np.uint8), [RenderPerson.of(pose, 1.0)], scene.camera, 4, tags=False)
        deviations.append(np.abs(picture.astype(float) - GREY).mean())
    assert deviations[1] == pytest.approx(QUICK.faint_opacity * deviations[0], rel=0.05)


def test_views_hold_three_panels_and_a_floor(scene: Scene, written: list[Path]) -> None:
    frames, _ = read(written[1])
    layout = PanelLayout.of(640, 480, QUICK.panel_height_px)
    assert frames[0].shape == (layout.size_px[1], layout.size_px[0], 3)
    for box in (layout.side, layout.top):
        x0, y0, x1, y1 = box
        empty, full = (frames[i][y0:y1, x0:x1].astype(int) for i in (0, 7))
        assert empty.std() > 2  # The grid is there before anybody comes,
        assert (np.abs(full - empty).max(-1) > 40).mean() > 0.004  # and then somebody comes.
    x0, y0, x1, y1 = layout.front
    assert abs(int(np.median(frames[0][y0:y1, x0:x1])) - GREY) < 6


def test_the_virtual_cameras_stand_still(scene: Scene) -> None:
    """What no body or trail touches is the same from the first frame to the last."""
    from body4d.render.frame_renderer import FrameRenderer

    film, poser = FrameRenderer(scene, QUICK), ScenePoser(scene, QUICK)
    picture = np.full((480, 640, 3), GREY, np.uint8)
    views = [film.pictures(frame, picture, poser.at(frame)).views for frame in range(len(scene.clip))]
    for x0, y0, x1, y1 in (film.layout.side, film.layout.top):
        panels = [view[y0 + 30 : y1, x0:x1] for view in views]
        lines = panels[0].min(-1) < 205
        assert lines.sum() > 300
        assert len({panel.tobytes() for panel in panels}) > 4  # People do move.
        for panel in panels:
            assert (panel == panels[0]).all(-1)[lines].mean() > 0.5  # But for where people stand, every line is where it was.


def test_drawing_is_the_same_in_any_order_and_number_of_lanes(scene: Scene, tmp_path: Path, written: list[Path]) -> None:
    (tmp_path / "one").mkdir()
    for path, other in zip(write(scene, tmp_path / "one", QUICK.model_copy(update={"lanes": 1})), written, strict=True):
        if path.suffix == ".png":
            assert path.read_bytes() == other.read_bytes()
        else:
            for a, b in zip(read(path)[0], read(other)[0], strict=True):
                np.testing.assert_array_equal(a, b)


def test_the_sheet_shows_its_moments_three_ways(written: list[Path]) -> None:
    page = np.asarray(Image.open(written[2]))
    assert page.ndim == 3
    assert page.shape[0] > 3 * QUICK.sheet_cell_px
    assert page.shape[1] <= QUICK.sheet_most_px
    assert len(np.unique(page.reshape(-1, 3), axis=0)) > 200


def test_a_narrow_sheet_is_broken_into_blocks(scene: Scene, tmp_path: Path) -> None:
    sheet = write(scene, tmp_path, QUICK.model_copy(update={"sheet_moments": 8, "sheet_cell_px": 200, "sheet_most_px": 900}))[2]
    page = np.asarray(Image.open(sheet))
    assert page.shape[1] <= 900
    assert page.shape[0] > 2 * 3 * 200


@pytest.mark.parametrize(("width_px", "height_px"), [(8, 8), (354, 492), (97, 33), (2500, 40), (30, 900)])
def test_clips_of_any_size_give_legible_panels(width_px: int, height_px: int, tmp_path: Path) -> None:
    small = resized_scene(make_scene(1, 3), width_px, height_px)
    settings = QUICK.model_copy(update={"overlay_most_px": 1200})
    overlay_path, views_path, sheet_path = write(small, tmp_path, settings)
    shrink = min(1.0, 1200 / max(width_px, height_px))
    frame = read(overlay_path)[0][0]
    assert abs(frame.shape[1] - width_px * shrink) <= 2  # H.264 has even sides.
    assert abs(frame.shape[0] - height_px * shrink) <= 2
    assert read(views_path)[0][0].shape[0] == 180
    assert Image.open(sheet_path).height > 3 * 64


@pytest.mark.parametrize("frames", [1, 3])
def test_the_shortest_clips_and_clips_of_nobody(frames: int, tmp_path: Path) -> None:
    for people in (0, 1):
        (tmp_path / str(people)).mkdir()
        paths = write(make_scene(people, frames), tmp_path / str(people))
        assert len(read(paths[0])[0]) == len(read(paths[1])[0]) == frames
        assert paths[2].exists()


def test_reports_every_frame_and_leaves_nothing_when_stopped(scene: Scene, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []

    def stop_at_five(done: int, total: int) -> None:
        heard.append((done, total))
        if done == 5:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        write(scene, tmp_path, report=stop_at_five)
    assert heard == [(i, len(scene.clip)) for i in range(1, 6)]
    assert not list(tmp_path.iterdir())


def test_an_error_while_drawing_is_told_and_leaves_nothing(scene: Scene, tmp_path: Path) -> None:
    class Broken(GreyFrames):
        def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
            for frame, rgb in super().read(first, last, step):
                yield frame, rgb[:, :, :2] if frame == 6 else rgb

    with pytest.raises((ValueError, TypeError)):
        write_pictures(scene, Broken(scene.clip), *(tmp_path / n for n in ("a.mp4", "b.mp4", "c.png")), QUICK, lambda done, total: None)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        write(scene, tmp_path / "file")


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    """Pictures in flight are bounded by the lanes, however slowly they are written."""
    scene, alive, most = make_scene(1, 40), 0, 0

    class Counting(GreyFrames):
        def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
            nonlocal alive, most
            for frame, rgb in super().read(first, last, step):
                alive += 1
                most = max(most, alive)
                yield frame, rgb

    def slow(done: int, total: int) -> None:
        nonlocal alive
        alive -= 1

    write_pictures(scene, Counting(scene.clip), *(tmp_path / n for n in ("a.mp4", "b.mp4", "c.png")), QUICK, slow)
    assert most <= QUICK.lanes + 1


def test_the_sheet_looks_at_the_people() -> None:
    scene = make_scene(1, 9)
    x0, y0, x1, y1 = people_box(scene)
    assert 0 <= x0 < x1 <= 640
    assert 0 <= y0 < y1 <= 480
    pixels = scene.camera.project(scene.people[0].joints_m)
    inside = (pixels > (x0, y0)).all(-1) & (pixels < (x1, y1)).all(-1)
    assert inside.mean() > 0.95
    assert (x1 - x0) * (y1 - y0) < 0.9 * 640 * 480
    assert people_box(make_scene(0, 3)) == (0, 0, 640, 480)


@pytest.mark.parametrize("count", [1, 7, 8, 12])
@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.5])
def test_two_blocks_of_the_sheet_hold_all_moments(count: int, aspect: float) -> None:
    settings = PictureSettings()
    width, height = cell_size(count, aspect, settings)
    assert width / height == pytest.approx(aspect, rel=0.02)
    assert height <= settings.sheet_cell_px
    assert -(-count // 2) * (width + 6) < settings.sheet_most_px - 100
    if count == 8 and aspect == 0.5:
        assert height == settings.sheet_cell_px  # Nothing is shrunk without need.


def test_the_sheet_shows_moments_in_which_somebody_is_there(scene: Scene) -> None:
    frames = choose_sheet_frames(scene, QUICK)
    assert len(frames) == QUICK.sheet_moments
    assert all(any(True for _ in scene.visible_at(int(frame))) for frame in frames)
    assert choose_sheet_frames(make_scene(0, 3), QUICK).tolist() == [0, 1, 2]


def test_a_part_of_the_picture_has_the_part_of_the_camera() -> None:
    camera = make_scene(0, 1).camera
    part = resized_camera(camera, 300, 200, (100, 50), 2.0)
    point = np.array([0.3, -0.2, 4.0])
    np.testing.assert_allclose(part.project(point), (camera.project(point) - [100, 50]) * 2)


@pytest.mark.parametrize(("width_px", "height_px"), [(354, 492), (1280, 720), (3840, 2160), (500, 500), (4000, 300), (100, 2000)])
def test_panels_do_not_overlap_and_have_even_sides(width_px: int, height_px: int) -> None:
    layout = PanelLayout.of(width_px, height_px, 720)
    width, height = layout.size_px
    taken = np.zeros((height, width), int)
    for x0, y0, x1, y1 in (layout.front, layout.side, layout.top):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert min(x1 - x0, y1 - y0) >= 320
        taken[y0:y1, x0:x1] += 1
    assert taken.max() == 1
    assert width % 2 == height % 2 == 0
    assert width <= 2300
