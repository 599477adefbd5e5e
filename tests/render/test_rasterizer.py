"""The rasterizer against rays cast one by one, and against what geometry says."""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from body4d.core.types import Camera
from body4d.render import rasterizer as raster
from body4d.render.kernels import enlarge, shrink
from body4d.render.rasterizer import Mesh, draw, silhouette, silhouette_part, silhouettes, visible_mesh_index

CAMERA = Camera(focal_px=60.0, cx_px=32.0, cy_px=24.0, width_px=64, height_px=48)
WHITE, BLACK = np.full(3, 255, np.uint8), np.zeros(3, np.uint8)
QUAD = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def quad(x0: float, y0: float, x1: float, y1: float, z_m: float, colour: Any = (1.0, 1.0, 1.0), **more: Any) -> Mesh:
    """An unlit rectangle that faces the camera and covers pixels (x0, y0) to (x1, y1) from depth ``z_m``."""
    corners = np.array([[x0, y0], [x0, y1], [x1, y1], [x1, y0]], float)
    points = (corners - [CAMERA.cx_px, CAMERA.cy_px]) / CAMERA.focal_px * z_m
    return Mesh(np.column_stack([points, np.full(4, z_m)]), QUAD, np.array(colour), lit=False, **more)


def ball(centre_m: Any = (0.0, 0.0, 3.0), radius_m: float = 1.0, subdivisions: int = 3, colour: Any = (0.3, 0.7, 0.9)) -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius_m)
    return Mesh(np.asarray(sphere.vertices) + centre_m, np.asarray(sphere.faces, np.int32), np.array(colour))


def cast(vertices: Any, faces: Any, near_m: float, two_sided: bool) -> tuple[Any, Any]:
    """(index of the face each pixel centre sees or -1, whether that is safe to say) by rays against every triangle."""
    rows, columns = np.mgrid[: CAMERA.height_px, : CAMERA.width_px] + 0.5
    rays = np.stack([(columns - CAMERA.cx_px) / CAMERA.focal_px, (rows - CAMERA.cy_px) / CAMERA.focal_px, np.ones_like(rows)], -1)
    best, found, sure = np.full(rows.shape, np.inf), np.full(rows.shape, -1), np.ones(rows.shape, bool)
    for f, (a, b, c) in enumerate(vertices[faces]):
        normal = np.cross(b - a, c - a)
        slope = rays @ normal
        depth = (a @ normal) / slope
        hit = rays * depth[..., None]
        shares = [np.cross(q - p, hit - p) @ normal / (normal @ normal) for p, q in ((a, b), (b, c), (c, a))]
        # Within a few hundredths of a pixel of an edge, of the near plane or of another surface, snapping decides.
        margin = (
            np.min(shares, axis=0) * np.sqrt(normal @ normal) / max(np.linalg.norm(b - a), np.linalg.norm(c - b), np.linalg.norm(a - c))
        )
        edge = 0.05 * depth / CAMERA.focal_px
        inside = (margin >= 0) & (depth >= near_m) & (two_sided | (slope < 0))
        sure &= ~((np.abs(margin) < edge + 1e-4) | (np.abs(depth - near_m) < 1e-3) | (inside & (np.abs(depth - best) < 0.02)))
        nearer = inside & (depth < best)
        best[nearer], found[nearer] = depth[nearer], f
    return found, sure


def random_triangles(seed: int, count: int, mean_m: Any, spread_m: Any) -> tuple[Any, Any]:
    """Vertices and faces of triangles many of which are partly outside the picture or behind the camera."""
    vertices = np.random.default_rng(seed).normal(mean_m, spread_m, (3 * count, 3))
    return vertices, np.arange(3 * count, dtype=np.int32).reshape(count, 3)


