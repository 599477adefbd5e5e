"""One frame's pictures: bodies where they are, panels laid out, cameras that do not move."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from body4d.config import PictureSettings
from body4d.core.joints import Body29
from body4d.core.types import Scene
from body4d.render.frame_renderer import (
    FrameImages,
    FrameRenderer,
    PanelLayout,
    RenderPerson,
    ScenePoser,
    VirtualViewPanel,
    draw_overlay,
    pelvis_on_floor,
    resized_camera,
)
from body4d.render.rasterizer import silhouette
from body4d.render.style import CERTAIN_SIGMA_M, FAINT_OPACITY, UNCERTAIN_SIGMA_M
from body4d.render.virtual_views import top_camera
from scenes import make_floor, make_scene, stick_scene, with_moving_camera

pytestmark = pytest.mark.slow  # Anny is set up

QUICK = PictureSettings(panel_height_px=180)
GREY = 90


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(2, 9, gaps=True, variable_rate=True)


def render(scene: Scene, frames: Sequence[int], settings: PictureSettings = QUICK) -> list[FrameImages]:
    renderer, poser = FrameRenderer(scene, settings), ScenePoser(scene, show_uncertainty=settings.show_uncertainty)
    picture = np.full((scene.clip.height_px, scene.clip.width_px, 3), GREY, np.uint8)
    people = ([RenderPerson.of(pose, settings.overlay_opacity) for pose in poser.at(frame)] for frame in frames)
    return [renderer.render(frame, picture, persons) for frame, persons in zip(frames, people, strict=True)]


def test_the_trail_is_under_the_pelvis_on_the_floor() -> None:
    scene = make_scene(1, 5)
    person = scene.people[0]
    ground = pelvis_on_floor(scene, person)
    hips = (person.joint("left_hip") + person.joint("right_hip")) / 2
    world = hips @ make_floor()[:3, :3].T + make_floor()[:3, 3]
    assert np.all(ground[:, 1] == 0)
    np.testing.assert_allclose(ground[:, [0, 2]], world[:, [0, 2]], atol=1e-6)


def test_bodies_are_drawn_where_they_are_in_their_own_colours(scene: Scene) -> None:
    poses = ScenePoser(scene, show_uncertainty=False).at(3)
    people = [RenderPerson.of(pose, 1.0) for pose in poses]
    background = np.full((480, 640, 3), GREY, np.uint8)
    picture = draw_overlay(background, people, scene.camera, 4, labels=False)
    whole = np.zeros((480, 640), bool)
    for person in people:
        mask = silhouette(person.vertices_m, person.pose.rig.faces, scene.camera)
        assert mask.sum() > 3000
        whole |= mask
        inner = picture[mask].astype(float).mean(0)
        likeness = [np.dot(inner - inner.mean(), np.array(other.pose.colour) - np.mean(other.pose.colour)) for other in people]
        assert people[int(np.argmax(likeness))] is person
    changed = np.any(picture != background, axis=-1)
    assert np.mean(changed[whole]) > 0.995
    assert np.mean(changed & ~whole) < 0.01  # Antialiased edges alone.


def test_the_skinned_body_lies_on_the_joints_of_the_track(scene: Scene) -> None:
    for person in scene.people:
        for frame in (2, 6):
            row = person.row(frame)
            pose = next((pose for pose in ScenePoser(scene, show_uncertainty=False).at(frame) if pose.name == str(person.person_id)), None)
            if row is None:
                assert pose is None
                continue
            assert pose is not None
            mask = silhouette(pose.vertices_m(), pose.rig.faces, scene.camera)
            for name in ("left_knee", "right_shoulder", "nose"):
                x, y = scene.camera.project(person.joint(name)[row])
                if 3 < x < 637 and 3 < y < 477:
                    assert mask[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].any(), name


@pytest.mark.parametrize("frame", [0, 4, 8])
def test_a_moving_camera_s_overlay_is_that_of_its_frame(frame: int) -> None:
    scene = with_moving_camera(make_scene(1, 9), pan_deg=15, zoom=1.3, aside_m=0.4)
    plain, settings = np.full((480, 640, 3), GREY, np.uint8), QUICK.model_copy(update={"overlay_opacity": 1.0})
    renderer, pose = FrameRenderer(scene, settings), ScenePoser(scene, show_uncertainty=False).at(frame)[0]
    drawn = (renderer.render(frame, plain, [RenderPerson.of(pose, 1.0)]).overlay != GREY).any(-1)
    camera = dataclasses.replace(scene.camera, focal_px=600 * (1 + 0.3 * frame / 8), path=None)
    seen = silhouette(pose.vertices_m(), pose.rig.faces, camera)
    assert drawn[seen].mean() > 0.995
    assert np.sum(drawn & ~seen) < 0.1 * np.sum(seen)  # Antialiased edges alone.
    for x, y in camera.project(scene.people[0].joints_m[frame].astype(np.float64)):
        if 3 < x < 637 and 3 < y < 477:
            assert drawn[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].any()


def test_a_moving_camera_is_drawn_from_above_and_people_are_where_they_are_in_the_world() -> None:
    still = stick_scene(frames=9)
    scene = with_moving_camera(still)
    panel = VirtualViewPanel.of(scene, top_camera(scene, 300, 300), 4, shadows=False, paths=True)
    expected = panel.view.project(pelvis_on_floor(still, still.people[0]))
    np.testing.assert_allclose(panel.trails_px[0], expected, atol=0.01)
    places = panel.view.project(scene.T_world_camera_at(np.arange(9))[:, :3, 3])
    assert np.all((places > 0) & (places < 300))
    assert panel.camera_px is not None
    np.testing.assert_allclose(panel.camera_px[:, 0], places, atol=0.01)
    empty = panel.draw([], 8, labels=False)
    for x, y in places[[0, 8]]:
        assert empty[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].sum(-1).min() < 550  # The way's beginning, and the camera now.


def test_faint_frames_show_more_of_the_video(scene: Scene) -> None:
    person = scene.people[0]
    faint = dataclasses.replace(person, observed=np.zeros(len(person), bool))
    deviations = []
    for track in (dataclasses.replace(person, observed=np.ones(len(person), bool)), faint):
        pose = ScenePoser(dataclasses.replace(scene, people=(track,)), show_uncertainty=False).at(7)[0]
        picture = draw_overlay(np.full((480, 640, 3), GREY, np.uint8), [RenderPerson.of(pose, 1.0)], scene.camera, 4, labels=False)
        deviations.append(np.abs(picture.astype(float) - GREY).mean())
    assert deviations[1] == pytest.approx(FAINT_OPACITY * deviations[0], rel=0.05)


def test_the_virtual_cameras_do_not_move(scene: Scene) -> None:
    """What no body or trail touches is the same from the first frame to the last."""
    layout = PanelLayout.of(640, 480, QUICK.panel_height_px)
    views = [images.views for images in render(scene, range(len(scene.clip)))]
    for x0, y0, x1, y1 in (layout.side, layout.top):
        panels = [view[y0 + 30 : y1, x0:x1] for view in views]
        lines = panels[0].min(-1) < 205
        assert lines.sum() > 300
        assert len({panel.tobytes() for panel in panels}) > 4  # People do move.
        for panel in panels:
            assert (panel == panels[0]).all(-1)[lines].mean() > 0.5  # But for where people stand, every line is where it was.


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


def test_pictures_show_uncertainty() -> None:
    """The overlay differs where the uncertain hand is drawn, and nowhere else; the legend is in the views."""
    scene = make_scene(people=2, frames=5)
    sigma = np.full(scene.people[0].joints_m.shape[:2], CERTAIN_SIGMA_M / 2, np.float32)
    hand = sigma.copy()
    hand[2:, [Body29.LEFT_WRIST, *(joint for joint in Body29 if joint.name.startswith("LEFT_") and joint >= 23)]] = 2 * UNCERTAIN_SIGMA_M
    people = tuple(dataclasses.replace(p, joint_sigma_m=s) for p, s in zip(scene.people, (hand, sigma), strict=True))
    scene = dataclasses.replace(scene, people=people)
    shown, plain = (render(scene, [0, 3], QUICK.model_copy(update={"show_uncertainty": value})) for value in (True, False))
    np.testing.assert_array_equal(shown[0].overlay, plain[0].overlay)
    changed = np.abs(shown[1].overlay.astype(int) - plain[1].overlay).max(-1) > 8
    assert changed.any()
    wrist_px = scene.camera.project(scene.people[0].joint("left_wrist")[3].astype(float))
    rows, columns = np.nonzero(changed)
    assert np.hypot(columns + 0.5 - wrist_px[0], rows + 0.5 - wrist_px[1]).max() < 0.6 * scene.camera.focal_px / 3.0
    assert (shown[0].views != plain[0].views).any()
