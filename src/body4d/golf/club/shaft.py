"""The club's shaft over the frames of a swing: of each frame's lines one or none, so that it turns smoothly.

Nothing is guessed between frames. Angles are those of the picture: 0 points to its right, 90° (pi / 2) down, as pixel coordinates run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from body4d.core.stages import FrameSource
from body4d.core.types import BodyTrack, Camera
from body4d.golf.club.lines import FULL_CONTRAST, WORKING_PX_PER_M, ShaftLine, find_lines, ridges, shrunk, wrapped
from body4d.golf.types import ClubShaft

MAX_TURN_RATE = 40.0
"""Radians a second: a shaft turns no faster in the downswing."""

REFERENCES = 12
MIN_REFERENCES = 3
ELSEWHERE_M = 0.25
MAX_BACKGROUND_SUPPORT = 0.5
"""Pictures of the clip that are kept for comparison. A line with more support than this in the middle one of those whose hands are this far
away from its own is a part of the background."""

ANGLE_SLACK = math.radians(4)
LINE_COST = 0.06
MIN_CHAIN = 0.25
"""Each frame's line costs this much of its score, in metres of support; what is left over the frames of one chain must come to this."""

TURN_COST, LENGTH_COST = 0.1, 0.2
"""Metres of score for a radian of turn and for a metre of change in length from frame to frame."""

MAX_GAP_FRAMES = 4
"""A chain bridges this many frames without a line; it fills none of them."""

NEIGHBOUR_FRAMES = 2
ALONE = 0.6
"""A line without another one this near in time has only this share of its confidence."""

EDGE_SHARE = 0.005
"""A line that ends this near to the picture's edge, as a share of its longer side, goes on outside: its end is no head."""

MAX_LENGTH_CHANGE = 0.3
"""The end of a line counts as the head where its length is within this share of the median of the frames around it."""
AROUND_FRAMES = 3


def choose_lines(lines: Sequence[Sequence[ShaftLine]], times_s: Float[np.ndarray, " t"]) -> list[int | None]:
    """For each frame which of its lines is the shaft, or None: the best sequence in which it turns smoothly.

    ``times_s`` are seconds of real movement.
    """
    # One dynamic programme over (frame, line). Frames without a shaft are stepped over: the angle may have changed more meanwhile.
    nodes = [(t, k) for t, found in enumerate(lines) for k in range(len(found))]
    value, before = np.zeros(len(nodes)), [-1] * len(nodes)
    for i, (t, k) in enumerate(nodes):
        here = lines[t][k]
        value[i] = here.score - LINE_COST
        for j in range(i - 1, -1, -1):
            t0, k0 = nodes[j]
            if t0 == t:
                continue
            if t - t0 > MAX_GAP_FRAMES:
                break
            cost = _step_cost(lines[t0][k0], here, float(times_s[t] - times_s[t0]))
            if value[j] - cost > 0 and value[j] - cost + here.score - LINE_COST > value[i]:
                value[i], before[i] = value[j] - cost + here.score - LINE_COST, j
    chosen: list[int | None] = [None] * len(lines)
    free = np.ones(len(nodes), bool)
    # The best chain first, then what is left beside it: a swing is one chain before the blur and another after it.
    while True:
        ends = np.where(free, value, 0.0)
        if not len(nodes) or ends.max() < MIN_CHAIN:
            return chosen
        i = int(ends.argmax())
        chain = []
        while i >= 0 and free[i]:
            chain.append(i)
            free[i] = False
            i = before[i]
        if sum(lines[nodes[i][0]][nodes[i][1]].score - LINE_COST for i in chain) < MIN_CHAIN:
            continue
        for i in chain:
            t, k = nodes[i]
            if chosen[t] is None:
                chosen[t] = k


def _step_cost(a: ShaftLine, b: ShaftLine, elapsed_s: float) -> float:
    turn = abs(float(wrapped(np.array(b.angle - a.angle))))
    limit = MAX_TURN_RATE * elapsed_s
    if turn > limit + ANGLE_SLACK:
        return math.inf
    return TURN_COST * max(0.0, turn - ANGLE_SLACK) + LENGTH_COST * abs(b.length_m - a.length_m)


def hands_in_picture(track: BodyTrack, row: int, camera: Camera) -> tuple[np.ndarray, float, list[np.ndarray]]:
    """The middle of both hands, the picture's scale there in pixels for a metre, and the elbows, at ``row`` of ``track``."""
    names = ("left_index", "left_pinky", "right_index", "right_pinky", "left_elbow", "right_elbow")
    columns = [track.joint_names.index(name) for name in names]
    points = track.joints_m[row, columns].astype(np.float64)
    seen = track.keypoints_px[row, columns].astype(np.float64)
    px = np.where(np.isfinite(seen), seen, camera.project(points))
    return px[:4].mean(0), float(camera.focal_px / points[:4, 2].mean()), [px[4], px[5]]


