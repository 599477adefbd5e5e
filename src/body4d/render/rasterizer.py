"""Meshes to pixels on the CPU: antialiased, lit, with mutual occlusion. Nothing but numpy and numba is needed.

Cameras and vertices are in camera axes (OpenCV). Results are the same on every call and on any number of threads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from body4d.core.rig import vertex_normals
from body4d.core.types import Camera
from body4d.render.kernels import SUBPIXEL, clip_near, cover_centres, cover_samples, project_vertices, resolve_colours, sample_offsets
from body4d.render.shading import STUDIO, Light, linear_to_srgb_table, shade_vertices, srgb_to_linear

NEAR_M = 0.05
"""What is nearer to the camera than this is cut away: lenses do not focus there, and projection is undefined at 0."""

_BAND_SAMPLES = 1 << 20  # Samples worked on at a time: 8 MB, which a cache holds, however large the picture.


@dataclass(frozen=True)
class Mesh:
    """A surface to draw: ``vertices_m`` (V, 3) camera axes, ``faces`` (F, 3) counter-clockwise seen from outside.

    ``colours``: one sRGB colour (3,), or one for each vertex (V, 3), in [0, 1]. ``opacity`` in [0, 1]: a surface hides other surfaces
    behind it whatever its opacity, and lets the background alone shine through. ``two_sided`` shows the inside as well; ``lit`` False
    leaves colours as they are.
    """

    vertices_m: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    opacity: float = 1.0
    two_sided: bool = False
    lit: bool = True

    def __post_init__(self) -> None:
        count = len(self.vertices_m)
        if self.vertices_m.shape != (count, 3) or self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError(f"a mesh needs vertices (V, 3) and faces (F, 3), found {self.vertices_m.shape} and {self.faces.shape}")
        if np.shape(self.colours) not in ((3,), (count, 3)):
            raise ValueError(f"colours must be (3,) or ({count}, 3), found {np.shape(self.colours)}")
        if len(self.faces) and (self.faces.min() < 0 or self.faces.max() >= count):
            raise ValueError(f"faces name vertices beyond the {count} there are")


@dataclass(frozen=True)
class ShadedMesh:
    """A mesh with its light computed, ready to be drawn by any camera that stands where the first one stood.

    ``vertices_m`` (V, 3) float32, ``colours`` (V, 4) float32: sRGB in [0, 255] and opacity.
    """

    vertices_m: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    two_sided: bool


def shade_mesh(mesh: Mesh, light: Light = STUDIO) -> ShadedMesh:
    """Compute the light on a mesh, once for however many pictures of it."""
    vertices = np.ascontiguousarray(mesh.vertices_m, np.float32)
    faces = np.ascontiguousarray(mesh.faces, np.int32)
    out = np.empty((len(vertices), 4), np.float32)
    if mesh.lit:
        colours = np.ascontiguousarray(np.atleast_2d(srgb_to_linear(mesh.colours)), np.float32)
        shade_vertices(vertices, vertex_normals(vertices, faces), colours, float(mesh.opacity), light.packed, linear_to_srgb_table(), out)
    else:
        out[:, :3], out[:, 3] = np.asarray(mesh.colours) * 255, mesh.opacity
    return ShadedMesh(vertices, faces, out, mesh.two_sided)


def draw(
    meshes: Sequence[Mesh | ShadedMesh],
    camera: Camera,
    background_rgb: np.ndarray,
    *,
    light: Light = STUDIO,
    samples: int = 4,
    near_m: float = NEAR_M,
) -> np.ndarray:
    """A picture, RGB uint8 (H, W, 3), of ``meshes`` over ``background_rgb`` (the same shape, or one colour (3,) uint8).

    Nearer surfaces hide farther ones, sample by sample. ``samples`` per pixel: 1 (jagged), 4 or 8.
    """
    size = (camera.height_px, camera.width_px, 3)
    background = np.asarray(background_rgb, np.uint8)
    if background.shape not in (size, (3,)):
        raise ValueError(f"the background must be {size} or one colour (3,), found {background.shape}")
    picture = np.empty(size, np.uint8)
    picture[:] = background
    places = sample_offsets(samples)
    lit = [mesh if isinstance(mesh, ShadedMesh) else shade_mesh(mesh, light) for mesh in meshes]
    ready = _Ready.of(lit, camera, near_m)
    for top, left, seen in ready.bands(places):
        resolve_colours(ready.points, ready.faces, ready.colours, places, top, left, seen, picture)
    return picture


def visible_mesh_index(meshes: Sequence[Mesh | ShadedMesh], camera: Camera, near_m: float = NEAR_M) -> np.ndarray:
    """Which of ``meshes`` the centre of each pixel sees: int32 (H, W), -1 where none. Occlusion is respected."""
    lit = [mesh if isinstance(mesh, ShadedMesh) else shade_mesh(replace(mesh, lit=False)) for mesh in meshes]
    ready = _Ready.of(lit, camera, near_m)
    out = np.full((camera.height_px, camera.width_px), -1, np.int32)
    ends = np.array([end for _, end, _ in ready.spans])
    for top, left, seen in ready.bands(sample_offsets(1)):
        owner = np.searchsorted(ends, seen[..., 0], side="right")
        out[top : top + seen.shape[0], left : left + seen.shape[1]] = np.where(seen[..., 0] >= 0, owner, -1)
    return out


def silhouette(vertices_m: np.ndarray, faces: np.ndarray, camera: Camera, near_m: float = NEAR_M) -> np.ndarray:
    """Where the body covers pixel centres: bool (H, W). ``vertices_m`` (V, 3) metres, camera axes; ``faces`` (F, 3), any winding."""
    return silhouettes(vertices_m[None], faces, camera, near_m)[0]


def silhouettes(vertices_m: np.ndarray, faces: np.ndarray, camera: Camera, near_m: float = NEAR_M) -> np.ndarray:
    """Silhouettes bool (T, H, W) of one surface in many poses ``vertices_m`` (T, V, 3); ``camera.scaled(0.25)`` gives small, quick ones."""
    out = np.zeros((len(vertices_m), camera.height_px, camera.width_px), np.bool_)
    faces = np.ascontiguousarray(faces, np.int32)
    for vertices, mask in zip(vertices_m, out, strict=True):
        points, kept, _ = _projected(np.ascontiguousarray(vertices, np.float32), faces, None, camera, near_m)
        cover_centres(points, kept, mask)
    return out


def _projected(
    vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None, camera: Camera, near_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Points as the kernels take them, and the faces and colours that remain in front of the camera."""
    if vertices[:, 2].min(initial=np.inf) < near_m:
        vertices, faces, colours = clip_near(vertices, faces, colours, near_m)
    points = np.empty((len(vertices), 3))
    project_vertices(vertices, camera.focal_px, camera.cx_px, camera.cy_px, points)
    return points, faces, colours


