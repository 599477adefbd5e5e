"""Compiled ray casting at a floor, boxes and balls with textures: the kernel of ``yard.py``.

Textures are square with a power of two of texels to the side. All levels of one lie end to end, the finest first (mipmaps: Williams,
"Pyramidal parametrics", SIGGRAPH 1983); a texel as wide as a pixel is mixed from the two levels next to it. Stage axes: y down,
floor y = 0.
"""

import numpy as np

from body4d.core.compiled import compiled

PAVING, BRICKS, PLANKS, LEAVES, PLASTER, HORIZON = range(6)
"""Numbers of the textures. The floor has the first, balls have leaves, and what no ray hits is the horizon."""

TEXTURE_M = (8.0, 6.0, 2.0, 3.0, 5.0, np.nan)
"""Side of what a texture shows, in metres, after which it repeats; the horizon goes round once."""

HORIZON_UP = 1.2
"""The tangent of the elevation at the upper edge of the horizon's texture; its lower edge is level."""

_WIDE_M = 37.0  # the floor's large patches: its leaves' texture, this large, keeps it from repeating visibly
_CLEAR_M = 140.0  # distance over which things fade to a third of their colour
_HAZE_R, _HAZE_G, _HAZE_B = 196.0, 206.0, 214.0
_AMBIENT, _SUNLIT = 0.62, 0.55
_FAR = 1e9


@compiled
def _texel(pyramid, texture, level, side, u, v):  # type: ignore[no-untyped-def]
    """Colour at ``u``, ``v`` in texels of the finest level, interpolated within ``level``."""
    n = side >> level
    first = (4 * (side * side - n * n)) // 3
    scale = n / side
    x, y = u * scale - 0.5, v * scale - 0.5
    ix, iy = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - ix, y - iy
    x0, x1, y0, y1 = ix & (n - 1), (ix + 1) & (n - 1), (iy & (n - 1)) * n + first, ((iy + 1) & (n - 1)) * n + first
    a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    p = pyramid[texture]
    return (
        a * p[y0 + x0, 0] + b * p[y0 + x1, 0] + c * p[y1 + x0, 0] + d * p[y1 + x1, 0],
        a * p[y0 + x0, 1] + b * p[y0 + x1, 1] + c * p[y1 + x0, 1] + d * p[y1 + x1, 1],
        a * p[y0 + x0, 2] + b * p[y0 + x1, 2] + c * p[y1 + x0, 2] + d * p[y1 + x1, 2],
    )


@compiled
def _sample(pyramid, texture, side, u, v, width):  # type: ignore[no-untyped-def]
    """Colour at ``u``, ``v`` as a pixel sees it that is ``width`` wide; all in texels of the finest level."""
    level = min(max(np.log2(max(width, 1e-9)), 0.0), np.log2(side) - 0.001)
    fine = int(level)
    share = level - fine
    r, g, b = 0.0, 0.0, 0.0
    for step in range(2):  # a loop, so that it is compiled once
        r1, g1, b1 = _texel(pyramid, texture, fine + step, side, u, v)
        weight = share if step else 1 - share
        r, g, b = r + weight * r1, g + weight * g1, b + weight * b1
    return r, g, b


@compiled
def _extent(rotation, eye, lens, low, high, width, height):  # type: ignore[no-untyped-def]
    """Columns and rows (first, end, first, end) that a box may cover; all of them where it reaches behind the camera."""
    left, right, top, bottom = _FAR, -_FAR, _FAR, -_FAR
    for corner in range(8):
        ox = (high[0] if corner & 1 else low[0]) - eye[0]
        oy = (high[1] if corner & 2 else low[1]) - eye[1]
        oz = (high[2] if corner & 4 else low[2]) - eye[2]
        x = rotation[0, 0] * ox + rotation[1, 0] * oy + rotation[2, 0] * oz
        y = rotation[0, 1] * ox + rotation[1, 1] * oy + rotation[2, 1] * oz
        z = rotation[0, 2] * ox + rotation[1, 2] * oy + rotation[2, 2] * oz
        if z < 0.01:
            return 0, width, 0, height
        x, y = lens[0] * x / z + lens[1], lens[0] * y / z + lens[2]
        left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    return (
        int(min(max(left - 1, 0), width)),
        int(min(max(right + 2, 0), width)),
        int(min(max(top - 1, 0), height)),
        int(min(max(bottom + 2, 0), height)),
    )


