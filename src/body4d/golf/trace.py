"""The club's path drawn over the picture: where the head was seen up to a frame, fading with time, and the shaft on that frame."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from body4d.core.stages import FrameSource, ProgressFn, ignore_progress
from body4d.golf.club.shaft import head_seen
from body4d.golf.types import ClubShaft
from body4d.render.drawing import draw_trail
from body4d.render.style import Rgb
from body4d.video.writer import VideoWriter

TRACE_RGB: Rgb = (255, 122, 26)
SHAFT_RGB: Rgb = (255, 255, 255)

FADE_S = 2.5
"""Seconds of the clip after which the path has faded to ``OLDEST``."""
OLDEST = 0.25

MAX_TURN = np.radians(100)
MAX_TURN_OVER_GAP = np.radians(40)
"""Between two frames the head goes along an arc about the hands. Where the shaft turned by more than this meanwhile, or by more than the
second with one frame between on which the head was not seen, the path is interrupted: nothing is drawn where nothing was seen."""

ARC_STEP = np.radians(5)

MIN_FRAMES = 12
"""A video of the path is written where the head was seen on at least this many frames..."""
MIN_SWEEP = np.pi
"""...and the shaft turned by this much over them: a club seen at address alone has no path."""


def is_worth_drawing(club: ClubShaft, width_px: int, height_px: int) -> bool:
    """Whether enough of the club's path was seen for a video of it."""
    seen = head_seen(club, width_px, height_px)
    if seen.sum() < MIN_FRAMES:
        return False
    x, y = (club.head_px - club.grip_px)[seen].T
    turns = np.diff(np.unwrap(np.arctan2(y, x)))
    return bool(np.abs(turns).sum() >= MIN_SWEEP)


def head_path(club: ClubShaft, rows: Sequence[int]) -> tuple[Float[np.ndarray, "p 2"], Float[np.ndarray, " p"]]:
    """The path of the head over ``rows`` of ``club``: points, NaN where it is interrupted, and the frame of each, between frames too."""
    points, frames = [club.head_px[rows[:1]]], [club.frames[rows[:1]].astype(float)]
    for before, row in itertools.pairwise(rows):
        from_px, to_px = club.head_px[before] - club.grip_px[before], club.head_px[row] - club.grip_px[row]
        angle = np.arctan2(from_px[1], from_px[0])
        turn = (np.arctan2(to_px[1], to_px[0]) - angle + np.pi) % (2 * np.pi) - np.pi
        gap = club.frames[row] - club.frames[before]
        if gap > 2 or abs(turn) > (MAX_TURN if gap == 1 else MAX_TURN_OVER_GAP):
            points.append(np.full((1, 2), np.nan))
            frames.append(club.frames[[row]].astype(float))
            share = np.ones(1)
        else:
            count = int(np.ceil(abs(turn) / ARC_STEP)) or 1
            share = np.arange(1, count + 1) / count
        length = (1 - share) * np.linalg.norm(from_px) + share * np.linalg.norm(to_px)
        hands = (1 - share)[:, None] * club.grip_px[before] + share[:, None] * club.grip_px[row]
        points.append(hands + length[:, None] * np.stack([np.cos(angle + share * turn), np.sin(angle + share * turn)], -1))
        frames.append(club.frames[before] + share * gap)
    return np.concatenate(points), np.concatenate(frames)


def draw_club_trace(
    picture: UInt8[np.ndarray, "h w 3"], club: ClubShaft, frame: int, times_s: Float[np.ndarray, " n"] | None = None
) -> None:
    """Draw into ``picture``, which shows clip frame ``frame``: the head's path up to it, and the shaft where it was seen on it.

    ``times_s`` are the clip's; without them, the path does not fade.
    """
    height, width = picture.shape[:2]
    radius = max(1.5, height / 300)
    rows = np.flatnonzero(head_seen(club, width, height) & (club.frames <= frame)).tolist()
    points, at_frames = head_path(club, rows)
    age_s = np.zeros(len(points)) if times_s is None else times_s[frame] - np.interp(at_frames, np.arange(len(times_s)), times_s)
    strengths = 1 - (1 - OLDEST) * np.clip(age_s / FADE_S, 0, 1)
    if len(points) > 1:
        draw_trail(picture, points, strengths, radius, TRACE_RGB)
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
