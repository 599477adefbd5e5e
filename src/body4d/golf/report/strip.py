"""The event strip: for each event the clip's picture with the body over it, and the body alone from the view that the clip lacks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from body4d.core.stages import FrameSource
from body4d.core.types import BodyTrack, Scene
from body4d.golf.types import Swing, SwingEvent
from body4d.render.contact_sheet import people_box
from body4d.render.frame_renderer import RenderPerson, ScenePoser, VirtualViewPanel, draw_overlay, resized_camera
from body4d.render.layers import resize_image
from body4d.render.virtual_views import standing_camera

HEIGHT_PX = 320
"""Height of a picture: sharp at the 160 CSS pixels of a phone of two device pixels each, and 16 of them are below 400 kB."""

MAX_ASPECT = 0.8
"""Greatest width by height of a picture, so that eight stand side by side on a page."""

OPACITY, SAMPLES = 0.7, 4


@dataclass(frozen=True)
class EventPicture:
    """One event's pictures; ``overlay`` is None where the clip could not be read, ``body`` where nobody was followed then."""

    event: SwingEvent
    overlay: UInt8[np.ndarray, "h w 3"] | None
    body: UInt8[np.ndarray, "h w 3"] | None


def event_pictures(swing: Swing, person_id: int, scene: Scene, frames: FrameSource | None) -> tuple[EventPicture, ...]:
    """Pictures of all events of ``swing`` that are in the clip, in order."""
    events = swing.events
    if not events:
        return ()
    golfer = _only_during(scene, person_id, swing)
    x0, y0, x1, y1 = _narrowed(people_box(golfer), scene.clip.width_px)
    width = max(1, round(HEIGHT_PX * (x1 - x0) / (y1 - y0)))
    ahead = -swing.frame.ball if swing.frame.view == "down-the-line" else swing.frame.target
    panel = VirtualViewPanel.of(golfer, standing_camera(golfer, ahead, width, HEIGHT_PX), SAMPLES, shadows=True)
    panel = replace(panel, trails_px=np.full_like(panel.trails_px, np.nan))  # A trail of the pelvis is a scribble under the feet.
    poser = ScenePoser(replace(scene, people=(scene.person(person_id),)), show_uncertainty=False)
    pictures = dict(_read(frames, [event.frame for event in events]))
    out = []
    for event in events:
        people = [RenderPerson.of(pose, OPACITY) for pose in poser.at(event.frame)]
        overlay = None
        if event.frame in pictures:
            crop = resize_image(np.ascontiguousarray(pictures[event.frame][y0:y1, x0:x1]), width, HEIGHT_PX)
            camera = resized_camera(scene.camera.at(event.frame), width, HEIGHT_PX, (x0, y0), HEIGHT_PX / (y1 - y0))
            overlay = draw_overlay(crop, people, camera, SAMPLES, labels=False)
        out.append(EventPicture(event, overlay, panel.draw(people, event.frame, labels=False) if people else None))
    return tuple(out)


def _read(frames: FrameSource | None, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The clip's pictures at ``wanted``, read once from the first to the last of them."""
    if frames is None:
        return
    for frame, rgb in frames.read(min(wanted), max(wanted) + 1):
        if frame in wanted:
            yield frame, rgb


def _only_during(scene: Scene, person_id: int, swing: Swing) -> Scene:
    """``scene`` with the golfer alone and still elsewhere than in the swing, so that pictures are fitted to the swing."""
    track = scene.person(person_id)
    inside = np.isin(track.frame_index, swing.frames)
    if not inside.any():
        return replace(scene, people=(track,))
    return replace(scene, people=(_rows(track, inside),))


def _rows(track: BodyTrack, rows: np.ndarray) -> BodyTrack:
    """The part of ``track`` that pictures are fitted to: its joints."""
    per_row = ("frame_index", "rotations", "translation_m", "joints_m", "keypoints_px", "visibility", "confidence", "observed")
    dropped = {"mask_iou": None, "joints_raw_m": None, "joint_sigma_m": None, "hidden": None, "parameters": np.zeros((0, 0), np.float32)}
    return replace(track, **{name: getattr(track, name)[rows] for name in per_row}, **dropped)


def _narrowed(box: tuple[int, int, int, int], width_px: int) -> tuple[int, int, int, int]:
    """``box`` cut to ``MAX_ASPECT`` about its middle."""
    x0, y0, x1, y1 = box
    wide = min(x1 - x0, int((y1 - y0) * MAX_ASPECT))
    left = int(np.clip((x0 + x1 - wide) // 2, 0, width_px - wide))
    return left, y0, left + max(wide, 1), y1
