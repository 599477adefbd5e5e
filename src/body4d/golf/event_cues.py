"""What speaks for a frame as one of a swing's moments: the hands, the arms, the club and the sound.

The cost of a frame as an event is half a squared number of standard deviations: a negative log likelihood.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from body4d.golf.angles import elevation_deg
from body4d.golf.body_motion import BodyMotion
from body4d.golf.candidates import Candidate, hand_angle_deg
from body4d.golf.club.at_ball import club_at_rest, club_returns
from body4d.golf.types import ClubShaft, Hand

STILL_SHARE = 0.05
"""Hands below this share of their peak speed are still (GOLF_METRICS)."""

MAX_STILL_SHARE = 0.2
STILL_OVER_NOISE = 1.5
"""In slow motion the hands' noise may be more than 5 % of their peak: still is then what is this much above that of the calmest stretch."""

STILL_PER_DOWNSWING = 0.4
"""The 0.1 s for which the hands are still, as a share of a usual downswing of 0.25 s: clips may be slowed down."""

EDGE_COST = 8.0
"""Of a stretch that is not still where it ought to be, or still where it ought not."""

MAX_STILL_AFTER = 4.0
"""Stillness between address and backswing counts up to so many of these stretches."""

LEVEL_SIGMA_DEG = 6.0
TOP_SIGMA_DEG, TOP_SIGMA_SPEED_SHARE = 6.0, 0.06
PASSING_SIGMA_PER_HEIGHT = 0.1
RETURN_SIGMA_PER_HEIGHT = 0.04
"""Only the difference from the nearest moment counts, as hands do not come back to the very same place."""

HANDS_AHEAD_PER_DOWNSWING = 0.06
"""The club meets the ball this part of a downswing after the hands were nearest to their address place, since they are ahead of it by then.
In a recorded driver swing with its club 0.04; in two films of tour players in which the strike is seen, 0.10 and 0.11 (benchmarks/golf.py
and docs/golf.md)."""

SOUND_SIGMA_FRAMES = 0.7
MAX_SOUND_OFF_PER_DOWNSWING = 0.4
"""A sound farther than this from where the hands are back is not this swing's strike."""

MAX_SOUND_OFF_CLUB_FRAMES = 2.0
"""Where the club is seen to come back to the ball, a sound farther from that is another one, or not in time with the pictures."""

CLUB_SIGMA_FRAMES = 1.0

SHAFT_SIGMA = 0.2
"""Of the head's height over the hands in the picture, in lengths of the shaft."""

MAX_BRIDGE_PER_DOWNSWING = 0.6
BRIDGE_ENDS = 3
"""Where the shaft is hidden or points at the camera for less than this part of a downswing, its height in between follows from as many
frames on both sides, if it was below the hands on those before and above them on those after. A wrong line seldom lasts as long."""

MIN_SHAFT_CONFIDENCE = 0.5
SMOOTH_PER_DOWNSWING = 0.04
"""Hands are smoothed by this share of the downswing (10 ms in real time), which takes no edge off a swing and noise off slow motion."""

WINDOW_BEFORE, WINDOW_AFTER = 10.0, 7.0
"""Downswings before the top and after impact in which the events are sought: twice what 95 of 100 swings take."""


_JOINTS = ("mid_wrist", "mid_hip", *(f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "wrist", "ankle", "hip")))


