"""Where in a clip somebody may be swinging a golf club: by the shape of the hands' movement, not by its speed, as clips are slowed down.

The joined hands hang below the shoulders; they go up on one side, then down, through and up on the other side, and that faster.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from body4d.golf.angles import elevation_deg
from body4d.golf.body_motion import BodyMotion

MIN_PEAK_SHARE = 0.4
"""A downswing's peak speed of the hands is at least this share of the clip's highest; practice swings are slower, waggles much slower."""

MAX_WRISTS_APART_PER_HEIGHT = 0.2
"""Wrists of hands on one grip are 10 to 15 cm apart; what is recovered from a picture may be twice that."""

MIN_JOINED_SHARE = 0.6

REVERSAL_DEG = 12.0
"""The hands have turned back where their angle about the shoulders runs back by this much."""

MIN_BACK_DEG, MIN_THROUGH_DEG = 10.0, 10.0
"""How far the hands go to each side of the vertical at least, in a putt; a full swing is told by ``MIN_TOP_ELEVATION_DEG``."""

MIN_SPEED_UP = 1.0
"""The hands come down at least as fast as they went up: 95 of 100 tour swings have 2.5 and more (GolfDB), beginners less."""

MIN_TOP_ELEVATION_DEG = -15.0
"""In a full swing the arms come about level or above: mid-backswing is the moment when the lead arm is level."""

MIN_WAY_PER_HEIGHT = 0.25
"""Hands go this far down from the top at least, as a share of the golfer's height: 0.4 m. Held hands only tremble."""

MAX_ADDRESS_ELEVATION_DEG = -45.0
"""Arms hang at least so far below level at address."""

MIN_TOP_FRAMES = 3
"""Fewer frames than this between top and impact cannot show a downswing."""


@dataclass(frozen=True)
class Candidate:
    """A movement that has the shape of a swing; rows are those of a ``BodyMotion``."""

    top: int
    through: int
    """First row at which the hands are back below the shoulders; the number of rows where the clip ends before."""
    end: int
    """Where the hands are farthest on the other side."""
    to_left: bool
    """The hands come down towards the person's left: a right-handed golfer."""
    peak_speed_m_s: float
    is_full: bool

    @property
    def downswing_rows(self) -> int:
        return self.through - self.top


def find_candidates(motion: BodyMotion) -> tuple[Candidate, ...]:
    """All movements of ``motion`` that look like swings, in order; putts and chips are among them, with ``is_full`` false."""
    if len(motion) < 2 * MIN_TOP_FRAMES + 2:
        return ()
    hands = motion.joints["mid_wrist"] - motion.joints["mid_hip"]
    speed = gaussian_filter1d(np.linalg.norm(np.gradient(hands, motion.real_s, axis=0), axis=-1), 1.0, mode="nearest")
    apart = np.linalg.norm(motion.joints["left_wrist"] - motion.joints["right_wrist"], axis=-1)
    joined = apart < MAX_WRISTS_APART_PER_HEIGHT * motion.height_m
    if not joined.any():
        return ()
    peaks, _ = find_peaks(np.concatenate([[0.0], speed, [0.0]]), height=MIN_PEAK_SHARE * float(speed[joined].max()))
    arms = elevation_deg(motion.joints["mid_shoulder"], motion.joints["mid_wrist"])
    found: list[Candidate] = []
    for peak in sorted(peaks - 1, key=lambda p: -speed[p]):
        candidate = _around(motion, int(peak), speed, joined)
        if candidate is not None and all(_are_apart(candidate, other, arms) for other in found):
            found.append(candidate)
    return tuple(sorted(found, key=lambda c: c.top))


def hand_angle_deg(motion: BodyMotion, left: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " t"]:
    """Angle of the hands about the shoulders, seen from the front: 0 hanging down, positive to the person's ``left``; unwrapped."""
    arm = motion.joints["mid_wrist"] - motion.joints["mid_shoulder"]
    return np.degrees(np.unwrap(np.arctan2(arm @ left, -arm[:, 1])))


def _around(motion: BodyMotion, peak: int, speed: np.ndarray, joined: Bool[np.ndarray, " t"]) -> Candidate | None:
    """The swing whose hands are fast at ``peak``."""
    ankles = motion.joints["left_ankle"] - motion.joints["right_ankle"]
    near = slice(max(peak - 2, 0), peak + 3)
    left = np.mean(ankles[near], axis=0) * [1.0, 0.0, 1.0]
    if np.linalg.norm(left) < 0.05 * motion.height_m:  # feet together tell no direction
        left = np.mean(motion.pelvis[near, :, 0], axis=0) * [1.0, 0.0, 1.0]
    angle = hand_angle_deg(motion, left / max(float(np.linalg.norm(left)), 1e-9))
    angle = angle - 360.0 * np.round(angle[peak] / 360.0)
    step = angle[min(peak + 1, len(angle) - 1)] - angle[max(peak - 1, 0)]
    sign = 1.0 if step >= 0 else -1.0
    along = sign * angle
    top = _turning_point(along[: peak + 1][::-1])
    end = peak + _turning_point(-along[peak:])
    top = peak - top
    through = top + int(np.argmax(along[top : end + 1] >= 0)) if along[top] < 0 <= along[end] else len(along)
    cut_off = end >= len(along) - 2
    if along[top] > -MIN_BACK_DEG or (along[end] < MIN_THROUGH_DEG and not cut_off):
        return None
    if through - top < MIN_TOP_FRAMES or (top < MIN_TOP_FRAMES):
        return None
    if np.mean(joined[top : min(through, len(along) - 1) + 1]) < MIN_JOINED_SHARE:
        return None
    if not _is_faster_than_backswing(along, top, min(through, len(along) - 1)):
        return None
    arms = elevation_deg(motion.joints["mid_shoulder"], motion.joints["mid_wrist"])
    way = np.linalg.norm(motion.joints["mid_wrist"][min(through, len(along) - 1)] - motion.joints["mid_wrist"][top])
    is_high = bool(arms[max(top - 2, 0) : top + 3].max() >= MIN_TOP_ELEVATION_DEG)
    is_full = is_high and bool(way >= MIN_WAY_PER_HEIGHT * motion.height_m)
    return Candidate(top, through, end, sign > 0, float(speed[peak]), is_full)


def _turning_point(values: np.ndarray) -> int:
    """Index of the lowest value before ``values`` have risen from their lowest by ``REVERSAL_DEG``."""
    lowest = np.minimum.accumulate(values)
    back = np.flatnonzero(values > lowest + REVERSAL_DEG)
    return int(np.argmin(values[: back[0] if len(back) else len(values)]))


def _is_faster_than_backswing(along: np.ndarray, top: int, through: int) -> bool:
    """Whether the hands come down in less time than they went the same way up, as far as the clip shows it."""
    way = along[through] - along[top]
    up = np.flatnonzero(along[:top] - along[top] >= 0.7 * way)
    if len(up) == 0:
        return top >= (through - top) / MIN_SPEED_UP  # the backswing begins outside the clip
    down = top + int(np.argmax(along[top:] - along[top] >= 0.7 * way))
    return (top - up[-1]) >= MIN_SPEED_UP * (down - top)


def _are_apart(a: Candidate, b: Candidate, arms_deg: np.ndarray) -> bool:
    """Whether the hands hang down between two movements: lowering the club after the finish is no second swing."""
    first, second = (a, b) if a.top < b.top else (b, a)
    return first.end < second.top and bool(arms_deg[first.end : second.top + 1].min() <= MAX_ADDRESS_ELEVATION_DEG)
