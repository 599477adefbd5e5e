"""How one frame of a clip becomes the pictures of a run: people posed, drawn over the video and in virtual views, and put together.

Sizes, layout and labels are decided once for the whole clip. Panels are drawn without knowledge of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from body4d.bodies.registry import rig_of
from body4d.config import PictureSettings
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Camera, Scene
from body4d.geometry.camera import transform_points
from body4d.render.drawing import INK, PAPER, draw_shadow, draw_trail, label_sprite, paste_sprite, text_sprite
from body4d.render.layers import Layer, LayerPainter, draw_layers
from body4d.render.rasterizer import Mesh, ShadedMesh, draw, shade_mesh
from body4d.render.style import (
    UNCERTAIN_COLOUR,
    UNCERTAIN_SIGMA_M,
    Rgb,
    body_opacity,
    person_colour,
    tint_by_uncertainty,
    vertex_uncertainty,
)
from body4d.render.virtual_views import VirtualCamera, render_floor, scene_bounds, side_camera, top_camera, view_directions

BoxPx = tuple[int, int, int, int]

TRAIL_S = 4.0
"""How much of the pelvis's past is drawn on the floor; a longer trail becomes a scribble."""

MOVING_TITLES = (("world", "stands still"), ("top", "camera in black"))
"""Names and captions of the virtual views where the clip's camera moves."""

_PATH_STRENGTH = 0.45  # of whole paths, so that the last seconds stand out
_CAMERA_SHARE = 0.09  # Length of the pyramid that stands for the camera, as a share of what the view shows.
_MIN_CAMERA_M = 0.15
_FRUSTUM = [0, 1, 2, 0, 4, 3, 0, 1, 3, 4, 2]  # One line through all edges, from the lens (0) to the corners, twice along some.

_POSED_FRAMES = 64  # Frames posed at a time: bounds memory in long clips.
_HEAD_TOP_M = 0.18  # From the nose to above the crown, where a person's number stands.
_GAP_PX = 6
_MIN_STACKED_ASPECT = 1.2
"""Clips at least this wide by height have the two virtual views stacked beside them; others have three panels in a row."""

_FRONT_ASPECTS = (0.45, 2.2)
"""Least and greatest aspect of the front panel; clips beyond are shown whole, with bars."""

_PLATE_OPACITY = 0.72
_PALE, _LIGHT, _DARK = (110, 118, 128), (255, 255, 255), (34, 40, 48)
_BAR_GREY = 24


@dataclass(frozen=True)
class PosedPerson:
    """One person at one frame: ``rig`` posed by ``G`` and ``p``, with how they are shown. ``head_m`` is the nose, in camera axes.

    ``uncertainty`` in [0, 1] of each vertex is there where it is to be shown.
    """

    rig: Rig
    G: Float[np.ndarray, "1 joints 3 3"]
    p: Float[np.ndarray, "1 joints 3"]
    colour: Rgb
    opacity: float
    name: str
    head_m: Float[np.ndarray, " 3"]
    uncertainty: Float[np.ndarray, " v"] | None = None

    def vertices_m(self) -> Float[np.ndarray, "v 3"]:
        """Skinned vertices in camera axes. They take a tenth of a millisecond, which is left to the thread that draws."""
        return self.rig.vertices(self.G, self.p)[0]


class ScenePoser:
    """Poses of everybody in ``scene``, asked for in rising order of frames. Not thread-safe; what it returns is."""

    def __init__(self, scene: Scene, *, show_uncertainty: bool) -> None:
        self._people = [_TrackPoser(index, track, scene, show_uncertainty) for index, track in enumerate(scene.people)]

    def at(self, frame: int) -> list[PosedPerson]:
        """Everybody followed at a frame of the clip."""
        return [pose for person in self._people if (pose := person.at(frame)) is not None]


