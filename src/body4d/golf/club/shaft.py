"""The club's shaft over the frames of a swing: of each frame's lines one or none, so that it turns smoothly.

Nothing is guessed between frames. Angles are those of the picture: 0 points to its right, 90° (pi / 2) down, as pixel coordinates run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
MIN_INSIDE_SHARE = 0.8
"""A picture that shows less of where the line would be by then says nothing of it."""
ACROSS_PX = 2
"""At the working scale: a line of the background may lie so far beside where it is expected. A picture from another place, in which what is
as far away as the hands lies farther off, is not compared."""

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
    camera = camera.at(int(track.frame_index[row]))
    names = ("left_index", "left_pinky", "right_index", "right_pinky", "left_elbow", "right_elbow")
    columns = [track.joint_names.index(name) for name in names]
    points = track.joints_m[row, columns].astype(np.float64)
    seen = track.keypoints_px[row, columns].astype(np.float64)
    px = np.where(np.isfinite(seen), seen, camera.project(points))
    return px[:4].mean(0), float(camera.focal_px / points[:4, 2].mean()), [px[4], px[5]]


@dataclass(frozen=True)
class ReferencePicture:
    """A picture of the clip in grey, at the working scale, and where the hands are in it."""

    frame: int
    hands_px: Float[np.ndarray, " 2"]
    grey: Float[np.ndarray, "h w"]


def lines_of_clip(frames: FrameSource, track: BodyTrack, camera: Camera, first: int, last: int) -> list[list[ShaftLine]]:
    """``find_lines`` on the clip's frames from ``first`` to below ``last``, read once, without lines that stay where they are while the
    hands move on. Whether a line stays cannot be judged where the camera moves in an unknown way, nor from places too far apart; then
    it is kept."""
    every = max(1, (last - first) // REFERENCES)
    found: list[list[ShaftLine]] = []
    hands: list[tuple[np.ndarray, float]] = []
    references: list[ReferencePicture] = []
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
            references.append(ReferencePicture(frame, hands_px, shrunk(picture, scale)))
    if not camera.has_world:
        return found
    out = []
    for frame, (lines, (hands_px, px_per_m)) in enumerate(zip(found, hands, strict=True), first):
        near = [other for other in references if lines and _parallax_px(camera, frame, other.frame, px_per_m) * scale < ACROSS_PX]
        turned = [(camera.homography(frame, other.frame), other) for other in near]
        out.append([line for line in lines if not _stays(line, hands_px, px_per_m, turned, scale)])
    return out


def _parallax_px(camera: Camera, a: int, b: int, px_per_m: float) -> float:
    """How far what is as far away as the hands lies, at most, beside where the camera's turn alone takes it from one frame to another."""
    places = camera.T_reference_camera_at(np.array([a, b]))[:, :3, 3]
    return float(np.linalg.norm(places[1] - places[0])) * px_per_m


def _stays(
    line: ShaftLine, hands_px: np.ndarray, px_per_m: float, references: Sequence[tuple[np.ndarray, ReferencePicture]], scale: float
) -> bool:
    """Whether ``line`` is seen in most of the pictures in which the hands are elsewhere: it is a part of the background. Each picture comes
    with the homography that takes the line's frame to it."""
    seen = []
    for homography, reference in references:
        at_px, grip_px, head_px = _mapped(homography, np.stack([hands_px, line.grip_px, line.head_px]))
        if np.linalg.norm(reference.hands_px - at_px) > ELSEWHERE_M * px_per_m:
            support = _support(reference.grey, grip_px * scale, head_px * scale)
            seen += [] if support is None else [support]
    return len(seen) >= MIN_REFERENCES and float(np.median(seen)) > MAX_BACKGROUND_SUPPORT


def _support(grey: np.ndarray, grip: np.ndarray, head: np.ndarray) -> float | None:
    """How much of the outer part of a line, which the body does not cover, is seen in a picture; None where it lies outside."""
    if not np.isfinite([grip, head]).all():
        return None
    length = float(np.linalg.norm(head - grip))
    along = (head - grip) / max(length, 1e-9)
    across = np.array([-along[1], along[0]])
    r = np.arange(0.4 * length, length, 2.0)
    middle = grip + r[:, None] * along
    if np.mean(((middle >= 0) & (middle <= grey.shape[::-1])).all(1)) < MIN_INSIDE_SHARE:
        return None
    points = middle[:, None] + np.arange(-ACROSS_PX, ACROSS_PX + 1)[:, None] * across
    return float(np.minimum(ridges(grey, points, across).max(1) / FULL_CONTRAST, 1).mean())


def _mapped(homography: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    mapped = np.column_stack([points_px, np.ones(len(points_px))]) @ homography.T
    # What is behind the other camera is nowhere in its picture.
    return np.where(mapped[:, 2:] > 0, mapped[:, :2] / np.maximum(mapped[:, 2:], 1e-9), np.inf)


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
