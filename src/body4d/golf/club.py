"""The club in the picture: its shaft as a thin, straight line that begins at the hands.

``find_lines`` looks at one picture and gives the lines that may be the shaft; ``choose_lines`` takes one for each frame, or none, so that
the shaft turns smoothly. A blurred shaft is no thin line and counts as not seen: nothing is guessed between frames. A wrong shaft is worse
than none, so that what could as well be an arm, a crease or the background is left out. ``club_from_masks`` reads the club off its masks
instead, where a segmenter has been asked for it.

Angles are those of the picture: 0 points to its right, 90° (pi / 2) down, as pixel coordinates run.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, maximum_filter1d

from body4d.core.compiled import compiled
from body4d.core.stages import FrameSource, ProgressFn, Segmenter, ignore_progress
from body4d.core.types import BodyTrack, Camera, Clip, MaskTrack, Prompt
from body4d.golf.types import ClubShaft
from body4d.video.reader import VideoReader

WORKING_PX_PER_M = 170.0
"""Pictures are shrunk to this scale, at which a shaft is one to three pixels wide. Larger people show no more."""

MIN_LENGTH_M, MAX_LENGTH_M = 0.40, 1.30
"""Length of what is seen of the shaft from the hands, in the picture at the golfer's distance. The longest driver has 1.2 m; one that
points towards the camera looks longer."""

REACH_M = 1.55
"""How far lines are followed, to tell a shaft from a longer line behind it."""

HAND_RADIUS_M = 0.07
"""The line is looked for from here on: nearer are fingers."""

MAX_OFFSET_M = 0.075
"""The line passes the estimated middle of the hands this closely; the hands' place is known to some centimetres."""

ANGLE_STEP = math.radians(0.75)
SIDE_PX = 2
"""The line is compared with the picture this far on both sides of it."""

FULL_CONTRAST = 14.0
"""A line that differs from both sides by this many grey levels, or by ``FULL_NOISE`` times what is usual around the hands, has full
support."""
FULL_NOISE = 4.0

MIN_SUPPORT = 0.78
"""Share of the line that is supported."""

REWARD_FROM = 0.55
"""A line is followed as long as its support is above this on average."""

FOREARM_ANGLE = math.radians(14)
"""A line closer than this to a forearm, seen from the hands, may be its edge."""

MAX_TURN_RATE = 40.0
"""Radians a second: a shaft turns no faster in the downswing."""

SMOOTHING_PX = 0.7

MAX_BEHIND_M, MAX_BEHIND_SHARE = 0.04, 0.35
"""A line that goes on behind the hands for more than this, in metres of support and as a share of what is before them, is no club."""

LONGER_SHARE = 1.2
"""A line is left out where one within ``PEAK_WIDTH`` of its direction goes on too far and stands out by this factor more."""

BESIDE = (7, 7)
"""Steps of angle and pixels of offset over which a line is looked for behind the hands."""

PEAK_WIDTH = math.radians(6)
"""Of lines closer in direction than this, the best is taken."""

OFFSET_COST = 0.3
"""Metres of score for each metre that the line passes the middle of the hands."""

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

CANDIDATES = 6

EDGE_SHARE = 0.005
"""A line that ends this near to the picture's edge, as a share of its longer side, goes on outside: its end is no head."""

MAX_LENGTH_CHANGE = 0.3
"""The end of a line counts as the head where its length is within this share of the median of the frames around it."""
AROUND_FRAMES = 3

REST_S = 0.3
REST_SHARE = 0.03
"""At address the head keeps for this many seconds of the clip within this share of the shaft's length (some 3 cm) of one place; it has left
it when it is further away."""

BACK_SHARE = 0.15
"""The head is back at the ball where it is within this share of the shaft's length of its place at address."""

MIN_SWEEP = math.radians(20)
MAX_SWEEP = math.radians(120)
"""Two frames between which the shaft turns by this much past its angle at address tell when it had that angle."""

CLUB_TEXT = "golf club"
MIN_MASK_PX = 30
MIN_ELONGATION = 4.0
MASK_SLICES = 24
MAX_MASK_GAP_M = 0.35
"""A mask counts as the club where it is this many times as long as wide (standard deviations), and begins this near to the hands."""


