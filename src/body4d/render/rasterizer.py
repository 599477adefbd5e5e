"""Meshes to pixels on the CPU: antialiased, lit, with mutual occlusion. Nothing but numpy and numba is needed.

Cameras and vertices are in camera axes (OpenCV). Results are the same on every call and on any number of threads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, UInt8

from body4d.core.rig import vertex_normals
from body4d.core.types import Camera
from body4d.render.kernels import SUBPIXEL, clip_near, cover_centres, cover_samples, project_vertices, resolve_colours, sample_offsets
from body4d.render.shading import STUDIO, Light, linear_to_srgb_table, shade_vertices, srgb_to_linear

NEAR_M = 0.05
"""What is nearer to the camera than this is clipped: lenses do not focus there, and projection is undefined at 0."""

_BAND_SAMPLES = 1 << 20  # Samples processed at a time: 8 MB, which fit into a cache, however large the picture is.


@dataclass(frozen=True)
class Mesh:
    """A surface to draw: ``vertices_m`` in camera axes, ``faces`` counter-clockwise when viewed from outside.

    ``colours`` are one sRGB colour (3,), or one for each vertex (V, 3), in [0, 1]. ``opacity`` in [0, 1]: a surface hides other surfaces
    behind it whatever its opacity, and lets the background alone shine through. ``two_sided`` shows the inside as well; ``lit`` False
    leaves colours as they are.
    """

    vertices_m: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "*v 3"]
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
    """A mesh with its light computed, ready to be drawn by any camera at the same place. ``colours`` are sRGB in [0, 255] and opacity."""

    vertices_m: Float[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "v 4"]
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
    background_rgb: UInt8[np.ndarray, "*size 3"],
    *,
    light: Light = STUDIO,
    samples: int = 4,
    near_m: float = NEAR_M,
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of ``meshes`` over ``background_rgb`` (of the same size, or one colour).

    Nearer surfaces hide farther ones, sample by sample. ``samples`` per pixel are 1 (jagged), 4 or 8.
    """
    size = (camera.height_px, camera.width_px, 3)
    background = np.asarray(background_rgb, np.uint8)
    if background.shape not in (size, (3,)):
        raise ValueError(f"the background must be {size} or one colour (3,), found {background.shape}")
    picture = np.empty(size, np.uint8)
    picture[:] = background
    offsets = sample_offsets(samples)
    shaded = [mesh if isinstance(mesh, ShadedMesh) else shade_mesh(mesh, light) for mesh in meshes]
    projected = _ProjectedMeshes.of(shaded, camera, near_m)
    for top, left, face_ids in projected.bands(offsets):
        resolve_colours(projected.points, projected.faces, projected.colours, offsets, top, left, face_ids, picture)
    return picture


def visible_mesh_index(meshes: Sequence[Mesh | ShadedMesh], camera: Camera, near_m: float = NEAR_M) -> Int32[np.ndarray, "h w"]:
    """Which of ``meshes`` is visible at the centre of each pixel, -1 where none. Occlusion is respected."""
    shaded = [mesh if isinstance(mesh, ShadedMesh) else shade_mesh(replace(mesh, lit=False)) for mesh in meshes]
    projected = _ProjectedMeshes.of(shaded, camera, near_m)
    out = np.full((camera.height_px, camera.width_px), -1, np.int32)
    ends = np.array([end for _, end, _ in projected.spans])
    for top, left, face_ids in projected.bands(sample_offsets(1)):
        owner = np.searchsorted(ends, face_ids[..., 0], side="right")
        out[top : top + face_ids.shape[0], left : left + face_ids.shape[1]] = np.where(face_ids[..., 0] >= 0, owner, -1)
    return out


def silhouette(
    vertices_m: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], camera: Camera, near_m: float = NEAR_M
) -> Bool[np.ndarray, "h w"]:
    """Where the body covers pixel centres. ``vertices_m`` in camera axes; ``faces`` of any winding."""
    return silhouettes(vertices_m[None], faces, camera, near_m)[0]


def silhouettes(
    vertices_m: Float[np.ndarray, "t v 3"], faces: Int[np.ndarray, "f 3"], camera: Camera, near_m: float = NEAR_M
) -> Bool[np.ndarray, "t h w"]:
    """Silhouettes of one surface in many poses; ``camera.scaled(0.25)`` gives small, quick ones."""
    out = np.zeros((len(vertices_m), camera.height_px, camera.width_px), np.bool_)
    faces = np.ascontiguousarray(faces, np.int32)
    for vertices, mask in zip(vertices_m, out, strict=True):
        part, (left, top, right, bottom) = silhouette_part(vertices, faces, camera, near_m)
        mask[top:bottom, left:right] = part
    return out