class _TrackPoser:
    """Poses of one person, made for ``_POSED_FRAMES`` rows at a time, so that memory does not grow with the clip."""

    def __init__(self, index: int, track: BodyTrack, scene: Scene, show_uncertainty: bool) -> None:
        self._track, self._rig, self._show_uncertainty = track, rig_of(track), show_uncertainty
        self._colour = person_colour(index)
        self._opacity = body_opacity(track, scene.clip.times_s)
        self._nose_m = track.joint("nose")
        self._chunk: tuple[int, np.ndarray, np.ndarray, np.ndarray | None] | None = None

    def at(self, frame: int) -> PosedPerson | None:
        row = self._track.row(frame)
        if row is None:
            return None
        first = row - row % _POSED_FRAMES
        if self._chunk is None or self._chunk[0] != first:
            rows = slice(first, first + _POSED_FRAMES)
            posed = self._rig.forward(self._track.rotations[rows].astype(np.float64), self._track.translation_m[rows].astype(np.float64))
            uncertainty = vertex_uncertainty(self._rig, self._track, rows) if self._show_uncertainty else None
            self._chunk = (first, *posed, uncertainty)
        _, G, p, uncertainty = self._chunk
        own = slice(row - first, row - first + 1)
        return PosedPerson(
            rig=self._rig,
            G=G[own],
            p=p[own],
            colour=self._colour,
            opacity=float(self._opacity[row]),
            name=str(self._track.person_id),
            head_m=self._nose_m[row],
            uncertainty=None if uncertainty is None else uncertainty[row - first],
        )


@dataclass(frozen=True)
class RenderPerson:
    """A posed person ready to be drawn: ``pose``, skinned ``vertices_m`` and the shaded ``mesh``, all in camera axes."""

    pose: PosedPerson
    vertices_m: Float[np.ndarray, "v 3"]
    mesh: ShadedMesh

    @staticmethod
    def of(pose: PosedPerson, overlay_opacity: float) -> "RenderPerson":
        vertices = pose.vertices_m()
        colours = tint_by_uncertainty(pose.colour, pose.uncertainty)
        return RenderPerson(pose, vertices, shade_mesh(Mesh(vertices, pose.rig.faces, colours, opacity=overlay_opacity * pose.opacity)))


def resized_camera(
    camera: Camera, width_px: int, height_px: int, corner_px: tuple[float, float] = (0, 0), zoom: float | None = None
) -> Camera:
    """``camera`` for a picture of another size: resized, or the part from ``corner_px`` on, ``zoom`` times as large."""
    factor = width_px / camera.width_px if zoom is None else zoom
    path = camera.path
    return replace(
        camera,
        path=None if path is None else replace(path, focal_px=path.focal_px * factor),
        focal_px=camera.focal_px * factor,
        cx_px=(camera.cx_px - corner_px[0]) * factor,
        cy_px=(camera.cy_px - corner_px[1]) * factor,
        width_px=width_px,
        height_px=height_px,
    )


def draw_overlay(
    rgb: UInt8[np.ndarray, "h w 3"], people: Sequence[RenderPerson], camera: Camera, samples: int, *, labels: bool
) -> UInt8[np.ndarray, "h w 3"]:
    """Bodies over a frame ``rgb`` of ``camera``'s size, each with its number above the head where ``labels``."""
    picture = draw([person.mesh for person in people], camera, rgb, samples=samples)
    if labels:
        _draw_numbers(picture, people, camera)
    return picture


def _draw_numbers(picture: np.ndarray, people: Sequence[RenderPerson], camera: Camera) -> None:
    for person in sorted(people, key=lambda person: -person.pose.head_m[2]):
        _draw_number(picture, person.pose, camera, person.pose.head_m)