@compiled
def _nearest_box(eye, dx, dy, dz, boxes, near, count, column, columns):  # type: ignore[no-untyped-def]
    """Multiple of the direction at which the first box is hit, its number, and the axis of the face (slabs: Kay & Kajiya 1986).

    Only the ``count`` boxes named in ``near`` are tried, and of them those whose ``columns`` hold ``column``.
    """
    ix, iy, iz = 1 / (dx if dx != 0 else 1e-12), 1 / (dy if dy != 0 else 1e-12), 1 / (dz if dz != 0 else 1e-12)
    nearest, number, axis = _FAR, -1, 0
    for k in range(count):
        b = near[k]
        if column < columns[b, 0] or column >= columns[b, 1]:
            continue
        x0, x1 = (boxes[b, 0] - eye[0]) * ix, (boxes[b, 3] - eye[0]) * ix
        y0, y1 = (boxes[b, 1] - eye[1]) * iy, (boxes[b, 4] - eye[1]) * iy
        z0, z1 = (boxes[b, 2] - eye[2]) * iz, (boxes[b, 5] - eye[2]) * iz
        xn, yn, zn = min(x0, x1), min(y0, y1), min(z0, z1)
        enter = max(xn, yn, zn)
        if 1e-3 < enter < nearest and enter < min(max(x0, x1), max(y0, y1), max(z0, z1)):
            nearest, number, axis = enter, b, (0 if enter == xn else (1 if enter == yn else 2))
    return nearest, number, axis


@compiled
def _nearest_ball(eye, dx, dy, dz, balls, near, count, column, columns):  # type: ignore[no-untyped-def]
    """Multiple of the direction at which the first ball is hit, and its number; the others as in ``_nearest_box``."""
    length2 = dx * dx + dy * dy + dz * dz
    nearest, number = _FAR, -1
    for k in range(count):
        b = near[k]
        if column < columns[b, 0] or column >= columns[b, 1]:
            continue
        ox, oy, oz = eye[0] - balls[b, 0], eye[1] - balls[b, 1], eye[2] - balls[b, 2]
        half = ox * dx + oy * dy + oz * dz
        rest = half * half - length2 * (ox * ox + oy * oy + oz * oz - balls[b, 3] * balls[b, 3])
        if rest > 0:
            at = (-half - np.sqrt(rest)) / length2
            if 1e-3 < at < nearest:
                nearest, number = at, b
    return nearest, number


