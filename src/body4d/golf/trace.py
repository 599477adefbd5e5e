"""The club's path drawn over the picture: where the head was seen up to a frame, fading with time, and the shaft on that frame."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from body4d.core.stages import FrameSource, ProgressFn, ignore_progress
from body4d.golf.types import ClubShaft
from body4d.render.drawing import draw_trail
from body4d.render.style import Rgb
from body4d.video.writer import VideoWriter

TRACE_FILE = "golf_trace.mp4"

TRACE_RGB: Rgb = (255, 122, 26)
SHAFT_RGB: Rgb = (255, 255, 255)

FADE_S = 2.5
"""Seconds of the clip after which the path has faded to ``OLDEST``."""
OLDEST = 0.25

MAX_GAP_FRAMES = 2
"""The path is interrupted where the head was not seen for longer: nothing is drawn where nothing was seen."""

EDGE_SHARE = 0.01
"""A line that ends this near to the picture's edge, as a share of its longer side, goes on outside: its end is no head."""

MAX_LENGTH_CHANGE = 0.3
"""The end of a line counts as the head where its length is within this share of the median of the frames around it."""
AROUND_FRAMES = 3

MIN_FRAMES = 12
"""A video of the path is written where the head was seen on at least this many frames..."""
MIN_SWEEP = np.pi
"""...and the shaft turned by this much over them: a club seen at address alone has no path."""


def head_seen(club: ClubShaft, width_px: int, height_px: int) -> Bool[np.ndarray, " t"]:
    """On which of ``club.frames`` the far end of the shaft is the head, not the picture's edge nor a line that breaks off."""
    margin = EDGE_SHARE * max(width_px, height_px)
    inside = ((club.head_px > margin) & (club.head_px < np.array([width_px, height_px]) - margin)).all(1)
    length = np.linalg.norm(club.head_px - club.grip_px, axis=1)
    usual = np.array([np.median(length[np.abs(club.frames - frame) <= AROUND_FRAMES]) for frame in club.frames])
    return inside & (np.abs(length - usual) <= MAX_LENGTH_CHANGE * usual)


def is_worth_drawing(club: ClubShaft, width_px: int, height_px: int) -> bool:
    """Whether enough of the club's path was seen for a video of it."""
    seen = head_seen(club, width_px, height_px)
    if seen.sum() < MIN_FRAMES:
        return False
    x, y = (club.head_px - club.grip_px)[seen].T
    turns = np.diff(np.unwrap(np.arctan2(y, x)))
    return bool(np.abs(turns).sum() >= MIN_SWEEP)


def draw_club_trace(picture: UInt8[np.ndarray, "h w 3"], club: ClubShaft, frame: int, times_s: Float[np.ndarray, " n"] | None = None) -> None:
    """Draw into ``picture``, which shows clip frame ``frame``: the head's path up to it, and the shaft where it was seen on it.

    ``times_s`` are the clip's; without them, the path does not fade.
    """
    height, width = picture.shape[:2]
    radius = max(1.5, height / 300)
    rows = np.flatnonzero(head_seen(club, width, height) & (club.frames <= frame))
    points: list[np.ndarray] = []
    strengths: list[float] = []
    for k, row in enumerate(rows.tolist()):
        if k and club.frames[row] - club.frames[rows[k - 1]] > MAX_GAP_FRAMES:
            points.append(np.full(2, np.nan))
            strengths.append(0.0)
        age_s = 0.0 if times_s is None else float(times_s[frame] - times_s[club.frames[row]])
        points.append(club.head_px[row])
        strengths.append(1 - (1 - OLDEST) * min(age_s / FADE_S, 1.0))
    if len(points) > 1:
        draw_trail(picture, np.array(points), np.array(strengths), radius, TRACE_RGB)
    for row in np.flatnonzero(club.frames == frame).tolist():
        draw_trail(picture, np.stack([club.grip_px[row], club.head_px[row]]), np.full(2, 0.9), 0.6 * radius, SHAFT_RGB)


def write_club_trace(
    frames: FrameSource, club: ClubShaft, path: Path, first: int = 0, last: int | None = None, progress: ProgressFn = ignore_progress
) -> bool:
    """Write frames ``first`` to below ``last`` with the club's path to ``path``; False, and no file, where too little of it was seen."""
    clip = frames.clip
    last = len(clip) if last is None else min(last, len(clip))
    if first >= last or not is_worth_drawing(club, clip.width_px, clip.height_px):
        return False
    with VideoWriter(path, clip.width_px, clip.height_px, clip.times_s[first:last]) as video:
        for frame, picture in frames.read(first, last):
            drawn = picture.copy()
            draw_club_trace(drawn, club, frame, clip.times_s)
            video.write(drawn)
            progress(frame - first + 1, last - first)
    return True
