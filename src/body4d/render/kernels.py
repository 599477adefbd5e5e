"""Compiled triangle rasterization: which surface is visible at each sample of each pixel, and what colour that makes.

Samples, not pixels, are tested for coverage and depth (multisampling, as in OpenGL 4.6 section 14.3.1), several to a pixel, so that edges
are smooth; colour is interpolated once for each pixel and surface in it, at the mean of the samples where it is visible. Vertices are
snapped to 1/256 pixel and edges evaluated in integers, so that neighbours leave no gap and results do not depend on the order of threads.
"""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Int, UInt8

from body4d.core.compiled import compiled

SUBPIXEL = 256
MAX_COORDINATE_PX = 2_000_000.0
"""Projected coordinates are held within this, so that products of edges stay within 64 bits."""


def sample_offsets(samples: int) -> Int[np.ndarray, "samples 2"]:
    """Places of the samples within a pixel, in 1/256 pixel: the centre, a rotated grid of 4, or 8 queens."""
    offsets = {
        1: [(128, 128)],
        4: [(96, 32), (224, 96), (32, 160), (160, 224)],
        8: [(144, 80), (112, 176), (208, 144), (80, 48), (48, 208), (16, 112), (176, 240), (240, 16)],
    }
    return np.array(offsets[samples], np.int64)


@compiled
def project_vertices(vertices_m: np.ndarray, focal_px: float, cx_px: float, cy_px: float, out: np.ndarray) -> None:
    """Fill ``out`` (V, 3) float64 with x and y in whole 1/256 pixels and 1/depth. Every depth must be positive."""
    for v in range(vertices_m.shape[0]):
        inverse = 1.0 / vertices_m[v, 2]
        x = vertices_m[v, 0] * inverse * focal_px + cx_px
        y = vertices_m[v, 1] * inverse * focal_px + cy_px
        out[v, 0] = np.rint(min(max(x, -MAX_COORDINATE_PX), MAX_COORDINATE_PX) * SUBPIXEL)
        out[v, 1] = np.rint(min(max(y, -MAX_COORDINATE_PX), MAX_COORDINATE_PX) * SUBPIXEL)
        out[v, 2] = inverse


@compiled
def cover_samples(
    points: np.ndarray,
    faces: np.ndarray,
    first_face: int,
    offsets: np.ndarray,
    top: int,
    two_sided: bool,
    depth: np.ndarray,
    face_ids: np.ndarray,
) -> None:
    """Draw triangles into the samples of a band of rows that begins at row ``top``.

    ``points`` (V, 3) are those of ``project_vertices``, ``offsets`` (S, 2) those of ``sample_offsets``. ``depth`` (rows, columns,
    S) float32 holds the greatest 1/depth so far, ``face_ids`` (rows, columns, S) int32 the triangle it belongs to, counted from
    ``first_face``. Triangles viewed from behind are left out unless ``two_sided``.
    """
    rows, width, samples = depth.shape
    min_offset, max_offset = offsets.min(), offsets.max()
    at_sample, depth_at = np.empty((samples, 3), np.int64), np.empty(samples)
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0 = np.int64(points[i, 0]), np.int64(points[i, 1])
        y1, y2 = np.int64(points[j, 1]), np.int64(points[k, 1])
        first_row = max((min(y0, y1, y2) - max_offset + 255) >> 8, top)
        last_row = min((max(y0, y1, y2) - min_offset) >> 8, top + rows - 1)
        if first_row > last_row:
            continue
        x1, x2 = np.int64(points[j, 0]), np.int64(points[k, 0])
        first_column = max((min(x0, x1, x2) - max_offset + 255) >> 8, 0)
        last_column = min((max(x0, x1, x2) - min_offset) >> 8, width - 1)
        if first_column > last_column:
            continue
        # Counter-clockwise from outside in space is counter-clockwise on the screen, which is a negative area with y down.
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        z0, z1, z2 = points[i, 2], points[j, 2], points[k, 2]
        if area < 0:
            x1, x2, y1, y2, z1, z2, area = x2, x1, y2, y1, z2, z1, -area
        elif area == 0 or not two_sided:
            continue
        scale = 1.0 / area
        slope_x = ((z1 - z0) * (y2 - y0) - (z2 - z0) * (y1 - y0)) * scale
        slope_y = ((z2 - z0) * (x1 - x0) - (z1 - z0) * (x2 - x0)) * scale
        nearest, farthest = max(z0, z1, z2), min(z0, z1, z2)
        # Edge functions, positive inside, at the corner of the first pixel; and what a sample's offset adds to them.
        right, down = first_column << 8, first_row << 8
        a_row = (x2 - x1) * (down - y1) - (y2 - y1) * (right - x1)
        b_row = (x0 - x2) * (down - y2) - (y0 - y2) * (right - x2)
        c_row = (x1 - x0) * (down - y0) - (y1 - y0) * (right - x0)
        for s in range(samples):
            at_sample[s, 0] = (x2 - x1) * offsets[s, 1] - (y2 - y1) * offsets[s, 0]
            at_sample[s, 1] = (x0 - x2) * offsets[s, 1] - (y0 - y2) * offsets[s, 0]
            at_sample[s, 2] = (x1 - x0) * offsets[s, 1] - (y1 - y0) * offsets[s, 0]
            depth_at[s] = slope_x * offsets[s, 0] + slope_y * offsets[s, 1]
        for row in range(first_row, last_row + 1):
            a, b, c = a_row, b_row, c_row
            z_left = z0 + slope_x * (right - x0) + slope_y * ((row << 8) - y0)
            for column in range(first_column, last_column + 1):
                z_pixel = z_left + slope_x * ((column - first_column) << 8)
                for s in range(samples):
                    if ((a + at_sample[s, 0]) | (b + at_sample[s, 1]) | (c + at_sample[s, 2])) >= 0:
                        z = np.float32(min(max(z_pixel + depth_at[s], farthest), nearest))
                        if z > depth[row - top, column, s]:
                            depth[row - top, column, s] = z
                            face_ids[row - top, column, s] = first_face + f
                a -= (y2 - y1) << 8
                b -= (y0 - y2) << 8
                c -= (y1 - y0) << 8
            a_row += (x2 - x1) << 8
            b_row += (x0 - x2) << 8
            c_row += (x1 - x0) << 8