@dataclass(frozen=True)
class VirtualViewPanel:
    """One fixed virtual view: the empty ``floor`` and each person's ``trails_px``, NaN where they are not followed.

    ``camera_px`` are lines that draw a moving camera on each frame; None where it is not shown.
    """

    view: VirtualCamera
    floor: UInt8[np.ndarray, "h w 3"]
    trails_px: Float[np.ndarray, "people frames 2"]
    times_s: Float[np.ndarray, " frames"]
    T_world_camera: Float[np.ndarray, " frames 4 4"]
    samples: int
    shadows: bool = True
    camera_px: Float[np.ndarray, "frames lines 2"] | None = None

    @staticmethod
    def of(scene: Scene, view: VirtualCamera, samples: int, *, shadows: bool, paths: bool = False) -> "VirtualViewPanel":
        """``paths``: where the camera moves, its whole path and the people's are on the floor, and it is drawn where it is."""
        trails = np.full((len(scene.people), len(scene.clip), 2), np.nan, np.float32)
        for index, track in enumerate(scene.people):
            trails[index, track.frame_index] = view.project(pelvis_on_floor(scene, track))
        floor = render_floor(view, scene_bounds(scene), view_directions(scene))
        to_world = scene.T_world_camera_at(np.arange(len(scene.clip)))
        lines = None
        if paths and scene.camera.has_places:
            size_m = max(_MIN_CAMERA_M, _CAMERA_SHARE * view.camera.height_px * float(view.T_view_world[2, 3]) / view.camera.focal_px)
            lines = view.project(_camera_lines(scene, to_world, size_m)).astype(np.float32)
            radius, whole = max(0.8, view.camera.height_px / 450), np.full(len(to_world), _PATH_STRENGTH)
            for index, trail in enumerate(trails):
                draw_trail(floor, trail, whole, radius, person_colour(index))
            draw_trail(floor, view.project(to_world[:, :3, 3]), whole, radius, INK)
        return VirtualViewPanel(view, floor, trails, scene.clip.times_s, to_world, samples, shadows, lines)

    def draw(self, people: Sequence[RenderPerson], frame: int, *, labels: bool) -> UInt8[np.ndarray, "h w 3"]:
        """The view at ``frame``, with trails of the last ``TRAIL_S``."""
        layer = self.layer(people, frame)
        picture = draw(layer.meshes, layer.camera, self.floor if layer.background is None else layer.background, samples=self.samples)
        if labels:
            self.draw_numbers(picture, people, frame)
        return picture

    def layer(self, people: Sequence[RenderPerson], frame: int) -> Layer:
        """The view at ``frame`` without numbers, to be drawn: the floor with trails and shadows, and bodies on it."""
        picture = self.floor.copy()
        camera, height = self.view.camera, self.view.camera.height_px
        first = int(np.searchsorted(self.times_s, self.times_s[frame] - TRAIL_S))
        strengths = np.linspace(0.08, 0.95, frame + 1 - first)
        for index in range(len(self.trails_px)):
            draw_trail(picture, self.trails_px[index, first : frame + 1], strengths, max(1.2, height / 300), person_colour(index))
        if self.camera_px is not None:
            draw_trail(picture, self.camera_px[frame], np.ones(len(_FRUSTUM)), max(1.0, height / 400), INK)
        T = self.T_world_camera[frame].astype(np.float32)
        R, t = T[:3, :3], T[:3, 3]
        meshes = []
        for person in people:
            pose, world = person.pose, person.vertices_m @ R.T + t
            if self.shadows:
                draw_shadow(picture, world, pose.rig.faces, self.view, pose.opacity)
            colours = tint_by_uncertainty(pose.colour, pose.uncertainty)
            meshes.append(Mesh(self.view.points_m(world), pose.rig.faces, colours, opacity=pose.opacity))
        return Layer(meshes, camera, picture)

    def draw_numbers(self, picture: UInt8[np.ndarray, "h w 3"], people: Sequence[RenderPerson], frame: int) -> None:
        """Everybody's number above the head into the view at ``frame``."""
        T = self.T_world_camera[frame].astype(np.float32)
        for person in people:
            head = self.view.points_m(T[:3, :3] @ person.pose.head_m + T[:3, 3])
            _draw_number(picture, person.pose, self.view.camera, head)


def pelvis_on_floor(scene: Scene, track: BodyTrack) -> Float[np.ndarray, "t 3"]:
    """The point of the floor, in world axes with y = 0, under a person's pelvis."""
    world = scene.world_points((track.joint("left_hip") + track.joint("right_hip")) / 2, track.frame_index)
    world[:, 1] = 0
    return world


