"""The pictures of one frame: bodies over the video, from the side and from above. Each panel draws without knowing the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from body4d.core.types import Camera, Scene
from body4d.render.certainty import tint_by_uncertainty
from body4d.render.drawing import draw_shadow, draw_trail
from body4d.render.poses import PosedPerson
from body4d.render.rasterizer import Mesh, ShadedMesh, draw, shade_mesh
from body4d.render.style import Rgb, pelvis_on_floor, person_colour
from body4d.render.text import PAPER, label_sprite, paste_sprite
from body4d.render.virtual_views import VirtualCamera, floor_directions, render_floor, scene_bounds

_ABOVE_HEAD_M = 0.18  # From the nose to over the crown, where a person's number stands.


@dataclass(frozen=True)
class RenderPerson:
    """A posed person ready to be drawn: ``pose``, skinned ``vertices_m`` (V, 3) and its ``lit`` surface, all in camera axes."""

    pose: PosedPerson
    vertices_m: np.ndarray
    lit: ShadedMesh

    @staticmethod
    def of(pose: PosedPerson, body_opacity: float) -> "RenderPerson":
        vertices = pose.vertices_m()
        mesh = Mesh(vertices, pose.rig.faces, tint_by_uncertainty(pose.colour, pose.doubts), opacity=body_opacity * pose.opacity)
        return RenderPerson(pose, vertices, shade_mesh(mesh))


def resize_image(rgb: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """A picture (H, W, 3) at another size."""
    if rgb.shape[:2] == (height_px, width_px):
        return rgb
    # Shrinking averages whole pixels anyway, so that the cheaper filter serves; whole factors are taken out first, which is quicker still.
    shrinks = width_px * height_px < rgb.shape[0] * rgb.shape[1]
    method = Image.Resampling.BILINEAR if shrinks else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(rgb).resize((width_px, height_px), method, reducing_gap=1.0 if shrinks else None))


def resized_camera(
    camera: Camera, width_px: int, height_px: int, corner_px: tuple[float, float] = (0, 0), zoom: float | None = None
) -> Camera:
    """``camera`` for a picture of another size: resized, or the part from ``corner_px`` on, ``zoom`` times as large."""
    factor = width_px / camera.width_px if zoom is None else zoom
    return replace(
        camera,
        focal_px=camera.focal_px * factor,
        cx_px=(camera.cx_px - corner_px[0]) * factor,
        cy_px=(camera.cy_px - corner_px[1]) * factor,
        width_px=width_px,
        height_px=height_px,
    )


def draw_overlay(rgb: np.ndarray, seen: Sequence[RenderPerson], camera: Camera, samples: int, *, tags: bool) -> np.ndarray:
    """Bodies over a frame ``rgb`` (H, W, 3) of ``camera``'s size, each with its number over the head where ``tags``."""
    picture = draw([person.lit for person in seen], camera, rgb, samples=samples)
    if tags:
        for person in sorted(seen, key=lambda s: -s.pose.head_m[2]):
            _tag(picture, person.pose, camera, person.pose.head_m)
    return picture


@dataclass(frozen=True)
class VirtualViewPanel:
    """One fixed view of the stage: the empty ``floor`` (H, W, 3) and each person's ``trails_px`` (P, N, 2), NaN where not followed."""

    view: VirtualCamera
    floor: np.ndarray
    trails_px: np.ndarray
    T_world_camera: np.ndarray
    samples: int
    shadows: bool = True

    @staticmethod
    def of(scene: Scene, view: VirtualCamera, samples: int, *, shadows: bool) -> "VirtualViewPanel":
        trails = np.full((len(scene.people), len(scene.clip), 2), np.nan, np.float32)
        for place, track in enumerate(scene.people):
            trails[place, track.frame_index] = view.project(pelvis_on_floor(track.joints_m, track.joint_names, scene.T_world_camera))
        floor = render_floor(view, scene_bounds(scene), floor_directions(scene.T_world_camera))
        return VirtualViewPanel(view, floor, trails, scene.T_world_camera, samples, shadows)

    def draw(self, seen: Sequence[RenderPerson], first: int, frame: int, *, tags: bool) -> np.ndarray:
        """The stage at ``frame`` with trails from frame ``first`` on: RGB uint8 (H, W, 3)."""
        picture = self.floor.copy()
        camera, height = self.view.camera, self.view.camera.height_px
        strengths = np.linspace(0.08, 0.95, frame + 1 - first)
        for place in range(len(self.trails_px)):
            draw_trail(picture, self.trails_px[place, first : frame + 1], strengths, max(1.2, height / 300), person_colour(place))
        turn, shift = self.T_world_camera[:3, :3].astype(np.float32), self.T_world_camera[:3, 3].astype(np.float32)
        meshes = []
        for person in seen:
            world = person.vertices_m @ turn.T + shift
            if self.shadows:
                draw_shadow(picture, world, person.pose.rig.faces, self.view, person.pose.opacity)
            points = self.view.points_m(world)
            meshes.append(
                Mesh(
                    points, person.pose.rig.faces, tint_by_uncertainty(person.pose.colour, person.pose.doubts), opacity=person.pose.opacity
                )
            )
        picture = draw(meshes, camera, picture, samples=self.samples)
        if tags:
            for person in seen:
                _tag(picture, person.pose, camera, self.view.points_m(turn @ person.pose.head_m + shift))
        return picture


def _tag(picture: np.ndarray, pose: PosedPerson, camera: Camera, head_m: np.ndarray) -> None:
    """A person's number over the head, on a plate of the person's colour."""
    if head_m[2] < 0.2:
        return
    x, y = camera.project(head_m.astype(np.float64))
    plate = label_sprite(pose.name, max(11, picture.shape[0] // 42), ink=_ink_on(pose.colour), paper=pose.colour, opacity=0.95)
    paste_sprite(picture, plate, x - plate.shape[1] / 2, y - camera.focal_px * _ABOVE_HEAD_M / head_m[2] - plate.shape[0])


def _ink_on(paper: Rgb) -> Rgb:
    """Black or white, whichever is easier to read on ``paper`` (luma of ITU-R BT.601)."""
    return (20, 22, 26) if 0.299 * paper[0] + 0.587 * paper[1] + 0.114 * paper[2] > 110 else PAPER