@dataclass(frozen=True)
class ShaftLine:
    """A line that may be the shaft, in pixels of the picture."""

    grip_px: Float[np.ndarray, " 2"]
    head_px: Float[np.ndarray, " 2"]
    support: float
    """Share of the line that stands out of the picture, in [0, 1]."""
    length_m: float
    score: float
    """Metres of supported line above what chance gives; larger is better."""

    @property
    def angle(self) -> float:
        x, y = self.head_px - self.grip_px
        return math.atan2(y, x)


@compiled
def _follow(
    grey: np.ndarray,
    centre_x: float,
    centre_y: float,
    angles: np.ndarray,
    offsets: np.ndarray,
    radii: int,
    side: int,
    full: float,
    start: int,
    reward_from: float,
    best: np.ndarray,
    end: np.ndarray,
    support: np.ndarray,
    inside: np.ndarray,
) -> None:
    """For each line past the centre (angle, offset): the greatest sum of (support - reward_from) from sample ``start`` on, the sample where
    it is reached, and the mean support up to there; for each angle, how many samples lie in the picture.

    Samples are two pixels apart. A sample's support is how far it lies above both sides, or below both, in units of ``full``, at most 1. A
    neighbouring offset counts, since shafts bend."""
    height, width = grey.shape
    count = len(offsets)
    level = np.zeros((count, radii), np.float32)
    ridge = np.zeros((count, radii), np.float32)
    for a in range(len(angles)):
        ux, uy = np.cos(angles[a]), np.sin(angles[a])
        reach = 0
        for r in range(radii):
            for o in range(count):
                # Pixel coordinates count from the corner of the first pixel, samples from its centre.
                x = centre_x - 0.5 + 2.0 * r * ux - offsets[o] * uy
                y = centre_y - 0.5 + 2.0 * r * uy + offsets[o] * ux
                if x < 0 or y < 0 or x > width - 1.001 or y > height - 1.001:
                    level[o, r] = np.nan
                    continue
                i, j = int(x), int(y)
                fx, fy = x - i, y - j
                top = grey[j, i] + fx * (grey[j, i + 1] - grey[j, i])
                low = grey[j + 1, i] + fx * (grey[j + 1, i + 1] - grey[j + 1, i])
                level[o, r] = top + fy * (low - top)
            if level[count // 2, r] == level[count // 2, r]:
                reach = r + 1
        inside[a] = reach
        ridge[:] = 0
        for o in range(side, count - side):
            for r in range(start, reach):
                left, right = level[o, r] - level[o - side, r], level[o, r] - level[o + side, r]
                if left > 0 and right > 0:
                    ridge[o, r] = min(left, right) / full
                elif left < 0 and right < 0:
                    ridge[o, r] = min(-left, -right) / full
        for o in range(side + 1, count - side - 1):
            total, peak, held, peak_held = 0.0, 0.0, 0.0, 0.0
            last = start
            for r in range(start, reach):
                value = min(max(ridge[o, r], 0.9 * ridge[o - 1, r], 0.9 * ridge[o + 1, r]), 1.0)
                total += value - reward_from
                held += value
                if total > peak:
                    peak, last, peak_held = total, r + 1, held
            best[a, o], end[a, o] = peak, last
            support[a, o] = peak_held / (last - start) if last > start else 0.0


def find_lines(
    picture: UInt8[np.ndarray, "h w 3"],
    hands_px: Float[np.ndarray, " 2"],
    px_per_m: float,
    elbows_px: Sequence[Float[np.ndarray, " 2"]] = (),
) -> list[ShaftLine]:
    """The lines of one picture that may be the shaft, best first.

    ``hands_px`` is the middle of both hands, ``px_per_m`` the picture's scale at them.
    """
    if not (np.isfinite(hands_px).all() and px_per_m > 0):
        return []
    grey, corner, scale = _crop(picture, hands_px, px_per_m)
    if min(grey.shape) < 8:
        return []
    unit = px_per_m * scale
    centre = (np.asarray(hands_px, np.float64) - corner) * scale
    angles = np.arange(0, 2 * math.pi, ANGLE_STEP)
    width = round(MAX_OFFSET_M * unit) + SIDE_PX + 1
    offsets = np.arange(-width, width + 1).astype(np.float64)
    radii = int(REACH_M * unit / 2)
    full = max(FULL_CONTRAST, FULL_NOISE * _usual_ridge(grey))
    shape = (len(angles), len(offsets))
    best, end, support, inside = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape), np.zeros(len(angles), np.int64)
    start = int(HAND_RADIUS_M * unit / 2)
    _follow(grey, *centre.tolist(), angles, offsets, radii, SIDE_PX, full, start, REWARD_FROM, best, end, support, inside)
    length_m = 2.0 * end / unit
    allowed = (length_m >= MIN_LENGTH_M) & (length_m <= MAX_LENGTH_M) & (support >= MIN_SUPPORT)
    allowed &= ~_along_forearms(angles, hands_px, elbows_px)[:, None]
    # A line that is a little off it leaves such a line early, so that all near its direction are left out.
    endless = maximum_filter1d(np.where(length_m > MAX_LENGTH_M, best, 0.0).max(1), 2 * round(PEAK_WIDTH / ANGLE_STEP) + 1, mode="wrap")
    allowed &= endless[:, None] < LONGER_SHARE * best
    # A line that goes on behind the hands runs past them: of the grip, a hand's width sticks out at most.
    opposite = maximum_filter(np.roll(best[:, ::-1], len(angles) // 2, axis=0), BESIDE, mode="wrap")
    allowed &= opposite < np.maximum(MAX_BEHIND_M * unit / 2, MAX_BEHIND_SHARE * best)
    score = np.where(allowed, best * 2.0 / unit - OFFSET_COST * np.abs(offsets) / unit, 0.0)
    frame = _LineFrame(grey, centre, corner, scale, full, start)
    return [_line(frame, angles[a], offsets[o], int(end[a, o]), score[a, o], support[a, o], unit) for a, o in _peaks(score)]


def _shrunk(picture: np.ndarray, scale: float) -> np.ndarray:
    """``picture`` in grey and ``scale`` times as large, a little smoothed."""
    grey = Image.fromarray(picture).convert("L")
    if scale < 1:
        size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
        grey = grey.resize(size, Image.Resampling.BOX)
    return gaussian_filter(np.asarray(grey, np.float32), SMOOTHING_PX)


def _crop(picture: np.ndarray, hands_px: np.ndarray, px_per_m: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The part within reach of the hands in grey, shrunk to the working scale; its corner in the picture; and how much it is shrunk."""
    reach = REACH_M * px_per_m
    low = np.clip(np.floor(hands_px - reach), 0, picture.shape[1::-1]).astype(int)
    high = np.clip(np.ceil(hands_px + reach), 0, picture.shape[1::-1]).astype(int)
    scale = min(1.0, WORKING_PX_PER_M / px_per_m)
    if min(high - low) < 8 / scale:
        return np.zeros((0, 0), np.float32), low, scale
    return _shrunk(np.ascontiguousarray(picture[low[1] : high[1], low[0] : high[0]]), scale), low.astype(np.float64), scale


def _usual_ridge(grey: np.ndarray) -> float:
    """How far a pixel usually stands out of both sides, by grain and texture."""
    near, across = grey[:, SIDE_PX:-SIDE_PX], grey[SIDE_PX:-SIDE_PX]
    found = (_ridge(grey[:, : -2 * SIDE_PX], near, grey[:, 2 * SIDE_PX :]), _ridge(grey[: -2 * SIDE_PX], across, grey[2 * SIDE_PX :]))
    return float(np.mean([part.mean() for part in found]))


def _ridge(before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far ``middle`` lies above both others, or below both; else 0."""
    left, right = middle - before, middle - after
    return np.where(left * right > 0, np.minimum(np.abs(left), np.abs(right)), 0)


def _along_forearms(angles: np.ndarray, hands_px: np.ndarray, elbows_px: Sequence[np.ndarray]) -> np.ndarray:
    near = np.zeros(len(angles), bool)
    for elbow in elbows_px:
        if np.isfinite(elbow).all():
            x, y = np.asarray(elbow) - hands_px
            near |= np.abs(_wrapped(angles - math.atan2(y, x))) < FOREARM_ANGLE
    return near


def _wrapped(angle: np.ndarray) -> np.ndarray:
    """In [-pi, pi)."""
    return (np.asarray(angle) + math.pi) % (2 * math.pi) - math.pi


def _peaks(score: np.ndarray) -> list[tuple[int, int]]:
    """The best lines, each of another direction."""
    best_offset = score.argmax(1)
    by_angle = score[np.arange(len(score)), best_offset].copy()
    width = round(PEAK_WIDTH / ANGLE_STEP)
    found = []
    while len(found) < CANDIDATES and by_angle.max() > 0:
        a = int(by_angle.argmax())
        found.append((a, int(best_offset[a])))
        by_angle[np.arange(a - width, a + width + 1) % len(by_angle)] = 0
    return found


class _LineFrame(NamedTuple):
    """What lines of one picture are measured in."""

    grey: np.ndarray
    centre: np.ndarray
    corner: np.ndarray
    scale: float
    full: float
    start: int


def _line(frame: _LineFrame, angle: float, offset: float, end: int, score: float, support: float, unit: float) -> ShaftLine:
    """The line through the middle of the ridge at (angle, offset), fitted between the grid's lines."""
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    r = 2.0 * np.arange(frame.start, end)
    d = offset + np.arange(-2, 3)
    ridge = _ridges(frame.grey, frame.centre + r[:, None, None] * along + d[:, None] * across, across).clip(0, frame.full)
    weight = ridge.sum(1)
    middle = (ridge * d).sum(1) / np.maximum(weight, 1e-9)
    slope, at_hands = np.polyfit(r, middle, 1, w=np.sqrt(weight) + 1e-6) if len(r) > 3 else (0.0, offset)
    grip = frame.centre + across * at_hands
    head = grip + 2.0 * end * (along + across * slope)
    return ShaftLine(
        grip / frame.scale + frame.corner, head / frame.scale + frame.corner, float(support), float(2.0 * end / unit), float(score)
    )


def _ridges(grey: np.ndarray, points: np.ndarray, across: np.ndarray) -> np.ndarray:
    """How far ``points`` (..., 2) of ``grey`` stand out of both sides along ``across``; 0 outside."""

    def level(shift: float) -> np.ndarray:
        x, y = np.moveaxis(points + shift * across - 0.5, -1, 0)
        return map_coordinates(grey, [y, x], order=1, cval=np.nan)

    with np.errstate(invalid="ignore"):
        return np.nan_to_num(_ridge(level(-SIDE_PX), level(0), level(SIDE_PX)))


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
    turn = abs(float(_wrapped(np.array(b.angle - a.angle))))
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
            references.append((hands_px, _shrunk(picture, scale)))
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
    seen = [np.minimum(_ridges(grey, points, across).max(1) / FULL_CONTRAST, 1).mean() for grey in away]
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
    return _shaft({first + t: lines[t][k] for t, k in enumerate(chosen) if k is not None}, "line", clip.width_px, clip.height_px)


def _shaft(lines: Mapping[int, ShaftLine], source: Literal["mask", "line"], width_px: int, height_px: int) -> ClubShaft:
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


@dataclass(frozen=True)
class LevelCrossing:
    """The shaft is level in the picture."""

    frame_exact: float
    """Between frames, by the angles of the two frames around it."""
    rising: bool
    """The head goes from below the hands to above them."""
    to_the_right: bool
    """The head is on the picture's right of the hands."""
    confidence: float


def shaft_level_crossings(club: ClubShaft, max_gap_frames: int = 2, level: float = 0.0) -> tuple[LevelCrossing, ...]:
    """Every moment at which the shaft passes the horizontal between two frames on which it was seen, at most ``max_gap_frames`` apart.

    ``level`` is the horizontal's angle in the picture of a camera that is not held level. Filmed face-on, the rising crossing of the
    backswing is toe-up, and the rising one after impact the mid-follow-through. Filmed down the line, a level shaft points along the view,
    too short to be seen: what crosses there is no event.
    """
    angles = shaft_angles(club) - level
    found = []
    for k in range(len(angles) - 1):
        gap = int(club.frames[k + 1] - club.frames[k])
        turn = float(_wrapped(angles[k + 1] - angles[k]))
        if gap > max_gap_frames or abs(turn) > math.pi / 2:
            continue
        below = math.sin(angles[k])  # Positive where the head is below the hands, as pixel rows grow downwards.
        if below == 0 or below * math.sin(angles[k] + turn) > 0:
            continue
        horizontal = math.pi * round((angles[k] + turn / 2) / math.pi)
        share = (horizontal - angles[k]) / turn if turn else 0.0
        if 0 <= share <= 1:
            frame, right = float(club.frames[k] + share * gap), math.cos(horizontal) > 0
            found.append(LevelCrossing(frame, below > 0, right, float(min(club.confidence[k : k + 2]))))
    return tuple(found)


def head_seen(club: ClubShaft, width_px: int, height_px: int) -> Bool[np.ndarray, " t"]:
    """On which of ``club.frames`` the far end of the shaft is the head, not the picture's edge nor a line that breaks off."""
    margin = EDGE_SHARE * max(width_px, height_px)
    inside = ((club.head_px > margin) & (club.head_px < np.array([width_px, height_px]) - margin)).all(1)
    length = np.linalg.norm(club.head_px - club.grip_px, axis=1)
    usual = np.array([np.median(length[np.abs(club.frames - frame) <= AROUND_FRAMES]) for frame in club.frames])
    return inside & (np.abs(length - usual) <= MAX_LENGTH_CHANGE * usual)


@dataclass(frozen=True)
class ClubAtRest:
    """Where the club is held at address."""

    frame: int
    """The last frame on which it was seen there before it goes back."""
    head_px: Float[np.ndarray, " 2"]
    angle: float


def club_at_rest(club: ClubShaft, before: int, fps: float) -> ClubAtRest | None:
    """The club at address, from the frames up to ``before`` (any frame of the backswing); None where it was not seen at rest.

    The head shows a slow takeaway, in which the hands hardly move, earlier
    than the body does.
    """
    seen = np.ones(len(club.frames), bool) if club.head_seen is None else club.head_seen
    rows = np.flatnonzero(seen & (club.frames <= before))
    count = max(5, round(REST_S * fps))
    if len(rows) < count:
        return None
    heads, frames = club.head_px[rows], club.frames[rows]
    reach_px = REST_SHARE * float(np.median(np.linalg.norm(heads - club.grip_px[rows], axis=1)))
    best: tuple[float, np.ndarray] | None = None
    for start in range(len(rows) - count, -1, -1):
        if frames[start + count - 1] - frames[start] > 1.5 * count:
            continue
        place = np.median(heads[start : start + count], axis=0)
        off = float(np.linalg.norm(heads[start : start + count] - place, axis=1).max())
        if off <= reach_px and (best is None or off < best[0]):
            best = (off, place)
    if best is None:
        return None
    there = rows[np.linalg.norm(heads - best[1], axis=1) <= reach_px]
    x, y = np.median((club.head_px - club.grip_px)[there], axis=0)
    return ClubAtRest(int(club.frames[there[-1]]), best[1], math.atan2(y, x))


def club_returns(club: ClubShaft, rest: ClubAtRest, first: int, last: int) -> float | None:
    """When, between frames ``first`` and ``last`` (of downswing and follow-through), the club is back where it was at address: the moment
    it meets the ball, between frames; None where the club was not seen around it."""
    rows = np.flatnonzero((club.frames >= first) & (club.frames <= last))
    off = _wrapped(shaft_angles(club) - rest.angle)
    for a, b in itertools.pairwise(rows.tolist()):
        sweep = abs(off[a]) + abs(off[b])
        if club.frames[b] - club.frames[a] == 1 and off[a] * off[b] < 0 and MIN_SWEEP <= sweep <= MAX_SWEEP:
            return float(club.frames[a] + abs(off[a]) / sweep)
    if not len(rows):
        return None
    # Filmed along the swing's plane the angle hardly changes: the head's place tells.
    away = np.linalg.norm(club.head_px[rows] - rest.head_px, axis=1)
    length = np.linalg.norm(club.head_px[rows] - club.grip_px[rows], axis=1)
    nearest = int(away.argmin())
    return float(club.frames[rows[nearest]]) if away[nearest] <= BACK_SHARE * length[nearest] else None


def club_masks(
    segmenter: Segmenter, clip: Clip, first: int = 0, last: int | None = None, progress: ProgressFn = ignore_progress
) -> MaskTrack | None:
    """Masks of the golf club on frames ``first`` to below ``last`` of ``clip``, by a segmenter that is asked for it in words; None where
    it finds none.

    A call of its own beside the one that finds people, as the people of a run must not change by it. Of several clubs in the picture it is
    the one seen longest and most surely.
    """
    last = len(clip) if last is None else min(last, len(clip))
    if first >= last:
        return None
    times_s, source = clip.times_s[first:last], clip.source_frames[first:last]
    part = VideoReader(replace(clip, times_s=times_s - times_s[0], source_frames=source))
    tracks = segmenter.track(part, [Prompt(person_id=1, text=CLUB_TEXT)], progress).value
    asked = next((track for track in tracks if track.person_id == 1 and len(track)), None)
    return None if asked is None else replace(asked, frame_index=asked.frame_index + first)


def club_from_masks(masks: MaskTrack, track: BodyTrack, camera: Camera) -> ClubShaft:
    """Shaft and head from masks of the club: the shaft is the masks' long axis, and the grip its end at ``track``'s hands."""
    found: dict[int, ShaftLine] = {}
    for row, frame in enumerate(masks.frame_index.tolist()):
        body_row = track.row(frame)
        if body_row is None:
            continue
        hands_px, px_per_m, _ = hands_in_picture(track, body_row, camera)
        if (line := line_of_mask(masks.mask(row), hands_px, px_per_m)) is not None:
            found[frame] = line
    return _shaft(found, "mask", masks.width_px, masks.height_px)


def line_of_mask(mask: Bool[np.ndarray, "h w"], hands_px: Float[np.ndarray, " 2"], px_per_m: float) -> ShaftLine | None:
    """The club's line in one mask; None where the mask is not long and thin, or does not begin at the hands."""
    y, x = np.nonzero(mask)
    if len(x) < MIN_MASK_PX or not np.isfinite(hands_px).all():
        return None
    points = np.stack([x, y], -1) + 0.5
    middle = points.mean(0)
    spread, axes = np.linalg.eigh(np.cov((points - middle).T))
    if spread[1] < MIN_ELONGATION**2 * max(spread[0], 1 / 12):
        return None
    along = axes[:, 1] if (hands_px - middle) @ axes[:, 1] <= 0 else -axes[:, 1]
    across = np.array([-along[1], along[0]])
    # The head is a lump at one end that pulls the axis aside: the line runs through the middle of the slices that are as thin as a shaft.
    r, d = (points - middle) @ along, (points - middle) @ across
    edges = np.linspace(r.min(), r.max() + 1e-9, MASK_SLICES + 1)
    slices = [d[(r >= low) & (r < high)] for low, high in itertools.pairwise(edges)]
    at = np.array([(low + high) / 2 for (low, high), part in zip(itertools.pairwise(edges), slices, strict=True) if len(part)])
    centres = np.array([np.median(part) for part in slices if len(part)])
    widths = np.array([np.ptp(part) + 1 for part in slices if len(part)])
    thin = widths <= 1.6 * np.median(widths)
    if thin.sum() < 3:
        return None
    slope, shift = np.polyfit(at[thin], centres[thin], 1)
    ends = [middle + q * along + (shift + slope * q) * across for q in (r.min(), r.max())]
    length_m = float(np.linalg.norm(ends[1] - ends[0])) / px_per_m
    if np.linalg.norm(ends[0] - hands_px) > MAX_MASK_GAP_M * px_per_m or length_m > 1.5 * MAX_LENGTH_M:
        return None
    filled = len(centres) / MASK_SLICES
    return ShaftLine(ends[0], ends[1], filled, length_m, length_m * filled)