@compiled
def resolve_colours(
    points: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray,
    offsets: np.ndarray,
    top: int,
    left: int,
    face_ids: np.ndarray,
    picture: np.ndarray,
) -> None:
    """Colour part of ``picture`` (H, W, 3) uint8, which holds the background, from the surfaces ``face_ids`` (rows, columns, S) there.

    The part begins at row ``top`` and column ``left``; ``points`` count columns from there and rows from the picture's top.

    ``colours`` (V, 4) float32: red, green, blue in [0, 255] and opacity in [0, 1] of each vertex, interpolated in perspective.
    """
    rows, columns, samples = face_ids.shape
    for row in range(rows):
        for column in range(columns):
            red, green, blue, cover_sum = 0.0, 0.0, 0.0, 0.0
            s = 0
            while s < samples:
                f = face_ids[row, column, s]
                count, x, y = 1, offsets[s, 0], offsets[s, 1]
                if f < 0:
                    s += 1
                    continue
                earlier = False
                for other in range(s):
                    earlier = earlier or face_ids[row, column, other] == f
                if earlier:
                    s += 1
                    continue
                for other in range(s + 1, samples):
                    if face_ids[row, column, other] == f:
                        count += 1
                        x += offsets[other, 0]
                        y += offsets[other, 1]
                s += 1
                px, py = (column << 8) + x / count, ((row + top) << 8) + y / count
                i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                xi, yi, xj, yj, xk, yk = points[i, 0], points[i, 1], points[j, 0], points[j, 1], points[k, 0], points[k, 1]
                a = ((xk - xj) * (py - yj) - (yk - yj) * (px - xj)) * points[i, 2]
                b = ((xi - xk) * (py - yk) - (yi - yk) * (px - xk)) * points[j, 2]
                c = ((xj - xi) * (py - yi) - (yj - yi) * (px - xi)) * points[k, 2]
                share = 1.0 / (a + b + c)
                a, b, c = a * share, b * share, c * share
                opacity = (a * colours[i, 3] + b * colours[j, 3] + c * colours[k, 3]) * count
                red += opacity * (a * colours[i, 0] + b * colours[j, 0] + c * colours[k, 0])
                green += opacity * (a * colours[i, 1] + b * colours[j, 1] + c * colours[k, 1])
                blue += opacity * (a * colours[i, 2] + b * colours[j, 2] + c * colours[k, 2])
                cover_sum += opacity
            if cover_sum > 0:
                pixel = picture[row + top, column + left]
                behind = samples - cover_sum
                pixel[0] = np.uint8(min(max((red + behind * pixel[0]) / samples + 0.5, 0.0), 255.0))
                pixel[1] = np.uint8(min(max((green + behind * pixel[1]) / samples + 0.5, 0.0), 255.0))
                pixel[2] = np.uint8(min(max((blue + behind * pixel[2]) / samples + 0.5, 0.0), 255.0))