def _camera_lines(scene: Scene, T_world_camera: Float[np.ndarray, "t 4 4"], depth_m: float) -> Float[np.ndarray, "t lines 3"]:
    """A line through what the camera sees up to ``depth_m``, a pyramid of its picture's shape, on each frame in world axes."""
    camera = scene.camera
    corners = np.array([(0, 0), *((x, y) for y in (0, camera.height_px) for x in (0, camera.width_px))], float)
    rays = np.concatenate([corners - (camera.cx_px, camera.cy_px), np.full((5, 1), camera.focal_px)], axis=1)
    rays = np.repeat(rays[None], len(T_world_camera), axis=0)
    rays[..., 2] = camera.focal_px_at(np.arange(len(T_world_camera)))[:, None]
    points = rays / rays[..., 2:] * depth_m
    points[:, 0] = 0
    return transform_points(T_world_camera, points)[:, _FRUSTUM]


def _draw_number(picture: np.ndarray, pose: PosedPerson, camera: Camera, head_m: np.ndarray) -> None:
    """A person's number above the head, on a plate of the person's colour."""
    if head_m[2] < 0.2:
        return
    x, y = camera.project(head_m.astype(np.float64))
    plate = label_sprite(pose.name, max(11, picture.shape[0] // 42), ink=_readable_ink(pose.colour), paper=pose.colour, opacity=0.95)
    paste_sprite(picture, plate, x - plate.shape[1] / 2, y - camera.focal_px * _HEAD_TOP_M / head_m[2] - plate.shape[0])


def _readable_ink(paper: Rgb) -> Rgb:
    """Black or white, whichever is easier to read on ``paper`` (luma of ITU-R BT.601)."""
    return (20, 22, 26) if 0.299 * paper[0] + 0.587 * paper[1] + 0.114 * paper[2] > 110 else PAPER


@dataclass(frozen=True)
class PanelLayout:
    """Where the panels of views.mp4 are, each (x0, y0, x1, y1) in pixels. All sizes are even, as H.264 requires."""

    size_px: tuple[int, int]
    front: BoxPx
    side: BoxPx
    top: BoxPx

    @staticmethod
    def of(width_px: int, height_px: int, panel_height_px: int) -> "PanelLayout":
        """The layout for a clip of a size: everything as high as the front panel."""
        height = _even(panel_height_px)
        aspect = float(np.clip(width_px / height_px, *_FRONT_ASPECTS))
        front = _even(height * aspect)
        if aspect >= _MIN_STACKED_ASPECT:
            half, column = (height - _GAP_PX) // 2, _even(0.75 * height)
            left, right = front + _GAP_PX, front + _GAP_PX + column
            return PanelLayout((right, height), (0, 0, front, height), (left, 0, right, half), (left, height - half, right, height))
        column = _even(0.75 * height)
        lefts = (front + _GAP_PX, front + 2 * _GAP_PX + column)
        side, top = ((left, 0, left + column, height) for left in lefts)
        return PanelLayout((lefts[1] + column, height), (0, 0, front, height), side, top)


@dataclass(frozen=True)
class FrameImages:
    """A frame of ``overlay.mp4`` and one of ``views.mp4``."""

    overlay: UInt8[np.ndarray, "h w 3"]
    views: UInt8[np.ndarray, "H W 3"]


class FrameRenderer:
    """Draws the frames of one clip, in any order and on any number of threads."""

    def __init__(self, scene: Scene, settings: PictureSettings) -> None:
        clip = scene.clip
        self._settings, self._times_s, self._labels = settings, clip.times_s, len(scene.people) > 1
        shrink = min(1.0, settings.max_overlay_px / max(clip.width_px, clip.height_px))
        self.overlay_size_px = (max(1, round(clip.width_px * shrink)), max(1, round(clip.height_px * shrink)))
        self.layout = PanelLayout.of(clip.width_px, clip.height_px, settings.panel_height_px)
        self._front_size_px = _largest_size(clip.width_px / clip.height_px, *_size(self.layout.front))
        self._overlay_camera = resized_camera(scene.camera, *self.overlay_size_px)
        self._front_camera = resized_camera(scene.camera, *self._front_size_px)
        samples = settings.samples_per_pixel
        self._side = VirtualViewPanel.of(scene, side_camera(scene, *_size(self.layout.side)), samples, shadows=True)
        self._top = VirtualViewPanel.of(scene, top_camera(scene, *_size(self.layout.top)), samples, shadows=False, paths=True)
        still = (("side", "camera on the left"), ("top", "camera at the bottom"))
        self._titles = MOVING_TITLES if scene.camera.has_places else still

    def render(
        self, frame: int, rgb: UInt8[np.ndarray, "h w 3"], people: Sequence[RenderPerson], paint: LayerPainter = draw_layers
    ) -> FrameImages:
        """Both pictures of clip frame ``frame``, whose video picture is ``rgb``, with everybody in it. ``paint`` draws the bodies."""
        meshes = [person.mesh for person in people]
        cameras = [self._overlay_camera.at(frame)]
        if self._front_size_px != self.overlay_size_px:
            cameras.append(self._front_camera.at(frame))
        views = [panel.layer(people, frame) for panel in (self._side, self._top)]
        layers = [*(Layer(meshes, camera) for camera in cameras), *views]
        *fronts, side, top = paint(rgb, layers, self._settings.samples_per_pixel)
        if self._labels:
            for picture, camera in zip(fronts, cameras, strict=True):
                _draw_numbers(picture, people, camera)
            for picture, panel in ((side, self._side), (top, self._top)):
                panel.draw_numbers(picture, people, frame)
        return FrameImages(fronts[0], self._compose(frame, fronts[-1], side, top))

    def _compose(self, frame: int, front: np.ndarray, side: np.ndarray, top: np.ndarray) -> np.ndarray:
        width, height = self.layout.size_px
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = 255
        size = max(13, self.layout.size_px[1] // 34)
        for (name, note), box, panel in (
            (("camera", ""), self.layout.front, front),
            (self._titles[0], self.layout.side, side),
            (self._titles[1], self.layout.top, top),
        ):
            x0, y0, x1, y1 = box
            part = canvas[y0:y1, x0:x1]
            if panel.shape != part.shape:
                part[:] = _BAR_GREY  # Bars beside clips of unusual proportions.
            y, x = (part.shape[0] - panel.shape[0]) // 2, (part.shape[1] - panel.shape[1]) // 2
            part[y : y + panel.shape[0], x : x + panel.shape[1]] = panel
            plate = label_sprite(name, size, _LIGHT, _DARK, _PLATE_OPACITY)
            paste_sprite(part, plate, size * 0.6, size * 0.6)
            if note:
                caption = text_sprite(note, round(size * 0.72), _PALE)
                paste_sprite(part, caption, size * 0.6 + plate.shape[1] + size * 0.5, size * 0.6 + (plate.shape[0] - caption.shape[0]) / 2)
                grid = text_sprite("grid 1 m", round(size * 0.72), _PALE)
                paste_sprite(part, grid, part.shape[1] - grid.shape[1] - size * 0.6, part.shape[0] - grid.shape[0] - size * 0.6)
        if self._settings.show_uncertainty:
            legend = f"magenta: may be {100 * UNCERTAIN_SIGMA_M:.0f} cm off"
            key = label_sprite(legend, round(size * 0.72), UNCERTAIN_COLOUR, _LIGHT, _PLATE_OPACITY)
            paste_sprite(canvas, key, self.layout.front[2] - key.shape[1] - size * 0.6, height - key.shape[0] - size * 0.6)
        clock = label_sprite(f"{self._times_s[frame]:.2f} s", size, _LIGHT, _DARK, _PLATE_OPACITY)
        paste_sprite(canvas, clock, size * 0.6, height - clock.shape[0] - size * 0.6)
        return canvas


def _size(box: BoxPx) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]


def _even(length: float) -> int:
    return max(2, round(length / 2) * 2)


def _largest_size(aspect: float, width_px: int, height_px: int) -> tuple[int, int]:
    """The largest size of proportion ``aspect`` that fits."""
    return min(width_px, max(1, round(height_px * aspect))), min(height_px, max(1, round(width_px / aspect)))
