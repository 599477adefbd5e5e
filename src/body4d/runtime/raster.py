"""Triangles to pixels in torch, for a GPU: all pictures of a frame at once, as ``body4d.render.kernels`` draws them one by one on the CPU.

Edges are evaluated in whole numbers, and the nearest surface of a sample is the greatest of 64-bit keys made of depth and triangle, so that
the order of threads does not count. Sums are float64 in a fixed order: results are the same on every call. On CUDA three Triton kernels do
the work. Elsewhere it is plain torch, which expands triangles to the pixels of their bounding boxes, a bounded number at a time.
"""

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor

from body4d.runtime.fused import has_fused_kernels

SUBPIXEL_BITS = 8
"""Points are in 1/256 pixel, as those of ``body4d.render.kernels.project_vertices``."""

MAX_STREAMS = 3
"""Frames drawn on the device at a time: one uploads and one downloads while the third is drawn, and each holds memory of its own."""

_MAX_PAIRS = 1 << 19  # Pixels of bounding boxes expanded at a time: a chunk of 4 samples each takes some 250 MB.
_MAX_KEPT = 64  # Arrays kept on the device: the faces of every rig, and the weights of a few sizes.
_MAX_SAMPLES = 1 << 19  # Samples coloured at a time: some 250 MB.
_LAST_FACE = 0x7FFFFFFF  # The low half of a key: of equal depths the first triangle wins.
_HALF = 0xFFFFFFFF
_WEIGHT_BITS = 22

LineWeights = tuple[Int[np.ndarray, " n"], Int[np.ndarray, "n taps"]]
"""How a line of pixels is resized: for each pixel, the first it is made of and their weights in 2^-22."""


@dataclass(frozen=True)
class RasterMesh:
    """A surface projected into a picture.

    ``points`` hold x and y in whole 1/256 pixels, and 1/depth; ``colours`` sRGB in [0, 255], and opacity in [0, 1].
    ``kept_faces``: ``faces`` is the same array on many frames and never changed, so that it stays on the device.
    """

    points: Float[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "v 4"]
    two_sided: bool = False
    kept_faces: bool = False


@dataclass(frozen=True)
class RasterPicture:
    """A picture to draw: ``meshes`` over ``background``, or where that is None over the frame.

    ``part``: left, top, right and bottom pixel of what the meshes may touch.
    ``resize`` (weights of a row's pixels, of a column's) brings the frame to the picture's size; None where it has that size.
    """

    width_px: int
    height_px: int
    meshes: Sequence[RasterMesh]
    part: tuple[int, int, int, int]
    background: UInt8[np.ndarray, "h w 3"] | None = None
    resize: tuple[LineWeights, LineWeights] | None = None


def raster_kernels(device: torch.device) -> ModuleType | None:
    """The Triton kernels that do this module's work, where there are any for ``device``."""
    if not has_fused_kernels(device):
        return None
    from body4d.runtime import raster_kernels as kernels

    return kernels