@compiled
def cover_centres(points: np.ndarray, faces: np.ndarray, out: np.ndarray) -> None:
    """Set ``out`` (H, W) bool where the centre of a pixel lies in a triangle, whichever way round."""
    height, width = out.shape
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        y0, y1, y2 = np.int64(points[i, 1]), np.int64(points[j, 1]), np.int64(points[k, 1])
        first_row, last_row = max((min(y0, y1, y2) + 127) >> 8, 0), min((max(y0, y1, y2) - 128) >> 8, height - 1)
        if first_row > last_row:
            continue
        x0, x1, x2 = np.int64(points[i, 0]), np.int64(points[j, 0]), np.int64(points[k, 0])
        first_column, last_column = max((min(x0, x1, x2) + 127) >> 8, 0), min((max(x0, x1, x2) - 128) >> 8, width - 1)
        if first_column > last_column:
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area < 0:
            x1, x2, y1, y2 = x2, x1, y2, y1
        elif area == 0:
            continue
        for row in range(first_row, last_row + 1):
            y = (row << 8) + 128
            for column in range(first_column, last_column + 1):
                x = (column << 8) + 128
                a = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
                b = (x0 - x2) * (y - y2) - (y0 - y2) * (x - x2)
                c = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
                if (a | b | c) >= 0:
                    out[row, column] = True


