"""Triton kernels for ``raster``: the same whole numbers and float64 sums in three launches. They build in a few seconds, once a machine."""

import torch
import triton
import triton.language as tl
from torch import Tensor

SMALL_PIXELS = 64
"""Triangles whose box has so many pixels are drawn by one lane each; larger ones by a whole warp, a few pixels to a lane."""

FACE_BLOCK, PIXEL_BLOCK, COLOUR_BLOCK = 32, 128, 128
LARGE_PROGRAMS = 1056
"""Programs that share the large triangles, eight for each of an H200's processors; how many triangles there are is only known there."""

LAST_FACE = tl.constexpr(0x7FFFFFFF)


@triton.jit
def _corner(points_ptr, vertex, inside):
    at = points_ptr + vertex * 3
    x = tl.load(at, mask=inside, other=0.0).to(tl.int64)
    y = tl.load(at + 1, mask=inside, other=0.0).to(tl.int64)
    return x, y, tl.load(at + 2, mask=inside, other=0.0)


@triton.jit
def _triangle(points_ptr, faces_ptr, mesh_ptr, of_mesh_ptr, parts_ptr, face, inside, MIN_OFFSET: tl.constexpr, MAX_OFFSET: tl.constexpr):
    """Everything about triangles that their samples need; ``drawn`` where they are to be drawn."""
    mesh = of_mesh_ptr + tl.load(mesh_ptr + face, mask=inside, other=0) * 6
    part = parts_ptr + tl.load(mesh) * 6
    corner = faces_ptr + face * 3
    i, j, k = tl.load(corner, mask=inside, other=0), tl.load(corner + 1, mask=inside, other=0), tl.load(corner + 2, mask=inside, other=0)
    x0, y0, z0 = _corner(points_ptr, i, inside)
    xj, yj, zj = _corner(points_ptr, j, inside)
    xk, yk, zk = _corner(points_ptr, k, inside)
    area = (xj - x0) * (yk - y0) - (xk - x0) * (yj - y0)
    # Counter-clockwise on the screen is a negative area with y down.
    turned = area < 0
    x1, y1, z1 = tl.where(turned, xk, xj), tl.where(turned, yk, yj), tl.where(turned, zk, zj)
    x2, y2, z2 = tl.where(turned, xj, xk), tl.where(turned, yj, yk), tl.where(turned, zj, zk)
    first_column = tl.maximum((tl.minimum(tl.minimum(x0, x1), x2) - MAX_OFFSET + 255) >> 8, tl.load(mesh + 2))
    first_row = tl.maximum((tl.minimum(tl.minimum(y0, y1), y2) - MAX_OFFSET + 255) >> 8, tl.load(mesh + 3))
    last_column = tl.minimum((tl.maximum(tl.maximum(x0, x1), x2) - MIN_OFFSET) >> 8, tl.load(mesh + 4) - 1)
    last_row = tl.minimum((tl.maximum(tl.maximum(y0, y1), y2) - MIN_OFFSET) >> 8, tl.load(mesh + 5) - 1)
    drawn = inside & (turned | ((tl.load(mesh + 1) > 0) & (area > 0))) & (first_column <= last_column) & (first_row <= last_row)
    scale = 1.0 / tl.where(drawn, tl.abs(area), 1).to(tl.float64)
    dx1, dy1, dx2, dy2 = (x1 - x0).to(tl.float64), (y1 - y0).to(tl.float64), (x2 - x0).to(tl.float64), (y2 - y0).to(tl.float64)
    slope_x = ((z1 - z0) * dy2 - (z2 - z0) * dy1) * scale
    slope_y = ((z2 - z0) * dx1 - (z1 - z0) * dx2) * scale
    columns = tl.load(part + 1)
    at = tl.load(part) + (first_row - tl.load(part + 3)) * columns + first_column - tl.load(part + 2)
    width = tl.where(drawn, last_column - first_column + 1, 1)
    pixels = tl.where(drawn, width * (last_row - first_row + 1), 0)
    nearest, farthest = tl.maximum(tl.maximum(z0, z1), z2), tl.minimum(tl.minimum(z0, z1), z2)
    right, down = first_column << 8, first_row << 8
    a = (x2 - x1) * (down - y1) - (y2 - y1) * (right - x1)
    b = (x0 - x2) * (down - y2) - (y0 - y2) * (right - x2)
    c = (x1 - x0) * (down - y0) - (y1 - y0) * (right - x0)
    z = z0 + slope_x * (right - x0).to(tl.float64)
    above = (down - y0).to(tl.float64)
    return (
        pixels, width, at, columns, a, b, c, x2 - x1, x0 - x2, x1 - x0, y2 - y1, y0 - y2, y1 - y0,
        z, above, slope_x, slope_y, farthest, nearest
    )  # fmt: skip