class DeviceRasterizer:
    """Draws pictures on a torch device. Any number of threads may call it; at most ``MAX_STREAMS`` frames are on the device at a time."""

    def __init__(self, device: torch.device, offsets: Int[np.ndarray, "samples 2"]) -> None:
        self._device, self._cuda = device, device.type == "cuda"
        self._offsets = torch.from_numpy(offsets).to(device)
        self._bounds = int(offsets.min()), int(offsets.max())
        self._kernels = raster_kernels(device)
        self._kept: dict[int, tuple[np.ndarray, Tensor]] = {}
        self._streams: queue.LifoQueue[torch.cuda.Stream | None] = queue.LifoQueue()
        for _ in range(MAX_STREAMS):
            self._streams.put(torch.cuda.Stream(device) if self._cuda else None)

    @torch.inference_mode()
    def draw(self, frame_rgb: UInt8[np.ndarray, "h w 3"], pictures: Sequence[RasterPicture]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        """The pictures, drawn. Raises what torch does where the device fails or its memory does not suffice."""
        with self._stream() as stream:
            canvas, firsts = self._backgrounds(frame_rgb, pictures)
            scene = self._scene(pictures, firsts)
            if scene is not None:
                keys = self._cover(scene)
                self._colour(scene, keys, canvas)
            out = torch.empty(canvas.shape, dtype=torch.uint8, pin_memory=self._cuda)
            out.copy_(canvas, non_blocking=True)
            if stream is not None:
                # Asleep: where a thread waits awake, as is torch's way, the encoders have a core less.
                done = torch.cuda.Event(blocking=True)
                done.record(stream)
                done.synchronize()
        flat = out.numpy()
        return [
            flat[first : first + p.height_px * p.width_px].reshape(p.height_px, p.width_px, 3)
            for first, p in zip(firsts, pictures, strict=True)
        ]

    @contextmanager
    def _stream(self) -> Iterator["torch.cuda.Stream | None"]:
        stream = self._streams.get()
        try:
            with torch.cuda.stream(stream) if stream is not None else nullcontext():
                yield stream
        finally:
            self._streams.put(stream)

    def _upload(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """Arrays one after the other, by way of memory that the device reads itself, so that nobody waits."""
        first = arrays[0]
        rows = sum(len(array) for array in arrays)
        staging = torch.empty((rows, *first.shape[1:]), dtype=torch.from_numpy(np.empty(0, first.dtype)).dtype, pin_memory=self._cuda)
        np.concatenate(arrays, out=staging.numpy())
        return staging.to(self._device, non_blocking=True)

    def _constant(self, array: np.ndarray) -> Tensor:
        """An array that is never changed, as int64 on the device: uploaded once."""
        known = self._kept.get(id(array))
        if known is not None:
            return known[1]
        there = torch.from_numpy(np.asarray(array, np.int64)).to(self._device)
        if self._cuda:
            torch.cuda.current_stream(self._device).synchronize()  # Other streams use it from now on.
        if len(self._kept) < _MAX_KEPT:
            self._kept[id(array)] = (array, there)  # With the array, whose id nothing else can have as long as it lives.
        return there

    def _backgrounds(self, frame_rgb: np.ndarray, pictures: Sequence[RasterPicture]) -> tuple[Tensor, list[int]]:
        """What lies behind the meshes: all pictures' pixels (N, 3), row by row and one picture after the other; and where each begins."""
        own = [p.background.reshape(-1, 3) for p in pictures if p.background is not None]
        uploaded = iter(torch.split(self._upload(own), [len(part) for part in own]) if own else ())
        frame = self._upload([frame_rgb]) if len(own) < len(pictures) else None
        parts = []
        for picture in pictures:
            if picture.background is not None or frame is None:
                parts.append(next(uploaded))
            elif picture.resize is None:
                parts.append(frame.reshape(-1, 3))
            else:
                across, down = picture.resize
                parts.append(self._resized(self._resized(frame, across, 1), down, 0).reshape(-1, 3))
        ends = np.cumsum([len(part) for part in parts]).tolist()
        return torch.cat(parts), [0, *ends[:-1]]

    def _resized(self, rgb: Tensor, weights: LineWeights, dim: int) -> Tensor:
        first, share = (self._constant(array) for array in weights)
        total = torch.full((), 1 << (_WEIGHT_BITS - 1), dtype=torch.int32, device=self._device)
        shape = [-1 if d == dim else 1 for d in range(3)]
        for tap in range(share.shape[1]):
            total = total + rgb.index_select(dim, first + tap).int() * share[:, tap].int().view(shape)
        return (total >> _WEIGHT_BITS).clamp_(0, 255).byte()

    def _scene(self, pictures: Sequence[RasterPicture], firsts: Sequence[int]) -> "_Scene | None":
        """All meshes as one; None where there is nothing to draw."""
        meshes: list[RasterMesh] = []
        of_mesh: list[list[int]] = []
        parts: list[list[int]] = []
        pixels = 0
        for picture, first in zip(pictures, firsts, strict=True):
            left, top, right, bottom = picture.part
            if left >= right or top >= bottom:
                continue
            meshes += picture.meshes
            of_mesh += [[len(parts), int(mesh.two_sided), left, top, right, bottom] for mesh in picture.meshes]
            parts.append([pixels, right - left, left, top, first + top * picture.width_px + left, picture.width_px])
            pixels += (right - left) * (bottom - top)
        counts = [len(mesh.faces) for mesh in meshes]
        if not sum(counts):
            return None
        vertices = np.cumsum([0, *(len(mesh.points) for mesh in meshes[:-1])])
        num_faces, first_vertex, of_mesh_there, parts_there = self._tables([np.array(counts), vertices, np.array(of_mesh), np.array(parts)])
        return _Scene(
            points=self._upload([mesh.points for mesh in meshes]),
            colours=self._upload([mesh.colours for mesh in meshes]),
            faces=self._faces(meshes, first_vertex),
            mesh=torch.repeat_interleave(num_faces, output_size=sum(counts)),
            of_mesh=of_mesh_there,
            parts=parts_there,
            pixels=pixels,
        )

    def _tables(self, arrays: Sequence[np.ndarray]) -> list[Tensor]:
        """Small tables of whole numbers in one upload, each where kernels may count on memory's alignment."""
        sizes = [array.size + -array.size % 16 for array in arrays]
        padded = [np.pad(array.ravel(), (0, size - array.size)) for array, size in zip(arrays, sizes, strict=True)]
        whole = self._upload(padded)
        return [part[: array.size].view(array.shape) for part, array in zip(whole.split(sizes), arrays, strict=True)]

    def _faces(self, meshes: Sequence[RasterMesh], first_vertex: Tensor) -> Tensor:
        """All faces (F, 3) by the numbers of all meshes' vertices. Runs of the same faces are made at once."""
        out: list[Tensor] = []
        at = 0
        while at < len(meshes):
            own, run = meshes[at], 1
            while at + run < len(meshes) and meshes[at + run].faces is own.faces:
                run += 1
            there = self._constant(own.faces) if own.kept_faces else self._upload([own.faces]).long()
            out.append((there + first_vertex[at : at + run, None, None]).view(-1, 3))
            at += run
        return torch.cat(out) if len(out) > 1 else out[0]

    def _cover(self, scene: "_Scene") -> Tensor:
        """Keys (pixels of all extents, S) int64: depth and triangle that is visible at each sample, 0 where none is."""
        if self._kernels is not None:
            meshes = scene.points, scene.faces, scene.mesh, scene.of_mesh, scene.parts
            return self._kernels.cover(*meshes, self._offsets, self._bounds, scene.pixels)
        samples = len(self._offsets)
        keys = torch.zeros(scene.pixels * samples, dtype=torch.int64, device=self._device)
        front = _front_faces(scene, self._offsets, self._bounds)
        total = int(front.ends[-1]) if len(front.ends) else 0
        for first in range(0, total, _MAX_PAIRS):
            self._cover_pairs(front, torch.arange(first, min(first + _MAX_PAIRS, total), device=self._device), keys)
        return keys.view(-1, samples)

    def _cover_pairs(self, front: "_FrontFaces", pair: Tensor, keys: Tensor) -> None:
        """Raise ``keys`` by those of some pixels of the bounding boxes."""
        samples = len(self._offsets)
        face = torch.searchsorted(front.ends, pair, right=True)
        whole = front.whole.index_select(0, face)
        edges, right, down, (before, width, first, line) = whole[:, :3], whole[:, 3:6], whole[:, 6:9], whole[:, 9:].unbind(1)
        place = pair - before
        row = torch.div(place, width, rounding_mode="floor")
        column = place - row * width
        at_pixel = edges + right * (row << SUBPIXEL_BITS)[:, None] - down * (column << SUBPIXEL_BITS)[:, None]
        inside = (at_pixel[:, None] + front.at_sample.index_select(0, face)).amin(-1) >= 0
        hit, sample = inside.nonzero(as_tuple=True)
        face, row, column = face[hit], row[hit], column[hit]
        z_left, slope_x, slope_y, y, far, near = front.real.index_select(0, face).unbind(1)
        x_offset, y_offset = self._offsets[sample].unbind(1)
        z = (
            z_left
            + slope_y * (y + (row << SUBPIXEL_BITS))
            + slope_x * (column << SUBPIXEL_BITS)
            + (slope_x * x_offset + slope_y * y_offset)
        )
        depth = torch.minimum(torch.maximum(z, far), near).float().view(torch.int32).long()
        key = depth << 32 | (_LAST_FACE - front.face[face])
        at = (first[hit] + row * line[hit] + column) * samples + sample
        keys.scatter_reduce_(0, at, key, "amax")

    def _colour(self, scene: "_Scene", keys: Tensor, canvas: Tensor) -> None:
        if self._kernels is not None:
            self._kernels.colour(scene.points, scene.faces, scene.colours, scene.parts, self._offsets, keys, canvas)
            return
        covered = (keys != 0).any(1).nonzero()[:, 0]
        for some in covered.split(_MAX_SAMPLES // keys.shape[1]):
            self._colour_pixels(scene, some, keys[some], canvas)

    def _colour_pixels(self, scene: "_Scene", pixel: Tensor, key: Tensor, canvas: Tensor) -> None:
        """Blend the surfaces visible at some pixels over ``canvas``: each once, at the mean of the samples where it is visible."""
        samples = key.shape[1]
        visible = key != 0
        face = torch.where(visible, _LAST_FACE - (key & _HALF), -1)
        same = face[:, :, None] == face[:, None, :]
        visible &= ~torch.tril(same, -1).any(-1)  # Not at an earlier sample too.
        count = same.sum(-1).double()
        mean = (same.double() @ self._offsets.double()) / count[..., None]
        part = torch.searchsorted(scene.parts[:, 0].contiguous(), pixel, right=True) - 1
        before, width, left, top, first, line = scene.parts[part].unbind(1)
        place = pixel - before
        row = torch.div(place, width, rounding_mode="floor")
        column = place - row * width
        x = ((column + left) << SUBPIXEL_BITS)[:, None, None] + mean[..., :1]
        y = ((row + top) << SUBPIXEL_BITS)[:, None, None] + mean[..., 1:]
        corners = scene.faces[face.clamp_min(0)]
        xs, ys, nearness = scene.points[corners].unbind(-1)
        xj, yj, xk, yk = xs[..., [1, 2, 0]], ys[..., [1, 2, 0]], xs[..., [2, 0, 1]], ys[..., [2, 0, 1]]
        share = ((xk - xj) * (y - yj) - (yk - yj) * (x - xj)) * nearness
        share = share * (1 / share.sum(-1, keepdim=True))
        mixed = (share[..., None] * scene.colours[corners]).sum(-2)
        opacity = torch.where(visible, mixed[..., 3] * count, 0.0)
        # Of samples without a surface whatever came out is dropped, even where it is no number.
        colour = torch.where(visible[..., None], opacity[..., None] * mixed[..., :3], 0.0).sum(1)
        at = first + row * line + column
        behind = (samples - opacity.sum(1))[:, None] * canvas[at]
        canvas[at] = ((colour + behind) / samples + 0.5).clamp_(0, 255).byte()


@dataclass(frozen=True)
class _Scene:
    """The meshes of all pictures. ``mesh`` (F,) is that of each of ``faces`` (F, 3).

    ``of_mesh``: picture, whether two-sided, and the part of the picture that its meshes may touch: left, top, right and bottom pixel.
    ``parts``: of each picture its first pixel in the keys, its columns there, left, top, its first pixel on the canvas, and a line there.
    """

    points: Tensor
    colours: Tensor
    faces: Tensor
    mesh: Tensor
    of_mesh: Tensor
    parts: Tensor
    pixels: int


@dataclass(frozen=True)
class _FrontFaces:
    """Triangles that are to be drawn, each with its place among all as ``face``, and ``ends`` of their pixels counted one after the other.

    ``whole`` int64: edge functions at the bounding box's corner (3), what they gain a row (3) and lose a column (3), pixels of earlier
    boxes, the box's width, its first pixel in the keys and the keys' columns there; ``at_sample`` (F, S, 3): what a sample's offset adds.
    ``real`` float64: 1/depth at the box's left edge, its slopes, the first row above the first corner, and least and greatest 1/depth.
    """

    face: Tensor
    ends: Tensor
    whole: Tensor
    at_sample: Tensor
    real: Tensor


def _front_faces(scene: _Scene, offsets: Tensor, bounds: tuple[int, int]) -> _FrontFaces:
    """The triangles that face the camera and touch a sample's row and column, prepared as ``cover_samples`` does it."""
    corners = scene.points[scene.faces]
    xy = corners[..., :2].long()
    kind = scene.of_mesh[scene.mesh]
    first = torch.maximum((xy.amin(1) - bounds[1] + 255) >> SUBPIXEL_BITS, kind[:, 2:4])
    last = torch.minimum((xy.amax(1) - bounds[0]) >> SUBPIXEL_BITS, kind[:, 4:6] - 1)
    side = xy[:, 1:] - xy[:, :1]
    area = side[:, 0, 0] * side[:, 1, 1] - side[:, 1, 0] * side[:, 0, 1]
    # Counter-clockwise on the screen is a negative area with y down.
    drawn = ((area < 0) | ((kind[:, 1] > 0) & (area > 0))) & (first <= last).all(1)
    face = drawn.nonzero()[:, 0]
    xy, z, first, last, area, kind = xy[face], corners[face, :, 2], first[face], last[face], area[face], kind[face]
    turned, reversed_ = torch.tensor([0, 2, 1], device=face.device), area < 0
    xy = torch.where(reversed_[:, None, None], xy[:, turned], xy)
    z = torch.where(reversed_[:, None], z[:, turned], z)
    begin, end = xy[:, [1, 2, 0]], xy[:, [2, 0, 1]]
    way = end - begin
    corner = first << SUBPIXEL_BITS
    away = corner[:, None] - begin
    edges = way[..., 0] * away[..., 1] - way[..., 1] * away[..., 0]
    at_sample = way[:, None, :, 0] * offsets[:, 1, None] - way[:, None, :, 1] * offsets[:, 0, None]
    scale = 1.0 / area.abs().double()
    side = (xy[:, 1:] - xy[:, :1]).double()
    rise = z[:, 1:] - z[:, :1]
    slope_x = (rise[:, 0] * side[:, 1, 1] - rise[:, 1] * side[:, 0, 1]) * scale
    slope_y = (rise[:, 1] * side[:, 0, 0] - rise[:, 0] * side[:, 1, 0]) * scale
    from_first = (corner - xy[:, 0]).double()
    real = [z[:, 0] + slope_x * from_first[:, 0], slope_x, slope_y, from_first[:, 1], z.amin(1), z.amax(1)]
    size = last - first + 1
    pixels = size.prod(1)
    ends = pixels.cumsum(0)
    part = scene.parts[kind[:, 0]]
    place = part[:, 0] + (first[:, 1] - part[:, 3]) * part[:, 1] + first[:, 0] - part[:, 2]
    whole = torch.cat([edges, way[..., 0], way[..., 1], torch.stack([ends - pixels, size[:, 0], place, part[:, 1]], 1)], 1)
    return _FrontFaces(face, ends, whole, at_sample, torch.stack(real, 1))