def clip_near(
    vertices_m: np.ndarray, faces: np.ndarray, colours: np.ndarray | None, near_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(vertices, faces, colours) with what lies nearer than ``near_m`` cut away; new vertices are appended, colours interpolated.

    One triangle becomes none, one or two (Sutherland and Hodgman 1974, against one plane). Plain numpy: few triangles are ever cut.
    """
    inside = vertices_m[:, 2] >= near_m
    count = inside[faces].sum(1)
    kept, attributes = [faces[count == 3]], [vertices_m] if colours is None else [vertices_m, colours]
    added: list[list[np.ndarray]] = [[values] for values in attributes]
    total = len(vertices_m)
    for num_inside in (1, 2):
        cut = faces[count == num_inside]
        if not len(cut):
            continue
        # Turn each triangle so that its odd corner, the one inside (1) or outside (2), comes first.
        odd = np.argmax(inside[cut] == (num_inside == 1), axis=1)
        a, b, c = (np.take_along_axis(cut, ((odd + turn) % 3)[:, None], 1)[:, 0] for turn in range(3))
        for other in (b, c):
            share = (near_m - vertices_m[a, 2]) / (vertices_m[other, 2] - vertices_m[a, 2])
            for values, parts in zip(attributes, added, strict=True):
                parts.append(values[a] + share[:, None] * (values[other] - values[a]))
        ab = np.arange(total, total + len(cut))
        ac, total = ab + len(cut), total + 2 * len(cut)
        if num_inside == 1:
            kept.append(np.stack([a, ab, ac], 1))
        else:
            kept += [np.stack([ab, b, c], 1), np.stack([ab, c, ac], 1)]
    merged = [np.concatenate(parts) for parts in added]
    # Vertices behind the plane belong to no face any more, but are still projected: their depth must be positive.
    merged[0][:, 2] = np.maximum(merged[0][:, 2], near_m)
    return merged[0], np.concatenate(kept).astype(np.int32), None if colours is None else merged[1]


_WEIGHT_BITS = 22  # Weights of pixels are whole multiples of 2^-22, as Pillow's: sums of 255 times a few of them stay within 32 bits.


def enlarge(rgb: UInt8[np.ndarray, "h w 3"], width_px: int, height_px: int) -> UInt8[np.ndarray, "height_px width_px 3"]:
    """A picture enlarged by bicubic interpolation (Keys 1981, a = -1/2): the bytes that Pillow gives, in a third of its time."""
    return _resized(rgb, width_px, height_px, bicubic=True)


def shrink(rgb: UInt8[np.ndarray, "h w 3"], width_px: int, height_px: int) -> UInt8[np.ndarray, "height_px width_px 3"]:
    """A picture shrunk by bilinear interpolation over all pixels that come together in one: Pillow's bytes, in a third of its time."""
    return _resized(rgb, width_px, height_px, bicubic=False)


def _resized(rgb: np.ndarray, width_px: int, height_px: int, *, bicubic: bool) -> np.ndarray:
    # Lines are interpolated as wholes, many pixels at a time, so the columns are made lines first.
    return _interpolated(_transposed(_interpolated(_transposed(rgb), width_px, bicubic)), height_px, bicubic)


def _transposed(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "w h 3"]:
    out = np.empty((rgb.shape[1], rgb.shape[0], 3), np.uint8)
    _transpose(np.ascontiguousarray(rgb), out)
    return out


def _interpolated(lines: UInt8[np.ndarray, "n m 3"], count: int, bicubic: bool) -> UInt8[np.ndarray, "count m 3"]:
    """``count`` lines interpolated from ``lines``."""
    out = np.empty((count, *lines.shape[1:]), np.uint8)
    rows = lines.reshape(len(lines), -1)
    _interpolate_lines(rows, *resize_weights(len(lines), count, bicubic), np.empty(rows.shape[1], np.int32), out.reshape(count, -1))
    return out


@lru_cache(maxsize=16)
def resize_weights(size: int, resized: int, bicubic: bool) -> tuple[Int[np.ndarray, " resized"], Int[np.ndarray, "resized taps"]]:
    """For each pixel of a line of ``resized`` pixels, the first of the pixels it is interpolated from, and their weights in 2^-22."""
    step = max(size / resized, 1.0)  # The filter grows with the pixels where a line is shrunk.
    support = (2.0 if bicubic else 1.0) * step
    centre = (np.arange(resized) + 0.5) * (size / resized)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    taps = math.ceil(support) * 2 + 1
    pixels = first[:, None] + np.arange(taps)
    x = np.abs(pixels - centre[:, None] + 0.5) / step
    if bicubic:
        weights = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, (((x - 5) * x + 8) * x - 4) * -0.5, 0.0))
    else:
        weights = np.maximum(1 - x, 0.0)
    weights[(pixels >= size) | (pixels >= (centre + support + 0.5).astype(np.int64)[:, None])] = 0.0
    weights *= 1 / weights.sum(1, keepdims=True)
    whole = np.trunc(weights * (1 << _WEIGHT_BITS) + np.copysign(0.5, weights)).astype(np.int32)
    taps = int(np.flatnonzero(whole.any(0))[-1]) + 1  # Those beyond count for no pixel.
    whole = whole[:, :taps]
    # Where the line ends before the last of them, others are moved into its place, so that none beyond the end is read.
    moved = np.minimum(first, max(size - taps, 0))
    shifted = np.zeros_like(whole)
    for pixel in range(resized):
        by = int(first[pixel] - moved[pixel])
        shifted[pixel, by:] = whole[pixel, : taps - by]
    return moved, shifted[:, : min(size, taps)].copy()


@compiled
def _transpose(rgb: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (W, H, 3) with the columns of ``rgb`` (H, W, 3): numpy takes three times as long."""
    for column in range(out.shape[0]):
        for row in range(out.shape[1]):
            out[column, row, 0] = rgb[row, column, 0]
            out[column, row, 1] = rgb[row, column, 1]
            out[column, row, 2] = rgb[row, column, 2]


@compiled
def _interpolate_lines(rows: np.ndarray, first: np.ndarray, weights: np.ndarray, total: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (H2, N) with lines between ``rows`` (H, N). ``total`` (N,) int32 is scratch."""
    for row in range(out.shape[0]):
        total[:] = np.int32(1 << (_WEIGHT_BITS - 1))
        for k in range(weights.shape[1]):
            weight, source = weights[row, k], rows[first[row] + k]
            for i in range(len(total)):
                total[i] += weight * np.int32(source[i])
        for i in range(len(total)):
            out[row, i] = min(max(total[i] >> _WEIGHT_BITS, 0), 255)
