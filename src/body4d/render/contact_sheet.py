"""The contact sheet: a clip's moments side by side, each as picture, overlay and side view."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from body4d.config import PictureSettings
from body4d.core.types import Camera, Scene
from body4d.render.panels import RenderPerson, VirtualViewPanel, draw_overlay, resize_image, resized_camera
from body4d.render.style import joint_speed, spread_frames
from body4d.render.text import paste_sprite, text_sprite
from body4d.render.virtual_views import side_camera

_ROWS = ("picture", "overlay", "side")
_GAP_PX, _MARGIN_PX, _HEAD_PX, _GUTTER_PX = 6, 18, 34, 86
_PAPER, _INK, _PALE = (255, 255, 255), (52, 58, 66), (140, 147, 156)
_ASPECTS = (0.5, 1.5)  # Width by height of a cell: narrower ones show nothing, wider ones mostly grass.
_AROUND = 0.14  # Left around the people, as a share of the box around them.


@dataclass(frozen=True)
class ContactSheet:
    """What the sheet shows: ``frames`` (M,), the part ``crop_px`` (x0, y0, x1, y1) of the picture, and cells of one size."""

    frames: np.ndarray
    times_s: np.ndarray
    crop_px: tuple[int, int, int, int]
    cell_size_px: tuple[int, int]
    camera: Camera
    stage: VirtualViewPanel
    settings: PictureSettings

    @staticmethod
    def of(scene: Scene, settings: PictureSettings) -> "ContactSheet":
        times = scene.clip.times_s
        frames = choose_sheet_frames(scene, settings)
        x0, y0, x1, y1 = crop = people_box(scene)
        width, height = cell_size(len(frames), (x1 - x0) / (y1 - y0), settings)
        camera = resized_camera(scene.camera, width, height, (x0, y0), height / (y1 - y0))
        stage = VirtualViewPanel.of(scene, side_camera(scene, width, height), settings.samples, shadows=True)
        return ContactSheet(frames, times, crop, (width, height), camera, stage, settings)

    def cells(self, frame: int, rgb: np.ndarray, seen: Sequence[RenderPerson]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Picture, overlay and side view of one of the sheet's frames, each (h, w, 3)."""
        x0, y0, x1, y1 = self.crop_px
        picture = resize_image(np.ascontiguousarray(rgb[y0:y1, x0:x1]), *self.cell_size_px)
        over = draw_overlay(picture, seen, self.camera, self.settings.samples, tags=False)
        first = int(np.searchsorted(self.times_s, self.times_s[frame] - self.settings.trail_s))
        return picture, over, self.stage.draw(seen, first, frame, tags=False)

    def image(self, cells: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Image.Image:
        """The sheet, from the cells of all its frames in order."""
        width, height = self.cell_size_px
        gutter, room = _GUTTER_PX, self.settings.sheet_most_px - 2 * _MARGIN_PX - _GUTTER_PX
        blocks = math.ceil(len(cells) / max(1, room // (width + _GAP_PX)))
        columns = math.ceil(len(cells) / blocks)
        block_height = _HEAD_PX + len(_ROWS) * (height + _GAP_PX) + _MARGIN_PX
        size = (blocks * block_height + _MARGIN_PX, gutter + columns * (width + _GAP_PX) - _GAP_PX + 2 * _MARGIN_PX, 3)
        page = np.empty(size, np.uint8)
        page[:] = _PAPER
        for n, moment in enumerate(cells):
            block, column = divmod(n, columns)
            top, left = _MARGIN_PX + block * block_height, _MARGIN_PX + gutter + column * (width + _GAP_PX)
            self._caption(page, int(self.frames[n]), left, top)
            for row, cell in enumerate(moment):
                y = top + _HEAD_PX + row * (height + _GAP_PX)
                page[y : y + height, left : left + width] = cell
                if column == 0:
                    name = text_sprite(_ROWS[row], 20, _INK)
                    paste_sprite(page, name, _MARGIN_PX, y + (height - name.shape[0]) / 2)
        return Image.fromarray(page)

    def _caption(self, page: np.ndarray, frame: int, left: int, top: int) -> None:
        time, number = text_sprite(f"{self.times_s[frame]:.2f} s", 21, _INK), text_sprite(f"frame {frame}", 15, _PALE)
        bottom = top + _HEAD_PX - 9
        paste_sprite(page, time, left, bottom - time.shape[0])
        if time.shape[1] + number.shape[1] + 10 <= self.cell_size_px[0]:
            paste_sprite(page, number, left + time.shape[1] + 10, bottom - number.shape[0])


def cell_size(count: int, aspect: float, settings: PictureSettings) -> tuple[int, int]:
    """Width and height of a cell: as high as wanted, but small enough that ``count`` moments fit into two blocks."""
    widest = (settings.sheet_most_px - 2 * _MARGIN_PX - _GUTTER_PX) / math.ceil(count / 2) - _GAP_PX
    height = min(settings.sheet_cell_px, max(32.0, widest / aspect))
    return max(1, int(height * aspect)), max(1, int(height))


def choose_sheet_frames(scene: Scene, settings: PictureSettings) -> np.ndarray:
    """Frames (M,) for the sheet, out of those in which anybody is followed; out of all where nobody ever is."""
    times = scene.clip.times_s
    speed, followed = np.zeros(len(times)), np.zeros(len(times), bool)
    for track in scene.people:
        speed = np.maximum(speed, joint_speed(track, times))
        followed[track.frame_index] = True
    there = np.flatnonzero(followed) if followed.any() else np.arange(len(times))
    return there[spread_frames(times[there], speed[there], settings.sheet_moments, settings.sheet_motion_share)]


def people_box(scene: Scene) -> tuple[int, int, int, int]:
    """The part (x0, y0, x1, y1) of the picture in which everybody moves during the clip, with some room, in sensible proportions."""
    width, height = scene.clip.width_px, scene.clip.height_px
    found = [scene.camera.project(track.joints_m.astype(np.float64)) for track in scene.people]
    found = [points[np.isfinite(points).all((1, 2))] for points in found]  # Joints behind the camera are nowhere in the picture.
    found = [points for points in found if len(points)]
    if not found:
        return 0, 0, width, height
    low = np.min([np.percentile(points.min(1), 1, axis=0) for points in found], axis=0)
    high = np.max([np.percentile(points.max(1), 99, axis=0) for points in found], axis=0)
    room = _AROUND * (high - low).max()
    low, high = np.clip(low - room, 0, (width, height)), np.clip(high + room, 0, (width, height))
    centre, size = (low + high) / 2, np.maximum(high - low, (min(8, width), min(8, height)))
    size[0] = max(size[0], size[1] * _ASPECTS[0])
    size[1] = max(size[1], size[0] / _ASPECTS[1])
    size = np.minimum(size, (width, height))
    corner = np.floor(np.clip(centre - size / 2, 0, (width, height) - size)).astype(int)
    end = np.minimum(corner + np.ceil(size).astype(int), (width, height))
    return int(corner[0]), int(corner[1]), int(end[0]), int(end[1])