def silhouette_part(
    vertices_m: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], camera: Camera, near_m: float = NEAR_M
) -> tuple[Bool[np.ndarray, "rows columns"], tuple[int, int, int, int]]:
    """The part of a ``silhouette`` that the body touches, and its box in the picture: its left and top pixel, and the first to the right of
    it and below it."""
    vertices, faces = np.ascontiguousarray(vertices_m, np.float32), np.ascontiguousarray(faces, np.int32)
    points, kept, _ = project_mesh(vertices, faces, None, camera, near_m)
    left, top, right, bottom = touched_part([points], camera)
    out = np.zeros((bottom - top, right - left), np.bool_)
    cover_centres(points - np.array([left * SUBPIXEL, top * SUBPIXEL, 0]), kept, out)
    return out, (left, top, right, bottom)


def project_mesh(
    vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None, camera: Camera, near_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Points as the kernels take them, and the faces and colours that remain in front of the camera."""
    if vertices[:, 2].min(initial=np.inf) < near_m:
        vertices, faces, colours = clip_near(vertices, faces, colours, near_m)
    points = np.empty((len(vertices), 3))
    project_vertices(vertices, camera.focal_px, camera.cx_px, camera.cy_px, points)
    return points, faces, colours


@dataclass(frozen=True)
class _ProjectedMeshes:
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
    def of(meshes: Sequence[ShadedMesh], camera: Camera, near_m: float) -> "_ProjectedMeshes":
        points, colours, spans = [np.zeros((0, 3))], [np.zeros((0, 4), np.float32)], []
        faces: list[np.ndarray] = [np.zeros((0, 3), np.int32)]
        point_count = face_count = 0
        for mesh in meshes:
            own_points, own_faces, own_colours = project_mesh(mesh.vertices_m, mesh.faces, mesh.colours, camera, near_m)
            points.append(own_points)
            faces.append(own_faces + np.int32(point_count))
            colours.append(own_colours if own_colours is not None else mesh.colours)
            spans.append((face_count, face_count + len(own_faces), mesh.two_sided))
            point_count, face_count = point_count + len(own_points), face_count + len(own_faces)
        all_points = np.concatenate(points)
        left, top, right, bottom = touched_part(points, camera)
        all_points[:, 0] -= left * SUBPIXEL
        all_colours = np.concatenate(colours).astype(np.float32, copy=False)
        return _ProjectedMeshes(all_points, np.concatenate(faces), all_colours, tuple(spans), (left, top), (right, bottom))

    def bands(self, offsets: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (top row, left column, face_ids (rows, columns, S) int32): the visible face of each sample, or -1, band by band.

        The array yielded is overwritten by the next band.
        """
        (left, top), (right, bottom) = self.corner_px, self.end_px
        if left >= right or top >= bottom:
            return
        rows = min(max(1, _BAND_SAMPLES // ((right - left) * len(offsets))), bottom - top)
        depth = np.empty((rows, right - left, len(offsets)), np.float32)
        face_ids = np.empty(depth.shape, np.int32)
        for first in range(top, bottom, rows):
            count = min(rows, bottom - first)
            depth[:count], face_ids[:count] = 0, -1
            for start, end, two_sided in self.spans:
                cover_samples(self.points, self.faces[start:end], start, offsets, first, two_sided, depth[:count], face_ids[:count])
            yield first, left, face_ids[:count]


def touched_part(points: Sequence[np.ndarray], camera: Camera) -> tuple[int, int, int, int]:
    """Left, top, right and bottom pixel of the part of the picture that arrays of projected points span; 0 throughout without any."""
    box = []
    for axis, size in ((0, camera.width_px), (1, camera.height_px)):
        # A column by itself: numpy takes ten times as long over both at once.
        along = [np.ascontiguousarray(array[:, axis]) for array in points if len(array)]
        if not along:
            return 0, 0, 0, 0
        low, high = min(float(part.min()) for part in along), max(float(part.max()) for part in along)
        box.append((min(max(int(low) // SUBPIXEL, 0), size), min(max(int(high) // SUBPIXEL + 1, 0), size)))
    (left, right), (top, bottom) = box
    return left, top, right, bottom
