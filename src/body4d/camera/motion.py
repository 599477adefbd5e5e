"""Corners of the background, followed between a few frames of the clip with OpenCV, for :mod:`body4d.camera.moving_camera` to judge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from body4d.camera.lens import spread_frames
from body4d.camera.moving_camera import ClipMotion, PairMotion, judge_clip, judge_pair, motion_warnings
from body4d.camera.opencv import require_headless_opencv
from body4d.config import CameraSettings
from body4d.core.errors import RunWarning
from body4d.core.stages import FrameSource, ProgressFn, ignore_progress
from body4d.core.types import MaskTrack

_CORNER_QUALITY = 0.01
_CORNER_GAP_SHARE = 1 / 60
_WINDOW_PX, _LEVELS = 21, 4
_THERE_AND_BACK_PX = 1.0
_KEPT_LEAST = 0.3
"""Where a smaller share of corners can be followed, they are looked for anywhere in the picture instead."""
_ORB_POINTS = 800
_MASK_MARGIN_SHARE = 1 / 40


@dataclass(frozen=True)
class Look:
    """A frame, small: ``grey`` (h, w) uint8 and ``background`` (h, w), 255 where nobody is."""

    grey: np.ndarray
    background: np.ndarray


def camera_motion(
    frames: FrameSource, settings: CameraSettings, masks: Sequence[MaskTrack] = (), report: ProgressFn = ignore_progress
) -> ClipMotion:
    """Whether the clip's camera moves. People's ``masks`` are left out where given. Reads a few frames, each against the one before it
    and against the first. Raises MissingDependencyError without OpenCV."""
    require_headless_opencv()
    index = spread_frames(len(frames.clip), settings.motion_frames)
    looks: list[Look] = []
    pairs: list[PairMotion] = []
    for frame, picture in frames.read(index.start, index.stop, index.step):
        looks.append(look_at(picture, people_in(masks, frame, (len(picture), len(picture[0]))), settings))
        now = len(looks) - 1
        for then in sorted({0, now - 1} - {-1, now}):
            before, after = follow(looks[then], looks[now], settings)
            height, width = looks[now].grey.shape
            pairs.append(judge_pair(before, after, width, height, settings))
        report(len(looks), len(index))
    return judge_clip(pairs) if len(index) > 1 else ClipMotion("still")


def watch_camera(frames: FrameSource, settings: CameraSettings, masks: Sequence[MaskTrack] = ()) -> tuple[RunWarning, ...]:
    """What the user should know about the camera's motion."""
    return motion_warnings(camera_motion(frames, settings, masks), settings)


def people_in(masks: Sequence[MaskTrack], frame: int, size: tuple[int, int]) -> np.ndarray:
    """Where people are in a frame (H, W)."""
    out = np.zeros(size, bool)
    for track in masks:
        row = np.searchsorted(track.frame_index, frame)
        if row < len(track) and track.frame_index[row] == frame:
            out |= track.mask(int(row))
    return out


def look_at(picture: np.ndarray, people: np.ndarray, settings: CameraSettings) -> Look:
    """A frame as far as it is needed; people with a rim around them, as limbs blur."""
    import cv2

    height, width = picture.shape[:2]
    factor = min(1.0, settings.motion_side_px / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(people.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    margin = 2 * round(max(size) * _MASK_MARGIN_SHARE) + 1
    around = cv2.dilate(small, np.ones((margin, margin), np.uint8)) if small.any() else small
    return Look(grey, np.where(around > 0, 0, 255).astype(np.uint8))


def follow(before: Look, after: Look, settings: CameraSettings) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the background of one frame and where they are in another: (P, 2) and (P, 2), pixels of the small pictures."""
    import cv2

    gap = max(before.grey.shape) * _CORNER_GAP_SHARE
    found = cv2.goodFeaturesToTrack(before.grey, settings.motion_points, _CORNER_QUALITY, gap, mask=before.background)
    if found is None:
        return np.zeros((0, 2)), np.zeros((0, 2))
    how = {"winSize": (_WINDOW_PX, _WINDOW_PX), "maxLevel": _LEVELS}
    there, seen, _ = cv2.calcOpticalFlowPyrLK(before.grey, after.grey, found, None, **how)  # type: ignore[call-overload]
    back, seen_back, _ = cv2.calcOpticalFlowPyrLK(after.grey, before.grey, there, None, **how)  # type: ignore[call-overload]
    a, b = found[:, 0], there[:, 0]
    good = (seen[:, 0] > 0) & (seen_back[:, 0] > 0) & (np.linalg.norm(back[:, 0] - a, axis=1) < _THERE_AND_BACK_PX)
    good &= _in_background(b, after.background)
    if good.mean() < _KEPT_LEAST:
        others = match(before, after)
        if len(others[0]) > good.sum():
            return others
    # OpenCV's pixel centres are whole numbers; ours are halves.
    return a[good] + 0.5, b[good] + 0.5


def match(before: Look, after: Look) -> tuple[np.ndarray, np.ndarray]:
    """The same, for pictures that have little in the same place: points that look alike (ORB), each the other's best."""
    import cv2

    orb = cv2.ORB.create(_ORB_POINTS)
    (points_a, told_a), (points_b, told_b) = (orb.detectAndCompute(look.grey, look.background) for look in (before, after))
    if told_a is None or told_b is None:
        return np.zeros((0, 2)), np.zeros((0, 2))
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(told_a, told_b)
    # Half of them, the more alike: points that left the picture are matched with anything.
    matches = sorted(matches, key=lambda m: (m.distance, m.queryIdx))[: (len(matches) + 1) // 2]
    a = np.array([points_a[m.queryIdx].pt for m in matches]).reshape(-1, 2)
    b = np.array([points_b[m.trainIdx].pt for m in matches]).reshape(-1, 2)
    return a + 0.5, b + 0.5


def _in_background(points: np.ndarray, background: np.ndarray) -> np.ndarray:
    height, width = background.shape
    x, y = np.floor(points + 0.5).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    out = np.zeros(len(points), bool)
    out[inside] = background[y[inside], x[inside]] > 0
    return out