@pytest.mark.parametrize("two_sided", [True, False])
def test_every_pixel_shows_what_its_ray_hits(two_sided: bool) -> None:
    for seed in range(8):
        vertices, faces = random_triangles(seed, 20, [0, 0, 2], [1.2, 1, 1.5])
        expected, sure = cast(vertices, faces, 0.1, two_sided)
        meshes = [Mesh(vertices, face[None], np.ones(3), two_sided=two_sided) for face in faces]
        visible = visible_mesh_index(meshes, CAMERA, near_m=0.1)
        assert sure.mean() > 0.6
        np.testing.assert_array_equal(visible[sure], expected[sure])
        assert len(np.unique(expected)) > 3  # The scene does hold several triangles that hide each other.


def test_a_silhouette_is_wherever_any_triangle_is() -> None:
    for seed in range(4):
        vertices, faces = random_triangles(seed, 6, [0, 0, 1.5], [1, 1, 1])
        expected, sure = cast(vertices, faces, 0.1, two_sided=True)
        mask = silhouette(vertices, faces, CAMERA, near_m=0.1)
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask[sure], (expected >= 0)[sure])


def test_the_silhouette_of_a_ball_is_a_disc_of_the_right_size() -> None:
    camera = Camera(600.0, 320.0, 240.0, 640, 480)
    mesh = ball(subdivisions=5)
    mask = silhouette(mesh.vertices_m, mesh.faces, camera)
    radius_px = 600 / np.sqrt(3**2 - 1)  # A ball of radius 1 at distance 3 subtends asin(1/3).
    assert mask.sum() == pytest.approx(np.pi * radius_px**2, rel=2e-3)
    rows, columns = np.nonzero(mask)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((320, 240), abs=0.05)


@pytest.mark.parametrize("centre", [(0, 0, 3), (0.9, -0.4, 3), (0, 0, 0.5), (9, 9, 3)])
def test_the_part_of_a_silhouette_that_is_touched_holds_all_of_it(centre: tuple[float, float, float]) -> None:
    mesh = ball(centre)
    part, (left, top, right, bottom) = silhouette_part(mesh.vertices_m, mesh.faces, CAMERA)
    whole = np.zeros((CAMERA.height_px, CAMERA.width_px), bool)
    whole[top:bottom, left:right] = part
    np.testing.assert_array_equal(whole, silhouette(mesh.vertices_m, mesh.faces, CAMERA))


def test_silhouettes_of_many_poses_are_those_of_each() -> None:
    poses = np.stack([ball(centre).vertices_m for centre in ((0, 0, 3), (0.5, 0.2, 3), (0, 0, 0.5), (9, 9, 3))])
    faces = ball().faces
    masks = silhouettes(poses, faces, CAMERA.scaled(0.5))
    assert masks.shape == (4, 24, 32)
    for vertices, mask in zip(poses, masks, strict=True):
        np.testing.assert_array_equal(mask, silhouette(vertices, faces, CAMERA.scaled(0.5)))
    assert not masks[3].any()


@pytest.mark.parametrize(("samples", "step"), [(1, 1.0), (4, 0.25), (8, 0.125)])
def test_edges_are_covered_by_their_share_of_the_pixel(samples: int, step: float) -> None:
    for share in np.arange(0, 1.01, 1 / 16):
        picture = draw([quad(10, 10, 20 + share, 20, 2.0)], CAMERA, BLACK, samples=samples)
        assert abs(picture[15, 20, 0] / 255 - share) <= step / 2 + 0.01
        assert picture[15, 19, 0] == 255
        assert picture[15, 21, 0] == 0


def test_neighbours_leave_no_seam_and_cover_nothing_twice() -> None:
    """A fan of slivers around one point, partly transparent: any gap or double cover would show."""
    rng = np.random.default_rng(5)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 200))
    angles = np.concatenate([np.linspace(0, 2 * np.pi, 9)[:-1], angles])
    angles.sort()
    rim = np.stack([np.cos(angles), np.sin(angles), np.full(len(angles), 2.0)], 1) * [3, 3, 1]
    vertices = np.concatenate([[[0.013, 0.007, 2.0]], rim])
    numbers = np.arange(len(angles))
    faces = np.stack([np.zeros_like(numbers), 1 + (numbers + 1) % len(angles), 1 + numbers], 1).astype(np.int32)
    picture = draw([Mesh(vertices, faces, np.ones(3), opacity=0.6, lit=False)], CAMERA, BLACK)
    assert np.unique(picture).tolist() == [153]


