"""People painted into a picture, for choosing."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from body4d.app.prompts import Mark, Person
from body4d.core.files import atomic_file
from body4d.core.types import MaskTrack
from body4d.render.style import person_colour

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

CHOSEN_OPACITY, OTHER_OPACITY = 0.6, 0.35
_OTHER = (235, 240, 245)
_QUALITY = 85


def paint_people(picture: np.ndarray, people: Sequence[Person], marks: Sequence[Mark], path: Path, side_px: int) -> None:
    """Write ``picture`` (H, W, 3) as JPEG: people in their colours, those chosen numbered and others then pale. Raises OutputError."""
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    shrink = min(1.0, side_px / max(width, height))
    painted = picture.astype(np.float32)
    tags: list[tuple[float, float, str, tuple[int, int, int]]] = []
    nobody = not any(person.chosen for person in people)
    for person in people:
        track = MaskTrack(person.number, np.zeros(1, np.int64), (person.code,), height, width)
        colour = person_colour(person.number - 1) if person.chosen or nobody else _OTHER
        _tint(painted, track.mask(0), colour, CHOSEN_OPACITY if person.chosen else OTHER_OPACITY)
        x0, y0, x1, _ = track.boxes_px()[0]
        if person.chosen:
            tags.append(((x0 + x1) / 2 * shrink, y0 * shrink, str(person.number), colour))
    image = Image.fromarray(painted.round().astype(np.uint8))
    if shrink < 1:
        image = image.resize((round(width * shrink), round(height * shrink)), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    unit = max(image.size) / 100
    for mark in marks:
        _draw_mark(draw, mark, shrink, unit)
    for x, y, text, colour in tags:
        _draw_tag(draw, x, y, text, colour, unit)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    with atomic_file(path) as file:
        file.write(buffer.getvalue())


def _tint(painted: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], opacity: float) -> None:
    painted[mask] = (1 - opacity) * painted[mask] + opacity * np.array(colour, np.float32)
    inner = mask.copy()
    reach = max(1, round(max(mask.shape) / 640))
    for axis in (0, 1):
        for step in (-reach, reach):
            inner &= np.roll(mask, step, axis)
    painted[mask & ~inner] = colour


def _draw_mark(draw: "ImageDraw", mark: Mark, shrink: float, unit: float) -> None:
    colour = person_colour(mark.who - 1)
    place = [value * shrink for value in mark.place]
    if mark.kind == "box":
        draw.rectangle(place, outline=colour, width=max(2, round(0.3 * unit)))
        return
    x, y = place
    r = 0.9 * unit
    draw.ellipse((x - r, y - r, x + r, y + r), fill=colour if mark.kind == "in" else (200, 40, 40), outline=(255, 255, 255), width=2)
    draw.line((x - r / 2, y, x + r / 2, y), fill=(255, 255, 255), width=2)
    if mark.kind == "in":
        draw.line((x, y - r / 2, x, y + r / 2), fill=(255, 255, 255), width=2)


def _draw_tag(draw: "ImageDraw", x: float, y: float, text: str, colour: tuple[int, int, int], unit: float) -> None:
    """A disc with a person's number above their head, kept inside the picture."""
    from PIL import ImageFont

    r = 1.9 * unit
    y = max(y - 1.4 * r, r + 2)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline=(255, 255, 255), width=2)
    draw.text((x, y), text, fill=(10, 20, 30), anchor="mm", font=ImageFont.load_default(2.4 * unit))
