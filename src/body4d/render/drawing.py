"""What is drawn on finished pictures: trails and shadows on the floor, and text in Pillow's own scalable font."""

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from body4d.core.compiled import compiled
from body4d.render.rasterizer import silhouette
from body4d.render.style import Rgb
from body4d.render.virtual_views import VirtualCamera

INK: Rgb = (52, 58, 66)
PAPER: Rgb = (255, 255, 255)
_OVERSAMPLING = 3  # Labels are drawn this many times larger and shrunk, for smooth corners.

_SHADOW_OPACITY = 0.30
_SHADOW_SHRINK = 2  # Shadows are soft anyway, so that they are drawn smaller.


@compiled
def _stroke(points_px: np.ndarray, strengths: np.ndarray, radius_px: float, left: int, top: int, strength: np.ndarray) -> None:
    """Raise ``strength`` (h, w), whose corner is (left, top), to what a line through ``points_px`` (N, 2) of ``strengths`` (N,) covers."""
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


def draw_trail(
    picture: UInt8[np.ndarray, "h w 3"],
    points_px: Float[np.ndarray, "n 2"],
    strengths: Float[np.ndarray, " n"],
    radius_px: float,
    rgb: Rgb,
) -> None:
    """Draw an antialiased line through ``points_px`` into ``picture``.

    ``strengths`` along it are in [0, 1]; NaN points interrupt it. Where it crosses itself it is no darker than its stronger part.
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


def draw_shadow(
    picture: UInt8[np.ndarray, "h w 3"],
    world_m: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    view: VirtualCamera,
    strength: float = 1.0,
) -> None:
    """Darken ``picture`` softly where the body ``world_m``, in world axes, is straight above the floor y = 0."""
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
    under[:] = (
        under * (1 - np.asarray(part, np.float32)[: under.shape[0], : under.shape[1], None] * (_SHADOW_OPACITY * strength / 255)) + 0.5
    )


@lru_cache(maxsize=32)
def _font(size_px: int) -> Any:
    return ImageFont.load_default(size_px)


@lru_cache(maxsize=256)
def text_sprite(text: str, size_px: int, ink: Rgb = INK) -> UInt8[np.ndarray, "h w 4"]:
    """``text`` without a background: red, green, blue and opacity. The array is cached and must not be changed."""
    left, top, right, bottom = _font(size_px).getbbox(text)
    image = Image.new("RGBA", (int(right - left) + 2, int(bottom - top) + 2), (*ink, 0))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, font=_font(size_px), fill=(*ink, 255))
    return np.asarray(image)


@lru_cache(maxsize=256)
def label_sprite(text: str, size_px: int, ink: Rgb = INK, paper: Rgb = PAPER, opacity: float = 0.85) -> UInt8[np.ndarray, "h w 4"]:
    """``text`` on a rounded plate. All labels of one size are equally high. The array is cached and must not be changed."""
    big = size_px * _OVERSAMPLING
    width = int(_font(big).getlength(text))
    ascent, descent = _font(big).getmetrics()
    pad_x, height = big * 0.55, round((ascent + descent) / _OVERSAMPLING) * _OVERSAMPLING
    image = Image.new("RGBA", (round((width + 2 * pad_x) / _OVERSAMPLING) * _OVERSAMPLING, height), (*paper, 0))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, image.width - 1, height - 1), radius=height * 0.3, fill=(*paper, round(255 * opacity)))
    pen.text((image.width / 2, height / 2), text, font=_font(big), fill=(*ink, 255), anchor="mm")
    return np.asarray(image.resize((image.width // _OVERSAMPLING, image.height // _OVERSAMPLING), Image.Resampling.BOX))


def paste_sprite(picture: UInt8[np.ndarray, "H W 3"], sprite: UInt8[np.ndarray, "h w 4"], x: float, y: float) -> None:
    """Lay ``sprite`` over ``picture`` with its top-left corner at pixel (x, y), as far as it fits."""
    left, top = round(x), round(y)
    from_x, from_y = max(-left, 0), max(-top, 0)
    part = sprite[from_y : max(picture.shape[0] - top, 0), from_x : max(picture.shape[1] - left, 0)]
    if not part.size:
        return
    under = picture[top + from_y : top + from_y + part.shape[0], left + from_x : left + from_x + part.shape[1]]
    share = part[..., 3:].astype(np.uint16)
    under[:] = (part[..., :3] * share + under * (255 - share) + 127) // 255