def test_two_planes_meet_where_they_cross_in_perspective() -> None:
    """A wall at depth 4 and a floor-like plane through it: seen from the camera they cross on one row."""
    slope = np.array([[-9, 1, 2], [-9, 1, 8], [9, 1, 8], [9, 1, 2]], float)
    floor = Mesh(slope, QUAD, np.array([1.0, 0, 0]), lit=False, two_sided=True)
    wall = quad(-100, -100, 200, 200, 4.0, (0, 1.0, 0))
    owner = visible_mesh_index([floor, wall], CAMERA)
    row = CAMERA.cy_px + CAMERA.focal_px * 1 / 4  # y = 1 m at depth 4 m: row 39
    assert np.all(owner[: int(row)] == 1)
    assert np.all(owner[int(row) :] == 0)


def test_colours_are_interpolated_in_perspective() -> None:
    """A strip that runs away from the camera, red by its depth: every pixel shows the depth of the point its centre sees."""
    vertices = np.array([[-1, 1, 2], [-1, 1, 10], [1, 1, 10], [1, 1, 2]], float)
    colours = np.zeros((4, 3))
    colours[:, 0] = vertices[:, 2] / 10
    picture = draw([Mesh(vertices, QUAD, colours, two_sided=True, lit=False)], CAMERA, BLACK, samples=1)
    rows = np.arange(32, 48)
    depth = CAMERA.focal_px / (rows + 0.5 - CAMERA.cy_px)  # of the plane y = 1
    np.testing.assert_allclose(picture[rows, 32, 0], depth / 10 * 255, atol=1)


def test_order_does_not_matter_and_the_nearer_hides_the_farther() -> None:
    near, far = quad(10, 10, 30, 30, 2.0, (1, 0, 0)), quad(20, 20, 40, 40, 3.0, (0, 0, 1))
    one, other = draw([near, far], CAMERA, BLACK), draw([far, near], CAMERA, BLACK)
    np.testing.assert_array_equal(one, other)
    assert one[25, 25].tolist() == [255, 0, 0]
    assert one[35, 35].tolist() == [0, 0, 255]


def test_opacity_lets_the_background_through_but_no_hidden_body() -> None:
    front, behind = quad(10, 10, 30, 30, 2.0, (1, 0, 0), opacity=0.5), quad(10, 10, 30, 30, 3.0, (0, 0, 1))
    assert draw([front, behind], CAMERA, WHITE)[20, 20].tolist() == [255, 128, 128]


def test_a_picture_cut_from_a_larger_one_is_the_same() -> None:
    """People partly outside the frame look as if they were cut off, to the bit."""
    body = ball((0.9, 0.6, 3.0), 0.8)
    wide = dataclasses.replace(CAMERA, width_px=128, height_px=96, cx_px=CAMERA.cx_px + 40, cy_px=CAMERA.cy_px + 30)
    whole, cut = draw([body], wide, BLACK), draw([body], CAMERA, BLACK)
    assert cut[-1].any()
    assert cut[:, -1].any()
    np.testing.assert_array_equal(whole[30:78, 40:104], cut)


def test_bands_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    meshes = [ball(), ball((0.5, 0, 2.5), 0.6, colour=(0.9, 0.6, 0.0))]
    whole = draw(meshes, CAMERA, WHITE)
    monkeypatch.setattr(raster, "_BAND_SAMPLES", 64 * 4 * 5)
    np.testing.assert_array_equal(draw(meshes, CAMERA, WHITE), whole)


def test_threads_and_repetition_give_the_same_bytes() -> None:
    meshes = [ball(), ball((0.5, 0, 2.5), 0.6)]
    first = draw(meshes, CAMERA, WHITE)
    with ThreadPoolExecutor(4) as pool:
        for other in pool.map(lambda _: draw(meshes, CAMERA, WHITE), range(12)):
            np.testing.assert_array_equal(first, other)


