"""Words on pictures, in Pillow's own scalable font: no font file is needed."""

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Rgb = tuple[int, int, int]

INK: Rgb = (52, 58, 66)
PAPER: Rgb = (255, 255, 255)
_FINE = 3  # Badges are drawn this many times larger and shrunk, for smooth corners.


@lru_cache(maxsize=32)
def font(size_px: int) -> Any:
    """The font at a size in pixels."""
    return ImageFont.load_default(size_px)


@lru_cache(maxsize=256)
def text_sprite(text: str, size_px: int, ink: Rgb = INK) -> np.ndarray:
    """``text`` on nothing: uint8 (h, w, 4), red, green, blue and opacity. Treat as read-only."""
    left, top, right, bottom = font(size_px).getbbox(text)
    image = Image.new("RGBA", (int(right - left) + 2, int(bottom - top) + 2), (*ink, 0))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, font=font(size_px), fill=(*ink, 255))
    return np.asarray(image)


@lru_cache(maxsize=256)
def label_sprite(text: str, size_px: int, ink: Rgb = INK, paper: Rgb = PAPER, opacity: float = 0.85) -> np.ndarray:
    """``text`` on a rounded plate: uint8 (h, w, 4). All badges of one size are equally high. Treat as read-only."""
    big = size_px * _FINE
    width = int(font(big).getlength(text))
    ascent, descent = font(big).getmetrics()
    pad_x, height = big * 0.55, round((ascent + descent) / _FINE) * _FINE
    image = Image.new("RGBA", (round((width + 2 * pad_x) / _FINE) * _FINE, height), (*paper, 0))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, image.width - 1, height - 1), radius=height * 0.3, fill=(*paper, round(255 * opacity)))
    pen.text((image.width / 2, height / 2), text, font=font(big), fill=(*ink, 255), anchor="mm")
    return np.asarray(image.resize((image.width // _FINE, image.height // _FINE), Image.Resampling.BOX))


def paste_sprite(picture: np.ndarray, sprite: np.ndarray, x: float, y: float) -> None:
    """Lay ``sprite`` (h, w, 4) over ``picture`` (H, W, 3) with its top-left corner at pixel (x, y), as far as it fits."""
    left, top = round(x), round(y)
    from_x, from_y = max(-left, 0), max(-top, 0)
    part = sprite[from_y : max(picture.shape[0] - top, 0), from_x : max(picture.shape[1] - left, 0)]
    if not part.size:
        return
    under = picture[top + from_y : top + from_y + part.shape[0], left + from_x : left + from_x + part.shape[1]]
    share = part[..., 3:].astype(np.uint16)
    under[:] = (part[..., :3] * share + under * (255 - share) + 127) // 255
