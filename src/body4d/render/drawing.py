"""Soft marks on the floor: trails and shadows."""

import numpy as np
from PIL import Image, ImageFilter

from body4d.core.compiled import compiled
from body4d.render.rasterizer import silhouette
from body4d.render.virtual_views import VirtualCamera

_SHADOW = 0.30
_SHADOW_SHRINK = 2  # Shadows are soft anyway: they are drawn smaller.


@compiled
def _stroke(points_px: np.ndarray, strengths: np.ndarray, radius_px: float, left: int, top: int, strength: np.ndarray) -> None:
    """Raise ``strength`` (h, w) at corner (left, top) to what a line through ``points_px`` (N, 2), of ``strengths`` (N,), covers."""
    rows, columns = strength.shape
    reach = radius_px + 0.5
    for n in range(points_px.shape[0] - 1):
        ax, ay = points_px[n, 0] - left, points_px[n, 1] - top
        bx, by = points_px[n + 1, 0] - left, points_px[n + 1, 1] - top
        if not (np.isfinite(ax) and np.isfinite(bx)):
            continue
        dx, dy = bx - ax, by - ay
        length = dx * dx + dy * dy
        first_row, last_row = max(int(min(ay, by) - reach), 0), min(int(max(ay, by) + reach), rows - 1)
        first_column, last_column = max(int(min(ax, bx) - reach), 0), min(int(max(ax, bx) + reach), columns - 1)
        for row in range(first_row, last_row + 1):
            for column in range(first_column, last_column + 1):
                px, py = column + 0.5 - ax, row + 0.5 - ay
                along = min(max((px * dx + py * dy) / length, 0.0), 1.0) if length > 0 else 0.0
                away = np.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2)
                covered = min(max(reach - away, 0.0), 1.0) * (strengths[n] + along * (strengths[n + 1] - strengths[n]))
                strength[row, column] = max(strength[row, column], covered)


def draw_trail(picture: np.ndarray, points_px: np.ndarray, strengths: np.ndarray, radius_px: float, rgb: tuple[int, int, int]) -> None:
    """Draw an antialiased line through ``points_px`` (N, 2) into ``picture`` (H, W, 3).

    ``strengths`` (N,) in [0, 1] along it; NaN points interrupt it. Where it crosses itself it is no darker than its stronger part.
    """
    size = np.array(picture.shape[1::-1])
    known = points_px[np.isfinite(points_px).all(1)]
    if len(known) < 2:
        return
    low = np.clip(np.floor(known.min(0) - radius_px - 1), 0, size).astype(int)
    high = np.clip(np.ceil(known.max(0) + radius_px + 1), 0, size).astype(int)
    if np.any(low >= high):
        return
    strength = np.zeros((high[1] - low[1], high[0] - low[0]), np.float32)
    points, weights = np.array(points_px, np.float64), np.array(strengths, np.float64)
    _stroke(points, weights, float(radius_px), int(low[0]), int(low[1]), strength)
    under = picture[low[1] : high[1], low[0] : high[0]]
    under[:] = under + (np.array(rgb) - under) * strength[..., None] + 0.5


def draw_shadow(picture: np.ndarray, world_m: np.ndarray, faces: np.ndarray, view: VirtualCamera, strength: float = 1.0) -> None:
    """Darken ``picture`` softly where the body ``world_m`` (V, 3), world axes, lies straight above the floor y = 0."""
    flat = view.points_m(world_m * [1, 0, 1])
    small = view.camera.scaled(1 / _SHADOW_SHRINK)
    mask = silhouette(flat, faces, small)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    margin = 8
    top, bottom = max(rows[0] - margin, 0), min(rows[-1] + 1 + margin, picture.shape[0] // _SHADOW_SHRINK)
    left, right = max(columns[0] - margin, 0), min(columns[-1] + 1 + margin, picture.shape[1] // _SHADOW_SHRINK)
    part = Image.fromarray(mask[top:bottom, left:right].astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(2.5))
    part = part.resize((part.width * _SHADOW_SHRINK, part.height * _SHADOW_SHRINK), Image.Resampling.BILINEAR)
    top, left = top * _SHADOW_SHRINK, left * _SHADOW_SHRINK
    under = picture[top : top + part.height, left : left + part.width]
    under[:] = under * (1 - np.asarray(part, np.float32)[: under.shape[0], : under.shape[1], None] * (_SHADOW * strength / 255)) + 0.5