def test_a_camera_inside_a_body_or_a_body_behind_it_is_no_trouble() -> None:
    for centre in ((0.0, 0.0, 0.0), (0.3, 0.1, 0.9), (0.0, 0.0, -3.0)):
        mesh = ball(centre)
        assert draw([mesh], CAMERA, WHITE).shape == (48, 64, 3)
    assert (draw([ball((0, 0, -3.0))], CAMERA, WHITE) == 255).all()
    inside = silhouette(ball((0, 0, 0)).vertices_m, ball().faces, CAMERA)
    assert inside.all()  # From within, the ball is everywhere.


def test_nothing_gives_the_background_and_leaves_it_alone() -> None:
    background = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    background.flags.writeable = False
    picture = draw([], CAMERA, background)
    np.testing.assert_array_equal(picture, background)
    picture[:] = 0
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int32), np.ones(3))
    np.testing.assert_array_equal(draw([empty], CAMERA, background), background)
    draw([ball()], CAMERA, background)


def test_light_comes_from_above_and_colours_stay_their_own() -> None:
    picture = draw([ball()], CAMERA, BLACK, samples=8).astype(float)
    assert picture[12, 32].sum() > 1.3 * picture[37, 32].sum()
    red, green, blue = picture[24, 32]
    assert blue > green > red


def test_colours_per_vertex_are_lit_too() -> None:
    sphere = ball()
    tops = np.where(sphere.vertices_m[:, 1:2] < 0, [[0.9, 0.1, 0.1]], [[0.1, 0.1, 0.9]])
    picture = draw([dataclasses.replace(sphere, colours=tops)], CAMERA, BLACK)
    assert picture[15, 32, 0] > picture[15, 32, 2]
    assert picture[35, 32, 2] > picture[35, 32, 0]


@pytest.mark.parametrize(
    ("vertices", "faces", "colours", "words"),
    [
        (np.zeros((4, 2)), QUAD, np.ones(3), "vertices"),
        (np.zeros((4, 3)), QUAD, np.ones((5, 3)), "colours"),
        (np.zeros((3, 3)), QUAD, np.ones(3), "faces"),
    ],
    ids=["flat vertices", "colours of another mesh", "faces beyond the vertices"],
)
def test_a_mesh_that_does_not_fit_is_refused(vertices: Any, faces: Any, colours: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Mesh(vertices, faces, colours)


def test_a_background_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="background"):
        draw([], CAMERA, np.zeros((5, 5, 3), np.uint8))


def test_a_body_of_twenty_thousand_triangles_is_drawn_twenty_times_a_second() -> None:
    camera, mesh = Camera(1000.0, 640.0, 360.0, 1280, 720), ball(radius_m=0.45, subdivisions=5)
    background = np.full((720, 1280, 3), 200, np.uint8)
    assert np.mean(draw([mesh], camera, background) != 200) > 0.06  # As much of the picture as a body 600 pixels tall takes.

    def seconds() -> float:
        start = time.perf_counter()
        draw([mesh], camera, background)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 1 / 20


@pytest.mark.parametrize(
    ("size", "enlarged"), [((49, 35), (72, 51)), ((3, 4), (9, 17)), ((1, 1), (5, 7)), ((40, 30), (40, 61)), ((7, 6), (7, 6))]
)
def test_enlarged_pictures_are_pillows(size, enlarged):
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    rgb[::3] = 255  # Edges over which a cubic overshoots.
    expected = Image.fromarray(rgb).resize(enlarged[::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(enlarge(rgb, enlarged[1], enlarged[0]), expected)


@pytest.mark.parametrize(
    ("size", "shrunk"),
    [((54, 96), (36, 64)), ((35, 49), (34, 27)), ((5, 7), (3, 4)), ((2, 3), (1, 2)), ((9, 16), (9, 11)), ((7, 6), (7, 6))],
)
def test_shrunk_pictures_are_pillows(size, shrunk):
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected = Image.fromarray(rgb).resize(shrunk[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(shrink(rgb, shrunk[1], shrunk[0]), expected)