def lines_of_clip(frames: FrameSource, track: BodyTrack, camera: Camera, first: int, last: int) -> list[list[ShaftLine]]:
    """``find_lines`` on the clip's frames from ``first`` to below ``last``, read once, without lines that stay where they are while the
    hands move on."""
    every = max(1, (last - first) // REFERENCES)
    found: list[list[ShaftLine]] = []
    hands: list[tuple[np.ndarray, float]] = []
    references: list[tuple[np.ndarray, np.ndarray]] = []
    scale = 0.0
    for frame, picture in frames.read(first, last):
        row = track.row(frame)
        if row is None:
            found.append([])
            hands.append((np.full(2, np.nan), math.nan))
            continue
        hands_px, px_per_m, elbows_px = hands_in_picture(track, row, camera)
        found.append(find_lines(picture, hands_px, px_per_m, elbows_px))
        hands.append((hands_px, px_per_m))
        scale = scale or min(1.0, WORKING_PX_PER_M / px_per_m)
        if (frame - first) % every == every // 2:
            references.append((hands_px, shrunk(picture, scale)))
    return [
        [line for line in lines if not _stays(line, at_px, px_per_m, references, scale)]
        for lines, (at_px, px_per_m) in zip(found, hands, strict=True)
    ]


def _stays(
    line: ShaftLine, hands_px: np.ndarray, px_per_m: float, references: Sequence[tuple[np.ndarray, np.ndarray]], scale: float
) -> bool:
    """Whether ``line`` is seen in most of the pictures in which the hands are elsewhere: it is a part of the background."""
    away = [grey for at_px, grey in references if np.linalg.norm(at_px - hands_px) > ELSEWHERE_M * px_per_m]
    if len(away) < MIN_REFERENCES:
        return False
    vector = (line.head_px - line.grip_px) * scale
    length = float(np.linalg.norm(vector))
    along = vector / max(length, 1e-9)
    across = np.array([-along[1], along[0]])
    # Its outer part, which the body does not cover.
    r = np.arange(0.4 * length, length, 2.0)
    points = line.grip_px * scale + r[:, None, None] * along + np.arange(-2, 3)[:, None] * across
    seen = [np.minimum(ridges(grey, points, across).max(1) / FULL_CONTRAST, 1).mean() for grey in away]
    return float(np.median(seen)) > MAX_BACKGROUND_SUPPORT


def track_shaft(
    frames: FrameSource, track: BodyTrack, camera: Camera, first: int = 0, last: int | None = None, time_scale: float | None = None
) -> ClubShaft:
    """The shaft on the frames from ``first`` to below ``last`` where it is sharp; others are left out.

    ``time_scale``: seconds of real movement for a second of the clip; None: as the file says.
    """
    clip = frames.clip
    last = len(clip) if last is None else min(last, len(clip))
    lines = lines_of_clip(frames, track, camera, first, last)
    chosen = choose_lines(lines, clip.times_s[first:last] * (clip.time_scale if time_scale is None else time_scale))
    return shaft_of_lines({first + t: lines[t][k] for t, k in enumerate(chosen) if k is not None}, "line", clip.width_px, clip.height_px)


def shaft_of_lines(lines: Mapping[int, ShaftLine], source: Literal["mask", "line"], width_px: int, height_px: int) -> ClubShaft:
    frames = np.array(sorted(lines), np.int64)
    near = np.array([np.min(np.abs(frames - frame)[frames != frame], initial=99) <= NEIGHBOUR_FRAMES for frame in frames], bool)
    support = np.array([lines[frame].support for frame in frames.tolist()], np.float64)
    club = ClubShaft(
        frames=frames,
        grip_px=np.array([lines[frame].grip_px for frame in frames.tolist()], np.float64).reshape(-1, 2),
        head_px=np.array([lines[frame].head_px for frame in frames.tolist()], np.float64).reshape(-1, 2),
        confidence=np.where(near, support, ALONE * support),
        source=source,
    )
    return replace(club, head_seen=head_seen(club, width_px, height_px))


def shaft_angles(club: ClubShaft) -> Float[np.ndarray, " t"]:
    """The shaft's angle in the picture on each of ``club.frames``, in (-pi, pi]: 0 to the right, pi / 2 down."""
    x, y = (club.head_px - club.grip_px).T
    return np.arctan2(y, x)


def head_seen(club: ClubShaft, width_px: int, height_px: int) -> Bool[np.ndarray, " t"]:
    """On which of ``club.frames`` the far end of the shaft is the head, not the picture's edge nor a line that breaks off."""
    margin = EDGE_SHARE * max(width_px, height_px)
    inside = ((club.head_px > margin) & (club.head_px < np.array([width_px, height_px]) - margin)).all(1)
    length = np.linalg.norm(club.head_px - club.grip_px, axis=1)
    usual = np.array([np.median(length[np.abs(club.frames - frame) <= AROUND_FRAMES]) for frame in club.frames])
    return inside & (np.abs(length - usual) <= MAX_LENGTH_CHANGE * usual)