class Cues:
    """Costs of the rows of one swing's window, with rows outside the clip at both ends."""

    def __init__(
        self,
        motion: BodyMotion,
        candidate: Candidate,
        limits: tuple[int, int],
        hand: Hand,
        club: ClubShaft | None,
        sounds_clip_s: Sequence[float],
    ) -> None:
        down = max(candidate.downswing_rows, 2)
        first = max(limits[0], candidate.top - round(WINDOW_BEFORE * down), 0)
        last = min(limits[1], candidate.through + round(WINDOW_AFTER * down), len(motion) - 1)
        self.motion, self.candidate, self.first, self.count = motion, candidate, first, last - first + 1
        self.down, self.hand = down, hand
        self.rows = slice(first, last + 1)
        self.seconds = motion.real_s[self.rows]
        self.step = float(np.median(np.diff(self.seconds)))
        self.top = candidate.top - first
        self.ahead = HANDS_AHEAD_PER_DOWNSWING * down
        self.through = candidate.through - first
        lead, trail = ("left", "right") if hand == "right" else ("right", "left")
        sigma = SMOOTH_PER_DOWNSWING * down
        joints = {name: _smooth(motion.joints[name], sigma)[self.rows] for name in _JOINTS}
        self.hands = joints["mid_wrist"]
        self.velocity = np.gradient(self.hands, self.seconds, axis=0)
        self.speed = np.linalg.norm(self.velocity, axis=-1)
        # In the finish a golfer may sway, and all of a body errs in depth alike.
        from_hips = self.hands - joints["mid_hip"]
        self.speed_from_hips = np.linalg.norm(np.gradient(from_hips, self.seconds, axis=0), axis=-1)
        self.peak_speed = float(self.speed[self.top : max(self.through, self.top) + 2].max())
        self.elevation = elevation_deg(joints[f"{lead}_shoulder"], joints[f"{lead}_wrist"])
        axis = np.mean(joints[f"{lead}_ankle"] - joints[f"{trail}_ankle"], axis=0) * [1.0, 0.0, 1.0]
        self.along = axis / max(float(np.linalg.norm(axis)), 1e-9)
        left = self.along if lead == "left" else -self.along
        angle = _smooth(hand_angle_deg(motion, left), sigma)[self.rows] * (1.0 if lead == "left" else -1.0)
        self.angle = angle - 360.0 * np.round(angle[min(self.through, self.count - 1)] / 360.0)
        self.past_trail = (self.hands - joints[f"{trail}_hip"]) @ self.along
        self.past_lead = (self.hands - joints[f"{lead}_hip"]) @ self.along
        self.shaft_height, self.shaft_seen = np.full(self.count, np.nan), np.zeros(self.count, bool)
        if club is not None:
            self.shaft_height, self.shaft_seen = shaft_heights(club, motion.frames[self.rows], round(MAX_BRIDGE_PER_DOWNSWING * down))
        self.rest, self.returned = self._club_at_the_ball(club)
        self.sound = self._strike(sounds_clip_s)
        if self.sound is not None and self.returned is not None and abs(self.sound - self.returned) > MAX_SOUND_OFF_CLUB_FRAMES:
            self.sound = None
        self._still_stretches()

    def _still_stretches(self) -> None:
        """What still means before and after this swing, and the edges of stillness."""
        self.still_rows = max(round(STILL_PER_DOWNSWING * self.down), 2)
        mean = uniform_filter1d(self.velocity, self.still_rows, axis=0, mode="nearest")
        square, square_from_hips = (
            np.maximum(uniform_filter1d(speed**2, self.still_rows, mode="nearest"), 0.0)  # running sums round below 0
            for speed in (self.speed, self.speed_from_hips)
        )
        # Trembling has no direction, a slow takeaway has one.
        noise = np.sqrt(np.maximum(square - np.sum(mean**2, -1), 0.0))
        before, after = noise[: max(self.top, 1)], np.sqrt(square_from_hips)[min(self.through, self.count - 1) :]
        low, high = STILL_SHARE * self.peak_speed, MAX_STILL_SHARE * self.peak_speed
        self.still_before = float(np.clip(STILL_OVER_NOISE * before.min(), low, high))
        self.still_after = float(np.clip(STILL_OVER_NOISE * after.min(), low, high))

    def _strike(self, sounds_clip_s: Sequence[float]) -> float | None:
        """Row of the strike that belongs to this swing, between rows too."""
        if not len(sounds_clip_s) or self.through >= self.count:
            return None
        rows = np.interp(sounds_clip_s, self.motion.clip_s, np.arange(len(self.motion)), left=np.nan, right=np.nan) - self.first
        off = np.abs(rows - self.through)
        if np.isnan(off).all() or np.nanmin(off) > max(MAX_SOUND_OFF_PER_DOWNSWING * self.down, 2.0):
            return None
        return float(rows[np.nanargmin(off)])

    def _club_at_the_ball(self, club: ClubShaft | None) -> tuple[float | None, float | None]:
        """Rows, between rows too, at which the club leaves the ball and is back there; None: not seen."""
        if club is None:
            return None, None
        frames = self.motion.frames[self.rows]
        fps = 1.0 / float(np.median(np.diff(self.motion.clip_s)))
        rest = club_at_rest(club, int(frames[self.top]), fps)
        if rest is None or rest.frame_exact < frames[0]:
            return None, None
        back = club_returns(club, rest, int(frames[self.top]) + 1, int(frames[-1]))
        row = None if back is None else back - float(frames[0])
        if row is None or abs(row - self.through) > max(MAX_SOUND_OFF_PER_DOWNSWING * self.down, 2.0):
            row = None
        return rest.frame_exact - float(frames[0]), row

    @property
    def strike(self) -> float | None:
        """Row of the strike where sound or club tell it."""
        return self.sound if self.sound is not None else self.returned

    def address(self) -> np.ndarray:
        """Cost of each row as the last still one before the hands are halfway up."""
        if self.rest is not None:
            cost = 0.5 * ((np.arange(self.count) - self.rest) / CLUB_SIGMA_FRAMES) ** 2
            cost[self.top :] = np.inf
            return cost
        moving = (self.speed > self.still_before).astype(float)
        up = np.flatnonzero(self.angle[: self.top + 1] > 0.5 * self.angle[self.top])
        halfway = int(up[-1]) if len(up) else 0
        still = np.where(np.arange(self.count) <= halfway, 1.0 - moving, 0.0)
        still_after = np.append(np.cumsum(still[::-1])[::-1][1:], 0.0) / self.still_rows
        cost = EDGE_COST * (_mean_before(moving, self.still_rows) + np.minimum(still_after, MAX_STILL_AFTER))
        cost[halfway + 1 :] = np.inf
        return cost

    def finish(self) -> np.ndarray:
        """Cost of each row as the first one at rest."""
        moving = (self.speed_from_hips > self.still_after).astype(float)
        cost = EDGE_COST * (1.0 - _mean_before(moving, self.still_rows, own=False) + _mean_after(moving, self.still_rows, own=True))
        cost[-1] = min(cost[-1], 0.5 * EDGE_COST)  # the clip's end stands for the finish
        return cost

    def impact(self, address_row: int) -> np.ndarray:
        """Cost of each row as the one where the hands are back where they were at ``address_row``."""
        if self.strike is not None:
            return 0.5 * ((np.arange(self.count) - self.strike) / SOUND_SIGMA_FRAMES) ** 2
        rows = np.arange(self.count)
        distance = np.interp(rows - self.ahead, rows, self.distance(address_row))
        swing = distance[self.top : min(self.candidate.end - self.first + 1, self.count)]
        sigma = RETURN_SIGMA_PER_HEIGHT * self.motion.height_m
        # Where the clip ends before the hands are back, their nearest place is not near.
        nearest = swing.min() if self.through < self.count else 0.0
        cost = 0.5 * ((distance - nearest) / sigma) ** 2
        cost[: self.top + 1] = np.inf
        cost[self.candidate.end - self.first + 1 :] = np.inf
        return cost

    def distance(self, address_row: int) -> np.ndarray:
        """Of the hands from their address place."""
        rows = self.still_run(address_row)
        return np.linalg.norm(self.hands - self.hands[rows].mean(0), axis=-1)

    def still_run(self, address_row: int) -> np.ndarray:
        """The still rows up to ``address_row``; at least one, at most as many as 0.3 s are of a real swing."""
        row = int(np.clip(address_row, 0, self.count - 1))
        start = row
        while start > 0 and row - start < 3 * self.still_rows and self.speed[start - 1] <= self.still_before:
            start -= 1
        return np.arange(start, row + 1)

    def between(self) -> dict[str, np.ndarray]:
        """Costs of the rows as the events other than address, impact and finish."""
        height = self.motion.height_m
        rising = np.gradient(self.elevation) > 0
        level = 0.5 * (self.elevation / LEVEL_SIGMA_DEG) ** 2
        top_angle = self.angle[max(self.top - self.down // 2, 0) : self.top + self.down // 2 + 1].min()
        passing = PASSING_SIGMA_PER_HEIGHT * height
        costs = {
            "toe_up": 0.5 * (self.past_trail / passing) ** 2,
            "mid_backswing": level + np.where(rising, 0.0, EDGE_COST),
            "top": 0.5 * ((self.angle - top_angle) / TOP_SIGMA_DEG) ** 2
            + 0.5 * (self.speed / (TOP_SIGMA_SPEED_SHARE * self.peak_speed)) ** 2,
            "mid_downswing": level + np.where(rising, EDGE_COST, 0.0),
            "mid_follow_through": 0.5 * (self.past_lead / passing) ** 2,
        }
        if np.isfinite(self.shaft_height).any():
            rises = (self.shaft_height[:-1] < 0) & (self.shaft_height[1:] >= 0)
            passes = np.append(rises, False) | np.append(False, rises)
            level = 0.5 * (self.shaft_height / SHAFT_SIGMA) ** 2 + np.where(passes, 0.0, EDGE_COST)
            for name in ("toe_up", "mid_follow_through"):
                costs[name] = np.where(np.isfinite(self.shaft_height), level, costs[name])
        return costs


def shaft_heights(
    club: ClubShaft, frames: Int[np.ndarray, " t"], max_bridge_rows: int
) -> tuple[Float[np.ndarray, " t"], Bool[np.ndarray, " t"]]:
    """How high the club's head is over the hands in the picture on ``frames``, in lengths of the shaft, and on which it was surely seen.

    NaN where it was not, but for gaps of at most ``max_bridge_rows`` in which it went from below the hands to above them.
    """
    row = {int(frame): k for k, frame in enumerate(frames)}
    sure = [k for k, frame in enumerate(club.frames.tolist()) if frame in row and club.confidence[k] >= MIN_SHAFT_CONFIDENCE]
    out = np.full(len(frames), np.nan)
    if not sure:
        return out, np.zeros(len(frames), bool)
    down = club.head_px[sure] - club.grip_px[sure]
    # A shaft is as long as it looks when it lies across the view; a few lines are too long.
    length = float(np.quantile(np.linalg.norm(down, axis=-1), 0.8))
    at = np.array([row[int(frame)] for frame in club.frames[sure]])
    out[at] = -down[:, 1] / max(length, 1e-9)
    seen = np.isfinite(out)
    for k in np.flatnonzero((np.diff(at) > 1) & (np.diff(at) <= max_bridge_rows)).tolist():
        before, after = np.arange(1 - BRIDGE_ENDS, 1) + at[k], np.arange(BRIDGE_ENDS) + at[k + 1]
        if before[0] < 0 or after[-1] >= len(out) or not (seen[before].all() and seen[after].all()):
            continue
        if (out[before] < 0).all() and (out[after] > 0).all():
            near, between = np.concatenate([before, after]), np.arange(at[k] + 1, at[k + 1])
            out[between] = PchipInterpolator(near, out[near])(between)
    return out, seen


def _smooth(values: np.ndarray, sigma_rows: float) -> np.ndarray:
    return gaussian_filter1d(values, sigma_rows, axis=0, mode="nearest") if sigma_rows > 0.3 else values


def _mean_before(values: np.ndarray, width: int, *, own: bool = True) -> np.ndarray:
    """Mean of the ``width`` values up to each one (``own``: itself included); of as many as there are at the beginning."""
    return _mean_after(values[::-1], width, own=own)[::-1]


def _mean_after(values: np.ndarray, width: int, *, own: bool = False) -> np.ndarray:
    total = np.concatenate([[0.0], np.cumsum(values)])
    n = len(values)
    start = np.arange(n) + (0 if own else 1)
    end = np.minimum(start + width, n)
    start = np.minimum(start, n)
    return np.where(end > start, (total[end] - total[start]) / np.maximum(end - start, 1), values)