@compiled
def cast_rays(out, rotation, eye, lens, boxes, balls, texture_m, pyramid, sun):  # type: ignore[no-untyped-def]
    """Fill ``out`` (H, W, 3) float32 in [0, 255].

    ``rotation`` (3, 3) takes camera axes to the stage's, ``eye`` (3,) is the camera there, ``lens`` (3,) focal length and principal point
    in pixels. ``boxes`` (B, 8): least corner, greatest corner, texture, tint; ``balls`` (N, 4): centre, radius; ``sun`` (3,): the way
    light travels, a unit vector.
    """
    side = int(np.sqrt(3 * pyramid.shape[1] / 4) + 0.5)
    focal = lens[0]
    height, width = out.shape[0], out.shape[1]
    box_extent, ball_extent = np.empty((len(boxes), 4), np.int64), np.empty((len(balls), 4), np.int64)
    for b in range(len(boxes)):
        box_extent[b] = _extent(rotation, eye, lens, boxes[b, :3], boxes[b, 3:6], width, height)
    for b in range(len(balls)):
        ball_extent[b] = _extent(rotation, eye, lens, balls[b, :3] - balls[b, 3], balls[b, :3] + balls[b, 3], width, height)
    near_boxes, near_balls = np.empty(len(boxes), np.int64), np.empty(len(balls), np.int64)
    for row in range(height):
        count_boxes, count_balls = 0, 0
        for b in range(len(boxes)):
            if box_extent[b, 2] <= row < box_extent[b, 3]:
                near_boxes[count_boxes] = b
                count_boxes += 1
        for b in range(len(balls)):
            if ball_extent[b, 2] <= row < ball_extent[b, 3]:
                near_balls[count_balls] = b
                count_balls += 1
        for column in range(width):
            x, y = (column + 0.5 - lens[1]) / focal, (row + 0.5 - lens[2]) / focal
            dx = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2]
            dy = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2]
            dz = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2]
            length = np.sqrt(x * x + y * y + 1)
            at_floor = -eye[1] / dy if dy > 1e-9 else _FAR
            at_box, box, axis = _nearest_box(eye, dx, dy, dz, boxes, near_boxes, count_boxes, column, box_extent)
            at_ball, ball = _nearest_ball(eye, dx, dy, dz, balls, near_balls, count_balls, column, ball_extent)
            at = min(at_floor, at_box, at_ball)
            hx, hy, hz = eye[0] + at * dx, eye[1] + at * dy, eye[2] + at * dz
            width_m = at * length / focal  # of the pixel, across the ray
            clear = np.exp(-at * length / _CLEAR_M)
            if at >= _FAR:
                texture, light, clear = HORIZON, 1.0, 1.0
                up = -dy / np.sqrt(dx * dx + dz * dz + 1e-12)
                u = (np.arctan2(dx, dz) / (2 * np.pi) + 0.5) * side
                v = min(max(1 - up / HORIZON_UP, 0.0), 0.999) * side
                wide = side / (2 * np.pi * focal)
            elif at == at_box:
                texture = int(boxes[box, 6])
                d = dx if axis == 0 else (dy if axis == 1 else dz)
                texel = side / texture_m[texture]
                u, v = (hz if axis == 0 else hx) * texel, (hz if axis == 1 else hy) * texel
                wide = width_m * texel / np.sqrt(max(abs(d) / length, 1e-2))
                light = boxes[box, 7] * (_AMBIENT + _SUNLIT * max(sun[axis] * (1.0 if d > 0 else -1.0), 0.0))
            elif at == at_ball:
                texture = LEAVES
                nx, ny, nz = hx - balls[ball, 0], hy - balls[ball, 1], hz - balls[ball, 2]
                radius = balls[ball, 3]
                texel = side / texture_m[LEAVES]
                u, v = np.arctan2(nx, nz) * radius * texel, np.arcsin(min(max(ny / radius, -1.0), 1.0)) * radius * texel
                wide = width_m * texel
                light = _AMBIENT + _SUNLIT * max(-(nx * sun[0] + ny * sun[1] + nz * sun[2]) / radius, 0.0)
            else:
                texture = PAVING
                wide_m = width_m / np.sqrt(max(dy / length, 1e-3))
                texel = side / texture_m[PAVING]
                u, v, wide = hx * texel, hz * texel, wide_m * texel
                level = int(np.log2(max(wide_m * side / _WIDE_M, 1.0))) + 1  # faint and soft: it needs no mixing of levels
                _, patch, _ = _texel(pyramid, LEAVES, level, side, hx * side / _WIDE_M, hz * side / _WIDE_M)
                light = 0.8 + patch / 280.0
            r, g, b = _sample(pyramid, texture, side, u, v, wide)
            out[row, column, 0] = r * light * clear + _HAZE_R * (1 - clear)
            out[row, column, 1] = g * light * clear + _HAZE_G * (1 - clear)
            out[row, column, 2] = b * light * clear + _HAZE_B * (1 - clear)