@triton.jit
def _cover_pixel(
    keys_ptr, offsets_ptr, face, inside, row, column, at, columns, a, b, c, xa, xb, xc, ya, yb, yc,
    z, above, slope_x, slope_y, farthest, nearest, SAMPLES: tl.constexpr
):  # fmt: skip
    """Raise the keys of one pixel of each triangle where it covers a sample."""
    a = a + xa * (row << 8) - ya * (column << 8)
    b = b + xb * (row << 8) - yb * (column << 8)
    c = c + xc * (row << 8) - yc * (column << 8)
    z = z + slope_y * (above + (row << 8).to(tl.float64)) + slope_x * (column << 8).to(tl.float64)
    at = keys_ptr + (at + row * columns + column) * SAMPLES
    for s in tl.static_range(SAMPLES):
        x, y = tl.load(offsets_ptr + 2 * s), tl.load(offsets_ptr + 2 * s + 1)
        hit = inside & (((a + xa * y - ya * x) | (b + xb * y - yb * x) | (c + xc * y - yc * x)) >= 0)
        depth = z + (slope_x * x.to(tl.float64) + slope_y * y.to(tl.float64))
        depth = tl.minimum(tl.maximum(depth, farthest), nearest).to(tl.float32)
        key = (depth.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (LAST_FACE - face)
        tl.atomic_max(at + s, key, mask=hit, sem="relaxed")


@triton.jit(do_not_specialize=["count"])
def _cover_small_kernel(
    points_ptr, faces_ptr, mesh_ptr, of_mesh_ptr, parts_ptr, offsets_ptr, keys_ptr, large_ptr, count,
    SMALL: tl.constexpr, MIN_OFFSET: tl.constexpr, MAX_OFFSET: tl.constexpr, SAMPLES: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    face = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    (pixels, width, at, columns, a, b, c, xa, xb, xc, ya, yb, yc, z, above, slope_x, slope_y, farthest, nearest) = _triangle(
        points_ptr, faces_ptr, mesh_ptr, of_mesh_ptr, parts_ptr, face, face < count, MIN_OFFSET, MAX_OFFSET
    )
    large = pixels > SMALL
    place = tl.atomic_add(large_ptr + tl.zeros((BLOCK,), tl.int64), tl.full((BLOCK,), 1, tl.int64), mask=large, sem="relaxed")
    tl.store(large_ptr + 1 + place, face, mask=large)
    pixels = tl.where(large, 0, pixels)
    row, column = tl.zeros((BLOCK,), tl.int64), tl.zeros((BLOCK,), tl.int64)
    for pixel in range(0, tl.max(pixels)):
        _cover_pixel(
            keys_ptr, offsets_ptr, face, pixel < pixels, row, column, at, columns, a, b, c, xa, xb, xc, ya, yb, yc,
            z, above, slope_x, slope_y, farthest, nearest, SAMPLES
        )  # fmt: skip
        column += 1
        row = tl.where(column == width, row + 1, row)
        column = tl.where(column == width, 0, column)


@triton.jit
def _cover_large_kernel(
    points_ptr, faces_ptr, mesh_ptr, of_mesh_ptr, parts_ptr, offsets_ptr, keys_ptr, large_ptr,
    PROGRAMS: tl.constexpr, MIN_OFFSET: tl.constexpr, MAX_OFFSET: tl.constexpr, SAMPLES: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    lane = tl.arange(0, BLOCK).to(tl.int64)
    for n in range(tl.program_id(0), tl.load(large_ptr).to(tl.int32), PROGRAMS):
        # The same triangle in every lane.
        face = tl.load(large_ptr + 1 + n) + tl.zeros((BLOCK,), tl.int64)
        (pixels, width, at, columns, a, b, c, xa, xb, xc, ya, yb, yc, z, above, slope_x, slope_y, farthest, nearest) = _triangle(
            points_ptr, faces_ptr, mesh_ptr, of_mesh_ptr, parts_ptr, face, face >= 0, MIN_OFFSET, MAX_OFFSET
        )
        for first in range(0, tl.max(pixels), BLOCK):
            pixel = first + lane
            row = pixel // width
            _cover_pixel(
                keys_ptr, offsets_ptr, face, pixel < pixels, row, pixel - row * width, at, columns, a, b, c, xa, xb, xc, ya, yb, yc,
                z, above, slope_x, slope_y, farthest, nearest, SAMPLES
            )  # fmt: skip


@triton.jit(do_not_specialize=["pixels"])
def _colour_kernel(
    points_ptr, faces_ptr, colours_ptr, parts_ptr, offsets_ptr, keys_ptr, canvas_ptr, pixels,
    PARTS: tl.constexpr, SAMPLES: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    at = keys_ptr + pixel * SAMPLES
    seen = tl.zeros((BLOCK,), tl.int64)
    for s in tl.static_range(SAMPLES):
        seen |= tl.load(at + s, mask=inside, other=0)
    covered = seen != 0
    if tl.max(covered.to(tl.int32)) == 0:
        return
    part = tl.zeros((BLOCK,), tl.int64)
    for p in tl.static_range(1, PARTS):
        part = tl.where(pixel >= tl.load(parts_ptr + 6 * p), p, part)
    of_part = parts_ptr + part * 6
    columns = tl.load(of_part + 1)
    place = pixel - tl.load(of_part)
    row = place // columns
    column = place - row * columns
    red, green, blue = tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64)
    cover = tl.zeros((BLOCK,), tl.float64)
    for s in range(SAMPLES):  # Unrolled, 8 samples would take 14 s to build.
        key = tl.load(at + s, mask=inside, other=0)
        used = key != 0
        face = LAST_FACE - (key & 0xFFFFFFFF)
        count, x, y = tl.zeros((BLOCK,), tl.int64), tl.zeros((BLOCK,), tl.int64), tl.zeros((BLOCK,), tl.int64)
        for t in tl.static_range(SAMPLES):
            other = tl.load(at + t, mask=inside, other=0)
            same = (other != 0) & (LAST_FACE - (other & 0xFFFFFFFF) == face)
            used = used & ~(same & (t < s))  # Not where an earlier sample has it too.
            count += same.to(tl.int64)
            x += tl.where(same, tl.load(offsets_ptr + 2 * t), 0)
            y += tl.where(same, tl.load(offsets_ptr + 2 * t + 1), 0)
        number = tl.where(used, count, 1).to(tl.float64)
        px = ((column + tl.load(of_part + 2)) << 8).to(tl.float64) + x.to(tl.float64) / number
        py = ((row + tl.load(of_part + 3)) << 8).to(tl.float64) + y.to(tl.float64) / number
        corner = faces_ptr + face * 3
        i, j, k = tl.load(corner, mask=used, other=0), tl.load(corner + 1, mask=used, other=0), tl.load(corner + 2, mask=used, other=0)
        xi, yi, zi = tl.load(points_ptr + i * 3), tl.load(points_ptr + i * 3 + 1), tl.load(points_ptr + i * 3 + 2)
        xj, yj, zj = tl.load(points_ptr + j * 3), tl.load(points_ptr + j * 3 + 1), tl.load(points_ptr + j * 3 + 2)
        xk, yk, zk = tl.load(points_ptr + k * 3), tl.load(points_ptr + k * 3 + 1), tl.load(points_ptr + k * 3 + 2)
        a = ((xk - xj) * (py - yj) - (yk - yj) * (px - xj)) * zi
        b = ((xi - xk) * (py - yk) - (yi - yk) * (px - xk)) * zj
        c = ((xj - xi) * (py - yi) - (yj - yi) * (px - xi)) * zk
        share = 1.0 / tl.where(used, a + b + c, 1.0)
        a, b, c = a * share, b * share, c * share
        ci, cj, ck = colours_ptr + i * 4, colours_ptr + j * 4, colours_ptr + k * 4
        opacity = (a * tl.load(ci + 3) + b * tl.load(cj + 3) + c * tl.load(ck + 3)) * number
        # Of samples without a surface whatever came out is dropped, even where it is no number.
        red += tl.where(used, opacity * (a * tl.load(ci) + b * tl.load(cj) + c * tl.load(ck)), 0.0)
        green += tl.where(used, opacity * (a * tl.load(ci + 1) + b * tl.load(cj + 1) + c * tl.load(ck + 1)), 0.0)
        blue += tl.where(used, opacity * (a * tl.load(ci + 2) + b * tl.load(cj + 2) + c * tl.load(ck + 2)), 0.0)
        cover += tl.where(used, opacity, 0.0)
    out = canvas_ptr + (tl.load(of_part + 4) + row * tl.load(of_part + 5) + column) * 3
    behind = SAMPLES - cover
    _blend(out, red, behind, covered, SAMPLES)
    _blend(out + 1, green, behind, covered, SAMPLES)
    _blend(out + 2, blue, behind, covered, SAMPLES)


@triton.jit
def _blend(out, level, behind, covered, SAMPLES: tl.constexpr):
    before = tl.load(out, mask=covered, other=0).to(tl.float64)
    mixed = (level + behind * before) / SAMPLES + 0.5
    tl.store(out, tl.minimum(tl.maximum(mixed, 0.0), 255.0).to(tl.int32).to(tl.uint8), mask=covered)


def cover(
    points: Tensor, faces: Tensor, mesh: Tensor, of_mesh: Tensor, parts: Tensor, offsets: Tensor, bounds: tuple[int, int], pixels: int
) -> Tensor:
    """Keys (pixels, S) as ``raster`` makes them. ``bounds``: smallest and largest of the offsets."""
    samples = len(offsets)
    keys = torch.zeros((pixels, samples), dtype=torch.int64, device=points.device)
    large = torch.zeros(len(faces) + 1, dtype=torch.int64, device=points.device)
    scene = points, faces, mesh, of_mesh, parts, offsets, keys, large
    min_offset, max_offset = bounds
    _cover_small_kernel[(triton.cdiv(len(faces), FACE_BLOCK),)](
        *scene, len(faces), SMALL=SMALL_PIXELS, MIN_OFFSET=min_offset, MAX_OFFSET=max_offset, SAMPLES=samples, BLOCK=FACE_BLOCK, num_warps=1
    )
    _cover_large_kernel[(LARGE_PROGRAMS,)](
        *scene, PROGRAMS=LARGE_PROGRAMS, MIN_OFFSET=min_offset, MAX_OFFSET=max_offset, SAMPLES=samples, BLOCK=PIXEL_BLOCK, num_warps=1
    )
    return keys


def colour(points: Tensor, faces: Tensor, colours: Tensor, parts: Tensor, offsets: Tensor, keys: Tensor, canvas: Tensor) -> None:
    """Blend what is visible over ``canvas`` (N, 3) uint8."""
    pixels, samples = keys.shape
    _colour_kernel[(triton.cdiv(pixels, COLOUR_BLOCK),)](
        points, faces, colours, parts, offsets, keys, canvas, pixels,
        PARTS=len(parts), SAMPLES=samples, BLOCK=COLOUR_BLOCK, num_warps=4
    )  # fmt: skip