@dataclass(frozen=True)
class _Ready:
    """All meshes of a picture as one: projected ``points`` (V, 3), ``faces`` (F, 3), ``colours`` (V, 4).

    ``spans``: (first face, end, whether two-sided) of each mesh. ``corner_px`` and ``end_px`` (x, y): the part of the picture they may
    touch; points count their columns from there.
    """

    points: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    spans: tuple[tuple[int, int, bool], ...]
    corner_px: tuple[int, int]
    end_px: tuple[int, int]

    @staticmethod
    def of(meshes: Sequence[ShadedMesh], camera: Camera, near_m: float) -> "_Ready":
        points, faces, colours, spans = [np.zeros((0, 3))], [np.zeros((0, 3), np.int32)], [np.zeros((0, 4), np.float32)], []
        point_count = face_count = 0
        for mesh in meshes:
            projected, kept, shaded = _projected(mesh.vertices_m, mesh.faces, mesh.colours, camera, near_m)
            points.append(projected)
            faces.append(kept + np.int32(point_count))
            colours.append(shaded if shaded is not None else mesh.colours)
            spans.append((face_count, face_count + len(kept), mesh.two_sided))
            point_count, face_count = point_count + len(projected), face_count + len(kept)
        all_points = np.concatenate(points)
        corner, end = _extent(all_points, camera)
        all_points[:, 0] -= corner[0] * SUBPIXEL
        return _Ready(all_points, np.concatenate(faces), np.concatenate(colours).astype(np.float32, copy=False), tuple(spans), corner, end)

    def bands(self, places: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (top row, left column, seen (rows, columns, S) int32): the face each sample sees, or -1, band by band.

        What is yielded holds until the next band is asked for.
        """
        (left, top), (right, bottom) = self.corner_px, self.end_px
        if left >= right or top >= bottom:
            return
        rows = min(max(1, _BAND_SAMPLES // ((right - left) * len(places))), bottom - top)
        depth = np.empty((rows, right - left, len(places)), np.float32)
        seen = np.empty(depth.shape, np.int32)
        for first in range(top, bottom, rows):
            count = min(rows, bottom - first)
            depth[:count], seen[:count] = 0, -1
            for start, end, two_sided in self.spans:
                cover_samples(self.points, self.faces[start:end], start, places, first, two_sided, depth[:count], seen[:count])
            yield first, left, seen[:count]


def _extent(points: np.ndarray, camera: Camera) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and end pixel (x, y) of the part of the picture that ``points`` span."""
    if not len(points):
        return (0, 0), (0, 0)
    spans = []
    for axis, size in ((0, camera.width_px), (1, camera.height_px)):
        along = np.ascontiguousarray(points[:, axis])
        spans.append((min(max(int(along.min()) // SUBPIXEL, 0), size), min(max(int(along.max()) // SUBPIXEL + 1, 0), size)))
    return (spans[0][0], spans[1][0]), (spans[0][1], spans[1][1])
