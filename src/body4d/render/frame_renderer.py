"""How one frame of a clip becomes the pictures of a run: sizes, layout and labels, decided once for the whole clip."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from body4d.config import PictureSettings
from body4d.core.types import Scene
from body4d.render.certainty import UNCERTAIN_COLOUR
from body4d.render.contact_sheet import ContactSheet
from body4d.render.panels import RenderPerson, VirtualViewPanel, draw_overlay, resize_image, resized_camera
from body4d.render.poses import PosedPerson
from body4d.render.text import label_sprite, paste_sprite, text_sprite
from body4d.render.virtual_views import side_camera, top_camera

Box = tuple[int, int, int, int]

_GAP_PX = 6
_WIDE = 1.2  # Clips at least this wide by height have the two stages stacked beside them, others three panels in a row.
_ASPECTS = (0.45, 2.2)  # Proportions of the front panel; clips beyond are shown whole, with bars.
_PLATE_OPACITY = 0.72
_PALE, _INK, _PLATE = (110, 118, 128), (255, 255, 255), (34, 40, 48)


@dataclass(frozen=True)
class PanelLayout:
    """Where the panels of views.mp4 lie, each (x0, y0, x1, y1) in pixels. All sizes are even, as H.264 wants them."""

    size_px: tuple[int, int]
    front: Box
    side: Box
    top: Box

    @staticmethod
    def of(width_px: int, height_px: int, panel_height_px: int) -> "PanelLayout":
        """The layout for a clip of a size: everything as high as the front panel."""
        high = _even(panel_height_px)
        aspect = float(np.clip(width_px / height_px, *_ASPECTS))
        front = _even(high * aspect)
        if aspect >= _WIDE:
            half, column = (high - _GAP_PX) // 2, _even(0.75 * high)
            left, right = front + _GAP_PX, front + _GAP_PX + column
            return PanelLayout((right, high), (0, 0, front, high), (left, 0, right, half), (left, high - half, right, high))
        column = _even(0.75 * high)
        lefts = (front + _GAP_PX, front + 2 * _GAP_PX + column)
        side, top = ((left, 0, left + column, high) for left in lefts)
        return PanelLayout((lefts[1] + column, high), (0, 0, front, high), side, top)


@dataclass(frozen=True)
class FrameImages:
    """The pictures of one frame: ``overlay`` and ``views`` (H, W, 3), and ``cells`` of the contact sheet where the frame is on it."""

    overlay: np.ndarray
    views: np.ndarray
    cells: tuple[np.ndarray, np.ndarray, np.ndarray] | None


class FrameRenderer:
    """Draws the frames of one clip, in any order and on any number of threads."""

    def __init__(self, scene: Scene, settings: PictureSettings) -> None:
        clip = scene.clip
        self._settings, self._times, self._tags = settings, clip.times_s, len(scene.people) > 1
        shrink = min(1.0, settings.overlay_most_px / max(clip.width_px, clip.height_px))
        self.overlay_size_px = (max(1, round(clip.width_px * shrink)), max(1, round(clip.height_px * shrink)))
        self.layout = PanelLayout.of(clip.width_px, clip.height_px, settings.panel_height_px)
        self._front_size = _within(clip.width_px / clip.height_px, *_size(self.layout.front))
        self._overlay_camera = resized_camera(scene.camera, *self.overlay_size_px)
        self._front_camera = resized_camera(scene.camera, *self._front_size)
        self._side = VirtualViewPanel.of(scene, side_camera(scene, *_size(self.layout.side)), settings.samples, shadows=True)
        self._top = VirtualViewPanel.of(scene, top_camera(scene, *_size(self.layout.top)), settings.samples, shadows=False)
        self.sheet = ContactSheet.of(scene, settings)
        self._on_sheet = frozenset(self.sheet.frames.tolist())

    def pictures(self, frame: int, rgb: np.ndarray, poses: Sequence[PosedPerson]) -> FrameImages:
        """All pictures of clip frame ``frame``, whose picture is ``rgb`` (H, W, 3), with everybody in it."""
        samples = self._settings.samples
        seen = [RenderPerson.of(pose, self._settings.overlay_opacity) for pose in poses]
        over = draw_overlay(resize_image(rgb, *self.overlay_size_px), seen, self._overlay_camera, samples, tags=self._tags)
        if self._front_size == self.overlay_size_px:
            front = over.copy()
        else:
            front = draw_overlay(resize_image(rgb, *self._front_size), seen, self._front_camera, samples, tags=self._tags)
        first = int(np.searchsorted(self._times, self._times[frame] - self._settings.trail_s))
        side, top = (panel.draw(seen, first, frame, tags=self._tags) for panel in (self._side, self._top))
        cells = self.sheet.cells(frame, rgb, seen) if frame in self._on_sheet else None
        return FrameImages(over, self._composed(frame, front, side, top), cells)

    def _composed(self, frame: int, front: np.ndarray, side: np.ndarray, top: np.ndarray) -> np.ndarray:
        width, height = self.layout.size_px
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = 255
        size = max(13, self.layout.size_px[1] // 34)
        for name, note, box, panel in (
            ("front", "", self.layout.front, front),
            ("side", "camera on the left", self.layout.side, side),
            ("top", "camera at the bottom", self.layout.top, top),
        ):
            x0, y0, x1, y1 = box
            part = canvas[y0:y1, x0:x1]
            if panel.shape != part.shape:
                part[:] = 24  # Bars beside clips of unusual proportions.
            y, x = (part.shape[0] - panel.shape[0]) // 2, (part.shape[1] - panel.shape[1]) // 2
            part[y : y + panel.shape[0], x : x + panel.shape[1]] = panel
            plate = label_sprite(name, size, _INK, _PLATE, _PLATE_OPACITY)
            paste_sprite(part, plate, size * 0.6, size * 0.6)
            if note:
                caption = text_sprite(note, round(size * 0.72), _PALE)
                paste_sprite(part, caption, size * 0.6 + plate.shape[1] + size * 0.5, size * 0.6 + (plate.shape[0] - caption.shape[0]) / 2)
                grid = text_sprite("grid 1 m", round(size * 0.72), _PALE)
                paste_sprite(part, grid, part.shape[1] - grid.shape[1] - size * 0.6, part.shape[0] - grid.shape[0] - size * 0.6)
        if self._settings.show_uncertainty:
            key = label_sprite(
                f"magenta: may be {100 * self._settings.unsure_m:.0f} cm off", round(size * 0.72), UNCERTAIN_COLOUR, _INK, _PLATE_OPACITY
            )
            paste_sprite(canvas, key, self.layout.front[2] - key.shape[1] - size * 0.6, height - key.shape[0] - size * 0.6)
        clock = label_sprite(f"{self._times[frame]:.2f} s", size, _INK, _PLATE, _PLATE_OPACITY)
        paste_sprite(canvas, clock, size * 0.6, height - clock.shape[0] - size * 0.6)
        return canvas


def _size(box: Box) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]


def _even(length: float) -> int:
    return max(2, round(length / 2) * 2)


def _within(aspect: float, width_px: int, height_px: int) -> tuple[int, int]:
    """The largest size of proportion ``aspect`` that fits."""
    return min(width_px, max(1, round(height_px * aspect))), min(height_px, max(1, round(width_px / aspect)))
