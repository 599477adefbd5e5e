"""The contact sheet: frames of a clip side by side, each as picture, overlay and side view."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from body4d.config import PictureSettings
from body4d.core.types import BodyTrack, Camera, Scene
from body4d.render.drawing import paste_sprite, text_sprite
from body4d.render.frame_renderer import MOVING_TITLES, BoxPx, RenderPerson, VirtualViewPanel, draw_overlay, resized_camera
from body4d.render.layers import resize_image
from body4d.render.virtual_views import side_camera

CELL_HEIGHT_PX = 320
"""Height of a cell, unless so many frames are shown that cells must be smaller."""

MAX_WIDTH_PX = 2400
"""Width of the sheet at most; wider ones are broken into blocks."""

MOTION_SHARE = 0.5
"""How the frames of the sheet are chosen: 0 spreads them evenly in time, 1 puts them only where most moves."""

_GAP_PX, _MARGIN_PX, _HEADER_PX, _GUTTER_PX = 6, 18, 34, 86
_PAPER, _INK, _PALE = (255, 255, 255), (52, 58, 66), (140, 147, 156)
_CELL_ASPECTS = (0.5, 1.5)
"""Least and greatest width by height of a cell: narrower ones show nothing, wider ones mostly grass."""

_PADDING_SHARE = 0.14
"""Space left around the people, as a share of the box around them."""

SheetColumn = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]
"""Picture, overlay and side view of one frame."""


@dataclass(frozen=True)
class ContactSheet:
    """What the sheet shows: ``frames`` of the clip, the part ``crop_px`` (x0, y0, x1, y1) of their pictures, and cells of one size."""

    frames: Int[np.ndarray, " m"]
    times_s: Float[np.ndarray, " n"]
    crop_px: BoxPx
    cell_size_px: tuple[int, int]
    camera: Camera
    side: VirtualViewPanel
    samples: int
    rows: tuple[str, str, str]
    """What the rows show."""

    @staticmethod
    def of(scene: Scene, settings: PictureSettings) -> "ContactSheet":
        frames = choose_sheet_frames(scene, settings.num_sheet_frames)
        x0, y0, x1, y1 = crop = people_box(scene)
        width, height = cell_size(len(frames), (x1 - x0) / (y1 - y0))
        camera = resized_camera(scene.camera, width, height, (x0, y0), height / (y1 - y0))
        side = VirtualViewPanel.of(scene, side_camera(scene, width, height), settings.samples_per_pixel, shadows=True)
        rows = ("picture", "overlay", MOVING_TITLES[0][0] if scene.camera.has_places else "side")
        return ContactSheet(frames, scene.clip.times_s, crop, (width, height), camera, side, settings.samples_per_pixel, rows)

    def column(self, frame: int, rgb: UInt8[np.ndarray, "H W 3"], people: Sequence[RenderPerson]) -> SheetColumn:
        """The cells of one of the sheet's frames."""
        x0, y0, x1, y1 = self.crop_px
        picture = resize_image(np.ascontiguousarray(rgb[y0:y1, x0:x1]), *self.cell_size_px)
        overlay = draw_overlay(picture, people, self.camera.at(frame), self.samples, labels=False)
        return picture, overlay, self.side.draw(people, frame, labels=False)

    def image(self, columns: Sequence[SheetColumn]) -> Image.Image:
        """The sheet, from the columns of all its frames in order."""
        width, height = self.cell_size_px
        gutter, room = _GUTTER_PX, MAX_WIDTH_PX - 2 * _MARGIN_PX - _GUTTER_PX
        blocks = math.ceil(len(columns) / max(1, room // (width + _GAP_PX)))
        per_block = math.ceil(len(columns) / blocks)
        block_height = _HEADER_PX + len(self.rows) * (height + _GAP_PX) + _MARGIN_PX
        size = (blocks * block_height + _MARGIN_PX, gutter + per_block * (width + _GAP_PX) - _GAP_PX + 2 * _MARGIN_PX, 3)
        page = np.empty(size, np.uint8)
        page[:] = _PAPER
        for n, cells in enumerate(columns):
            block, column = divmod(n, per_block)
            top, left = _MARGIN_PX + block * block_height, _MARGIN_PX + gutter + column * (width + _GAP_PX)
            self._caption(page, int(self.frames[n]), left, top)
            for row, cell in enumerate(cells):
                y = top + _HEADER_PX + row * (height + _GAP_PX)
                page[y : y + height, left : left + width] = cell
                if column == 0:
                    name = text_sprite(self.rows[row], 20, _INK)
                    paste_sprite(page, name, _MARGIN_PX, y + (height - name.shape[0]) / 2)
        return Image.fromarray(page)

    def _caption(self, page: np.ndarray, frame: int, left: int, top: int) -> None:
        time, number = text_sprite(f"{self.times_s[frame]:.2f} s", 21, _INK), text_sprite(f"frame {frame}", 15, _PALE)
        bottom = top + _HEADER_PX - 9
        paste_sprite(page, time, left, bottom - time.shape[0])
        if time.shape[1] + number.shape[1] + 10 <= self.cell_size_px[0]:
            paste_sprite(page, number, left + time.shape[1] + 10, bottom - number.shape[0])


def cell_size(count: int, aspect: float) -> tuple[int, int]:
    """Width and height of a cell: ``CELL_HEIGHT_PX`` high, or less so that ``count`` columns fit into two blocks."""
    widest = (MAX_WIDTH_PX - 2 * _MARGIN_PX - _GUTTER_PX) / math.ceil(count / 2) - _GAP_PX
    height = min(CELL_HEIGHT_PX, max(32.0, widest / aspect))
    return max(1, int(height * aspect)), max(1, int(height))


def choose_sheet_frames(scene: Scene, count: int) -> Int[np.ndarray, " m"]:
    """At most ``count`` frames for the sheet, out of those in which anybody is followed; out of all where nobody ever is."""
    times = scene.clip.times_s
    speed, followed = np.zeros(len(times)), np.zeros(len(times), bool)
    for track in scene.people:
        speed = np.maximum(speed, joint_speed(track, scene))
        followed[track.frame_index] = True
    candidates = np.flatnonzero(followed) if followed.any() else np.arange(len(times))
    return candidates[spread_frames(times[candidates], speed[candidates], count, MOTION_SHARE)]


def people_box(scene: Scene) -> BoxPx:
    """The part (x0, y0, x1, y1) of the picture in which everybody moves during the clip, with some room, in sensible proportions."""
    width, height = scene.clip.width_px, scene.clip.height_px
    tracks = [scene.camera.project_at(track.joints_m.astype(np.float64), track.frame_index) for track in scene.people]
    tracks = [points[np.isfinite(points).all((1, 2))] for points in tracks]  # Joints behind the camera are nowhere in the picture.
    tracks = [points for points in tracks if len(points)]
    if not tracks:
        return 0, 0, width, height
    low = np.min([np.percentile(points.min(1), 1, axis=0) for points in tracks], axis=0)
    high = np.max([np.percentile(points.max(1), 99, axis=0) for points in tracks], axis=0)
    padding = _PADDING_SHARE * (high - low).max()
    low, high = np.clip(low - padding, 0, (width, height)), np.clip(high + padding, 0, (width, height))
    centre, size = (low + high) / 2, np.maximum(high - low, (min(8, width), min(8, height)))
    size[0] = max(size[0], size[1] * _CELL_ASPECTS[0])
    size[1] = max(size[1], size[0] / _CELL_ASPECTS[1])
    size = np.minimum(size, (width, height))
    corner = np.floor(np.clip(centre - size / 2, 0, (width, height) - size)).astype(int)
    end = np.minimum(corner + np.ceil(size).astype(int), (width, height))
    return int(corner[0]), int(corner[1]), int(end[0]), int(end[1])


def joint_speed(track: BodyTrack, scene: Scene) -> Float[np.ndarray, " n"]:
    """Speed in m/s of a person's fastest joint at each frame of the clip, 0 where the person is not followed."""
    times_s = scene.clip.times_s
    out = np.zeros(len(times_s))
    if len(track) < 2:
        return out
    joints = scene.world_points(track.joints_m, track.frame_index) if scene.camera.has_places else track.joints_m
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(-1) / np.diff(times_s[track.frame_index])
    steps[np.diff(track.frame_index) > 1] = 0
    # A frame is as fast as the steps to and from it.
    out[track.frame_index] = (np.append(steps, steps[-1]) + np.insert(steps, 0, steps[0])) / 2
    return out


def spread_frames(
    times_s: Float[np.ndarray, " n"], speed: Float[np.ndarray, " n"], count: int, motion_share: float
) -> Int[np.ndarray, " m"]:
    """Rising frame indices, ``count`` or as many as there are, spread by time and by movement, first and last included.

    ``speed`` is that at each frame. ``motion_share`` in [0, 1]: 0 spreads them evenly in time, 1 puts them where most moves.
    """
    total = len(times_s)
    if total <= count:
        return np.arange(total)
    steps = np.diff(times_s)
    travel = steps * (speed[1:] + speed[:-1]) / 2
    progress = (1 - motion_share) * steps / steps.sum()
    progress = progress + motion_share * (travel / travel.sum() if travel.sum() > 0 else steps / steps.sum())
    reached = np.concatenate([[0.0], np.cumsum(progress)])
    frames = np.searchsorted(reached, np.linspace(0, reached[-1], count) - 1e-9)
    frames[0], frames[-1] = 0, total - 1
    # Frames that fall on one frame move on to the next free one, and back from the end.
    for i in range(1, count):
        frames[i] = max(frames[i], frames[i - 1] + 1)
    for i in range(count - 1, -1, -1):
        frames[i] = min(frames[i], total - count + i)
    return frames
